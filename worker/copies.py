"""Copies of cubes near the processor: on a disk of the node, or in its memory.

Mapped pages of a network file system are fetched in small pieces. A copy is read in large ones, once a node,
and then mapped like the original; the results are the same. The first rank that needs a cube copies it while
the others of its node wait for the copy's lock. All hold the lock while they use the copy. When all were
killed no process holds it: the next run on the node removes copies with such locks.

A copy in memory is a file in /dev/shm and not a window of MPI's shared memory: the photometry runs in
processes that are not MPI's, and a file can be mapped by them, outlives one that dies, and is a cube for
every reader.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from pathlib import Path

from ..core.atomic import remove_unfinished, replacing
from ..core.copy_space import SHARED_FOLDER, check_copy, copies_folder, copy_name, copy_prefix
from ..core.disk_space import reserve
from ..core.errors import InputError
from ..core.locks import is_current, open_lock, try_lock

__all__ = ["SHARED_FOLDER", "Copies", "copies_folder", "copy_name", "remove_stale"]

#: Bytes that are read at once: large enough for any striped file system, and some ms of a disk.
_PIECE = 1 << 24


class Copies:
    """The copies that this process uses.

    Parameters
    ----------
    folder : Path
        See `copies_folder`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: dict[str, int] = {}

    def provide(self, cube: Path) -> Path:
        """Path of the copy of a cube, which is made if no process of this node has done so.

        A cube that is not there is left to its reader, which raises.

        Raises
        ------
        InputError
            If there is no room for it, or somebody else's file in its place.
        """
        if not cube.is_file():
            return cube
        copy = self.folder / copy_name(cube)
        if copy.name not in self._locks:
            try:
                self._locks[copy.name] = _hold(copy, cube)
            except OSError as error:
                raise InputError(
                    f"{error.filename}: {error.strerror}; choose another --scratch or --cube mapped"
                ) from None
        return copy

    def release(self, keep: tuple[Path, ...] = ()) -> None:
        """Stop using all copies but those of some cubes; delete those that nobody else uses."""
        kept = {copy_name(cube) for cube in keep if cube.is_file()}
        for name in [name for name in self._locks if name not in kept]:
            fd = self._locks.pop(name)
            try:
                _remove_unused(self.folder / name, fd)
            finally:
                os.close(fd)


def _lock_path(copy: Path) -> Path:
    # On the node whatever TESSPHOT_LOCKS says: other nodes have copies of the same name.
    return copy.with_suffix(".lock")


def _hold(copy: Path, cube: Path) -> int:
    """Make sure that a copy is there and stays; returns the descriptor that holds its shared lock."""
    lock = _lock_path(copy)
    while True:
        _is_there(lock)
        fd = open_lock(lock, 0o600)
        held = False
        try:
            there = _is_there(copy)
            # A maker holds the lock alone; it keeps others waiting until the copy is whole.
            if _try_lock(fd, lock, shared=there) and is_current(fd, lock):
                if not there and not _is_there(copy):
                    _copy(cube, copy)
                # From alone to shared is not one step: another process may have removed the copy.
                held = _try_lock(fd, lock, shared=True) and is_current(fd, lock) and _is_there(copy)
            if held:
                return fd
        finally:
            if not held:
                os.close(fd)
        time.sleep(0.02)


def _is_there(path: Path) -> bool:
    """Whether there is a file; raises PermissionError where its name has another user's file, or a link.

    Everyone can put files into these folders, and such a file would be read as the cube.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "is not a file of this user", str(path))
    return True


def _try_lock(fd: int, lock: Path, shared: bool) -> bool:
    return try_lock(fd, lock, shared, "choose another --scratch, on a disk of the node, or --cube mapped")


def _remove_unused(copy: Path, fd: int) -> bool:
    """Delete a copy whose lock file is open, unless another process holds it; whether none does."""
    lock = _lock_path(copy)
    if not _try_lock(fd, lock, shared=False):
        return False
    if is_current(fd, lock):
        # The lock last: without it no process would look for the rest.
        copy.unlink(missing_ok=True)
        remove_unfinished(copy)
        lock.unlink(missing_ok=True)
    return True


def _copy(cube: Path, copy: Path) -> None:
    size = cube.stat().st_size
    remove_unfinished(copy)
    check_copy(cube, copy.parent)
    try:
        with (
            replacing(copy, durable=False) as unfinished,
            open(cube, "rb") as source,
            open(unfinished, "wb") as target,
        ):
            # A disk that is too small is found before the copy begins.
            reserve(target.fileno(), 0, size)
            shutil.copyfileobj(source, target, _PIECE)
    except OSError as error:
        raise InputError(
            f"{cube}: cannot be copied to {copy.parent} ({error.strerror}); choose another --scratch or "
            "--cube mapped"
        ) from None


def remove_stale(folder: Path) -> int:
    """Delete the copies in a folder whose users were all killed; how many others hold."""
    held = 0
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.startswith(copy_prefix()) and e.name.endswith(".lock")]
    for name in names:
        # Another process has removed it meanwhile, or it is another user's.
        with contextlib.suppress(PermissionError):
            if not _is_there(folder / name):
                continue
            fd = open_lock(folder / name, 0o600)
            try:
                held += not _remove_unused((folder / name).with_suffix(".hdf5"), fd)
            finally:
                os.close(fd)
    return held
