"""Where a CCD is: its camera's centre and its outline on the sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError
from .frame_wcs import FrameWCS

__all__ = [
    "CAMERA_CENTRES",
    "camera_centre_sky",
    "convex_hull_sky",
    "stamp_outline",
]

#: Full frame image (row, column) of the camera's optical axis, for (camera, ccd).
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
#: A corner of an outline this close to the line between its neighbours (radians; 0.02 arcsec) is none.
_STRAIGHT = 1e-7


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
        (row_min, row_max, col_min, col_max), half open, full frame image pixels.

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


def convex_hull_sky(positions: ArrayLike) -> NDArray[np.float64]:
    """Corners of the smallest convex polygon of great circles around positions on the sky.

    Parameters
    ----------
    positions : array_like, shape (P, 2)
        (ra, dec) in degrees, within less than a hemisphere.

    Returns
    -------
    ndarray, shape (V, 2)
        (ra, dec) of the corners in order around the polygon, degrees; ra in [0, 360).

    Raises
    ------
    InputError
        If the positions are all on one great circle.
    """
    from scipy.spatial import ConvexHull, QhullError

    ra, dec = np.deg2rad(np.asarray(positions, dtype="f8")).T
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    centre = vectors.mean(axis=0)
    centre /= np.linalg.norm(centre)
    # The gnomonic projection about the middle takes great circles to straight lines.
    first = np.cross(centre, np.eye(3)[np.argmin(np.abs(centre))])
    first /= np.linalg.norm(first)
    second = np.cross(centre, first)
    depth = vectors @ centre
    plane = np.stack([vectors @ first, vectors @ second], axis=-1) / depth[:, None]
    try:
        corners = _drop_straight(plane, ConvexHull(plane).vertices.tolist())
    except QhullError:
        raise InputError("footprint: the positions span no area") from None
    return np.rad2deg(np.stack([ra[corners] % (2 * np.pi), dec[corners]], axis=-1))


def _drop_straight(plane: NDArray[np.float64], corners: list[int]) -> list[int]:
    """Leave out corners that are as good as on the line between their neighbours."""
    i = 0
    while i < len(corners) and len(corners) > 3:
        before, here, after = plane[corners[i - 1]], plane[corners[i]], plane[corners[(i + 1) % len(corners)]]
        line = after - before
        area = line[0] * (here[1] - before[1]) - line[1] * (here[0] - before[0])
        if abs(area) < _STRAIGHT * np.hypot(*line):
            del corners[i]
        else:
            i += 1
    return corners
