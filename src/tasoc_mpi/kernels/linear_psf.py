"""Fluxes of stars at known positions, by weighted linear least squares in every frame.

The stars move little, so that the image of one is a Taylor series in its shift (dy, dx): images for the ten
products of powers up to the third, made once, and summed with the powers of the shift in every frame. Between
two knots a cubic spline is its series.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .spline_prf import HALF, KNOTS, SIDE

__all__ = [
    "CHUNK",
    "TERMS",
    "dot",
    "evaluate_series",
    "multiply",
    "read_frames",
    "series_of_stars",
    "solve_frames",
    "solve_positive",
    "spline_derivatives",
]

#: Products of powers in a series.
TERMS = 10
#: Terms below this share of an image's largest value are left out.
NEGLIGIBLE = 1e-6
#: Frames whose pixels are read at once: a few runs of bytes of each pixel's time series.
CHUNK = 32


@numba.njit(cache=True)
def spline_derivatives(s, out):
    """First knot of four, and their weights in the value and three derivatives (by pixels), shape (4, 4)."""
    below = math.floor(s)
    f = s - below
    g = 1.0 - f
    out[0, 0] = g * g * g / 6.0
    out[0, 1] = (3.0 * f * f * f - 6.0 * f * f + 4.0) / 6.0
    out[0, 2] = (3.0 * g * g * g - 6.0 * g * g + 4.0) / 6.0
    out[0, 3] = f * f * f / 6.0
    out[1, 0] = -0.5 * g * g
    out[1, 1] = 1.5 * f * f - 2.0 * f
    out[1, 2] = -1.5 * g * g + 2.0 * g
    out[1, 3] = 0.5 * f * f
    out[2, 0] = g
    out[2, 1] = 3.0 * f - 2.0
    out[2, 2] = 3.0 * g - 2.0
    out[2, 3] = f
    out[3, 0] = -1.0
    out[3, 1] = 3.0
    out[3, 2] = -3.0
    out[3, 3] = 1.0
    for m in range(1, 4):
        for k in range(4):
            out[m, k] *= float(KNOTS) ** m
    return int(below) - 1 + HALF


@numba.njit(cache=True, fastmath=True)
def _add_series(coefficients, y, x, flux, height, width, out):
    """Add the series of one star to `out`, shape (E, TERMS, height * width)."""
    wy = np.empty((4, 4))
    wx = np.empty((4, 4))
    lines = np.empty((4, SIDE))
    first_i = spline_derivatives(-KNOTS * y, wy)
    first_j = spline_derivatives(-KNOTS * x, wx)
    factorial = (1.0, 1.0, 2.0, 6.0)
    for e in range(coefficients.shape[0]):
        for r in range(height):
            i = first_i + KNOTS * r
            if i <= -4 or i >= SIDE:
                continue
            lines[:] = 0.0
            for m in range(4):
                for k in range(max(0, -i), min(4, SIDE - i)):
                    for q in range(SIDE):
                        lines[m, q] += wy[m, k] * coefficients[e, i + k, q]
            for c in range(width):
                j = first_j + KNOTS * c
                if j <= -4 or j >= SIDE:
                    continue
                term = 0
                for m in range(4):
                    for n in range(4 - m):
                        value = 0.0
                        for k in range(max(0, -j), min(4, SIDE - j)):
                            value += wx[n, k] * lines[m, j + k]
                        # The star moves by d, its image's argument by -d.
                        sign = -1.0 if (m + n) % 2 else 1.0
                        factor = flux * sign / (factorial[m] * factorial[n])
                        out[e, term, r * width + c] += factor * value
                        term += 1


@numba.njit(cache=True)
def series_of_stars(coefficients, rows, columns, fluxes, height, width, together):
    """Series of the images of stars.

    Parameters
    ----------
    coefficients : ndarray, shape (E, S, S)
        Of the response at each epoch; see `kernels.spline_prf`.
    rows, columns : ndarray, shape (K,)
        Mean places in the region.
    fluxes : ndarray, shape (K,)
    height, width : int
        Of the region.
    together : bool
        Give the sum over the stars.

    Returns
    -------
    ndarray, shape (K, E, TERMS, height * width)
        Terms in the order 1, dx, dx^2, dx^3, dy, dy dx, ... of the shift from the mean places; K is 1 for the
        sum.
    """
    n = rows.shape[0]
    out = np.zeros((1 if together else n, coefficients.shape[0], TERMS, height * width))
    for k in range(n):
        _add_series(coefficients, rows[k], columns[k], fluxes[k], height, width, out[0 if together else k])
    return out


@numba.njit(cache=True, fastmath=True)
def evaluate_series(series, weights, dy, dx, out):
    """Image of a series at a shift, at a blend of epochs."""
    out[:] = 0.0
    for e in range(series.shape[0]):
        if weights[e] == 0.0:
            continue
        term = 0
        power_y = weights[e]
        for m in range(4):
            power = power_y
            for _ in range(4 - m):
                line = series[e, term]
                for p in range(out.shape[0]):
                    out[p] += power * line[p]
                power *= dx
                term += 1
            power_y *= dy


@numba.njit(cache=True)
def _term_sizes(series):
    """Largest absolute value of each term over that of the image itself, shape (E, TERMS)."""
    sizes = np.zeros(series.shape[:2])
    for e in range(series.shape[0]):
        for term in range(series.shape[1]):
            sizes[e, term] = np.abs(series[e, term]).max()
    peak = sizes[0, 0]
    return sizes / peak if peak > 0.0 else sizes


@numba.njit(cache=True, fastmath=True)
def _evaluate_large_terms(series, sizes, weights, dy, dx, out):
    """As `evaluate_series`, without the terms that are `NEGLIGIBLE` by `_term_sizes`."""
    out[:] = 0.0
    for e in range(series.shape[0]):
        if weights[e] == 0.0:
            continue
        term = 0
        power_y = weights[e]
        for m in range(4):
            power = power_y
            for _ in range(4 - m):
                if abs(power) * sizes[e, term] > NEGLIGIBLE:
                    line = series[e, term]
                    for p in range(out.shape[0]):
                        out[p] += power * line[p]
                power *= dx
                term += 1
            power_y *= dy


@numba.njit(cache=True, fastmath=True)
def solve_positive(matrix, vector, n):
    """Solve in place by Cholesky's method; the first element of the inverse, or -1 without a solution."""
    for i in range(n):
        scale = matrix[i, i]
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not value > 1e-10 * scale:
                    return -1.0
                matrix[i, i] = math.sqrt(value)
            else:
                matrix[i, j] = value / matrix[j, j]
    # The first column of the inverse of the factor gives the first variance.
    variance = 0.0
    column = np.zeros(n)
    for i in range(n):
        value = 1.0 if i == 0 else 0.0
        for k in range(i):
            value -= matrix[i, k] * column[k]
        column[i] = value / matrix[i, i]
        variance += column[i] ** 2
        value = vector[i]
        for k in range(i):
            value -= matrix[i, k] * vector[k]
        vector[i] = value / matrix[i, i]
    for i in range(n - 1, -1, -1):
        value = vector[i]
        for k in range(i + 1, n):
            value -= matrix[k, i] * vector[k]
        vector[i] = value / matrix[i, i]
    return variance


