"""Periodic signals of a light curve: its power spectrum, its strongest period, and that period elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.peaks import peak_place
from ..core.times import DAY

__all__ = [
    "SIGNIFICANT",
    "SineFit",
    "Spectrum",
    "fit_sine",
    "folded_medians",
    "power_spectrum",
    "source_offset",
]

#: A peak of white noise that is at most this likely is taken for a signal.
SIGNIFICANT = 1e-3
#: Frequencies of the spectrum within the width of a peak (one over the length of the light curve).
_OVERSAMPLING = 8
#: Points and cycles that a period needs.
_POINTS, _CYCLES = 20, 2.0
#: Frequencies at most: a few points far from the others in time would ask for any number.
_MOST = 1_000_000
#: Points of the grid on each side of a value that get a part of it.
_SPREAD = 8


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

    def minimum(self, period: float) -> float:
        """A time at which the sine of a period is lowest, in the unit of the period.

        >>> SineFit(1.0, 0.0, -1.0, 0.0).minimum(3.0)
        0.0
        """
        return (math.atan2(-self.sine, -self.cosine) % (2 * math.pi)) * period / (2 * math.pi)


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
    share = _explained(time, values, spacing, count)[_OVERSAMPLING:]
    slow = int(np.searchsorted(frequency, _CYCLES / length))
    if slow >= count - _OVERSAMPLING:
        return None
    best = slow + int(np.argmax(share[slow:]))
    chance = _chance(float(share[best]), time, nyquist)
    # A sine of amplitude A has the variance A**2 / 2, in a band as wide as one over the time observed.
    density = share * variance * len(time) * step * DAY * 1e-6
    return Spectrum(frequency, density, nyquist, 1 / _top(frequency, share, best), chance)


def _explained(
    time: NDArray[np.float64], values: NDArray[np.float64], spacing: float, count: int
) -> NDArray[np.float64]:
    """Share of the variance that a sine with a mean explains, at multiples 0 to `count` of a frequency.

    The generalised Lomb-Scargle periodogram (Zechmeister & Kuerster 2009, A&A 496, 577, equations 4 to 15).
    Astropy has it, too, and needs a second to be imported and half a second for a light curve of 120 s.
    """
    phase = (time - time[0]) * spacing
    values = (values - values.mean()) / values.std() / len(time)
    waves = _wave_sums(phase, np.full(len(time), 1 / len(time)), 2 * count + 1)
    once, twice, data = waves[: count + 1], waves[::2], _wave_sums(phase, values, count + 1)
    cosines = 0.5 * (1 + twice.real) - once.real**2
    sines = 0.5 * (1 - twice.real) - once.imag**2
    mixed = 0.5 * twice.imag - once.real * once.imag
    explained = sines * data.real**2 + cosines * data.imag**2 - 2 * mixed * data.real * data.imag
    with np.errstate(divide="ignore", invalid="ignore"):
        # Next to zero and Nyquist's frequency sine and cosine are not independent.
        share = explained / (cosines * sines - mixed**2)
    return np.clip(np.nan_to_num(share), 0.0, 1.0)


def _wave_sums(phase: NDArray[np.float64], values: NDArray[np.float64], count: int) -> NDArray[np.complex128]:
    """Sums of values times exp(2 pi i k phase) for k = 0 to count - 1, to some 1e-12 of their largest.

    Values are spread to a regular grid as Gaussians, whose transform is known (Greengard & Lee 2004, SIAM
    Review 46, 443).
    """
    modes = 2 * count
    length = 1 << (2 * modes - 1).bit_length()
    ratio = length / modes
    width = math.pi * _SPREAD / (modes**2 * ratio * (ratio - 0.5))
    place = phase % 1.0 * length
    nearest = place.astype(np.int64)
    grid = np.zeros(length)
    for k in range(1 - _SPREAD, _SPREAD + 1):
        distance = 2 * math.pi / length * (place - nearest - k)
        weight = np.exp(-(distance**2) / (4 * width))
        grid += np.bincount((nearest + k) % length, weight * values, length)
    gaussian = np.exp(width * np.arange(count, dtype="f8") ** 2) * math.sqrt(math.pi / width) / length
    return gaussian * np.fft.rfft(grid)[:count].conj()


def _chance(share: float, time: NDArray[np.float64], nyquist: float) -> float:
    """Probability that white noise has a peak as high (Baluev 2008, MNRAS 385, 1279), as astropy has it."""
    count = len(time)
    width = nyquist * math.sqrt(4 * math.pi * float(np.var(time)))
    rest = 1 - share
    gamma = math.sqrt(2 / (count - 1)) * math.exp(math.lgamma((count - 1) / 2) - math.lgamma(count / 2 - 1))
    peaks = gamma * width * rest ** (0.5 * (count - 4)) * math.sqrt(0.5 * (count - 1) * share)
    return float(-math.expm1(math.log1p(-(rest ** (0.5 * (count - 3)))) - peaks)) if rest < 1 else 1.0


def _top(frequency: NDArray[np.float64], power: NDArray[np.float64], best: int) -> float:
    """Frequency of a peak between those of the grid, by a parabola."""
    shift = np.clip(peak_place(power, best) - best, -1, 1)
    return float(frequency[best] + shift * (frequency[1] - frequency[0]))


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


def folded_medians(
    time: NDArray[np.float64],
    values: NDArray[np.float64],
    period: float,
    epoch: float,
    bins: int | None = None,
) -> NDArray[np.float64]:
    """Medians of a folded light curve in bins of its phase.

    Parameters
    ----------
    time, values : ndarray, shape (T,)
        Days, and any unit; points that are NaN are left out.
    period, epoch : float
        Days; the phase is 0 at the epoch.
    bins : int, optional
        Default: one for ten points, 5 to 40.

    Returns
    -------
    ndarray, shape (bins,)
        NaN where a bin has no point.

    Examples
    --------
    >>> folded_medians(np.arange(8.0), np.arange(8.0) % 2, period=2.0, epoch=0.0, bins=4).tolist()
    [0.0, nan, 1.0, nan]
    """
    known = np.isfinite(time) & np.isfinite(values)
    values = values[known]
    bins = bins or int(np.clip(len(values) // 10, 5, 40))
    place = ((time[known] - epoch) / period % 1.0 * bins).astype(int) % bins
    medians = [np.median(values[place == k]) if (place == k).any() else np.nan for k in range(bins)]
    return np.array(medians)
