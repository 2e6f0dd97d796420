"""Publishing: `todo.sqlite` written anew from the rows of the work list and the logs of results.

What is published is a pure function of both, so it can be done at any time and any number of times.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.diagnostics import CORRECTION
from ..core.distinct import distinct
from ..core.errors import InputError
from ..core.locks import Locked, exclusive
from ..core.messages import RESULT_DTYPE
from ..core.status import STATUS
from .corrections import PhotometryResults, read_corrections
from .last_results import Decision
from .old_results import move_to_logs
from .output_folder import check_output, output_method, output_name
from .result_log import LogReader, ResultGroup, damaged_path, log_path
from .schema import (
    CORRECTION_COLUMNS,
    CORRECTIONS_TABLE,
    DIAGNOSTICS_COLUMNS,
    OLD_TABLES,
    OUR_TABLES,
    RESULTS_VIEW,
    columns_of,
    extra_columns,
    has_corrections,
    todolist_columns,
)
from .todo_file import SQLITE_ERRORS, check_todo, explain, new_todo, open_todo
from .unlisted_lightcurves import LightcurveNames, remove_packs, remove_unlisted
from .work_list import CCD, WorkList, load_worklist

__all__ = ["Published", "publish"]

logger = logging.getLogger(__name__)

#: Seconds to wait for another program that publishes the same list.
_PATIENCE = 600.0
#: Results that are sorted in memory at once, some 300 bytes each.
_AT_ONCE = 200_000
#: Rows that are Python objects at once.
_ROWS = 10_000
#: The field of a result that each column of a table has.
_PLACES = {name: name for name in DIAGNOSTICS_COLUMNS}
_CORRECTION_PLACES = {name: CORRECTION.get(name, name) for name in CORRECTION_COLUMNS}


@dataclass(frozen=True)
class Published:
    """What was published."""

    decision: Decision
    running: list[CCD]  #: CCDs of which a run is under way
    removed: int  #: Light curves on disk that nothing lists and that were deleted
    stars: int  #: Number of stars; one may have several rows


def publish(path: Path, output: Path, rows: Path | None = None) -> Published:
    """Write a work list anew from its rows and the logs in an output folder, and remove what nothing lists.

    Parameters
    ----------
    path : Path
        The work list.
    output : Path
        The output folder.
    rows : Path, optional
        The work list whose rows are taken, where `path` is the list of a method that computes all stars.
        Default: `path`.

    Returns
    -------
    Published

    Raises
    ------
    MissingInput, InputError
        If the work list or a log cannot be used; nothing has changed then.
    """
    if (method := output_method(output)) and not path.stem.endswith(f"-{method}"):
        check_output(output, "")
    check_todo(rows or path)
    with exclusive(path, _PATIENCE), contextlib.ExitStack() as stack:
        worklist = load_worklist(rows or path, check_write=rows is None)
        if worklist.has_old_results and rows is None:
            output = move_to_logs(worklist, output)
        running: list[CCD] = []
        idle = np.zeros(len(worklist.ccds), bool)
        last, logs = PhotometryResults(worklist), []
        for number, ccd in enumerate(worklist.ccds):
            name = log_path(output, ccd)
            if name.exists():
                try:
                    stack.enter_context(exclusive(name, 0))
                    idle[number] = not damaged_path(name).exists()
                except Locked:
                    running.append(ccd)
            log = LogReader(name, worklist, ccd)
            last.read(log)
            logs.append(log)
            idle[number] &= log.damage is None
        decision = last.decide()
        corrections, correction_logs = read_corrections(worklist, output, last, worklist.ccds)
        corrected = np.flatnonzero((corrections != STATUS.UNKNOWN) & decision.listed)
        del last
        versions = {log.version for log in logs if log.exists}
        with new_todo(path, old=path.exists(), rows=rows) as conn:
            _copy_rows(conn, worklist, decision, "old" if rows is None else "rows")
            if path.exists():
                _copy_others(conn, bool(correction_logs))
            _write_results(conn, worklist, decision, logs)
            if correction_logs:
                conn.execute(CORRECTIONS_TABLE)
                _write_diagnostics(
                    conn, worklist, corrected, correction_logs, "diagnostics_corr", _CORRECTION_PLACES
                )
            conn.execute(
                "INSERT INTO photometry_output VALUES (?, ?)",
                (output_name(path, output), versions.pop() if len(versions) == 1 else None),
            )
        removed = _remove_unlisted(path, output, worklist, decision, logs, idle)
        return Published(decision, running, removed, len(distinct(worklist.rows["starid"])))


def _copy_rows(conn: sqlite3.Connection, worklist: WorkList, decision: Decision, schema: str) -> None:
    """Write the rows as they are in a schema, with their new statuses."""
    conn.execute("CREATE TEMP TABLE changed (priority INTEGER PRIMARY KEY, status INTEGER, tile INTEGER)")
    columns = worklist.priority, decision.status, worklist.tile
    for part in _slices(len(worklist.rows)):
        conn.executemany(
            "INSERT INTO changed VALUES (?, NULLIF(?, 0), NULLIF(?, -1))",
            zip(*(column[part].tolist() for column in columns), strict=True),
        )
    _, names = todolist_columns(conn, schema)
    for name, kind in extra_columns(conn, schema).items():
        conn.execute(f'ALTER TABLE todolist ADD COLUMN "{name}" {kind}')
        names[name] = f'"{name}"'
    names.update(status="changed.status", tile="changed.tile")
    conn.execute(
        f"INSERT INTO main.todolist ({', '.join(names)}) SELECT {', '.join(names.values())}"
        f" FROM {schema}.todolist JOIN changed USING (priority) ORDER BY priority"
    )
    conn.execute("DROP TABLE changed")


def _copy_others(conn: sqlite3.Connection, corrected: bool) -> None:
    """Tables, indices and views that other programs have put into the file."""
    known = {*OUR_TABLES, *OLD_TABLES, RESULTS_VIEW}
    if corrected or has_corrections(conn, "old"):
        known.add("diagnostics_corr")
    others = [
        row
        for row in conn.execute(
            "SELECT name, type, lower(tbl_name), sql FROM old.sqlite_master"
            " WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY type != 'table', name"
        )
        if row[2] not in known
        and row[3].upper().startswith((f"CREATE {row[1].upper()} ", "CREATE UNIQUE INDEX "))
    ]
    for name, kind, _, sql in others:
        conn.execute(sql)
        if kind == "table":
            quoted = '"' + name.replace('"', '""') + '"'
            columns = ", ".join(
                '"' + column.replace('"', '""') + '"'
                for column in columns_of(conn, name.replace('"', '""'), "old")
            )
            conn.execute(f"INSERT INTO main.{quoted} ({columns}) SELECT {columns} FROM old.{quoted}")


def _write_results(
    conn: sqlite3.Connection, worklist: WorkList, decision: Decision, logs: list[LogReader]
) -> None:
    """Write the tables `diagnostics` and `photometry_skipped`."""
    listed = np.flatnonzero(decision.listed)
    _write_diagnostics(conn, worklist, listed, logs, "diagnostics", _PLACES)
    skipped = np.flatnonzero(decision.skipped_by >= 0)
    pairs = worklist.priority[skipped].tolist(), worklist.priority[decision.skipped_by[skipped]].tolist()
    conn.executemany("INSERT INTO photometry_skipped VALUES (?, ?)", zip(*pairs, strict=True))


def _write_diagnostics(
    conn: sqlite3.Connection,
    worklist: WorkList,
    listed: NDArray[np.int64],
    logs: list[LogReader],
    table: str,
    places: Mapping[str, str],
) -> None:
    """Write the last results of some rows into the columns of a table, each from its place in a result."""
    names = list(places)
    statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for start in range(0, len(listed), _AT_ONCE):
        columns = _last_results(worklist, listed[start : start + _AT_ONCE], logs, places)
        for part in _slices(len(columns["priority"])):
            conn.executemany(statement, zip(*(columns[name][part].tolist() for name in names), strict=True))


def _last_results(
    worklist: WorkList, listed: NDArray[np.int64], logs: list[LogReader], places: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    """Columns of the last results of some rows, which are in memory at once."""
    numbers = np.zeros(len(listed), RESULT_DTYPE)
    strings = np.full((len(listed), 3), None, dtype=object)
    for log in logs:
        # Results that came after the decision are not published.
        for entry in LogReader(log.path, worklist, log.ccd, stop=log.end).read() if log.exists else ():
            if not isinstance(entry, ResultGroup):
                continue
            at = np.searchsorted(listed, entry.index)
            at[at == len(listed)] = 0
            inside = np.flatnonzero(listed[at] == entry.index)
            # Of several results of a star the last one stays.
            numbers[at[inside]] = entry.bundle.numbers[inside]
            for column, found in enumerate(entry.bundle.strings(inside)):
                strings[at[inside], column] = found
    texts: dict[str, NDArray[Any]] = {
        "lightcurve": strings[:, 0],
        "method_used": strings[:, 1],
        "errors": strings[:, 2],
    }
    texts["method_used"] = np.array([method or "" for method in strings[:, 1]], dtype=object)
    return texts | {name: numbers[place] for name, place in places.items() if name not in texts}


def _slices(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS):
        yield slice(start, start + _ROWS)


def _remove_unlisted(
    path: Path,
    output: Path,
    worklist: WorkList,
    decision: Decision,
    logs: list[LogReader],
    idle: NDArray[np.bool_],
) -> int:
    """Delete light curves that nothing lists, of CCDs that no run is writing and whose logs are whole."""
    names = LightcurveNames(worklist, set().union(*(log.versions for log in logs)))
    with contextlib.closing(open_todo(path)) as conn:
        try:
            removed = remove_unlisted(output, names, conn, decision.final, idle[worklist.ccd_of])
            if all(idle[n] or not log.exists for n, log in enumerate(logs)):
                remove_packs(output, names, conn, decision.final)
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
        except OSError as error:
            raise InputError(
                f"{error.filename or output}: {error.strerror}, so light curves that nothing lists stay;"
                " change its permissions and publish again"
            ) from None
    return removed
