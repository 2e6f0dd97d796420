"""Where on its CCD the pixels of a cube lie: all of them, or those of a cut-out."""

from __future__ import annotations

import logging
from pathlib import Path

from ..core.errors import InputError, TasocError
from ..products.cube import Cube, open_cube
from ..products.ffi import FFIInfo, scan_ffi

__all__ = ["Place", "check_finished", "place_of", "place_text"]

logger = logging.getLogger(__name__)

#: First row, first column, rows and columns of pixels on a CCD.
Place = tuple[int, int, int, int]


def place_of(pixels: FFIInfo | Cube) -> Place:
    """Where on the CCD the pixels of a frame or a cube lie."""
    return (pixels.row_offset, pixels.column_offset, pixels.shape[0], pixels.shape[1])


def place_text(place: Place) -> str:
    """A place in words."""
    row, column, rows, columns = place
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
    place, there = place_of(info), place_of(open_cube(path))
    if place != there:
        raise InputError(
            f"{path}: has {place_text(there)} of the CCD, but {info.path} has {place_text(place)}; "
            "--overwrite makes it anew, of the frames"
        )