@numba.njit(cache=True)
def solve_frames(
    images, errors, used, series, fixed, weights, shifts, gradients, offsets, prior, precision, least
):
    """Fluxes and a background in every frame.

    Parameters
    ----------
    images, errors : ndarray of float32, shape (R, C, T)
        Flux and its one-sigma error; a pixel that is not finite, or whose error is not positive, has no
        weight.
    used : ndarray of bool, shape (R, C)
        Pixels that are fitted.
    series : ndarray, shape (K, E, TERMS, R * C)
        Of the stars to be fitted, the target first; see `series_of_stars`.
    fixed : ndarray, shape (E, TERMS, R * C)
        Of the light that is subtracted.
    weights : ndarray, shape (T, E)
        Of the epochs.
    shifts : ndarray, shape (T, 2)
        Change of the target's (row, column) from its mean place; a frame with a NaN has no solution.
    gradients : ndarray, shape (T, 2, 2)
        Its change by a pixel in row (first of the last axis) and in column.
    offsets : ndarray, shape (K, 2)
        (row, column) of the stars less the target's.
    prior, precision : ndarray, shape (K,)
        Flux that is expected of each star and its inverse variance; 0 for none.
    least : float
        Share of the target's weight that has to lie on usable pixels, else the frame has no solution.

    Returns
    -------
    results : ndarray, shape (T, 4)
        Flux of the target, its error, background a pixel, and chi-square by degree of freedom. NaN without a
        solution.
    fluxes : ndarray, shape (T, K)
    residual : ndarray, shape (R, C)
        Mean over the frames with a solution of data less model.
    """
    n_rows, n_columns, n_time = images.shape
    n_pixels = n_rows * n_columns
    n_stars = series.shape[0]
    results = np.full((n_time, 4), math.nan)
    fluxes = np.full((n_time, n_stars), math.nan)
    residual = np.zeros(n_pixels)
    solved = 0
    design = np.ones((n_stars + 1, n_pixels))
    faint = np.empty(n_pixels)
    fixed_sizes = _term_sizes(fixed)
    sizes = np.empty((n_stars, series.shape[1], series.shape[2]))
    for k in range(n_stars):
        sizes[k] = _term_sizes(series[k])
    data = np.empty((CHUNK, n_pixels))
    weight = np.empty((CHUNK, n_pixels))
    for frame in range(n_time):
        t = frame % CHUNK
        if t == 0:
            read_frames(images, errors, used, frame, data, weight)
        dy, dx = shifts[frame]
        if not (math.isfinite(dy) and math.isfinite(dx)):
            continue
        g = gradients[frame]
        for k in range(n_stars):
            a, b = offsets[k]
            own_y = dy + g[0, 0] * a + g[0, 1] * b
            own_x = dx + g[1, 0] * a + g[1, 1] * b
            _evaluate_large_terms(series[k], sizes[k], weights[frame], own_y, own_x, design[k])
        _evaluate_large_terms(fixed, fixed_sizes, weights[frame], dy, dx, faint)
        for p in range(n_pixels):
            data[t, p] -= faint[p]
        if _solve_frame(
            design, data[t], weight[t], prior, precision, least, results[frame], fluxes[frame], residual
        ):
            solved += 1
    if solved > 0:
        residual /= solved
    return results, fluxes, residual.reshape(n_rows, n_columns)


