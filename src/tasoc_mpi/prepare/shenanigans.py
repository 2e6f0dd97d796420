"""Background shenanigans: pixels whose neighbourhood is for a time far above or below its usual level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..kernels import blocks
from ..quality import PixelQualityFlags

__all__ = ["HALO", "flag_shenanigans", "sample_frames"]

#: The median filter's window reaches so far to each side: 15 x 15 pixels.
_HALF = 7
#: e-/s.
_LIMIT = 40.0
#: The usual level is computed in every fourth row and column; it is smooth on the scale of the window.
_GRID = 4
#: The usual level is the median over at most so many frames, spread over the sector: enough for some
#: 0.1 times the scatter of the level from frame to frame, a tiny part of the limit.
_SAMPLES = 99
#: So many rows on each side of a block are needed for its flags.
HALO = 2 * _HALF + _GRID + 2


def sample_frames(good: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Frames from which the usual level is computed: good ones, evenly spread; all, if few or none."""
    frames = np.flatnonzero(good)
    if len(frames) == 0:
        frames = np.arange(len(good))
    if len(frames) > _SAMPLES:
        frames = frames[np.linspace(0, len(frames) - 1, _SAMPLES).round().astype("i8")]
    return frames


def flag_shenanigans(
    images: NDArray[np.float32],
    sumimage: NDArray[np.float32],
    flags: NDArray[np.uint8],
    rows: tuple[int, int],
    row0: int,
    sample: NDArray[np.int64],
) -> None:
    """Set pixel flag 4 in some rows of a block.

    A pixel is flagged in a frame where the 15 x 15 median of (image - sumimage) is more than 40 e-/s from
    its own median over time. Windows are cut off at the frame's edges; NaN pixels do not count.

    Parameters
    ----------
    images : ndarray of float32, shape (R, C, T)
        Background-subtracted, e-/s, with `HALO` rows (where the frame has them) around those to be flagged.
    sumimage : ndarray of float32, shape (R, C)
        e-/s.
    flags : ndarray of uint8, shape (R, C, T)
        Changed in place.
    rows : (int, int)
        Rows of the block to be flagged, half open.
    row0 : int
        Row of the frame of the block's first.
    sample : ndarray of int64
        See `sample_frames`.
    """
    first = max(0, rows[0] - _HALF)
    last = min(images.shape[0], rows[1] + _HALF)
    usual = _usual_level(images, sumimage, (first, last), row0, sample)
    level = sumimage.copy()
    level[first:last] += usual
    blocks.column_flags(
        images, level, flags, rows[0], rows[1], _HALF, _LIMIT, PixelQualityFlags.BackgroundShenanigans
    )


def _usual_level(
    images: NDArray[np.float32],
    sumimage: NDArray[np.float32],
    rows: tuple[int, int],
    row0: int,
    sample: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Median over time of the median-filtered difference, for some rows of a block.

    The two medians are taken in the other order, a hundred times faster: what the sky of a window does it
    does in nearly all of its pixels, so both orders agree to a few hundredths of the limit. The grid's
    rows are the same whatever block they are asked for.
    """
    typical = blocks.time_medians(images, sumimage, sample)
    grid_rows = np.arange((rows[0] + row0) // _GRID, -(-(rows[1] - 1 + row0) // _GRID) + 1) * _GRID
    grid_columns = np.arange(-(-(images.shape[1] - 1) // _GRID) + 1) * _GRID
    level = blocks.window_medians(
        typical,
        np.minimum(grid_rows - row0, images.shape[0] - 1),
        np.minimum(grid_columns, images.shape[1] - 1),
        _HALF,
    )
    # Places without any value have no flags either.
    level = np.where(np.isfinite(level), level, 0.0)
    level = _between(level, np.arange(*rows) + row0, grid_rows, axis=0)
    return _between(level, np.arange(images.shape[1]), grid_columns, axis=1).astype("f4")


def _between(
    values: NDArray[np.float64], at: NDArray[np.int64], grid: NDArray[np.int64], axis: int
) -> NDArray:
    """Linear interpolation along one axis of a regular grid."""
    if len(grid) == 1:
        return np.repeat(values, len(at), axis=axis)
    i = np.minimum((at - grid[0]) // _GRID, len(grid) - 2)
    f = (at - grid[i]) / _GRID
    f = f[:, None] if axis == 0 else f[None, :]
    return np.take(values, i, axis) * (1 - f) + np.take(values, i + 1, axis) * f
