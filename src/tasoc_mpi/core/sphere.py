"""Geometry on the sky: unit vectors, distances, tangent planes and convex polygons.

Positions are (ra, dec) in degrees. Great circles are planes through the centre of the sphere, so the poles
and RA = 0 are places like any other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

__all__ = [
    "SkyIndex",
    "cone_centres",
    "convex_hull",
    "directions",
    "from_tangent_plane",
    "in_polygon",
    "meridian_turn",
    "separation",
    "unit_vectors",
]

#: Slack in comparisons of unit vectors: rounding of coordinates in degrees, some 1e-10 degrees.
_ROUNDING = 2e-12
#: A corner of a hull this close to the line between its neighbours (radians; 0.02 arcsec) is dropped.
_STRAIGHT = 1e-7


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Unit vectors of positions.

    Parameters
    ----------
    ra, dec : array_like, shape (...)
        Degrees.

    Returns
    -------
    ndarray, shape (..., 3)

    Examples
    --------
    >>> unit_vectors([0, 90, 10], [0, 0, 90]).round(9) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """
    ra, dec = np.deg2rad(np.asarray(ra, dtype="f8")), np.deg2rad(np.asarray(dec, dtype="f8"))
    out = np.empty((*np.broadcast(ra, dec).shape, 3))
    out[..., 0], out[..., 1], out[..., 2] = np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)
    return out


class SkyIndex:
    """Finds the positions around a place on the sky; a search looks at those of its declinations alone.

    Parameters
    ----------
    ra, dec : array_like, shape (N,)
        Degrees.

    Examples
    --------
    >>> SkyIndex([10, 20, 350], [0, 0, 0.5]).within(355, 0, 15.1)
    array([0, 2])
    """

    def __init__(self, ra: ArrayLike, dec: ArrayLike) -> None:
        self._order = np.argsort(dec, kind="stable")
        self._dec = np.asarray(dec, dtype="f8")[self._order]
        self._vectors = unit_vectors(np.asarray(ra)[self._order], self._dec)

    def within(self, ra: float, dec: float, radius: float) -> NDArray[np.intp]:
        """Indices of the positions within a radius of a place, in order; all in degrees."""
        first = np.searchsorted(self._dec, dec - radius, "left")
        last = np.searchsorted(self._dec, dec + radius, "right")
        chords = self._vectors[first:last] - unit_vectors(ra, dec)
        longest = 2 * np.sin(np.deg2rad(min(radius, 180.0)) / 2)
        near = np.einsum("ij,ij->i", chords, chords) <= longest**2
        return np.sort(self._order[first:last][near])


def directions(vectors: ArrayLike) -> NDArray[np.float64]:
    """Positions of vectors of any length: the inverse of `unit_vectors`.

    Parameters
    ----------
    vectors : array_like, shape (..., 3)

    Returns
    -------
    ndarray, shape (..., 2)
        (ra, dec) in degrees; ra in [0, 360).

    Examples
    --------
    >>> directions([0, -2, 0])
    array([270.,   0.])
    """
    x, y, z = np.moveaxis(np.asarray(vectors, dtype="f8"), -1, 0)
    ra, dec = np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))
    return np.stack([ra, dec], axis=-1)


