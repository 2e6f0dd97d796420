"""The background of a frame: the sky on a mesh of boxes plus the corner glow as a profile in radius.

Both parts are fitted in turn. The glow is what the rings around the camera's centre show above the sky
at the innermost ring: a constant could as well belong to the mesh, and given to the rings it would make
a step at their inner edge that no mesh of 64 px boxes can follow. So the radial part starts from zero, and a
round only adds to it what the last one and the boxes left over. What is smooth on the scale of the boxes may
be in either part; only their sum has a meaning.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, ndimage

from ..kernels import blocks, sky
from ..products.ccd import CAMERA_CENTRES
from ..products.cube import BackgroundModel

__all__ = [
    "BOX",
    "SkyGeometry",
    "average_in_time",
    "background_model",
    "box_levels",
    "filled_levels",
    "fit_background",
    "mesh_coefficients",
    "series_mesh",
    "sky_geometry",
    "smoothed_levels",
    "subtract_background",
    "usable_pixels",
    "window_length",
]

#: Side of a box of the mesh, pixels.
BOX = 64
#: Pixels above this are saturated or close to it, e-/s.
FLUX_CUTOFF = 8e4
#: Sigma clipping of a box.
_SIGMA, _CLIP_ROUNDS = 3.0, 5
#: Boxes with a larger part of their pixels masked or clipped are left out.
_LARGEST_MASKED = 0.5
#: Neighbours from which a box that was left out is filled, weighted by 1/distance.
_NEIGHBOURS = 10

#: The corner glow begins at this distance from the camera's centre, pixels.
_RADIAL_FIRST = 2400.0
_RING = 15.0
#: Distance between the nodes of the stored profile, which is linear between them; with 5 px it is within
#: 0.1% of the spline for a glow that doubles every 100 px.
_NODE_STEP = 5.0
#: Rings with fewer usable pixels have no value: a density estimate of fewer is dominated by its noise.
_FEWEST_IN_RING = 50
_FEWEST_RINGS = 3
#: Several times the noise of a pixel's sky, e-/s.
_LOWEST_PEDESTAL = 20.0
_ROUNDS = 3
#: The rounds end when the profile changes by less than this fraction of the sky.
_CONVERGED = 1e-3


@dataclass(frozen=True)
class SkyGeometry:
    """Where the boxes and rings of a region lie.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of a frame.
    origin : (int, int)
        0-based full frame image (row, column) of its first pixel.
    centre : (float, float)
        Full frame image (row, column) of the camera's centre.
    mesh_shape : (int, int)
        Number of boxes.
    pixels : ndarray of int64, shape (P,)
        Flat indices of the pixels from 2400 px on, ring after ring.
    radii : ndarray of float64, shape (P,)
        Their distances from the centre, pixels.
    starts : ndarray of int64, shape (K + 1,)
        First of `pixels` of every ring, and P.
    ring_radii : ndarray, shape (K,)
        Mean distance of a ring's pixels; NaN for rings without any.
    ring_boxes : ndarray of bool, shape `mesh_shape`
        Boxes with pixels of a ring.
    ring_rectangle : ((int, int), (int, int))
        Rows and columns, half open, that hold all pixels of the rings.
    nodes : ndarray, shape (N,)
        Distances of the profile's nodes, pixels; none where the region has no such pixels.
    """

    shape: tuple[int, int]
    origin: tuple[int, int]
    centre: tuple[float, float]
    mesh_shape: tuple[int, int]
    pixels: NDArray[np.int64]
    radii: NDArray[np.float64]
    starts: NDArray[np.int64]
    ring_radii: NDArray[np.float64]
    ring_boxes: NDArray[np.bool_]
    ring_rectangle: tuple[tuple[int, int], tuple[int, int]]
    nodes: NDArray[np.float64]

    @property
    def radial_first(self) -> float:
        """Distance of the first node, pixels."""
        return _RADIAL_FIRST

    @property
    def radial_step(self) -> float:
        """Distance between nodes, pixels."""
        return _NODE_STEP


def sky_geometry(shape: tuple[int, int], origin: tuple[int, int], camera: int, ccd: int) -> SkyGeometry:
    """Boxes and rings of a region of a CCD.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    origin : (int, int)
        0-based full frame image (row, column) of the first pixel.
    camera, ccd : int
    """
    centre = CAMERA_CENTRES[camera, ccd]
    row = np.arange(shape[0])[:, None] + (origin[0] - centre[0])
    column = np.arange(shape[1])[None, :] + (origin[1] - centre[1])
    radius: NDArray[np.float64] = np.hypot(row, column).ravel()
    pixels = np.flatnonzero(radius >= _RADIAL_FIRST)
    ring = ((radius[pixels] - _RADIAL_FIRST) // _RING).astype("i8")
    order = np.argsort(ring, kind="stable")
    pixels, ring = pixels[order], ring[order]
    count = int(ring[-1]) + 1 if len(ring) else 0
    row_of, column_of = np.divmod(pixels, shape[1])
    mesh_shape = (-(-shape[0] // BOX), -(-shape[1] // BOX))
    ring_boxes = np.zeros(mesh_shape, dtype=bool)
    ring_boxes[row_of // BOX, column_of // BOX] = True
    starts = np.searchsorted(ring, np.arange(count + 1)).astype("i8")
    nodes: NDArray[np.float64] = np.empty(0)
    if count:
        length = int(np.ceil((radius.max() - _RADIAL_FIRST) / _NODE_STEP)) + 1
        nodes = _RADIAL_FIRST + _NODE_STEP * np.arange(max(length, 2), dtype="f8")
    return SkyGeometry(
        shape=shape,
        origin=origin,
        centre=centre,
        mesh_shape=mesh_shape,
        pixels=pixels,
        radii=radius[pixels],
        starts=starts,
        ring_boxes=ring_boxes,
        ring_rectangle=(_range(row_of), _range(column_of)),
        ring_radii=_mean_radii(radius[pixels], ring, starts),
        nodes=nodes,
    )


def _range(values: NDArray[np.int64]) -> tuple[int, int]:
    return (int(values.min()), int(values.max()) + 1) if len(values) else (0, 0)


def _mean_radii(
    radii: NDArray[np.float64], ring: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean distance of every ring's pixels."""
    with np.errstate(invalid="ignore"):
        return np.bincount(ring, radii, len(starts) - 1) / np.diff(starts)


