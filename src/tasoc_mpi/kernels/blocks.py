"""Rows of a cube while it is made: transposition, background subtraction, flags, sums over time.

Arrays of pixels are (rows, columns, times); inner loops run over time, which is contiguous.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .background import _axis_weights, _node

__all__ = ["means", "scatter", "subtract", "time_medians", "window_flags"]


@numba.njit(cache=True)
def scatter(frames, out, first):
    """Put frames at their place in time.

    Parameters
    ----------
    frames : ndarray of float32, shape (K, R, C)
    out : ndarray of float32, shape (R, C, T)
        Times ``first`` to ``first + K`` are written.
    first : int
    """
    for r in range(frames.shape[1]):
        for c in range(frames.shape[2]):
            for k in range(frames.shape[0]):
                out[r, c, first + k] = frames[k, r, c]


@numba.njit(cache=True)
def subtract(
    images, flags, backgrounds, excluded, cutoff, row0, origin, centre, box, mesh, radial, first, step
):
    """Flag the pixels that do not show the sky, and take the background out of all.

    Parameters
    ----------
    images : ndarray of float32, shape (R, C, T)
        e-/s. Replaced by images less background; NaN where left out by hand.
    flags : ndarray of uint8, shape (R, C, T)
        Set: 1 where not finite, negative, above `cutoff` or left out by hand; 2 where left out by hand.
    backgrounds : ndarray of float32, shape (R, C, T)
        Set to the background, unless it is of size zero.
    excluded : ndarray of int32, shape (T,)
        First column left out by hand.
    cutoff : float
        e-/s.
    row0 : int
        Row of the cube of ``images[0]``.
    origin, centre, box, mesh, radial, first, step
        As in `kernels.background.model_frame`, with a last axis of time: mesh (M, N, T), radial (K, T).
    """
    n_time = images.shape[2]
    n = mesh.shape[1]
    lines = np.empty((n, n_time))
    model = np.empty(n_time)
    wy = np.empty(4)
    wx = np.empty(4)
    for r in range(images.shape[0]):
        i0 = _axis_weights(r + row0, box, mesh.shape[0], wy)
        lines[:] = 0.0
        for i in range(min(4, mesh.shape[0])):
            for j in range(n):
                for t in range(n_time):
                    lines[j, t] += wy[i] * mesh[i0 + i, j, t]
        dy = r + row0 + origin[0] - centre[0]
        for c in range(images.shape[1]):
            j0 = _axis_weights(c, box, n, wx)
            model[:] = 0.0
            for j in range(min(4, n)):
                for t in range(n_time):
                    model[t] += wx[j] * lines[j0 + j, t]
            if radial.shape[0] >= 2:
                dx = c + origin[1] - centre[1]
                node, f = _node(math.sqrt(dx * dx + dy * dy), first, step, radial.shape[0])
                if node >= 0:
                    for t in range(n_time):
                        model[t] += (1.0 - f) * radial[node, t] + f * radial[node + 1, t]
            if backgrounds.size:
                for t in range(n_time):
                    backgrounds[r, c, t] = model[t]
            for t in range(n_time):
                v = images[r, c, t]
                if c >= excluded[t]:
                    flags[r, c, t] = 3
                    images[r, c, t] = np.nan
                else:
                    flags[r, c, t] = 0 if v >= 0.0 and v <= cutoff else 1
                    images[r, c, t] = v - model[t]


@numba.njit(cache=True)
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


@numba.njit(cache=True)
def _median(values, n):
    """Median of the first n values, whose order is changed."""
    if n == 0:
        return np.nan
    k = n // 2
    low = 0
    high = n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i = low
        j = high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    if n % 2:
        return values[k]
    below = values[0]
    for i in range(1, k):
        below = max(below, values[i])
    return 0.5 * (below + values[k])


@numba.njit(cache=True)
def time_medians(images, level, sample):
    """Median over some frames of images less a level.

    Parameters
    ----------
    images : ndarray of float32, shape (R, C, T)
        NaN where there is no value.
    level : ndarray of float32, shape (R, C)
    sample : ndarray of int64, shape (S,)
        Frames.

    Returns
    -------
    ndarray of float32, shape (R, C)
        NaN where there is no value in any of the frames.
    """
    out = np.empty(level.shape, dtype=np.float32)
    values = np.empty(sample.shape[0], dtype=np.float32)
    for r in range(level.shape[0]):
        for c in range(level.shape[1]):
            n = 0
            for t in sample:
                v = images[r, c, t] - level[r, c]
                if math.isfinite(v):
                    values[n] = v
                    n += 1
            out[r, c] = _median(values, n)
    return out


@numba.njit(cache=True, inline="always")
def _count_row(values, r, limit, sign, high, low, valid):
    """Add (sign 1) or take away (-1) a row's pixels beyond the limits in the columns' counts."""
    for c in range(values.shape[1]):
        d = values[r, c]
        high[c] += sign if d > limit else 0
        low[c] += sign if d < -limit else 0
        valid[c] += sign if d == d else 0


@numba.njit(cache=True)
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
        beyond = 0
        for c in range(n_columns):
            beyond += high[c] + low[c]
        if beyond == 0:
            continue
        a = 0
        b = 0
        n = 0
        for c in range(min(half, n_columns)):
            a += high[c]
            b += low[c]
            n += valid[c]
        for c in range(n_columns):
            enter = c + half
            leave = c - half - 1
            if enter < n_columns:
                a += high[enter]
                b += low[enter]
                n += valid[enter]
            if leave >= 0:
                a -= high[leave]
                b -= low[leave]
                n -= valid[leave]
            out[r, c] = 2 * a > n or 2 * b > n
    return out
