"""The work list in memory: flat arrays, a few dozen bytes a star."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.messages import TASK_DTYPE
from ..core.status import STATUS
from .constraints import Constraints
from .schema import OLD_TABLES, TODO_DTYPE, columns_of, todolist_columns
from .skip_rule import Finder, groups, primaries
from .todo_file import SQLITE_ERRORS, explain, open_todo

__all__ = ["CCD", "LOADED_DTYPE", "WorkList", "ccd_name", "load_todo", "load_worklist", "read_published"]

#: (sector, camera, ccd).
CCD = tuple[int, int, int]

#: A row as `load_todo` gives it: with its status, where NULL is UNKNOWN.
LOADED_DTYPE = np.dtype([*((name, TODO_DTYPE[name]) for name in TODO_DTYPE.names or ()), ("status", "i4")])

_ROWS_AT_ONCE = 20_000
#: What identifies a star's row, whatever is known of the star.
_IDENTITY = ["priority", "starid", "sector", "camera", "ccd", "cadence", "datasource"]

#: Conditions for a row that no work list of this program holds; NULL is none of them.
_WRONG = (
    *(f"typeof({name}) != 'integer'" for name in ("priority", "starid", "sector", "camera", "ccd")),
    "typeof({cadence}) != 'integer'",
    "starid < 0",
    "sector NOT BETWEEN 0 AND 9999 OR camera NOT BETWEEN 0 AND 7 OR ccd NOT BETWEEN 0 AND 7",
    "{cadence} NOT BETWEEN 0 AND 99999",
    "typeof(datasource) != 'text' OR length(CAST(datasource AS BLOB)) NOT BETWEEN 1 AND 24",
    "typeof(method) NOT IN ('text', 'null') OR length(CAST(method AS BLOB)) > 16",
    "typeof(tmag) NOT IN ('real', 'integer', 'null')",
    "typeof(status) NOT IN ('integer', 'null') OR status NOT BETWEEN 0 AND 6",
    "typeof(cbv_area) NOT IN ('integer', 'null') OR cbv_area NOT BETWEEN -2147483648 AND 2147483647",
    "typeof({tile}) NOT IN ('integer', 'null') OR {tile} NOT BETWEEN -1 AND 2147483647",
)


def ccd_name(ccd: CCD) -> str:
    """A CCD as it is named in messages and files: ``s001-1-4``."""
    return "s{:03d}-{}-{}".format(*ccd)


@dataclass
class WorkList:
    """The rows of `todo.sqlite`, one element a row in order of priority.

    Attributes
    ----------
    path : Path
    rows : ndarray of TASK_DTYPE
        As workers get them.
    status : ndarray of int8
        As published; UNKNOWN = to do.
    cbv_area, tile : ndarray of int32
        The tile is the part of its CCD in which a star lies, -1 where that is not known.
    output : Path or None
        Where the published results are; None where nothing was published.
    version : int or None
        Of the published light curves; None where nothing was published, or several.
    old_results : bool
        Whether results stand in the file that were not published from logs, but left by an older or another
        program: they are taken over into logs first.
    ccds : list of (int, int, int)
        In order.
    ccd_of : ndarray of int16
        Number of each row's CCD in `ccds`.
    in_file : ndarray of bool
        Which rows are of target pixel files.
    finder : Finder
    """

    path: Path
    rows: NDArray[np.void]
    status: NDArray[np.int8]
    cbv_area: NDArray[np.int32]
    tile: NDArray[np.int32]
    output: Path | None
    version: int | None
    old_results: bool
    ccds: list[CCD] = field(init=False)
    ccd_of: NDArray[np.int16] = field(init=False)
    priority: NDArray[np.int64] = field(init=False)
    in_file: NDArray[np.bool_] = field(init=False)
    group: NDArray[np.int32] = field(init=False)
    primary: NDArray[np.int64] = field(init=False)
    finder: Finder = field(init=False)
    _fingerprints: dict[CCD, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = self.rows
        self.priority = np.ascontiguousarray(rows["priority"])
        key = (rows["sector"].astype(np.int64) * 8 + rows["camera"]) * 8 + rows["ccd"]
        places, number = np.unique(key, return_inverse=True)
        self.ccds = [(key // 64, key // 8 % 8, key % 8) for key in places.tolist()]
        self.ccd_of = number.astype(np.int16)
        self.in_file = rows["datasource"] != b"ffi"
        self.group = groups(rows)
        self.primary = primaries(rows)
        self.finder = Finder(self.group, rows["starid"])

    def find(self, priorities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the given priorities, -1 where there is none."""
        known = self.priority
        first, last = int(known[0]), int(known[-1])
        consecutive = last - first == len(known) - 1
        # As `tasoc-mpi todo` makes them: no search.
        inside = (priorities >= first) & (priorities <= last)
        if consecutive:
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
            conn.execute("BEGIN")  # all of it is of the same moment
            found = _read_rows(conn, path)
            output, version, ours = read_published(conn, path)
            old_results = not ours and _has_old_results(conn)
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
    return WorkList(path, *found, output=output, version=version, old_results=old_results)


