"""How far a work list is, by its logs: for programs that watch a run, or look at it afterwards."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.locks import holder
from ..core.status import STATUS
from .result_log import LogReader, Reset, ResultGroup, log_path
from .result_state import Decision, State
from .rows import CCD, WorkList
from .schema import columns_of
from .todo_file import SQLITE_ERRORS, explain, open_todo

__all__ = ["CCDProgress", "Tally", "last_line"]

_NUMBERS = ("elaptime", "worker_wait_time", "stamp_height", "stamp_width")
_FAILED = (STATUS.ERROR, STATUS.ABORT)


def last_line(text: str | None) -> str:
    """Of a traceback, what was raised."""
    lines = (text or "").strip().splitlines()
    return lines[-1][:200] if lines else "no message"


@dataclass(frozen=True)
class CCDProgress:
    """How far one CCD is.

    Attributes
    ----------
    ccd : (int, int, int)
    counts : dict of int to int
        Stars by status; UNKNOWN is to do.
    again : int
        Those that are to be computed again.
    finished : bool
        Whether something was computed, and nothing is left to do.
    runner : str or None
        Host and process of the run that is under way.
    """

    ccd: CCD
    counts: dict[int, int]
    again: int
    finished: bool
    runner: str | None

    @property
    def stars(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Those that are neither to do nor to be done again."""
        return self.stars - self.counts.get(STATUS.UNKNOWN, 0) - self.again


class Tally:
    """What the logs of a work list hold; `update` reads only what is new, so that it can be watched.

    A CCD without a log is as the work list has it.

    Parameters
    ----------
    rows : WorkList
    output : Path
        The output folder.

    Attributes
    ----------
    numbers : dict of str to ndarray
        Diagnostics of each row's last result, NaN where there is none.
    method : ndarray of str objects
        The method of each row's last result.
    failures : dict of int to (float, str)
        Of the rows that have failed: the time (Unix, 0 if unknown) and the last line of the message.
    results : int
        How many results have been read.
    """

    def __init__(self, rows: WorkList, output: Path) -> None:
        n = len(rows.rows)
        self.rows, self.output = rows, output
        self.state = State(rows)
        self.logs = [LogReader(log_path(output, ccd), rows, ccd) for ccd in rows.ccds]
        self.numbers = {name: np.full(n, np.nan, np.float32) for name in _NUMBERS}
        self.method = np.full(n, None, dtype=object)
        self.failures: dict[int, tuple[float, str]] = {}
        self.results = 0
        self._logged = np.zeros(len(rows.ccds), bool)
        self._read_published()

    def update(self) -> Decision:
        """Read what has come since the last call; what would be published now.

        Raises
        ------
        InputError
            If a log cannot be used.
        """
        for number, log in enumerate(self.logs):
            for entry in log.read():
                if isinstance(entry, Reset):
                    self.state.reset(entry.index)
                else:
                    self._add(entry)
            if log.exists and not self._logged[number]:
                self._logged[number] = True
                self._forget_published(number)
        found = self.state.decide()
        logged = self._logged[self.rows.ccd_of]
        status = np.where(logged, found.status, self.rows.status)
        todo = np.where(logged, found.todo, status == STATUS.UNKNOWN)
        listed = np.where(logged, found.listed, ~np.isin(status, (STATUS.UNKNOWN, STATUS.SKIPPED)))
        return Decision(status, found.skipped_by, listed, found.final, todo)

    def progress(self, decision: Decision) -> list[CCDProgress]:
        """How far each CCD is, in order."""
        found = []
        for number, ccd in enumerate(self.rows.ccds):
            here = self.rows.ccd_of == number
            counts = np.bincount(decision.status[here], minlength=max(STATUS) + 1)
            todo = int(np.count_nonzero(decision.todo[here]))
            found.append(
                CCDProgress(
                    ccd,
                    {status: count for status, count in enumerate(counts.tolist()) if count},
                    int(np.count_nonzero(decision.todo[here] & (decision.status[here] != STATUS.UNKNOWN))),
                    bool(self._logged[number]) and not todo,
                    holder(self.logs[number].path),
                )
            )
        return found

    def _add(self, group: ResultGroup) -> None:
        self.state.add(group)
        self.results += len(group.index)
        numbers, index = group.bundle.numbers, group.index
        for name, values in self.numbers.items():
            values[index] = numbers[name]
        self.method[index] = group.bundle.strings(np.arange(len(index)))[1]
        if self.failures:
            for row in set(index.tolist()) & self.failures.keys():
                del self.failures[row]
        failed = np.flatnonzero(np.isin(numbers["status"], _FAILED))
        times = group.times[group.bundle.message[failed]].tolist()
        texts = group.bundle.strings(failed)[2]
        for row, when, text in zip(index[failed].tolist(), times, texts, strict=True):
            self.failures[row] = (when, last_line(text))

    def _read_published(self) -> None:
        """What the tables hold of CCDs without a log."""
        without = np.array([not log.exists for log in self.logs])
        if not without.any() or not (self.rows.status != STATUS.UNKNOWN).any():
            return
        with contextlib.closing(open_todo(self.rows.path)) as conn:
            try:
                wanted = ("priority", "method_used", "errors", *_NUMBERS)
                if not set(wanted) <= set(columns_of(conn, "diagnostics")):
                    return
                found = conn.execute(f"SELECT {', '.join(wanted)} FROM diagnostics").fetchall()
            except SQLITE_ERRORS as error:
                raise explain(self.rows.path, error) from None
        for priority, method, errors, *values in found:
            row = int(self.rows.find(np.array([priority]))[0])
            if row >= 0 and without[self.rows.ccd_of[row]]:
                self.method[row] = str(method)
                for name, value in zip(_NUMBERS, values, strict=True):
                    self.numbers[name][row] = np.nan if not isinstance(value, (int, float)) else value
                if self.rows.status[row] in _FAILED:
                    self.failures[row] = (0.0, last_line(str(errors or "")))

    def _forget_published(self, number: int) -> None:
        """A log of this CCD has appeared: what it does not hold does not count."""
        stale = (self.rows.ccd_of == number) & ~self.state.done & (self.state.own == STATUS.UNKNOWN)
        for values in self.numbers.values():
            values[stale] = np.nan
        self.method[stale] = None
        for row in np.flatnonzero(stale).tolist():
            self.failures.pop(row, None)
