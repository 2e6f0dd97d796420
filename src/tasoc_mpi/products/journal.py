"""The journal of a run in the work list: results as they came, and their move to the table `diagnostics`.

While stars are computed their results arrive in no order of priority, and writing each to its place would
touch a page of the file for every star: the longer the list, the slower. So messages are appended as they
are, and moved in order of priority at the end.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..protocol import DIAGNOSTICS, RESULT_DTYPE, Bundle, ProtocolError, unpack_many
from ..status import STATUS

__all__ = ["Failure", "Tally", "append", "move", "read_failures", "read_journal"]

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


def append(conn: sqlite3.Connection, messages: Sequence[tuple[int, float, bytes | bytearray]]) -> None:
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

    Raises
    ------
    InputError
        If another version wrote it, or it is damaged.
    """
    cursor = conn.execute(
        "SELECT rowid, time, results FROM photometry_journal WHERE rowid > ? ORDER BY rowid", (after,)
    )
    while found := cursor.fetchmany(_MESSAGES):
        numbers, times, messages = zip(*found, strict=True)
        try:
            bundle = unpack_many(messages)
        except ProtocolError:
            (*_, path) = conn.execute("PRAGMA database_list").fetchone()
            raise InputError(
                f"{path}: what the last run left in it is of another version of tasoc-mpi, or damaged; end"
                " that run with the version that began it, or make the work list anew"
            ) from None
        yield bundle, np.array(times), np.array(numbers)


def read_failures(bundle: Bundle, times: NDArray[np.float64]) -> list[Failure]:
    """The failed stars among results from the journal."""
    failed = np.flatnonzero(np.isin(bundle.heads["status"], (STATUS.ERROR, STATUS.ABORT)))
    errors = bundle.strings(failed)[2]
    priorities = bundle.heads["priority"][failed].tolist()
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
        found = bundle.heads["priority"]
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


@dataclass
class MethodTally:
    """Stars of one method: how many, and the sums and the largest of their seconds."""

    stars: int = 0
    elapsed: float = 0.0
    waited: float = 0.0
    longest: float = 0.0


@dataclass
class Tally:
    """Counts of what a journal holds; `update` reads only what is new, so that it can be watched.

    Attributes
    ----------
    counts : dict
        Stars by (sector, camera, CCD, status).
    methods : dict of str to MethodTally
    slowest : list of (seconds, priority, stamp height, stamp width)
        In order, not more than `most`.
    failures : list of Failure
        In order of time.
    """

    most: int = 20
    counts: Counter[tuple[int, int, int, int]] = field(default_factory=Counter)
    methods: dict[str, MethodTally] = field(default_factory=lambda: defaultdict(MethodTally))
    slowest: list[tuple[float, int, float, float]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    _last: int = 0
    _messages: int = 0

    def update(self, conn: sqlite3.Connection) -> None:
        """Read what has come since the last call; what has been moved to the tables is forgotten."""
        if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'photometry_journal'").fetchone():
            return
        (messages,) = conn.execute("SELECT COUNT(*) FROM photometry_journal").fetchone()
        if messages < self._messages:
            self._last = self._messages = 0
            for known in (self.counts, self.methods, self.slowest, self.failures):
                known.clear()
        self._messages = messages
        places = conn.execute(
            "SELECT sector, camera, ccd FROM photometry_journal j JOIN todolist t USING (priority)"
            " WHERE j.rowid > ? ORDER BY j.rowid",
            (self._last,),
        )
        for bundle, times, rows in read_journal(conn, self._last):
            bounds = zip(bundle.starts.tolist(), bundle.ends.tolist(), strict=True)
            for (start, end), place in zip(bounds, places.fetchmany(len(rows)), strict=False):
                status = bundle.heads["status"][start:end]
                for value, count in zip(*np.unique(status, return_counts=True), strict=True):
                    self.counts[(*place, int(value))] += int(count)
            self._add(bundle, times)
            self._last = int(rows[-1])

    def _add(self, bundle: Bundle, times: NDArray[np.float64]) -> None:
        numbers = bundle.numbers
        names, which = np.unique(
            np.array([name or "" for name in bundle.strings(np.arange(len(numbers)))[1]], dtype=str),
            return_inverse=True,
        )
        for number, name in enumerate(names.tolist()):
            some = numbers[which == number]
            method = self.methods[name]
            method.stars += len(some)
            method.elapsed += float(some["elaptime"].sum())
            method.waited += float(some["worker_wait_time"].sum())
            method.longest = max(method.longest, float(some["elaptime"].max()))
        slow = np.argsort(-numbers["elaptime"], kind="stable")[: self.most]
        columns = ("elaptime", "priority", "stamp_height", "stamp_width")
        self.slowest += zip(*(numbers[name][slow].tolist() for name in columns), strict=True)
        self.slowest = sorted(self.slowest, reverse=True)[: self.most]
        self.failures += read_failures(bundle, times)
