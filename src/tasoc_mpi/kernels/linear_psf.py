"""Images of stars that move little, and linear equations.

The stars move little, so that the image of one is a Taylor series in its shift (dy, dx): images for the ten
products of powers up to the third, made once, and summed with the powers of the shift in every frame. Between
two knots a cubic spline is its series.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel
from .spline_prf import HALF, KNOTS, SIDE

__all__ = [
    "TERMS",
    "dot",
    "evaluate_series",
    "multiply",
    "series_of_stars",
    "solve_positive",
    "spline_derivatives",
]

#: Products of powers in a series.
TERMS = 10


@helper
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


@helper(fastmath=True)
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


@kernel
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


@helper(fastmath=True)
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


@helper(fastmath=True)
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


@helper(fastmath=True)
def multiply(a, b, out):
    """The product of two vectors, element by element."""
    for p in range(out.shape[0]):
        out[p] = a[p] * b[p]


@helper(fastmath=True)
def dot(a, b):
    """The scalar product of two vectors."""
    value = 0.0
    for p in range(a.shape[0]):
        value += a[p] * b[p]
    return value
