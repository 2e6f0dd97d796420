"""Writing what became of the stars to the tables of the work list that other programs read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..products.journal import move
from ..products.todo_schema import INDICES
from ..status import STATUS

__all__ = ["Change", "publish", "unlist"]

#: From this many results on it is quicker to make the indices anew.
_MANY = 20_000
#: Rows that are Python objects at once.
_ROWS = 50_000


@dataclass(frozen=True)
class Change:
    """What is to be changed in the file; arrays have an element a row, masks say which rows are meant.

    Attributes
    ----------
    priority : ndarray of int64
    status, restated : ndarray
        The status that rows get.
    skipped_by, reassigned : ndarray
        Row of the skipping star, -1 for none.
    unlisted : ndarray of bool
        Rows whose diagnostics and light curves go.
    journaled : ndarray of bool
        Rows whose results are in the journal.
    kept, new_kept, old_kept : ndarray
        Own status of skipped stars where it matters; rows that get one, rows that lose theirs.
    old_claims : ndarray of bool
        Rows that lose the stars that they claim.
    claims : tuple of ndarray
        Row and claimed TIC id to be added, in order.
    """

    priority: NDArray[np.int64]
    status: NDArray[np.integer]
    restated: NDArray[np.bool_]
    skipped_by: NDArray[np.int64]
    reassigned: NDArray[np.bool_]
    unlisted: NDArray[np.bool_]
    journaled: NDArray[np.bool_]
    kept: NDArray[np.integer]
    new_kept: NDArray[np.bool_]
    old_kept: NDArray[np.bool_]
    old_claims: NDArray[np.bool_]
    claims: tuple[NDArray[np.integer], NDArray[np.int64]]

    def any(self) -> bool:
        """Whether there is anything to change."""
        masks = (self.restated, self.reassigned, self.unlisted, self.journaled, self.new_kept, self.old_kept)
        return any(mask.any() for mask in (*masks, self.old_claims)) or len(self.claims[0]) > 0


def publish(conn: sqlite3.Connection, change: Change) -> None:
    """Make a change (within a transaction)."""
    many = np.count_nonzero(change.journaled) >= _MANY
    if many:
        for name in INDICES:
            conn.execute(f"DROP INDEX IF EXISTS {name}")
    unlist(conn, _keys(change, change.unlisted))
    _many(conn, "DELETE FROM photometry_failures WHERE priority = ?", change, change.restated)
    journaled = np.flatnonzero(change.journaled)
    move(conn, change.priority[journaled], change.skipped_by[journaled] >= 0)
    _many(
        conn,
        f"UPDATE todolist SET status = NULLIF(?, {STATUS.UNKNOWN:d}) WHERE priority = ?",
        change,
        change.restated,
        change.status,
    )
    _many(conn, "DELETE FROM photometry_skipped WHERE priority = ?", change, change.reassigned)
    skipped = change.reassigned & (change.skipped_by >= 0)
    by = np.where(skipped, change.priority[change.skipped_by], 0)
    _many(conn, "INSERT INTO photometry_skipped (skipped_by, priority) VALUES (?, ?)", change, skipped, by)
    _many(conn, "DELETE FROM photometry_results WHERE priority = ?", change, change.old_kept)
    _many(
        conn,
        "INSERT OR REPLACE INTO photometry_results (status, priority) VALUES (?, ?)",
        change,
        change.new_kept,
        change.kept,
    )
    _many(conn, "DELETE FROM photometry_claims WHERE priority = ?", change, change.old_claims)
    rows, starids = change.claims
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        conn.executemany(
            "INSERT OR IGNORE INTO photometry_claims VALUES (?, ?)",
            zip(change.priority[rows[part]].tolist(), starids[part].tolist(), strict=True),
        )
    for statement in INDICES.values() if many else ():
        conn.execute(statement)


def unlist(conn: sqlite3.Connection, keys: Iterable[tuple[int]]) -> None:
    """Remove diagnostics, and mark the light curves that they list for deletion (within a transaction)."""
    keys = list(keys)
    conn.executemany(
        "INSERT OR IGNORE INTO photometry_trash SELECT lightcurve FROM diagnostics"
        " WHERE priority = ? AND lightcurve IS NOT NULL",
        keys,
    )
    conn.executemany("DELETE FROM diagnostics WHERE priority = ?", keys)


def _keys(change: Change, chosen: NDArray[np.bool_]) -> list[tuple[int]]:
    return [(priority,) for priority in change.priority[chosen].tolist()]


def _many(
    conn: sqlite3.Connection,
    statement: str,
    change: Change,
    chosen: NDArray[np.bool_],
    values: NDArray[np.integer] | None = None,
) -> None:
    """Execute a statement for the chosen rows, with (value, priority) or (priority,)."""
    rows = np.flatnonzero(chosen)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        columns = [change.priority[part].tolist()]
        if values is not None:
            columns.insert(0, values[part].tolist())
        conn.executemany(statement, zip(*columns, strict=True))