def usable_pixels(image: NDArray[np.float32], excluded: int | None = None) -> NDArray[np.bool_]:
    """Pixels that show the sky: finite, not negative, not above 8e4 e-/s, not left out by hand.

    Parameters
    ----------
    image : ndarray, shape (R, C)
        e-/s.
    excluded : int, optional
        First column that is left out by hand.
    """
    # Comparisons with NaN are false.
    usable = (image >= 0) & (image <= FLUX_CUTOFF)
    if excluded is not None:
        usable[:, excluded:] = False
    return usable


def fit_background(
    image: NDArray[np.float32],
    usable: NDArray[np.bool_],
    geometry: SkyGeometry,
    poll: Callable[[], None] = lambda: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Background of one frame: what is left to do with it is to smooth the levels (`series_mesh`).

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        e-/s.
    usable : ndarray of bool, shape (R, C)
        See `usable_pixels`.
    geometry : SkyGeometry
    poll : callable, optional
        Called from time to time.

    Returns
    -------
    levels : ndarray of float32, shape `geometry.mesh_shape`
        Level of the sky in every box without the profile, e-/s; boxes that were left out are filled.
    radial : ndarray of float32, shape (N,)
        Profile at the nodes, e-/s.
        None instead of both where no box has enough usable pixels.
    """
    image = np.where(usable, image, np.float32(np.nan))
    radial = np.zeros(len(geometry.nodes), dtype="f4")
    levels = box_levels(image)
    poll()
    if not np.isfinite(levels).any():
        return None
    if len(geometry.nodes):
        # What the rings are measured against, and so where the logarithm is taken: near the sky's own
        # level, never near zero, where the noise would leave half of the pixels without a logarithm.
        level = float(np.nanmedian(levels))
        pedestal = max(level, _LOWEST_PEDESTAL)
        mesh_of_sky = np.full(geometry.mesh_shape, level, dtype="f4")
        rest = image
        for _ in range(_ROUNDS):
            # A steep glow is spread over a ring's values, whose mode is then anywhere among them: the next
            # round's rings see only what the last profile left.
            more = _radial_profile(rest, mesh_of_sky, pedestal, geometry)
            poll()
            if np.max(np.abs(more)) <= _CONVERGED * pedestal:
                break
            radial = radial + more
            rest = image.copy() if rest is image else rest
            nodes = geometry.radial_first, geometry.radial_step
            sky.less_profile(image, geometry.pixels, geometry.radii, radial, *nodes, rest)
            levels = np.where(geometry.ring_boxes, box_levels(rest, geometry.ring_boxes), levels)
            if not np.isfinite(levels).any():
                return None
            mesh_of_sky = mesh_coefficients(smoothed_levels(levels))
    return filled_levels(levels).astype("f4"), radial


def box_levels(image: NDArray[np.float32], wanted: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Level of the sky in every box (`kernels.sky.box_levels`).

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        NaN where a pixel is not to be used.
    wanted : ndarray of bool, shape (M, N), optional
        Boxes to compute; default: all.

    Returns
    -------
    ndarray, shape (M, N)
        NaN where over half of a box's pixels are masked, clipped or beyond the frame's edge, and where a
        box is not wanted.
    """
    if wanted is None:
        wanted = np.ones((-(-image.shape[0] // BOX), -(-image.shape[1] // BOX)), dtype=bool)
    area = min(BOX, image.shape[0]) * min(BOX, image.shape[1])
    fewest = (1 - _LARGEST_MASKED) * area
    return sky.box_levels(np.ascontiguousarray(image, dtype="f4"), BOX, wanted, fewest, _SIGMA, _CLIP_ROUNDS)


def smoothed_levels(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels without gaps and outliers.

    Parameters
    ----------
    levels : ndarray, shape (M, N)
        NaN for boxes that were left out; at least one is finite.

    Returns
    -------
    ndarray, shape (M, N)
        Boxes that were left out are filled from the ten nearest others, weighted by 1/distance; then every
        box is the median of the 3 x 3 boxes around it (fewer at the edges).
    """
    levels = filled_levels(levels)
    padded = np.pad(levels, 1, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    return np.nanmedian(windows.reshape(*levels.shape, 9), axis=-1)


def filled_levels(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels with the boxes that were left out filled from the ten nearest others; see `smoothed_levels`."""
    good = np.isfinite(levels)
    if good.all():
        return levels
    out = levels.copy()
    there = np.argwhere(good)
    values = levels[good]
    for i, j in np.argwhere(~good):
        distance = np.hypot(there[:, 0] - i, there[:, 1] - j)
        nearest = np.argsort(distance, kind="stable")[:_NEIGHBOURS]
        weights = 1 / distance[nearest]
        out[i, j] = weights @ values[nearest] / weights.sum()
    return out


def series_mesh(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coefficients of every frame's mesh, from the levels of all frames.

    The 3 x 3 median filter takes from a box what stands out from its neighbours: the light of its stars.
    Which of the nine boxes is the median changes from frame to frame with their noise, and a light
    curve with its sky taken from now one and now another box is noisier than its pixels. What a box stands
    out by is therefore taken as one number for all frames, the median over time of what the filter takes.
    A single frame's mesh is what the filter gives.

    Parameters
    ----------
    levels : ndarray of float32, shape (M, N, T)
        From `fit_background`; NaN in frames without a background.

    Returns
    -------
    ndarray of float32, shape (M, N, T)
        Cubic B-spline coefficients, e-/s (`products.cube.BackgroundModel`).
    """
    (good,) = np.nonzero(np.isfinite(levels).all(axis=(0, 1)))
    mesh = np.full(levels.shape, np.nan, dtype="f4")
    if not len(good):
        return mesh
    excess = [levels[:, :, t] - smoothed_levels(levels[:, :, t].astype("f8")) for t in good]
    steady = np.median(excess, axis=0)
    for t in good:
        mesh[:, :, t] = mesh_coefficients(levels[:, :, t] - steady)
    return mesh


def background_model(
    geometry: SkyGeometry, levels: NDArray[np.float32], radial: NDArray[np.float32], window: int = 1
) -> BackgroundModel:
    """The backgrounds of a series as they are kept.

    Parameters
    ----------
    geometry : SkyGeometry
    levels : ndarray of float32, shape (M, N, T)
    radial : ndarray of float32, shape (K, T)
        Both from `fit_background`.
    window : int
        Number of frames to average over, odd.
    """
    return BackgroundModel(
        mesh=average_in_time(series_mesh(levels), window),
        box=BOX,
        radial=average_in_time(radial, window),
        radial_first=geometry.radial_first,
        radial_step=geometry.radial_step,
        centre=geometry.centre,
        origin=geometry.origin,
    )


def subtract_background(
    frames: NDArray[np.float32], excluded: NDArray[np.int32], model: BackgroundModel, first: int = 0
) -> None:
    """Take the background out of some rows of frames.

    Parameters
    ----------
    frames : ndarray of float32, shape (K, R, C)
        e-/s. Replaced by what is left; NaN where left out by hand.
    excluded : ndarray of int32, shape (K,)
        First column that is left out by hand.
    model : BackgroundModel
        Of these frames.
    first : int
        Row of the CCD's region that is the first one here.
    """
    mesh, radial = (np.ascontiguousarray(np.moveaxis(part, -1, 0)) for part in (model.mesh, model.radial))
    blocks.subtract_frames(
        frames,
        excluded,
        first,
        (float(model.origin[0]), float(model.origin[1])),
        (float(model.centre[0]), float(model.centre[1])),
        model.box,
        mesh,
        radial,
        model.radial_first,
        model.radial_step,
    )


def mesh_coefficients(levels: NDArray[np.float64]) -> NDArray[np.float32]:
    """B-spline coefficients of the surface through the boxes' levels, straight beyond the outer ones.

    Mirrored at the outer edges, as it is often done, the surface would be level there, and off by a quarter
    of what the sky changes from box to box.
    """
    by_row, by_column = (_spline_inverse(n) for n in levels.shape)
    return (by_row @ levels @ by_column.T).astype("f4")


@functools.cache
def _spline_inverse(n: int) -> NDArray[np.float64]:
    """Matrix from values at n nodes to the coefficients of the natural cubic B-spline, shape (n, n)."""
    values = np.zeros((n, n))
    for i in range(n):
        # Coefficients beyond an end go on as a straight line, so the value at the end is its own coefficient.
        outer = i in (0, n - 1)
        for j, weight in ((i, 1.0),) if outer else ((i - 1, 1 / 6), (i, 4 / 6), (i + 1, 1 / 6)):
            values[i, j] += weight
    return np.linalg.inv(values).astype("f8")


def _radial_profile(
    image: NDArray[np.float32], mesh: NDArray[np.float32], pedestal: float, geometry: SkyGeometry
) -> NDArray[np.float32]:
    """Glow at the nodes, from the ring pixels whose smooth sky (the mesh) is replaced by the pedestal.

    Pixels without a logarithm are left out; with the pedestal under them they are far out in the noise.
    """
    rows, columns = geometry.ring_rectangle
    smooth = sky.surface(mesh, BOX, rows, columns)
    values = sky.ring_values(image, geometry.pixels, smooth, (rows[0], columns[0]), pedestal)
    logs = np.log(values) * np.float32(1 / np.log(10))
    modes = sky.ring_modes(logs, geometry.starts, _FEWEST_IN_RING)
    (rings,) = np.nonzero(np.isfinite(modes))
    if len(rings) < _FEWEST_RINGS:
        return np.zeros(len(geometry.nodes), dtype="f4")
    # A median does not move the values of a monotonic profile, the ends included.
    smooth = ndimage.median_filter(modes[rings], 3, mode="nearest")
    radii = geometry.ring_radii[rings]
    spline = interpolate.CubicSpline(radii, smooth, bc_type="natural")
    start = _RADIAL_FIRST + _RING * rings[0]
    profile = 10.0 ** _extended(spline, geometry.nodes) - 10.0 ** _extended(spline, np.array([start]))
    profile[geometry.nodes < start] = 0.0
    return profile.astype("f4")


def _extended(spline: interpolate.CubicSpline, radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """A spline that goes on as a straight line for up to a ring's width, then as a constant."""
    inside = np.clip(radii, spline.x[0], spline.x[-1])
    return spline(inside) + spline(inside, 1) * np.clip(radii - inside, -_RING, _RING)


def window_length(cadence: int) -> int:
    """Number of frames over which the background is averaged: 3 at 1800 s, 9 at 600 s, 27 at 200 s."""
    return 2 * round((5400 / cadence - 1) / 2) + 1 if cadence < 5400 else 1


def average_in_time(values: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Running mean over the last axis, without NaN frames, shorter at the ends.

    Parameters
    ----------
    values : ndarray of float32, shape (..., T)
        A frame without a background is NaN throughout, and stays so.
    length : int
        Odd.

    Returns
    -------
    ndarray of float32, shape (..., T)
    """
    n = values.shape[-1]
    good = np.isfinite(values)
    filled = np.where(good, values, 0).astype("f8")
    total = np.zeros(values.shape)
    count = np.zeros(values.shape)
    half = min(length // 2, n - 1)
    for shift in range(-half, half + 1):
        to = slice(max(0, -shift), min(n, n - shift))
        source = slice(max(0, shift), min(n, n + shift))
        total[..., to] += filled[..., source]
        count[..., to] += good[..., source]
    return np.where(good, total / np.maximum(count, 1), np.nan).astype("f4")
