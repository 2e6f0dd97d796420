"""Levels of the sky in rings around the camera's centre, and their profile in radius."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .boxes import central_means
from .jit import kernel

__all__ = ["less_profile", "ring_levels", "ring_values"]


#: Points of the grid on which a density is estimated, at most.
_GRID = 4096


@kernel
def _mode(values):
    """Mode of sorted values: the maximum of a Gaussian kernel density estimate on a grid."""
    n = values.shape[0]
    density = np.empty(_GRID)
    smooth = np.empty(_GRID)
    quarter = np.float64(values[n // 4])
    scale = (np.float64(values[(3 * n) // 4]) - quarter) / 1.349
    mean = 0.0
    for i in range(n):
        mean += values[i]
    mean /= n
    variance = 0.0
    for i in range(n):
        variance += (values[i] - mean) ** 2
    deviation = math.sqrt(variance / n)
    if deviation < scale:
        scale = np.float64(deviation)
    if not (scale > 0.0):
        return np.float64(values[n // 2])
    width = 1.06 * scale * n ** (-0.2)
    # The mode of a sky with stars is in the lower half; five steps to a bandwidth.
    low = np.float64(values[n // 100]) - 3.0 * width
    high = np.float64(values[(9 * n) // 10]) + 3.0 * width
    bins = min(int(5.0 * (high - low) / width) + 2, density.shape[0])
    step = (high - low) / (bins - 1)
    for j in range(bins):
        density[j] = 0.0
    for i in range(n):
        x = (values[i] - low) / step
        j = math.floor(x)
        if j >= 0 and j < bins - 1:
            f = x - j
            density[int(j)] += 1.0 - f
            density[int(j) + 1] += f
    reach = int(4.0 * width / step) + 1
    weights = np.empty(reach + 1)
    for k in range(reach + 1):
        weights[k] = math.exp(-0.5 * (k * step / width) ** 2)
    for j in range(bins):
        total = 0.0
        for k in range(max(0, j - reach), min(bins, j + reach + 1)):
            total += density[k] * weights[abs(k - j)]
        smooth[j] = total
    best = 0
    for j in range(bins):
        if smooth[j] > smooth[best]:
            best = j
    top = 0.0
    if 0 < best < bins - 1:
        # Top of the parabola through the three highest points.
        curve = smooth[best - 1] - 2.0 * smooth[best] + smooth[best + 1]
        if curve < 0.0:
            top = 0.5 * (smooth[best - 1] - smooth[best + 1]) / curve
    return low + (best + top) * step


@kernel
def ring_values(values, smooth, places, level):
    """Pixels of the rings with a level in place of their smooth sky; NaN where that is not positive.

    Parameters
    ----------
    values : ndarray of float32, shape (P,)
        Pixels of the rings; NaN where one is not to be used.
    smooth : ndarray of float32, shape (H * W,)
        The smooth sky in a rectangle that holds all of them.
    places : ndarray of uint32, shape (P,)
        0-based flat indices of the pixels in the rectangle.
    level : float

    Returns
    -------
    ndarray of float32, shape (P,)
    """
    out = np.empty(values.shape[0], dtype=np.float32)
    for i in range(values.shape[0]):
        v = values[i] - smooth[places[i]] + level
        out[i] = v if v > 0.0 else math.nan
    return out


@kernel
def less_profile(values, pixels, radii, profile, first, step, boxes):
    """Take a radial profile out of the pixels of the rings.

    Parameters
    ----------
    values : ndarray of float32, shape (P,)
    pixels : ndarray of uint32, shape (P,)
        Where they are in `boxes`, flat indices.
    radii : ndarray, shape (P,)
        Their distances from the centre.
    profile : ndarray of float32, shape (K,)
        At nodes from `first` on in steps of `step`; linear between them, which cover all pixels.
    first, step : float
    boxes : ndarray of float32, shape (M, N, B, B)
        The pixels of a frame (`boxes.in_boxes`); those of the rings are set to the result.

    Returns
    -------
    ndarray of float32, shape (P,)
    """
    flat = boxes.ravel()
    out = np.empty(values.shape[0], dtype=np.float32)
    for i in range(values.shape[0]):
        x = (radii[i] - first) / step
        j = min(int(x), profile.shape[0] - 2)
        f = x - j
        out[i] = values[i] - ((1.0 - f) * profile[j] + f * profile[j + 1])
    for i in range(values.shape[0]):
        flat[pixels[i]] = out[i]
    return out


def ring_levels(
    values: NDArray[np.float32], starts: NDArray[np.int64], fewest: int, sigma: float, starless: bool
) -> NDArray[np.float64]:
    """Level of every ring: the mode of its values, or without stars a mean (`boxes.central_means`).

    The mode's bandwidth is the normal reference rule's, 1.06 A n^(-1/5) with A the smaller of the standard
    deviation and the interquartile range / 1.349 (Silverman 1986).

    Parameters
    ----------
    values : ndarray of float32, shape (P,)
        Ring after ring; NaN where a pixel is not to be used.
    starts : ndarray of int64, shape (K + 1,)
        First value of every ring, and P.
    fewest : int
        A ring must have at least so many values, and 2.
    sigma : float
        Values beyond so many standard deviations from the median are not in the mean.
    starless : bool
        The mean.

    Returns
    -------
    ndarray, shape (K,)
        NaN where a ring has too few values.
    """
    levels = np.full(len(starts) - 1, np.nan)
    wanted, fewest = np.ones(1, dtype=bool), max(fewest, 2)
    for k in range(len(levels)):
        ring = values[starts[k] : starts[k + 1]]
        if starless:
            levels[k] = central_means(ring[None], wanted, fewest - 1.0, sigma)[0][0]
            continue
        ring = ring[np.isfinite(ring)]
        if len(ring) >= fewest:
            levels[k] = _mode(np.sort(ring))
    return levels
