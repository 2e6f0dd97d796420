"""Medians and correlations of light curves over some of their points."""

from __future__ import annotations

import math

import numpy as np

from .jit import kernel
from .median import median

__all__ = ["binned_correlation", "masked_median", "median_step"]

#: The correlation of fewer bins is unknown.
_FEWEST_BINS = 10


@kernel
def masked_median(values, mask):
    """Median of the values where `mask` is True; NaN where there are none.

    Examples
    --------
    >>> masked_median(np.array([1.0, 2.0, 9.0]), np.array([True, True, False]))
    1.5
    """
    return median(values[mask])


@kernel
def median_step(values, mask):
    """Median absolute difference of neighbouring values of which `mask` is True of both; NaN of none.

    Examples
    --------
    >>> median_step(np.array([1.0, 2.0, 5.0, 0.0]), np.array([True, True, True, False]))
    2.0
    """
    steps = np.empty(values.size)
    count = 0
    for t in range(1, values.size):
        if mask[t] and mask[t - 1]:
            steps[count] = abs(values[t] - values[t - 1])
            count += 1
    return median(steps[:count])


@kernel
def binned_correlation(one, other, bins, mask):
    """Correlation coefficient of the means of two series in bins.

    Parameters
    ----------
    one, other : ndarray, shape (T,)
    bins : ndarray of int64, shape (T,)
        Number of the bin of each point, from 0.
    mask : ndarray of bool, shape (T,)
        Points to use.

    Returns
    -------
    float
        NaN of fewer than 10 bins with points, and of a series without any spread.
    """
    size = np.max(bins) + 1
    counts = np.zeros(size)
    x, y = np.zeros(size), np.zeros(size)
    for t in range(bins.size):
        if mask[t]:
            counts[bins[t]] += 1.0
            x[bins[t]] += one[t]
            y[bins[t]] += other[t]
    there = counts > 0
    if np.sum(there) < _FEWEST_BINS:
        return math.nan
    x, y = x[there] / counts[there], y[there] / counts[there]
    x, y = x - np.mean(x), y - np.mean(y)
    spread = math.sqrt(np.sum(x * x) * np.sum(y * y))
    return np.sum(x * y) / spread if spread > 0 else math.nan
