"""A work list and the runs that write it at one moment: for `tasoc-mpi status`."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import InputError, MissingInput
from ..worklist.ccd_status import CCDStatus, WorkListStatus, open_status
from ..worklist.last_results import Decision
from ..worklist.result_files import ResultFiles
from ..worklist.run_record import records_under_way
from .run_status import status_tables

__all__ = ["Rate", "Snapshot", "SnapshotReader"]

#: Seconds over which the rate is a mean.
_WINDOW = 15.0


@dataclass
class Rate:
    """Results a second over the last seconds.

    Examples
    --------
    >>> rate = Rate()
    >>> rate.add(0, 10.0), rate.add(30, 12.0)
    (None, 15.0)
    """

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, results: int, now: float) -> float | None:
        """Count all results until now; the rate, or None at the first call."""
        self._seen.append((now, results))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()
        start, before = self._seen[0]
        return (results - before) / (now - start) if now > start else None


@dataclass(frozen=True)
class Snapshot:
    """A work list and its runs at one moment."""

    title: str
    jobs: Sequence[str] = ()  #: Lines of the queue of a batch system
    waiting: bool = False  #: Whether the batch system has jobs to come
    status: WorkListStatus | None = None  #: None as long as there is no work list
    decision: Decision | None = None
    ccds: Sequence[CCDStatus] = ()
    records: Mapping[str, dict[str, Any]] = field(
        default_factory=dict
    )  #: By run; one that only begins has none
    rate: float | None = None  #: Results a second
    arguments: str = ""  #: Of a command on the same files

    @property
    def runs(self) -> list[str]:
        """The runs that are under way."""
        return sorted({one.runner for one in self.ccds if one.runner})

    @property
    def rows(self) -> int:
        """Number of rows of the work list."""
        return sum(one.rows for one in self.ccds)

    @property
    def done(self) -> int:
        """Number of rows that are not to be computed."""
        return sum(one.done for one in self.ccds)

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end of the runs that are under way, None where they are not known."""
        times = [self.records[run]["left"] for run in self.runs if run in self.records]
        if times and len(times) == len(self.runs) and None not in times:
            return max(times)
        left = sum(one.rows - one.done for one in self.ccds if one.runner)
        return left / self.rate if left and self.rate else None

    def is_over(self, seen: bool) -> bool:
        """Whether nothing is to come: no run and no job, after a run was `seen` or where nothing is to do."""
        return not self.runs and not self.waiting and (seen or (bool(self.rows) and self.done == self.rows))

    def lines(self, stars: int) -> list[str]:
        """The same as lines of text, with so many of the slowest stars and errors."""
        if self.status is None or self.decision is None:
            return [*self.jobs, f"no work list in {self.title} yet"]
        lines = list(status_tables(self.status, self.decision, self.ccds, stars, self.arguments))
        if self.rate is not None:
            lines.append(f"{self.rate:.3g} rows/s")
        return [*lines, *self.jobs]


class SnapshotReader:
    """Takes snapshots of a work list; only what is new is read each time.

    Parameters
    ----------
    results : ResultFiles
    queue_lines : callable
        Of the folder, and counts by CCD: lines about the jobs of a batch system.
    active : callable
        Of the folder: the jobs that wait or run.
    """

    def __init__(
        self,
        results: ResultFiles,
        queue_lines: Callable[..., Iterator[str]],
        active: Callable[[Path], list[str]],
    ) -> None:
        self.results = results
        self._queue_lines, self._active = queue_lines, active
        self._status: WorkListStatus | None = None
        self._rate = Rate()

    def read(self) -> Snapshot:
        """How far it is now.

        Raises
        ------
        MissingInput, InputError
            If the work list, and a list of jobs, are not there, or a file is damaged.
        """
        results, folder = self.results, self.results.folder
        jobs, to_come = list(self._queue_lines(folder)), False
        if jobs:
            # Where the queue cannot be asked, its lines say so.
            with contextlib.suppress(InputError, MissingInput):
                to_come = bool(self._active(folder))
        if jobs and not results.path.exists():
            return Snapshot(str(folder), jobs, to_come)
        if self._status is None:
            self._status = open_status(results)
        status = self._status
        decision = status.update()
        ccds = status.ccds(decision)
        if jobs:
            jobs = list(self._queue_lines(folder, {one.ccd: (one.done, one.rows) for one in ccds}))
        records = records_under_way(status.output, {one.runner for one in ccds if one.runner})
        rate = self._rate.add(status.results, time.monotonic())
        words = results.arguments(status.output)
        return Snapshot(str(folder), jobs, to_come, status, decision, ccds, records, rate, words)
