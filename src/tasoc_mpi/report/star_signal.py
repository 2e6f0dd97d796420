"""Periodic signals of a light curve: its power spectrum, its strongest period, and that period elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.times import DAY

__all__ = ["SIGNIFICANT", "SineFit", "Spectrum", "fit_sine", "power_spectrum", "source_offset"]

#: A peak of white noise that is at most this likely is taken for a signal.
SIGNIFICANT = 1e-3
#: Frequencies of the spectrum within the width of a peak (one over the length of the light curve).
_OVERSAMPLING = 8
#: Points and cycles that a period needs.
_POINTS, _CYCLES = 20, 2.0
#: Frequencies at most: a few points far from the others in time would ask for any number.
_MOST = 4_000_000


@dataclass(frozen=True)
class Spectrum:
    """The power spectrum of a light curve to its Nyquist frequency, and its highest peak."""

    frequency: NDArray[np.float64]  #: Shape (F,), 1/days
    power: NDArray[np.float64]  #: Shape (F,), one-sided power density of the relative flux, 1/microhertz
    nyquist: float  #: 1/days
    period: float  #: Of the highest peak with at least two cycles, days
    chance: float  #: Probability that white noise has a peak as high (false alarm probability)

    @property
    def significant(self) -> bool:
        """Whether the highest peak is no peak of white noise."""
        return self.chance < SIGNIFICANT


@dataclass(frozen=True)
class SineFit:
    """A sine of a known period in a series; the errors are those of white noise."""

    amplitude: float
    error: float
    cosine: float
    sine: float


def power_spectrum(time: NDArray[np.float64], values: NDArray[np.float64]) -> Spectrum | None:
    """The power spectrum of a light curve.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Days.
    values : ndarray, shape (T,)
        Relative flux; points that are NaN are left out.

    Returns
    -------
    Spectrum or None
        None where there are too few points, or all have one value.

    Examples
    --------
    >>> time = np.arange(1000) / 48
    >>> found = power_spectrum(time, 1e-3 * np.sin(2 * np.pi * time / 1.7))
    >>> round(found.period, 3), round(found.nyquist, 6), found.significant
    (1.7, 24.0, True)
    """
    from astropy.timeseries import LombScargle

    known = np.isfinite(time) & np.isfinite(values)
    time, values = time[known], values[known]
    if len(time) < _POINTS:
        return None
    length, step = float(np.ptp(time)), float(np.median(np.diff(np.sort(time))))
    variance = float(np.var(values))
    if not step > 0 or not variance > 0:
        return None
    nyquist, spacing = 0.5 / step, 1 / (_OVERSAMPLING * length)
    count = int(nyquist / spacing)
    if not _OVERSAMPLING < count <= _MOST:
        return None
    frequency = (spacing * np.arange(_OVERSAMPLING, count + 1)).astype("f8")
    scargle = LombScargle(time, values, fit_mean=True, center_data=True)
    # Share of the variance that a sine of each frequency explains.
    share = scargle.power(frequency, method="fast", assume_regular_frequency=True, normalization="standard")
    share = np.clip(np.nan_to_num(share), 0.0, 1.0)
    slow = int(np.searchsorted(frequency, _CYCLES / length))
    if slow >= count - _OVERSAMPLING:
        return None
    best = slow + int(np.argmax(share[slow:]))
    chance = float(scargle.false_alarm_probability(share[best], method="baluev", maximum_frequency=nyquist))
    # A sine of amplitude A has the variance A**2 / 2, in a band as wide as one over the time observed.
    density = share * variance * len(time) * step * DAY * 1e-6
    return Spectrum(frequency, density, nyquist, 1 / _top(frequency, share, best), chance)


def _top(frequency: NDArray[np.float64], power: NDArray[np.float64], best: int) -> float:
    """Frequency of a peak between those of the grid, by a parabola."""
    if not 0 < best < len(power) - 1:
        return float(frequency[best])
    left, middle, right = power[best - 1 : best + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(frequency[best] + np.clip(shift, -1, 1) * (frequency[1] - frequency[0]))


def fit_sine(time: NDArray[np.float64], values: NDArray[np.float64], period: float) -> SineFit | None:
    """The sine of a period in a series, by least squares with a mean.

    Parameters
    ----------
    time, values : ndarray, shape (T,)
        Days, and any unit; points that are NaN are left out.
    period : float
        Days.

    Returns
    -------
    SineFit or None
        In the unit of `values`; None where there are too few points.

    Examples
    --------
    >>> time = np.linspace(0, 27, 1000)
    >>> fit = fit_sine(time, 5 + 3 * np.cos(2 * np.pi * time / 2.5), 2.5)
    >>> round(fit.amplitude, 6), round(fit.cosine, 6)
    (3.0, 3.0)
    """
    known = np.isfinite(time) & np.isfinite(values)
    time, values = time[known], values[known]
    if len(time) < _POINTS:
        return None
    angle = 2 * np.pi * time / period
    matrix = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], axis=1)
    found = np.linalg.lstsq(matrix, values, rcond=None)[0]
    scatter = float(np.std(values - matrix @ found, ddof=3))
    cosine, sine = float(found[1]), float(found[2])
    return SineFit(float(np.hypot(cosine, sine)), scatter * float(np.sqrt(2 / len(time))), cosine, sine)


def source_offset(flux: SineFit, centroid: SineFit) -> tuple[float, float]:
    """How far from the centroid of the light in the mask the source of a signal is, along one axis.

    Where a source at a distance d varies by a fraction a of the light in the mask, the centroid moves by a d.

    Parameters
    ----------
    flux : SineFit
        Of the relative flux.
    centroid : SineFit
        Of the centroid along the axis, pixels, of the same period.

    Returns
    -------
    offset, error : float
        Pixels; NaN where the flux does not vary.

    Examples
    --------
    >>> source_offset(SineFit(0.01, 0.0, 0.01, 0.0), SineFit(0.02, 0.001, -0.02, 0.0))
    (-2.0, 0.1)
    """
    if not flux.amplitude > 0:
        return float("nan"), float("nan")
    common = centroid.cosine * flux.cosine + centroid.sine * flux.sine
    return common / flux.amplitude**2, centroid.error / flux.amplitude
