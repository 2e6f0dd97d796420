"""The light of the stars of a CCD as it is in all frames, from a few of them.

The level of the sky in a box of a mesh is the mode of its pixels, and the stars among them pull at it: by
some tenths of e-/s, more where the sky is brighter or the stars have moved a little. Constant in time that
would only shift the sky; as it is, it makes light curves noisier than their pixels. So the backgrounds
are fitted to what is left without the stars. In the mean over time they are what they would be with them.
What is in a frame beside this image and the background is also what tells background shenanigans.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..kernels import blocks
from ..products.cube import BackgroundModel
from .background import FLUX_CUTOFF, SkyGeometry, background_model, fit_background, usable_pixels
from .frames import FrameSeries
from .reading import Frames

__all__ = ["FEWEST_FRAMES", "chosen_frames", "median_rows", "star_image"]

#: Frames that the image is made of, spread evenly over the series: the noise of a pixel in it, a sixth of a
#: frame's, is the same in all frames and far below what a box's level can be off by.
_FRAMES = 32
#: From an image of fewer frames no background is fitted: it would hold too much of each of them.
FEWEST_FRAMES = 8
#: Rows that are transposed at once.
_ROWS = 16


def chosen_frames(
    good: NDArray[np.bool_], excluded: NDArray[np.int32], columns: int
) -> tuple[NDArray[np.int64], bool]:
    """Frames that the image of the stars is made of.

    Parameters
    ----------
    good : ndarray of bool, shape (T,)
        Frames of good quality.
    excluded : ndarray of int32, shape (T,)
        First column that is left out by hand.
    columns : int
        Of a frame.

    Returns
    -------
    frames : ndarray of int64
        At most 32. Good frames without anything left out; if there are fewer than 8 of them, any with pixels.
    enough : bool
        Whether there were 8.
    """
    (frames,) = np.nonzero(good & (excluded >= columns))
    enough = len(frames) >= FEWEST_FRAMES
    if not enough:
        (frames,) = np.nonzero(excluded > 0)
    places = np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).round().astype("i8")
    return frames[np.unique(places)], enough


def median_rows(
    read: Callable[[int, int, int], NDArray[np.float32]],
    frames: NDArray[np.int64],
    excluded: NDArray[np.int32],
    model: BackgroundModel,
    first: int,
    last: int,
) -> NDArray[np.float32]:
    """Some rows of the image of the stars.

    Parameters
    ----------
    read : callable
        Gives rows `first` to `last` of a frame, called with (frame, first, last).
    frames : ndarray of int64, shape (K,)
        See `chosen_frames`.
    excluded : ndarray of int32, shape (K,)
        First column of each that is left out.
    model : BackgroundModel
        Their backgrounds.
    first, last : int

    Returns
    -------
    ndarray of float32, shape (last - first, C)
        e-/s; zero where no frame has a value.
    """
    images = np.stack([read(int(t), first, last) for t in frames])
    out = np.empty(images.shape[1:], dtype="f4")
    none, zero = np.empty((0, 0, 0), dtype="f4"), np.zeros((_ROWS, images.shape[2]), dtype="f4")
    for r in range(0, len(out), _ROWS):
        some = np.ascontiguousarray(images[:, r : r + _ROWS])
        block = np.empty((*some.shape[1:], len(frames)), dtype="f4")
        flags = np.empty(block.shape, dtype="u1")
        blocks.scatter(some, block, 0)
        blocks.subtract(
            block,
            flags,
            none,
            excluded,
            FLUX_CUTOFF,
            first + r,
            (float(model.origin[0]), float(model.origin[1])),
            (float(model.centre[0]), float(model.centre[1])),
            model.box,
            model.mesh,
            model.radial,
            model.radial_first,
            model.radial_step,
        )
        median = blocks.time_medians(block, zero[: len(block)], np.arange(len(frames)))
        out[r : r + _ROWS] = np.where(np.isfinite(median), median, 0)
    return out


def star_image(
    series: FrameSeries, geometry: SkyGeometry, good: NDArray[np.bool_]
) -> NDArray[np.float32] | None:
    """Median over some frames of the image without its background.

    Parameters
    ----------
    series : FrameSeries
    geometry : SkyGeometry
    good : ndarray of bool, shape (T,)
        Frames of good quality.

    Returns
    -------
    ndarray of float32, shape (R, C), or None
        e-/s; zero where no frame has a value. None where there are too few good frames.
    """
    frames = Frames.of(series)
    candidates, enough = chosen_frames(good, series.excluded, series.shape[1])
    if not enough:
        return None
    chosen, fits = [], []
    for t in candidates:
        image = frames.flux(int(t))
        fit = fit_background(image, usable_pixels(image), geometry)
        if fit is not None:
            chosen.append(t)
            fits.append(fit)
    if len(chosen) < FEWEST_FRAMES:
        return None
    levels, radial = (np.stack(parts, axis=-1) for parts in zip(*fits, strict=True))
    model = background_model(geometry, levels, radial)
    return median_rows(frames.flux, np.array(chosen), series.excluded[chosen], model, 0, series.shape[0])
