"""The tables of `todo.sqlite`: how they are made, and how those of other and older programs are read.

`todolist`, `diagnostics` and `photometry_skipped` are the tables that other programs read.
`photometry_output` names the output folder and the version of the published results; a work list without it
was written by an older program or by another one. `diagnostics_corr` is there once light curves are
corrected; a table of this name of another program, with other columns, stays as it is.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from pathlib import Path

import numpy as np

from ..core.diagnostics import CORRECTION, DIAGNOSTICS
from ..core.errors import InputError
from ..core.status import STATUS

__all__ = [
    "CORRECTIONS_TABLE",
    "CORRECTION_COLUMNS",
    "DIAGNOSTICS_COLUMNS",
    "OLD_TABLES",
    "OUR_TABLES",
    "RESULTS_VIEW",
    "TABLES",
    "TODO_DTYPE",
    "check_schema",
    "columns_of",
    "extra_columns",
    "has_corrections",
    "indices",
    "making_command",
    "todolist_columns",
]

#: One row of `todolist`; method '' is NULL (choose by the star).
TODO_DTYPE = np.dtype(
    [
        ("priority", "i8"),
        ("starid", "i8"),
        ("sector", "i4"),
        ("datasource", "U24"),
        ("camera", "i4"),
        ("ccd", "i4"),
        ("cadence", "i4"),
        ("method", "U16"),
        ("tmag", "f8"),
        ("cbv_area", "i4"),
    ]
)

#: The columns of `diagnostics` with their types.
DIAGNOSTICS_COLUMNS = {
    "priority": "INTEGER PRIMARY KEY ASC NOT NULL REFERENCES todolist (priority)",
    "lightcurve": "TEXT",
    "method_used": "TEXT NOT NULL",
    "elaptime": "REAL NOT NULL",
    "worker_wait_time": "REAL",
    **DIAGNOSTICS,
    "errors": "TEXT",
}

#: The columns of `diagnostics_corr` with their types.
CORRECTION_COLUMNS = {
    **{name: DIAGNOSTICS_COLUMNS[name] for name in ("priority", "lightcurve")},
    "status": "INTEGER NOT NULL",
    **{name: DIAGNOSTICS_COLUMNS[name] for name in ("method_used", "elaptime", "worker_wait_time")},
    **{name: DIAGNOSTICS[place] for name, place in CORRECTION.items()},
    "errors": "TEXT",
}
_CORRECTION_LIST = ", ".join(f"{name} {kind}" for name, kind in CORRECTION_COLUMNS.items())
CORRECTIONS_TABLE = f"CREATE TABLE diagnostics_corr ({_CORRECTION_LIST})"

#: For people: the rows of `todolist` with their results and the status in words.
RESULTS_VIEW = "tasoc_mpi_results"

_STATUS_WORDS = " ".join(f"WHEN {status.value} THEN '{status.name}'" for status in STATUS if status)

TABLES = f"""
CREATE TABLE todolist (
    priority INTEGER PRIMARY KEY ASC NOT NULL,
    starid INTEGER NOT NULL,
    sector INTEGER NOT NULL,
    datasource TEXT NOT NULL DEFAULT 'ffi',
    camera INTEGER NOT NULL,
    ccd INTEGER NOT NULL,
    cadence INTEGER NOT NULL,
    method TEXT DEFAULT NULL,
    tmag REAL,
    status INTEGER DEFAULT NULL,
    cbv_area INTEGER,
    tile INTEGER
);
CREATE TABLE diagnostics ({", ".join(f"{name} {kind}" for name, kind in DIAGNOSTICS_COLUMNS.items())});
CREATE TABLE photometry_skipped (
    priority INTEGER NOT NULL REFERENCES todolist (priority),
    skipped_by INTEGER NOT NULL REFERENCES todolist (priority)
);
CREATE TABLE photometry_output (output TEXT NOT NULL, version INTEGER);
CREATE VIEW {RESULTS_VIEW} AS
    SELECT todolist.priority, todolist.starid, todolist.sector, todolist.camera, todolist.ccd,
        todolist.cadence, todolist.datasource, todolist.tmag, todolist.method,
        CASE todolist.status {_STATUS_WORDS} ELSE 'to do' END AS status,
        brighter.starid AS skipped_by,
        {", ".join(f"diagnostics.{name}" for name in DIAGNOSTICS_COLUMNS if name != "priority")}
    FROM todolist LEFT JOIN diagnostics USING (priority) LEFT JOIN photometry_skipped USING (priority)
    LEFT JOIN todolist AS brighter ON brighter.priority = photometry_skipped.skipped_by;
