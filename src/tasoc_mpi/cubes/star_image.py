"""The light of the stars of a CCD as it is in all frames, from a few of them.

The level of the sky in a box of a mesh is the mode of its pixels, and the stars among them pull at it: by
some tenths of e-/s, more where the sky is brighter or the stars have moved a little. Constant in time that
would only shift the sky; as it is, it makes light curves noisier than their pixels. So the backgrounds
are fitted to what is left without the stars. In the mean over time they are what they would be with them.
The residual of a frame less this image and the background also shows background shenanigans.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..kernels.background_model import BackgroundModel
from .buffers import Buffers

__all__ = ["FEWEST_FRAMES", "chosen_frames", "frame_medians", "median_rows"]

#: Frames that the image is made of, spread evenly over the series: the noise of a pixel in it, a sixth of a
#: frame's, is the same in all frames and far below what a box's level can be off by.
_FRAMES = 32
#: From an image of fewer frames no background is fitted: it would hold too much of each of them.
FEWEST_FRAMES = 8


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
    read: Callable[[int, int, int, NDArray[np.float32]], object],
    frames: NDArray[np.int64],
    excluded: NDArray[np.int32],
    model: BackgroundModel,
    first: int,
    shape: tuple[int, int],
    buffers: Buffers | None = None,
) -> NDArray[np.float32]:
    """Some rows of the image of the stars.

    Parameters
    ----------
    read : callable
        Reads rows of a frame into an array, called with (frame, first row, last row, array).
    frames : ndarray of int64, shape (K,)
        See `chosen_frames`.
    excluded : ndarray of int32, shape (K,)
        First column of each that is left out.
    model : BackgroundModel
        Their backgrounds.
    first : int
        The first of them.
    shape : (int, int)
        Number of rows, and columns of a frame.
    buffers : Buffers, optional
        Where the frames' rows are kept.

    Returns
    -------
    ndarray of float32, shape `shape`
        e-/s; zero where no frame has a value.
    """
    images = (buffers or Buffers()).array("images", (len(frames), *shape), np.float32)
    for image, t in zip(images, frames.tolist(), strict=True):
        read(t, first, first + shape[0], image)
    model.subtract(images, row=first)
    for image, column in zip(images, excluded, strict=True):
        image[:, column:] = np.nan
    medians = frame_medians(images)
    return np.where(np.isfinite(medians), medians, np.float32(0))


def frame_medians(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median over frames of every pixel.

    Parameters
    ----------
    frames : ndarray of float32, shape (K, R, C)
        Values that are not finite do not count.

    Returns
    -------
    ndarray of float32, shape (R, C)
        NaN where there is no value in any of the frames.
    """
    out = np.empty(frames.shape[1:], dtype=np.float32)
    # A row at a time, its pixels one after the other: it fits into the processor's cache.
    for row, medians in enumerate(out):
        values = frames[:, row].T.copy()
        finite = np.isfinite(values)
        values[~finite] = np.nan  # sorted to the end
        values.sort(axis=1)
        count = np.count_nonzero(finite, axis=1)[:, None]
        lower = np.take_along_axis(values, np.maximum(count - 1, 0) // 2, axis=1)
        upper = np.take_along_axis(values, count // 2, axis=1)
        medians[:] = np.float32(0.5) * (lower + upper)[:, 0]
    return out
