"""What rank 0 knows of a run, in memory and in `todo.sqlite`, and in what order both and the files change.

What a star ended with by itself (`own`, its claims, its diagnostics) is written as it arrives. The skip
rule's outcome is a function of that and is written at the end (`publish`): a run that was killed before has
only more results than it publishes. A file is deleted only after the transaction that no longer lists it, in
which its name was put in `photometry_trash`; the next run empties that first. So at any moment every listed
light curve exists.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..products.lightcurve import below
from ..products.packed import PACK_FOLDER, remove_unlisted_packs, split_name
from ..products.todo import open_todo, read_todo, transaction
from ..protocol import DIAGNOSTICS, ProtocolError, Results
from ..status import STATUS
from .skip import groups, primaries, skip_rule

__all__ = ["Store", "load_store"]

#: Results are written when there are this many, or when the oldest has waited this long (seconds): what a
#: kill costs. A transaction waits for the disk a few times, some 10 ms, whatever its size.
FLUSH_COUNT = 1000
FLUSH_SECONDS = 1.0

_COLUMNS = ("priority", "lightcurve", "method_used", "elaptime", "worker_wait_time", *DIAGNOSTICS, "errors")
_LIGHTCURVE = re.compile(
    r"\.?tess(?P<starid>\d{11})-s(?P<sector>\d{3})-(?P<camera>\d)-(?P<ccd>\d)-c(?P<cadence>\d{4})-dr\d+"
    r"-v(?P<version>\d+)-tasoc_lc\.fits\.gz.*"
)

_KEY = ("starid", "sector", "camera", "ccd", "cadence")


@dataclass
class Store:
    """The work list in memory, one element a row in order of priority, and its connection.

    Attributes
    ----------
    rows : ndarray of LOADED_DTYPE
        As loaded.
    status : ndarray of int32
        As in the file: the own status of a star until `publish`; UNKNOWN = to do.
    own : ndarray of int32
        The STATUS that each star ended with by itself; UNKNOWN = not computed.
    claims : dict of int to ndarray of int64
        Skip lists by row.
    skipped_by : ndarray of int64
        Row of the skipping star as in the file; -1 for none.
    """

    path: Path
    conn: sqlite3.Connection
    rows: NDArray[np.void]
    status: NDArray[np.int32]
    own: NDArray[np.int32]
    claims: dict[int, NDArray[np.int64]]
    skipped_by: NDArray[np.int64]
    waiting: list[Results] = field(default_factory=list)
    oldest: float = 0.0

    @property
    def listed(self) -> NDArray[np.bool_]:
        """Which rows have diagnostics (and, where they are OK or WARNING, a light curve)."""
        return np.isin(self.status, (STATUS.OK, STATUS.ERROR, STATUS.WARNING, STATUS.ABORT))

    def index(self, priorities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the given priorities; raises ProtocolError if there is no such row."""
        index = np.searchsorted(self.rows["priority"], priorities)
        if (index >= len(self.rows)).any() or (self.rows["priority"][index] != priorities).any():
            raise ProtocolError("a result of a star that is not in the work list")
        return index

    def add(self, results: Results) -> None:
        """Take results in; they are durable after the next `flush`."""
        if not len(results):
            return
        index = self.index(results.numbers["priority"])
        self.status[index] = self.own[index] = results.numbers["status"]
        skips = np.split(results.skips, np.cumsum(results.numbers["skip_count"])[:-1])
        for row, skip in zip(index.tolist(), skips, strict=True):
            self.claims.pop(row, None)
            if len(skip):
                self.claims[row] = np.array(skip)
        if not self.waiting:
            self.oldest = time.monotonic()
        self.waiting.append(results)
        if sum(map(len, self.waiting)) >= FLUSH_COUNT:
            self.flush()

    def tick(self) -> None:
        """Write what has waited long enough; to be called often."""
        if self.waiting and time.monotonic() - self.oldest >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write all results that wait, in one transaction.

        Raises
        ------
        InputError
            If the file cannot be written; then nothing of them was.
        """
        if not self.waiting:
            return
        with transaction(self.conn, self.path):
            for results in self.waiting:
                save_results(self.conn, results)
        self.waiting.clear()

    def decide(self) -> NDArray[np.int64]:
        """The skip rule's outcome for all results so far: row of the skipping star, -1 for none."""
        claimers = np.array(sorted(self.claims), dtype=np.int64)
        lists = [self.claims[row] for row in claimers.tolist()]
        return skip_rule(
            groups(self.rows),
            self.rows["tmag"],
            self.rows["starid"],
            primaries(self.rows),
            self.own,
            np.repeat(claimers, [len(skip) for skip in lists]),
            np.concatenate(lists) if lists else np.zeros(0, np.int64),
        )

    def reset(self, chosen: NDArray[np.bool_], output: Path) -> None:
        """Forget the results of the chosen rows and delete their light curves."""
        chosen = chosen & ((self.status != STATUS.UNKNOWN) | (self.own != STATUS.UNKNOWN))
        priorities = self._priorities(chosen)
        with transaction(self.conn, self.path):
            _unlist(self.conn, priorities)
            for table in ("photometry_skipped", "photometry_results", "photometry_claims"):
                self.conn.executemany(f"DELETE FROM {table} WHERE priority = ?", priorities)
            self.conn.executemany("UPDATE todolist SET status = NULL WHERE priority = ?", priorities)
        self._forget(chosen)
        self.status[chosen] = STATUS.UNKNOWN
        self.skipped_by[chosen] = -1
        self.empty_trash(output)

    def publish(self, skipped_by: NDArray[np.int64], output: Path) -> bool:
        """Write the outcome of the skip rule and delete the light curves of skipped stars.

        Returns whether anything changed.
        """
        assert not self.waiting
        skipped = skipped_by >= 0
        status = np.where(skipped, STATUS.SKIPPED, np.where(self.listed, self.status, STATUS.UNKNOWN))
        restated = status != self.status
        reassigned = skipped_by != self.skipped_by
        forgotten = self._claimed(skipped_by) & (self.own != STATUS.UNKNOWN)
        with transaction(self.conn, self.path):
            _unlist(self.conn, self._priorities(skipped & self.listed))
            for table in ("photometry_results", "photometry_claims"):
                self.conn.executemany(f"DELETE FROM {table} WHERE priority = ?", self._priorities(forgotten))
            self.conn.executemany(
                f"UPDATE todolist SET status = NULLIF(?, {STATUS.UNKNOWN:d}) WHERE priority = ?",
                zip(status[restated].tolist(), self.rows["priority"][restated].tolist(), strict=True),
            )
            self.conn.executemany(
                "DELETE FROM photometry_skipped WHERE priority = ?", self._priorities(reassigned)
            )
            new = reassigned & skipped
            self.conn.executemany(
                "INSERT INTO photometry_skipped (priority, skipped_by) VALUES (?, ?)",
                zip(
                    self.rows["priority"][new].tolist(),
                    self.rows["priority"][skipped_by[new]].tolist(),
                    strict=True,
                ),
            )
        self._forget(forgotten)
        self.status[:] = status
        self.skipped_by[:] = skipped_by
        self.empty_trash(output)
        return bool(restated.any() or reassigned.any())

    def _claimed(self, skipped_by: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which stars are skipped because the skipping star named them.

        What they ended with by themselves has no influence on anything (see `skip_rule`); it is forgotten, so
        that the file is the same whether they were computed before they were skipped or not.
        """
        claimed = np.zeros(len(self.rows), dtype=bool)
        for row in np.flatnonzero(skipped_by >= 0).tolist():
            by = int(skipped_by[row])
            claimed[row] = by in self.claims and self.rows["starid"][row] in self.claims[by]
        return claimed

    def _forget(self, chosen: NDArray[np.bool_]) -> None:
        self.own[chosen] = STATUS.UNKNOWN
        for row in np.flatnonzero(chosen).tolist():
            self.claims.pop(row, None)

    def _priorities(self, chosen: NDArray[np.bool_]) -> list[tuple[int]]:
        return [(priority,) for priority in self.rows["priority"][chosen].tolist()]

    def empty_trash(self, output: Path) -> None:
        """Delete the files of light curves that are no longer listed.

        Of packed ones these are the files that were unpacked to the same folder, if they were.
        """
        names = self.conn.execute("SELECT lightcurve FROM photometry_trash").fetchall()
        for (name,) in names:
            below(output, split_name(name)[1]).unlink(missing_ok=True)
        if names:
            with transaction(self.conn, self.path):
                self.conn.execute("DELETE FROM photometry_trash")

    def begin(self, output: Path, version: int, anew: bool) -> None:
        """Note where the results are, and that a run is under way; clean up after one that was killed.

        Results of another folder or version are accepted only if all of them are about to be computed `anew`.

        Raises
        ------
        InputError
            If there are results in another folder or of another version: one work list is one set of files.
        """
        known = self.conn.execute("SELECT output, version, unfinished FROM photometry_settings").fetchone()
        source = self.path.parent.resolve()
        output = output.resolve()
        if known and self.listed.any():
            folder, known_version = source / known[0], known[1]
            if anew:
                # Their files are where they were made.
                self.reset(np.ones(len(self.rows), dtype=bool), folder)
                self.sweep_packs(folder, known_version)
            elif known_version != version:
                raise InputError(
                    f"{self.path}: its results are of version {known_version}; run with that --version,"
                    " or with --overwrite to compute all again"
                )
            elif folder != output and folder.is_dir():
                raise InputError(
                    f"{self.path}: its light curves are in {folder}; name it with --output, or move it"
                )
        self.empty_trash(output)
        if known and known[2]:
            self.sweep(output, version)
        self.sweep_packs(output, version)
        with transaction(self.conn, self.path):
            self.conn.execute("DELETE FROM photometry_settings")
            # Below the input folder the name is relative, so that both can be moved or copied together.
            name = output.relative_to(source) if output.is_relative_to(source) else output
            self.conn.execute("INSERT INTO photometry_settings VALUES (?, ?, 1)", (str(name), version))

    def end(self) -> None:
        """Note that the run came to its end."""
        with transaction(self.conn, self.path):
            self.conn.execute("UPDATE photometry_settings SET unfinished = 0")

    def sweep(self, output: Path, version: int) -> None:
        """Delete light curves, whole or temporary, that a killed run wrote and that no result lists.

        Most of them would be written again, but not those of stars that meanwhile are skipped by others. Only
        names that this work list's stars get are touched.
        """
        names = self.conn.execute("SELECT lightcurve FROM diagnostics WHERE lightcurve IS NOT NULL")
        # Packed ones may also have been unpacked to the same folder.
        listed = {os.path.normpath(split_name(name)[1]) for (name,) in names}
        ours = self._keys()
        for folder in {f"c{key[4]:04d}/{key[0]:011d}"[:11] for key in ours}:
            with contextlib.suppress(FileNotFoundError), os.scandir(output / folder) as entries:
                for entry in entries:
                    key = _key(entry.name, version)
                    if key in ours and f"{folder}/{entry.name}" not in listed:
                        os.unlink(entry.path)

    def sweep_packs(self, output: Path, version: int) -> None:
        """Delete packs of this work list's light curves of which none is listed; no worker may be writing."""
        if not (output / PACK_FOLDER).is_dir():
            return
        names = self.conn.execute(
            "SELECT DISTINCT substr(lightcurve, 1, instr(lightcurve, '#')) FROM diagnostics"
            " WHERE instr(lightcurve, '#') > 0"
        )
        listed = {name.removesuffix("#") for (name,) in names}
        ours = self._keys()
        remove_unlisted_packs(output, listed, lambda name: _key(os.path.basename(name), version) in ours)

    def _keys(self) -> set[tuple[int, ...]]:
        """What identifies the stars of this work list in the names of light curves; see `_key`."""
        return set(zip(*(self.rows[name].tolist() for name in _KEY), strict=True))


def _key(file_name: str, version: int) -> tuple[int, ...] | None:
    """Which star a light curve of a version is of, by its name; None for other files."""
    match = _LIGHTCURVE.fullmatch(file_name)
    if not match or int(match["version"]) != version:
        return None
    return tuple(int(match[name]) for name in _KEY)


def load_store(path: Path) -> Store:
    """Open a work list for a run.

    Raises
    ------
    MissingInput, InputError
        As `open_todo` and `read_todo`.
    """
    conn = open_todo(path, write=True)
    rows = read_todo(conn, path)
    status = np.where(rows["status"] == STATUS.STARTED, STATUS.UNKNOWN, rows["status"]).astype(np.int32)
    store = Store(
        path, conn, rows, status, np.zeros(len(rows), np.int32), {}, np.full(len(rows), -1, dtype=np.int64)
    )
    own = _table(conn, "SELECT priority, status FROM photometry_results")
    store.own[store.index(own[:, 0])] = own[:, 1]
    claims = _table(conn, "SELECT priority, starid FROM photometry_claims ORDER BY priority, starid")
    claimers, starts = np.unique(claims[:, 0], return_index=True)
    lists = np.split(claims[:, 1], starts[1:])
    store.claims.update(zip(store.index(claimers).tolist(), lists, strict=False))
    skips = _table(conn, "SELECT priority, skipped_by FROM photometry_skipped")
    store.skipped_by[store.index(skips[:, 0])] = store.index(skips[:, 1])
    return store


def _table(conn: sqlite3.Connection, query: str) -> NDArray[np.int64]:
    """Two integer columns, shape (n, 2)."""
    return np.array(conn.execute(query).fetchall(), dtype=np.int64).reshape(-1, 2)


def _unlist(conn: sqlite3.Connection, priorities: list[tuple[int]]) -> None:
    """Remove diagnostics, and mark the light curves that they list for deletion (within a transaction)."""
    conn.executemany(
        "INSERT OR IGNORE INTO photometry_trash SELECT lightcurve FROM diagnostics"
        " WHERE priority = ? AND lightcurve IS NOT NULL",
        priorities,
    )
    conn.executemany("DELETE FROM diagnostics WHERE priority = ?", priorities)


def save_results(conn: sqlite3.Connection, results: Results) -> None:
    """Write results as they came, before the skip rule (within a transaction)."""
    priorities = results.numbers["priority"].tolist()
    status = results.numbers["status"].tolist()
    keys = [(priority,) for priority in priorities]
    for table in ("diagnostics", "photometry_claims"):
        conn.executemany(f"DELETE FROM {table} WHERE priority = ?", keys)
    columns = {name: results.numbers[name].tolist() for name in results.numbers.dtype.names or ()}
    columns.update(
        lightcurve=results.lightcurve,
        method_used=[method or "" for method in results.method_used],
        errors=results.errors,
    )
    conn.executemany(
        f"INSERT INTO diagnostics ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})",
        zip(*(columns[name] for name in _COLUMNS), strict=True),
    )
    conn.executemany(
        "INSERT OR REPLACE INTO photometry_results VALUES (?, ?)", zip(priorities, status, strict=True)
    )
    conn.executemany(
        "INSERT OR IGNORE INTO photometry_claims VALUES (?, ?)",
        zip(np.repeat(priorities, columns["skip_count"]).tolist(), results.skips.tolist(), strict=True),
    )
    conn.executemany(
        "UPDATE todolist SET status = ? WHERE priority = ?", zip(status, priorities, strict=True)
    )
