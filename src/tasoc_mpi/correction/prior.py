"""What the coefficients of a star's systematics should be, from those of its neighbours."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from ..products.cbv_file import Vectors

__all__ = ["neighbour_prior"]

#: Neighbours are weighted by a Gaussian of their distance on the CCD (pixels) and in magnitude ...
DISTANCE, MAGNITUDES = 350.0, 0.7
#: ... and no more than so many count.
MOST = 60
#: With fewer stars that have coefficients there is no prior: least squares then.
FEWEST = 20
#: Rounds of mean and scatter.
ROUNDS = 6


def neighbour_prior(
    vectors: Vectors, starid: int, row: float, column: float, tmag: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean and variance of each coefficient among the neighbours of a star, itself left out.

    The scatter between neighbours is that of their coefficients less the variance of their errors; outliers
    count little (Huber's weights).

    Parameters
    ----------
    vectors : Vectors
    starid : int
    row, column : float
        Place on the CCD, counted from 1.
    tmag : float
        NaN if it is not known: then all magnitudes count.

    Returns
    -------
    (ndarray, ndarray) or None
        Mean and variance, shape (C,); None where there are too few neighbours.
    """
    usable = vectors.usable & (vectors.starid != starid)
    if usable.sum() < FEWEST:
        return None
    squares = ((vectors.row - row) ** 2 + (vectors.column - column) ** 2) / DISTANCE**2
    if np.isfinite(tmag):
        squares = squares + ((vectors.tmag - tmag) / MAGNITUDES) ** 2
    squares = np.where(usable & np.isfinite(squares), squares, np.inf)
    count = min(MOST, int(np.isfinite(squares).sum()))
    if count < FEWEST:
        return None
    # By place in the list where distances are equal: the order is always the same.
    nearest = np.sort(np.argpartition(squares, count - 1)[:count])
    # The nearest one has weight 1, however far it is.
    weight = np.exp(-0.5 * (squares[nearest] - squares[nearest].min()).clip(0.0, 50.0))
    values, errors = vectors.coefficients[nearest], vectors.coefficient_errors[nearest] ** 2
    return _mean_and_scatter(values, errors, weight, ROUNDS)


@numba.njit(cache=True)
def _mean_and_scatter(values, errors, weight, rounds):
    """Weighted mean, and variance less that of the errors, of each column; both of shape (C,)."""
    stars, count = values.shape
    mean, scatter = np.empty(count), np.empty(count)
    for c in range(count):
        x = np.ascontiguousarray(values[:, c])
        mean[c] = np.median(x)
        scatter[c] = (1.4826 * np.median(np.abs(x - mean[c]))) ** 2
    total, summed = np.empty(count), np.empty(count)
    sums, squares = np.empty(count), np.empty(count)
    # All columns of a star together, which a processor computes several at once.
    for _ in range(rounds):
        total[:], summed[:], sums[:], squares[:] = 0.0, 0.0, 0.0, 0.0
        for i in range(stars):
            for c in range(count):
                variance = errors[i, c] + scatter[c]
                distance = abs(values[i, c] - mean[c]) / math.sqrt(variance)
                w = weight[i] / variance * min(1.0, 3.0 / max(distance, 1e-9))
                total[c] += w
                summed[c] += w * values[i, c]
        for c in range(count):
            mean[c] = summed[c] / total[c]
        for i in range(stars):
            for c in range(count):
                variance = errors[i, c] + scatter[c]
                rest = (values[i, c] - mean[c]) ** 2
                w = weight[i] / variance**2 if rest < 16.0 * variance else 0.0
                sums[c] += w
                squares[c] += w * (rest - errors[i, c])
        for c in range(count):
            # Not less than the variance of the mean itself.
            scatter[c] = max(squares[c] / max(sums[c], 1e-300), 1.0 / total[c])
    return mean, scatter
