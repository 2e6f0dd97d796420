"""The file `todo.sqlite`: opened for reading, and written anew as a whole. It is never changed in place."""

from __future__ import annotations

import contextlib
import glob
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import remove_unfinished, replacing
from ..core.errors import InputError, MissingInput
from ..core.locks import exclusive, holder
from ..core.settings import input_folder
from .output_folder import find_output
from .schema import TABLES, TODO_DTYPE, check_schema, indices, making_command

__all__ = [
    "SQLITE_ERRORS",
    "TODO_NAME",
    "check_todo",
    "create_todo",
    "explain",
    "named_todo",
    "new_todo",
    "open_todo",
    "refuse_during_run",
]

#: Name of the work list in the input folder.
TODO_NAME = "todo.sqlite"

#: How long to wait for another program's lock (seconds): a reader holds it for seconds at most.
BUSY_TIMEOUT = 60.0

#: No value of a work list is longer (bytes); one that is belongs to a damaged file.
_LONGEST_VALUE = 10_000_000
_ROWS_AT_ONCE = 20_000

#: What reading or writing a database raises; UnicodeDecodeError where a message quotes a damaged file.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)


def open_todo(path: str | os.PathLike[str], *, check_write: bool = False) -> sqlite3.Connection:
    """Open a work list for reading and check that it is one.

    Parameters
    ----------
    path : path-like
        The file.
    check_write : bool, optional
        Accept a file only if a new one can be put in its place.

    Returns
    -------
    sqlite3.Connection

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is not a work list, damaged, locked by another program, or cannot be replaced where it must be.
    """
    path = Path(path)
    check_todo(path)
    if check_write and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)):
        raise InputError(
            f"{path}: a run must be able to write it and its folder; change their permissions,"
            " or name a copy of it in another folder with --todo"
        )
    conn = None
    try:
        # Writable if possible: what another program left half done when it was killed is then undone.
        uri = f"{path.resolve().as_uri()}?mode={'rw' if os.access(path, os.W_OK) else 'ro'}"
        conn = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)
        conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        conn.execute("PRAGMA trusted_schema=OFF")
        conn.execute("PRAGMA query_only=ON")
        check_schema(conn, path)
    except SQLITE_ERRORS as error:
        if conn is not None:
            conn.close()
        raise explain(path, error) from None
    except InputError:
        assert conn is not None
        conn.close()
        raise
    return conn


def named_todo(todo: str | os.PathLike[str] | None, folder: str | os.PathLike[str] | None) -> Path:
    """The work list that a command line names: a file, else that of the input folder, see `input_folder`.

    Examples
    --------
    >>> named_todo("elsewhere.sqlite", None).name
    'elsewhere.sqlite'
    """
    return Path(todo) if todo else input_folder(folder) / TODO_NAME


def check_todo(path: Path) -> None:
    """Raise MissingInput where there is no work list, or not even its folder."""
    if not path.parent.is_dir():
        raise MissingInput(f"{path.parent}: no such folder; name the one that holds the data")
    if path.is_dir():
        raise MissingInput(f"{path}: a folder; name the work list in it ({path / TODO_NAME})")
    if not path.is_file():
        raise MissingInput(f"{path}: no work list here; make one with `{making_command(path)}`")


def explain(path: Path, error: Exception) -> InputError:
    """The line for the user that one of `SQLITE_ERRORS` on a work list deserves."""
    text = " ".join(str(error).split())
    if not text.isprintable() or isinstance(error, UnicodeError):
        text = "malformed text"
    if "locked" in text or "busy" in text:
        return InputError(f"{path}: locked by another program (`fuser` names it); end it and try again")
    if "not a database" in text:
        return InputError(f"{path}: not an SQLite file; make a new one with `{making_command(path)}`")
    if "malformed" in text or "too big" in text:
        return InputError(f"{path}: damaged ({text}); restore a copy or make a new one with `tasoc-mpi todo`")
    if "readonly" in text:
        return InputError(f"{path}: not writable; change the permissions of the file and its folder")
    if "full" in text:
        return InputError(f"{path}: the disk is full; make room and run again, results are kept")
    if "diagnostics.lightcurve" in text:
        return InputError(
            f"{path}: two rows name the same light curve file; make it anew with `tasoc-mpi todo`"
        )
    if "UNIQUE" in text:
        return InputError(f"{path}: two rows are the same star of the same data ({text}); make it anew")
    return InputError(f"{path}: cannot be used ({text}); restore a copy or make a new one")


@contextlib.contextmanager
def new_todo(path: Path, old: bool = False, rows: Path | None = None) -> Iterator[sqlite3.Connection]:
    """A new work list that takes the place of `path`, whole, if nothing goes wrong.

    To be used by the holder of the lock of `path`.

    Parameters
    ----------
    path : Path
    old : bool, optional
        Whether the file that is there is to be read, as the schema ``old``.
    rows : Path, optional
        Another work list to be read, as the schema ``rows``.

    Yields
    ------
    sqlite3.Connection
        With empty tables and without indices, within a transaction.

    Raises
    ------
    InputError
        If rows clash, or it cannot be written.
    """
    try:
        remove_unfinished(path)
        with replacing(path) as temporary:
            uri = temporary.resolve().as_uri()
            with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as conn:
                conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
                for name, file in (("old", path if old else None), ("rows", rows)):
                    if file is not None:
                        conn.execute(f"ATTACH ? AS {name}", (f"{file.resolve().as_uri()}?mode=ro",))
                conn.executescript(
                    "PRAGMA main.journal_mode=OFF; PRAGMA main.synchronous=OFF;"
                    f" PRAGMA trusted_schema=OFF; {TABLES}"
                )
                conn.execute("BEGIN")
                yield conn
                indices(conn)
                conn.execute("COMMIT")
            _remove_journals(path)
    except SQLITE_ERRORS as error:
        raise explain(path, error) from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); make room, or change its permissions"
        ) from None


def _remove_journals(path: Path) -> None:
    """Remove what belongs to the old file: applied to the new one, it would destroy it."""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        # The last one to close the file would have emptied it.
        raise InputError(f"{path}: another program is writing it (there is a {log.name}); end it first")
    for end in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


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
        If rows clash, the file cannot be written, or another program is writing it or computing its stars.
    """
    path = Path(path)
    rows = np.asarray(rows, dtype=TODO_DTYPE)
    tiles = np.full(len(rows), -1) if tiles is None else tiles
    names = TODO_DTYPE.names or ()
    with exclusive(path), new_todo(path) as conn:
        refuse_during_run(path)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            conn.executemany(
                f"INSERT INTO todolist ({', '.join(names)}, tile)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, NULLIF(?, ''), ?, ?, NULLIF(?, -1))",
                [(*row, tile) for row, tile in zip(rows[part].tolist(), tiles[part].tolist(), strict=True)],
            )


def refuse_during_run(path: Path) -> None:
    """Raise InputError while stars of a work list, or of one for a single method beside it, are computed."""
    lists = [path, *path.parent.glob(f"{glob.escape(path.stem)}-*{path.suffix}")]
    for listed in lists if path.exists() else ():
        for log in (find_output(listed) / "results").glob("*.log"):
            if name := holder(log):
                raise InputError(f"{path}: in use by a run ({name}, {log.name}); wait for it or end it")
