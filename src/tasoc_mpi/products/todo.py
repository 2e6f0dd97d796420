"""The work list `todo.sqlite`: what is to be computed, what became of it, and who may write it.

The tables `todolist`, `diagnostics` and `photometry_skipped` are those that other programs read; `skipped_by`
is a priority of `todolist`. The others are the run's own memory:

- `photometry_journal`: results as they came from the workers, a message a row, with the time of its arrival
  (Unix) and the priority of its first star. Rows are only appended while a run is under way, which costs the
  same however long the list is; when it ends, they move to the tables above.
- `photometry_results`: the status that a skipped star ended with by itself, where that is of influence.
- `photometry_claims`: the stars (TIC ids) that each computed star asked to skip.
- `photometry_failures`: when each star failed (Unix time).
- `photometry_tiles`: number of the part of its CCD in which a star lies.
- `photometry_trash`: light curves that are no longer listed and whose files may still have to be deleted.
- `photometry_settings`: one row: output folder and version of the results, and whether a run has not ended.

The skip rule is a function of statuses and claims alone, so that it can be applied again at any time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingInput
from ..status import STATUS
from .todo_schema import INDICES, RESULTS, TODO_DTYPE, TODOLIST, add_results, check_schema, upgrade

__all__ = [
    "LOADED_DTYPE",
    "TODO_DTYPE",
    "TODO_NAME",
    "Constraints",
    "create_todo",
    "explain",
    "in_memory",
    "load_todo",
    "lock_todo",
    "open_todo",
    "read_todo",
    "transaction",
]

#: Name of the work list in the input folder.
TODO_NAME = "todo.sqlite"

#: A row as loaded: with its status, where NULL is UNKNOWN.
LOADED_DTYPE = np.dtype([*((name, TODO_DTYPE[name]) for name in TODO_DTYPE.names or ()), ("status", "i4")])

#: How long a transaction waits for another program's lock (seconds): a reader (`tasoc-mpi status`, a copy of
#: the file) holds it for seconds at most; after a minute something is wrong.
BUSY_TIMEOUT = 60.0

#: Seconds to wait for the lock: ranks of a job that was ended may outlive its mpiexec for a moment.
LOCK_PATIENCE = 3.0

_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class Constraints:
    """Which rows of the work list are meant; a constraint that is None (or has no values) admits all.

    The magnitudes are inclusive limits, the others hold any number of accepted values. A `datasource` of
    ``tpf`` admits secondary targets (``tpf:STARID``) too; a `method` of ``''`` admits the rows without one.
    """

    sector: tuple[int, ...] | None = None
    camera: tuple[int, ...] | None = None
    ccd: tuple[int, ...] | None = None
    cadence: tuple[int, ...] | None = None
    datasource: tuple[str, ...] | None = None
    starid: tuple[int, ...] | None = None
    priority: tuple[int, ...] | None = None
    method: tuple[str, ...] | None = None
    tmag_min: float | None = None
    tmag_max: float | None = None

    def mask(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of `rows` (TODO_DTYPE, LOADED_DTYPE or TASK_DTYPE) fulfil all constraints."""
        mask = np.ones(len(rows), dtype=bool)
        for name in ("sector", "camera", "ccd", "cadence", "starid", "priority", "method"):
            accepted = getattr(self, name)
            if accepted:
                mask &= np.isin(rows[name], np.asarray(accepted, dtype=rows.dtype[name].kind))
        if self.datasource:
            kind = rows.dtype["datasource"].kind
            match = np.isin(rows["datasource"], np.asarray(self.datasource, dtype=kind))
            if "tpf" in self.datasource:
                match |= np.char.startswith(rows["datasource"], np.asarray("tpf:", dtype=kind))
            mask &= match
        if self.tmag_min is not None:
            mask &= rows["tmag"] >= self.tmag_min
        if self.tmag_max is not None:
            mask &= rows["tmag"] <= self.tmag_max
        return mask

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) not in (None, ()) for field in fields(self))


