"""The one lock of the program: its exclusive holder is the only one that changes a file.

The lock is `flock` on a file of its own, ``NAME.lock`` beside the locked file. It excludes other hosts
(network file systems pass it on), other processes, and other users of the file in the same process; it falls
when its process ends, however that ends. The lock file stays and names its last holder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from .atomic import open_regular
from .errors import InputError

__all__ = [
    "LOCK_FOLDER",
    "PATIENCE",
    "Locked",
    "exclusive",
    "holder",
    "is_current",
    "lock_path",
    "open_lock",
    "refuse_locked",
    "try_lock",
    "use_folder",
]

#: Environment variable that names a folder for all lock files, for file systems that have no locks.
LOCK_FOLDER = "TESSPHOT_LOCKS"

#: Seconds to wait for a lock: ranks of a job that was ended may outlive its mpiexec for a moment.
PATIENCE = 3.0

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_OTHER_FOLDER = f"name a folder that has them, and that all hosts see, with --lock-folder or {LOCK_FOLDER}"


class Locked(InputError):
    """Somebody else holds the lock; the line names the host and the process."""


def lock_path(path: str | os.PathLike[str]) -> Path:
    """The lock file of a file: beside it, or in the folder that ``TESSPHOT_LOCKS`` names.

    Parameters
    ----------
    path : path-like
        The file to be locked; need not be there.

    Examples
    --------
    >>> lock_path("todo.sqlite").name
    'todo.sqlite.lock'
    """
    path = Path(path)
    folder = os.environ.get(LOCK_FOLDER)
    if not folder:
        return path.with_name(f"{path.name}.lock")
    # Files of one name from all folders meet there.
    digest = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]
    return Path(folder, f"{path.name}-{digest}.lock")


def use_folder(folder: str | os.PathLike[str] | None) -> None:
    """Keep lock files in a folder from now on, also in processes that are started; None leaves it as it is.

    Raises
    ------
    InputError
        If it is not there, or cannot be written.
    """
    if folder is None:
        return
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: not a folder that can be written; name another --lock-folder")
    os.environ[LOCK_FOLDER] = os.path.abspath(folder)


def open_lock(path: Path, mode: int = 0o666) -> int:
    """Open a lock file, which is made if it is not there; a link is never followed.

    Parameters
    ----------
    path : Path
    mode : int, optional
        Permissions of a new file.

    Returns
    -------
    int
        Descriptor, to be closed.

    Raises
    ------
    InputError
        If the file cannot be opened for writing, is a link, or no regular file.
    """
    try:
        return open_regular(path, os.O_RDWR | os.O_CREAT, mode)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be used as a lock ({error.strerror}); remove it, or make its folder writable"
        ) from None


@contextlib.contextmanager
def exclusive(path: str | os.PathLike[str], patience: float | None = None) -> Iterator[None]:
    """Be the only user of a file.

    Parameters
    ----------
    path : path-like
        The file to be locked; need not be there.
    patience : float, optional
        Seconds to wait for another holder. Default: `PATIENCE`.

    Raises
    ------
    Locked
        If another holder keeps it.
    InputError
        If the lock file cannot be used, or its file system has no locks.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, exclusive(Path(folder, "todo.sqlite")):
    ...     holder(Path(folder, "todo.sqlite")) == f"process {os.getpid()} on {socket.gethostname()}"
    True
    """
    lock = lock_path(path)
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        descriptor = open_lock(lock)
        try:
            while not try_lock(descriptor, lock):
                if time.monotonic() >= deadline:
                    raise _locked(path, _name(descriptor))
                time.sleep(0.05)
            if is_current(descriptor, lock):
                _write_holder(descriptor, lock)
                yield
                return
        finally:
            os.close(descriptor)


def refuse_locked(path: str | os.PathLike[str]) -> None:
    """Raise Locked, as `exclusive` would, if a file has an exclusive user now; nothing is locked."""
    if name := holder(path):
        raise _locked(path, name)


def _locked(path: str | os.PathLike[str], name: str) -> Locked:
    return Locked(f"{path}: in use by {name}; wait for it or end it")


def holder(path: str | os.PathLike[str]) -> str | None:
    """The exclusive user of a file, ``process PID on HOST``; None if there is none.

    Examples
    --------
    >>> holder("not-in-use") is None
    True
    """
    try:
        descriptor = open_regular(lock_path(path), os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if try_lock(descriptor, lock_path(path), shared=True) else _name(descriptor)
    except InputError:
        return None
    finally:
        os.close(descriptor)


def _name(descriptor: int) -> str:
    text = os.pread(descriptor, 200, 0).decode("utf-8", "replace")
    return " ".join(text.split()) or "another process"


def try_lock(descriptor: int, lock: Path, shared: bool = False, way_out: str = _OTHER_FOLDER) -> bool:
    """Lock an open lock file without waiting, or change the lock that this descriptor holds.

    Parameters
    ----------
    descriptor : int
        Of `open_lock`. To close it is to unlock.
    lock : Path
        The lock file.
    shared : bool, optional
        With other shared holders. Default: alone.
    way_out : str, optional
        What to do where the file system has no locks.

    Returns
    -------
    bool
        False if another holder is in the way; then this descriptor holds nothing.

    Raises
    ------
    InputError
        If the file cannot be locked.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno in _NO_LOCKS:
            raise InputError(f"{lock}: this file system has no locks ({error.strerror}); {way_out}") from None
        raise InputError(f"{lock}: cannot be locked ({error.strerror}); try again") from None
    return True


def is_current(descriptor: int, lock: Path) -> bool:
    """Whether an open lock file still has its name: one that was deleted meanwhile locks nothing."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(lock))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int, lock: Path) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    except OSError as error:
        raise InputError(f"{lock}: {error.strerror}; make room and run again") from None
