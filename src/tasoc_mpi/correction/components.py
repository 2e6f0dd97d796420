"""Principal components of many light curves, cleaned of those that one star dominates.

The light curves are the rows of a matrix that need not fit into memory: all that is needed of it is the
product ``X.T @ (X @ q)``, which the caller sums over blocks of rows in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.signal import savgol_filter
from scipy.stats import differential_entropy

__all__ = [
    "Components",
    "Products",
    "clean_components",
    "fill_gaps",
    "smooth_noise",
    "split_spikes",
    "weight_entropy",
]

#: ``X.T @ (X @ q)`` and ``X @ q`` of the matrix X of light curves, for q of shape (T, L).
Products = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]

#: Components that are computed beside the wanted ones: the wanted ones converge sooner.
SPARE = 8
#: The iteration ends when the wanted subspace turns by less than this (sine of an angle), or after so many.
TURN, MOST_ITERATIONS = 1e-4, 15
#: A component whose weights have this much less entropy than a Gaussian is one of single stars.
LEAST_ENTROPY = -0.5
#: Stars that are taken out at most.
MOST_REMOVED = 150
#: Windows of the filter that separates spikes from slow changes, points at 1800 s, and its order.
WINDOWS, ORDER = (31, 29, 27, 25, 23), 2
#: Window of the filter that tells noise from changes of the slow part, points at 1800 s.
NOISE_WINDOW = 13
#: Spikes differ from the slow part by more than this many robust standard deviations.
SPIKE = 3.0


@dataclass(frozen=True)
class Components:
    """Principal components of the rows of a matrix.

    Attributes
    ----------
    vectors : ndarray, shape (T, K)
        Orthonormal.
    variances : ndarray, shape (K,)
        Sum of the squares of the weights.
    weights : ndarray, shape (N, K)
        Of each row.
    entropies : ndarray, shape (K,)
        See `weight_entropy`; of the rows that were not taken out.
    removed : list of int
        Rows that were taken out, in their order.
    """

    vectors: NDArray[np.float64]
    variances: NDArray[np.float64]
    weights: NDArray[np.float64]
    entropies: NDArray[np.float64]
    removed: list[int]


def weight_entropy(weights: NDArray[np.float64]) -> float:
    """Entropy of a distribution of weights less that of a Gaussian of the same standard deviation.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> weights = rng.standard_normal(1000)
    >>> round(weight_entropy(weights), 1) == 0
    True
    >>> weights[0] = 100.0
    >>> weight_entropy(weights) < -0.5
    True
    """
    scaled = (weights - weights.mean()) / weights.std()
    return float(differential_entropy(scaled, method="ebrahimi") - 0.5 * np.log(2 * np.pi * np.e))


def clean_components(
    products: Products, row: Callable[[int], NDArray[np.float64]], frames: int, count: int
) -> Components:
    """Leading principal components, without stars that dominate one.

    While a component has a `weight_entropy` below `LEAST_ENTROPY`, the star with the largest weight on it, in
    robust standard deviations, is taken out.

    Parameters
    ----------
    products : callable
        See `Products`.
    row : callable
        A light curve by its number, shape (T,).
    frames, count : int
        T, and the number of components.
    """
    removed: list[int] = []
    taken = np.empty((0, frames))

    def rest(q: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The products without the rows that were taken out."""
        product, weights = products(q)
        return product - taken.T @ (taken @ q), weights

    size = min(count + SPARE, frames)
    start = np.random.default_rng(1).standard_normal((frames, size))
    while True:
        vectors, variances, weights, start = _leading(rest, start, count)
        kept = np.ones(len(weights), dtype=bool)
        kept[removed] = False
        entropies = np.array([weight_entropy(w) for w in weights[kept].T])
        worst = []
        for k in np.flatnonzero(entropies < LEAST_ENTROPY):
            own = weights[:, k]
            middle = np.median(own[kept])
            size_of = np.where(kept, np.abs(own - middle), -1.0)
            if (star := int(np.argmax(size_of))) not in worst:
                worst.append(star)
        worst = worst[: MOST_REMOVED - len(removed)]
        if not worst or kept.sum() - len(worst) <= count:
            return Components(vectors, variances, weights, entropies, removed)
        removed += worst
        taken = np.concatenate([taken, [row(star) for star in worst]])


