"""The mesh of a background: levels of boxes, gaps in it, and the smooth surface through it."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from ..kernels import boxes as sky
from .sky_geometry import BOX, box_counts

__all__ = [
    "SIGMA",
    "box_levels",
    "centred_levels",
    "filled_levels",
    "in_boxes",
    "levels_of_boxes",
    "means_of_boxes",
    "mesh_coefficients",
    "series_mesh",
    "smoothed_levels",
    "starless_mesh",
]

#: Sigma clipping of a box or ring.
SIGMA, _CLIP_ROUNDS = 3.0, 5
#: Boxes with a larger part of their pixels masked or clipped are left out.
_LARGEST_MASKED = 0.5
#: The same in frames without stars: boxes with no larger part than this are left out.
_SMALLEST_PART = 1 / 4
#: Neighbours from which a box that was left out is filled, weighted by 1/distance.
_NEIGHBOURS = 10
#: How often levels are moved to the middles of their boxes.
_PLACINGS = 8


def in_boxes(
    image: NDArray[np.float32], usable: NDArray[np.bool_], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The pixels of a frame box by box (`kernels.boxes.in_boxes`).

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
    usable : ndarray of bool, shape (R, C)
    out : ndarray of float32, shape (M, N, BOX, BOX), optional
        Memory for the result.

    Returns
    -------
    ndarray of float32, shape (M, N, BOX, BOX)
        NaN where a pixel is not usable, and beyond the frame's edge.
    """
    if out is None:
        out = np.empty((*box_counts(image.shape), BOX, BOX), dtype="f4")
    sky.in_boxes(np.ascontiguousarray(image, dtype="f4"), np.ascontiguousarray(usable), out)
    return out


def box_levels(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Level of the sky in every box of a frame; see `levels_of_boxes`.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        NaN where a pixel is not to be used.
    """
    return levels_of_boxes(in_boxes(image, np.isfinite(image)), image.shape)


def levels_of_boxes(
    boxes: NDArray[np.float32], shape: tuple[int, int], wanted: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Level of the sky in every box (`kernels.boxes.box_levels`).

    Parameters
    ----------
    boxes : ndarray of float32, shape (M, N, BOX, BOX)
        From `in_boxes`.
    shape : (int, int)
        Rows and columns of the frame.
    wanted : ndarray of bool, shape (M, N), optional
        Boxes to compute; default: all.

    Returns
    -------
    ndarray, shape (M, N)
        NaN where over half of a box's pixels are masked, clipped or beyond the frame's edge, and where a
        box is not wanted.
    """
    return sky.box_levels(boxes, _wanted(boxes, wanted), _fewest(shape), SIGMA, _CLIP_ROUNDS)


def means_of_boxes(
    boxes: NDArray[np.float32], shape: tuple[int, int], wanted: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Level of the sky in every box of a frame without stars, and its place (`kernels.boxes.box_means`).

    Parameters are those of `levels_of_boxes`. Without stars a part of a box is as good as the whole, only
    noisier.
    """
    fewest = _SMALLEST_PART * BOX * BOX
    return sky.box_means(boxes, _wanted(boxes, wanted), min(fewest, _fewest(shape)), SIGMA)


def _wanted(boxes: NDArray[np.float32], wanted: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.ones(boxes.shape[:2], dtype=bool) if wanted is None else wanted


def _fewest(shape: tuple[int, int]) -> float:
    """A box with no more values than this is left out."""
    return (1 - _LARGEST_MASKED) * min(BOX, shape[0]) * min(BOX, shape[1])


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


def filled_levels(levels: NDArray[np.float64], slopes: bool = False) -> NDArray[np.float64]:
    """Levels with the boxes that were left out filled from the ten nearest others; see `smoothed_levels`.

    With `slopes`, by a plane through these and not by their mean.
    """
    good = np.isfinite(levels)
    if good.all():
        return levels
    out = levels.copy()
    nearest, weights = _filling(good.tobytes(), levels.shape, slopes)
    out[~good] = np.sum(weights * levels[good][nearest], axis=1)
    return out


@functools.lru_cache(maxsize=16)
def _filling(
    good: bytes, shape: tuple[int, int], slopes: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For every box that was left out, which of the others it is filled from, and their weights."""
    is_good = np.frombuffer(good, dtype=bool).reshape(shape)
    there = np.argwhere(is_good).astype("f8")
    all_nearest, all_weights = [], []
    for box in np.argwhere(~is_good):
        distance = np.hypot(*(there - box).T)
        nearest = np.argsort(distance, kind="stable")[:_NEIGHBOURS]
        share = 1 / distance[nearest]
        share /= share.sum()
        weights = share
        if slopes:
            middle = share @ there[nearest]
            places = (there[nearest] - middle) * np.sqrt(share)[:, None]
            # Boxes in a line do not constrain the slope across it, which is then zero.
            weights = share + (box - middle) @ np.linalg.pinv(places, rcond=1e-6) * np.sqrt(share)
        all_nearest.append(nearest)
        all_weights.append(weights)
    return np.array(all_nearest), np.array(all_weights)


def centred_levels(measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels in the middles of all boxes of a frame without stars.

    A box that is cut off by the frame's edge, or of which a part is left out, shows the sky in the middle of
    the rest. Slopes between boxes give the level in the box's own middle, and in boxes that were left out.

    Parameters
    ----------
    measured : ndarray, shape (3, M, N)
        See `kernels.boxes.box_means`.

    Returns
    -------
    ndarray, shape (M, N)
    """
    means, offsets = measured[0], np.nan_to_num(measured[1:])
    levels = means
    # The sky moves by half a box's slope at most, and the error that is left falls by that factor each time.
    for _ in range(_PLACINGS if offsets.any() else 1):
        levels = filled_levels(levels, slopes=True)
        shift = sum(
            (offsets[axis] * np.gradient(levels, axis=axis) for axis in (0, 1) if levels.shape[axis] > 1),
            start=np.zeros(levels.shape),
        )
        levels = means - shift
    return filled_levels(levels, slopes=True)


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
        Cubic B-spline coefficients, e-/s (`kernels.background_model.BackgroundModel`).
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
