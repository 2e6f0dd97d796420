"""The results of a work list by its logs, also while a run writes them: for `tasoc-mpi status`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.locks import holder
from ..core.status import FAILED, STATUS
from .corrections import LastCorrections, PhotometryResults, correction_log_path
from .failures import cause_line
from .last_results import Decision
from .method_list import find_list
from .old_results import read_old_results
from .output_folder import find_output
from .result_files import ResultFiles
from .result_log import LogReader, Reset, ResultGroup, log_path
from .work_list import CCD, WorkList, load_worklist

__all__ = ["CCDStatus", "WorkListStatus", "open_status"]

_NUMBERS = ("elaptime", "worker_wait_time", "stamp_height", "stamp_width")


@dataclass(frozen=True)
class CCDStatus:
    """Counts of one CCD."""

    ccd: CCD
    counts: dict[int, int]  #: Rows by status; UNKNOWN is to do
    again: int  #: Rows with a result that are to be computed again
    finished: bool  #: Whether something was computed, and nothing is left to do
    runner: str | None  #: Host and process of the run that is under way
    stars: int  #: Number of stars; one may have several rows

    @property
    def rows(self) -> int:
        """Number of all rows of the work list."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Number of rows that are not to be computed."""
        return self.rows - self.counts.get(STATUS.UNKNOWN, 0) - self.again


class WorkListStatus:
    """The results of a work list. `update` reads only what is new, so that it can be called again and again.

    The results of a CCD without a log are those in the tables of the work list.

    Parameters
    ----------
    worklist : WorkList
    output : Path
        The output folder.

    Attributes
    ----------
    numbers : dict of str to ndarray
        Diagnostics of each row's last result, NaN where there is none.
    method : ndarray of str objects
        The method of each row's last result.
    failures : dict of int to (float, str)
        Of the rows that have failed: the time (Unix, 0 if unknown) and the line that names the cause.
    results : int
        How many results have been read from logs.
    """

    def __init__(self, worklist: WorkList, output: Path) -> None:
        n = len(worklist.rows)
        self.worklist, self.output = worklist, output
        self.last = PhotometryResults(worklist)
        self.logs = [LogReader(log_path(output, ccd), worklist, ccd) for ccd in worklist.ccds]
        self._corrections = LastCorrections(worklist)
        self._correction_logs = [
            LogReader(correction_log_path(output, ccd), worklist, ccd) for ccd in worklist.ccds
        ]
        self.numbers = {name: np.full(n, np.nan, np.float32) for name in _NUMBERS}
        self.method = np.full(n, None, dtype=object)
        self.failures: dict[int, tuple[float, str]] = {}
        self.results = 0
        self._logged = [log.exists for log in self.logs]
        if not all(self._logged) and (worklist.has_old_results or (worklist.status != STATUS.UNKNOWN).any()):
            published = read_old_results(worklist)
            for log in self.logs:
                for group in () if log.exists else published.get(log.ccd, ()):
                    self._add(group)

    def update(self) -> Decision:
        """Read what has come since the last call; returns what would be published now.

        Raises
        ------
        InputError
            If a log cannot be used.
        """
        for log in self.logs:
            for entry in log.read():
                if isinstance(entry, Reset):
                    self.last.reset(entry.index)
                else:
                    self._add(entry)
                    self.results += len(entry.index)
        if [log.exists for log in self.logs] != self._logged:
            # What the tables hold of the CCD of a new log does not count any more.
            self.__init__(self.worklist, self.output)  # type: ignore[misc]
            return self.update()
        return self.last.decide()

    def corrections(self, decision: Decision) -> dict[int, int]:
        """Corrections of the light curves by status, UNKNOWN is to do; empty where nothing is corrected."""
        for log in self._correction_logs:
            self._corrections.read(log)
        if not any(log.exists for log in self._correction_logs):
            return {}
        has_lightcurve = decision.listed & np.isin(decision.status, (STATUS.OK, STATUS.WARNING))
        status = self._corrections.own_status * self._corrections.of_lightcurves(self.last)
        counts = np.bincount(status[has_lightcurve], minlength=max(STATUS) + 1)
        return {number: count for number, count in enumerate(counts.tolist()) if count}

    def ccds(self, decision: Decision) -> list[CCDStatus]:
        """The counts of each CCD, in order."""
        found = []
        for number, ccd in enumerate(self.worklist.ccds):
            here = self.worklist.ccd_of == number
            counts = np.bincount(decision.status[here], minlength=max(STATUS) + 1)
            todo = decision.todo[here]
            found.append(
                CCDStatus(
                    ccd,
                    {status: count for status, count in enumerate(counts.tolist()) if count},
                    int(np.count_nonzero(todo & (decision.status[here] != STATUS.UNKNOWN))),
                    self._logged[number] and not todo.any(),
                    holder(self.logs[number].path),
                    self.worklist.stars_of[number],
                )
            )
        return found

    def _add(self, group: ResultGroup) -> None:
        self.last.add(group)
        numbers, index = group.bundle.numbers, group.index
        for name, values in self.numbers.items():
            values[index] = numbers[name]
        self.method[index] = group.bundle.strings(np.arange(len(index)))[1]
        if self.failures:
            for row in set(index.tolist()) & self.failures.keys():
                del self.failures[row]
        failed = np.flatnonzero(np.isin(numbers["status"], FAILED))
        times = group.times[group.bundle.message[failed]].tolist()
        texts = group.bundle.strings(failed)[2]
        for row, when, text in zip(index[failed].tolist(), times, texts, strict=True):
            self.failures[row] = (when, cause_line(text)[:200])


def open_status(results: ResultFiles) -> WorkListStatus:
    """The results of a work list, or of a method that computed all of its stars.

    Raises
    ------
    MissingInput, InputError
        If the list is not there or cannot be used.
    """
    path = find_list(results.path, results.method)
    worklist = load_worklist(path)
    output = results.output or find_output(path, worklist.output, results.method)
    return WorkListStatus(worklist, Path(output))
