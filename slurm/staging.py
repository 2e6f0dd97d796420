"""Copies of cubes on the disks of nodes, where mapping a file is fast."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..errors import InputError, MissingInput
from ..products.catalog import catalog_name
from ..products.cube import cube_name

__all__ = ["stage_ccd"]

#: What is to stay free on the node's disk beside the copies (bytes).
_RESERVE = 256 * 2**20


def stage_ccd(folder: Path, scratch: Path, sector: int, camera: int, ccd: int) -> int:
    """Copy a CCD's cube to a folder that then serves as input folder for it.

    Catalog and target pixel files are read where they are, by links. A copy that is there whole is used
    again.

    Parameters
    ----------
    folder : Path
        Input folder.
    scratch : Path
        Is made. Must not be in the input folder.
    sector, camera, ccd : int

    Returns
    -------
    int
        Bytes copied.

    Raises
    ------
    MissingInput
        If there is no such input folder.
    InputError
        If there is not enough room, or the copy cannot be written; nothing is left behind then.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise MissingInput(f"{folder}: no such folder; name the one with the cubes")
    if scratch.resolve().is_relative_to(folder):
        raise InputError(f"{scratch}: is in the input folder {folder}; choose a place on the node's own disk")
    cube = folder / cube_name(sector, camera, ccd)
    copied = 0
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        catalog = folder / catalog_name(sector, camera, ccd)
        for name, target in ((catalog.name, catalog), ("input", folder)):
            if target.exists() and not (scratch / name).is_symlink():
                (scratch / name).symlink_to(target)
        # Without a cube (target pixel files only) there is nothing to copy.
        if cube.exists():
            copied = _copy(cube, scratch / cube.name)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise InputError(
            f"{scratch}: cannot be written ({error.strerror}); choose another scratch folder, or cube: mapped"
        ) from None
    return copied


def _copy(cube: Path, copy: Path) -> int:
    """Copy a file whole or not at all, if there is room."""
    wanted = cube.stat()
    if copy.exists():
        found = copy.stat()
        if (found.st_size, found.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns):
            return 0
    copy.unlink(missing_ok=True)
    disk = os.statvfs(copy.parent)
    free = disk.f_bavail * disk.f_frsize
    if free < wanted.st_size + _RESERVE:
        needs = (wanted.st_size + _RESERVE) / 1e9
        shutil.rmtree(copy.parent, ignore_errors=True)
        raise InputError(
            f"{copy.parent}: {free / 1e9:.1f} GB free, {cube.name} needs {needs:.1f} GB; choose another "
            "scratch folder, or cube: mapped"
        )
    temporary = copy.with_name(f".{copy.name}.tmp")
    shutil.copyfile(cube, temporary)
    os.utime(temporary, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))
    os.replace(temporary, copy)
    return wanted.st_size
