"""What rank 0 knows of a run, in memory and in `todo.sqlite`, and in what order both and the files change.

What a star ended with by itself arrives as messages, which are appended to the journal of the work list as
they are. When nothing is left to compute (or the run is told to end), the journal is moved to the tables that
other programs read, together with the skip rule's outcome, in one transaction (`publish`). A file is deleted
only after the transaction that no longer lists it, in which its name was put in `photometry_trash`; the next
run empties that first. So at any moment every light curve that is listed exists.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..products.journal import append, read_journal
from ..products.todo import in_memory, open_todo, transaction
from ..protocol import Bundle, ProtocolError, unpack_many
from ..status import STATUS
from .publish import Change, publish, unlist
from .rows import Claims, index_of, read_rows, read_table
from .skip import Finder, groups, primaries, skip_rule
from .sweep import empty_trash, sweep, sweep_packs

__all__ = ["Store", "load_store"]

#: Results are written when there are this many, or when the oldest has waited this long (seconds): what a
#: kill costs. Where rank 0 is busy, they may have lain as long before they came here.
FLUSH_COUNT = 1000
FLUSH_SECONDS = 0.5
#: Where the disk is slower than results come, no more of them than these wait: some 250 bytes each.
FLUSH_MOST = 200_000
#: A transaction waits for the disk a few times, some 10 ms, whatever its size. Where many results come, they
#: take at most this share of the time (but no result waits for longer than above).
FLUSH_SHARE = 0.2
#: Stars that others claim are left out after so many seconds: many at once are found more quickly.
LEAVE_OUT_SECONDS = 0.2

_NONE = np.zeros(0, np.int64)
_LISTED = (STATUS.OK, STATUS.ERROR, STATUS.WARNING, STATUS.ABORT)


@dataclass
class Store:
    """The work list in memory, one element a row in order of priority, and its connection.

    Attributes
    ----------
    rows : ndarray of TASK_DTYPE
        As loaded.
    tile : ndarray of int32
        The part of its CCD in which a star lies, -1 where that is not known.
    status : ndarray of int8
        As in the table `todolist`, UNKNOWN = to do.
    own : ndarray of int8
        The STATUS that each star ended with by itself; UNKNOWN = not computed.
    listed : ndarray of bool
        Which rows have diagnostics (and, where they are OK or WARNING, a light curve), in the table or in the
        journal.
    journaled : ndarray of bool
        Those in the journal.
    claims : Claims
        Skip lists.
    filed : ndarray of bool, shape (2, n)
        Which rows have a row in `photometry_results`, and rows in `photometry_claims`.
    skipped_by : ndarray of int64
        Row of the skipping star as in the file; -1 for none.
    left_out : ndarray of bool
        Stars that by the results so far a brighter one skips: they are not handed out. Only `decide` tells.
    in_file : ndarray of bool
        Which rows are of target pixel files.
    """

    path: Path
    conn: sqlite3.Connection
    rows: NDArray[np.void]
    tile: NDArray[np.int32]
    status: NDArray[np.int8]
    own: NDArray[np.int8]
    listed: NDArray[np.bool_]
    journaled: NDArray[np.bool_]
    claims: Claims
    filed: NDArray[np.bool_]
    skipped_by: NDArray[np.int64]
    left_out: NDArray[np.bool_]
    priority: NDArray[np.int64]
    in_file: NDArray[np.bool_]
    group: NDArray[np.int32]
    finder: Finder
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _writing: Future[None] | None = None
    _waiting: list[tuple[int, float, bytes | bytearray]] = field(default_factory=list)
    _waiting_results: int = 0
    _oldest: float = 0.0
    _flushed: float = 0.0
    _flush_cost: float = 0.0
    _left_out_at: float = 0.0
    _new_claims: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)

    def find(self, priorities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the given priorities, -1 where there is none."""
        return index_of(self.priority, priorities)

    def index(self, priorities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the given priorities; raises ProtocolError if there is no such row."""
        index = self.find(priorities)
        if (index < 0).any():
            raise ProtocolError("a result of a star that is not in the work list")
        return index

    def add(self, messages: Sequence[bytes | bytearray]) -> tuple[Bundle, NDArray[np.int64]]:
        """Take messages of results in; they are durable after the next `flush`.

        Returns
        -------
        bundle : Bundle
            What they hold.
        index : ndarray of int64
            The row of each result.

        Raises
        ------
        ProtocolError
            If a message is not what it should be; then none is taken in.
        """
        bundle = unpack_many(messages)
        if (bundle.starts == bundle.ends).any():
            raise ProtocolError("a message of results without one")
        index = self._note(bundle)
        now = time.time()
        first = bundle.heads["priority"][bundle.starts].tolist()
        if not self._waiting:
            self._oldest = time.monotonic()
        self._waiting.extend(
            (priority, now, message) for priority, message in zip(first, messages, strict=True)
        )
        self._waiting_results += len(bundle.heads)
        if self._waiting_results >= FLUSH_MOST:
            self._finish_writing()
            self._flush_beside()
        elif self._waiting_results >= FLUSH_COUNT:
            since = time.monotonic() - self._flushed
            if since * FLUSH_SHARE >= self._flush_cost or since >= FLUSH_SECONDS:
                self._flush_beside()
        return bundle, index

    def _note(self, bundle: Bundle) -> NDArray[np.int64]:
        """Results in memory; returns the row of each."""
        heads = bundle.heads
        index = self.index(heads["priority"])
        again = index[self.own[index] != STATUS.UNKNOWN]
        if len(again):
            known = np.zeros(len(self.rows), dtype=bool)
            known[again] = True
            self.claims.drop(known)
        self.own[index] = heads["status"]
        self.listed[index] = True
        self.journaled[index] = True
        if len(bundle.skips):
            claimers = np.repeat(index, heads["skip_count"])
            self.claims.add(claimers, bundle.skips)
            self._new_claims.append((claimers, bundle.skips))
        return index

    def tick(self) -> NDArray[np.int64]:
        """Write what has waited long enough; to be called often.

        Returns
        -------
        ndarray of int64
            Rows that newly are left out; now and then, many at once.
        """
        if self._waiting and time.monotonic() - self._oldest >= FLUSH_SECONDS:
            self._flush_beside()
        now = time.monotonic()
        if now - self._left_out_at >= LEAVE_OUT_SECONDS:
            self._left_out_at = now
            return self._leave_out()
        return _NONE

    def _leave_out(self) -> NDArray[np.int64]:
        """Leave out the stars that a brighter one with a light curve has named since the last call."""
        if not self._new_claims:
            return _NONE
        pairs = [np.concatenate(arrays) for arrays in zip(*self._new_claims, strict=True)]
        self._new_claims.clear()
        claimer, claimed = self.finder.resolve(*pairs)
        tmag, starid = self.rows["tmag"], self.rows["starid"]
        brighter = (tmag[claimer] < tmag[claimed]) | (
            (tmag[claimer] == tmag[claimed]) & (starid[claimer] < starid[claimed])
        )
        brighter &= np.isin(self.own[claimer], (STATUS.OK, STATUS.WARNING)) & ~self.left_out[claimer]
        new = claimed[brighter]
        self.left_out[new] = True
        return new

    def flush(self) -> None:
        """Write all results that wait, in one transaction, and wait until they are durable.

        Raises
        ------
        InputError
            If the file cannot be written; then nothing of them was.
        """
        self._finish_writing()
        if self._waiting:
            self._write(self._waiting)
            self._waiting, self._waiting_results = [], 0

    def _write(self, messages: list[tuple[int, float, bytes | bytearray]]) -> None:
        start = time.monotonic()
        with transaction(self.conn, self.path):
            append(self.conn, messages)
        self._flush_cost = time.monotonic() - start

    def _flush_beside(self) -> None:
        """The same in a thread: while it waits for the disk, workers get their answers."""
        if self._writing is not None and not self._writing.done():
            return
        self._finish_writing()
        self._writing = self._writer.submit(self._write, self._waiting)
        self._waiting, self._waiting_results = [], 0
        self._flushed = time.monotonic()

    def _finish_writing(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """Close the file; what was not flushed is lost."""
        self._writer.shutdown()
        self.conn.close()

    def decide(self) -> NDArray[np.int64]:
        """The skip rule's outcome for all results so far: row of the skipping star, -1 for none."""
        return skip_rule(
            self.group,
            self.rows["tmag"],
            self.rows["starid"],
            primaries(self.rows),
            self.own,
            *self.claims.arrays(),
            self.finder,
        )

    def reset(self, chosen: NDArray[np.bool_], output: Path) -> None:
        """Forget the results of the chosen rows and delete their light curves."""
        assert not self.journaled.any()
        chosen = chosen & ((self.status != STATUS.UNKNOWN) | (self.own != STATUS.UNKNOWN))
        keys = [(priority,) for priority in self.priority[chosen].tolist()]
        with transaction(self.conn, self.path):
            unlist(self.conn, keys)
            for table in ("skipped", "results", "claims", "failures"):
                self.conn.executemany(f"DELETE FROM photometry_{table} WHERE priority = ?", keys)
            self.conn.executemany("UPDATE todolist SET status = NULL WHERE priority = ?", keys)
        self._forget(chosen)
        self.filed[:, chosen] = False
        self.status[chosen] = STATUS.UNKNOWN
        self.listed[chosen] = False
        self.skipped_by[chosen] = -1
        empty_trash(self.conn, self.path, output, transaction)

    def publish(self, skipped_by: NDArray[np.int64], output: Path) -> bool:
        """Write results and the outcome of the skip rule to the tables, and delete skipped light curves.

        Returns whether anything changed.
        """
        self.flush()
        skipped = skipped_by >= 0
        status = np.where(skipped, STATUS.SKIPPED, np.where(self.listed, self.own, STATUS.UNKNOWN))
        # What a star ended with that was claimed by the star that skips it has no influence on anything (see
        # `skip_rule`); it is forgotten, so that the file is the same whether it was computed or not.
        forgotten = self._claimed(skipped_by) & (self.own != STATUS.UNKNOWN)
        rows, starids = self.claims.arrays()
        kept = skipped & (self.own != STATUS.UNKNOWN) & ~forgotten
        order = np.lexsort((starids, rows))
        order = order[(~forgotten & (self.journaled | ~self.filed[1]))[rows[order]]]
        change = Change(
            self.priority,
            status=status,
            restated=status != self.status,
            skipped_by=skipped_by,
            reassigned=skipped_by != self.skipped_by,
            unlisted=skipped & np.isin(self.status, _LISTED),
            journaled=self.journaled,
            kept=np.where(kept, self.own, STATUS.UNKNOWN),
            new_kept=kept & (self.journaled | ~self.filed[0]),
            old_kept=self.filed[0] & ~kept,
            old_claims=self.filed[1] & (forgotten | self.journaled),
            claims=(rows[order], starids[order]),
        )
        if changed := change.any():
            with transaction(self.conn, self.path):
                publish(self.conn, change)
        self._forget(forgotten)
        self.filed[0] = kept
        self.filed[1] = False
        self.filed[1][self.claims.arrays()[0]] = True
        self.status[:] = status
        self.listed &= ~skipped
        self.journaled[:] = False
        self.skipped_by[:] = skipped_by
        empty_trash(self.conn, self.path, output, transaction)
        return changed

    def _claimed(self, skipped_by: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which stars are skipped because the skipping star named them."""
        claimer, claimed = self.finder.resolve(*self.claims.arrays())
        found = np.zeros(len(self.rows), dtype=bool)
        found[claimed[skipped_by[claimed] == claimer]] = True
        return found

    def _forget(self, chosen: NDArray[np.bool_]) -> None:
        self.own[chosen] = STATUS.UNKNOWN
        self.claims.drop(chosen)

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
                self.publish(self.decide(), folder)
                self.reset(np.ones(len(self.rows), dtype=bool), folder)
                sweep_packs(self.conn, self.rows, folder, known_version)
            elif known_version != version:
                raise InputError(
                    f"{self.path}: its results are of version {known_version}; run with that --version,"
                    " or with --overwrite to compute all again"
                )
            elif folder != output and folder.is_dir():
                raise InputError(
                    f"{self.path}: its light curves are in {folder}; name it with --output, or move it"
                )
        empty_trash(self.conn, self.path, output, transaction)
        if self.journaled.any():
            self.publish(self.decide(), output)
        if known and known[2]:
            sweep(self.conn, self.rows, output, version)
        sweep_packs(self.conn, self.rows, output, version)
        with transaction(self.conn, self.path):
            self.conn.execute("DELETE FROM photometry_settings")
            # Below the input folder the name is relative, so that both can be moved or copied together.
            name = output.relative_to(source) if output.is_relative_to(source) else output
            self.conn.execute("INSERT INTO photometry_settings VALUES (?, ?, 1)", (str(name), version))

    def end(self) -> None:
        """Note that the run came to its end."""
        with transaction(self.conn, self.path):
            self.conn.execute("UPDATE photometry_settings SET unfinished = 0")


def load_store(path: Path, copy: bool = False) -> Store:
    """Open a work list for a run.

    Parameters
    ----------
    path : Path
        The file.
    copy : bool, optional
        Change nothing in it: what is brought up to date is a copy in memory.

    Raises
    ------
    MissingInput, InputError
        As `open_todo`; if there are no rows, a value is of the wrong kind, or the file is damaged.
    """
    conn = open_todo(path, write=not copy, check_write=copy)
    if copy:
        with contextlib.closing(conn):
            conn = in_memory(conn, path)
    rows, status = read_rows(conn, path)
    priority = np.ascontiguousarray(rows["priority"])
    n, group = len(rows), groups(rows)
    store = Store(
        path,
        conn,
        rows,
        tile=np.full(n, -1, np.int32),
        status=status,
        own=np.zeros(n, np.int8),
        listed=np.isin(status, _LISTED),
        journaled=np.zeros(n, bool),
        claims=Claims(),
        filed=np.zeros((2, n), bool),
        skipped_by=np.full(n, -1, np.int64),
        left_out=np.zeros(n, bool),
        priority=priority,
        in_file=rows["datasource"] != b"ffi",
        group=group,
        finder=Finder(group, rows["starid"]),
    )
    store.own[store.listed] = status[store.listed]
    for query, columns in _LOADS.items():
        _load(store, columns, read_table(conn, query))
    for bundle, _, _ in read_journal(conn):
        store._note(bundle)
    store._new_claims.clear()
    return store


_LOADS = {
    "SELECT priority, tile FROM photometry_tiles": "tile",
    "SELECT priority, status FROM photometry_results": "own",
    "SELECT priority, starid FROM photometry_claims": "claims",
    "SELECT priority, skipped_by FROM photometry_skipped": "skipped_by",
}


def _load(store: Store, name: str, table: NDArray[np.int64]) -> None:
    """One table of the run's memory."""
    index = store.index(table[0])
    if name == "claims":
        store.claims.add(index, table[1])
        store.filed[1][index] = True
        return
    getattr(store, name)[index] = store.index(table[1]) if name == "skipped_by" else table[1]
    if name == "own":
        store.filed[0][index] = True