def _read_rows(
    conn: sqlite3.Connection, path: Path
) -> tuple[NDArray[np.void], NDArray[np.int8], NDArray[np.int32], NDArray[np.int32]]:
    """Rows of TASK_DTYPE with their statuses, areas and tiles."""
    expressions = todolist_columns(conn)
    source = "todolist"
    if "tile" not in columns_of(conn, "todolist") and "tile" in columns_of(conn, "photometry_tiles"):
        source = "todolist LEFT JOIN photometry_tiles USING (priority)"
        expressions["tile"] = "photometry_tiles.tile"
    wrong = " OR ".join(f"({condition})" for condition in _WRONG).format(**expressions)
    bad = conn.execute(f"SELECT priority FROM {source} WHERE {wrong} LIMIT 1").fetchone()
    if bad:
        raise _wrong_kind(path, f"priority {str(bad[0])[:30]}")
    (count,) = conn.execute("SELECT COUNT(*) FROM todolist").fetchone()
    if not count:
        raise InputError(f"{path}: no stars in the work list; check the catalogs and run `tasoc-mpi todo`")
    rows = np.zeros(count, TASK_DTYPE)
    status, area, tile = np.zeros(count, np.int8), np.zeros(count, np.int32), np.zeros(count, np.int32)
    names = TASK_DTYPE.names or ()
    defaults = {"method": "''", "status": f"{STATUS.UNKNOWN:d}", "cbv_area": "0", "tile": "-1"}
    columns = [
        f"COALESCE({expressions[name]}, {defaults[name]})" if name in defaults else expressions[name]
        for name in (*names, *("status", "cbv_area", "tile"))
    ]
    cursor = conn.execute(f"SELECT {', '.join(columns)} FROM {source} ORDER BY priority")
    targets = [*(rows[name] for name in names), status, area, tile]
    start = 0
    try:
        while block := cursor.fetchmany(_ROWS_AT_ONCE):
            part = slice(start, start + len(block))
            for target, column in zip(targets, zip(*block, strict=True), strict=True):
                target[part] = np.array(column, dtype=target.dtype)
            start += len(block)
    except (TypeError, ValueError, OverflowError) as error:
        raise _wrong_kind(path, str(error)) from None
    if (np.diff(rows["priority"]) <= 0).any():
        raise InputError(f"{path}: two rows have the same priority; make it anew with `tasoc-mpi todo`")
    status[status == STATUS.STARTED] = STATUS.UNKNOWN
    return rows, status, area, tile


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


def load_todo(path: str | os.PathLike[str], constraints: Constraints | None = None) -> NDArray[np.void]:
    """The rows of a work list that fulfil the constraints, with their published statuses.

    Parameters
    ----------
    path : path-like
        The file.
    constraints : Constraints, optional
        Default: all rows.

    Returns
    -------
    ndarray of LOADED_DTYPE
        In order of priority; may be empty only because of the constraints. NULL is STATUS.UNKNOWN for a
        status, '' for a method, NaN for a tmag.

    Raises
    ------
    MissingInput, InputError
        As `load_worklist`.
    """
    path = Path(path)
    with contextlib.closing(open_todo(path)) as conn:
        try:
            rows, status, area, _ = _read_rows(conn, path)
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
    found = np.zeros(len(rows), LOADED_DTYPE)
    for name in rows.dtype.names or ():
        found[name] = rows[name].astype(LOADED_DTYPE[name])
    found["status"], found["cbv_area"] = status, area
    return found if constraints is None else found[constraints.mask(found)]
