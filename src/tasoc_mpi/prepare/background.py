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

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, ndimage

from ..kernels import blocks, sky
from ..products.cube import BackgroundModel
from .skygeometry import BOX, RADIAL_FIRST, RING, SkyGeometry

__all__ = [
    "average_in_time",
    "background_model",
    "box_levels",
    "box_means",
    "filled_levels",
    "fit_background",
    "mesh_coefficients",
    "series_mesh",
    "smoothed_levels",
    "starless_mesh",
    "subtract_background",
    "usable_pixels",
    "window_length",
]

#: Pixels above this are saturated or close to it, e-/s.
FLUX_CUTOFF = 8e4
#: Sigma clipping of a box.
_SIGMA, _CLIP_ROUNDS = 3.0, 5
#: Boxes with a larger part of their pixels masked or clipped are left out.
_LARGEST_MASKED = 0.5
#: Neighbours from which a box that was left out is filled, weighted by 1/distance.
_NEIGHBOURS = 10

#: Rings with fewer usable pixels have no value: a density estimate of fewer is dominated by its noise.
_FEWEST_IN_RING = 50
_FEWEST_RINGS = 3
#: Several times the noise of a pixel's sky, e-/s.
_LOWEST_PEDESTAL = 20.0
_ROUNDS = 3
#: The rounds end when the profile changes by less than this fraction of the sky.
_CONVERGED = 1e-3


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
    starless: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Background of one frame, as `background_model` takes it.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        e-/s.
    usable : ndarray of bool, shape (R, C)
        See `usable_pixels`.
    geometry : SkyGeometry
    poll : callable, optional
        Called from time to time.
    starless : bool
        The image of the stars (`starlight`) is taken out of the frame: what is left is the sky and its noise,
        of which a mean is as good a measure as there is. With the stars it is the mode that tells the sky.

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
    levels_of = box_means if starless else box_levels
    levels = levels_of(image)
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
            more = _radial_profile(rest, mesh_of_sky, pedestal, geometry, starless)
            poll()
            # Of a series each frame gets as many rounds: one more here and there would be noise.
            if np.max(np.abs(more)) <= (0 if starless else _CONVERGED * pedestal):
                break
            radial = radial + more
            rest = image.copy() if rest is image else rest
            nodes = geometry.radial_first, geometry.radial_step
            sky.less_profile(image, geometry.pixels, geometry.radii, radial, *nodes, rest)
            levels = np.where(geometry.ring_boxes, levels_of(rest, geometry.ring_boxes), levels)
            if not np.isfinite(levels).any():
                return None
            mesh_of_sky = mesh_coefficients(filled_levels(levels) if starless else smoothed_levels(levels))
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
    image = np.ascontiguousarray(image, dtype="f4")
    return sky.box_levels(image, BOX, _wanted(image, wanted), _fewest(image), _SIGMA, _CLIP_ROUNDS)


def box_means(image: NDArray[np.float32], wanted: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Level of the sky in every box of a frame without stars (`kernels.sky.box_means`); see `box_levels`."""
    image = np.ascontiguousarray(image, dtype="f4")
    return sky.box_means(image, BOX, _wanted(image, wanted), _fewest(image), _SIGMA)


def _wanted(image: NDArray[np.float32], wanted: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if wanted is not None:
        return wanted
    return np.ones((-(-image.shape[0] // BOX), -(-image.shape[1] // BOX)), dtype=bool)


def _fewest(image: NDArray[np.float32]) -> float:
    """A box with no more values than this is left out."""
    return (1 - _LARGEST_MASKED) * min(BOX, image.shape[0]) * min(BOX, image.shape[1])


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


def starless_mesh(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coefficients of the meshes of frames without stars; shapes as for `series_mesh`."""
    mesh = np.full(levels.shape, np.nan, dtype="f4")
    for t in np.flatnonzero(np.isfinite(levels).all(axis=(0, 1))):
        mesh[:, :, t] = mesh_coefficients(levels[:, :, t].astype("f8"))
    return mesh


def background_model(
    geometry: SkyGeometry,
    levels: NDArray[np.float32],
    radial: NDArray[np.float32],
    window: int = 1,
    starless: bool = False,
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
    starless : bool
        As it was fitted: what stands out of a mesh without stars is the sky's, and nothing is filtered.
    """
    mesh = starless_mesh(levels) if starless else series_mesh(levels)
    return BackgroundModel(
        mesh=average_in_time(mesh, window),
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
    image: NDArray[np.float32],
    mesh: NDArray[np.float32],
    pedestal: float,
    geometry: SkyGeometry,
    starless: bool,
) -> NDArray[np.float32]:
    """Glow at the nodes, from the ring pixels whose smooth sky (the mesh) is replaced by the pedestal.

    Pixels without a logarithm are left out; with the pedestal under them they are far out in the noise.
    """
    rows, columns = geometry.ring_rectangle
    smooth = sky.surface(mesh, BOX, rows, columns)
    values = sky.ring_values(image, geometry.pixels, smooth, (rows[0], columns[0]), pedestal)
    if starless:
        modes = np.log10(sky.ring_means(values, geometry.starts, _FEWEST_IN_RING, _SIGMA))
    else:
        logs = np.log(values) * np.float32(1 / np.log(10))
        modes = sky.ring_modes(logs, geometry.starts, _FEWEST_IN_RING)
    (rings,) = np.nonzero(np.isfinite(modes))
    if len(rings) < _FEWEST_RINGS:
        return np.zeros(len(geometry.nodes), dtype="f4")
    # A median does not move the values of a monotonic profile, the ends included.
    smooth = ndimage.median_filter(modes[rings], 3, mode="nearest")
    radii = geometry.ring_radii[rings]
    spline = interpolate.CubicSpline(radii, smooth, bc_type="natural")
    start = RADIAL_FIRST + RING * rings[0]
    profile = 10.0 ** _extended(spline, geometry.nodes) - 10.0 ** _extended(spline, np.array([start]))
    profile[geometry.nodes < start] = 0.0
    return profile.astype("f4")


def _extended(spline: interpolate.CubicSpline, radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """A spline that goes on as a straight line for up to a ring's width, then as a constant."""
    inside = np.clip(radii, spline.x[0], spline.x[-1])
    return spline(inside) + spline(inside, 1) * np.clip(radii - inside, -RING, RING)


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
