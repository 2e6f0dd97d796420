"""Damage to SQLite files: their values, columns, tables and pages."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from random import Random
from typing import Any

from .damage import Damage, integers, numbers

__all__ = ["damage_sqlite"]


def _odd_value(rng: Random, old: Any) -> Any:
    if isinstance(old, int | float) and rng.random() < 0.5:
        if rng.random() < 0.5:
            value = integers(rng, int(old) if abs(old) < 1e18 else 0)
            return value if -(2**63) <= value < 2**63 else float(value)
        return numbers(rng, float(old))
    odd = [
        None,
        "",
        "text",
        "\x1b[31m",
        b"\xff\x00\xfe",
        b"",
        "nan",
        "1e400",
        "../../../etc/passwd",
        "x" * 10_000,
        "1",
    ]
    return rng.choice([*odd, "a\0b", "12;13", "0,0;0,0;0,0", "tpf:", "tpf:-1", "packed/x.hdf5#y", "/", "."])


def _change(rng: Random, conn: sqlite3.Connection) -> str:
    tables = sorted(name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
    indices = [
        n for (n,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    ]
    filled = [t for t in tables if conn.execute(f'SELECT 1 FROM "{t}"').fetchone()] or tables
    if not tables:
        return "no table is left"
    table = rng.choice(filled)
    columns = [row[1] for row in conn.execute(f'PRAGMA table_info("{table}")')]
    column = rng.choice(columns)
    kind = rng.choice(
        ["value"] * 10
        + ["column of values"] * 4
        + ["drop table", "drop column", "rename column", "empty table"]
        + [
            "drop index",
            "rename table",
            "view",
            "loop",
            "more rows",
            "delete row",
            "loose types",
            "generated",
        ]
    )
    rows = conn.execute(f'SELECT rowid, "{column}" FROM "{table}" ORDER BY rowid').fetchall()
    if kind in ("value", "column of values") and rows:
        row, old = rng.choice(rows)
        value = _odd_value(rng, old)
        where = f" WHERE rowid = {row}" if kind == "value" else ""
        with contextlib.suppress(sqlite3.IntegrityError):
            conn.execute(f'UPDATE OR REPLACE "{table}" SET "{column}" = ?{where}', (value,))
        return f"{table}.{column}{where} = {str(value)[:60]!r} for {str(old)[:60]!r}"
    if kind == "drop table":
        conn.execute(f'DROP TABLE "{table}"')
    elif kind == "drop column":
        conn.execute(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')
        return f"{table}.{column} dropped"
    elif kind == "rename column":
        conn.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO other')
        return f"{table}.{column} renamed"
    elif kind == "empty table":
        conn.execute(f'DELETE FROM "{table}"')
    elif kind == "delete row":
        conn.execute(f'DELETE FROM "{table}" WHERE rowid = (SELECT max(rowid) FROM "{table}")')
    elif kind == "drop index" and indices:
        conn.execute(f'DROP INDEX "{indices[0]}"')
    elif kind == "rename table":
        conn.execute(f'ALTER TABLE "{table}" RENAME TO other')
    elif kind == "view":
        conn.execute(f'ALTER TABLE "{table}" RENAME TO other')
        conn.execute(f'CREATE VIEW "{table}" AS SELECT * FROM other')
    elif kind == "loop":
        conn.execute(f'DROP TABLE "{table}"')
        names = ", ".join(f'1 AS "{name}"' for name in columns)
        conn.execute(
            f'CREATE VIEW "{table}" AS SELECT {names} FROM (WITH RECURSIVE n(i) AS'
            " (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000) SELECT i FROM n)"
        )
    elif kind == "more rows":
        marks = ", ".join("?" * len(columns))
        values = [_odd_value(rng, 1) for _ in columns]
        with contextlib.suppress(sqlite3.IntegrityError, sqlite3.OperationalError):
            conn.execute(f'INSERT INTO "{table}" VALUES ({marks})', values)
    elif kind in ("loose types", "generated"):
        rows = conn.execute(f'SELECT * FROM "{table}"').fetchall()
        names = ", ".join(f'"{name}"' for name in columns)
        conn.execute(f'DROP TABLE "{table}"')
        conn.execute(f'CREATE TABLE "{table}" ({names})')
        marks = ", ".join("?" * len(columns))
        changed = [tuple(_odd_value(rng, x) if rng.random() < 0.05 else x for x in row) for row in rows]
        conn.executemany(f'INSERT INTO "{table}" VALUES ({marks})', changed)
    return f"{table}: {kind}"


def damage_sqlite(rng: Random, path: Path) -> Damage:
    """One to three changes of the tables of an SQLite file, or of its pages."""
    if rng.random() < 0.2:
        return _damage_pages(rng, path)
    done = []
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as conn:
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            try:
                done.append(_change(rng, conn))
            except sqlite3.Error as error:
                done.append(f"not done: {error}")
        if rng.random() < 0.05:
            conn.execute("PRAGMA journal_mode = wal")
            done.append("journal_mode = wal")
        if rng.random() < 0.05:
            conn.execute(f"PRAGMA user_version = {rng.choice([-1, 1, 99, 2**31 - 1])}")
            done.append("user_version")
    return Damage("; ".join(done))


def _damage_pages(rng: Random, path: Path) -> Damage:
    data = bytearray(path.read_bytes())
    page = rng.randrange(len(data) // 4096 or 1)
    kind = rng.choice(["header", "page header", "page", "page zeros", "journal"])
    if kind == "journal":
        path.with_name(path.name + "-journal").write_bytes(
            b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + rng.randbytes(600)
        )
        return Damage("a damaged rollback journal beside it")
    if kind == "header":
        data[rng.randrange(100)] = rng.randrange(256)
    elif kind == "page header":
        place = 4096 * page + (100 if page == 0 else 0) + rng.randrange(12)
        data[min(place, len(data) - 1)] = rng.randrange(256)
    elif kind == "page":
        for _ in range(20):
            data[min(4096 * page + rng.randrange(4096), len(data) - 1)] = rng.randrange(256)
    else:
        data[4096 * page : 4096 * page + 4096] = bytes(len(data[4096 * page : 4096 * page + 4096]))
    path.write_bytes(data)
    return Damage(f"page {page}: {kind}")
