"""The journal of a run in the work list: results as they came, and their move to the table `diagnostics`.

While stars are computed their results arrive in no order of priority, and writing each to its place would
touch a page of the file for every star: the longer the list, the slower. So messages are appended as they
are, and moved in order of priority at the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..protocol import DIAGNOSTICS, RESULT_DTYPE, Bundle, unpack_many
from ..status import STATUS

__all__ = ["Failure", "append", "move", "read_failures", "read_journal"]

#: Messages that are read at once.
_MESSAGES = 500
#: Results that are sorted in memory at once, some 300 bytes each.
_AT_ONCE = 400_000
#: Rows that are Python objects at once.
_ROWS = 10_000

_COLUMNS = ("priority", "lightcurve", "method_used", "elaptime", "worker_wait_time", *DIAGNOSTICS, "errors")


@dataclass(frozen=True)
class Failure:
    """A star that has failed: its priority, when it came in (Unix time), and its messages."""

    priority: int
    time: float
    errors: str


def append(conn: sqlite3.Connection, messages: Sequence[tuple[int, float, bytes]]) -> None:
    """Add messages: priority of the first star, time of arrival, bytes (within a transaction)."""
    conn.executemany("INSERT INTO photometry_journal (priority, time, results) VALUES (?, ?, ?)", messages)


def read_journal(
    conn: sqlite3.Connection, after: int = 0
) -> Iterator[tuple[Bundle, NDArray[np.float64], NDArray[np.int64]]]:
    """What the journal holds, some messages at a time, in order of arrival.

    Parameters
    ----------
    conn : sqlite3.Connection
    after : int, optional
        Only what was added after the row of this number.

    Yields
    ------
    tuple of (Bundle, ndarray, ndarray)
        The results; the time of arrival and the row number of each message.
    """
    cursor = conn.execute(
        "SELECT rowid, time, results FROM photometry_journal WHERE rowid > ? ORDER BY rowid", (after,)
    )
    while found := cursor.fetchmany(_MESSAGES):
        numbers, times, messages = zip(*found, strict=True)
        yield unpack_many(messages), np.array(times), np.array(numbers)


def read_failures(bundle: Bundle, times: NDArray[np.float64]) -> list[Failure]:
    """The failed stars among results from the journal."""
    failed = np.flatnonzero(np.isin(bundle.numbers["status"], (STATUS.ERROR, STATUS.ABORT)))
    errors = bundle.strings(failed)[2]
    priorities = bundle.numbers["priority"][failed].tolist()
    when = times[bundle.message[failed]].tolist()
    return [Failure(p, t, text or "") for p, t, text in zip(priorities, when, errors, strict=True)]


def move(conn: sqlite3.Connection, priorities: NDArray[np.int64], skipped: NDArray[np.bool_]) -> None:
    """Write results to `diagnostics` and empty the journal (within a transaction).

    Parameters
    ----------
    conn : sqlite3.Connection
    priorities : ndarray of int, shape (n,)
        The stars in the journal, in order.
    skipped : ndarray of bool, shape (n,)
        Those of them whose results are not wanted; their light curves are marked for deletion.
    """
    for start in range(0, len(priorities), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        _move_part(conn, priorities[part], skipped[part])
    conn.execute("DELETE FROM photometry_journal")


def _move_part(conn: sqlite3.Connection, priorities: NDArray[np.int64], skipped: NDArray[np.bool_]) -> None:
    """The same for as many stars as are in memory at once."""
    numbers = np.zeros(len(priorities), RESULT_DTYPE)
    times = np.zeros(len(priorities))
    strings = np.full((len(priorities), 3), None, dtype=object)
    for bundle, arrived, _ in read_journal(conn):
        found = bundle.numbers["priority"]
        inside = np.flatnonzero((found >= priorities[0]) & (found <= priorities[-1]))
        at = np.searchsorted(priorities, found[inside])
        # The last result of a star counts, should there be several.
        numbers[at] = bundle.numbers[inside]
        times[at] = arrived[bundle.message[inside]]
        for column, texts in enumerate(bundle.strings(inside)):
            strings[at, column] = texts
    kept = ~skipped
    for rows in _slices(np.flatnonzero(skipped)):
        conn.executemany(
            "INSERT OR IGNORE INTO photometry_trash VALUES (?)",
            [(name,) for name in strings[rows, 0] if name is not None],
        )
    for rows in _slices(np.flatnonzero(kept)):
        _insert(conn, numbers[rows], strings[rows])
    failed = np.flatnonzero(kept & np.isin(numbers["status"], (STATUS.ERROR, STATUS.ABORT)))
    conn.executemany(
        "INSERT OR REPLACE INTO photometry_failures VALUES (?, ?)",
        zip(priorities[failed].tolist(), times[failed].tolist(), strict=True),
    )


def _slices(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS]


def _insert(conn: sqlite3.Connection, numbers: NDArray[np.void], strings: NDArray[np.object_]) -> None:
    columns = {name: numbers[name].tolist() for name in _COLUMNS if name in (numbers.dtype.names or ())}
    columns.update(
        lightcurve=strings[:, 0].tolist(),
        method_used=[method or "" for method in strings[:, 1]],
        errors=strings[:, 2].tolist(),
    )
    conn.executemany(
        f"INSERT OR REPLACE INTO diagnostics ({', '.join(_COLUMNS)})"
        f" VALUES ({', '.join('?' * len(_COLUMNS))})",
        zip(*(columns[name] for name in _COLUMNS), strict=True),
    )