@numba.njit(cache=True)
def read_frames(images, errors, used, start, data, weight):
    """Pixels of some frames and their weights, of shape (`CHUNK`, R * C): those of a frame lie together."""
    n_rows, n_columns, n_time = images.shape
    size = min(CHUNK, n_time - start)
    for p in range(n_rows * n_columns):
        r = p // n_columns
        c = p - r * n_columns
        for t in range(size):
            value = np.float64(images[r, c, start + t])
            error = np.float64(errors[r, c, start + t])
            good = used[r, c] and math.isfinite(value) and error > 0.0 and math.isfinite(error)
            data[t, p] = value if good else 0.0
            weight[t, p] = 1.0 / (error * error) if good else 0.0


@numba.njit(cache=True)
def _solve_frame(design, y, w, prior, precision, least, result, fluxes, residual):
    """Solve one frame; False, with nothing written, if it has no solution."""
    n, n_pixels = design.shape
    usable = 0.0
    whole = 0.0
    count = 0
    for p in range(n_pixels):
        share = design[0, p] * design[0, p]
        whole += share
        if w[p] > 0.0:
            usable += share
            count += 1
    if not usable >= least * whole or count <= n:
        return False
    matrix = np.empty((n, n))
    vector = np.empty(n)
    weighted = np.empty(n_pixels)
    for i in range(n):
        multiply(design[i], w, weighted)
        vector[i] = dot(weighted, y)
        for j in range(i + 1):
            matrix[i, j] = dot(weighted, design[j])
    for k in range(n - 1):
        matrix[k, k] += precision[k]
        vector[k] += precision[k] * prior[k]
    variance = solve_positive(matrix, vector, n)
    if not variance > 0.0:
        return False
    chi_square = 0.0
    for p in range(n_pixels):
        left = y[p]
        for i in range(n):
            left -= vector[i] * design[i, p]
        if w[p] > 0.0:
            chi_square += w[p] * left * left
            residual[p] += left
    result[0] = vector[0]
    result[1] = math.sqrt(variance)
    result[2] = vector[n - 1]
    result[3] = chi_square / (count - n)
    fluxes[:] = vector[: n - 1]
    return True


@numba.njit(cache=True, fastmath=True)
def multiply(a, b, out):
    """The product of two vectors, element by element."""
    for p in range(out.shape[0]):
        out[p] = a[p] * b[p]


@numba.njit(cache=True, fastmath=True)
def dot(a, b):
    """The scalar product of two vectors."""
    value = 0.0
    for p in range(a.shape[0]):
        value += a[p] * b[p]
    return value
