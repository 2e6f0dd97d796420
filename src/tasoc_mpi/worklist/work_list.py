"""The work list in memory: arrays with an element for each row, some 140 bytes a star."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.distinct import distinct
from ..core.errors import InputError
from ..core.messages import TASK_DTYPE
from ..core.status import STATUS
from .schema import OLD_TABLES, columns_of, todolist_columns
from .skip_rule import StarIndex, groups, primaries
from .todo_file import SQLITE_ERRORS, explain, open_todo

__all__ = ["CCD", "WorkList", "ccd_name", "listed_methods", "load_worklist", "read_published", "status_lines"]

#: (sector, camera, ccd).
CCD = tuple[int, int, int]

_ROWS_AT_ONCE = 20_000
#: The columns that identify a star's row.
_IDENTITY = ["priority", "starid", "sector", "camera", "ccd", "cadence", "datasource"]

_INTEGER = "typeof({0}) != 'integer'"
#: Columns, and conditions for a value that no work list of this program holds; NULL is none of them.
_WRONG = {
    "priority": _INTEGER,
    "starid": f"{_INTEGER} OR {{0}} < 0",
    "sector": f"{_INTEGER} OR {{0}} NOT BETWEEN 0 AND 9999",
    "camera": f"{_INTEGER} OR {{0}} NOT BETWEEN 0 AND 7",
    "ccd": f"{_INTEGER} OR {{0}} NOT BETWEEN 0 AND 7",
    "cadence": f"{_INTEGER} OR {{0}} NOT BETWEEN 0 AND 99999",
    "datasource": "typeof({0}) != 'text' OR length(CAST({0} AS BLOB)) NOT BETWEEN 1 AND 24",
    "method": "typeof({0}) NOT IN ('text', 'null') OR length(CAST({0} AS BLOB)) > 16",
    "tmag": "typeof({0}) NOT IN ('real', 'integer', 'null')",
    "status": "typeof({0}) NOT IN ('integer', 'null') OR {0} NOT BETWEEN 0 AND 6",
    "cbv_area": "typeof({0}) NOT IN ('integer', 'null') OR {0} NOT BETWEEN -2147483648 AND 2147483647",
    "tile": "typeof({0}) NOT IN ('integer', 'null') OR {0} NOT BETWEEN -1 AND 2147483647",
}

#: Values that stand for NULL.
_NULL = {"method": "''", "status": f"{STATUS.UNKNOWN:d}", "tile": "-1"}


def ccd_name(ccd: CCD) -> str:
    """Name of a CCD in messages and files.

    >>> ccd_name((1, 1, 4))
    's001-1-4'
    """
    return "s{:03d}-{}-{}".format(*ccd)


def status_lines(status: NDArray[np.int8], unknown: str) -> list[str]:
    """Counts of statuses in lines for the user; `unknown` names those of UNKNOWN.

    >>> status_lines(np.array([1, 1, 0]), "to do")
    ['       to do         1', '          OK         2']
    """
    names = {STATUS.UNKNOWN.name: unknown}
    return [f"{names.get(name, name):>12} {count:9d}" for name, count in status_counts(status).items()]


def status_counts(status: NDArray[np.int8]) -> dict[str, int]:
    """Numbers of rows by the name of their status.

    >>> status_counts(np.array([1, 1, 0]))
    {'UNKNOWN': 1, 'OK': 2}
    """
    counts = np.bincount(status, minlength=max(STATUS) + 1).tolist()
    return {one.name: counts[one] for one in STATUS if counts[one]}


@dataclass
class WorkList:
    """The rows of `todo.sqlite` in order of priority."""

    path: Path
    rows: NDArray[np.void]  #: Of TASK_DTYPE, as workers get them
    status: NDArray[np.int8]  #: As published; UNKNOWN = to do
    tile: NDArray[np.int32]  #: The part of its CCD in which a star lies, -1 where that is not known
    output: Path | None  #: Folder of the published results; None where nothing was published
    version: int | None  #: Of the published light curves; None where nothing was published, or several
    #: Whether the tables hold results that were not published from logs, but written by an older or another
    #: program.
    has_old_results: bool
    ccds: list[CCD] = field(init=False)  #: In order
    ccd_of: NDArray[np.int16] = field(init=False)  #: Number of each row's CCD in `ccds`
    priority: NDArray[np.int64] = field(init=False)
    in_file: NDArray[np.bool_] = field(init=False)  #: Which rows are of target pixel files
    group: NDArray[np.int32] = field(init=False)  #: See `skip_rule.groups`
    primary: NDArray[np.int64] = field(init=False)  #: See `skip_rule.primaries`
    star_index: StarIndex = field(init=False)  #: Finds rows by TIC number
    _fingerprints: dict[CCD, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = self.rows
        self.priority = np.ascontiguousarray(rows["priority"])
        key = (rows["sector"].astype(np.int64) * 8 + rows["camera"]) * 8 + rows["ccd"]
        keys, number = np.unique(key, return_inverse=True)
        self.ccds = [(key // 64, key // 8 % 8, key % 8) for key in keys.tolist()]
        self.ccd_of = number.astype(np.int16)
        self.in_file = rows["datasource"] != b"ffi"
        self.group = groups(rows)
        self.primary = primaries(rows)
        self.star_index = StarIndex(self.group, rows["starid"])

    @functools.cached_property
    def stars_of(self) -> list[int]:
        """Number of stars on each CCD; one may have several rows."""
        return [len(distinct(self.rows["starid"][self.ccd_of == number])) for number in range(len(self.ccds))]

    def find(self, priorities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the given priorities, -1 where there is none."""
        known = self.priority
        first, last = int(known[0]), int(known[-1])
        inside = (priorities >= first) & (priorities <= last)
        if last - first == len(known) - 1:
            # Consecutive, as `tasoc-mpi todo` makes them: no search.
            return np.where(inside, priorities - first, -1)
        index = np.where(inside, np.searchsorted(known, priorities), 0)
        return np.where(inside & (known[index] == priorities), index, -1)

    def fingerprint(self, ccd: CCD) -> bytes:
        """Digest of the rows of a CCD: the same for lists in which the same priorities are the same stars."""
        if ccd not in self._fingerprints:
            here = self.ccd_of == self.ccds.index(ccd)
            digest = hashlib.sha256()
            for name in _IDENTITY:
                digest.update(self.rows[name][here].tobytes())
            self._fingerprints[ccd] = digest.digest()
        return self._fingerprints[ccd]


