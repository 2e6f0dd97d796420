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
from .halo_weights import Differences, WeightFit, calm_differences, differences, optimal_weights

__all__ = ["HaloParameters", "HaloSeries", "fit_segments"]

#: Factor of the noise in the first fit, and iterations of the first two, which show the signals of the star.
_FIRST_NOISE, _FIRST_ITERATIONS = 10.0, 20
#: Noise counts so many times the number of pixels for each frame, if that is more than once: so many free
#: weights follow the noise of so few frames.
_NOISE_BY_PIXELS = 6.0
#: A light curve is as quiet as it can be if its scatter is below this multiple of that of the expected noise.
_ENOUGH = 1.3
#: Noise counts less by this factor where that reduces the scatter to this fraction.
_LESS_NOISE, _LESS_NOISE_GAIN = 3.0, 0.95
#: The fit is taken if it reduces the scatter of the plain sum to this fraction.
_FIT_GAIN = 0.9
#: Pieces get weights of their own if these reduce the scatter of one to this fraction.
_OWN_GAIN = 0.75


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

    Two short fits show the periodic signals of the star, the first one with noise counting tenfold. The last
    fit does without them if that makes the series quieter. Each piece gets weights of its own if common ones
    leave more than the expected noise in a piece and its own ones are much quieter there: weights of few
    frames follow their noise, and the levels of pieces match only approximately.

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
    plain = light / light.sum()
    between = differences(cadenceno, lag, objective)
    if not between.points.size:
        return [WeightFit(plain, np.ones(1))]

    def fit(frames: slice, start: NDArray[np.float64]) -> WeightFit:
        among = differences(cadenceno[frames], lag, objective)
        if not among.points.size:
            return WeightFit(start, np.ones(1))
        part = np.ascontiguousarray(quiet[:, frames])
        return _fit_or_plain(part, variance, start, plain, among, hour, noise_weight, iterations)

    with one_blas_thread():
        first = optimal_weights(pixels, variance, plain, between, _FIRST_NOISE, _FIRST_ITERATIONS)
        quiet = _quiet(pixels, first.shares, time, cadenceno, hour)
        calm = calm_differences(weighted_sum(quiet, first.shares), between)
        noise = noise_weight * _noise_factor(pixels)
        second = optimal_weights(quiet, variance, first.shares, calm, noise, _FIRST_ITERATIONS)
        if quiet is not pixels:
            quiet = _quiet(pixels, second.shares, time, cadenceno, hour)
        common = fit(slice(0, len(time)), second.shares)
        if len(pieces) == 1:
            return [common]
        flux = weighted_sum(quiet, common.shares)
        enough = _ENOUGH * _white_scatter(common.shares, variance, hour)
        own: dict[int, WeightFit] = {}
        for k, piece in enumerate(pieces):
            left = _scatter(flux[piece], hour)
            if left < enough:
                continue
            own[k] = fit(piece, common.shares)
            part = np.ascontiguousarray(quiet[:, piece])
            if _scatter(weighted_sum(part, own[k].shares), hour) < _OWN_GAIN * left:
                return [own.get(k) or fit(piece, common.shares) for k, piece in enumerate(pieces)]
    return [common]


def _fit_or_plain(
    pixels: NDArray[np.float32],
    variance: NDArray[np.float64],
    start: NDArray[np.float64],
    plain: NDArray[np.float64],
    between: Differences,
    hour: int,
    noise_weight: float,
    iterations: int,
) -> WeightFit:
    """The optimal shares, or the plain sum where the star varies too much to tell what is better.

    Where more than the expected noise is left, it is motion or the star. If noise counts less, motion goes;
    what the star does stays. And if the fit is hardly quieter than the plain sum, it is the star that both
    show: the fit has merely balanced its changes against the motion.
    """
    calm = calm_differences(weighted_sum(pixels, start), between)
    noise = noise_weight * _noise_factor(pixels)
    found = optimal_weights(pixels, variance, start, calm, noise, iterations)
    left = _scatter(weighted_sum(pixels, found.shares), hour)
    while noise > noise_weight and left > _ENOUGH * _white_scatter(found.shares, variance, hour):
        noise = max(noise / _LESS_NOISE, noise_weight)
        other = optimal_weights(pixels, variance, found.shares, calm, noise, iterations)
        scatter = _scatter(weighted_sum(pixels, other.shares), hour)
        if scatter > _LESS_NOISE_GAIN * left:
            break
        found, left = other, scatter
    if left > _ENOUGH * _white_scatter(found.shares, variance, hour):
        summed = _scatter(weighted_sum(pixels, plain), hour)
        if left > _FIT_GAIN * summed:
            return WeightFit(plain, found.course)
    return found


def _noise_factor(pixels: NDArray[np.float32]) -> float:
    """How many times noise counts for a matrix of pixels and frames."""
    count, frames = pixels.shape
    return max(1.0, _NOISE_BY_PIXELS * count / frames)


def _quiet(
    pixels: NDArray[np.float32],
    shares: NDArray[np.float64],
    time: NDArray[np.float64],
    cadenceno: NDArray[np.integer],
    hour: int,
) -> NDArray[np.float32]:
    """The pixels without the periodic signals of a light curve, if it is quieter without them.

    Eclipses are no sum of few waves: taking these out makes the light curve noisier.
    """
    flux = weighted_sum(pixels, shares)
    quiet = without_signals(pixels, periodic_basis(time, cadenceno, flux))
    return quiet if _scatter(weighted_sum(quiet, shares), hour) < _scatter(flux, hour) else pixels


def _scatter(series: NDArray[np.float64], size: int) -> float:
    """Median absolute difference of successive means of `size` frames, of fewer in a short series."""
    size = max(1, min(size, len(series) // 4))
    count = len(series) // size
    return float(np.median(np.abs(np.diff(series[: count * size].reshape(count, size).mean(axis=1)))))


def _white_scatter(shares: NDArray[np.float64], variance: NDArray[np.float64], size: int) -> float:
    """`_scatter` of the noise of a light curve, if it is white."""
    return 0.6745 * math.sqrt(2.0 * float((shares * shares * variance).sum()) / size)
