"""Fluxes of stars at known positions, by weighted linear least squares in every frame.

Some frames are solved at once: their index is the last one of all arrays, so that the innermost loops are
over frames and become vector instructions.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel
from .linear_psf import TERMS

__all__ = ["CHUNK", "read_frames", "solve_frames"]

#: Frames that are solved at once.
CHUNK = 64
#: Terms that change no pixel by more than this share of the image's largest value are left out.
NEGLIGIBLE = 1e-6


@kernel
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
        Of the stars to be fitted, the target first; see `linear_psf.series_of_stars`.
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
    # Pixels are taken by two; one that is added has no weight.
    n_pixels = n_rows * n_columns + n_rows * n_columns % 2
    n_stars = series.shape[0]
    # Fluxes, background, error of the first flux and chi-square.
    table = np.empty((n_stars + 3, n_time))
    residual = np.zeros(n_pixels)
    total = 0
    data, weight = np.empty((n_pixels, CHUNK)), np.empty((n_pixels, CHUNK))
    design = np.empty((n_stars + 1, n_pixels, CHUNK))
    design[n_stars] = 1.0
    faint = np.empty((n_pixels, CHUNK))
    factors = np.zeros((series.shape[1] * TERMS + 1, CHUNK))
    lines, sizes = _terms(series, fixed, n_pixels)
    solved = np.empty(CHUNK, dtype=np.bool_)
    for start in range(0, n_time, CHUNK):
        size = min(CHUNK, n_time - start)
        read_frames(images, errors, used, start, data, weight)
        for k in range(n_stars + 1):
            row, column = (offsets[k, 0], offsets[k, 1]) if k < n_stars else (0.0, 0.0)
            _powers(shifts, gradients, row, column, weights, start, size, factors)
            _draw(lines[k], sizes[k], factors, design[k] if k < n_stars else faint)
        for p in range(n_pixels):
            for t in range(CHUNK):
                data[p, t] -= faint[p, t]
        for t in range(CHUNK):
            there = t < size and math.isfinite(shifts[start + t, 0]) and math.isfinite(shifts[start + t, 1])
            solved[t] = there
        solution, left = _solve_chunk(design, data, weight, prior, precision, least, solved)
        for i in range(n_stars + 3):
            for t in range(size):
                table[i, start + t] = solution[i, t] if solved[t] else math.nan
        for t in range(size):
            if solved[t]:
                total += 1
                for p in range(n_pixels):
                    residual[p] += left[p, t]
    for p in range(n_pixels):
        residual[p] /= max(total, 1)
    results, fluxes = _by_frame(table)
    return results, fluxes, residual[: n_rows * n_columns].reshape(n_rows, n_columns)


@helper
def _by_frame(table):
    """Results and fluxes by frame, of the table that `solve_frames` makes, shape (K + 3, T)."""
    n_stars, n_time = table.shape[0] - 3, table.shape[1]
    results = np.empty((n_time, 4))
    fluxes = np.empty((n_time, n_stars))
    for t in range(n_time):
        results[t, 0] = table[0, t]
        results[t, 1] = table[n_stars + 1, t]
        results[t, 2] = table[n_stars, t]
        results[t, 3] = table[n_stars + 2, t]
        for k in range(n_stars):
            fluxes[t, k] = table[k, t]
    return results, fluxes


@helper(error_model="numpy")
def read_frames(images, errors, used, start, data, weight):
    """Pixels of some frames and their weights, of shape (R * C, `CHUNK`); 0 beyond the last ones."""
    n_rows, n_columns, n_time = images.shape
    size = min(CHUNK, n_time - start)
    data[:] = 0.0
    weight[:] = 0.0
    for p in range(n_rows * n_columns):
        r = p // n_columns
        c = p - r * n_columns
        if not used[r, c]:
            continue
        for t in range(size):
            value = np.float64(images[r, c, start + t])
            error = np.float64(errors[r, c, start + t])
            # Also false for NaN and for what is infinite.
            good = (abs(value) < math.inf) & (error > 0.0) & (error < math.inf)
            data[p, t] = value if good else 0.0
            weight[p, t] = 1.0 / (error * error) if good else 0.0


@helper
def _powers(shifts, gradients, row, column, weights, start, size, out):
    """Factors of a series' terms in some frames: products of powers of a star's shift, for each epoch."""
    dy = np.zeros(CHUNK)
    dx = np.zeros(CHUNK)
    for t in range(size):
        y, x = shifts[start + t, 0], shifts[start + t, 1]
        if math.isfinite(y) and math.isfinite(x):
            g = gradients[start + t]
            dy[t] = y + g[0, 0] * row + g[0, 1] * column
            dx[t] = x + g[1, 0] * row + g[1, 1] * column
    out[:] = 0.0
    for e in range(weights.shape[1]):
        for t in range(size):
            term = e * TERMS
            power_y = weights[start + t, e]
            for m in range(4):
                power = power_y
                for _ in range(4 - m):
                    out[term, t] = power
                    power *= dx[t]
                    term += 1
                power_y *= dy[t]


@helper
def _terms(series, fixed, n_pixels):
    """Terms of all series by pixel, those of `fixed` last, and their largest values over that of the image.

    Pixels are added up to `n_pixels`, and a term that is zero.
    """
    n_stars, n_epochs, _, size = series.shape
    lines = np.zeros((n_stars + 1, n_pixels, n_epochs * TERMS + 1))
    sizes = np.zeros((n_stars + 1, n_epochs * TERMS))
    for k in range(n_stars + 1):
        terms = series[k] if k < n_stars else fixed
        for e in range(n_epochs):
            for m in range(TERMS):
                i = e * TERMS + m
                for p in range(size):
                    lines[k, p, i] = terms[e, m, p]
                    sizes[k, i] = max(sizes[k, i], abs(terms[e, m, p]))
        largest = sizes[k, 0]
        if largest > 0.0:
            for i in range(sizes.shape[1]):
                sizes[k, i] /= largest
    return lines, sizes


@helper(fastmath=True)
def _draw(lines, sizes, factors, out):
    """Images of a series in some frames, without the terms that are `NEGLIGIBLE`."""
    n_terms = sizes.shape[0]
    chosen = np.empty(n_terms + 3, dtype=np.int64)
    count = 0
    for i in range(n_terms):
        largest = 0.0
        for t in range(CHUNK):
            largest = max(largest, abs(factors[i, t]))
        if largest * sizes[i] > NEGLIGIBLE:
            chosen[count] = i
            count += 1
    for i in range(count, count + 3):
        chosen[i] = n_terms
    # Two pixels and four terms at once: half of the time goes into reading and writing otherwise.
    for p in range(0, out.shape[0], 2):
        for t in range(CHUNK):
            out[p, t] = 0.0
            out[p + 1, t] = 0.0
        for n in range(0, count, 4):
            i, j, k, m = chosen[n], chosen[n + 1], chosen[n + 2], chosen[n + 3]
            a, b, c, d = lines[p, i], lines[p, j], lines[p, k], lines[p, m]
            e, f, g, h = lines[p + 1, i], lines[p + 1, j], lines[p + 1, k], lines[p + 1, m]
            for t in range(CHUNK):
                w, x, y, z = factors[i, t], factors[j, t], factors[k, t], factors[m, t]
                out[p, t] += a * w + b * x + c * y + d * z
                out[p + 1, t] += e * w + f * x + g * y + h * z


@helper
def _solve_chunk(design, data, weight, prior, precision, least, solved):
    """Solve some frames; `solved` becomes False for those without a solution.

    Returns fluxes, background, the error of the first flux and chi-square, shape (K + 3, `CHUNK`), and data
    less model, 0 in pixels without weight, shape (R * C, `CHUNK`).
    """
    n = design.shape[0]
    usable, whole, count = _usable(design[0], weight)
    matrix = np.zeros((n, n, CHUNK))
    solution = np.zeros((n + 2, CHUNK))
    _equations(design, data, weight, matrix, solution)
    scale, pivots = np.empty((n, CHUNK)), np.empty((n, CHUNK))
    for i in range(n):
        for t in range(CHUNK):
            if i < n - 1:
                matrix[i, i, t] += precision[i]
                solution[i, t] += precision[i] * prior[i]
            scale[i, t] = matrix[i, i, t]
    _solve_positive(matrix, solution, pivots)
    for t in range(CHUNK):
        if not (usable[t] >= least * whole[t] and count[t] > n):
            solved[t] = False
        for i in range(n):
            if not pivots[i, t] > 1e-10 * scale[i, t]:
                solved[t] = False
    left = np.empty(data.shape)
    _residuals(design, data, weight, solution, left)
    for t in range(CHUNK):
        if solved[t]:
            solution[n, t] = math.sqrt(solution[n, t])
            solution[n + 1, t] /= count[t] - n
    return solution, left


@helper(fastmath=True)
def _usable(profile, weight):
    """Weight of the target in pixels that can be used and in all, and the number of the former, by frame."""
    usable = np.zeros(CHUNK)
    whole = np.zeros(CHUNK)
    count = np.zeros(CHUNK)
    for p in range(profile.shape[0]):
        for t in range(CHUNK):
            share = profile[p, t] * profile[p, t]
            whole[t] += share
            usable[t] += share if weight[p, t] > 0.0 else 0.0
            count[t] += 1.0 if weight[p, t] > 0.0 else 0.0
    return usable, whole, count


@helper(fastmath=True)
def _equations(design, data, weight, matrix, vector):
    """Add pixels to the normal equations of each frame, of which `matrix` is the lower triangle."""
    n, n_pixels, _ = design.shape
    first, second = np.empty(CHUNK), np.empty(CHUNK)
    for p in range(0, n_pixels, 2):
        q = p + 1
        for i in range(n):
            for t in range(CHUNK):
                first[t] = design[i, p, t] * weight[p, t]
                second[t] = design[i, q, t] * weight[q, t]
                vector[i, t] += first[t] * data[p, t] + second[t] * data[q, t]
            for j in range(i + 1):
                for t in range(CHUNK):
                    matrix[i, j, t] += first[t] * design[j, p, t] + second[t] * design[j, q, t]


@helper(fastmath=True, error_model="numpy")
def _solve_positive(matrix, solution, pivots):
    """Solve each frame in place by Cholesky's method.

    `pivots` are the squares of the factor's diagonal, not positive where there is no solution. The row of
    `solution` behind the unknowns becomes the first element of the inverse.
    """
    n = matrix.shape[0]
    column = np.zeros((n, CHUNK))
    for i in range(n):
        for j in range(i + 1):
            for k in range(j):
                for t in range(CHUNK):
                    matrix[i, j, t] -= matrix[i, k, t] * matrix[j, k, t]
            for t in range(CHUNK):
                if i == j:
                    pivots[i, t] = matrix[i, i, t]
                    # The inverse of the diagonal is kept in its place.
                    matrix[i, i, t] = 1.0 / math.sqrt(max(pivots[i, t], 1e-300))
                else:
                    matrix[i, j, t] *= matrix[j, j, t]
    for i in range(n):
        # The first column of the inverse of the factor gives the first variance.
        for t in range(CHUNK):
            column[i, t] = 1.0 if i == 0 else 0.0
        for k in range(i):
            for t in range(CHUNK):
                column[i, t] -= matrix[i, k, t] * column[k, t]
                solution[i, t] -= matrix[i, k, t] * solution[k, t]
        for t in range(CHUNK):
            column[i, t] *= matrix[i, i, t]
            solution[i, t] *= matrix[i, i, t]
            solution[n, t] += column[i, t] * column[i, t]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            for t in range(CHUNK):
                solution[i, t] -= matrix[k, i, t] * solution[k, t]
        for t in range(CHUNK):
            solution[i, t] *= matrix[i, i, t]


@helper(fastmath=True)
def _residuals(design, data, weight, solution, left):
    """Data less model in the pixels with a weight, and chi-square, which is the last row of `solution`."""
    n, n_pixels, _ = design.shape
    for p in range(n_pixels):
        for t in range(CHUNK):
            left[p, t] = data[p, t]
        for i in range(n):
            for t in range(CHUNK):
                left[p, t] -= solution[i, t] * design[i, p, t]
        for t in range(CHUNK):
            left[p, t] = left[p, t] if weight[p, t] > 0.0 else 0.0
            solution[n + 1, t] += weight[p, t] * left[p, t] * left[p, t]
