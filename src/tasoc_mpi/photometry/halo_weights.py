"""Weights of pixels that make a light curve as quiet as possible: objectives, gradient and optimiser.

The relative flux of pixel i is q_i(t) = p_i(t) / A_i with A_i its mean. The light curve is f = sum v_i q_i
with v_i >= 0 and sum v_i = 1: the sum of the pixels with weights w_i ~ v_i / A_i, over its mean. In v all
objectives are convex. The free parameters are the square roots of v.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels.weighted_sum import row_products, weighted_sum

__all__ = [
    "OBJECTIVES",
    "Differences",
    "WeightFit",
    "calm_differences",
    "differences",
    "optimal_weights",
    "roughness",
]

#: Power of the absolute differences and order of the differences of each objective.
OBJECTIVES = {"tv": (1, 1), "tv_o2": (1, 2), "l2v": (2, 1), "l3v": (3, 1)}
#: Mean of |n|^p of normal noise n of unit variance, to the power of 1 / p.
_NORMS = {1: math.sqrt(2.0 / math.pi), 2: 1.0, 3: (2.0 * math.sqrt(2.0 / math.pi)) ** (1.0 / 3.0)}
#: Weights of the points in a difference.
_STENCILS = {1: (-1.0, 1.0), 2: (1.0, -2.0, 1.0)}
#: The optimiser ends where a step improves the objective by less than this fraction.
_TOLERANCE = 1e-5
#: Differences above this multiple of their robust standard deviation are changes of the star.
_LARGE = 5.0


@dataclass(frozen=True)
class Differences:
    """Which points of a series enter each difference, and their factors.

    Attributes
    ----------
    points : ndarray of int64, shape (2 or 3, D)
        Indices of frames.
    power : int
        Of the absolute differences in the objective.
    """

    points: NDArray[np.int64]
    power: int

    @property
    def stencil(self) -> tuple[float, ...]:
        """Factors of the points of a difference."""
        return _STENCILS[len(self.points) - 1]

    @property
    def noise_factor(self) -> float:
        """Objective of white noise of unit variance."""
        return math.sqrt(sum(x * x for x in self.stencil)) * _NORMS[self.power]


def differences(cadenceno: NDArray[np.integer], lag: int, objective: str) -> Differences:
    """The differences of an objective over frames of a segment.

    Parameters
    ----------
    cadenceno : ndarray of int, shape (T,)
        Ascending; where a cadence is missing, there is no difference.
    lag : int
        Cadences between the points.
    objective : {'tv', 'tv_o2', 'l2v', 'l3v'}

    Examples
    --------
    >>> differences(np.array([10, 11, 12, 14, 15]), 1, "tv").points.tolist()
    [[0, 1, 3], [1, 2, 4]]
    >>> differences(np.array([10, 11, 12, 14, 15]), 1, "tv_o2").points.tolist()
    [[0], [1], [2]]
    """
    power, order = OBJECTIVES[objective]
    first = np.arange(len(cadenceno))
    points, known = [first], np.ones(len(cadenceno), dtype=bool)
    for k in range(1, order + 1):
        wanted = cadenceno + k * lag
        at = np.minimum(np.searchsorted(cadenceno, wanted), len(cadenceno) - 1)
        known &= cadenceno[at] == wanted
        points.append(at)
    return Differences(np.stack(points)[:, known], power)


def calm_differences(series: NDArray[np.float64], between: Differences) -> Differences:
    """The differences without those in which a light curve changes much more than usual.

    An optimiser that sees eclipses, transits and flares makes them shallower, by weights of pixels in which
    they are weaker, and lets motion in for that.

    Examples
    --------
    >>> eclipse = np.array([0.0, 1.0, 0.0, 1.0, 0.0, -50.0, 0.0, 1.0])
    >>> calm_differences(eclipse, differences(np.arange(8), 1, "tv")).points.tolist()
    [[0, 1, 2, 3, 6], [1, 2, 3, 4, 7]]
    """
    size = np.abs(_differences(series, between))
    return Differences(between.points[:, size <= _LARGE * 1.4826 * np.median(size)], between.power)


def _differences(series: NDArray[np.float64], between: Differences) -> NDArray[np.float64]:
    d = np.zeros(between.points.shape[1])
    for factor, at in zip(between.stencil, between.points, strict=True):
        d += factor * series[at]
    return d


def roughness(series: NDArray[np.float64], between: Differences) -> tuple[float, NDArray[np.float64]]:
    """(mean |difference|^p)^(1/p) of a series, and its derivative by the points of the series.

    Examples
    --------
    >>> value, slope = roughness(np.array([0.0, 1.0, 3.0]), differences(np.arange(3), 1, "tv"))
    >>> value, slope.tolist()
    (1.5, [-0.5, 0.0, 0.5])
    """
    d = _differences(series, between)
    size, p, n = np.abs(d), between.power, len(d)
    value = float((size**p).sum() / n) ** (1.0 / p)
    slope = np.zeros(len(series))
    if value > 0.0:
        change = np.sign(d) * size ** (p - 1) / (n * value ** (p - 1))
        for factor, at in zip(between.stencil, between.points, strict=True):
            # No point is twice in one row of `points`.
            slope[at] += factor * change
    return value, slope


@dataclass(frozen=True)
class WeightFit:
    """Optimal shares of the light.

    Attributes
    ----------
    shares : ndarray, shape (N,)
        v: the share of each pixel in the mean of the light curve; their sum is 1.
    course : ndarray
        The objective, with the noise term, relative to its value at the start, after each iteration.
    """

    shares: NDArray[np.float64]
    course: NDArray[np.float64]


def optimal_weights(
    pixels: NDArray[np.float32],
    variance: NDArray[np.float64],
    start: NDArray[np.float64],
    between: Differences,
    noise_weight: float,
    iterations: int,
) -> WeightFit:
    """Minimise the roughness of the light curve plus that of its expected noise.

    The second term is `noise_weight` times the roughness of white noise of variance sum v_i^2 s_i^2. Without
    it the optimiser uses the noise of hundreds of pixels to cancel the variations of the star.

    Parameters
    ----------
    pixels : ndarray of float32, shape (N, T)
        q - 1: relative variations of the pixels in good frames.
    variance : ndarray, shape (N,)
        s^2: their mean variance from the errors of the pixels.
    start : ndarray, shape (N,)
        Shares to begin with, positive.
    between : Differences
    noise_weight : float
    iterations : int
        Of L-BFGS at most.
    """
    from scipy.optimize import minimize

    noise = noise_weight * between.noise_factor

    def cost(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        v = _shares(x)
        value, slope = roughness(weighted_sum(pixels, v), between)
        by_share = row_products(pixels, slope)
        sigma = math.sqrt(float((v * v * variance).sum()))
        if sigma > 0.0:
            by_share += noise * v * variance / sigma
        by_root = 2.0 * x / (x * x).sum() * (by_share - (v * by_share).sum())
        return value + noise * sigma, by_root

    # The light in a pixel spans many orders of magnitude; in the roots of the shares, all of them can move.
    x = np.sqrt(start / start.sum())
    unit = cost(x)[0]
    course = [1.0]
    if not unit > 0.0:  # a constant light curve
        return WeightFit(_shares(x), np.array(course))
    found = minimize(
        lambda x: tuple(part / unit for part in cost(x)),
        x,
        jac=True,
        method="L-BFGS-B",
        callback=lambda intermediate_result: course.append(float(intermediate_result.fun)),
        options={"maxiter": iterations, "ftol": _TOLERANCE, "gtol": 0.0},
    )
    return WeightFit(_shares(found.x), np.array(course))


def _shares(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Not negative, and of sum 1."""
    square = x * x
    out: NDArray[np.float64] = square / square.sum()
    return out
