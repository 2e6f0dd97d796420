"""Stars that failed or got a warning, grouped by the cause."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.distinct import distinct
from ..core.errors import one_line
from ..core.status import STATUS
from .result_log import LogReader, Reset, log_path
from .schema import columns_of
from .todo_file import SQLITE_ERRORS, explain, open_todo
from .work_list import CCD, WorkList

__all__ = ["Cause", "cause_line", "cause_lines", "cause_of", "logged_causes", "read_causes"]

#: Stars that are named of each cause.
_EXAMPLES = 5
_NUMBER = re.compile(r"[-+]?(?<![A-Za-z_])\d+(\.\d+)?([eE][-+]?\d+)?")
_STAR = re.compile(r"\bTIC \d+")
#: A place in a traceback: path, line, function.
_PLACE = re.compile(r'  File "(.+)", line (\d+)(?:, in (\w+))?')


@dataclass
class Cause:
    """Stars that ended for one reason."""

    status: STATUS
    text: str  #: The message without its numbers
    count: int = 0
    message: str = ""  #: The message of the first star, whole
    stars: list[int] = field(default_factory=list)  #: TIC numbers of the first ones

    def command(self, arguments: str) -> str:
        """The command that computes one of them again, with the arguments that name the files of the run."""
        return f"tasoc-mpi run {arguments} --starid {self.stars[0]} --overwrite"

    @property
    def line(self) -> str:
        """The line of the first star's message that names the cause."""
        return cause_line(self.message)


def cause_line(message: str | None) -> str:
    """The line of the exception of a traceback and its place in the method, or else the first line.

    >>> cause_line('Traceback (most recent call last):\\n  File "a.py", line 3\\n    c\\nKeyError: d\\nmore')
    'KeyError: d (a.py, line 3)'
    """
    lines = (message or "").strip().splitlines()
    if not lines:
        return "no message"
    if not lines[0].startswith("Traceback"):
        return one_line(lines[0])
    places = {i: found for i, line in enumerate(lines) if (found := _PLACE.match(line))}
    # Behind the last place in the code; the message of an exception may have several lines.
    behind = lines[max(places, default=0) + 1 :]
    text = one_line(next((line for line in behind if not line.startswith(" ")), lines[-1]))
    # An exception may come from deep in a library: the author of a method knows the lines of the method.
    of_method = [place for place in places.values() if place[3] == "do_photometry"]
    shown = of_method or list(places.values())
    return f"{text} ({Path(shown[-1][1]).name}, line {shown[-1][2]})" if shown else text


def cause_of(message: str | None) -> str:
    """What messages of one cause have in common.

    The line of the exception of a traceback, or else the first line, without the star and without numbers.

    Examples
    --------
    >>> cause_of("Traceback (most recent call last):\\n  ...\\nValueError: 3 stars, TIC 12 is one")
    'ValueError: # stars, TIC # is one'
    >>> cause_of(None)
    'no message'
    """
    return _NUMBER.sub("#", _STAR.sub("TIC #", cause_line(message)))[:300]


def group_causes(rows: Iterable[tuple[int, int, str | None]]) -> list[Cause]:
    """Group (TIC number, status, message) by cause, the most frequent first.

    >>> [(cause.text, cause.count) for cause in group_causes([(1, 2, "bad"), (2, 2, "bad"), (3, 4, None)])]
    [('bad', 2), ('no message', 1)]
    """
    causes: dict[tuple[int, str], Cause] = {}
    for starid, status, message in rows:
        text = cause_of(message)
        cause = causes.setdefault((status, text), Cause(STATUS(status), text, message=message or ""))
        cause.count += 1
        if len(cause.stars) < _EXAMPLES:
            cause.stars.append(starid)
    return sorted(causes.values(), key=lambda cause: (-cause.count, cause.status, cause.text))


def cause_lines(causes: Sequence[Cause], most: int) -> Iterator[str]:
    """Lines of the most frequent causes, each with its status, its number of stars, and one of them."""
    for cause in causes[:most]:
        star = f"TIC {cause.stars[0]}: "
        yield f"{cause.status.name:>12} {cause.count:9d}  {star}{cause.line.removeprefix(star)}"
    if rest := causes[most:]:
        yield f"  and {sum(cause.count for cause in rest)} of {len(rest)} other causes (`tasoc-mpi report`)"


def read_causes(path: Path) -> list[Cause]:
    """Causes of the stars of a work list that are an ERROR, ABORT or WARNING, the most frequent first.

    Raises
    ------
    MissingInput, InputError
        If the work list cannot be read.
    """
    chosen = (STATUS.ERROR, STATUS.WARNING, STATUS.ABORT)
    marks = ", ".join("?" * len(chosen))
    with contextlib.closing(open_todo(path)) as conn:
        try:
            errors = "d.errors" if "errors" in columns_of(conn, "diagnostics") else "NULL"
            joined = "LEFT JOIN diagnostics d USING (priority)" if errors != "NULL" else ""
            rows = conn.execute(
                f"SELECT starid, status, {errors} FROM todolist {joined} WHERE status IN ({marks})"
                " ORDER BY priority",
                [int(status) for status in chosen],
            )
            return group_causes(rows)
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None


def logged_causes(
    output: Path,
    worklist: WorkList,
    chosen: NDArray[np.bool_],
    log_of: Callable[[Path, CCD], Path] = log_path,
) -> list[Cause]:
    """Causes of failures and warnings by the logs of an output folder, the most frequent first.

    Parameters
    ----------
    output : Path
    worklist : WorkList
    chosen : ndarray of bool
        Rows of the work list whose last result is an ERROR, an ABORT or a WARNING.
    log_of : callable, optional
        The log of a CCD in an output folder. Default: that of its photometry.

    Raises
    ------
    InputError
        If a log cannot be used.
    """
    found: dict[int, tuple[int, int, str | None]] = {}
    starid = worklist.rows["starid"]
    for ccd in (worklist.ccds[n] for n in distinct(worklist.ccd_of[chosen]).tolist()):
        for entry in LogReader(log_of(output, ccd), worklist, ccd).read():
            if isinstance(entry, Reset):
                continue
            here = np.flatnonzero(chosen[entry.index])
            rows, texts = entry.index[here].tolist(), entry.bundle.strings(here)[2]
            statuses = entry.bundle.heads["status"][here].tolist()
            # The last result of a star replaces those before.
            found.update(
                (row, (int(starid[row]), status, text))
                for row, status, text in zip(rows, statuses, texts, strict=True)
            )
    return group_causes(found[row] for row in sorted(found))
