"""Periods of a star's own variations, which a fit of systematics has to leave alone.

Vectors change within a day, so a few of them together resemble a pulsation of about that period, and a fit
would subtract a part of it. Sines of the star's own periods beside the vectors take its place in the fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from ..core.peaks import peak_place
from ..kernels.jit import kernel
from ..kernels.median import median

__all__ = ["own_sines"]

#: Periods are looked for in means over this time, days: vectors do not resemble shorter ones.
BIN = 1800.0 / 86400.0
#: Lowest and highest frequency, 1/d; slower variations are those of splines.
LOWEST, HIGHEST = 0.4, 8.0
#: A period counts if its power is this many times the median power; noise alone has one in a thousand stars.
LIMIT = 20.0
#: Number of periods at most.
MOST = 5
#: The power is computed at so many frequencies for one of the resolution.
OVERSAMPLING = 4


def own_sines(
    time: NDArray[np.float64], residual: NDArray[np.float64], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Sines and cosines of the periods in the residuals of a fit.

    One period after the other, the strongest first; its wave is subtracted before the next one is looked for.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Days, increasing.
    residual : ndarray, shape (T,)
    used : ndarray of bool, shape (T,)
        Points to look at.

    Returns
    -------
    ndarray, shape (2 F, T)
        Of F periods, which may be none.
    """
    days = time - time[0]
    places, means = _bin_means(days, residual, used, BIN)
    bins = int(places[-1]) + 1
    length = next_fast_len(OVERSAMPLING * bins, real=True)
    step = 1.0 / (length * BIN)
    first, last = int(np.ceil(LOWEST / step)), int(HIGHEST / step)
    if last < first:
        # Less than an hour shows none of these periods.
        return _waves(days, [])
    series = np.zeros(bins)
    found: list[float] = []
    while len(found) < MOST:
        series[places] = means
        # The last one before `first` is the neighbour of a peak.
        transform = np.fft.rfft(series, length)[first - 1 : last + 1]
        power = transform.real**2 + transform.imag**2
        best = 1 + int(np.argmax(power[1:]))
        if not power[best] > LIMIT * median(power[1:]):
            break
        around = np.sqrt(power[best - 1 : best + 2])
        found.append((first + best - 2 + peak_place(around, 1)) * step)
        wave = _waves(BIN * (places + 0.5), found[-1:])
        means = means - np.linalg.solve(wave @ wave.T, wave @ means) @ wave
    return _waves(days, found)


@kernel
def _bin_means(days, values, used, width):
    """Numbers of the bins with used values, and the means of these, less the mean of the means."""
    sums, counts = np.zeros(int(days[-1] / width) + 1), np.zeros(int(days[-1] / width) + 1)
    for t in range(days.size):
        if used[t]:
            sums[int(days[t] / width)] += values[t]
            counts[int(days[t] / width)] += 1.0
    (places,) = np.nonzero(counts)
    means = sums[places] / counts[places]
    return places, means - np.mean(means)


def _waves(time: NDArray[np.float64], frequencies: list[float]) -> NDArray[np.float64]:
    """Sine and cosine of each frequency, shape (2 F, T)."""
    if not frequencies:
        return np.empty((0, len(time)))
    phases = 2.0 * np.pi * np.array(frequencies)[:, None] * time
    return np.concatenate([np.sin(phases), np.cos(phases)])
