"""Robust statistics of one light curve."""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["light_curve_statistics"]

#: The scatter of fewer one-hour means is unknown.
_FEWEST_HOURS = 4
#: A cubic polynomial goes through 4 points and leaves nothing.
_FEWEST_POINTS = 5


@numba.njit(cache=True)
def _median(x):
    return np.median(x) if x.size > 0 else math.nan


@numba.njit(cache=True)
def _cubic_residual_std(x, y, weight):
    """Standard deviation about the weighted least-squares cubic polynomial of y over x in [-1, 1]."""
    # Loops: expressions of whole arrays would take seconds to compile.
    degree = min(3, x.size - 1)
    m = degree + 1
    # Legendre polynomials keep the normal equations well conditioned.
    basis = np.ones((m, x.size))
    for k in range(1, m):
        for t in range(x.size):
            before = basis[k - 2, t] if k > 1 else 0.0
            basis[k, t] = ((2 * k - 1) * x[t] * basis[k - 1, t] - (k - 1) * before) / k
    normal = np.zeros((m, m))
    right = np.zeros(m)
    for i in range(m):
        for t in range(x.size):
            right[i] += basis[i, t] * weight[t] * y[t]
        for j in range(m):
            for t in range(x.size):
                normal[i, j] += basis[i, t] * weight[t] * basis[j, t]
    # Gauss-Jordan with a guard: a time axis with too few distinct values has a singular system.
    for i in range(m):
        if normal[i, i] <= 1e-12 * max(normal[0, 0], 1e-300):
            for j in range(m):
                normal[i, j] = 0.0
                normal[j, i] = 0.0
            normal[i, i] = 1.0
            right[i] = 0.0
            continue
        for j in range(m):
            if j != i:
                f = normal[j, i] / normal[i, i]
                for k in range(m):
                    normal[j, k] -= f * normal[i, k]
                right[j] -= f * right[i]
    residual = y.copy()
    for i in range(m):
        factor = right[i] / normal[i, i]
        for t in range(x.size):
            residual[t] -= factor * basis[i, t]
    return np.std(residual)


@numba.njit(cache=True)
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
    usable = good & np.isfinite(flux) & np.isfinite(time)
    x = time[usable]
    y = flux[usable]
    e = error[usable]
    mean_flux = _median(y)
    if not (mean_flux > 0.0):
        return mean_flux, math.nan, math.nan, math.nan, math.nan
    y = y / mean_flux - 1.0
    e = e / mean_flux
    n = y.size
    variance = np.sum((y - np.mean(y)) ** 2) / (n - 1) if n > 1 else math.nan

    hour = 1.0 / 24.0
    means = np.empty(n)
    n_means = 0
    i = 0
    while i < n:
        index = math.floor((x[i] - x[0]) / hour)
        total = 0.0
        count = 0
        while i < n and math.floor((x[i] - x[0]) / hour) == index:
            total += y[i]
            count += 1
            i += 1
        means[n_means] = total / count
        n_means += 1
    means = means[:n_means]
    rms_hour = math.nan
    if n_means >= _FEWEST_HOURS:
        rms_hour = 1.4826 * _median(np.abs(means - _median(means)))

    # Differences of adjacent points of the series: a missing point takes both of its own along.
    all_relative = flux / mean_flux - 1.0
    pair = usable[1:] & usable[:-1]
    ptp = _median(np.abs(all_relative[1:] - all_relative[:-1])[pair])

    variability = math.nan
    with_error = np.isfinite(e) & (e > 0.0)
    if np.sum(with_error) >= _FEWEST_POINTS:
        x, y, e = x[with_error], y[with_error], e[with_error]
        span = x[-1] - x[0]
        if span > 0.0 and y.min() < y.max():
            scaled = 2.0 * (x - x[0]) / span - 1.0
            variability = _cubic_residual_std(scaled, y, 1.0 / (e * e)) / _median(e)
    return mean_flux, variance, rms_hour, ptp, variability
