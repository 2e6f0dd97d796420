"""Where a value belongs among sorted ones. np.searchsorted takes a second to compile at each place."""

from __future__ import annotations

import numba

__all__ = ["first_from"]


@numba.njit(cache=True)
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
