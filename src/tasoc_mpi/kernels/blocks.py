"""Rows of a cube while it is made: transposition, flags, sums over time.

Arrays of pixels are (rows, columns, times), and inner loops run over time, which is contiguous; or they are
(times, rows, columns), as frames come, and inner loops run over columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .jit import helper, kernel

__all__ = [
    "add_frames",
    "flag_pixels",
    "scatter",
    "window_flags",
]

#: Columns that are put in their place at once: 16 float32 are one line of the processor's cache.
_TILE = 16
#: Columns whose windows are left out together where too few of their values are beyond a limit.
_SPAN = 64


@kernel
def scatter(frames, out, first):
    """Put frames at their place in time.

    Parameters
    ----------
    frames : ndarray, shape (K, R, C)
    out : ndarray, shape (R, C, T)
        Times ``first`` to ``first + K`` are written.
    first : int
    """
    n_frames, height, width = frames.shape
    for r in range(height):
        for c0 in range(0, width, _TILE):
            c1 = min(c0 + _TILE, width)
            part = out[r, c0:c1, first : first + n_frames]
            for k in range(n_frames):
                line = frames[k, r, c0:c1]
                for c in range(c1 - c0):
                    part[c, k] = line[c]


@kernel
def flag_pixels(frames, cutoff, excluded, left_out, flags):
    """Flag pixels that do not show the sky, and those that are left out by hand, which become NaN.

    Parameters
    ----------
    frames : ndarray of float32, shape (K, R, C)
    cutoff : float
        Pixels that show the sky are from 0 to this.
    excluded : ndarray of int32, shape (K,)
        First column of each frame that is left out.
    left_out : int
        Flags of the pixels that are left out.
    flags : ndarray of uint8, shape (K, R, C)
        Set to 1 where a pixel does not show the sky, and to `left_out` as well where it is left out.
    """
    cutoff = np.float32(cutoff)
    zero = np.float32(0)
    for k in range(frames.shape[0]):
        for r in range(frames.shape[1]):
            line = frames[k, r]
            out = flags[k, r]
            for c in range(line.shape[0]):
                # Comparisons with NaN are false.
                out[c] = 0 if (line[c] >= zero) & (line[c] <= cutoff) else 1
            for c in range(excluded[k], line.shape[0]):
                out[c] |= left_out
                line[c] = np.nan


@kernel
def add_frames(frames, flags, good, total, count, used):
    """Add frames to sums over time.

    Parameters
    ----------
    frames : ndarray of float32, shape (K, R, C)
        Values that are not finite do not count.
    flags : ndarray of uint8, shape (K, R, C)
    good : ndarray of bool, shape (K,)
        Frames of which the pixels are added.
    total : ndarray, shape (R, C)
        Sum over the good frames.
    count : ndarray of int32, shape (R, C)
        Number of its values.
    used : ndarray of int32, shape (R, C)
        Number of frames (good or not) without flag 1.
    """
    infinite = np.float32(np.inf)
    for r in range(frames.shape[1]):
        sums = total[r]
        counts = count[r]
        uses = used[r]
        for k in range(frames.shape[0]):
            bits = flags[k, r]
            for c in range(bits.shape[0]):
                uses[c] += 1 - (bits[c] & 1)
            if good[k]:
                line = frames[k, r]
                for c in range(line.shape[0]):
                    there = abs(line[c]) < infinite
                    sums[c] += line[c] if there else 0.0
                    counts[c] += 1 if there else 0


@helper
def _flag_span(values, r, half, limit, c0, c1, counts, out):
    """Set the flags of columns `c0` to `c1` of a row; see `window_flags`.

    `counts` is memory for three numbers of each column.
    """
    first = max(0, c0 - half)
    last = min(values.shape[1], c1 + half)
    high, low, valid = counts[0], counts[1], counts[2]
    for c in range(last - first):
        high[c] = low[c] = valid[c] = 0
    for i in range(max(0, r - half), min(values.shape[0], r + half + 1)):
        line = values[i, first:last]
        for c in range(line.shape[0]):
            d = line[c]
            high[c] += 1 if d > limit else 0
            low[c] += 1 if d < -limit else 0
            valid[c] += 1 if d == d else 0
    a = 0
    b = 0
    n = 0
    for c in range(min(c0 + half, last) - first):
        a += high[c]
        b += low[c]
        n += valid[c]
    for c in range(c0, c1):
        enter = c + half
        leave = c - half - 1
        if enter < last:
            a += high[enter - first]
            b += low[enter - first]
            n += valid[enter - first]
        if leave >= first:
            a -= high[leave - first]
            b -= low[leave - first]
            n -= valid[leave - first]
        out[r, c] = 2 * a > n or 2 * b > n


def window_flags(values: NDArray[np.float32], half: int, limit: float) -> NDArray[np.bool_]:
    """Pixels around which the median of a window is beyond a limit.

    The median of a window is above a limit where more than half of its values are, so no median is
    computed. In most of a frame few values are beyond the limit: they are counted in spans of columns, and
    only where a window could have enough of them also for each window.

    Parameters
    ----------
    values : ndarray of float32, shape (R, C)
        NaN where there is no value.
    half : int
        A window reaches so far to each side, cut off at the array's edges.
    limit : float
        The median is above `limit` or below ``-limit``.

    Returns
    -------
    ndarray of bool, shape (R, C)
    """
    out = np.zeros(values.shape, dtype=np.bool_)
    # Values beyond the limit and missing ones, by rows and spans; and sums of them over the rows of a window.
    spans = -(-values.shape[1] // _SPAN)
    counted = np.empty((values.shape[0], 2, spans), dtype=np.int32)
    near = np.zeros((2, spans), dtype=np.int32)
    counts = np.empty((3, _SPAN + 2 * half), dtype=np.int16)
    _window_flags(values, half, limit, counted, near, counts, out)
    return out


@helper
def _add_counts(near, counted, sign):
    for s in range(near.shape[1]):
        near[0, s] += sign * counted[0, s]
        near[1, s] += sign * counted[1, s]


@kernel
def _window_flags(values, half, limit, counted, near, counts, out):
    """Set the flags of `window_flags`, which has made the arrays."""
    n_rows, n_columns = values.shape
    limit = np.float32(limit)
    spans = near.shape[1]
    for r in range(n_rows):
        for s in range(spans):
            line = values[r, s * _SPAN : (s + 1) * _SPAN]
            n_beyond = np.int32(0)
            n_missing = np.int32(0)
            for c in range(line.shape[0]):
                n_beyond += np.int32(1) if abs(line[c]) > limit else np.int32(0)
                n_missing += np.int32(1) if line[c] != line[c] else np.int32(0)
            counted[r, 0, s] = n_beyond
            counted[r, 1, s] = n_missing
    # Not a literal, for each of which the function would be compiled once more.
    one = np.int64(1)
    for r in range(min(half, n_rows)):
        _add_counts(near, counted[r], one)
    for r in range(n_rows):
        if r + half < n_rows:
            _add_counts(near, counted[r + half], one)
        if r - half - 1 >= 0:
            _add_counts(near, counted[r - half - 1], -one)
        rows = min(n_rows - 1, r + half) - max(0, r - half) + 1
        for s in range(spans):
            c0 = s * _SPAN
            c1 = min(c0 + _SPAN, n_columns)
            beyond = 0
            missing = 0
            for i in range(max(0, c0 - half) // _SPAN, (min(n_columns, c1 + half) - 1) // _SPAN + 1):
                beyond += near[0, i]
                missing += near[1, i]
            narrowest = 2 * half + 1 if c0 >= half and c1 + half <= n_columns else min(half + 1, n_columns)
            # No window of these columns can have more than half of its values beyond a limit.
            if 2 * beyond > rows * narrowest - missing:
                _flag_span(values, r, half, limit, c0, c1, counts, out)
