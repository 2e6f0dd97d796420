"""Write the list of kernels that `tasoc-mpi compile` compiles, from small runs of every method.

    python benchmarks/record_kernels.py [FOLDER]

To be run after a change of the kernels or of the types of their arguments.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tasoc_mpi import cli, tessphot
from tasoc_mpi.core.methods import METHODS
from tasoc_mpi.worker.kernel_list import recorded

LIST = Path(__file__).parents[1] / "src/tasoc_mpi/data/kernels.json"
#: Methods, with the options of the commands that use their kernels.
RUNS = {
    "simulate": [
        ("simulate", "--frames", "120", "--rows", "96", "--columns", "96", "--tpfs", "2", "--seed", "7")
    ],
    "prepare": [("prepare", "--overwrite")],
    **{method: [] for method in METHODS},
}


def use(name: str, folder: Path) -> None:
    """Use the kernels of one method in this process, and print them."""
    for command, *options in RUNS[name]:
        if cli.main(["-q", command, str(folder), *options]):
            sys.exit(1)
    if name in METHODS:
        import sqlite3

        with sqlite3.connect(folder / "todo.sqlite") as conn:
            columns = "starid, datasource, sector, camera, ccd, cadence"
            rows = conn.execute(f"SELECT {columns} FROM todolist ORDER BY priority LIMIT 60").fetchall()
        for starid, datasource, sector, camera, ccd, cadence in rows if name != "halo" else rows[:3]:
            pho = tessphot(
                method=name, starid=starid, input_folder=str(folder), output_folder=str(folder / name),
                datasource=datasource, sector=sector, camera=camera, ccd=ccd, cadence=cadence,
            )  # fmt: skip
            if pho.status.has_lightcurve:
                pho.save_lightcurve()
            pho.close()
    print(json.dumps(list(recorded())))


def main(folder: Path) -> None:
    found = {}
    for name in RUNS:
        command = [sys.executable, __file__, str(folder), name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()
        found[name] = sorted(json.loads(lines[-1]), key=json.dumps)
        print(f"{name}: {len(found[name])} kernels")
        if name == "prepare":
            for command in ("todo", "prf"):
                cli.main(["-q", command, str(folder)])
    text = ",\n".join(
        f' "{name}": [\n' + ",\n".join(f"  {json.dumps(one)}" for one in kernels) + "\n ]"
        for name, kernels in found.items()
    )
    LIST.write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        use(sys.argv[2], Path(sys.argv[1]))
    elif len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
