"""Stars that failed or got a warning, grouped by the cause."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import one_line
from ..core.status import STATUS
from ..worklist.schema import columns_of
from ..worklist.todo_file import SQLITE_ERRORS, explain, open_todo

__all__ = ["Cause", "cause_of", "read_causes"]

#: Stars that are named of each cause.
_EXAMPLES = 5
_NUMBER = re.compile(r"[-+]?(?<![A-Za-z_])\d+(\.\d+)?([eE][-+]?\d+)?")
_STAR = re.compile(r"\bTIC \d+")


@dataclass
class Cause:
    """Stars that ended for one reason."""

    status: STATUS
    text: str  #: The message without its numbers
    count: int = 0
    message: str = ""  #: The message of the first star, whole
    stars: list[int] = field(default_factory=list)  #: TIC numbers of the first ones

    def command(self, folder: Path, options: str = "") -> str:
        """The command that computes one of them again."""
        return f"tasoc-mpi run {shlex.quote(str(folder))} --starid {self.stars[0]} --overwrite{options}"


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
    lines = (message or "").strip().splitlines()
    if not lines:
        return "no message"
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return _NUMBER.sub("#", _STAR.sub("TIC #", one_line(line)))[:300]


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
