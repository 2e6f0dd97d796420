"""The work list in memory: flat arrays, a few dozen bytes a star."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..products.todo import explain
from ..protocol import TASK_DTYPE
from ..status import STATUS

__all__ = ["Claims", "index_of", "read_rows", "read_table"]

_ROWS_AT_ONCE = 20_000


def read_table(conn: sqlite3.Connection, query: str) -> NDArray[np.int64]:
    """Integer columns of a query, shape (columns, n)."""
    cursor = conn.execute(query)
    blocks = [np.zeros((len(cursor.description), 0), np.int64)]
    while block := cursor.fetchmany(_ROWS_AT_ONCE):
        blocks.append(np.array(block, dtype=np.int64).T)
    return np.concatenate(blocks, axis=1)


def read_rows(conn: sqlite3.Connection, path: Path) -> tuple[NDArray[np.void], NDArray[np.int8]]:
    """All rows of an open work list, as the workers get them, and their statuses.

    Returns
    -------
    rows : ndarray of TASK_DTYPE
        In order of priority; a method of b'' is none, an unknown magnitude NaN.
    status : ndarray of int8
        UNKNOWN for rows that are to do, whatever a run that was killed left in them.

    Raises
    ------
    InputError
        If there are no rows, a value is of the wrong kind, or the file is damaged.
    """
    try:
        (count,) = conn.execute("SELECT COUNT(*) FROM todolist").fetchone()
        rows, status = np.zeros(count, TASK_DTYPE), np.zeros(count, np.int8)
        names = TASK_DTYPE.names or ()
        # A number that is none must not become one without notice, as the text '12' would.
        wrong = " OR ".join(f"typeof({name}) != 'integer'" for name in names[:6])
        bad = conn.execute(f"SELECT priority FROM todolist WHERE {wrong} LIMIT 1").fetchone()
        if bad:
            raise InputError(f"{path}: row {bad[0]} of `todolist` has a value of the wrong kind")
        cursor = conn.execute(
            f"SELECT {', '.join(names)}, COALESCE(status, {STATUS.UNKNOWN:d}) FROM todolist"
            " ORDER BY priority".replace("method,", "COALESCE(method, ''),")
        )
        for start, columns in _blocks(cursor):
            part = slice(start, start + len(columns[0]))
            for name, column in zip(names, columns, strict=False):
                rows[name][part] = np.array(column, dtype=TASK_DTYPE[name])
            status[part] = np.array(columns[-1], dtype=np.int8)
    except sqlite3.Error as error:
        raise explain(path, error) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: a row of `todolist` has a value of the wrong kind ({error})") from None
    if not count:
        raise InputError(f"{path}: no stars in the work list; check the catalogs and run `tasoc-mpi todo`")
    status[status == STATUS.STARTED] = STATUS.UNKNOWN
    return rows, status


def _blocks(cursor: sqlite3.Cursor) -> Iterator[tuple[int, list[tuple]]]:
    start = 0
    while block := cursor.fetchmany(_ROWS_AT_ONCE):
        yield start, list(zip(*block, strict=True))
        start += len(block)


def index_of(sorted_priorities: NDArray[np.int64], priorities: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where priorities stand among sorted ones; -1 for those that are not there."""
    first, last = int(sorted_priorities[0]), int(sorted_priorities[-1])
    consecutive = last - first == len(sorted_priorities) - 1
    # As `tasoc-mpi todo` makes them: no search.
    index = priorities - first if consecutive else np.searchsorted(sorted_priorities, priorities)
    inside = (index >= 0) & (index < len(sorted_priorities))
    if not consecutive:
        index = np.where(inside, index, 0)
        inside &= sorted_priorities[index] == priorities
    return np.where(inside, index, -1)


class Claims:
    """Skip lists as two flat arrays: the row of a star, and the TIC id of one that it named."""

    def __init__(self) -> None:
        self._rows: list[NDArray[np.int32]] = []
        self._starids: list[NDArray[np.int64]] = []

    def add(self, rows: NDArray[np.integer], starids: NDArray[np.int64]) -> None:
        """Add pairs."""
        if len(rows):
            self._rows.append(rows.astype(np.int32))
            self._starids.append(np.array(starids, dtype=np.int64))

    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """All pairs."""
        if len(self._rows) != 1:
            rows = np.concatenate([np.zeros(0, np.int32), *self._rows])
            starids = np.concatenate([np.zeros(0, np.int64), *self._starids])
            self._rows, self._starids = [rows], [starids]
        return self._rows[0], self._starids[0]

    def drop(self, chosen: NDArray[np.bool_]) -> None:
        """Forget the lists of the chosen rows (a mask over all rows)."""
        rows, starids = self.arrays()
        keep = ~chosen[rows]
        self._rows, self._starids = [rows[keep]], [starids[keep]]
