"""Arrays with one value in all places.

np.zeros and np.full compile two functions more for each kind of array.
"""

from __future__ import annotations

import numpy as np

from .jit import helper

__all__ = ["filled", "no_pixels"]


@helper
def filled(n, value):
    """An array of float64, shape (n,)."""
    out = np.empty(n)
    for k in range(n):
        out[k] = value
    return out


@helper
def no_pixels(n_row, n_col):
    """A mask without pixels: an array of bool, shape (n_row, n_col)."""
    out = np.empty((n_row, n_col), dtype=np.bool_)
    for r in range(n_row):
        for c in range(n_col):
            out[r, c] = False
    return out
