"""Rows of a cube while it is made: transposition, flags, sums over time.

Arrays of pixels are (rows, columns, times), and inner loops run over time, which is contiguous; or they are
(times, rows, columns), as frames come, and inner loops run over columns.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel

__all__ = [
    "frame_medians",
    "means",
    "scatter",
    "sorting_network",
    "window_flags",
]

#: Columns that are put in their place at once: 16 float32 are one line of the processor's cache.
_TILE = 16
#: Columns that are sorted at once: 32 frames of them fill half of the processor's nearest cache.
_LANES = 128
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
def means(images, flags, good):
    """Mean over the good frames, and how often a pixel was used for the background.

    Parameters
    ----------
    images : ndarray of float32, shape (R, C, T)
    flags : ndarray of uint8, shape (R, C, T)
    good : ndarray of bool, shape (T,)

    Returns
    -------
    mean : ndarray of float32, shape (R, C)
        Without NaN frames; NaN where there is nothing else.
    used : ndarray of int64, shape (R, C)
        Number of frames (good or not) without flag 1.
    """
    shape = images.shape[:2]
    mean = np.empty(shape, dtype=np.float32)
    used = np.empty(shape, dtype=np.int64)
    for r in range(shape[0]):
        for c in range(shape[1]):
            total = 0.0
            count = 0
            n = 0
            for t in range(images.shape[2]):
                v = images[r, c, t]
                if good[t] and math.isfinite(v):
                    total += v
                    count += 1
                n += 1 - (flags[r, c, t] & 1)
            mean[r, c] = total / count if count else np.nan
            used[r, c] = n
    return mean, used


def sorting_network(n):
    """Comparisons that sort n values in whatever order they are.

    Batcher's odd-even merge sort (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M).

    Parameters
    ----------
    n : int

    Returns
    -------
    ndarray of int64, shape (P, 2)
        Places i < j: the smaller value is to go to i, the larger to j.
    """
    pairs = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            d, q, r = q - p, q // 2, p
        p //= 2
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


@kernel
def frame_medians(frames, network, out):
    """Median over frames of every pixel.

    Parameters
    ----------
    frames : ndarray of float32, shape (K, R, C)
        Values that are not finite do not count.
    network : ndarray of int64, shape (P, 2)
        From `sorting_network`, for K values. The same comparisons for all pixels: many are made at once.
    out : ndarray of float32, shape (R, C)
        Set to the medians; NaN where there is no value in any of the frames.
    """
    n_frames, height, width = frames.shape
    lanes = np.empty((n_frames, _LANES), dtype=np.float32)
    counts = np.empty(_LANES, dtype=np.int64)
    infinite = np.float32(np.inf)
    for r in range(height):
        for c0 in range(0, width, _LANES):
            n = min(_LANES, width - c0)
            counts[:] = 0
            for k in range(n_frames):
                for c in range(n):
                    v = frames[k, r, c0 + c]
                    there = abs(v) < infinite
                    lanes[k, c] = v if there else infinite
                    counts[c] += 1 if there else 0
            for p in range(network.shape[0]):
                low = lanes[network[p, 0]]
                high = lanes[network[p, 1]]
                for c in range(n):
                    a = low[c]
                    b = high[c]
                    low[c] = a if a < b else b
                    high[c] = b if a < b else a
            for c in range(n):
                half = counts[c] // 2
                if counts[c] == 0:
                    out[r, c0 + c] = np.nan
                elif counts[c] % 2:
                    out[r, c0 + c] = lanes[half, c]
                else:
                    out[r, c0 + c] = np.float32(0.5) * (lanes[half - 1, c] + lanes[half, c])


@helper
def _count_row(values, r, limit, sign, high, low, valid):
    """Add (sign 1) or take away (-1) a row's pixels beyond the limits in the columns' counts."""
    for c in range(values.shape[1]):
        d = values[r, c]
        high[c] += sign if d > limit else 0
        low[c] += sign if d < -limit else 0
        valid[c] += sign if d == d else 0


@kernel
def window_flags(values, half, limit):
    """Pixels around which the median of a window is beyond a limit.

    The median of a window is above a limit where more than half of its values are: counting them with
    running sums costs the same for every window size, and no median is computed.

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
    n_rows, n_columns = values.shape
    out = np.zeros(values.shape, dtype=np.bool_)
    high = np.zeros(n_columns, dtype=np.int16)
    low = np.zeros(n_columns, dtype=np.int16)
    valid = np.zeros(n_columns, dtype=np.int16)
    limit = np.float32(limit)
    for r in range(min(half, n_rows)):
        _count_row(values, r, limit, 1, high, low, valid)
    for r in range(n_rows):
        if r + half < n_rows:
            _count_row(values, r + half, limit, 1, high, low, valid)
        if r - half - 1 >= 0:
            _count_row(values, r - half - 1, limit, -1, high, low, valid)
        rows = min(n_rows - 1, r + half) - max(0, r - half) + 1
        for c0 in range(0, n_columns, _SPAN):
            c1 = min(c0 + _SPAN, n_columns)
            first = max(0, c0 - half)
            last = min(n_columns, c1 + half)
            beyond = 0
            there = 0
            for c in range(first, last):
                beyond += high[c] + low[c]
                there += valid[c]
            narrowest = 2 * half + 1 if last - first == c1 - c0 + 2 * half else min(half + 1, n_columns)
            # No window of these columns can have more than half of its values beyond a limit.
            missing = rows * (last - first) - there
            if 2 * beyond <= rows * narrowest - missing:
                continue
            a = 0
            b = 0
            n = 0
            for c in range(first, min(c0 + half, n_columns)):
                a += high[c]
                b += low[c]
                n += valid[c]
            for c in range(c0, c1):
                enter = c + half
                leave = c - half - 1
                if enter < n_columns:
                    a += high[enter]
                    b += low[enter]
                    n += valid[enter]
                if leave >= first:
                    a -= high[leave]
                    b -= low[leave]
                    n -= valid[leave]
                out[r, c] = 2 * a > n or 2 * b > n
    return out
