"""The change of a fitted flux with the star's motion and with the focus: the response is off by a detail.

A response that is wrong by a small detail gives a flux that depends on the place in the pixel and on the
focus. Fast motion (jitter) shows the slope with the place, beside the slower variation of the star. The
focus changes as slowly as stars do, but the light that it takes from the flux is in the fitted background
then, where no variation of the star is.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from .psf_scene import Scene

__all__ = ["flux_slopes", "slopes_from_background", "take_out_slopes"]

#: Frames in which the star's own variation is a polynomial of this degree; the faster motion shows the slope.
BLOCK, DEGREE = 24, 1
#: Expected sizes of the slopes: relative flux a pixel of motion (0.3 to 3% is seen with learnt responses),
#: the change of that a pixel, and by a pixel squared of the focus' broadening.
MOTION_SLOPE, MOTION_CURVE, MOTION_FOCUS = 0.02, 0.2, 0.2
#: By a pixel squared of that broadening (0.15% by 0.03 is seen), and by the change from an epoch's response
#: to another one's.
FOCUS_SLOPE, EPOCH_SLOPE = 0.05, 0.0005
#: The background itself may change as the focus does by so much, e-/s a pixel.
SKY_DRIFT = 0.05
#: Share of a star's light that crosses the edge of the pixels by a pixel of motion.
EDGE = 0.002
#: The background shows what a flux has lost if this share of the star's light is in the fitted pixels.
COMPLETE = 0.9
#: Frames off by so many standard deviations from those around them are outliers.
CLIP = 10.0


def flux_slopes(
    flux: NDArray[np.float64],
    causes: NDArray[np.float64],
    expected: NDArray[np.float64],
    measured: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Relative change of a flux by motion and other causes.

    The expected size of the slopes is a prior, so that a few noisy frames give slopes near zero.

    Parameters
    ----------
    flux : ndarray, shape (T,)
        In good frames, in the order of time, all known.
    causes : ndarray, shape (T, K)
        For instance motion as (row, column), pixels.
    expected : ndarray, shape (K,)
        Expected sizes of the slopes.
    measured : (ndarray, ndarray), optional
        Slopes as they are known from elsewhere, shape (K,), and their inverse covariance, shape (K, K).

    Returns
    -------
    ndarray, shape (K,)
        Relative change of the flux by a unit of each cause; zero for too few frames, or a flux that is
        not positive.

    Examples
    --------
    >>> shift = 0.03 * np.random.default_rng(1).standard_normal((240, 2))
    >>> flux = 100.0 + 1.5 * shift[:, 0] - 0.4 * shift[:, 1]
    >>> flux_slopes(flux, shift, np.array([0.02, 0.02])).round(3).tolist()
    [0.015, -0.004]
    """
    count = causes.shape[1]
    level = float(np.median(flux)) if len(flux) else 0.0
    blocks = len(flux) // BLOCK
    if not level > 0.0 or blocks == 0:
        return np.zeros(count)
    table = np.column_stack([_without_outliers(flux / level - 1.0), causes])[: blocks * BLOCK]
    values = table.reshape(blocks, BLOCK, count + 1)
    smooth, inverse = _smooth()
    table = (values - smooth @ (inverse @ values)).reshape(-1, count + 1)
    left, moved = table[:, 0], table[:, 1:]
    variance = max((1.4826 * np.median(np.abs(left))) ** 2, 1e-20)
    matrix, vector = moved.T @ moved / variance + np.diag(expected**-2.0), moved.T @ left / variance
    if measured is not None:
        matrix += measured[1]
        vector += measured[1] @ measured[0]
    slopes: NDArray[np.float64] = np.linalg.solve(matrix, vector)
    return slopes


