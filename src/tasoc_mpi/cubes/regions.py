"""The region of a CCD that the pixels of a cube cover: all of it, or that of a cut-out."""

from __future__ import annotations

import logging
from pathlib import Path

from ..core.errors import InputError, TasocError
from ..products.cube import Cube, open_cube
from ..products.ffi import FFIInfo, scan_ffi

__all__ = ["Region", "check_finished", "region_of", "region_text"]

logger = logging.getLogger(__name__)

#: First row, first column, rows and columns of pixels on a CCD.
Region = tuple[int, int, int, int]


def region_of(pixels: FFIInfo | Cube) -> Region:
    """The region of the CCD that a frame or a cube covers."""
    return (pixels.row_offset, pixels.column_offset, pixels.shape[0], pixels.shape[1])


def region_text(region: Region) -> str:
    """A region in words."""
    row, column, rows, columns = region
    return f"rows {row} to {row + rows - 1} and columns {column} to {column + columns - 1}"


def check_finished(path: Path, frame: Path | FFIInfo) -> None:
    """Refuse to take the cube of a cut-out for that of whole frames.

    Parameters
    ----------
    path : Path
        A finished cube.
    frame : Path or FFIInfo
        One of the frames that a cube is wanted of.

    Raises
    ------
    InputError
        If the cube has other pixels.
    """
    try:
        info = frame if isinstance(frame, FFIInfo) else scan_ffi(frame)
    except TasocError as error:
        # A finished cube does not need its frames any more.
        logger.info("%s", error)
        return
    region, there = region_of(info), region_of(open_cube(path))
    if region != there:
        raise InputError(
            f"{path}: has {region_text(there)} of the CCD, but {info.path} has {region_text(region)}; "
            "--overwrite makes it anew, of the frames"
        )
