"""Periods of a star's own variations, which a fit of systematics has to leave alone.

Vectors change within a day, so a few of them together resemble a pulsation of about that period, and a fit
would subtract a part of it. Sines of the star's own periods beside the vectors take its place in the fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft

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
    number = (days[used] / BIN).astype(np.int64)
    counts = np.bincount(number)
    there = counts > 0
    means = np.bincount(number, residual[used])[there] / counts[there]
    means -= means.mean()
    (places,) = np.nonzero(there)
    length = next_fast_len(OVERSAMPLING * len(counts), real=True)
    step = 1.0 / (length * BIN)
    first, last = int(np.ceil(LOWEST / step)), int(HIGHEST / step)
    series = np.zeros(len(counts))
    found: list[float] = []
    while len(found) < MOST:
        series[places] = means
        amplitude = np.abs(rfft(series, length)[: last + 1])
        best = first + int(np.argmax(amplitude[first:]))
        if not amplitude[best] ** 2 > LIMIT * np.median(amplitude[first:]) ** 2:
            break
        found.append(_peak(amplitude, best) * step)
        wave = _waves(BIN * (places + 0.5).astype(np.float64), found[-1:])
        means = means - np.linalg.lstsq(wave.T, means, rcond=None)[0] @ wave
    return _waves(days, found)


def _peak(amplitude: NDArray[np.float64], best: int) -> float:
    """Place of the maximum of a parabola through the largest of some values and its neighbours."""
    if best + 1 >= len(amplitude):
        return float(best)
    before, middle, after = amplitude[best - 1 : best + 2]
    bend = before - 2.0 * middle + after
    return best + (float(0.5 * (before - after) / bend) if bend < 0 else 0.0)


def _waves(time: NDArray[np.float64], frequencies: list[float]) -> NDArray[np.float64]:
    """Sine and cosine of each frequency, shape (2 F, T)."""
    phases = 2.0 * np.pi * np.array(frequencies)[:, None] * time
    return np.concatenate([np.sin(phases), np.cos(phases)])
