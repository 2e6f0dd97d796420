"""Which pixels of a sum image are significant: the mode of their flux and its spread.

The mode is that of a Gaussian kernel density estimate with the bandwidth 1.059 A n**(-1/5), A the smaller
of the standard deviation and the interquartile range over 1.349 (Scott 1992; Silverman 1986, eq. 3.28-3.30).
It is found in two steps: the density on a grid, from binned fluxes, shows where the high maxima are; there
Newton's method on the exact density finds the maximum. The result depends on the fluxes alone.
"""

from __future__ import annotations

import math

import numpy as np

from .filled import filled
from .jit import helper
from .sorted_values import first_from

__all__ = ["density_mode", "flux_threshold", "scott_bandwidth"]

#: Factor of the normal reference rule, and the interquartile range of a normal distribution in units of its
#: standard deviation.
_FACTOR = 1.059
_IQR_OF_NORMAL = 1.349
#: Grid points a bandwidth. Between two of them the density cannot rise by more than 0.2%: the second
#: derivative of its logarithm is nowhere below -1/bandwidth**2.
_GRID = 8
#: Half width of the kernel on the grid, in grid points (5 bandwidths: 4e-6 of the top is left out).
_REACH = 5 * _GRID
#: Maxima on the grid within this fraction of the highest one are compared exactly. Covers the grid's
#: step (0.2%) and the smoothing by the bins (another 0.2%).
_MARGIN = 0.02
#: Half width of the exact kernel, bandwidths (beyond it is less than 1e-17 of its top).
_TAIL = 9.0


@helper
def _percentile(flux, fraction):
    """Percentile of a sorted sample, linear between its values."""
    position = fraction * (flux.shape[0] - 1)
    k = min(int(position), flux.shape[0] - 2)
    return flux[k] + (position - k) * (flux[k + 1] - flux[k])


@helper
def scott_bandwidth(flux):
    """Bandwidth of the density estimate of a sorted sample.

    Parameters
    ----------
    flux : ndarray of float64, shape (n,)
        The sample, sorted, finite.

    Returns
    -------
    float
        ``1.059 A n**(-1/5)``, A the smaller of the standard deviation (ddof 1) and the interquartile
        range (linear percentiles) over 1.349; the standard deviation where the interquartile range
        is 0, as it is where over half of the values are equal. 0 below two values.
    """
    n = flux.shape[0]
    if n < 2:
        return 0.0
    mean = 0.0
    for k in range(n):
        mean += flux[k]
    mean /= n
    total = 0.0
    for k in range(n):
        total += (flux[k] - mean) ** 2
    spread = math.sqrt(total / (n - 1))
    middle = (_percentile(flux, 0.75) - _percentile(flux, 0.25)) / _IQR_OF_NORMAL
    if middle > 0.0:
        spread = min(spread, middle)
    return _FACTOR * spread * n**-0.2


@helper
def _density(flux, x, h):
    """Density (times n h sqrt(2 pi)) of a sorted sample at `x`; its 1st and 2nd derivative in x/h."""
    first = first_from(flux, x - _TAIL * h)
    last = first_from(flux, x + _TAIL * h)
    f = f1 = f2 = 0.0
    for k in range(first, last):
        u = (flux[k] - x) / h
        e = math.exp(-0.5 * u * u)
        f += e
        f1 += u * e
        f2 += (u * u - 1.0) * e
    return f, f1, f2


@helper
def _climb(flux, x, h):
    """The maximum of the density next to `x`, by Newton steps kept inside a bracket."""
    step = h / _GRID
    low = max(x - step, flux[0])
    while low > flux[0] and _density(flux, low, h)[1] < 0.0:
        low = max(low - step, flux[0])
    high = min(x + step, flux[-1])
    while high < flux[-1] and _density(flux, high, h)[1] > 0.0:
        high = min(high + step, flux[-1])
    for _ in range(100):
        _, f1, f2 = _density(flux, x, h)
        if f1 > 0.0:
            low = x
        else:
            high = x
        new = x - h * f1 / f2 if f2 < 0.0 else low
        if not (low < new < high):
            new = 0.5 * (low + high)
        small = abs(new - x) <= 1e-10 * h
        x = new
        if small or high - low <= 1e-12 * h:
            break
    return x


