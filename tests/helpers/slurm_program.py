"""`tasoc-mpi` with stars that are slow, hang or end their rank, as the variable SLURM_TEST says.

SLURM_TEST is ``KIND:CCD[:KIND:CCD...]``. Of the stars of full frame images of these CCDs, after the first
few, each is ``slow``, ``slower`` or ``hangs``, as long as the job has not been restarted, or ends its rank
(``exit``) as long as the file ``fail`` is in the input folder.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tasoc_mpi import cli
from tasoc_mpi.commands import run

#: Stars of a process that are computed as ever.
_FIRST = 3


def main() -> int:
    words = os.environ.get("SLURM_TEST", "").split(":")
    kinds = dict(zip(map(int, words[1::2]), words[::2], strict=False)) if len(words) > 1 else {}
    restarted = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    original, seen = run.main, []

    def photometry(**task):
        from tasoc_mpi import tessphot

        kind = kinds.get(task["ccd"])
        seen.append(task["starid"])
        if len(seen) > _FIRST and task["datasource"] == "ffi":
            if kind in ("slow", "slower") and not restarted:
                time.sleep(1.0 if kind == "slow" else 5.0)
            if kind == "hangs" and not restarted:
                time.sleep(600)
            if kind == "exit" and Path(task["input_folder"], "fail").exists():
                os._exit(3)
        return tessphot(**task)

    run.main = lambda args: original(args, photometry)
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
