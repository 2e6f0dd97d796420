"""The stars that are still to be computed, and which of them are handed out next, to which node."""

from __future__ import annotations

from array import array
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchSize", "Queue"]

#: Stars as bright as this are handed out before all others of their CCD: they take longest (their stamps are
#: larger than a tile), so they are not to be what everybody waits for in the end.
BRIGHT = 6.0
#: Stars that are taken as one tile where tiles are not known.
TILE_STARS = 128
#: Target pixel files are tiles numbered by their star, before all others: their stars take long, too.
_FILE = -(1 << 62)
#: Tiles that are not known come behind all others.
_UNKNOWN = 1 << 32


class BatchSize:
    """How many stars to hand out at once.

    A batch is to take about half a second: then what a message costs does not count, a worker is never far
    from its next report, and a kill costs little. Towards the end, batches become smaller, so that all
    workers finish together: each gets only a share of what it is behind the level at which they would. But
    batches never become so small that rank 0 could not answer all workers in the time that a batch takes.

    A star of a target pixel file, which has a hundred times as many cadences, has a cost of its own.

    Parameters
    ----------
    workers : int
        Number of ranks that compute.
    fixed : int, optional
        Always hand out this many.

    Attributes
    ----------
    cost : list of float
        Seconds that a star takes: one of full frame images, one of a target pixel file.
    """

    #: Seconds that a batch should take.
    SECONDS = 0.5
    #: Most stars of a batch: keeps messages small enough to be sent without waiting for their receiver.
    LARGEST = 500
    #: What stars are taken to cost before something is known of it, and at least as long as fewer than so
    #: many for each worker are known: the first results are those of the quickest stars. The mean is that of
    #: the last ones, twice as many.
    GUESS = (5e-3, 0.1)
    FIRST = 8
    #: A rank's first star may take half a minute, because it compiles: so much is not the star's.
    LONGEST = 5.0
    #: Seconds that a batch should take if nothing is known of its stars.
    FIRST_SECONDS = 0.04
    #: What a worker gets of what it is behind. With more of it, those who then are too late decide when the
    #: run ends; with less, there are more messages.
    SHARE = 0.4
    #: How busy the smallest batches would make rank 0. They are the last, so there are never so many of them;
    #: with larger ones the run would not end level.
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

    def learn(self, seconds: NDArray[np.float64], in_file: NDArray[np.bool_]) -> None:
        """Take in the seconds that some stars took, and which of them are of target pixel files."""
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

    def charge(self, seconds: float, messages: int = 1) -> None:
        """Take in the seconds that rank 0 spent on each of some messages."""
        keep = 0.998**messages
        self._message = keep * self._message + (1 - keep) * seconds
        self._update()

    def _update(self) -> None:
        """What is the same for all batches until something new is known."""
        self._least = min(self.workers * self._message / self.LOAD, self.SECONDS)
        # The first batch has to last until rank 0 has sent all workers another one.
        first = max(self.FIRST_SECONDS, 3 * self.LOAD * self._least)
        self._most = [self.SECONDS if seen else first for seen in self._seen]

    def of(self, behind: float, in_file: bool | int = False) -> int:
        """Size of the next batch for a worker.

        Parameters
        ----------
        behind : float
            How many seconds of work less it has than if all that is left were shared out level; not positive
            if it already has more.
        in_file : bool, optional
            Whether its stars are of target pixel files.
        """
        if self.fixed:
            return self.fixed
        # Of the least, not more than it is behind.
        seconds = max(self.SHARE * behind, min(self._least, behind))
        return max(0, min(round(min(seconds, self._most[in_file]) / self.cost[in_file]), self.LARGEST))


