"""Rows of a cube while it is made: transposition, background subtraction, flags, sums over time.

Arrays of pixels are (rows, columns, times); inner loops run over time, which is contiguous.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .background import _node, _place, _reflect, _spline

__all__ = ["column_flags", "means", "scatter", "subtract", "time_medians", "window_medians"]


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
    for r in range(images.shape[0]):
        i0, fy = _place(r + row0, box)
        wy = _spline(fy)
        lines[:] = 0.0
        for i in range(4):
            ii = _reflect(i0 + i, mesh.shape[0])
            for j in range(n):
                for t in range(n_time):
                    lines[j, t] += wy[i] * mesh[ii, j, t]
        dy = r + row0 + origin[0] - centre[0]
        for c in range(images.shape[1]):
            j0, fx = _place(c, box)
            wx = _spline(fx)
            model[:] = 0.0
            for j in range(4):
                jj = _reflect(j0 + j, n)
                for t in range(n_time):
                    model[t] += wx[j] * lines[jj, t]
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


@numba.njit(cache=True)
def window_medians(image, rows, columns, half):
    """Median in a window on a grid of places.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        NaN where there is no value.
    rows, columns : ndarray of int64
        Places of the grid.
    half : int
        A window reaches so far to each side, cut off at the array's edges.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        NaN where a window has no value.
    """
    out = np.empty((rows.shape[0], columns.shape[0]), dtype=np.float32)
    values = np.empty((2 * half + 1) ** 2, dtype=np.float32)
    for i in range(rows.shape[0]):
        for j in range(columns.shape[0]):
            n = 0
            for r in range(max(0, rows[i] - half), min(image.shape[0], rows[i] + half + 1)):
                for c in range(max(0, columns[j] - half), min(image.shape[1], columns[j] + half + 1)):
                    v = image[r, c]
                    if math.isfinite(v):
                        values[n] = v
                        n += 1
            out[i, j] = _median(values, n)
    return out


@numba.njit(cache=True, inline="always")
def _count_row(images, level, r, t0, t1, limit, sign, high, low, valid):
    """Add (sign 1) or take away (-1) a row's pixels beyond the limits in the columns' counts."""
    for c in range(images.shape[1]):
        base = level[r, c]
        for t in range(t0, t1):
            d = images[r, c, t] - base
            high[c, t - t0] += sign if d > limit else 0
            low[c, t - t0] += sign if d < -limit else 0
            valid[c, t - t0] += sign if d == d else 0


@numba.njit(cache=True)
def column_flags(images, level, flags, first, last, half, limit, bit):
    """Flag pixels around which the median of a window is more than a limit from its level.

    The median of a window is above a limit where more than half of its values are: counting them with
    running sums costs the same for every window size, and no median is computed.

    Parameters
    ----------
    images : ndarray of float32, shape (R, C, T)
        NaN where there is no value.
    level : ndarray of float32, shape (R, C)
        What a pixel's values are compared to.
    flags : ndarray of uint8, shape (R, C, T)
        `bit` is set in rows `first` to `last` (half open).
    first, last : int
    half : int
        A window reaches so far to each side, cut off at the arrays' edges.
    limit : float
    bit : int
    """
    n_rows, n_columns, n_time = images.shape
    tile = min(256, n_time)
    high = np.empty((n_columns, tile), dtype=np.int16)
    low = np.empty((n_columns, tile), dtype=np.int16)
    valid = np.empty((n_columns, tile), dtype=np.int16)
    a = np.empty(tile, dtype=np.int16)
    b = np.empty(tile, dtype=np.int16)
    n = np.empty(tile, dtype=np.int16)
    for t0 in range(0, n_time, tile):
        t1 = min(t0 + tile, n_time)
        width = t1 - t0
        high[:] = 0
        low[:] = 0
        valid[:] = 0
        for r in range(max(0, first - half), min(n_rows, first + half)):
            _count_row(images, level, r, t0, t1, limit, 1, high, low, valid)
        for r in range(first, last):
            if r + half < n_rows:
                _count_row(images, level, r + half, t0, t1, limit, 1, high, low, valid)
            if r - half - 1 >= max(0, first - half):
                _count_row(images, level, r - half - 1, t0, t1, limit, -1, high, low, valid)
            a[:] = 0
            b[:] = 0
            n[:] = 0
            for c in range(min(half, n_columns)):
                for t in range(width):
                    a[t] += high[c, t]
                    b[t] += low[c, t]
                    n[t] += valid[c, t]
            for c in range(n_columns):
                enter = c + half
                leave = c - half - 1
                if enter < n_columns:
                    for t in range(width):
                        a[t] += high[enter, t]
                        b[t] += low[enter, t]
                        n[t] += valid[enter, t]
                if leave >= 0:
                    for t in range(width):
                        a[t] -= high[leave, t]
                        b[t] -= low[leave, t]
                        n[t] -= valid[leave, t]
                for t in range(width):
                    if 2 * a[t] > n[t] or 2 * b[t] > n[t]:
                        flags[r, c, t0 + t] |= np.uint8(bit)
