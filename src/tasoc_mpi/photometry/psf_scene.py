"""What the PSF methods fit: pixels, the response, and which stars are fitted or subtracted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels.linear_psf import series_of_stars
from ..kernels.spline_prf import draw_star

__all__ = ["LEAST", "Choice", "Pixels", "Scene", "choose_stars", "make_scene", "star_profiles"]

#: A neighbour is fitted if it puts more than this share of the target's flux, and more than this share of the
#: noise of a frame, into the target's flux; at most so many are.
SHARE, NOISE_SHARE, MOST = 5e-4, 0.1, 15
#: Relative errors of catalogue fluxes and of the mean fluxes of neighbours that are fitted: priors that
#: matter only for stars at the edge of the pixels.
CATALOG_ERROR, NEIGHBOUR_ERROR = 0.2, 0.5
#: Stars whose images are more alike than this (closer than some 0.7 px) cannot be separated: the ratio of
#: their fluxes is then the catalogue's to `RATIO_ERROR`.
ALIKE, RATIO_ERROR = 0.9, 0.02
#: Prior and largest step of the difference between the origins of responses and world coordinates, pixels.
SHIFT = 0.2
#: A step of this shift that is smaller is the last one, pixels.
SMALL = 0.005
#: A frame needs pixels with this share of the target's weight.
LEAST = 0.5


@dataclass(frozen=True)
class Choice:
    """What is done with the N stars around a target.

    Attributes
    ----------
    fitted : ndarray of int64, shape (K,)
        Their numbers, the target first; the others are subtracted.
    flux : ndarray, shape (N,)
        Mean fluxes, e-/s.
    precision : ndarray, shape (K,)
        Inverse variances of the priors on the fluxes of the fitted ones; 0 for the target.
    contamination : float
        Share of the light that is not the target's, weighted by the target's profile.
    inseparable : bool
        Whether the target's flux rests on the catalogue's ratio to a neighbour.
    """

    fitted: NDArray[np.int64]
    flux: NDArray[np.float64]
    precision: NDArray[np.float64]
    contamination: float
    inseparable: bool


@dataclass(frozen=True)
class Pixels:
    """The pixels around a star.

    Attributes
    ----------
    images, errors : ndarray of float32, shape (R, C, T)
    mean : ndarray, shape (R, C)
        Mean image of the good frames.
    used : ndarray of bool, shape (R, C)
        Pixels that are fitted.
    good : ndarray of bool, shape (T,)
    """

    images: NDArray[np.float32]
    errors: NDArray[np.float32]
    mean: NDArray[np.float64]
    used: NDArray[np.bool_]
    good: NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """A star, its neighbours and the pixels, ready to be fitted in every frame.

    Attributes
    ----------
    pixels : Pixels
    positions : ndarray, shape (N, 2)
        Mean 0-based (row, column) of all stars, in these pixels, where their images are.
    step : ndarray, shape (2,)
        By which these are from the catalogue's.
    weight : ndarray, shape (R, C)
        Inverse of the mean variance of the pixels, 0 for those that are not used.
    choice : Choice
    profile : ndarray, shape (R, C)
        Image of the target at a flux of 1.
    response : ndarray, shape (E, S, S)
        Coefficients at each epoch; see `kernels.spline_prf`.
    weights : ndarray, shape (T, E)
        Of the epochs.
    shift, gradient : ndarray, shape (T, 2), (T, 2, 2)
        Motion of the target from the mean position as (row, column), and its change by a pixel in row and in
        column.
    """

    pixels: Pixels
    positions: NDArray[np.float64]
    step: NDArray[np.float64]
    weight: NDArray[np.float64]
    choice: Choice
    profile: NDArray[np.float64]
    response: NDArray[np.float64]
    weights: NDArray[np.float64]
    shift: NDArray[np.float64]
    gradient: NDArray[np.float64]

    @property
    def subtracted(self) -> NDArray[np.int64]:
        """Numbers of the stars that are not fitted."""
        left = np.ones(len(self.positions), dtype=bool)
        left[self.choice.fitted] = False
        return np.flatnonzero(left)

    @property
    def offsets(self) -> NDArray[np.float64]:
        """(row, column) of the stars that are fitted, less the target's, shape (K, 2)."""
        fitted = self.choice.fitted
        return self.positions[fitted] - self.positions[fitted[0]]

    def faint_series(self) -> NDArray[np.float64]:
        """Images of the stars that are subtracted, shape (E, TERMS, R * C); see `series_of_stars`."""
        subtracted = self.subtracted
        rows, columns = np.ascontiguousarray(self.positions[subtracted].T)
        flux = self.choice.flux[subtracted]
        height, width = self.profile.shape
        return series_of_stars(self.response, rows, columns, flux, height, width, True)[0]


