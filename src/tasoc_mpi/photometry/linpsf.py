"""PSF photometry at known positions: all stars that matter and a background, fitted to every frame."""

from __future__ import annotations

import numpy as np

from ..kernels.linear_frames import solve_frames
from ..kernels.linear_psf import series_of_stars
from .psf_method import FrameFits, PSFMethod
from .psf_scene import LEAST, Scene
from .psf_slopes import take_out_slopes

__all__ = ["LinPSFPhotometry", "fit_linear"]


class LinPSFPhotometry(PSFMethod):
    """Fluxes by linear least squares with stars at their catalogue positions.

    Stars move with the frames' world coordinates. See `PSFMethod` for the stars and pixels that are fitted,
    and for the attributes.

    Examples
    --------
    >>> LinPSFPhotometry(25155310, "sector1", "lightcurves", sector=1)
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.UsageError: TIC 25155310: datasource 'ffi' needs the sector, the camera and the ccd
    """

    def _fit(self, scene: Scene) -> FrameFits:
        return fit_linear(scene)


def fit_linear(scene: Scene) -> FrameFits:
    """Fit the fluxes of a star and its neighbours, and a background, in every frame."""
    pixels, fitted = scene.pixels, scene.choice.fitted
    rows, columns = np.ascontiguousarray(scene.positions[fitted].T)
    height, width = scene.profile.shape
    series = series_of_stars(scene.response, rows, columns, np.ones(len(fitted)), height, width, False)
    results, fluxes, residual = solve_frames(
        pixels.images, pixels.errors, pixels.used, series, scene.faint_series(), scene.weights, scene.shift,
        scene.gradient, scene.offsets, scene.choice.flux[fitted], scene.choice.precision, LEAST,
    )  # fmt: skip
    slopes, focus = take_out_slopes(results, scene.shift, scene)
    fluxes[:, 0] = results[:, 0]
    return FrameFits(results, fluxes, residual, slopes=slopes, focus=focus)
