"""Fit of systematics and a star's own slow variations to one light curve."""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel
from .median import median

__all__ = ["column_spans", "combine", "exclude_outliers", "fit_trend"]

#: Turns at most, until the excluded points and the variances stay.
_TURNS = 10
#: Steps of the variance of the own variations between them.
_STEPS = 3
#: The variance of the own variations relative to that of the noise is not taken to be smaller.
_LEAST_RATIO = 1e-4


@helper
def _running_means(sums, counts, width, means, there):
    """Fill in means of `width` points, NaN where there are not more than half of them; returns some of them.

    Neighbouring means share most of their points, so every (width / 2)-th of them has the same median.
    """
    # The scatter of a mean of few points is made that of a full one.
    scale = np.full(width + 1, math.nan)
    for count in range(width // 2 + 1, width + 1):
        scale[count] = 1.0 / math.sqrt(count * width)
    for t in range(means.size):
        means[t] = (sums[t + width] - sums[t]) * scale[counts[t + width] - counts[t]]
    size = 0
    for t in range(0, means.size, max(1, width // 2)):
        there[size] = means[t]
        size += not math.isnan(means[t])
    return there[:size]


@kernel
def exclude_outliers(residual, used, clip, widths, out):
    """Points whose running mean, over any of some widths, is far from the median of these means.

    A transit or a flare of many points is found although none of its points is an outlier by itself.

    Parameters
    ----------
    residual : ndarray, shape (T,)
        0 where not `used`.
    used : ndarray of bool, shape (T,)
        Points that there are.
    clip : float
        Limit in robust standard deviations of the means.
    widths : ndarray of int64
        Numbers of points; those of more than a tenth of T are left out.
    out : ndarray of bool, shape (T,)
        Filled: points that are not excluded.
    """
    total = residual.shape[0]
    sums = np.zeros(total + 1)
    counts = np.zeros(total + 1, dtype=np.int64)
    buffer, some = np.empty(total), np.empty(total + 1)
    for t in range(total):
        out[t] = used[t]
        sums[t + 1] = sums[t] + (residual[t] if used[t] else 0.0)
        counts[t + 1] = counts[t] + (1 if used[t] else 0)
    for width in widths:
        if 10 * width > total:
            continue
        means = buffer[: total + 1 - width]
        there = _running_means(sums, counts, width, means, some)
        if there.size == 0:
            continue
        middle = median(there)
        for k in range(there.size):
            there[k] = abs(there[k] - middle)
        limit = clip * 1.4826 * median(there)
        for t in range(means.size):
            if abs(means[t] - middle) > limit:
                out[t : t + width] = False


@helper
def _remove_rows(columns, values, used, before, normal, right):
    """Bring normal matrix and right side of the points `before` to those of the points `used`."""
    size = columns.shape[0]
    there, row = np.empty(size, dtype=np.int64), np.empty(size)
    for t in range(used.shape[0]):
        # The first column is a constant; where it is 0, all are.
        if used[t] == before[t] or columns[0, t] == 0.0:
            continue
        # Most columns are 0 at a point.
        count = 0
        for i in range(size):
            if columns[i, t] != 0.0:
                there[count], row[count] = i, columns[i, t]
                count += 1
        sign = 1.0 if used[t] else -1.0
        for k in range(count):
            i, value = there[k], sign * row[k]
            right[i] += value * values[t]
            for m in range(k, count):
                normal[i, there[m]] += value * row[m]


# The inner loops of the next functions go along rows of C order, without sums over their turns, so that a
# processor computes several turns at once and the result does not depend on how many.


@helper(inline="always")
def _subtract_four(row, rows, factors, first, start):
    """Subtract four rows from `first` on, each times its factor, from a row, from element `start` on."""
    a, b, c, d = factors[first], factors[first + 1], factors[first + 2], factors[first + 3]
    if a == 0.0 and b == 0.0 and c == 0.0 and d == 0.0:
        return
    one, two, three, four = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
    for j in range(start, row.size):
        row[j] = row[j] - a * one[j] - b * two[j] - c * three[j] - d * four[j]


@helper(error_model="numpy")
def _factor(matrix):
    """Cholesky factor U of a symmetric matrix U^T U, of which the upper triangle counts; in place."""
    size = matrix.shape[0]
    for first in range(0, size, 4):
        last = min(first + 4, size)
        for k in range(first, last):
            row = matrix[k]
            scale = 1.0 / math.sqrt(max(row[k], 1e-300))
            for j in range(k, size):
                row[j] *= scale
            for i in range(k + 1, last):
                other, factor = matrix[i], row[i]
                for j in range(i, size):
                    other[j] -= factor * row[j]
        # Four rows in a loop: most of the time of a short loop is its beginning and its end.
        for i in range(last, size):
            _subtract_four(matrix[i], matrix, matrix[:, i], first, i)


@helper(error_model="numpy")
def _solve(upper, right):
    """Solution for one right side, from a Cholesky factor."""
    size = upper.shape[0]
    out = right.copy()
    for i in range(size):
        row = upper[i]
        out[i] /= row[i]
        for j in range(i + 1, size):
            out[j] -= out[i] * row[j]
    for i in range(size - 1, -1, -1):
        row = upper[i]
        total = out[i]
        for j in range(i + 1, size):
            total -= row[j] * out[j]
        out[i] = total / row[i]
    return out


@helper(error_model="numpy")
def _inverse_rows(upper, first):
    """Inverse of a Cholesky factor from row and column `first` on.

    The sum of squares of row j is the diagonal element j of the inverse of the matrix.
    """
    size = upper.shape[0] - first
    inverse = np.zeros((size, size))
    for i in range(size - 1, -1, -1):
        row, factors = inverse[i], upper[first + i, first:]
        row[i] = 1.0
        # The rows of an inverse are 0 before their diagonal element.
        fours = (size - i - 1) // 4
        for k in range(i + 1, i + 1 + 4 * fours, 4):
            _subtract_four(row, inverse, factors, k, k)
        for k in range(i + 1 + 4 * fours, size):
            factor, other = factors[k], inverse[k]
            for j in range(k, size):
                row[j] -= factor * other[j]
        scale = 1.0 / upper[first + i, first + i]
        for j in range(i, size):
            row[j] *= scale
    return inverse


@helper
def _posterior(matrix, right, noise, own, count, variance):
    """Solution with the prior, and the next variance of the own variations (expectation maximisation)."""
    size = matrix.shape[0]
    upper = matrix / noise
    upper[0, 0] += 1e-12 / noise
    for i in range(1, size):
        upper[i, i] += 1.0 / (variance[i - 1] if i < count else own)
    _factor(upper)
    solution = _solve(upper, right / noise)
    total = np.sum(solution[count:] ** 2) + np.sum(_inverse_rows(upper, count) ** 2)
    return solution, total / (size - count)


@helper
def _data_errors(matrix, noise, own, count):
    """Standard deviations of the systematics' coefficients without their prior."""
    size = matrix.shape[0]
    upper = matrix / noise
    for i in range(size):
        upper[i, i] += 1.0 / own if i >= count else 1e-9 * max(matrix[i, i], 1e-30) / noise
    _factor(upper)
    inverse = _inverse_rows(upper, 1)
    errors = np.empty(count - 1)
    for j in range(count - 1):
        errors[j] = math.sqrt(np.sum(inverse[j] ** 2))
    return errors


@helper(fastmath={"reassoc"})
def _sum_of_products(one, other, first, last):
    """Sum over the elements from `first` to `last` - 1."""
    total = 0.0
    for t in range(first, last):
        total += one[t] * other[t]
    return total


@helper
def _less(columns, spans, values, solution, first, usable, out):
    """Values less columns from `first` on times the solution; 0 where not usable."""
    out[:] = values
    for i in range(solution.size):
        factor = solution[i]
        for t in range(spans[first + i, 0], spans[first + i, 1]):
            out[t] -= factor * columns[first + i, t]
    for t in range(out.size):
        if not usable[t]:
            out[t] = 0.0


@kernel
def column_spans(columns):
    """First point at which each column is not 0, and the one behind the last such; int64, shape (P, 2)."""
    size, total = columns.shape
    spans = np.zeros((size, 2), dtype=np.int64)
    for i in range(size):
        start, stop = 0, total
        while start < stop and columns[i, start] == 0.0:
            start += 1
        while stop > start and columns[i, stop - 1] == 0.0:
            stop -= 1
        spans[i] = start, stop
    return spans


@kernel
def combine(columns, spans, factors, first, last):
    """Sum of the columns from `first` to `last` - 1, each times its factor; shape (T,)."""
    out = np.zeros(columns.shape[1])
    for i in range(first, last):
        for t in range(spans[i, 0], spans[i, 1]):
            out[t] += factors[i] * columns[i, t]
    return out


@kernel
def fit_trend(columns, spans, normal, values, usable, count, mean, variance, clip, widths, with_errors):
    """Systematics of a light curve, with a Gaussian prior, beside slow variations of the star itself.

    The variance of the noise comes from the residuals, that of the star's own variations by expectation
    maximisation of their marginal likelihood.

    Parameters
    ----------
    columns : ndarray, shape (P, T)
        A constant, `count` - 1 columns of systematics, and basis functions of the star's own variations.
    spans : ndarray of int64, shape (P, 2)
        Of the columns; see `column_spans`.
    normal : ndarray, shape (P, P)
        ``columns @ columns.T``.
    values : ndarray, shape (T,)
        Relative flux less 1; anything finite where not usable.
    usable : ndarray of bool, shape (T,)
    count : int
    mean, variance : ndarray, shape (count - 1,)
        Of the prior of the systematics' coefficients.
    clip : float
        See `exclude_outliers`.
    widths : ndarray of int64
    with_errors : bool
        Whether errors are wanted.

    Returns
    -------
    solution : ndarray, shape (P,)
    errors : ndarray, shape (count - 1,)
        Standard deviations of the systematics' coefficients from the data alone; empty if not wanted.
    used : ndarray of bool, shape (T,)
        Points that were not excluded.
    noise : float
        Standard deviation of the residuals.
    """
    size, total = columns.shape
    rest = np.empty(total)
    _less(columns, spans, values, mean, 1, usable, rest)
    matrix, right = normal.copy(), np.zeros(size)
    for i in range(size):
        right[i] = _sum_of_products(columns[i], rest, spans[i, 0], spans[i, 1])
    used, every = usable.copy(), np.ones(total, dtype=np.bool_)
    _remove_rows(columns, rest, used, every, matrix, right)
    good = rest[usable]
    noise = max((1.4826 * median(np.abs(np.diff(good))) / math.sqrt(2.0)) ** 2, 1e-30)
    own = max((1.4826 * median(np.abs(good - median(good)))) ** 2 - noise, 0.01 * noise)
    solution = np.zeros(size)
    kept, residual = used.copy(), np.zeros(total)
    for turn in range(_TURNS):
        done = False
        # One step at first: the noise is known from the residuals only, and a pulsation is no slow variation.
        for _ in range(_STEPS if turn > 1 else 1):
            solution, better = _posterior(matrix, right, noise, own, count, variance)
            done = abs(math.log(better / own)) < 0.1
            # A step of twice the length converges sooner.
            own = max(own * (better / own) ** 2, _LEAST_RATIO * noise)
            if done:
                break
        _less(columns, spans, rest, solution, 0, usable, residual)
        exclude_outliers(residual, usable, clip, widths, kept)
        before, noise = noise, max((1.4826 * median(np.abs(residual[used]))) ** 2, 1e-30)
        done &= abs(math.log(noise / before)) < 0.02
        if 2 * np.sum(kept) < np.sum(usable):
            # Nothing is an outlier where most points are.
            break
        if np.array_equal(kept, used):
            if done:
                break
        else:
            _remove_rows(columns, rest, kept, used, matrix, right)
            used[:] = kept
    solution[1:count] += mean
    errors = _data_errors(matrix, noise, own, count) if with_errors else np.empty(0)
    return solution, errors, used, math.sqrt(noise)