def create_todo(
    path: str | os.PathLike[str], rows: NDArray[np.void], tiles: NDArray[np.int64] | None = None
) -> None:
    """Write a new work list in which nothing is done yet, in place of any old one.

    Parameters
    ----------
    path : path-like
        The file, usually ``INPUT/todo.sqlite``. It appears whole or not at all.
    rows : ndarray of TODO_DTYPE
        The stars. Priorities must be unique, and so must (starid, datasource, sector, camera, ccd, cadence).
    tiles : ndarray of int, shape (n,), optional
        Number of the part of its CCD that each star lies in, -1 where there is none: stars of one tile are
        computed together.

    Raises
    ------
    InputError
        If rows clash, the file cannot be written, or a run is using it.
    """
    path = Path(path)
    rows = np.asarray(rows, dtype=TODO_DTYPE)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with lock_todo(path), contextlib.ExitStack() as stack:
            stack.callback(temporary.unlink, missing_ok=True)
            temporary.unlink(missing_ok=True)
            conn = stack.enter_context(contextlib.closing(sqlite3.connect(temporary, isolation_level=None)))
            tables = f"{TODOLIST} {RESULTS} {'; '.join(INDICES.values())}"
            conn.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {tables}")
            conn.execute("BEGIN")
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                conn.executemany(
                    f"INSERT INTO todolist ({', '.join(TODO_DTYPE.names or ())})"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, NULLIF(?, ''), ?, ?)",
                    rows[start : start + _ROWS_AT_ONCE].tolist(),
                )
            if tiles is not None:
                placed = np.flatnonzero(tiles >= 0)
                conn.executemany(
                    "INSERT INTO photometry_tiles VALUES (?, ?)",
                    zip(rows["priority"][placed].tolist(), tiles[placed].tolist(), strict=True),
                )
            conn.execute("COMMIT")
            conn.close()
            _sync(temporary)
            # A journal that a killed run left behind belongs to the old file: applied to the new one it would
            # destroy it.
            path.with_name(path.name + "-journal").unlink(missing_ok=True)
            os.replace(temporary, path)
            _sync(path.parent)
    except sqlite3.IntegrityError as error:
        raise InputError(f"{path}: two rows are the same star of the same data ({error})") from None
    except (sqlite3.Error, OSError) as error:
        raise InputError(f"{path}: cannot be written ({error}); check the disk space") from None


def _sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_todo(
    path: str | os.PathLike[str], *, write: bool = False, check_write: bool = False
) -> sqlite3.Connection:
    """Open a work list and check that it is one.

    The journal is a rollback journal, not a write-ahead log: the latter keeps its index in shared memory,
    which a network file system does not share between hosts, and a reader on another node would see a torn
    file. ``synchronous=FULL`` waits for the disk at every transaction; there are few of them, each of many
    rows, so this costs little, and a transaction that was committed survives a loss of power. The journal is
    truncated, not deleted: its end is then itself synchronised, without a change of the folder.

    Parameters
    ----------
    path : path-like
        The file.
    write : bool, optional
        Open for writing, and add the tables and columns that are missing.
    check_write : bool, optional
        Change nothing, but accept a file only if it could be opened for writing.

    Returns
    -------
    sqlite3.Connection
        In autocommit mode: transactions are begun by `transaction`.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is not a work list, damaged, locked by another program, or not writable where it must be.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path}: no work list here; make one with `tasoc-mpi todo {path.parent}`")
    if (write or check_write) and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise InputError(f"{path}: a run must be able to write it and its folder; change their permissions")
    conn = None
    try:
        # Also for reading 'rw' if possible: after a kill, the next to open it must undo what is half done.
        uri = f"{path.resolve().as_uri()}?mode={'rw' if os.access(path, os.W_OK) else 'ro'}"
        # One thread at a time: the scheduler writes in another than it reads in.
        conn = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        check_schema(conn, path, write or check_write)
        if write:
            conn.execute("PRAGMA journal_mode=TRUNCATE")
            conn.execute("PRAGMA synchronous=FULL")
            with transaction(conn, path):
                upgrade(conn, path)
                add_results(conn)
    except sqlite3.Error as error:
        if conn is not None:
            conn.close()
        raise explain(path, error) from None
    except InputError:
        if conn is not None:
            conn.close()
        raise
    return conn


def in_memory(conn: sqlite3.Connection, path: str | os.PathLike[str]) -> sqlite3.Connection:
    """A copy of an open work list in memory, with all tables and columns."""
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        conn.backup(copy)
        with transaction(copy, path):
            upgrade(copy, Path(path))
            add_results(copy)
    except sqlite3.Error as error:
        copy.close()
        raise explain(Path(path), error) from None
    return copy


def explain(path: Path, error: sqlite3.Error) -> InputError:
    """The line for the user that an SQLite error on a work list deserves."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return InputError(f"{path}: locked by another program (`fuser` names it); end it and try again")
    if "not a database" in text:
        return InputError(f"{path}: not an SQLite file; make a new one with `tasoc-mpi todo {path.parent}`")
    if "malformed" in text:
        return InputError(f"{path}: damaged ({text}); restore a copy or make a new one with `tasoc-mpi todo`")
    if "readonly" in text:
        return InputError(f"{path}: not writable; change the permissions of the file and its folder")
    if "full" in text:
        return InputError(f"{path}: the disk is full; free some space and run again, results are kept")
    if "diagnostics.lightcurve" in text:
        return InputError(
            f"{path}: two rows name the same light curve file; make it anew with `tasoc-mpi todo`"
        )
    return InputError(f"{path}: cannot be used ({text})")


