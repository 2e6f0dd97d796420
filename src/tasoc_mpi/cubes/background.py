"""The background of the frames: the algorithm in use, and the steps that all algorithms share.

An algorithm is two functions: a `Fit` for each frame, and `Coefficients` for the series. Another algorithm is
a module with these two functions that is imported here in place of `mesh_and_glow`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..kernels.background_model import BackgroundModel
from . import mesh_and_glow as algorithm
from .sky_geometry import BOX, SkyGeometry, sky_geometry

__all__ = [
    "ALGORITHM",
    "FLUX_CUTOFF",
    "Coefficients",
    "Fit",
    "average_in_time",
    "background_model",
    "fit_background",
    "load_kernels",
    "starless_model",
    "usable_pixels",
    "window_length",
]

#: Pixels above this are saturated or close to it, e-/s.
FLUX_CUTOFF = 8e4
#: Rows that are compared with it at once.
_ROWS = 64


class Fit(Protocol):
    """The fit of one frame."""

    def __call__(
        self,
        image: NDArray[np.float32],
        usable: NDArray[np.bool_],
        geometry: SkyGeometry,
        starless: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Fit the background of a frame.

        Parameters
        ----------
        image : ndarray of float32, shape (R, C)
            e-/s.
        usable : ndarray of bool, shape (R, C)
            See `usable_pixels`.
        geometry : SkyGeometry
        starless : bool
            The image of the stars (`star_image`) is taken out of the frame: the rest is sky and noise.

        Returns
        -------
        levels : ndarray of float32, shape `geometry.mesh_shape`
            Level of the sky in every box without the profile, e-/s.
        radial : ndarray of float32, shape (K,)
            Profile at the nodes, e-/s.
            None instead of both where the frame does not show enough sky.
        """


class Coefficients(Protocol):
    """The mesh of all frames from the levels of their boxes."""

    def __call__(self, levels: NDArray[np.float32], starless: bool) -> NDArray[np.float32]:
        """Cubic B-spline coefficients, e-/s.

        Parameters
        ----------
        levels : ndarray of float32, shape (M, N, T)
            From the fits; NaN in frames without a background.
        starless : bool
            As the frames were fitted.

        Returns
        -------
        ndarray of float32, shape (M, N, T)
        """


fit_background: Fit = algorithm.fit
_coefficients: Coefficients = algorithm.coefficients
#: Checkpoints of another algorithm are begun anew.
ALGORITHM = algorithm.__name__


def load_kernels() -> None:
    """Fit a box without anything in it, with stars and without: the kernels of the fits are loaded then."""
    geometry = sky_geometry((BOX, BOX), (0, 0), 1, 1)
    image = np.zeros((BOX, BOX), "f4")
    for starless in (False, True):
        fit_background(image, usable_pixels(image), geometry, starless)


def usable_pixels(image: NDArray[np.float32], excluded: int | None = None) -> NDArray[np.bool_]:
    """Pixels that show the sky: finite, not negative, not above 8e4 e-/s, not left out by hand.

    Parameters
    ----------
    image : ndarray, shape (R, C)
        e-/s.
    excluded : int, optional
        First column that is left out by hand.
    """
    usable = np.empty(image.shape, dtype=bool)
    # Some rows at a time stay in the processor's cache. Comparisons with NaN are false.
    for rows in (slice(row, row + _ROWS) for row in range(0, len(image), _ROWS)):
        np.greater_equal(image[rows], 0, out=usable[rows])
        usable[rows] &= image[rows] <= FLUX_CUTOFF
    if excluded is not None:
        usable[:, excluded:] = False
    return usable


def background_model(
    geometry: SkyGeometry,
    levels: NDArray[np.float32],
    radial: NDArray[np.float32],
    window: int = 1,
    starless: bool = False,
) -> BackgroundModel:
    """The backgrounds of a series, averaged in time.

    Parameters
    ----------
    geometry : SkyGeometry
    levels : ndarray of float32, shape (M, N, T)
    radial : ndarray of float32, shape (K, T)
        Both from `fit_background`.
    window : int
        Number of frames to average over, odd.
    starless : bool
        As the frames were fitted.
    """
    mesh = average_in_time(_coefficients(levels, starless), window)
    return geometry.model(mesh, average_in_time(radial, window))


def starless_model(
    geometry: SkyGeometry, levels: NDArray[np.float32], radial: NDArray[np.float32]
) -> BackgroundModel:
    """The background of one frame without stars, as `background_model` gives it in a series.

    Parameters
    ----------
    geometry : SkyGeometry
    levels : ndarray of float32, shape (M, N)
    radial : ndarray of float32, shape (K,)
        Both from `fit_background`.
    """
    return background_model(geometry, levels[:, :, None], radial[:, None], starless=True)


def window_length(cadence: int) -> int:
    """Number of frames over which the background is averaged: those of 5400 s, an odd number.

    >>> [window_length(cadence) for cadence in (1800, 600, 200)]
    [3, 9, 27]
    """
    return 2 * round((5400 / cadence - 1) / 2) + 1 if cadence < 5400 else 1


def average_in_time(values: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Running mean over the last axis, without NaN frames, shorter at the ends.

    Parameters
    ----------
    values : ndarray of float32, shape (..., T)
        A frame without a background is NaN throughout, and stays so.
    length : int
        Odd.

    Returns
    -------
    ndarray of float32, shape (..., T)

    Examples
    --------
    >>> average_in_time(np.array([1.0, 2.0, np.nan, 6.0, 8.0], "f4"), 3).tolist()
    [1.5, 1.5, nan, 7.0, 7.0]
    """
    n = values.shape[-1]
    good = np.isfinite(values)
    filled = np.where(good, values, 0).astype("f8")
    total = np.zeros(values.shape)
    count = np.zeros(values.shape)
    half = min(length // 2, n - 1)
    for shift in range(-half, half + 1):
        to = slice(max(0, -shift), min(n, n - shift))
        source = slice(max(0, shift), min(n, n + shift))
        total[..., to] += filled[..., source]
        count[..., to] += good[..., source]
    return np.where(good, total / np.maximum(count, 1), np.nan).astype("f4")
