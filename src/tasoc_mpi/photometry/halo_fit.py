"""The fit of the weights of halo photometry, and its parameters."""

from __future__ import annotations

import configparser
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.resources import one_blas_thread
from ..kernels.weighted_sum import weighted_sum
from .halo_signals import periodic_basis, without_signals
from .halo_weights import WeightFit, differences, optimal_weights

__all__ = ["HaloParameters", "HaloSeries", "fit_segments"]

#: Factor of the noise and iterations of the first fit, which shows the signals of the star.
_FIRST_NOISE, _FIRST_ITERATIONS = 10.0, 10
#: The plain sum is taken if its scatter from hour to hour is below this fraction of that of the fit.
_PLAIN_GAIN = 0.95
#: Common weights serve all pieces if the scatter is below this multiple of that of the expected noise; else
#: each gets its own if they reduce the scatter of one to this fraction.
_ENOUGH, _OWN_GAIN = 1.3, 0.75


@dataclass(frozen=True)
class HaloParameters:
    """The settings of the section [halo]; see `tasoc_mpi.core.settings`."""

    objective: str
    lag: float
    noise_weight: float
    max_iterations: int
    radius: float
    saturation: float
    saturated: int
    min_flux: float
    neighbour_share: float
    min_pixels: int
    min_frames: int
    gap: float

    @classmethod
    def from_settings(cls, settings: configparser.ConfigParser) -> HaloParameters:
        """Parameters as they are set.

        Examples
        --------
        >>> from tasoc_mpi.core.settings import load_settings
        >>> HaloParameters.from_settings(load_settings()).objective
        'tv'
        """
        return cls(
            objective=settings.get("halo", "objective"),
            lag=settings.getfloat("halo", "lag"),
            noise_weight=settings.getfloat("halo", "noise_weight"),
            max_iterations=settings.getint("halo", "max_iterations"),
            radius=settings.getfloat("halo", "radius"),
            saturation=settings.getfloat("halo", "saturation"),
            saturated=settings.getint("halo", "saturated"),
            min_flux=settings.getfloat("halo", "min_flux"),
            neighbour_share=settings.getfloat("halo", "neighbour_share"),
            min_pixels=settings.getint("halo", "min_pixels"),
            min_frames=settings.getint("halo", "min_frames"),
            gap=settings.getfloat("halo", "gap"),
        )


@dataclass(frozen=True)
class HaloSeries:
    """Time series of the pixels, relative to their mean over good frames."""

    pixels: NDArray[np.float32]  #: Shape (N, T): q - 1
    errors: NDArray[np.float32]  #: Shape (N, T): relative variance in each frame
    light: NDArray[np.float64]  #: Shape (N,): mean light of the star, e-/s
    good: NDArray[np.bool_]  #: Shape (T,): frames that count


def fit_segments(
    pixels: NDArray[np.float32],
    variance: NDArray[np.float64],
    light: NDArray[np.float64],
    time: NDArray[np.float64],
    cadenceno: NDArray[np.integer],
    pieces: list[slice],
    objective: str,
    lag: int,
    hour: int,
    noise_weight: float,
    iterations: int,
) -> list[WeightFit]:
    """The shares of the pixels in the light curve of frames without a gap.

    The first fit, in which noise counts tenfold, shows the periodic signals of the star. The second fit does
    without them if that makes the series quieter. Each piece gets weights of its own if common ones leave
    more than the expected noise in a piece and its own ones are much quieter there: weights of few frames
    follow their noise, and the levels of pieces match only approximately.

    Parameters
    ----------
    pixels : ndarray of float32, shape (N, T)
        Relative variations in good frames.
    variance, light : ndarray, shape (N,)
        Mean relative variance of the noise; mean light, e-/s.
    time, cadenceno : ndarray, shape (T,)
        Time in days.
    pieces : list of slice
        Ranges of frames between which the pointing may have changed; all of the frames together.
    objective, lag, noise_weight, iterations
        See `optimal_weights` and `differences`.
    hour : int
        Cadences of an hour.

    Returns
    -------
    list of WeightFit
        One for all frames, or one for each piece.
    """
    between = differences(cadenceno, lag, objective)
    if not between.points.size:
        return [WeightFit(light / light.sum(), np.ones(1))]

    def fit(frames: slice, start: NDArray[np.float64]) -> WeightFit:
        part, among = np.ascontiguousarray(pixels[:, frames]), differences(cadenceno[frames], lag, objective)
        if not among.points.size:
            return WeightFit(start, np.ones(1))
        found = optimal_weights(part, variance, start, among, noise_weight, iterations)
        plain = light / light.sum()
        fitted, summed = (_scatter(weighted_sum(part, v), hour) for v in (found.shares, plain))
        return WeightFit(plain, found.course) if summed < _PLAIN_GAIN * fitted else found

    with one_blas_thread():
        first = optimal_weights(pixels, variance, light, between, _FIRST_NOISE, _FIRST_ITERATIONS)
        flux = weighted_sum(pixels, first.shares)
        quiet = without_signals(pixels, periodic_basis(time, cadenceno, flux))
        # Eclipses are no sum of few waves; they stay, and an objective of absolute values bears them.
        if _scatter(weighted_sum(quiet, first.shares), hour) < _scatter(flux, hour):
            pixels = quiet
        common = fit(slice(0, len(time)), first.shares)
        flux = weighted_sum(pixels, common.shares)
        expected = _white_scatter(float((common.shares**2 * variance).sum()), hour)
        left = [_scatter(flux[piece], hour) for piece in pieces]
        if len(pieces) == 1 or max(left) < _ENOUGH * expected:
            return [common]
        own = [fit(piece, common.shares) for piece in pieces]
        quietened = [
            _scatter(weighted_sum(np.ascontiguousarray(pixels[:, piece]), one.shares), hour) < _OWN_GAIN * old
            for piece, one, old in zip(pieces, own, left, strict=True)
        ]
    return own if any(quietened) else [common]


def _scatter(series: NDArray[np.float64], size: int) -> float:
    """Median absolute difference of successive means of `size` frames, of fewer in a short series."""
    size = max(1, min(size, len(series) // 4))
    count = len(series) // size
    return float(np.median(np.abs(np.diff(series[: count * size].reshape(count, size).mean(axis=1)))))


def _white_scatter(variance: float, size: int) -> float:
    """`_scatter` of white noise."""
    return 0.6745 * math.sqrt(2.0 * variance / size)