def separation(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Angles between vectors of any length, exact for small angles and for those near 180 degrees.

    Parameters
    ----------
    first, second : array_like, shapes (..., 3) that broadcast

    Returns
    -------
    ndarray, shape (...)
        Degrees.

    Examples
    --------
    >>> float(separation(unit_vectors(10, 60), unit_vectors(10, 60.5)).round(9))
    0.5
    """
    first, second = np.asarray(first, dtype="f8"), np.asarray(second, dtype="f8")
    across = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.rad2deg(np.arctan2(across, np.sum(first * second, axis=-1)))


def from_tangent_plane(
    xi: NDArray[np.float64], eta: NDArray[np.float64], ra: ArrayLike, dec: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions of points in a tangent plane (gnomonic projection).

    Parameters
    ----------
    xi, eta : ndarray, shape (N,)
        Coordinates to the east and to the north of the tangent point, radians.
    ra, dec : array_like, shape () or (N,)
        Tangent point, degrees.

    Returns
    -------
    ra, dec : ndarray, shape (N,)
        Degrees; ra in [0, 360).

    Examples
    --------
    >>> ra, dec = from_tangent_plane(np.array([0.0]), np.array([np.tan(np.deg2rad(20))]), 30, 80)
    >>> ra.round(9), dec.round(9)
    (array([210.]), array([80.]))
    """
    ra0, dec0 = np.deg2rad(ra), np.deg2rad(dec)
    # In the plane of the tangent point's meridian: x outwards on the equator, xi along RA, z to the pole.
    x = np.cos(dec0) - eta * np.sin(dec0)
    z = np.sin(dec0) + eta * np.cos(dec0)
    return np.rad2deg(ra0 + np.arctan2(xi, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(xi, x)))


def meridian_turn(ra0: float, dec0: float, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Angles from the directions of east at positions to that at (ra0, dec0), carried along great circles.

    Parameters
    ----------
    ra0, dec0 : float
        Degrees.
    ra, dec : array_like, shape (N,)
        Degrees.

    Returns
    -------
    ndarray, shape (N,)
        Radians, positive from east to north.

    Examples
    --------
    >>> meridian_turn(0, 60, [0, 0.1], [61, 60]).round(6) + 0.0
    array([ 0.      , -0.001511])
    """
    pole0, east0 = unit_vectors(ra0, dec0), unit_vectors(ra0 + 90.0, 0.0)
    ra, dec = np.asarray(ra, dtype="f8"), np.asarray(dec, dtype="f8")
    pole, east, north = (
        unit_vectors(ra, dec),
        unit_vectors(ra + 90.0, 0.0 * dec),
        unit_vectors(ra, dec + 90.0),
    )
    # The rotation that takes pole0 to pole along the great circle, applied to east0.
    carried = east0 - (pole @ east0 / (1.0 + pole @ pole0))[:, None] * (pole + pole0)
    return np.arctan2(np.sum(carried * north, axis=-1), np.sum(carried * east, axis=-1))


def _plane_axes(
    vectors: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The middle of unit vectors, and two axes of its tangent plane."""
    centre = vectors.mean(axis=0)
    centre /= np.linalg.norm(centre)
    first = np.cross(centre, np.eye(3)[np.argmin(np.abs(centre))])
    first /= np.linalg.norm(first)
    return centre, first, np.cross(centre, first)


def convex_hull(positions: ArrayLike) -> NDArray[np.float64]:
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

    Examples
    --------
    >>> len(convex_hull([[359, -1], [1, -1], [1, 1], [359, 1], [0, 0]]))
    4
    """
    from scipy.spatial import ConvexHull, QhullError

    ra, dec = np.asarray(positions, dtype="f8").T
    vectors = unit_vectors(ra, dec)
    centre, first, second = _plane_axes(vectors)
    # The gnomonic projection about the middle takes great circles to straight lines.
    plane = np.stack([vectors @ first, vectors @ second], axis=-1) / (vectors @ centre)[:, None]
    try:
        corners = _drop_straight(plane, ConvexHull(plane).vertices.tolist())
    except QhullError:
        raise InputError("footprint: the positions span no area") from None
    return np.stack([ra[corners] % 360.0, dec[corners]], axis=-1)


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


def in_polygon(ra: ArrayLike, dec: ArrayLike, corners: ArrayLike, buffer: float = 0.0) -> NDArray[np.bool_]:
    """Which positions lie inside a convex polygon of great circles, or close to it.

    Parameters
    ----------
    ra, dec : array_like, shape (N,)
        Degrees.
    corners : array_like, shape (V, 2)
        (ra, dec) of the corners in order around the polygon, in either sense, degrees. The polygon is
        smaller than a hemisphere.
    buffer : float
        Positions up to this far outside every edge's great circle are in, degrees; at the corners not
        further from the middle than the furthest corner plus the buffer.

    Returns
    -------
    ndarray of bool, shape (N,)
        False where a position is not finite.

    Raises
    ------
    InputError
        If the polygon has no area or is not convex.

    Examples
    --------
    >>> square = [[359, -1], [1, -1], [1, 1], [359, 1]]
    >>> in_polygon([0.5, 2.0, 180.0], [0.5, 0.0, 0.0], square)
    array([ True, False, False])
    >>> in_polygon([0.5, 2.0, 180.0], [0.5, 0.0, 0.0], square, buffer=1.5)
    array([ True,  True, False])
    """
    vertices = unit_vectors(*np.asarray(corners, dtype="f8").T)
    centre = vertices.sum(axis=0)
    centre /= np.linalg.norm(centre)
    normals = np.cross(vertices, np.roll(vertices, -1, axis=0))
    lengths = np.linalg.norm(normals, axis=1)
    # A corner given twice makes no edge.
    normals = normals[lengths > 1e-14] / lengths[lengths > 1e-14, None]
    sides = normals @ centre
    if len(normals) < 3 or not (np.abs(sides) > 1e-14).all():
        raise InputError("footprint: the polygon has no area")
    normals *= np.sign(sides)[:, None]
    if (vertices @ normals.T < -1e-9).any():
        raise InputError("footprint: the polygon is not convex")
    with np.errstate(invalid="ignore"):
        points = unit_vectors(ra, dec)
    margin = np.deg2rad(buffer)
    reach = np.arccos(np.clip((vertices @ centre).min(), -1.0, 1.0)) + margin
    # The cone comes first: it leaves few points for the edges, and without it a buffer larger than the
    # polygon would let in the opposite point of the sky.
    inside = points @ centre >= np.cos(min(reach, np.pi / 2)) - _ROUNDING
    (near,) = np.nonzero(inside)
    inside[near] = (points[near] @ normals.T >= -np.sin(margin) - _ROUNDING).all(axis=1)
    return inside


def cone_centres(corners: ArrayLike, buffer: float, radius: float) -> NDArray[np.float64]:
    """Centres of cones that together cover a convex polygon and the sky around it.

    Parameters
    ----------
    corners : array_like, shape (V, 2)
        (ra, dec) of the polygon's corners, degrees; see `in_polygon`.
    buffer : float
        Distance from the polygon up to which the sky is covered, degrees.
    radius : float
        Radius of a cone, degrees.

    Returns
    -------
    ndarray, shape (K, 2)
        (ra, dec) in degrees.

    Examples
    --------
    >>> cone_centres([[359.9, -0.1], [0.1, -0.1], [0.1, 0.1], [359.9, 0.1]], 0.1, 2.0).round(6) % 360
    array([[0., 0.]])
    """
    vertices = unit_vectors(*np.asarray(corners, dtype="f8").T)
    centre, first, second = _plane_axes(vertices)
    reach = np.tan(np.arccos((vertices @ centre).min()) + np.deg2rad(buffer))
    # The gnomonic plane is never smaller than the sky: squares that fit in the cone there fit on the sky.
    step = np.deg2rad(radius) * np.sqrt(2.0) * 0.99
    count = int(np.ceil(reach / step))
    grid = np.arange(-count, count + 1) * step
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    ra, dec = directions(centre + x[:, None] * first + y[:, None] * second).T
    near = in_polygon(ra, dec, corners, buffer + radius)
    return np.stack([ra[near], dec[near]], axis=-1)