"""

#: Made last: with all rows at hand that is several times quicker.
_INDICES = (
    "CREATE UNIQUE INDEX todolist_unique_idx ON todolist (starid, datasource, sector, camera, ccd, cadence)",
    "CREATE INDEX todolist_status_idx ON todolist (status)",
    "CREATE UNIQUE INDEX diagnostics_lightcurve_idx ON diagnostics (lightcurve)",
    "CREATE INDEX photometry_skipped_idx ON photometry_skipped (priority)",
)

OUR_TABLES = ("todolist", "diagnostics", "photometry_skipped", "photometry_output")

#: Tables in which older versions of this program kept results; they are not carried on.
OLD_TABLES = tuple(
    f"photometry_{name}"
    for name in (
        *("journal", "results", "claims", "failures", "tiles"),
        *("trash", "settings", "unfinished"),
    )
)

#: Columns of `todolist` that other and older programs do not have, and their values there.
_LATER = {
    "cadence": (
        "CASE WHEN datasource != 'ffi' THEN 120 WHEN sector <= 26 THEN 1800"
        " WHEN sector <= 55 THEN 600 ELSE 200 END"
    ),
    "tile": "NULL",
}

_TODOLIST = (*(TODO_DTYPE.names or ()), "status", "tile")
_REQUIRED = {
    "todolist": set(_TODOLIST) - set(_LATER),
    "photometry_skipped": {"priority", "skipped_by"},
    "photometry_output": {"output", "version"},
}


def indices(conn: sqlite3.Connection) -> None:
    """Make the indices of the tables, which are filled."""
    for statement in _INDICES:
        conn.execute(statement)


def columns_of(conn: sqlite3.Connection, table: str, schema: str = "main") -> list[str]:
    """Names of the columns of a table, generated ones left out; empty where there is no such table."""
    return [row[1] for row in conn.execute(f'PRAGMA {schema}.table_info("{table}")')]


def has_corrections(conn: sqlite3.Connection, schema: str = "main") -> bool:
    """Whether there is a table `diagnostics_corr` of this program."""
    return columns_of(conn, "diagnostics_corr", schema) == list(CORRECTION_COLUMNS)


def extra_columns(conn: sqlite3.Connection, schema: str) -> dict[str, str]:
    """Columns that other programs have added to `todolist`, with their types."""
    found = {}
    for _, name, kind, *_ in conn.execute(f"PRAGMA {schema}.table_info(todolist)"):
        if name not in _TODOLIST and re.fullmatch(r"\w+", name):
            found[name] = kind if re.fullmatch(r"[\w ]*", kind) else ""
    return found


def todolist_columns(conn: sqlite3.Connection, schema: str = "main") -> tuple[str, dict[str, str]]:
    """Table, and SQL expressions for the columns of `todolist`, whether they are there or not."""
    there = columns_of(conn, "todolist", schema)
    expressions = {name: f'"{name}"' if name in there else _LATER[name] for name in _TODOLIST}
    if "tile" in there or "tile" not in columns_of(conn, "photometry_tiles", schema):
        return "todolist", expressions
    expressions["tile"] = "photometry_tiles.tile"
    return "todolist LEFT JOIN photometry_tiles USING (priority)", expressions


def making_command(path: Path) -> str:
    """The command that makes a work list."""
    return f"tasoc-mpi todo {shlex.quote(str(path.parent))}"


def check_schema(conn: sqlite3.Connection, path: Path) -> None:
    """Raise InputError unless the tables are tables, with all columns that are needed."""
    kinds = dict(conn.execute("SELECT lower(name), type || ' ' || COALESCE(sql, '') FROM sqlite_master"))
    trigger = conn.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name)"
        f" IN ({', '.join('?' * len(OUR_TABLES))})",
        OUR_TABLES,
    ).fetchone()
    if trigger:
        raise InputError(f"{path}: has a trigger ({str(trigger[0])[:50]}); remove it, or make the list anew")
    for table in OUR_TABLES:
        if table in kinds and not kinds[table].upper().startswith("TABLE CREATE TABLE"):
            raise InputError(f"{path}: `{table}` is not a table of rows; make it with `tasoc-mpi todo`")
    if "todolist" not in kinds:
        raise InputError(f"{path}: no table `todolist`; make a work list with `{making_command(path)}`")
    for table, columns in _REQUIRED.items():
        if table in kinds and (missing := columns - set(columns_of(conn, table))):
            names = f"no {', '.join(sorted(missing))} in `{table}`"
            raise InputError(f"{path}: another schema, {names}; make it with `tasoc-mpi todo`")
