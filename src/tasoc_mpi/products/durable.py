"""Waiting until light curves are on the disk: a result must not outlive its file when a node goes down."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ..core.errors import InputError
from .packed import split_name

__all__ = ["make_durable"]


def make_durable(output: str | os.PathLike[str], listed: Collection[str]) -> None:
    """Return when light curves of an output folder would survive a loss of power.

    Their file system is synced as a whole where the system can do so: one call for many small files, their
    folders and packs. Elsewhere (not Linux) each file and its folder is.

    Parameters
    ----------
    output : path-like
        The output folder.
    listed : collection of str
        Names of the light curves, as results list them.

    Raises
    ------
    InputError
        If the disk cannot take them.
    """
    files = {split_name(name)[0] or name for name in listed}
    if not files:
        return
    # The folder of a cadence, or that of packs, may be linked to another file system.
    folders = {Path(output, first) for first in {name.partition("/")[0] for name in files}}
    try:
        synced: set[int] = set()
        for folder in sorted(folders):
            with _opened(folder) as fd:
                device = os.fstat(fd).st_dev
                if device not in synced and not _sync_file_system(fd):
                    _sync_files(Path(output), files)
                    return
                synced.add(device)
    except OSError as error:
        raise InputError(
            f"{output}: light curves cannot be written to its disk ({error.strerror}); see to its file "
            "system and run again"
        ) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _sync_file_system(fd: int) -> bool:
    """Sync the file system of an open file; whether this system can."""
    syncfs = _syncfs()
    if syncfs is None:
        return False
    if syncfs(fd) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
        return False
    raise OSError(code, os.strerror(code))


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    """The system's call; Python has none for it."""
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


def _sync_files(output: Path, files: Collection[str]) -> None:
    """Sync each file, and then the folders in which their names are."""
    folders = set()
    for name in files:
        path = output / name
        with _opened(path) as fd:
            os.fsync(fd)
        while path != output:
            path = path.parent
            folders.add(path)
    for folder in folders:
        with _opened(folder) as fd:
            os.fsync(fd)
