"""The stars that are still to be computed, and which of them are handed out next, to which node."""

from __future__ import annotations

from array import array
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from ..worklist.skip_rule import primaries

__all__ = ["BRIGHT", "BatchSize", "Queue"]

#: Stars of this Tmag or brighter are handed out before the others of their CCD: their stamps are larger than
#: a tile, they take longest, and the other workers would wait for them at the end.
BRIGHT = 6.0
#: Numbers of tiles that come before those of the CCD: stars whose tile is not known, bright stars, and target
#: pixel files, which take longest; each file is a tile, because it is slow to open.
_UNKNOWN_TILE, _BRIGHT_TILE, _FIRST_FILE = -1, -2, -(1 << 62)


class BatchSize:
    """The number of stars in a worker's next batch.

    With n the number of workers, m the mean time that rank 0 spends on a message, c the mean time of a star
    and the worker's deficit d = (time of all unfinished stars) / n - (time of the worker's batches)::

        least = min(n m / 2, 0.5 s)
        stars = min(max(0.4 d, min(least, d)), most) / c     (rounded; 0 to 500)
        most  = 0.5 s;  before the first result max(0.04 s, 6 least)

    So a batch takes half a second, where messages cost nothing and a kill little, and less towards the end,
    where all workers finish together; but never so little that rank 0 could answer less than half of the
    workers in that time.

    c is the mean of the last results, and at least 5 ms until there are 8 results for each worker. Stars of
    target pixel files, which have a hundred times as many cadences, have a mean of their own.

    Parameters
    ----------
    workers : int
        Number of ranks that compute.
    fixed : int, optional
        Always hand out this many.

    Attributes
    ----------
    cost : list of float
        Mean seconds of a star: of full frame images, of a target pixel file.
    """

    #: Seconds of a batch, and of the first ones.
    SECONDS, FIRST_SECONDS = 0.5, 0.04
    #: Keeps messages small enough to be sent without waiting for their receiver.
    LARGEST = 500
    #: Least cost until so many results for each worker are known: the first are those of the quickest stars.
    #: The mean is that of the last ones, twice as many.
    GUESS, FIRST = (5e-3, 0.1), 8
    #: A process's first star takes up to half a minute, because it compiles: so much (seconds) counts of it.
    LONGEST = 5.0
    #: With a larger share of the deficit the last workers end later; with a smaller one there are more
    #: messages.
    SHARE = 0.4
    #: Share of its time that rank 0 would need for the smallest batches. There are few of them, at the end.
    LOAD = 2.0

    def __init__(self, workers: int, fixed: int | None = None) -> None:
        self.workers = workers
        self.fixed = fixed
        self.cost = list(self.GUESS)
        self._few = self.FIRST * workers
        self._mean = [0.0, 0.0]
        self._seen = [0, 0]
        self._message = 20e-6
        self._update()

    def learn_stars(self, seconds: NDArray[np.float64], in_file: NDArray[np.bool_]) -> None:
        """Learn from the seconds that some stars took, and which of them are of target pixel files."""
        seconds = np.minimum(seconds, self.LONGEST)
        for kind in (0, 1):
            some = seconds[in_file == kind]
            if len(some):
                self._seen[kind] += len(some)
                new = min(1.0, len(some) / min(self._seen[kind], 2 * self._few))
                self._mean[kind] += new * (float(some.mean()) - self._mean[kind])
                least = self.GUESS[kind] if self._seen[kind] < self._few else 1e-7
                self.cost[kind] = max(self._mean[kind], least)
        self._update()

    def learn_message(self, seconds: float, messages: int = 1) -> None:
        """Learn from the seconds that rank 0 spent on each of some messages."""
        keep = 0.998**messages
        self._message = keep * self._message + (1 - keep) * seconds
        self._update()

    def _update(self) -> None:
        self._least = min(self.workers * self._message / self.LOAD, self.SECONDS)
        # The first batch has to last until rank 0 has sent all workers another one.
        first = max(self.FIRST_SECONDS, 3 * self.LOAD * self._least)
        self._most = [self.SECONDS if seen else first for seen in self._seen]

    def stars(self, deficit: float, in_file: bool | int = False) -> int:
        """Size of the next batch for a worker with this deficit (seconds), of target pixel files or not."""
        if self.fixed:
            return self.fixed
        seconds = max(self.SHARE * deficit, min(self._least, deficit))
        return max(0, min(round(min(seconds, self._most[in_file]) / self.cost[in_file]), self.LARGEST))


