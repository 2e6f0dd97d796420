"""The periodic signals of a star, which halo photometry keeps out of sight of its optimiser.

An optimiser that sees them trades them against the motion of the star wherever both happen to be alike, which
takes a part of their amplitude away and leaves motion in the light curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.peaks import peak_place

__all__ = ["periodic_basis", "without_signals"]

#: Most signals that are looked for.
MOST_SIGNALS = 24
#: A signal has this many times the median amplitude of its surroundings, +-`_SURROUNDINGS` per day.
SIGNAL_TO_NOISE = 5.0
_SURROUNDINGS = 3.0
#: Signals have periods below this, days: at longer ones the differences of the objectives see little.
LONGEST_PERIOD = 1.0
#: Order of the polynomial that is fitted with the signals.
_DEGREE = 3


def periodic_basis(
    time: NDArray[np.float64], cadenceno: NDArray[np.integer], flux: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Orthonormal time series that span the periodic signals of a light curve.

    The strongest peak of the amplitude spectrum is taken out again and again, all of them together with a
    polynomial, until none is left that stands out.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Days.
    cadenceno : ndarray of int, shape (T,)
    flux : ndarray, shape (T,)

    Returns
    -------
    ndarray, shape (2 K, T)
        A pair for each of the K signals; without the polynomial.

    Examples
    --------
    >>> t = np.arange(1000) / 48
    >>> wave = 1e-3 * np.sin(2 * np.pi * 7.3 * t)
    >>> noise = 1e-4 * np.random.default_rng(1).normal(size=1000)
    >>> periodic_basis(t, np.arange(1000), 1 + wave + noise).shape
    (2, 1000)
    """
    step = float(np.median(np.diff(time) / np.diff(cadenceno)))
    grid = cadenceno - cadenceno[0]
    length = 1 << int(4 * (int(grid[-1]) + 1) - 1).bit_length()
    frequency = np.fft.rfftfreq(length, step)
    x = 2.0 * (time - time[0]) / (time[-1] - time[0]) - 1.0
    basis, rest = np.empty((0, len(time))), flux.copy()
    for degree in range(_DEGREE + 1):
        basis, rest = _extended(basis, x**degree, rest)
    polynomial = len(basis)
    for _ in range(MOST_SIGNALS):
        on_grid = np.zeros(length)
        on_grid[grid] = rest
        found = _strongest(np.abs(np.fft.rfft(on_grid)), frequency)
        if found is None:
            break
        for wave in (np.sin, np.cos):
            basis, rest = _extended(basis, wave(2.0 * np.pi * found * time), rest)
    return basis[polynomial:]


def _strongest(amplitude: NDArray[np.floating], frequency: NDArray[np.floating]) -> float | None:
    """Frequency of the highest peak of an amplitude spectrum; None if it does not stand out."""
    searched = frequency > 1.0 / LONGEST_PERIOD
    peak = int(np.argmax(np.where(searched, amplitude, 0.0)))
    around = searched & (np.abs(frequency - frequency[peak]) < _SURROUNDINGS)
    if not searched[peak] or amplitude[peak] < SIGNAL_TO_NOISE * np.median(amplitude[around]):
        return None
    return peak_place(amplitude, peak) * float(frequency[1])


def _extended(
    basis: NDArray[np.float64], series: NDArray[np.float64], rest: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An orthonormal basis with one more series, unless it spans that already, and a rest without it."""
    new = series / np.sqrt((series * series).sum())
    for _ in range(2):  # once more for what rounding leaves
        new = new - (basis @ new) @ basis
    size = float(np.sqrt((new * new).sum()))
    if size <= 1e-6:
        return basis, rest
    new /= size
    return np.concatenate([basis, new[None]]), rest - new * (new * rest).sum()


def without_signals(pixels: NDArray[np.float32], basis: NDArray[np.float64]) -> NDArray[np.float32]:
    """Pixels, shape (N, T), less their projections on an orthonormal basis, shape (K, T)."""
    single = basis.astype("f4")
    out: NDArray[np.float32] = pixels - (pixels @ single.T) @ single
    return out
