"""PSF photometry with fitted positions: a shift of all stars and the target's own offset in every frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.newton_frames import fit_frame, newton_frames, workspace
from ..kernels.psf_likelihood import DATA_VARIANCE, MODEL_VARIANCE, POISSON
from .header import exposure_seconds
from .psf_method import FrameFits, PSFMethod
from .psf_scene import LEAST, SHIFT, Scene
from .psf_slopes import take_out_slopes

__all__ = ["LIKELIHOODS", "PSFPhotometry", "fit_positions"]

LIKELIHOODS = {"gaussian": DATA_VARIANCE, "gaussian-model": MODEL_VARIANCE, "poisson": POISSON}
#: Standard deviation of a star's mean offset from the catalogue, and of the offsets in a frame of stars that
#: are to be free, pixels.
PLACE, FREE = 0.1, 0.3
#: Error of the world coordinates of a frame in a quiet time, pixels.
POINTING = 0.02


class PSFPhotometry(PSFMethod):
    """Fluxes and positions by maximum likelihood.

    In each frame a shift of all stars from where the world coordinates have them, and the target's own
    offset, are fitted together with the fluxes and the background. See `PSFMethod` for the stars and pixels
    that are fitted, and for further attributes; the settings ``[psf] likelihood`` and ``free_stars`` choose
    the likelihood, and give other stars offsets of their own.

    Attributes
    ----------
    states : ndarray, shape (T, P)
        All unknowns of each frame; see `kernels.newton_psf`.

    Examples
    --------
    >>> PSFPhotometry(25155310, "sector1", "lightcurves", sector=1)
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.UsageError: TIC 25155310: datasource 'ffi' needs the sector, the camera and the ccd
    """

    states: NDArray[np.float64] = np.empty((0, 0))

    def _fit(self, scene: Scene) -> FrameFits:
        kind = self.settings.get("psf", "likelihood")
        number = self.settings.getint("psf", "free_stars")
        fits, self.states = fit_positions(
            scene, kind, number, self.settings.getfloat("psf", "offset_error"), exposure_seconds(self._source)
        )
        self.additional_headers.update(
            PSF_LIKE=(kind, "likelihood of the fit"),
            PSF_FREE=(number, "stars with positions of their own"),
        )
        return fits


def fit_positions(
    scene: Scene, likelihood: str, free_stars: int, offset_error: float, seconds: float
) -> tuple[FrameFits, NDArray[np.float64]]:
    """Fit fluxes, a background, a common shift and offsets in every frame.

    Parameters
    ----------
    scene : Scene
    likelihood : {'gaussian', 'gaussian-model', 'poisson'}
        Gaussian with the variance of the data, with that of the model, or Poisson.
    free_stars : int
        Number of stars with offsets of their own, the target and those closest to it.
    offset_error : float
        Standard deviation of the target's offset from its mean place, if it is the only free star, pixels.
    seconds : float
        During which light was collected in a frame.

    Returns
    -------
    FrameFits
    states : ndarray, shape (T, P)
        See `kernels.newton_frames`.
    """
    pixels, choice = scene.pixels, scene.choice
    k = len(choice.fitted)
    order = np.argsort(np.hypot(*scene.offsets.T), kind="stable")
    free = order[:free_stars]
    others = scene.subtracted
    faint_stars = np.column_stack([scene.positions[others], choice.flux[others]])
    positions = np.ascontiguousarray(scene.positions[choice.fitted])
    home = np.zeros(k + 3 + 2 * len(free))
    home[:k] = np.maximum(choice.flux[choice.fitted], 0.0)
    series = scene.faint_series()

    place = [offset_error if choice.inseparable else PLACE] * len(free)
    work = workspace(k, len(home), pixels.used.size)
    # The mean image tells where the stars usually are.
    precision = _precision(choice.precision, SHIFT, place)
    problem = (free, home.copy(), precision, DATA_VARIANCE, 1.0, *pixels.used.shape)
    home[k:] = _fit_mean(scene, positions, (series, faint_stars), problem, work)[k:]
    own = [offset_error] if len(free) == 1 else [FREE] * len(free)
    precision = _precision(choice.precision, POINTING, own)
    states, results, residual = newton_frames(
        pixels.images, pixels.errors, pixels.used, scene.response, scene.weights, positions, scene.shift,
        scene.gradient, series, faint_stars, LEAST,
        (free, home, precision, LIKELIHOODS[likelihood], seconds, *pixels.used.shape), work,
    )  # fmt: skip
    moved = states[:, k + 1 : k + 3] + states[:, k + 3 : k + 5]
    slopes, focus = take_out_slopes(results, scene.shift + moved, scene)
    fluxes = states[:, :k].copy()
    fluxes[:, 0] = results[:, 0]
    return FrameFits(results, fluxes, residual, moved, slopes, focus), states


def _fit_mean(
    scene: Scene,
    positions: NDArray[np.float64],
    faint: tuple[NDArray[np.float64], NDArray[np.float64]],
    problem: tuple[Any, ...],
    work: tuple[NDArray[np.float64], ...],
) -> NDArray[np.float64]:
    """The unknowns fitted to the mean image, or what is expected of them, shape (P,)."""
    pixels, home = scene.pixels, problem[1]
    variance = np.zeros(scene.weight.shape)
    np.divide(1.0 / pixels.good.sum(), scene.weight, out=variance, where=scene.weight > 0)
    weights = scene.weights[pixels.good].mean(axis=0)
    frame = (
        np.nan_to_num(pixels.mean).ravel(), variance.ravel(), np.tensordot(weights, scene.response, 1),
        positions, (faint[0], weights, faint[1]), np.zeros(2), np.empty(pixels.mean.size),
    )  # fmt: skip
    state = home.copy()
    cost = fit_frame(state, frame, problem, work)
    return state if cost < np.inf and np.isfinite(state).all() else home


def _precision(flux: NDArray[np.float64], shift: float, own: list[float]) -> NDArray[np.float64]:
    """Inverse variances of the priors of all unknowns, from those of fluxes and errors of positions."""
    # The background has next to none, which keeps a frame solvable whose pixels are nearly all unknown.
    offsets = np.repeat(np.array([shift, *own]) ** -2.0, 2)
    return np.concatenate([flux, [1e-12], offsets])
