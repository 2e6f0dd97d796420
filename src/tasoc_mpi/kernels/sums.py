"""Sums of pixels over a mask, in every frame: straight from a (mapped) cube, or from frames in memory.

A cube has the time series of a pixel in one run of bytes, frames have the pixels of an image.
"""

from __future__ import annotations

import math

import numpy as np

from .filled import filled
from .jit import kernel

__all__ = ["flagged_frames", "mean_frame", "sum_frames", "sum_pixels"]


@kernel
def sum_pixels(images, errors, rows, columns):
    """Flux, its error and the centroid of a mask in every frame.

    A frame in which a pixel of the mask is not finite has no flux; nor has one in which all are zero.

    Parameters
    ----------
    images, errors : ndarray of float32, shape (R, C, T)
        Flux and its one-sigma error.
    rows, columns : ndarray of int64, shape (P,)
        The mask's pixels as indices of the arrays.

    Returns
    -------
    ndarray of float64, shape (4, T)
        Flux; its error (root of the sum of squares); flux-weighted mean column and row of the
        positive pixels, as indices of the arrays. NaN where there is none.
    """
    n_time = images.shape[2]
    out = np.empty((4, n_time))
    flux, variance, column_sum, row_sum = out[0], out[1], out[2], out[3]
    weight = np.empty(n_time)
    empty = np.empty(n_time, dtype=np.bool_)
    for t in range(n_time):
        flux[t] = variance[t] = column_sum[t] = row_sum[t] = weight[t] = 0.0
        empty[t] = True
    for k in range(rows.shape[0]):
        r = rows[k]
        c = columns[k]
        line = images[r, c]
        line_error = errors[r, c]
        for t in range(n_time):
            value = np.float64(line[t])
            error = np.float64(line_error[t])
            positive = value if value > 0.0 else 0.0
            flux[t] += value
            variance[t] += error * error
            weight[t] += positive
            column_sum[t] += c * positive
            row_sum[t] += r * positive
            empty[t] &= value == 0.0
    for t in range(n_time):
        if empty[t] or not math.isfinite(flux[t]):
            flux[t] = math.nan
            variance[t] = math.nan
            column_sum[t] = math.nan
            row_sum[t] = math.nan
            continue
        variance[t] = math.sqrt(variance[t])
        if weight[t] > 0.0:
            column_sum[t] /= weight[t]
            row_sum[t] /= weight[t]
        else:
            column_sum[t] = math.nan
            row_sum[t] = math.nan
    return out


@kernel
def sum_frames(images, errors, backgrounds, rows, columns):
    """As `sum_pixels`, of frames; and the sum of the backgrounds.

    Parameters
    ----------
    images, errors, backgrounds : ndarray of float32, shape (T, R, C), C-contiguous
    rows, columns : ndarray of int64, shape (P,)
        The mask's pixels as indices of the arrays.

    Returns
    -------
    ndarray of float64, shape (5, T)
        As `sum_pixels`, and the background.
    """
    out = np.empty((5, images.shape[0]))
    for t in range(images.shape[0]):
        flux = variance = weight = column_sum = row_sum = background = 0.0
        empty = True
        for k in range(rows.size):
            row, column = rows[k], columns[k]
            value = np.float64(images[t, row, column])
            error = np.float64(errors[t, row, column])
            positive = value if value > 0.0 else 0.0
            flux += value
            variance += error * error
            weight += positive
            column_sum += column * positive
            row_sum += row * positive
            background += np.float64(backgrounds[t, row, column])
            empty &= value == 0.0
        known = not empty and math.isfinite(flux)
        out[0, t] = flux if known else math.nan
        out[1, t] = math.sqrt(variance) if known else math.nan
        out[2, t] = column_sum / weight if known and weight > 0.0 else math.nan
        out[3, t] = row_sum / weight if known and weight > 0.0 else math.nan
        out[4, t] = background
    return out


@kernel
def flagged_frames(flags, row_min, row_max, col_min, col_max, bit, never):
    """Frames in which any pixel of a stamp has a flag.

    Parameters
    ----------
    flags : ndarray of uint8, shape (R, C, T)
    row_min, row_max, col_min, col_max : int
        The stamp as indices of the array, half open.
    bit : int
        The flag.
    never : ndarray of bool, shape (R, C)
        Pixels that have it in no frame, as far as known: they are not read again. Changed.

    Returns
    -------
    ndarray of bool, shape (T,)
    """
    n_time = flags.shape[2]
    seen = np.empty(n_time, dtype=np.bool_)
    for t in range(n_time):
        seen[t] = False
    flag = np.uint8(bit)
    for r in range(row_min, row_max):
        for c in range(col_min, col_max):
            if never[r, c]:
                continue
            line = flags[r, c]
            any_flag = np.uint8(0)
            for t in range(n_time):
                any_flag |= line[t]
            never[r, c] = any_flag & flag == 0
            if not never[r, c]:
                for t in range(n_time):
                    seen[t] |= line[t] & flag != 0
    return seen


@kernel
def mean_frame(frames, used):
    """Mean over frames of the pixels that are finite, NaN where there are none.

    Parameters
    ----------
    frames : ndarray of float32, shape (T, P), C-contiguous
        The pixels of each frame.
    used : ndarray of bool, shape (T,)
        The frames.

    Returns
    -------
    ndarray of float32, shape (P,)
    """
    total, count = filled(frames.shape[1], 0.0), filled(frames.shape[1], 0.0)
    for t in range(frames.shape[0]):
        if used[t]:
            line = frames[t]
            for p in range(line.size):
                # A difference of 0: finite. It is computed for some pixels at once.
                finite = line[p] - line[p] == np.float32(0.0)
                total[p] += np.float64(line[p]) if finite else 0.0
                count[p] += 1.0 if finite else 0.0
    out = np.empty(total.size, dtype=np.float32)
    for p in range(out.size):
        out[p] = total[p] / count[p] if count[p] > 0.0 else math.nan
    return out