def _leading(
    products: Products, start: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Vectors, variances, weights and subspace, by iteration of a subspace.

    Block power iteration with a Rayleigh-Ritz step (Halko, Martinsson & Tropp 2011, SIAM Review 53, 217).
    """
    q, _ = np.linalg.qr(start)
    last = q[:, :count]
    for _ in range(MOST_ITERATIONS):
        product, weights = products(q)
        variances, turn = np.linalg.eigh(q.T @ product)
        turn = turn[:, ::-1]
        ritz = q @ turn
        outside = ritz[:, :count] - last @ (last.T @ ritz[:, :count])
        last = ritz[:, :count]
        if np.abs(outside).max() < TURN / np.sqrt(len(ritz)):
            break
        q, _ = np.linalg.qr(product @ turn)
    vectors, weights = last, (weights @ turn)[:, :count]
    # Signs are free: most stars have a positive weight.
    signs = np.where(np.median(weights, axis=0) < 0, -1.0, 1.0)
    return vectors * signs, variances[::-1][:count], weights * signs, q


def fill_gaps(
    time: NDArray[np.float64], flux: NDArray[np.float64], orbit: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Fill missing points of a light curve: monotone cubic within an orbit, level at its ends.

    Parameters
    ----------
    time : ndarray, shape (T,)
    flux : ndarray, shape (T,)
        NaN where missing.
    orbit : ndarray of int32, shape (T,)
        Number of the orbit of each point.

    Examples
    --------
    >>> fill_gaps(np.arange(4.0), np.array([0.0, np.nan, 2.0, np.nan]), np.zeros(4, np.int32)).tolist()
    [0.0, 1.0, 2.0, 2.0]
    """
    missing = ~np.isfinite(flux)
    if not missing.any():
        return flux
    out = flux.copy()
    for number in np.unique(orbit[missing]):
        own = orbit == number
        there = own & ~missing
        if there.sum() < 2:
            out[own & missing] = 0.0
            continue
        inside = np.clip(time[own & missing], time[there][0], time[there][-1])
        out[own & missing] = PchipInterpolator(time[there], flux[there])(inside)
    return out


def split_spikes(
    vectors: NDArray[np.float64], orbit: NDArray[np.int32], cadence: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split vectors into a slow part and spikes.

    A Savitzky-Golay filter smooths each orbit with shorter and shorter windows; points that differ from the
    smooth curve by more than `SPIKE` robust standard deviations take its value, and the rest of them is
    their spike.

    Parameters
    ----------
    vectors : ndarray, shape (T, K)
    orbit : ndarray of int32, shape (T,)
    cadence : int
        Seconds; the windows have the same length in hours at every cadence.

    Returns
    -------
    slow, spikes : ndarray, shape (T, K)
        Their sum is `vectors`.
    """
    slow = vectors.copy()
    for number in np.unique(orbit):
        (own,) = np.nonzero(orbit == number)
        for points in WINDOWS:
            window = max(ORDER + 3, 2 * round(0.5 * points * 1800 / cadence) + 1)
            if len(own) <= window:
                continue
            smooth = savgol_filter(slow[own], window, ORDER, axis=0)
            rest = vectors[own] - smooth
            limit = SPIKE * 1.4826 * np.median(np.abs(rest), axis=0)
            slow[own] = np.where(np.abs(rest) > limit, smooth, vectors[own])
    return slow, vectors - slow


def smooth_noise(
    slow: NDArray[np.float64], noise: NDArray[np.float64], orbit: NDArray[np.int32], cadence: int
) -> NDArray[np.float64]:
    """Take the noise out of slow parts, which each corrected light curve would get.

    The difference of a slow part from its smooth curve is multiplied by 1 - n^2 / s^2 (Wiener's filter), s
    its robust standard deviation and n the noise; by 0 where that is negative.

    Parameters
    ----------
    slow : ndarray, shape (T, K)
    noise : ndarray, shape (K,)
        Standard deviation of the noise of each.
    orbit : ndarray of int32, shape (T,)
    cadence : int
        Seconds.
    """
    out = slow.copy()
    window = max(ORDER + 3, 2 * round(0.5 * NOISE_WINDOW * 1800 / cadence) + 1)
    # Share of the noise that the filter leaves in the difference.
    share = 1.0 - 9.0 / (4.0 * window)
    for number in np.unique(orbit):
        (own,) = np.nonzero(orbit == number)
        if len(own) <= window:
            continue
        smooth = savgol_filter(slow[own], window, ORDER, axis=0)
        rest = slow[own] - smooth
        variance = (1.4826 * np.median(np.abs(rest), axis=0)) ** 2
        out[own] = smooth + rest * (1.0 - share * noise**2 / np.maximum(variance, 1e-30)).clip(0.0, 1.0)
    return out
