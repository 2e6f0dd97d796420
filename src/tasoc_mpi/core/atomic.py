"""Files that appear whole or not at all: a temporary name, synchronised, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing", "sync", "temporary_name", "write_whole"]


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file or a folder is on the disk; a link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """The name that a file has until it is whole: hidden, in the same folder, of this process."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


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
    """
    path = Path(path)
    temporary = temporary_name(path)
    # Left by a killed process of the same number. Never followed, should it be a link.
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(temporary, flags, 0o666))
    try:
        yield temporary
        if durable:
            sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync(path.parent)


def write_whole(path: str | os.PathLike[str], data: bytes, durable: bool = True) -> None:
    """Write a file that is there with all of `data` or not at all; see `replacing`."""
    with replacing(path, durable) as temporary:
        temporary.write_bytes(data)
