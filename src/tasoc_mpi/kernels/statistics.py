"""Robust statistics of one light curve."""

from __future__ import annotations

import math

import numpy as np

from .filled import filled
from .jit import helper, kernel
from .median import median

__all__ = ["light_curve_numbers", "light_curve_statistics"]

#: The scatter of fewer one-hour means is unknown.
_FEWEST_HOURS = 4
_HOUR = 1.0 / 24.0  #: Days
#: A cubic polynomial goes through 4 points and leaves nothing.
_FEWEST_POINTS = 5


@helper
def _cubic_residual_std(x, y, weight):
    """Standard deviation about the weighted least-squares cubic polynomial of y over x in [-1, 1]."""
    # Legendre polynomials keep the normal equations well conditioned.
    normal = filled(16, 0.0).reshape(4, 4)
    right = filled(4, 0.0)
    basis = filled(4, 1.0)
    for t in range(x.size):
        basis[1] = x[t]
        basis[2], basis[3] = _legendre(x[t])
        for i in range(4):
            w = basis[i] * weight[t]
            right[i] += w * y[t]
            for j in range(4):
                normal[i, j] += w * basis[j]
    _solve(normal, right)
    residual = np.empty(x.size)
    r0, r1, r2, r3 = right
    for t in range(x.size):
        b2, b3 = _legendre(x[t])
        residual[t] = y[t] - r0 - r1 * x[t] - r2 * b2 - r3 * b3
    return math.sqrt(_square_sum(residual, x.size) / x.size)


@helper
def _solve(normal, right):
    """Solve normal equations of order 4 in `right`; an unknown without any weight becomes 0."""
    # Gauss-Jordan with a guard: a time axis with too few distinct values has a singular system.
    for i in range(4):
        if normal[i, i] <= 1e-12 * max(normal[0, 0], 1e-300):
            for j in range(4):
                normal[i, j] = 0.0
                normal[j, i] = 0.0
            normal[i, i] = 1.0
            right[i] = 0.0
            continue
        for j in range(4):
            if j != i:
                f = normal[j, i] / normal[i, i]
                for k in range(4):
                    normal[j, k] -= f * normal[i, k]
                right[j] -= f * right[i]
    for i in range(4):
        right[i] /= normal[i, i]


@helper
def _legendre(x):
    """Legendre polynomials of the orders 2 and 3."""
    second = (3.0 * x * x - 1.0) / 2.0
    return second, (5.0 * x * second - 2.0 * x) / 3.0


@helper
def _square_sum(values, count):
    """Sum of the squares of the first `count` values less their mean."""
    mean = 0.0
    for t in range(count):
        mean += values[t]
    mean /= count
    total = 0.0
    for t in range(count):
        total += (values[t] - mean) * (values[t] - mean)
    return total


@helper
def _rms_hour(x, y, buffer):
    """1.4826 times the median absolute deviation of one-hour means of y; `buffer` is written over."""
    n = x.size
    hours = np.empty(n)
    for i in range(n):
        hours[i] = np.floor((x[i] - x[0]) / _HOUR)
    n_means = np.int64(0)
    i = 0
    while i < n:
        hour = hours[i]
        total = 0.0
        count = 0
        while i < n and hours[i] == hour:
            total += y[i]
            count += 1
            i += 1
        buffer[n_means] = total / count
        n_means += 1
    if n_means < _FEWEST_HOURS:
        return math.nan
    middle = median(buffer[:n_means])
    for k in range(n_means):
        buffer[k] = abs(buffer[k] - middle)
    return 1.4826 * median(buffer[:n_means])


@helper
def _variability(x, y, error, buffer):
    """Scatter about a cubic polynomial over the median error, of points with an error; writes over all."""
    n = np.int64(0)
    lowest, highest = math.inf, -math.inf
    for t in range(x.size):
        if math.isfinite(error[t]) and error[t] > 0.0:
            x[n] = x[t]
            y[n] = y[t]
            error[n] = error[t]
            buffer[n] = error[t]
            lowest = min(lowest, y[t])
            highest = max(highest, y[t])
            n += 1
    if n < _FEWEST_POINTS:
        return math.nan
    begin = x[0]
    span = x[n - 1] - begin
    if not (span > 0.0 and lowest < highest):
        return math.nan
    for t in range(n):
        x[t] = 2.0 * (x[t] - begin) / span - 1.0
        square = error[t] * error[t]
        # Of the smallest errors it is zero.
        error[t] = 1.0 / square if square > 0.0 else math.inf
    return _cubic_residual_std(x[:n], y[:n], error[:n]) / median(buffer[:n])


