"""Work lists as older versions of the program wrote them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def make_older(path: Path) -> None:
    """Take away from a work list what its first version did not have: cadences, tiles, three diagnostics."""
    with contextlib.closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("DROP VIEW IF EXISTS tasoc_mpi_results")
        conn.execute("DROP INDEX todolist_unique_idx")
        conn.execute("ALTER TABLE todolist DROP COLUMN cadence")
        conn.execute("ALTER TABLE todolist DROP COLUMN tile")
        conn.execute(
            "CREATE UNIQUE INDEX todolist_unique_idx ON todolist (starid, datasource, sector, camera, ccd)"
        )
        for name in ("method_used", "edge_flux", "worker_wait_time"):
            conn.execute(f"ALTER TABLE diagnostics DROP COLUMN {name}")
        tables = conn.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'photometry_%' AND type = 'table'"
        )
        for (name,) in tables.fetchall():
            if name != "photometry_skipped":
                conn.execute(f"DROP TABLE {name}")
