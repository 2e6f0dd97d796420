"""`run_program` with more that can happen, set by environment variables:

- MPI_PROGRAM_SHUFFLE: a number: stars are handed out in an order that it decides, of all CCDs mixed.
- MPI_PROGRAM_CUT: a rank: its messages of results lack their last bytes.
- MPI_PROGRAM_REAL: photometry is that of the package, in the way of a user's run.
- MPI_PROGRAM_PATIENCE: seconds to wait for a work list that another program has locked.
- MPI_PROGRAM_STATUS: a folder, to which every rank that ends by itself writes its exit status.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import run_program

from tasoc_mpi import cli
from tasoc_mpi.scheduler import dispatcher as scheduler_loop
from tasoc_mpi.scheduler.queue import Queue
from tasoc_mpi.worker import rank as worker_loop
from tasoc_mpi.worklist import todo_file as todo

#: The start of a command line.
PROGRAM = [sys.executable, __file__]
#: Variables for the photometry of the package, in files that always have the same date.
REAL = {"MPI_PROGRAM_REAL": "1", "SOURCE_DATE_EPOCH": "0"}


class ShuffledQueue(Queue):
    """The stars of a queue in any order."""

    def __init__(self, rows, wanted, *args, **options) -> None:
        super().__init__(rows, wanted, *args, **options)
        self._rows = rows
        self._passed_over = np.zeros(0, int)
        self._shuffled = np.random.default_rng(int(os.environ["MPI_PROGRAM_SHUFFLE"])).permutation(wanted)

    def __len__(self) -> int:
        return len(self._shuffled)

    def take(self, node: int = 0, deficit: float | None = None) -> tuple[np.ndarray, float]:
        while len(self):
            count = max(1, self.size.stars(self.seconds if deficit is None else deficit))
            # A batch is of one CCD: whichever comes.
            ccd = self._rows["ccd"][self._shuffled]
            taken = np.flatnonzero(ccd == ccd[0])[:count]
            index, self._shuffled = self._shuffled[taken], np.delete(self._shuffled, taken)
            index = index[~np.isin(index, self._passed_over)]
            if len(index):
                return self._rows[index], len(index) * self.size.cost[0]
        return self._rows[:0], 0.0

    def leave_out(self, rows: np.ndarray) -> None:
        self._passed_over = np.append(self._passed_over, rows)


def main() -> int:
    if "MPI_PROGRAM_PATIENCE" in os.environ:
        todo.BUSY_TIMEOUT = float(os.environ["MPI_PROGRAM_PATIENCE"])
    if "MPI_PROGRAM_SHUFFLE" in os.environ:
        scheduler_loop.Queue = ShuffledQueue
    if "MPI_PROGRAM_CUT" in os.environ:
        pack = worker_loop.pack_results
        worker_loop.pack_results = lambda results: pack(results)[:-5] if len(results) else pack(results)
    if "MPI_PROGRAM_REAL" in os.environ:
        return cli.main(["--quiet", "run", *sys.argv[1:]])
    return run_program.call(sys.argv[1:])


if __name__ == "__main__":
    exit_status = main()
    if "MPI_PROGRAM_STATUS" in os.environ:
        # In its name: the launcher may end this rank between the making of a file and its writing.
        Path(os.environ["MPI_PROGRAM_STATUS"], f"{os.getpid()}.{exit_status}").touch()
    sys.exit(exit_status)
