"""The end of a run: its report, `summary.json`, and the exit status."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import open_regular, write_whole
from ..core.methods import method_file
from ..core.status import FAILED, STATUS
from ..core.streams import print_report
from ..core.tables import counted
from ..worklist.failures import Cause, cause_lines
from ..worklist.work_list import status_lines
from .dispatcher import RunTotals
from .run_options import RunOptions
from .signals import Stop

__all__ = ["Outcome", "report_end", "too_few", "unit_of", "write_summary"]

logger = logging.getLogger(__name__)

#: Causes of failures that a run prints.
_CAUSES = 5


def unit_of(rows: int, stars: int) -> str:
    """What is counted: stars, or rows of the work list where a star has several.

    >>> unit_of(5, 5), unit_of(5, 4)
    ('stars', 'rows')
    """
    return "stars" if stars == rows else "rows"


def too_few(status: NDArray[np.int8]) -> tuple[int, int] | None:
    """How many light curves there are, and of how many results, if they are fewer than half of these.

    Rows that are skipped or not done yet do not count.

    >>> too_few(np.array([STATUS.OK, STATUS.ERROR, STATUS.ERROR, STATUS.SKIPPED], "i1"))
    (1, 3)
    """
    good = int(np.count_nonzero(np.isin(status, (STATUS.OK, STATUS.WARNING))))
    tried = good + int(np.count_nonzero(np.isin(status, FAILED)))
    return (good, tried) if 2 * good < tried else None


@dataclass(frozen=True)
class Outcome:
    """What has become of the chosen rows of the work list."""

    status: NDArray[np.int8]  #: Of each row
    stars: int  #: Number of stars; a star may have several rows
    totals: RunTotals
    causes: Sequence[Cause]  #: Of the rows that failed or have a warning
    skipped: Sequence[str]  #: Lines about the chosen rows that are skipped
    repeat: str  #: Arguments of a run on the same files

    @property
    def unit(self) -> str:
        """What is counted."""
        return unit_of(len(self.status), self.stars)

    @property
    def problem(self) -> str | None:
        """Why the run is no success: fewer than half of the rows with a result have a light curve.

        The results of earlier starts count, so that a run that was interrupted and continued ends as one that
        was not.
        """
        found = too_few(self.status) if self.totals.computed else None
        if found is None:
            return None
        good, tried = found
        if tried == 1:
            return f"the computed {self.unit.removesuffix('s')} has no light curve"
        if not good:
            return f"none of the {tried} computed {self.unit} has a light curve"
        return f"only {good} of the {tried} computed {self.unit} have a light curve"


def report_end(options: RunOptions, outcome: Outcome, stop: Stop) -> int:
    """Print the report of a run; returns its exit status."""
    path = method_file(options.todo, options.method)
    if reason := print_report(_report(options, outcome)):
        logger.warning("standard output: %s; `tasoc-mpi status` shows what the run has done", reason)
    if stop:
        print(f"{path}: {stop.reason}; `tasoc-mpi run` continues it", file=sys.stderr)
    elif outcome.problem:
        command = f"tasoc-mpi status {options.shown}"
        print(f"{path}: {outcome.problem}; `{command}` says why", file=sys.stderr)
        return 1
    return stop.exit_status


def _report(options: RunOptions, outcome: Outcome) -> Iterator[str]:
    """Counts of the statuses of the chosen rows, the failures, and the rate, line by line."""
    status, totals, unit = outcome.status, outcome.totals, outcome.unit
    if not totals.computed and (status != STATUS.UNKNOWN).all():
        yield f"Nothing to do: all {len(status)} chosen {unit} are done; --overwrite computes them again."
    yield from status_lines(status, "not computed")
    if unit == "rows":
        yield f"{counted(len(status), 'row')} of the work list, of {counted(outcome.stars, 'star')}"
    yield from outcome.skipped
    yield from _failures(options, outcome)
    if totals.computed:
        rate = totals.computed / max(totals.seconds, 1e-9)
        computed = counted(totals.computed, unit.removesuffix("s"))
        yield f"{computed} computed in {totals.seconds:.1f} s: {rate:.1f} {unit}/s"
    yield f"light curves: {options.output}"


def _failures(options: RunOptions, outcome: Outcome) -> Iterator[str]:
    """Failures and warnings by cause, each with one star, and the command that computes one of them again."""
    causes = outcome.causes
    if not causes:
        return
    yield "failures and warnings by cause:"
    yield from cause_lines(causes, _CAUSES)
    again = min(causes, key=lambda cause: cause.status == STATUS.WARNING)
    yield f"to compute one again: {again.command(outcome.repeat)}"
    if np.count_nonzero(np.isin(outcome.status, FAILED)) > 1:
        yield f"to compute all that failed again: tasoc-mpi run {outcome.repeat} --failed"


def write_summary(status: NDArray[np.int8], totals: RunTotals, output: Path, version: int) -> Path:
    """Write `summary.json` of a work list with these statuses, and return its path.

    Where nothing was computed, a file with these counts stays as it is: it has the times of the run before.
    """
    counts = np.bincount(status, minlength=max(STATUS) + 1)
    known = {
        "numtasks": len(status),
        **{status.name: int(counts[status]) for status in STATUS},
        "output": str(output),
        "version": version,
    }
    path, done = output / "summary.json", totals.computed
    if not done and known.items() <= _read_summary(path).items():
        return path
    times = {
        "tasks_run": done,
        "seconds": round(totals.seconds, 3),
        "mean_elaptime": totals.elapsed / done if done else None,
        "mean_worker_waittime": totals.waited / done if done else None,
    }
    last = {name: known.pop(name) for name in ("output", "version")}
    write_whole(path, (json.dumps(known | times | last, indent=2) + "\n").encode(), durable=False)
    return path


def _read_summary(path: Path) -> dict[str, Any]:
    """The values of `summary.json`; none where it is missing or damaged, because it is written anew then."""
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as file:
            values = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
