"""Where a CCD is: its camera's centre and its outline on the sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .frame_wcs import FrameWCS

__all__ = [
    "CAMERA_CENTRES",
    "camera_centre_sky",
    "stamp_outline",
]

#: 0-based full frame image (row, column) of the camera's optical axis, for (camera, ccd).
CAMERA_CENTRES = {
    (1, 1): (2099.52, 2158.22),
    (1, 2): (2098.02, -5.65),
    (1, 3): (2099.87, 2141.51),
    (1, 4): (2100.12, -22.41),
    (2, 1): (2094.03, 2148.59),
    (2, 2): (2095.81, -16.81),
    (2, 3): (2105.75, 2151.35),
    (2, 4): (2105.98, -13.12),
    (3, 1): (2092.34, 2152.18),
    (3, 2): (2093.11, -10.49),
    (3, 3): (2107.88, 2145.03),
    (3, 4): (2105.30, -17.37),
    (4, 1): (2091.43, 2149.26),
    (4, 2): (2093.35, -12.91),
    (4, 3): (2110.73, 2148.91),
    (4, 4): (2111.34, -14.63),
}

#: Points on each side of an outline: distortion bends a side of 2048 pixels by a few pixels, between
#: neighbours among 17 points by less than 0.1.
_POINTS_A_SIDE = 17


def camera_centre_sky(wcs: FrameWCS, frame: int, camera: int, ccd: int) -> tuple[float, float]:
    """Where the camera of a CCD points, by the WCS of one frame of the CCD.

    Parameters
    ----------
    wcs : FrameWCS
    frame : int
        A good one.
    camera, ccd : int

    Returns
    -------
    (float, float)
        (ra, dec) in degrees.

    Raises
    ------
    InputError
        If there is no such camera or CCD.
    """
    try:
        row, column = CAMERA_CENTRES[camera, ccd]
    except KeyError:
        raise InputError(f"camera {camera}, CCD {ccd}: TESS has cameras 1-4 with CCDs 1-4") from None
    ra, dec = wcs.sky(np.array([column]), np.array([row]), frame)[0]
    return float(ra), float(dec)


def stamp_outline(wcs: FrameWCS, frame: int, stamp: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Positions on the sky around the outer edges of a stamp's pixels.

    Parameters
    ----------
    wcs : FrameWCS
    frame : int
        A good one.
    stamp : (int, int, int, int)
        (row_min, row_max, col_min, col_max), half open, 0-based full frame image pixels.

    Returns
    -------
    ndarray, shape (P, 2)
        (ra, dec) in degrees.
    """
    row_min, row_max, col_min, col_max = np.array(stamp) - 0.5
    rows = np.linspace(row_min, row_max, _POINTS_A_SIDE)
    columns = np.linspace(col_min, col_max, _POINTS_A_SIDE)
    side = np.ones(_POINTS_A_SIDE)
    row = np.concatenate([rows, rows, row_min * side, row_max * side])
    column = np.concatenate([col_min * side, col_max * side, columns, columns])
    return wcs.sky(column, row, frame)