def make_scene(
    pixels: Pixels,
    positions: NDArray[np.float64],
    expected: NDArray[np.float64],
    target: int,
    response: NDArray[np.float64],
    weights: NDArray[np.float64],
    shift: NDArray[np.float64],
    gradient: NDArray[np.float64],
    recentre: bool,
) -> Scene | None:
    """Choose the stars that are fitted, and measure the mean fluxes of the others.

    Parameters
    ----------
    pixels : Pixels
    positions : ndarray, shape (N, 2)
        Mean 0-based (row, column) of all stars, in these pixels.
    expected : ndarray, shape (N,)
        Their fluxes by the catalogue, e-/s.
    target : int
    response, weights, shift, gradient : ndarray
        See `Scene`.
    recentre : bool
        Fit a shift of all stars to the mean image first.

    Returns
    -------
    Scene or None
        None if no pixel can be used.
    """
    weight = np.where(pixels.used, _mean_weight(pixels.errors[:, :, pixels.good]), 0.0)
    if not weight.any():
        return None
    rows, columns = np.ascontiguousarray(positions.T)
    whole = np.zeros(2)
    middle = np.tensordot(weights[pixels.good].mean(axis=0), response, 1)
    profiles = star_profiles(middle, rows, columns, pixels.mean.shape)
    choice = choose_stars(profiles, pixels.mean, weight, expected, target)
    for _ in range(3 if recentre else 0):
        step = _common_shift(middle, rows, columns, profiles, choice.flux, pixels.mean, weight)
        rows, columns, whole = rows + step[0], columns + step[1], whole + step
        profiles = star_profiles(middle, rows, columns, pixels.mean.shape)
        choice = choose_stars(profiles, pixels.mean, weight, expected, target)
        if np.abs(step).max() < SMALL:
            break
    return Scene(
        pixels, np.stack([rows, columns], axis=1), whole, weight, choice, profiles[target], response, weights,
        shift, gradient,
    )  # fmt: skip


