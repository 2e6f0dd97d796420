"""Order of values, compiled once for all kernels.

np.sort, np.argsort and np.searchsorted take a second to compile at each place.
"""

from __future__ import annotations

import numpy as np

from .jit import helper

__all__ = ["first_from", "insertion_sort", "order_of", "sort"]


@helper
def first_from(values, value):
    """Index of the first value that is not below another one, as of ``np.searchsorted``.

    Parameters
    ----------
    values : ndarray of float64, shape (N,)
        Sorted; NaN come last.
    value : float

    Returns
    -------
    int
        N where all are below.
    """
    first, last = 0, values.shape[0]
    while first < last:
        middle = (first + last) // 2
        if values[middle] < value:
            first = middle + 1
        else:
            last = middle
    return first


@helper
def insertion_sort(values):
    """Sort values without NaN in their array: for few of them, or where each is near its place."""
    for i in range(1, values.shape[0]):
        value = values[i]
        place = i
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@helper
def sort(values):
    """Sort values without NaN in their array, shape (N,), smallest first, by Shell's method."""
    gap = values.shape[0]
    while gap > 1:
        gap = max(gap * 5 // 11, 1)
        for k in range(gap, values.shape[0]):
            value = values[k]
            place = k
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value


@helper
def order_of(values):
    """Indices that sort values, as of ``np.argsort``: smallest first, NaN last, by Shell's method.

    Parameters
    ----------
    values : ndarray of float64, shape (N,)

    Returns
    -------
    ndarray of int64, shape (N,)
        The order of equal values is not defined, but always the same.
    """
    n = values.shape[0]
    order = np.empty(n, dtype=np.int64)
    for k in range(n):
        order[k] = k
    gap = n
    while gap > 1:
        gap = max(gap * 5 // 11, 1)
        for k in range(gap, n):
            index = order[k]
            value = values[index]
            place = k
            while place >= gap:
                before = values[order[place - gap]]
                if not (before > value or (before != before and value == value)):
                    break
                order[place] = order[place - gap]
                place -= gap
            order[place] = index
    return order
