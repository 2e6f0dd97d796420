"""The change of a fitted flux with the star's motion: the response is off by a detail at its place.

A response that is wrong by a small detail gives a flux that depends on the place in the pixel. The star
visits many places: fast motion (jitter) shows the slope; the correction is the slope times the motion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

__all__ = ["flux_slopes", "take_out_motion"]

#: Frames in which the star's own variation is a polynomial of this degree; the faster motion shows the slope.
BLOCK, DEGREE = 24, 1
#: Expected size of a slope, relative flux a pixel: 0.3 to 3% is seen with learnt responses.
SLOPE = 0.02
#: Frames off by so many standard deviations from those around them are outliers.
CLIP = 10.0


def flux_slopes(flux: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative change of a flux by motion.

    The expected size of the slopes is a prior, so that a few noisy frames give slopes near zero.

    Parameters
    ----------
    flux : ndarray, shape (T,)
        In good frames, in the order of time, all known.
    shift : ndarray, shape (T, 2)
        Motion as (row, column), pixels.

    Returns
    -------
    ndarray, shape (2,)
        Relative change of the flux a pixel in row and in column; zero for too few frames, or a flux that is
        not positive.

    Examples
    --------
    >>> shift = 0.03 * np.random.default_rng(1).standard_normal((240, 2))
    >>> slopes = flux_slopes(100.0 + 1.5 * shift[:, 0] - 0.4 * shift[:, 1], shift)
    >>> slopes.round(3).tolist()
    [0.015, -0.004]
    """
    level = float(np.median(flux)) if len(flux) else 0.0
    blocks = len(flux) // BLOCK
    if not level > 0.0 or blocks == 0:
        return np.zeros(2)
    table = np.column_stack([_without_outliers(flux / level - 1.0), shift])[: blocks * BLOCK]
    values = table.reshape(blocks, BLOCK, 3)
    smooth = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, BLOCK), DEGREE)
    table = (values - smooth @ (np.linalg.pinv(smooth) @ values)).reshape(-1, 3)
    left, moved = table[:, 0], table[:, 1:]
    sigma = 1.4826 * np.median(np.abs(left))
    matrix = moved.T @ moved + (sigma / SLOPE) ** 2 * np.eye(2)
    if not np.linalg.det(matrix) > 0.0:
        return np.zeros(2)
    slopes: NDArray[np.float64] = np.linalg.solve(matrix, moved.T @ left)
    return slopes


def take_out_motion(
    results: NDArray[np.float64], motion: NDArray[np.float64], good: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Take the change of a flux with the star's motion out of the results of a fit.

    Parameters
    ----------
    results : ndarray, shape (T, 4)
        As of `kernels.linear_psf.solve_frames`; the flux and its error are changed in place.
    motion : ndarray, shape (T, 2)
        (row, column) of the star less its mean place.
    good : ndarray of bool, shape (T,)
        Frames of good quality.

    Returns
    -------
    ndarray, shape (2,)
        See `flux_slopes`.
    """
    known = good & np.isfinite(results[:, 0])
    slopes = flux_slopes(results[known, 0], motion[known])
    if known.any():
        # The slopes hold where they were seen, and not in an excursion.
        motion = np.clip(motion, motion[known].min(axis=0), motion[known].max(axis=0))
    results[:, :2] /= (1.0 + motion @ slopes)[:, None]
    return slopes


def _without_outliers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outliers take the value of the frames around them."""
    calm = median_filter(values, 5)
    jump = np.abs(values - calm)
    return np.where(jump > CLIP * 1.4826 * np.median(jump), calm, values)
