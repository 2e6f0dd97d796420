"""What the coefficients of a star's systematics should be, from those of its neighbours."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..kernels.jit import kernel
from ..kernels.median import median
from ..kernels.sorted_values import order_of
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
    known = vectors.neighbours
    nearest, squares = _nearest(
        known.starid, known.row, known.column, known.tmag, starid, row, column, tmag, MOST
    )
    if len(nearest) < FEWEST:
        return None
    # The nearest one has weight 1, however far it is.
    weight = np.exp(-0.5 * np.minimum(squares - squares.min(), 50.0))
    values, variances = known.coefficients[nearest], known.variances[nearest]
    return _mean_and_scatter(values, variances, weight, ROUNDS)


@kernel
def _nearest(starids, rows, columns, tmags, starid, row, column, tmag, most):
    """Places of the nearest stars in their order, and the squares of their distances; not the star itself.

    Of stars at the same distance the first ones count, so the result is always the same.
    """
    places, squares = np.empty(most, dtype=np.int64), np.empty(most)
    count = 0
    for i in range(starids.size):
        square = ((rows[i] - row) ** 2 + (columns[i] - column) ** 2) * DISTANCE**-2
        if math.isfinite(tmag):
            square += ((tmags[i] - tmag) / MAGNITUDES) ** 2
        if starids[i] == starid or not math.isfinite(square):
            continue
        if count == most:
            if square >= squares[most - 1]:
                continue
        else:
            count += 1
        # In order of the distance, the farthest one last.
        k = count - 1
        while k > 0 and squares[k - 1] > square:
            places[k], squares[k] = places[k - 1], squares[k - 1]
            k -= 1
        places[k], squares[k] = i, square
    order = order_of(places[:count])
    return places[:count][order], squares[:count][order]


@kernel(error_model="numpy")
def _mean_and_scatter(values, errors, weight, rounds):
    """Weighted mean, and variance less that of the errors, of each column; both of shape (C,)."""
    stars, count = values.shape
    mean, scatter = np.empty(count), np.empty(count)
    for c in range(count):
        x = np.ascontiguousarray(values[:, c])
        mean[c] = median(x)
        scatter[c] = (1.4826 * median(np.abs(x - mean[c]))) ** 2
    total, summed = np.empty(count), np.empty(count)
    sums, squares = np.empty(count), np.empty(count)
    w = np.empty(count)
    # All columns of a star together, which a processor computes several at once; few arrays in a loop.
    for _ in range(rounds):
        total[:], summed[:], sums[:], squares[:] = 0.0, 0.0, 0.0, 0.0
        for i in range(stars):
            x, error = values[i], errors[i]
            for c in range(count):
                variance = error[c] + scatter[c]
                distance = abs(x[c] - mean[c]) / math.sqrt(variance)
                w[c] = weight[i] / variance * min(1.0, 3.0 / max(distance, 1e-9))
            for c in range(count):
                total[c] += w[c]
            for c in range(count):
                summed[c] += w[c] * x[c]
        for c in range(count):
            mean[c] = summed[c] / total[c]
        for i in range(stars):
            x, error = values[i], errors[i]
            for c in range(count):
                variance = error[c] + scatter[c]
                w[c] = weight[i] / variance**2 if (x[c] - mean[c]) ** 2 < 16.0 * variance else 0.0
            for c in range(count):
                sums[c] += w[c]
            for c in range(count):
                squares[c] += w[c] * ((x[c] - mean[c]) ** 2 - error[c])
        for c in range(count):
            # Not less than the variance of the mean itself.
            scatter[c] = max(squares[c] / max(sums[c], 1e-300), 1.0 / total[c])
    return mean, scatter