def load_worklist(path: str | os.PathLike[str], check_write: bool = False) -> WorkList:
    """Read a work list; nothing is changed.

    Parameters
    ----------
    path : path-like
        The file.
    check_write : bool, optional
        Accept it only if a new one can be put in its place.

    Raises
    ------
    MissingInput, InputError
        As `open_todo`; InputError also if there are no rows, or a value is of the wrong kind.
    """
    path = Path(path)
    with contextlib.closing(open_todo(path, check_write=check_write)) as conn:
        try:
            conn.execute("BEGIN")  # All of it is of the same moment.
            rows, status, tile = _read_rows(conn, path)
            output, version, ours = read_published(conn, path)
            has_old_results = not ours and _has_old_results(conn)
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
    return WorkList(path, rows, status, tile, output, version, has_old_results)


def listed_methods(path: str | os.PathLike[str]) -> set[str]:
    """The methods that a work list names for some of its stars; raises as `open_todo`."""
    path = Path(path)
    with contextlib.closing(open_todo(path)) as conn:
        try:
            source, expressions = todolist_columns(conn)
            query = f"SELECT DISTINCT {expressions['method']} FROM {source} LIMIT 100"
            found = conn.execute(query).fetchall()
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
    return {name for (name,) in found if isinstance(name, str)}