@helper
def _statistics(time, flux, error, good):
    """See `light_curve_statistics`."""
    # Loops: expressions of whole arrays and their functions would take seconds to compile.
    x = np.empty(time.size)
    y = np.empty(time.size)
    e = np.empty(time.size)
    buffer = np.empty(time.size)
    places = np.empty(time.size, dtype=np.int64)
    n = np.int64(0)
    for t in range(time.size):
        if good[t] and math.isfinite(flux[t]) and math.isfinite(time[t]):
            x[n] = time[t]
            y[n] = flux[t]
            e[n] = error[t]
            places[n] = t
            n += 1
    x, y, e = x[:n], y[:n], e[:n]
    mean_flux = median(y)
    if not (mean_flux > 0.0):
        return mean_flux, math.nan, math.nan, math.nan, math.nan
    for t in range(n):
        y[t] = y[t] / mean_flux - 1.0
        e[t] = e[t] / mean_flux
    # Differences of adjacent points of the series: a missing point takes both of its own along.
    pairs = np.int64(0)
    for t in range(1, n):
        buffer[pairs] = abs(y[t] - y[t - 1])
        pairs += places[t] == places[t - 1] + 1
    ptp = median(buffer[:pairs])
    variance = _square_sum(y, n) / (n - 1) if n > 1 else math.nan
    rms_hour = _rms_hour(x, y, buffer)
    variability = _variability(x, y, e, buffer)
    return mean_flux, variance, rms_hour, ptp, variability


@kernel
def light_curve_statistics(time, flux, error, good):
    """Diagnostics of a light curve over its good points.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Days, increasing.
    flux, error : ndarray, shape (T,)
        e-/s; NaN for missing points.
    good : ndarray of bool, shape (T,)
        Points to use.

    Returns
    -------
    mean_flux : float
        Median of the flux.
    variance : float
        Variance (ddof 1) of the relative flux ``flux / mean_flux - 1``.
    rms_hour : float
        1.4826 times the median absolute deviation of the one-hour means of the relative flux; NaN of
        fewer than 4 of them.
    ptp : float
        Median of the absolute difference of adjacent relative fluxes.
    variability : float
        Standard deviation of the relative flux less a weighted cubic polynomial, over the median
        relative error; NaN of fewer than 5 points with an error, and of a flux without any spread.

    Notes
    -----
    All but `mean_flux` are NaN where the median flux is not positive.
    """
    return _statistics(time, flux, error, good)


@helper
def _centroid_medians(centroid, good):
    """Medians of column and row over the good points that have both; NaN where none has."""
    columns, rows = np.empty(centroid.shape[0]), np.empty(centroid.shape[0])
    n = 0
    for t in range(centroid.shape[0]):
        column, row = centroid[t, 0], centroid[t, 1]
        if good[t] and math.isfinite(column) and math.isfinite(row):
            columns[n], rows[n] = column, row
            n += 1
    return median(columns[:n]), median(rows[:n])


@kernel
def light_curve_numbers(time, flux, error, centroid, good):
    """Diagnostics of a light curve, of how many points they are, and whether it is one.

    Parameters
    ----------
    time, flux, error, good : ndarray, shape (T,)
        See `light_curve_statistics`.
    centroid : ndarray of float64, shape (T, 2)
        (column, row), pixels; NaN where unknown.

    Returns
    -------
    infinite, negative : bool
        Whether any flux or error is infinite, and any error negative; also of points that are not good.
    n_good, n_flux, n_error : int
        Good points, and those of them with a finite flux and with a finite error.
    numbers : tuple of float
        Those of `light_curve_statistics`.
    position : (float, float)
        Medians of column and row over the good points that have both; NaN where none has.
    """
    infinite = negative = False
    n_good = n_flux = n_error = 0
    for t in range(flux.size):
        infinite |= math.isinf(flux[t]) or math.isinf(error[t])
        negative |= error[t] < 0.0
        n_good += good[t]
        n_flux += good[t] and math.isfinite(flux[t])
        n_error += good[t] and math.isfinite(error[t])
    numbers = _statistics(time, flux, error, good)
    return infinite, negative, n_good, n_flux, n_error, numbers, _centroid_medians(centroid, good)