class Queue:
    """Stars in order, taken batch by batch; a batch is never of two CCDs.

    They are ordered by CCD, within it target pixel files first, then bright stars, then by tile, and in a
    tile from bright to faint, because bright stars make fainter ones superfluous. A node keeps to one CCD as
    long as that has tiles, and to a tile once it has begun it, so that one node reads each tile. A node whose
    CCD is finished takes the CCD with most stars left for each of its nodes. The stars of a target pixel file
    go to one worker.

    Parameters
    ----------
    rows : ndarray of TASK_DTYPE
        The work list.
    wanted : ndarray of int
        Rows to be computed.
    size : BatchSize
        Decides how many are taken at once.
    tile : ndarray of int, optional
        Tile of each row of the work list, -1 where it is not known. Default: none is known.
    """

    def __init__(
        self,
        rows: NDArray[np.void],
        wanted: NDArray[np.integer],
        size: BatchSize,
        tile: NDArray[np.integer] | None = None,
    ) -> None:
        self.size = size
        tiles = np.full(len(wanted), _UNKNOWN_TILE) if tile is None else tile[wanted].astype(np.int64)
        tiles[rows["tmag"][wanted] <= BRIGHT] = _BRIGHT_TILE
        of_file = np.flatnonzero(rows["datasource"][wanted] != b"ffi")
        files = rows[wanted[of_file]]
        primary = primaries(files)
        primary = np.where(primary >= 0, primary, files["starid"])
        # Two numbers that become one by the modulo share a tile: that does no harm.
        tiles[of_file] = _FIRST_FILE + primary % (1 << 61)
        ccd = (rows["sector"][wanted].astype(np.int64) * 8 + rows["camera"][wanted]) * 8 + rows["ccd"][wanted]
        order = np.lexsort((rows["priority"][wanted], tiles, ccd)).astype(np.int32)
        ccd, tiles = ccd[order], tiles[order]
        #: Place of each row in the queue; behind all others if it is not wanted.
        self._place = np.full(len(rows), len(order), np.int32)
        self._place[wanted[order]] = np.arange(len(order), dtype=np.int32)
        #: Which places are passed over. Bytes are searched in no time.
        self._out = bytearray(len(order) + 1)
        #: In order, because gathering rows from all over the list would take most of a batch's time.
        self._tasks = rows[wanted[order]]
        in_file = tiles < _BRIGHT_TILE
        #: Which places are of target pixel files; bytes, too.
        self._in_file = in_file.tobytes()
        #: Ends of tiles; of stars that may be in one batch; of CCDs.
        self._ends = array("q", _runs(ccd, tiles))
        self._borders = array("q", _runs(ccd, in_file))
        self._last = _runs(ccd)
        self._next = [0, *self._last[:-1]] if self._last else []
        self._nodes = [0] * len(self._last)
        self._ccd_of: dict[int, int] = {}
        self._open: dict[int, tuple[int, int]] = {}
        self._left = [len(order) - len(of_file), len(of_file)]

    def __len__(self) -> int:
        return self._left[0] + self._left[1]

    @property
    def seconds(self) -> float:
        """Expected seconds of the stars that are left, for one worker."""
        return self._left[0] * self.size.cost[0] + self._left[1] * self.size.cost[1]

    def leave_out(self, rows: NDArray[np.integer]) -> None:
        """Pass over these rows of the work list from now on."""
        np.frombuffer(self._out, np.uint8)[self._place[rows]] = 1

    def take(self, node: int = 0, deficit: float | None = None) -> tuple[NDArray[np.void], float]:
        """The next batch for a worker of a node.

        Parameters
        ----------
        node : int, optional
            Number of the node.
        deficit : float, optional
            Of the worker; see `BatchSize`. Default: as for the only worker.

        Returns
        -------
        tasks : ndarray of TASK_DTYPE
            Empty if there is none.
        seconds : float
            Expected time for them.
        """
        if deficit is None:
            deficit = self.seconds
        while True:
            start, end = self._open.get(node, (0, 0))
            if start == end:
                if not self._open_tiles(node, deficit):
                    return self._tasks[:0], 0.0
                start, end = self._open[node]
            stop = self._batch_end(start, end, self._size(start, deficit))
            self._open[node] = (stop, end)
            kind = self._in_file[start]
            self._left[kind] -= stop - start
            tasks = self._tasks[start:stop]
            if self._out.find(1, start, stop) >= 0:
                tasks = tasks[np.frombuffer(self._out, np.uint8)[start:stop] == 0]
            if len(tasks):
                return tasks, len(tasks) * self.size.cost[kind]

    def _size(self, start: int, deficit: float) -> int:
        return max(1, self.size.stars(deficit, self._in_file[start]))

    def _batch_end(self, start: int, end: int, size: int) -> int:
        """Where a batch that begins at `start` ends: with a tile, if one ends at 0.5 to 1.25 of its size."""
        end = min(end, self._borders[bisect_right(self._borders, start)])
        if start + size >= end:
            return end
        if self.size.fixed:
            return start + size
        if self._in_file[start]:
            return min(self._ends[bisect_right(self._ends, start + size - 1)], end)
        before = bisect_right(self._ends, start + size + size // 4) - 1
        if before >= 0 and self._ends[before] >= start + (size + 1) // 2:
            return min(self._ends[before], end)
        return start + size

    def _open_tiles(self, node: int, deficit: float) -> bool:
        """Give a node the next tiles; if there are none, half of what another node has not handed out yet."""
        ccd = self._ccd_of.get(node, -1)
        if ccd < 0 or self._next[ccd] == self._last[ccd]:
            if ccd >= 0:
                self._nodes[ccd] -= 1
                del self._ccd_of[node]
            share = [
                (last - first) / (1 + nodes)
                for first, last, nodes in zip(self._next, self._last, self._nodes, strict=True)
            ]
            ccd = max(range(len(share)), key=share.__getitem__, default=-1)
            if ccd < 0 or not share[ccd]:
                return self._take_half(node)
            self._ccd_of[node] = ccd
            self._nodes[ccd] += 1
        start = self._next[ccd]
        last = min(start + self._size(start, deficit), self._last[ccd]) - 1
        stop = self._ends[bisect_right(self._ends, last)]
        self._next[ccd] = stop
        self._open[node] = (start, stop)
        return True

    def _take_half(self, node: int) -> bool:
        left = {other: end - start for other, (start, end) in self._open.items()}
        other = max(left, key=left.__getitem__, default=-1)
        if other < 0 or not left[other]:
            return False
        start, end = self._open[other]
        middle = (start + end) // 2
        if self._in_file[middle]:
            middle = start
        self._open[other], self._open[node] = (start, middle), (middle, end)
        return True


def _runs(*keys: NDArray[np.generic]) -> list[int]:
    """Ends of the runs in which all keys are the same."""
    if not len(keys[0]):
        return []
    change = np.zeros(len(keys[0]), bool)
    change[-1] = True
    for key in keys:
        change[:-1] |= key[1:] != key[:-1]
    return (np.flatnonzero(change) + 1).tolist()