@helper
def _closed_up(flux, h):
    """Positions of a sorted sample on the grid, in steps of h / _GRID, with wide gaps closed up.

    Where two neighbours are further apart than the kernels of both reach the density between them is 0.
    Such a gap gets no more steps than that: a robust bandwidth can be any fraction of the range.
    """
    positions = np.empty(flux.shape[0])
    positions[0] = 0.0
    for k in range(1, flux.shape[0]):
        positions[k] = positions[k - 1] + min((flux[k] - flux[k - 1]) * (_GRID / h), 2.0 * _REACH)
    return positions


@helper
def _grid_density(positions):
    """The density at the grid's points from 0 on, from linearly binned positions."""
    n = int(positions[-1]) + 2
    counts = filled(n, 0.0)
    for position in positions:
        i = min(int(position), n - 2)
        counts[i] += 1.0 - (position - i)
        counts[i + 1] += position - i
    kernel = np.empty(2 * _REACH + 1)
    for k in range(2 * _REACH + 1):
        kernel[k] = math.exp(-0.5 * ((k - _REACH) / _GRID) ** 2)
    out = filled(n + 2 * _REACH, 0.0)
    for i in range(n):
        # Most points of a long tail of bright pixels are empty.
        if counts[i] > 0.0:
            for k in range(2 * _REACH + 1):
                out[i + k] += kernel[k] * counts[i]
    return out[_REACH:-_REACH]


@helper
def _flux_at(flux, positions, i, h):
    """The flux at a point of the grid, counted from the nearest of the sample's positions."""
    k = min(first_from(positions, float(i)), positions.shape[0] - 1)
    if k > 0 and i - positions[k - 1] < positions[k] - i:
        k -= 1
    return min(max(flux[k] + (i - positions[k]) * h / _GRID, flux[0]), flux[-1])


@helper
def density_mode(flux, h):
    """Where the Gaussian kernel density estimate of a sample is highest.

    Parameters
    ----------
    flux : ndarray of float64, shape (n,)
        The sample, sorted, finite.
    h : float
        Bandwidth, from `scott_bandwidth`.

    Returns
    -------
    float
        The mode; the lowest one if several are equally high. The common value of a sample without
        spread, NaN for an empty one.
    """
    n = flux.shape[0]
    if n == 0:
        return np.nan
    # A spread at the level of rounding (or one that overflows) has no density to speak of.
    if not (h / _GRID > 1e-14 * max(abs(flux[0]), abs(flux[-1]))) or not h < np.inf:
        return flux[n // 2]
    positions = _closed_up(flux, h)
    grid = _grid_density(positions)
    highest = 0.0
    for i in range(grid.shape[0]):
        highest = max(highest, grid[i])
    limit = (1.0 - _MARGIN) * highest
    best = -1.0
    mode = flux[0]
    for i in range(grid.shape[0]):
        value = grid[i]
        if value < limit or (i > 0 and grid[i - 1] > value):
            continue
        if i < grid.shape[0] - 1 and grid[i + 1] >= value:
            continue
        x = _climb(flux, _flux_at(flux, positions, i, h), h)
        density = _density(flux, x, h)[0]
        if density > best * (1.0 + 1e-12):
            best = density
            mode = x
    return mode


@helper
def flux_threshold(flux, trim, ceiling, sigmas):
    """Mode, spread and threshold of the positive flux of an image.

    Parameters
    ----------
    flux : ndarray of float64, shape (n,)
        The positive pixels of the sum image, sorted, e-/s; those that are infinite do not count.
    trim : float
        Fraction of the positive pixels, the brightest, that is left out; n of them leave
        n - floor(trim n).
    ceiling : float
        Pixels from this value on are left out as well, e-/s.
    sigmas : float
        Threshold over the mode, in units of the spread.

    Returns
    -------
    mode : float
        Mode of the remaining pixels, e-/s; NaN if none remains.
    mad : float
        1.4826 times the median distance to the mode of the pixels below it, e-/s; 0 if none is.
    threshold : float
        ``mode + sigmas * mad``, e-/s.
    bandwidth : float
        Bandwidth of the density estimate, e-/s.
    """
    n = first_from(flux, math.inf)
    n -= math.floor(trim * n + 1e-9)
    while n > 0 and flux[n - 1] >= ceiling:
        n -= 1
    flux = flux[:n]
    bandwidth = scott_bandwidth(flux)
    mode = density_mode(flux, bandwidth)
    mad = 0.0
    below = first_from(flux, mode) if n > 0 else 0
    if below > 0:
        median = 0.5 * (flux[(below - 1) // 2] + flux[below // 2])
        mad = 1.4826 * (mode - median)
    return mode, mad, mode + sigmas * mad, bandwidth
