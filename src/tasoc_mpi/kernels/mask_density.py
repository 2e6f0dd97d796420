"""Which pixels of a sum image are significant: the mode of their flux and its spread.

The mode is that of a Gaussian kernel density estimate with Scott's bandwidth (Scott 1992), the sample
standard deviation times n**(-1/5), as `scipy.stats.gaussian_kde` has it. It is found in two steps: the
density on a grid, from binned fluxes, says where its high maxima are; there the exact density is followed
to its top. The result depends on the fluxes alone.
"""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["density_mode", "flux_threshold", "scott_bandwidth"]

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


@numba.njit(cache=True)
def scott_bandwidth(flux):
    """Scott's bandwidth of a sample: standard deviation (ddof 1) times n**(-1/5); 0 below two values."""
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
    return math.sqrt(total / (n - 1)) * n**-0.2


@numba.njit(cache=True)
def _density(flux, x, h):
    """Density (times n h sqrt(2 pi)) of a sorted sample at `x`; its 1st and 2nd derivative in x/h."""
    first = np.searchsorted(flux, x - _TAIL * h)
    last = np.searchsorted(flux, x + _TAIL * h)
    f = f1 = f2 = 0.0
    for k in range(first, last):
        u = (flux[k] - x) / h
        e = math.exp(-0.5 * u * u)
        f += e
        f1 += u * e
        f2 += (u * u - 1.0) * e
    return f, f1, f2


@numba.njit(cache=True)
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


@numba.njit(cache=True)
def _grid_density(flux, h):
    """The density at steps of h / _GRID from the lowest flux on, from linearly binned fluxes."""
    step = h / _GRID
    n = int((flux[-1] - flux[0]) / step) + 2
    counts = np.zeros(n + 2 * _REACH)
    for k in range(flux.shape[0]):
        x = (flux[k] - flux[0]) / step
        i = min(int(x), n - 2)
        counts[_REACH + i] += 1.0 - (x - i)
        counts[_REACH + i + 1] += x - i
    kernel = np.empty(2 * _REACH + 1)
    for k in range(2 * _REACH + 1):
        kernel[k] = math.exp(-0.5 * ((k - _REACH) / _GRID) ** 2)
    out = np.empty(n)
    for i in range(n):
        value = 0.0
        for k in range(2 * _REACH + 1):
            value += kernel[k] * counts[i + k]
        out[i] = value
    return out


@numba.njit(cache=True)
def density_mode(flux):
    """Where the Gaussian kernel density estimate of a sample with Scott's bandwidth is highest.

    Parameters
    ----------
    flux : ndarray of float64, shape (n,)
        The sample, sorted, finite.

    Returns
    -------
    float
        The mode; the lowest one if several are equally high. The common value of a sample without
        spread, NaN for an empty one.
    """
    n = flux.shape[0]
    if n == 0:
        return np.nan
    h = scott_bandwidth(flux)
    # A spread at the level of rounding (or one that overflows) has no density to speak of.
    if not (h / _GRID > 1e-14 * max(abs(flux[0]), abs(flux[-1]))) or not h < np.inf:
        return flux[n // 2]
    grid = _grid_density(flux, h)
    limit = (1.0 - _MARGIN) * grid.max()
    best = -1.0
    mode = flux[0]
    for i in range(grid.shape[0]):
        value = grid[i]
        if value < limit or (i > 0 and grid[i - 1] > value):
            continue
        if i < grid.shape[0] - 1 and grid[i + 1] >= value:
            continue
        x = _climb(flux, min(flux[0] + i * h / _GRID, flux[-1]), h)
        density = _density(flux, x, h)[0]
        if density > best * (1.0 + 1e-12):
            best = density
            mode = x
    return mode


@numba.njit(cache=True)
def flux_threshold(image, trim, ceiling, sigmas):
    """Mode, spread and threshold of the positive flux of an image.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
        Sum image, e-/s.
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
    flux = np.empty(image.size)
    n = 0
    for value in image.flat:
        if value > 0.0 and value < np.inf:
            flux[n] = value
            n += 1
    flux = np.sort(flux[:n])
    n -= math.floor(trim * n + 1e-9)
    while n > 0 and flux[n - 1] >= ceiling:
        n -= 1
    flux = flux[:n]
    mode = density_mode(flux)
    mad = 0.0
    below = np.searchsorted(flux, mode) if n > 0 else 0
    if below > 0:
        median = 0.5 * (flux[(below - 1) // 2] + flux[below // 2])
        mad = 1.4826 * (mode - median)
    return mode, mad, mode + sigmas * mad, scott_bandwidth(flux)