def _read_rows(
    conn: sqlite3.Connection, path: Path
) -> tuple[NDArray[np.void], NDArray[np.int8], NDArray[np.int32]]:
    """Rows of TASK_DTYPE with their statuses and tiles."""
    source, expressions = todolist_columns(conn)
    _check_kinds(conn, path, source, expressions)
    (count,) = conn.execute("SELECT COUNT(*) FROM todolist").fetchone()
    if not count:
        raise InputError(f"{path}: no stars in the work list; check the catalogs and run `tasoc-mpi todo`")
    rows, status, tile = np.zeros(count, TASK_DTYPE), np.zeros(count, np.int8), np.zeros(count, np.int32)
    targets = {**{name: rows[name] for name in TASK_DTYPE.names or ()}, "status": status, "tile": tile}
    columns = [
        f"COALESCE({expressions[name]}, {_NULL[name]})" if name in _NULL else expressions[name]
        for name in targets
    ]
    cursor = conn.execute(f"SELECT {', '.join(columns)} FROM {source} ORDER BY priority")
    start = 0
    try:
        while block := cursor.fetchmany(_ROWS_AT_ONCE):
            part = slice(start, start + len(block))
            for target, column in zip(targets.values(), zip(*block, strict=True), strict=True):
                target[part] = np.array(column, dtype=target.dtype)
            start += len(block)
    except (TypeError, ValueError, OverflowError) as error:
        raise _wrong_kind(path, str(error)) from None
    if (np.diff(rows["priority"]) <= 0).any():
        raise InputError(f"{path}: two rows have the same priority; make it anew with `tasoc-mpi todo`")
    status[status == STATUS.STARTED] = STATUS.UNKNOWN
    return rows, status, tile


def _check_kinds(conn: sqlite3.Connection, path: Path, source: str, expressions: Mapping[str, str]) -> None:
    """Raise InputError for a value of the wrong kind; it names the row, the column and the value."""
    wrong = {name: f"({condition.format(expressions[name])})" for name, condition in _WRONG.items()}
    # One pass where all is well, as it nearly always is.
    if conn.execute(f"SELECT 1 FROM {source} WHERE {' OR '.join(wrong.values())} LIMIT 1").fetchone() is None:
        return
    for name, condition in wrong.items():
        query = f"SELECT priority, {expressions[name]} FROM {source} WHERE {condition} LIMIT 1"
        if (bad := conn.execute(query).fetchone()) is not None:
            priority, value = (f"{part!r:.30}" for part in bad)
            raise _wrong_kind(path, f"priority {priority}: {name} is {value.replace('None', 'NULL')}")


def _wrong_kind(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: a row of `todolist` has a value of the wrong kind ({what}); restore a copy, or make it"
        " anew with `tasoc-mpi todo`"
    )


def read_published(conn: sqlite3.Connection, path: Path) -> tuple[Path | None, int | None, bool]:
    """Output folder and version of the published results, and whether they were published from logs.

    Raises
    ------
    InputError
        If they are of the wrong kind.
    """
    for table in ("photometry_output", "photometry_settings"):
        if {"output", "version"} <= set(columns_of(conn, table)):
            row = conn.execute(f"SELECT output, version FROM {table}").fetchone()
            ours = table == "photometry_output"
            if row is None:
                return None, None, False
            output, version = row
            if not isinstance(output, (str, bytes)) or not (version is None or isinstance(version, int)):
                raise InputError(f"{path}: `{table}` has a value of the wrong kind; restore a copy")
            # The database's text is UTF-8 also where the locale's is not.
            name = os.fsdecode(output if isinstance(output, bytes) else output.encode("utf-8"))
            if "\0" in name or not name:
                raise InputError(f"{path}: `{table}` names no folder; restore a copy")
            return path.parent / name, version, ours
    return None, None, False


def _has_old_results(conn: sqlite3.Connection) -> bool:
    """Whether results of an older or another program stand in the tables."""
    if conn.execute("SELECT 1 FROM todolist WHERE status NOT IN (0, 6) LIMIT 1").fetchone():
        return True
    return any(
        columns_of(conn, table) and conn.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
        for table in ("diagnostics", OLD_TABLES[0])
    )
