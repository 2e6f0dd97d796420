"""Sums of a cube's pixels over a mask, in every frame, straight from the (mapped) cube."""

from __future__ import annotations

import math

import numpy as np

from .jit import kernel

__all__ = ["flagged_frames", "mean_image", "sum_lines", "sum_pixels"]


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
    out = np.zeros((4, n_time))
    flux, variance, column_sum, row_sum = out[0], out[1], out[2], out[3]
    weight = np.zeros(n_time)
    empty = np.ones(n_time, dtype=np.bool_)
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
def sum_lines(images, rows, columns):
    """Sum of some pixels in every frame.

    Parameters
    ----------
    images : ndarray of float32, shape (R, C, T)
    rows, columns : ndarray of int64, shape (P,)
        The pixels, at least one.

    Returns
    -------
    ndarray of float64, shape (T,)
    """
    out = images[rows[0], columns[0]].astype(np.float64)
    for k in range(1, rows.shape[0]):
        line = images[rows[k], columns[k]]
        for t in range(out.size):
            out[t] += line[t]
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
    seen = np.zeros(n_time, dtype=np.uint8)
    for r in range(row_min, row_max):
        for c in range(col_min, col_max):
            if never[r, c]:
                continue
            line = flags[r, c]
            any_flag = np.uint8(0)
            for t in range(n_time):
                any_flag |= line[t]
            never[r, c] = any_flag & np.uint8(bit) == 0
            if not never[r, c]:
                for t in range(n_time):
                    seen[t] |= line[t]
    return (seen & np.uint8(bit)) != 0


@kernel
def mean_image(images, used):
    """Mean over frames of the pixels that are finite, NaN where there are none.

    Parameters
    ----------
    images : ndarray of float32, shape (R, C, T)
    used : ndarray of bool, shape (T,)
        The frames.

    Returns
    -------
    ndarray of float32, shape (R, C)
    """
    n_rows, n_columns, n_time = images.shape
    out = np.empty((n_rows, n_columns), dtype=np.float32)
    for r in range(n_rows):
        for c in range(n_columns):
            line = images[r, c]
            total = 0.0
            count = 0
            for t in range(n_time):
                if used[t] and math.isfinite(line[t]):
                    total += np.float64(line[t])
                    count += 1
            out[r, c] = total / count if count > 0 else math.nan
    return out