@functools.cache
def _smooth() -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Polynomials in a block of frames, and their pseudo-inverse."""
    smooth = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, BLOCK), DEGREE)
    return smooth, np.linalg.pinv(smooth)


def slopes_from_background(
    light: NDArray[np.float64], causes: NDArray[np.float64], drift: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Relative changes of a flux by what is in the background instead.

    The light of all pixels together does not change with motion and focus, but for a little that crosses
    their edge. Where the response is wrong, the background of the fit takes what the flux lacks.

    Parameters
    ----------
    light : ndarray, shape (T,)
        Of the background in all pixels together, in units of the star's flux.
    causes : ndarray, shape (T, K)
        The first two are motion.
    drift : float
        Change of the true background over the frames that may look like that by a cause, in the same units.

    Returns
    -------
    (ndarray, ndarray) or None
        The slopes, shape (K,), and their inverse covariance; None for too few frames.
    """
    design = np.column_stack([causes - causes.mean(axis=0), np.ones(len(causes))])
    blocks = len(light) // BLOCK
    matrix = design.T @ design
    # A cause that does not change has no slope; 1e-9 in a frame is below all that matters.
    matrix[np.diag_indices_from(matrix)] += 1e-18 * len(light)
    if blocks == 0 or len(light) <= 2 * len(matrix):
        return None
    lost = -_without_outliers(light)
    solution = np.linalg.solve(matrix, design.T @ lost)
    left = lost - design @ solution
    variance = (1.4826 * np.median(np.abs(left))) ** 2
    slow = np.hypot(drift, left[: blocks * BLOCK].reshape(blocks, BLOCK).mean(axis=1).std())
    covariance = variance * np.linalg.inv(matrix)[:-1, :-1]
    errors = slow / np.maximum(np.ptp(design[:, :-1], axis=0), 1e-9)
    errors[:2] = np.hypot(errors[:2], EDGE)
    covariance[np.diag_indices_from(covariance)] += errors**2
    return solution[:-1], np.linalg.inv(covariance)


def take_out_slopes(
    results: NDArray[np.float64], motion: NDArray[np.float64], scene: Scene
) -> tuple[NDArray[np.float64], float]:
    """Take the change of a flux with the star's motion and the focus out of the results of a fit.

    Parameters
    ----------
    results : ndarray, shape (T, 4)
        As of `kernels.linear_frames.solve_frames`; the flux and its error are changed in place.
    motion : ndarray, shape (T, 2)
        (row, column) of the star less its mean place.
    scene : Scene
        That was fitted.

    Returns
    -------
    slopes : ndarray, shape (2,)
        Relative change of the flux by a pixel of motion in row and in column.
    focus : float
        Standard deviation of the relative change with the focus that was taken out.
    """
    known = scene.pixels.good & np.isfinite(results[:, 0])
    if not known.any():
        return np.zeros(2), 0.0
    causes, expected, first = _causes(motion, scene, known)
    seen = np.asfortranarray(causes[known])
    flux = results[known, 0]
    used, level = scene.pixels.used, float(np.median(flux))
    measured = None
    if level > 0.0 and scene.profile[used].sum() > COMPLETE:
        size = used.sum() / level
        measured = slopes_from_background(size * results[known, 2], seen, size * SKY_DRIFT)
    slopes = flux_slopes(flux, seen, expected, measured)
    # The slopes hold where they were seen, and not in an excursion.
    causes = np.clip(causes, seen.min(axis=0), seen.max(axis=0))
    relative = causes @ slopes
    by_focus = seen[:, first:] @ slopes[first:]
    relative -= by_focus.mean()
    results[:, :2] /= (1.0 + relative)[:, None]
    return slopes[:2], float(np.std(by_focus))


def _causes(
    motion: NDArray[np.float64], scene: Scene, known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """What changes the flux, shape (T, K), the expected slopes, and the number of those with motion."""
    square = motion[:, [0, 0, 1]] * motion[:, [0, 1, 1]]
    changes = _changes(scene)
    focus, epochs = changes[:, :1] - changes[known, :1].mean(axis=0), changes[:, 1:]
    both = motion[:, : 2 * focus.shape[1]] * focus
    sizes = [MOTION_SLOPE] * 2 + [MOTION_CURVE] * 3 + [MOTION_FOCUS] * both.shape[1]
    sizes += [FOCUS_SLOPE] * focus.shape[1] + [EPOCH_SLOPE] * epochs.shape[1]
    # Sums along contiguous columns are far faster.
    causes = np.asfortranarray(np.column_stack([motion, square, both, focus, epochs]))
    return causes, np.array(sizes), 5 + both.shape[1]


def _changes(scene: Scene) -> NDArray[np.float64]:
    """What the response changes by: the focus as variance of broadening, and the weights of the epochs.

    The shape is (T, 0) for a response that does not change, (T, E) for one of E epochs.
    """
    if len(scene.response) == 1:
        return np.zeros((len(scene.weights), 0))
    *epochs, broad = scene.response
    weights = scene.weights[:, :-1]
    # The focus changes from epoch to epoch, too: by the share of the broadening in the difference.
    change = [np.vdot(epoch - epochs[0], broad) for epoch in epochs] / np.vdot(broad, broad)
    # The weights of all epochs add up to 1.
    return np.column_stack([scene.weights[:, -1] + weights @ change, weights[:, 1:]])


def _without_outliers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outliers take the value of the frames around them."""
    calm = median_filter(values, 5)
    jump = np.abs(values - calm)
    return np.where(jump > CLIP * 1.4826 * np.median(jump), calm, values)