def _places(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """A number for (sector, camera, CCD)."""
    return (rows["sector"].astype(np.int64) * 8 + rows["camera"]) * 8 + rows["ccd"]


def _files(rows: NDArray[np.void], tile: NDArray[np.int64]) -> None:
    """Number the tiles of rows from target pixel files: a file is a tile, because it is slow to open."""
    kind = rows.dtype["datasource"].kind
    for index in np.flatnonzero(rows["datasource"] != np.asarray("ffi", dtype=kind)).tolist():
        name = str(np.asarray(rows["datasource"][index]).astype(str))
        primary = int(name[4:]) if name[4:].isascii() and name[4:].isdigit() else int(rows["starid"][index])
        # A name may hold any number; two that share a tile by chance do no harm.
        tile[index] = _FILE + primary % (1 << 61)


class Queue:
    """Stars in order, taken batch by batch; a batch is never of two CCDs.

    They are ordered by CCD, within it target pixel files first, then by tile, and in a tile from bright to
    faint, because bright stars make fainter ones superfluous. A node keeps to one CCD as long as that has
    tiles, and to a tile once it has begun it, so that each tile is read by one node. A node whose CCD is
    finished takes the one with most tiles left for each node that is there. The stars of a target pixel file
    are one tile, and go to one worker.

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
        chosen = rows[wanted]
        place = _places(chosen)
        tiles = np.full(len(wanted), -1) if tile is None else tile[wanted].astype(np.int64)
        tiles[tiles < 0] = _UNKNOWN
        tiles[chosen["tmag"] <= BRIGHT] = -1
        _files(chosen, tiles)
        order = np.lexsort((chosen["priority"], tiles, place))
        #: Where each row stands; behind all others if it is not wanted.
        self._place = np.full(len(rows), len(order), np.int32)
        self._place[np.asarray(wanted)[order]] = np.arange(len(order), dtype=np.int32)
        #: Which are passed over. As bytes they are searched in no time.
        self._out = bytearray(len(order) + 1)
        #: In order, because gathering rows from all over the list takes most of a batch's time otherwise.
        self._tasks = chosen[order]
        del chosen
        place, tiles = place[order], tiles[order]
        in_file = tiles < -1
        #: Which are of target pixel files; as bytes, too.
        self._in_file = in_file.tobytes()
        #: Where tiles end; what may be in one batch; CCDs.
        self._ends = array("q", _cut(place, tiles))
        self._borders = array("q", _runs(place, in_file))
        ccd = _runs(place)
        self._next = [0, *ccd[:-1]] if ccd else []
        self._last = ccd
        self._nodes = [0] * len(ccd)
        self._ccd_of: dict[int, int] = {}
        self._open: dict[int, tuple[int, int]] = {}
        files = int(np.count_nonzero(in_file))
        self._left = [len(order) - files, files]

    def __len__(self) -> int:
        return self._left[0] + self._left[1]

    @property
    def seconds(self) -> float:
        """What the stars that are left are thought to take, by one worker."""
        return self._left[0] * self.size.cost[0] + self._left[1] * self.size.cost[1]

    def leave_out(self, rows: NDArray[np.integer]) -> None:
        """Pass over these rows of the work list from now on."""
        np.frombuffer(self._out, np.uint8)[self._place[rows]] = 1

    def take(self, node: int = 0, behind: float | None = None) -> tuple[NDArray[np.void], float]:
        """The next batch for a worker of a node.

        Parameters
        ----------
        node : int, optional
            Number of the node.
        behind : float, optional
            See `BatchSize.of`. Default: as for the only worker.

        Returns
        -------
        tasks : ndarray of TASK_DTYPE
            Empty if there is none.
        seconds : float
            What it is thought to take.
        """
        if behind is None:
            behind = self.seconds
        while True:
            start, end = self._open.get(node, (0, 0))
            if start == end:
                if not self._reserve(node, behind):
                    return self._tasks[:0], 0.0
                start, end = self._open[node]
            stop = self._stop(start, end, self._size(start, behind))
            self._open[node] = (stop, end)
            kind = self._in_file[start]
            self._left[kind] -= stop - start
            tasks = self._tasks[start:stop]
            if self._out.find(1, start, stop) >= 0:
                tasks = tasks[np.frombuffer(self._out, np.uint8)[start:stop] == 0]
            if len(tasks):
                return tasks, len(tasks) * self.size.cost[kind]

    def _size(self, start: int, behind: float) -> int:
        return max(1, self.size.of(behind, self._in_file[start]))

    def _stop(self, start: int, end: int, size: int) -> int:
        """Where a batch that begins at `start` ends; better with a tile than in the midst of one."""
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

    def _reserve(self, node: int, behind: float) -> bool:
        """Give a node the next tiles; if there are none, half of what another has not handed out yet."""
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
                return self._steal(node)
            self._ccd_of[node] = ccd
            self._nodes[ccd] += 1
        start = self._next[ccd]
        last = min(start + self._size(start, behind), self._last[ccd]) - 1
        stop = self._ends[bisect_right(self._ends, last)]
        self._next[ccd] = stop
        self._open[node] = (start, stop)
        return True

    def _steal(self, node: int) -> bool:
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


def _cut(place: NDArray[np.int64], tiles: NDArray[np.int64]) -> list[int]:
    """Ends of tiles, with those of unknown tiles in between."""
    ends = np.array(_runs(place, tiles), np.int64)
    if not len(ends):
        return []
    starts = np.append(0, ends[:-1])
    unknown = np.flatnonzero(tiles[starts] == _UNKNOWN)
    more = [np.arange(starts[i] + TILE_STARS, ends[i], TILE_STARS) for i in unknown.tolist()]
    return np.unique(np.concatenate([ends, *more])).tolist()
