"""How long a run takes: by the results so far, and of what has none by a trial of a few stars."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import TasocError, one_line
from ..core.messages import Results
from ..core.progress import duration
from ..core.status import STATUS
from ..core.tables import counted
from ..worklist.failures import cause_line
from .run_results import RunResults

__all__ = ["RunTime", "StarTime", "Trial", "estimate_time"]

logger = logging.getLogger(__name__)

#: Computes stars for a trial, given as TASK_DTYPE, and returns the results of those that its time allowed.
Trial = Callable[[NDArray[np.void]], Results]

#: Stars of a trial in all, and of each kind at least.
_STARS, _STARS_OF_KIND = 20, 2
#: Longest message of a star that failed.
_LONGEST = 120


@dataclass(frozen=True)
class StarTime:
    """The time of the stars of one kind: of one data source, cadence and method."""

    source: str  #: ``ffi`` or ``tpf``
    cadence: int  #: Seconds
    method: str
    rows: int  #: To be computed
    seconds: float  #: Mean of a star; NaN if it is not known
    measured: int  #: Stars that it is the mean of
    trial: bool  #: Whether they are of a trial, and not results
    failed: int = 0  #: Stars of the trial that failed

    def __str__(self) -> str:
        what = "target pixel files" if self.source == "tpf" else "images"
        kind = f"{what} at {self.cadence} s, {self.method}"
        stars = f"a trial of {counted(self.measured + self.failed, 'star')}"
        if not self.measured:
            failed = f"all failed of {stars}" if self.failed else "the trial had no time for a star"
            return f"{kind}: not known ({failed})"
        origin = stars if self.trial else counted(self.measured, "result")
        failed = f", of which {self.failed} failed" if self.failed else ""
        return f"{kind}: {_span(self.seconds)} a star (from {origin}{failed})"


@dataclass(frozen=True)
class RunTime:
    """An estimate of the time of a run.

    Attributes
    ----------
    stars : tuple of StarTime
        By kind; that with most rows first.
    ranks, workers : int
        Of the run.
    at_once : int
        Stars that are computed at the same time: one a worker, or one a processor if these are fewer.
    note : str
        Why the trial has no more; '' if there is nothing to say.
    """

    stars: tuple[StarTime, ...]
    ranks: int
    workers: int
    at_once: int
    note: str = ""

    @property
    def core_seconds(self) -> float:
        """Of all stars whose time is known; NaN if there is none."""
        known = [one.rows * one.seconds for one in self.stars if one.measured]
        return sum(known) if known or not self.stars else float("nan")

    def values(self) -> dict[str, Any]:
        """For programs: what is not known is NaN."""
        return {
            "seconds": self.core_seconds / self.at_once,
            "core_seconds": self.core_seconds,
            "stars_at_once": self.at_once,
            "rows_of_unknown_time": sum(one.rows for one in self.stars if not one.measured),
            "kinds": [asdict(one) for one in self.stars],
            "note": self.note,
        }

    def lines(self) -> Iterator[str]:
        """For the user."""
        if not self.stars:
            yield "time: none, no row is left to compute"
            return
        total, unknown = self.core_seconds, sum(one.rows for one in self.stars if not one.measured)
        if np.isnan(total):
            yield "time: not known"
        else:
            ranks = f"{self.ranks} ranks" if self.ranks > 1 else "one process"
            if self.at_once < self.workers:
                ranks += f", which share {counted(self.at_once, 'processor')}"
            work = f"{total / 3600:.2g} core-hours" if total >= 360 else f"{total:.2g} core-seconds"
            rest = f", and that of {unknown} rows, which is not known" if unknown else ""
            yield (
                f"time: about {duration(max(1.0, total / self.at_once))} on {ranks} ({work}),"
                f" without start and end of the run{rest}"
            )
        for one in self.stars:
            yield f"  {one}"
        if self.note:
            yield f"  {self.note}"


def estimate_time(
    results: RunResults, wanted: NDArray[np.bool_], method: str, node: list[int], trial: Trial
) -> RunTime:
    """Estimate how long a run takes.

    The time of a star depends on its data source, its cadence and its method: one of a target pixel file
    takes up to a hundred times as long as one of the images.

    Parameters
    ----------
    results : RunResults
        The results so far.
    wanted : ndarray of bool
        Rows that would be computed.
    method : str
        What computes all stars; '' where the work list chooses.
    node : list of int
        Number of each rank's node, rank 0's first.
    trial : callable
        Computes a few stars of the kinds that have no results.
    """
    kind, kinds = _kinds(results, method)
    # Where all stars have failed, by a mistake of a method, their time tells little.
    good = np.isin(results.last.own_status, (STATUS.OK, STATUS.WARNING))
    measured = (results.last.own_status != STATUS.UNKNOWN) & np.isfinite(results.last.seconds)
    to_try = [one for one in np.unique(kind[wanted]).tolist() if not (good & measured)[kind == one].any()]
    tried, note = _try(results, [np.flatnonzero(wanted & (kind == one)) for one in to_try], trial)
    times = []
    for number in np.unique(kind[wanted]).tolist():
        of_kind = kind == number
        rows = int(np.count_nonzero(wanted & of_kind))
        if number not in to_try:
            seconds = results.last.seconds[measured & of_kind].astype("f8")
            times.append(StarTime(*kinds[number], rows, float(seconds.mean()), len(seconds), trial=False))
            continue
        numbers = tried.numbers[of_kind[results.worklist.find(tried.numbers["priority"])]]
        fine = np.isin(numbers["status"], (STATUS.OK, STATUS.WARNING))
        mean = float(numbers["elaptime"][fine].mean(dtype="f8")) if fine.any() else float("nan")
        failed = int(np.count_nonzero(~fine))
        times.append(StarTime(*kinds[number], rows, mean, int(fine.sum()), trial=True, failed=failed))
    times.sort(key=lambda one: -one.rows)
    workers = [node[1:].count(name) for name in set(node[1:])] or [1]
    # Of other nodes it is not known; they are taken to be as this one.
    processors = os.cpu_count() or 1
    at_once = sum(min(count, processors) for count in workers)
    return RunTime(tuple(times), len(node), sum(workers), at_once, note)


def _kinds(results: RunResults, method: str) -> tuple[NDArray[np.int64], dict[int, tuple[str, int, str]]]:
    """The number of each row's kind; data source, cadence and method of each kind by its number."""
    rows, in_file = results.worklist.rows, results.worklist.in_file
    # The stars for which the work list names no method are computed by the aperture.
    methods, of_row = [method or "aperture"], np.zeros(len(rows), np.int64)
    if not method and (rows["method"] != b"").any():
        found, of_row = np.unique(rows["method"], return_inverse=True)
        names = [name.decode() or "aperture" for name in found.tolist()]
        methods = sorted(set(names))
        of_row = np.array([methods.index(name) for name in names])[of_row]
    numbers = (of_row * 10000 + rows["cadence"]) * 2 + in_file
    return numbers, {
        number: (
            "tpf" if number % 2 else "ffi",
            number // 2 % 10000,
            methods[number // 20000],
        )
        for number in np.unique(numbers).tolist()
    }


def _try(results: RunResults, candidates: list[NDArray[np.int64]], trial: Trial) -> tuple[Results, str]:
    """Compute a few stars; their results, and what is to be said about them."""
    rows = results.worklist.rows
    chosen = _choose([index[np.argsort(rows["tmag"][index], kind="stable")] for index in candidates])
    if not chosen:
        return Results.empty(), ""
    try:
        tried = trial(rows[chosen])
    except (TasocError, OSError) as error:
        return Results.empty(), f"the trial ended: {one_line(str(error))}"
    for priority, status, message in zip(
        tried.numbers["priority"], tried.numbers["status"], tried.errors, strict=True
    ):
        if status not in (STATUS.OK, STATUS.WARNING):
            starid = rows["starid"][results.worklist.find(np.array([priority]))[0]]
            reason = cause_line(message)
            if len(reason) > _LONGEST:
                reason = f"{reason[:_LONGEST]} ..."
            return tried, f"failed: TIC {starid}: {reason}"
    return tried, ""


def _choose(candidates: list[NDArray[np.int64]]) -> list[int]:
    """Rows of each kind that are spread evenly over its list; those of all kinds in turn, in no order.

    A trial that ends early has stars of all kinds and magnitudes, too.
    """
    if not candidates:
        return []
    rounds = []
    for index in candidates:
        count = min(len(index), max(_STARS_OF_KIND, _STARS // len(candidates)))
        spread = index[((np.arange(count) + 0.5) * len(index) / count).astype(np.int64)]
        rounds.append(np.random.default_rng(0).permutation(spread).tolist())
    longest = max(map(len, rounds))
    return [one[turn] for turn in range(longest) for one in rounds if turn < len(one)]


def _span(seconds: float) -> str:
    """
    >>> _span(0.00213), _span(0.0314), _span(2.5)
    ('2.1 ms', '31 ms', '2.5 s')
    """
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