def _mean_weight(errors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Inverse of the mean variance of pixels, from some 32 frames; 0 where it is not known, shape (R, C)."""
    squares = np.square(errors[:, :, :: max(1, errors.shape[2] // 32)], dtype="f8")
    known = np.isfinite(squares) & (squares > 0)
    total = np.where(known, squares, 0.0).sum(axis=2)
    return np.divide(known.sum(axis=2), total, out=np.zeros(total.shape), where=total > 0)


def _common_shift(
    coefficients: NDArray[np.float64],
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    profiles: NDArray[np.float64],
    flux: NDArray[np.float64],
    image: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Shift of all stars, (row, column), that fits the mean image better; one step of Gauss and Newton.

    MAST's responses are off their centre of light by up to 0.23 px, and world coordinates are not exact.
    """
    step = 0.05
    model = np.tensordot(flux, profiles, 1)
    moved = [
        np.tensordot(flux, star_profiles(coefficients, rows + dy, columns + dx, image.shape), 1)
        for dy, dx in ((step, 0.0), (0.0, step))
    ]
    scale = model.ravel() / max(abs(flux).max(), 1e-9)
    design = np.stack([*((m - model).ravel() / step for m in moved), scale, np.ones(model.size)])
    weighted = design * weight.ravel()
    matrix = weighted @ design.T
    matrix[np.diag_indices(4)] += [SHIFT**-2.0, SHIFT**-2.0, 1e-12, 1e-12]
    solution = np.linalg.solve(matrix, weighted @ (np.nan_to_num(image) - model).ravel())
    return np.clip(solution[:2], -SHIFT, SHIFT)


def star_profiles(
    coefficients: NDArray[np.float64],
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Images of stars of flux 1, shape (N, R, C)."""
    out = np.zeros((len(rows), *shape))
    for image, row, column in zip(out, rows, columns, strict=True):
        draw_star(coefficients, row, column, 0.0, 0.0, 1.0, image)
    return out


def choose_stars(
    profiles: NDArray[np.float64],
    image: NDArray[np.float64],
    weight: NDArray[np.float64],
    catalog: NDArray[np.float64],
    target: int,
) -> Choice:
    """Measure the mean fluxes of all stars, and decide which of them are fitted in every frame.

    Parameters
    ----------
    profiles : ndarray, shape (N, R, C)
    image, weight : ndarray, shape (R, C)
        Mean image, and the inverse variance of a frame.
    catalog : ndarray, shape (N,)
        Fluxes by the catalogue, e-/s; NaN for a target without a magnitude.
    target : int
    """
    n = len(profiles)
    design = np.concatenate([profiles.reshape(n, -1), np.ones((1, image.size))])
    weighted = design * weight.ravel()
    matrix = weighted @ design.T
    own = matrix[target, target]
    if not own > 0:
        # All of its pixels are saturated: no frame will be solved.
        return Choice(np.array([target]), np.nan_to_num(catalog), np.zeros(1), np.nan, False)
    norm = np.sqrt(np.diag(matrix)[:n])
    likeness = np.divide(matrix[target, :n], norm * norm[target], out=np.zeros(n), where=norm > 0)
    alike = likeness > ALIKE
    alike[target] = False
    flux = _mean_fluxes(matrix, weighted @ np.nan_to_num(image).ravel(), catalog, target, alike)

    light = flux * matrix[target, :n] / own
    noise = own**-0.5
    others = np.arange(n) != target
    matters = others & (light > max(SHARE * light[target], NOISE_SHARE * noise))
    order = np.argsort(-light, kind="stable")
    fitted = np.concatenate([[target], order[matters[order]][:MOST]]).astype("i8")
    relative = np.where(alike[fitted], RATIO_ERROR, NEIGHBOUR_ERROR)
    precision = (relative * np.maximum(flux[fitted], noise)) ** -2.0
    precision[0] = 0.0
    # Only a neighbour of some light makes the target's flux uncertain.
    inseparable = bool((alike & (light > 0.01 * light[target])).any())
    total = light.clip(0.0).sum()
    contamination = float(light[others].clip(0.0).sum() / total) if total > 0 else float("nan")
    return Choice(fitted, flux, precision, contamination, inseparable)


def _mean_fluxes(
    matrix: NDArray[np.float64],
    vector: NDArray[np.float64],
    catalog: NDArray[np.float64],
    target: int,
    alike: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Fluxes in the mean image, shape (N,), from its normal equations, whose last unknown is the background.

    Neighbours have priors around the catalogue's fluxes; of those whose images are like the target's the
    ratio to its flux has one.
    """
    n = len(catalog)
    others = np.arange(n) != target
    known = np.isfinite(catalog) & others
    shared = alike & known & np.isfinite(catalog[target])
    full, right = matrix.copy(), vector.copy()
    own = known & ~shared
    precision = (CATALOG_ERROR * catalog[own]) ** -2.0
    full[np.flatnonzero(own), np.flatnonzero(own)] += precision
    right[:n][own] += precision * catalog[own]
    for k in np.flatnonzero(shared):
        ratio = catalog[k] / catalog[target]
        precision = (RATIO_ERROR * catalog[k]) ** -2.0
        full[k, k] += precision
        full[target, target] += precision * ratio**2
        full[k, target] -= precision * ratio
        full[target, k] -= precision * ratio
    full[n, n] += 1e-12
    flux = np.linalg.solve(full, right)[:n]
    return np.where(others, np.maximum(flux, 0.0), flux)