@contextlib.contextmanager
def transaction(conn: sqlite3.Connection, path: str | os.PathLike[str]) -> Iterator[None]:
    """All or nothing: commit at the end, roll back on any error.

    Raises
    ------
    InputError
        If SQLite refuses (locked, full disk, damaged): the line names `path`.
    """
    try:
        conn.execute("BEGIN IMMEDIATE")
        yield
        conn.execute("COMMIT")
    except sqlite3.Error as error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise explain(Path(path), error) from error
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


def read_todo(conn: sqlite3.Connection, path: str | os.PathLike[str]) -> NDArray[np.void]:
    """All rows of an open work list.

    Returns
    -------
    ndarray of LOADED_DTYPE
        In order of priority. NULL is STATUS.UNKNOWN for a status, '' for a method, NaN for a tmag.

    Raises
    ------
    InputError
        If there are no rows, a value is of the wrong kind, or the file is damaged.
    """
    names = ", ".join(TODO_DTYPE.names or ())
    blocks = []
    try:
        cursor = conn.execute(
            f"SELECT {names}, COALESCE(status, {STATUS.UNKNOWN:d}) FROM todolist ORDER BY priority".replace(
                "method,", "COALESCE(method, ''),"
            ).replace("cbv_area", "COALESCE(cbv_area, 0)")
        )
        while block := cursor.fetchmany(_ROWS_AT_ONCE):
            blocks.append(np.array(block, dtype=LOADED_DTYPE))
    except sqlite3.Error as error:
        raise explain(Path(path), error) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: a row of `todolist` has a value of the wrong kind ({error})") from None
    if not blocks:
        raise InputError(f"{path}: no stars in the work list; check the catalogs and run `tasoc-mpi todo`")
    return np.concatenate(blocks)


def load_todo(path: str | os.PathLike[str], constraints: Constraints | None = None) -> NDArray[np.void]:
    """The rows of a work list that fulfil the constraints.

    Parameters
    ----------
    path : path-like
        The file.
    constraints : Constraints, optional
        Default: all rows.

    Returns
    -------
    ndarray of LOADED_DTYPE
        In order of priority; may be empty only because of the constraints.

    Raises
    ------
    MissingInput, InputError
        As `open_todo` and `read_todo`.
    """
    with contextlib.closing(open_todo(path)) as conn:
        rows = read_todo(conn, path)
    return rows if constraints is None else rows[constraints.mask(rows)]


@contextlib.contextmanager
def lock_todo(path: str | os.PathLike[str]) -> Iterator[None]:
    """Be the only program that may change a work list.

    The lock is a POSIX record lock (`fcntl.lockf`) on ``todo.sqlite.lock``: network file systems carry it to
    the other hosts, and it falls when its process ends, however it ends. The file stays and names its last
    owner.

    Raises
    ------
    InputError
        If another process has it: the line names the host and the process. If the file cannot be written.
    """
    import fcntl
    import socket

    lock = Path(path).with_name(Path(path).name + ".lock")
    try:
        handle = open(lock, "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"{lock}: cannot be written ({error.strerror}); check the folder") from None
    with handle:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                handle.seek(0)
                owner = " ".join(handle.read().split()) or "another process"
                raise InputError(f"{path}: in use by {owner}; wait for it or end it") from None
            except OSError as error:
                raise InputError(
                    f"{lock}: no locks on this file system ({error.strerror}); mount it with them (flock)"
                ) from None
        try:
            handle.truncate(0)
            # Unbuffered: what cannot be written is not to be tried again at the end.
            os.write(handle.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            raise InputError(f"{lock}: {error.strerror}; make room and run again") from None
        yield
