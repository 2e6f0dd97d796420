"""What the coefficients of a star's systematics should be, from those of its neighbours."""

from __future__ import annotations

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
    weight = np.exp(-0.5 * (squares[nearest] - squares[nearest].min()).clip(0.0, 50.0))[:, None]
    values, errors = vectors.coefficients[nearest], vectors.coefficient_errors[nearest] ** 2
    return _mean_and_scatter(values, errors, weight)


def _mean_and_scatter(
    values: NDArray[np.float64], errors: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean, and variance less that of the errors, of each column."""
    mean = np.median(values, axis=0)
    scatter = (1.4826 * np.median(np.abs(values - mean), axis=0)) ** 2
    for _ in range(ROUNDS):
        total = errors + scatter
        rest = np.abs(values - mean) / np.sqrt(total)
        weights = weight / total * np.minimum(1.0, 3.0 / np.maximum(rest, 1e-9))
        mean = (weights * values).sum(axis=0) / weights.sum(axis=0)
        rest = (values - mean) ** 2
        weights2 = weight / total**2 * (rest < 16.0 * total)
        sums = np.maximum(weights2.sum(axis=0), 1e-300)
        # Not less than the variance of the mean itself.
        scatter = np.maximum((weights2 * (rest - errors)).sum(axis=0) / sums, 1.0 / weights.sum(axis=0))
    return mean, scatter
