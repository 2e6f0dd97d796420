"""The stars that are still to be computed, in the order in which they are handed out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..protocol import TASK_DTYPE

__all__ = ["BatchSize", "Queue", "tasks_of"]


def tasks_of(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Rows of the work list as tasks, in the order in which they are handed out.

    CCD by CCD, so that the ranks of a node read the same cube and keep what belongs to a CCD; within one from
    bright to faint, because bright stars take longest and make fainter ones superfluous.
    """
    order = np.lexsort(
        (
            rows["priority"],
            rows["datasource"] != "ffi",
            rows["cadence"],
            rows["ccd"],
            rows["camera"],
            rows["sector"],
        )
    )
    tasks = np.zeros(len(rows), dtype=TASK_DTYPE)
    for name in TASK_DTYPE.names or ():
        tasks[name] = rows[name][order]
    return tasks


class BatchSize:
    """How many stars to hand out at once.

    A batch is to take about half a second: then what a message costs (some 10 us) does not count, a worker is
    never far from its next report, and a kill costs little. Towards the end, batches become smaller, so that
    all workers finish together: a batch is never more than a share of what is left.

    Parameters
    ----------
    workers : int
        Number of ranks that compute.
    fixed : int, optional
        Always hand out this many.
    """

    #: Seconds that a batch should take.
    SECONDS = 0.5
    #: Most stars of a batch: keeps messages small enough to be sent without waiting for their receiver.
    LARGEST = 500
    #: Stars of a batch as long as nothing is known of what a star costs.
    FIRST = 8
    #: A batch is at most 1/SHARES of what would fall to one worker.
    SHARES = 4

    def __init__(self, workers: int, fixed: int | None = None) -> None:
        self.workers = workers
        self.fixed = fixed
        self._cost: float | None = None

    def learn(self, seconds: NDArray[np.float64]) -> None:
        """Take in the seconds that the stars of one batch took."""
        if len(seconds):
            # The median: a rank's first star may take seconds, because it compiles or reads what others
            # share.
            cost = float(np.median(seconds))
            self._cost = cost if self._cost is None else 0.8 * self._cost + 0.2 * cost

    def of(self, left: int) -> int:
        """Size of the next batch if `left` stars are left."""
        if self.fixed:
            return self.fixed
        size = self.FIRST if self._cost is None else int(self.SECONDS / max(self._cost, 1e-6))
        return max(1, min(size, self.LARGEST, math.ceil(left / (self.SHARES * self.workers))))


class Queue:
    """Tasks in order, taken batch by batch; a batch is never of two CCDs.

    Parameters
    ----------
    tasks : ndarray of TASK_DTYPE
        In order; see `tasks_of`.
    size : BatchSize
        Decides how many are taken at once.
    """

    def __init__(self, tasks: NDArray[np.void], size: BatchSize) -> None:
        self.tasks = tasks
        self.size = size
        self._taken = 0
        place = tasks[["sector", "camera", "ccd"]]
        self._ends = np.append(np.flatnonzero(place[1:] != place[:-1]) + 1, len(tasks))

    def __len__(self) -> int:
        return len(self.tasks) - self._taken

    def take(self) -> NDArray[np.void]:
        """The next batch; empty if none is left."""
        start = self._taken
        if start < len(self.tasks):
            end_of_ccd = int(self._ends[np.searchsorted(self._ends, start, "right")])
            self._taken = min(start + self.size.of(len(self)), end_of_ccd)
        return self.tasks[start : self._taken]
