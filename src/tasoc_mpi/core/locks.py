"""The one lock of the program: whoever holds it is the only one that changes a file.

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
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

__all__ = ["LOCK_FOLDER", "PATIENCE", "Locked", "exclusive", "holder", "lock_path", "open_lock", "use_folder"]

#: Environment variable that names a folder for all lock files, for file systems that have no locks.
LOCK_FOLDER = "TESSPHOT_LOCKS"

#: Seconds to wait for a lock: ranks of a job that was ended may outlive its mpiexec for a moment.
PATIENCE = 3.0

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


class Locked(InputError):
    """Somebody else holds the lock; the line names the host and the process."""


def lock_path(path: str | os.PathLike[str]) -> Path:
    """The lock file of a file: beside it, or in the folder that ``TESSPHOT_LOCKS`` names.

    Parameters
    ----------
    path : path-like
        The file to be locked; need not be there.
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


def open_lock(path: Path) -> int:
    """Open a lock file, which is made if it is not there; a link is never followed.

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
        # O_NONBLOCK: a FIFO in its place would wait for its other end.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        reason = "a link" if error.errno == errno.ELOOP else error.strerror
        raise InputError(
            f"{path}: cannot be used as a lock ({reason}); remove it, or make its folder writable"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: cannot be used as a lock (not a regular file); remove it")
    return descriptor


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
    """
    lock = lock_path(path)
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        descriptor = open_lock(lock)
        try:
            _wait(descriptor, lock, Path(path), deadline)
            # Somebody may have deleted the file that was opened: then it locks nothing.
            if _is_current(descriptor, lock):
                _write_holder(descriptor, lock)
                yield
                return
        finally:
            os.close(descriptor)


def holder(path: str | os.PathLike[str]) -> str | None:
    """Who uses a file, ``process PID on HOST``; None if nobody does. Nothing is made or changed."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(lock_path(path), flags)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _name(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _name(descriptor: int) -> str:
    text = os.pread(descriptor, 200, 0).decode("utf-8", "replace")
    return " ".join(text.split()) or "another process"


def _wait(descriptor: int, lock: Path, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise InputError(
                    f"{lock}: this file system has no locks ({error.strerror}); name a folder that has them,"
                    f" and that all hosts see, with --lock-folder or {LOCK_FOLDER}"
                ) from None
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise InputError(f"{lock}: cannot be locked ({error.strerror}); try again") from None
        if time.monotonic() >= deadline:
            raise Locked(f"{path}: in use by {_name(descriptor)}; wait for it or end it") from None
        time.sleep(0.05)


def _is_current(descriptor: int, lock: Path) -> bool:
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
