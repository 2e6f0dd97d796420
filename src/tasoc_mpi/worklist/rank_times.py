"""What each rank of a run does with its time and memory, from the messages of results as they come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.messages import Usage

__all__ = ["BINS", "ROWS", "RankTimes", "Ranks"]

#: Intervals and rows of the timeline at most; of more ranks neighbours share a row.
BINS, ROWS = 240, 128


@dataclass
class Ranks:
    """The ranks of a run, rank 0 first.

    Examples
    --------
    >>> Ranks([0, 0, 1], ["n1", "n1", "n2"]).workers
    range(1, 3)
    >>> Ranks([0], ["n1"]).workers
    range(0, 1)
    >>> str(Ranks([0, 0, 1], ["n1", "n1", "n2"])), str(Ranks([0], ["n1"]))
    ('2 of 3 ranks', '1 process')
    """

    node: list[int]  #: Number of each rank's node
    host: list[str]  #: Name of each rank's host
    usage: list[Usage] = field(default_factory=list)  #: Memory and time of compiling, as ranks tell of it

    def __post_init__(self) -> None:
        self.usage = self.usage or [Usage() for _ in self.node]

    def __len__(self) -> int:
        return len(self.node)

    def __str__(self) -> str:
        return "1 process" if len(self) == 1 else f"{len(self.workers)} of {len(self)} ranks"

    @property
    def workers(self) -> range:
        """The ranks that compute: without workers rank 0 does."""
        return range(1, len(self)) if len(self) > 1 else range(1)


class RankTimes:
    """When ranks computed, compiled and waited, as their results came in.

    Parameters
    ----------
    ranks : Ranks

    Attributes
    ----------
    computing, waiting : ndarray of float64, shape (ranks,)
        Seconds so far.
    stars : ndarray of int64, shape (ranks,)
        Results so far.
    last : ndarray of float64, shape (ranks,)
        When the last results came, seconds since the start; NaN where none has.

    Examples
    --------
    >>> times = RankTimes(Ranks([0, 0, 0], ["n1"] * 3))
    >>> times.add([1, 2], 4.0, np.array([2.0, 3.0]), np.array([0.5, 0.0]), np.array([10, 20]))
    >>> binned = times.binned(4.0, bins=4)
    >>> binned["computing"][0], binned["waiting"][0], binned["stars"]
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.0, 0.0], [0, 0, 0, 30])
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.computing, self.waiting = np.zeros(len(ranks)), np.zeros(len(ranks))
        self.stars = np.zeros(len(ranks), np.int64)
        self.last = np.full(len(ranks), np.nan)
        self._compiled = np.zeros(len(ranks))
        self._parts: list[tuple[NDArray[Any], ...]] = []

    def add(
        self,
        ranks: Sequence[int],
        now: float,
        computing: NDArray[np.float64],
        waiting: NDArray[np.float64],
        stars: NDArray[np.int64],
    ) -> None:
        """Add messages of results: whose, seconds since the start, and the sums over the stars of each."""
        which = np.asarray(ranks)
        compiled = np.array([self.ranks.usage[rank].compiling for rank in ranks])
        # Of several messages of a rank the first one counts what was compiled.
        first = np.zeros(len(which), bool)
        first[np.unique(which, return_index=True)[1]] = True
        compiling = np.where(first, compiled - self._compiled[which], 0.0)
        self._compiled[which] = compiled
        for total, part in ((self.computing, computing), (self.waiting, waiting), (self.stars, stars)):
            np.add.at(total, which, part)
        self.last[which] = now
        when = np.full(len(which), now)
        self._parts.append((which, when, computing, compiling, waiting, stars))

    def by_rank(self) -> dict[str, list[Any]]:
        """The sums so far: a value a worker; None where one is not known."""
        workers = np.array(self.ranks.workers)
        usage = [self.ranks.usage[rank] for rank in workers]
        return {
            "rank": workers.tolist(),
            "host": [self.ranks.host[rank] for rank in workers],
            "stars": self.stars[workers].tolist(),
            "computing": np.round(self.computing[workers], 3).tolist(),
            "waiting": np.round(self.waiting[workers], 3).tolist(),
            "compiling": [round(one.compiling, 3) for one in usage],
            "memory": [round(one.memory) if math.isfinite(one.memory) else None for one in usage],
            "last": [round(t, 2) if math.isfinite(t) else None for t in self.last[workers].tolist()],
        }

    def binned(self, seconds: float, bins: int = BINS) -> dict[str, Any]:
        """The timeline.

        Parameters
        ----------
        seconds : float
            Length of the run.
        bins : int, optional
            Number of intervals.

        Returns
        -------
        dict
            ``interval`` (s); ``stars``, results of each interval; ``ranks``, first and last of each row (a
            worker, or a group of neighbours); ``computing``, ``compiling`` and ``waiting``, one list a row:
            seconds of each interval, the mean of the row's ranks.
        """
        edges = np.linspace(0.0, max(seconds, 1e-3), bins + 1)
        workers = np.array(self.ranks.workers)
        groups = np.array_split(workers, min(ROWS, len(workers)))
        none: tuple[NDArray[Any], ...] = (np.zeros(0),) * 6
        parts = map(np.concatenate, zip(*(self._parts or [none]), strict=True))
        rank, end, computing, compiling, waiting, stars = parts
        rows: dict[str, Any] = {"computing": [], "compiling": [], "waiting": []}
        for group in groups:
            mine = (rank >= group[0]) & (rank <= group[-1])
            stop, busy, compiled, idle = end[mine], computing[mine], compiling[mine], waiting[mine]
            # A batch is waited for, its kernels are compiled, and it is computed.
            for name, ends, lengths in (
                ("computing", stop, busy),
                ("compiling", stop - busy, compiled),
                ("waiting", stop - busy - compiled, idle),
            ):
                total = np.diff(_covered(edges, ends, lengths)) / len(group)
                rows[name].append(np.round(total, 4).tolist())
        per_bin = np.histogram(np.minimum(end, edges[-1]), edges, weights=stars)[0]
        return {
            "interval": float(edges[1]),
            "stars": per_bin.astype(int).tolist(),
            "ranks": [[int(group[0]), int(group[-1])] for group in groups],
            **rows,
        }


def _covered(
    edges: NDArray[np.float64], ends: NDArray[np.float64], lengths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Length of the intervals (end, length) before each edge, summed."""
    total = np.zeros(len(edges))
    for first in range(0, len(ends), 10_000):
        part = slice(first, first + 10_000)
        reached = edges[:, None] - (ends[part] - lengths[part])
        total += np.clip(reached, 0.0, lengths[part]).sum(axis=1)
    return total
