"""Where copies of cubes are kept, and whether they fit there: refused by a run, and by its dry run."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from .errors import InputError
from .resources import available_memory

__all__ = ["SHARED_FOLDER", "check_copy", "copies_folder", "copy_name", "copy_prefix"]

#: Where files are kept in memory (POSIX shared memory on Linux).
SHARED_FOLDER = Path("/dev/shm")
#: Of the free space, what a copy may take: a full disk (or memory) hurts everyone on the node.
_PART = 0.95


def copies_folder(mode: str, scratch: str | os.PathLike[str] | None = None) -> Path | None:
    """Folder of the copies of a way to read cubes: 'mapped' (None), 'staged' or 'shared'.

    Raises
    ------
    InputError
        If the folder is not there or cannot be written.
    """
    if mode == "mapped":
        return None
    folder = SHARED_FOLDER if mode == "shared" else Path(scratch or tempfile.gettempdir())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        way = "--cube staged" if mode == "shared" else "another --scratch"
        raise InputError(
            f"{folder}: not a folder in which cubes can be copied; choose {way} or --cube mapped"
        )
    return folder


def copy_prefix() -> str:
    """How the names of this user's copies begin."""
    return f"tasoc-mpi-{os.getuid()}-"


def copy_name(cube: Path) -> str:
    """Name of the copy of a cube; a cube that was made anew gets another one."""
    status = cube.stat()
    key = f"{cube.resolve()} {status.st_ino} {status.st_size} {status.st_mtime_ns}"
    return f"{copy_prefix()}{cube.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.hdf5"


def check_copy(cube: Path, folder: Path) -> None:
    """Raise InputError if a cube does not fit into the folder of copies."""
    size = cube.stat().st_size
    free = shutil.disk_usage(folder).free
    where = "free on the disk of"
    if folder == SHARED_FOLDER:
        memory = available_memory()
        if memory is not None and memory < free:
            free, where = memory, "of memory free for"
    if size > _PART * free:
        raise InputError(
            f"{cube}: its {size / 1e9:.3g} GB do not fit into the {free / 1e9:.3g} GB {where} {folder}; "
            "choose another --scratch or --cube mapped"
        )
