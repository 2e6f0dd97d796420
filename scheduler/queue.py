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
#: Tiles of target pixel files are numbered by their star, behind all others.
_FILE = 1 << 32


class BatchSize:
    """How many stars to hand out at once.

    A batch is to take about half a second: then what a message costs does not count, a worker is never far
    from its next report, and a kill costs little. Towards the end, batches become smaller, so that all
    workers finish together: each gets only a share of what it is behind the level at which they would. But
    batches never become so small that rank 0 could not answer all workers in the time that a batch takes.

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
    #: Stars of a batch as long as nothing is known of what a star costs; what is then taken to be its cost if
    #: there are so many workers that rank 0 would not keep up.
    FIRST = 8
    GUESS = 5e-3
    #: What a worker gets of what it is behind. With more of it, those who then are too late decide when the
    #: run ends; with less, there are more messages.
    SHARE = 0.4
    #: How busy the smallest batches would make rank 0. They are the last, so there are never so many of them;
    #: with larger ones the run would not end level.
    LOAD = 2.0

    def __init__(self, workers: int, fixed: int | None = None) -> None:
        self.workers = workers
        self.fixed = fixed
        self._cost: float | None = None
        self._seen = 0
        self._message = 20e-6
        self._update()

    def learn(self, seconds: NDArray[np.float64]) -> None:
        """Take in the seconds that some stars took."""
        if len(seconds):
            # The median: a rank's first star may take seconds, because it compiles or reads what others
            # share.
            cost = float(np.median(seconds))
            self._seen += len(seconds)
            self._cost = cost if self._cost is None else 0.8 * self._cost + 0.2 * cost
            self._update()

    def charge(self, seconds: float, messages: int = 1) -> None:
        """Take in the seconds that rank 0 spent on each of some messages."""
        keep = 0.998**messages
        self._message = keep * self._message + (1 - keep) * seconds
        self._update()

    def _update(self) -> None:
        """What is the same for all batches until something new is known."""
        cost = self.GUESS if self._cost is None else max(self._cost, 1e-7)
        if self._seen < self.FIRST * self.workers:
            # The first results are those of the quickest stars.
            cost = max(cost, self.GUESS)
        self._least = min(self.workers * self._message / self.LOAD, self.SECONDS) / cost
        self._most = max(1, min(int(self.SECONDS / cost), self.LARGEST))
        if self._cost is None:
            # The first batch has to last until rank 0 has sent all workers another one.
            self._most = max(self.FIRST, int(3 * self.LOAD * self._least))

    def of(self, behind: float) -> int:
        """Size of the next batch for a worker.

        Parameters
        ----------
        behind : float
            How many stars less it has than if all that are left were shared out level; not positive if it
            already has more.
        """
        if self.fixed:
            return self.fixed
        return min(round(max(self.SHARE * behind, min(self._least, behind), 0.0)), self._most)


def _places(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """A number for (sector, camera, CCD)."""
    return (rows["sector"].astype(np.int64) * 8 + rows["camera"]) * 8 + rows["ccd"]


def _files(rows: NDArray[np.void], tile: NDArray[np.int64]) -> None:
    """Number the tiles of rows from target pixel files: a file is a tile, because it is slow to open."""
    kind = rows.dtype["datasource"].kind
    for index in np.flatnonzero(rows["datasource"] != np.asarray("ffi", dtype=kind)).tolist():
        name = str(np.asarray(rows["datasource"][index]).astype(str))
        primary = int(name[4:]) if name[4:].isascii() and name[4:].isdigit() else int(rows["starid"][index])
        tile[index] = _FILE + primary


class Queue:
    """Stars in order, taken batch by batch; a batch is never of two CCDs.

    They are ordered by CCD, within it by tile, and in a tile from bright to faint, because bright stars make
    fainter ones superfluous. A node keeps to one CCD as long as that has tiles, and to a tile once it has
    begun it, so that each tile is read by one node. A node whose CCD is finished takes the one with most
    tiles left for each node that is there. The stars of a target pixel file are one tile, and go to one
    worker.

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
        unknown = tiles < 0
        # Behind those that are known.
        tiles[unknown] = _FILE - 1
        _files(chosen, tiles)
        tiles[(chosen["tmag"] <= BRIGHT) & (tiles < _FILE)] = -1
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
        edge = np.flatnonzero((place[1:] != place[:-1]) | (tiles[1:] != tiles[:-1])) + 1
        starts, ends = np.append(0, edge), np.append(edge, len(order))
        #: Where tiles end, and whether that is a target pixel file's.
        self._ends = array("q", _cut(starts, ends, tiles[starts] if len(order) else tiles))
        self._whole = tiles >= _FILE
        ccd = np.append(np.flatnonzero(place[1:] != place[:-1]) + 1, len(order)).tolist()
        self._next = [0, *ccd[:-1]] if len(order) else []
        self._last = ccd if len(order) else []
        self._nodes = [0] * len(self._next)
        self._ccd_of: dict[int, int] = {}
        self._open: dict[int, tuple[int, int]] = {}
        self._left = len(order)

    def __len__(self) -> int:
        return self._left

    def leave_out(self, rows: NDArray[np.integer]) -> None:
        """Pass over these rows of the work list from now on."""
        np.frombuffer(self._out, np.uint8)[self._place[rows]] = 1

    def take(self, node: int = 0, behind: float | None = None) -> NDArray[np.void]:
        """The next batch for a worker of a node.

        Parameters
        ----------
        node : int, optional
            Number of the node.
        behind : float, optional
            See `BatchSize.of`. Default: as for the only worker.

        Returns
        -------
        ndarray of TASK_DTYPE
            Empty if there is none.
        """
        while True:
            size = max(1, self.size.of(self._left if behind is None else behind))
            start, end = self._open.get(node, (0, 0))
            if start == end:
                if not self._reserve(node, size):
                    return self._tasks[:0]
                start, end = self._open[node]
            stop = self._stop(start, end, size)
            self._open[node] = (stop, end)
            self._left -= stop - start
            if self._out.find(1, start, stop) < 0:
                return self._tasks[start:stop]
            if 0 in self._out[start:stop]:
                return self._tasks[start:stop][np.frombuffer(self._out, np.uint8)[start:stop] == 0]

    def _stop(self, start: int, end: int, size: int) -> int:
        """Where a batch that begins at `start` ends; better with a tile than in the midst of one."""
        if start + size >= end:
            return end
        if self.size.fixed:
            return start + size
        if self._whole[start + size - 1]:
            return min(self._ends[bisect_right(self._ends, start + size - 1)], end)
        before = bisect_right(self._ends, start + size + size // 4) - 1
        if before >= 0 and self._ends[before] >= start + (size + 1) // 2:
            return min(self._ends[before], end)
        return start + size

    def _reserve(self, node: int, size: int) -> bool:
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
        last = min(start + size, self._last[ccd]) - 1
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
        if self._whole[middle]:
            middle = start
        self._open[other], self._open[node] = (start, middle), (middle, end)
        return True


def _cut(starts: NDArray[np.int64], ends: NDArray[np.int64], tiles: NDArray[np.int64]) -> list[int]:
    """Ends of tiles, with those of unknown tiles in between."""
    unknown = np.flatnonzero(tiles == _FILE - 1)
    more = [np.arange(starts[i] + TILE_STARS, ends[i], TILE_STARS) for i in unknown.tolist()]
    return np.unique(np.concatenate([ends, *more])).tolist() if len(tiles) else []
