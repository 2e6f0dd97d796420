"""Robust statistics of one light curve."""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel
from .median import median

__all__ = ["centroid_medians", "check_flux", "count_points", "light_curve_statistics"]

#: The scatter of fewer one-hour means is unknown.
_FEWEST_HOURS = 4
#: A cubic polynomial goes through 4 points and leaves nothing.
_FEWEST_POINTS = 5


@helper
def _cubic_residual_std(x, y, weight):
    """Standard deviation about the weighted least-squares cubic polynomial of y over x in [-1, 1]."""
    # Legendre polynomials keep the normal equations well conditioned. All sums grow in one pass over the
    # points: one by one, each would wait for its own last addition at every point.
    normal = np.zeros((4, 4))
    right = np.zeros(4)
    basis = np.ones(4)
    weighted = np.empty(4)
    for t in range(x.size):
        _legendre(x[t], basis)
        for i in range(4):
            weighted[i] = basis[i] * weight[t]
            right[i] += weighted[i] * y[t]
        for i in range(4):
            for j in range(4):
                normal[i, j] += weighted[i] * basis[j]
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
    residual = np.empty(x.size)
    for i in range(4):
        right[i] /= normal[i, i]
    for t in range(x.size):
        _legendre(x[t], basis)
        rest = y[t]
        for i in range(4):
            rest -= right[i] * basis[i]
        residual[t] = rest
    return math.sqrt(_square_sum(residual, x.size) / x.size)


@helper
def _legendre(x, basis):
    """Legendre polynomials of the orders 1 to 3, behind that of the order 0."""
    basis[1] = x
    basis[2] = (3.0 * x * x - 1.0) / 2.0
    basis[3] = (5.0 * x * basis[2] - 2.0 * x) / 3.0


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
    hour = 1.0 / 24.0
    n_means = np.int64(0)
    i = 0
    while i < n:
        index = math.floor((x[i] - x[0]) / hour)
        total = 0.0
        count = 0
        while i < n and math.floor((x[i] - x[0]) / hour) == index:
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
    # Loops: expressions of whole arrays and their functions would take seconds to compile.
    x = np.empty(time.size)
    y = np.empty(time.size)
    e = np.empty(time.size)
    buffer = np.empty(time.size)
    n = np.int64(0)
    for t in range(time.size):
        if good[t] and math.isfinite(flux[t]) and math.isfinite(time[t]):
            x[n] = time[t]
            y[n] = flux[t]
            e[n] = error[t]
            buffer[n] = flux[t]
            n += 1
    mean_flux = median(buffer[:n])
    if not (mean_flux > 0.0):
        return mean_flux, math.nan, math.nan, math.nan, math.nan
    # Differences of adjacent points of the series: a missing point takes both of its own along.
    pairs = np.int64(0)
    last = -2
    for t in range(time.size):
        if good[t] and math.isfinite(flux[t]) and math.isfinite(time[t]):
            if last == t - 1:
                buffer[pairs] = abs((flux[t] / mean_flux - 1.0) - (flux[last] / mean_flux - 1.0))
                pairs += 1
            last = t
    ptp = median(buffer[:pairs])
    x, y, e = x[:n], y[:n], e[:n]
    for t in range(n):
        y[t] = y[t] / mean_flux - 1.0
        e[t] = e[t] / mean_flux
    variance = _square_sum(y, n) / (n - 1) if n > 1 else math.nan
    rms_hour = _rms_hour(x, y, buffer)
    variability = _variability(x, y, e, buffer)
    return mean_flux, variance, rms_hour, ptp, variability


@kernel
def centroid_medians(centroid, good):
    """Medians of column and row over the good points that have both.

    Parameters
    ----------
    centroid : ndarray of float64, shape (T, 2)
        (column, row), pixels; NaN where unknown.
    good : ndarray of bool, shape (T,)

    Returns
    -------
    (float, float)
        NaN where no point has a centroid.
    """
    columns, rows = np.empty(centroid.shape[0]), np.empty(centroid.shape[0])
    n = 0
    for t in range(centroid.shape[0]):
        column, row = centroid[t, 0], centroid[t, 1]
        if good[t] and math.isfinite(column) and math.isfinite(row):
            columns[n], rows[n] = column, row
            n += 1
    return median(columns[:n]), median(rows[:n])


@kernel
def count_points(flux, error, good):
    """Good points of a light curve, and those of them with a finite flux and with a finite error.

    Parameters
    ----------
    flux, error : ndarray of float64, shape (T,)
    good : ndarray of bool, shape (T,)

    Returns
    -------
    (int, int, int)
    """
    n_good = n_flux = n_error = 0
    for t in range(flux.size):
        n_good += good[t]
        n_flux += good[t] and math.isfinite(flux[t])
        n_error += good[t] and math.isfinite(error[t])
    return n_good, n_flux, n_error


@kernel
def check_flux(flux, error):
    """Whether a flux or its error has an infinite value, and whether an error is negative.

    Parameters
    ----------
    flux, error : ndarray of float64, shape (T,)

    Returns
    -------
    (bool, bool)
    """
    infinite = negative = False
    for t in range(flux.size):
        infinite |= math.isinf(flux[t]) or math.isinf(error[t])
        negative |= error[t] < 0.0
    return infinite, negative
