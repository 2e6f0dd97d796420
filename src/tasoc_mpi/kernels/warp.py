"""Sums over the pixels of a reference image and a warped image, for their alignment.

One pass over the pixels gives every product that a step of the alignment needs, so that no warped image,
gradient image or Jacobian is ever stored.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel

__all__ = ["warp_moments"]


@helper(inline="always")
def _cubic(f, w, d):
    """Weights `w` of four neighbours and of their derivative `d` in Catmull and Rom's cubic interpolation."""
    w[0] = ((-0.5 * f + 1.0) * f - 0.5) * f
    w[1] = (1.5 * f - 2.5) * f * f + 1.0
    w[2] = ((-1.5 * f + 2.0) * f + 0.5) * f
    w[3] = (0.5 * f - 0.5) * f * f
    d[0] = (-1.5 * f + 2.0) * f - 0.5
    d[1] = (4.5 * f - 5.0) * f
    d[2] = (-4.5 * f + 4.0) * f + 0.5
    d[3] = (1.5 * f - 1.0) * f


@kernel
def warp_moments(reference, image, matrix, basis, centre):
    """Sums of the products of Jacobian, warped image and reference image.

    Parameters
    ----------
    reference, image : ndarray of float32, shape (R, C)
        NaN where they are unknown; such pixels are left out.
    matrix : ndarray, shape (2, 3)
        Takes (x, y, 1) in the reference to (x, y) in the image; both are (column, row) from `centre`.
    basis : ndarray, shape (n, 2, 3)
        Derivative of `matrix` by each parameter.
    centre : ndarray, shape (2,)
        0-based (column, row) in the arrays of the origin of x and y.

    Returns
    -------
    ndarray, shape (n + 3, n + 3)
        Moments of (Jacobian by each parameter, warped image, reference, 1); the last element is the
        number of pixels used.
    """
    rows, columns = reference.shape
    n = basis.shape[0]
    out = np.zeros((n + 3, n + 3))
    v = np.empty(n + 3)
    v[n + 2] = 1.0
    wx = np.empty(4)
    wy = np.empty(4)
    dx = np.empty(4)
    dy = np.empty(4)
    for r in range(rows):
        y = r - centre[1]
        for c in range(columns):
            ref = reference[r, c]
            if math.isnan(ref):
                continue
            x = c - centre[0]
            column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] + centre[0]
            row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] + centre[1]
            if not (column >= 1.0 and row >= 1.0 and column < columns - 2 and row < rows - 2):
                continue
            c0 = int(column)
            r0 = int(row)
            _cubic(column - c0, wx, dx)
            _cubic(row - r0, wy, dy)
            value = 0.0
            gx = 0.0
            gy = 0.0
            for i in range(4):
                s = 0.0
                ds = 0.0
                for j in range(4):
                    p = image[r0 - 1 + i, c0 - 1 + j]
                    s += wx[j] * p
                    ds += dx[j] * p
                value += wy[i] * s
                gx += wy[i] * ds
                gy += dy[i] * s
            if math.isnan(value):
                continue
            for k in range(n):
                mx = basis[k, 0, 0] * x + basis[k, 0, 1] * y + basis[k, 0, 2]
                my = basis[k, 1, 0] * x + basis[k, 1, 1] * y + basis[k, 1, 2]
                v[k] = gx * mx + gy * my
            v[n] = value
            v[n + 1] = ref
            for k in range(n + 3):
                for l in range(k, n + 3):
                    out[k, l] += v[k] * v[l]
    for k in range(n + 3):
        for l in range(k):
            out[k, l] = out[l, k]
    return out
