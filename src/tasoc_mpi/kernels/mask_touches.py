"""Which stars and which sides of its stamp a mask has."""

from __future__ import annotations

import numpy as np

from .jit import kernel

__all__ = ["sides_of", "stars_inside"]


@kernel
def sides_of(mask):
    """Whether a mask has pixels in the first and last row, and in the first and last column of its stamp.

    Parameters
    ----------
    mask : ndarray of bool, shape (R, C)

    Returns
    -------
    (bool, bool, bool, bool)
    """
    n_row, n_col = mask.shape
    down = up = left = right = False
    for c in range(n_col):
        down |= mask[0, c]
        up |= mask[n_row - 1, c]
    for r in range(n_row):
        left |= mask[r, 0]
        right |= mask[r, n_col - 1]
    return down, up, left, right


@kernel
def stars_inside(rows, columns, mask):
    """Which stars have their rounded pixel in a mask.

    Parameters
    ----------
    rows, columns : ndarray of float64, shape (N,)
        Position in the stamp, 0-based.
    mask : ndarray of bool, shape (R, C)

    Returns
    -------
    ndarray of bool, shape (N,)
    """
    out = np.empty(rows.shape[0], dtype=np.bool_)
    for k in range(rows.shape[0]):
        # Half pixels to the even one.
        row, column = np.rint(rows[k]), np.rint(columns[k])
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        out[k] = inside and mask[np.int64(row), np.int64(column)]
    return out
