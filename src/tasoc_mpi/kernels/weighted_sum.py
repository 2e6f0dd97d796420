"""The products with a matrix of pixels that halo photometry needs in each step of its optimiser."""

from __future__ import annotations

import numpy as np

from .jit import kernel

__all__ = ["row_products", "weighted_sum"]

#: Columns that are worked on together: their sums stay in the fastest cache.
_BLOCK = 1024


@kernel
def weighted_sum(rows, weights):
    """Sum of the rows of a matrix times their weights.

    Products are taken in single and summed in double precision, eight rows at a time and in a fixed order, so
    the result depends neither on threads nor on a linear algebra library.

    Parameters
    ----------
    rows : ndarray of float32, shape (N, T)
    weights : ndarray of float64, shape (N,)

    Returns
    -------
    ndarray of float64, shape (T,)
    """
    n, length = rows.shape
    out = np.zeros(length)
    w = weights.astype(np.float32)
    for start in range(0, length, _BLOCK):
        stop = min(start + _BLOCK, length)
        part = out[start:stop]
        for i in range(0, n - 7, 8):
            a, b, c, d = (
                rows[i, start:stop],
                rows[i + 1, start:stop],
                rows[i + 2, start:stop],
                rows[i + 3, start:stop],
            )
            e, f, g, h = (
                rows[i + 4, start:stop],
                rows[i + 5, start:stop],
                rows[i + 6, start:stop],
                rows[i + 7, start:stop],
            )
            for t in range(stop - start):
                low = (w[i] * a[t] + w[i + 1] * b[t]) + (w[i + 2] * c[t] + w[i + 3] * d[t])
                high = (w[i + 4] * e[t] + w[i + 5] * f[t]) + (w[i + 6] * g[t] + w[i + 7] * h[t])
                part[t] += low + high
        for i in range(n - n % 8, n):
            line = rows[i, start:stop]
            for t in range(stop - start):
                part[t] += w[i] * line[t]
    return out


@kernel(fastmath={"reassoc"})
def row_products(rows, weights):
    """Sums over the columns of a matrix times their weights: the product with its transpose, without a copy.

    In single precision; the order of the sums depends on the registers of the processor alone.

    Parameters
    ----------
    rows : ndarray of float32, shape (N, T)
    weights : ndarray of float64, shape (T,)

    Returns
    -------
    ndarray of float64, shape (N,)
    """
    n, length = rows.shape
    out = np.empty(n)
    w = weights.astype(np.float32)
    for i in range(n):
        line = rows[i]
        total = np.float32(0.0)
        for t in range(length):
            total += line[t] * w[t]
        out[i] = total
    return out
