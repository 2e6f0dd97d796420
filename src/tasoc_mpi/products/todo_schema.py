"""The tables of the work list: how they are made, and how those of older programs are brought up to date."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..protocol import DIAGNOSTICS

__all__ = ["INDICES", "RESULTS", "TODOLIST", "TODO_DTYPE", "add_results", "check_schema", "upgrade"]

logger = logging.getLogger(__name__)

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

#: Indices that change with every result. They are dropped before very many results are written and made anew
#: behind them, in the same transaction: that is several times quicker.
INDICES = {
    "todolist_status_idx": "CREATE INDEX IF NOT EXISTS todolist_status_idx ON todolist (status)",
    "diagnostics_lightcurve_idx": (
        "CREATE UNIQUE INDEX IF NOT EXISTS diagnostics_lightcurve_idx ON diagnostics (lightcurve)"
    ),
}

TODOLIST = """
CREATE TABLE IF NOT EXISTS todolist (
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
    cbv_area INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS todolist_unique_idx
    ON todolist (starid, datasource, sector, camera, ccd, cadence);
"""

RESULTS = """
CREATE TABLE IF NOT EXISTS diagnostics (
    priority INTEGER PRIMARY KEY ASC NOT NULL REFERENCES todolist (priority),
    lightcurve TEXT,
    method_used TEXT NOT NULL,
    elaptime REAL NOT NULL,
    worker_wait_time REAL,
    mean_flux REAL,
    variance REAL,
    variability REAL,
    rms_hour REAL,
    ptp REAL,
    pos_row REAL,
    pos_column REAL,
    contamination REAL,
    mask_size INTEGER,
    edge_flux REAL,
    stamp_width INTEGER,
    stamp_height INTEGER,
    stamp_resizes INTEGER,
    errors TEXT
);
CREATE TABLE IF NOT EXISTS photometry_skipped (
    priority INTEGER NOT NULL REFERENCES todolist (priority),
    skipped_by INTEGER NOT NULL REFERENCES todolist (priority)
);
CREATE INDEX IF NOT EXISTS photometry_skipped_idx ON photometry_skipped (priority);
CREATE TABLE IF NOT EXISTS photometry_results (
    priority INTEGER PRIMARY KEY ASC NOT NULL REFERENCES todolist (priority),
    status INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS photometry_claims (
    priority INTEGER NOT NULL REFERENCES todolist (priority),
    starid INTEGER NOT NULL,
    PRIMARY KEY (priority, starid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS photometry_journal (
    priority INTEGER NOT NULL,
    time REAL NOT NULL,
    results BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS photometry_failures (
    priority INTEGER PRIMARY KEY ASC NOT NULL REFERENCES todolist (priority),
    time REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS photometry_tiles (
    priority INTEGER PRIMARY KEY ASC NOT NULL REFERENCES todolist (priority),
    tile INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS photometry_trash (lightcurve TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS photometry_settings (
    output TEXT NOT NULL,
    version INTEGER NOT NULL,
    unfinished INTEGER NOT NULL
);
"""

#: Columns that older programs did not have, and what stands in them for rows that were made without.
_LATER: dict[str, dict[str, tuple[str, str | None]]] = {
    "todolist": {
        "cadence": (
            "INTEGER NOT NULL DEFAULT 1800",
            "CASE WHEN datasource != 'ffi' THEN 120 WHEN sector <= 26 THEN 1800"
            " WHEN sector <= 55 THEN 600 ELSE 200 END",
        ),
    },
    "diagnostics": {
        "method_used": (
            "TEXT NOT NULL DEFAULT ''",
            "COALESCE((SELECT method FROM todolist t WHERE t.priority = diagnostics.priority), 'aperture')",
        ),
        "edge_flux": ("REAL", None),
        "worker_wait_time": ("REAL", None),
    },
}

_WANTED = {
    "todolist": {*(TODO_DTYPE.names or ()), "status"},
    "diagnostics": {
        "priority",
        "lightcurve",
        "method_used",
        "elaptime",
        "worker_wait_time",
        *DIAGNOSTICS,
        "errors",
    },
    "photometry_skipped": {"priority", "skipped_by"},
}


def _columns(conn: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in conn.execute(f"PRAGMA table_info({table})")}


def check_schema(conn: sqlite3.Connection, path: Path, write: bool) -> None:
    """Raise InputError where a column is missing of the tables that are there.

    Columns that `upgrade` adds may be missing if the file is to be written.
    """
    if not _columns(conn, "todolist"):
        raise InputError(f"{path}: no table `todolist`; make a work list with `tasoc-mpi todo {path.parent}`")
    for table, columns in _WANTED.items():
        found = _columns(conn, table)
        missing = columns - found if found else set()
        names = f"no {', '.join(sorted(missing))} in `{table}`"
        if missing - set(_LATER.get(table, {})):
            raise InputError(f"{path}: another schema, {names}; make it with `tasoc-mpi todo`")
        if missing and not write:
            raise InputError(f"{path}: an older schema, {names}; the next `tasoc-mpi run` upgrades it")


def upgrade(conn: sqlite3.Connection, path: Path) -> None:
    """Add the columns that an older program did not have (within a transaction); says so in the log."""
    added = []
    for table, columns in _LATER.items():
        found = _columns(conn, table)
        for name, (kind, value) in columns.items() if found else ():
            if name in found:
                continue
            conn.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
            if value:
                conn.execute(f"UPDATE {table} SET {name} = {value}")
            added.append(f"{table}.{name}")
    if "todolist.cadence" in added:
        # The old one does not know that a star can have several cadences.
        conn.execute("DROP INDEX IF EXISTS todolist_unique_idx")
        for statement in TODOLIST.split(";"):
            conn.execute(statement)
    if added:
        logger.warning("%s: of an older program; added %s", path, ", ".join(added))


def add_results(conn: sqlite3.Connection) -> None:
    """Add the tables of results that are missing; results without the run's own memory of them give it."""
    known = conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'photometry_results'").fetchone()
    for statement in filter(str.strip, (*RESULTS.split(";"), *INDICES.values())):
        conn.execute(statement)
    if not known:
        conn.execute(
            "INSERT OR IGNORE INTO photometry_claims SELECT skipped_by, starid FROM photometry_skipped"
            " JOIN todolist USING (priority)"
        )
