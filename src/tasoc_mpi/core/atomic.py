"""The program's own files: opened if they are regular, and written to appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "open_regular",
    "remove_quietly",
    "remove_unfinished",
    "rename_whole",
    "replacing",
    "sync",
    "write_beside",
    "write_whole",
]


def open_regular(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """Descriptor of a regular file; an OSError tells where a link or anything else is in its place."""
    try:
        # O_NONBLOCK: a FIFO in its place would wait for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a link", path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file or a folder is on the disk; a link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_whole(
    temporary: str | os.PathLike[str], path: str | os.PathLike[str], durable: bool = True
) -> None:
    """Give a whole file its name; if `durable`, both are on the disk when this returns."""
    if durable:
        sync(temporary)
    os.replace(temporary, path)
    if durable:
        sync(os.path.dirname(path) or ".")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name that then takes the place of `path`.

    Parameters
    ----------
    path : path-like
        Its folder must be there. A link in its place is replaced, not followed.
    durable : bool, optional
        Wait until the file and its name are on the disk.

    Yields
    ------
    Path
        An empty new file, to be filled. If anything goes wrong it is removed, and `path` stays as it was.

    Raises
    ------
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "table.csv")) as temporary:
    ...         _ = temporary.write_text("1,2")
    ...     os.listdir(folder)
    ['table.csv']
    """
    descriptor, name = new_file(os.fspath(path))
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        rename_whole(temporary, path, durable)
    except BaseException:
        remove_quietly(temporary)
        raise


def write_whole(path: str | os.PathLike[str], data: bytes, durable: bool = True) -> None:
    """Write a file that is there with all of `data` or not at all; see `replacing`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "table.csv"), b"1,2")
    ...     Path(folder, "table.csv").read_bytes()
    b'1,2'
    """
    name = os.fspath(path)
    temporary = write_beside(name, data)
    try:
        rename_whole(temporary, name, durable)
    except BaseException:
        remove_quietly(temporary)
        raise


def write_beside(path: str, data: bytes) -> str:
    """Write the new file that is to take the place of `path`; returns its name.

    Whoever calls it renames or removes the file; nothing of it is left where it cannot be written.
    """
    # By names and descriptors alone: a run writes millions of files.
    descriptor, temporary = new_file(path)
    try:
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:] if written else data)
        finally:
            os.close(descriptor)
    except BaseException:
        remove_quietly(temporary)
        raise
    return temporary


def remove_quietly(path: str | os.PathLike[str]) -> None:
    """Remove an unfinished file, if that can be done."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def new_file(path: str) -> tuple[int, str]:
    """Open the new, empty file that is to take the place of `path`; returns its descriptor and its name.

    Whoever calls it renames or removes the file.
    """
    folder, slash, name = path.rpartition(os.sep)
    # Hidden, and of this process.
    temporary = f"{folder}{slash}.{name}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(temporary, flags, 0o666), temporary
    except FileExistsError:
        # Left by a killed process of the same number. Never followed, should it be a link.
        os.unlink(temporary)
        return os.open(temporary, flags, 0o666), temporary


def remove_unfinished(path: str | os.PathLike[str]) -> None:
    """Delete the unfinished files that killed writers of `path` left; only its lock's holder may do so.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / ".table.csv.4711.tmp").touch()
    >>> remove_unfinished(folder / "table.csv")
    >>> list(folder.iterdir())
    []
    >>> folder.rmdir()
    """
    path = Path(path)
    for unfinished in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        unfinished.unlink(missing_ok=True)
