"""PSF photometry at known positions: all stars that matter and a background, fitted to every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.quality import TESSQualityFlags
from ..core.settings import mag2flux
from ..core.status import STATUS
from ..kernels.linear_psf import series_of_stars, solve_frames
from ..kernels.spline_prf import draw_star
from ..models.effective_prf import local_response
from .base import BasePhotometry
from .stamp import Stamp

__all__ = ["Fit", "LinPSFPhotometry", "Pixels", "fit_frames"]

#: Pixels up to this distance from the target's, in row and in column, are fitted.
RADIUS = 5
#: Stars up to this far outside of these pixels put light into them, pixels.
REACH = 7
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
#: A frame needs pixels with this share of the target's weight.
LEAST = 0.5
#: Contamination above which the status is WARNING.
MOST_CONTAMINATION = 0.1


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
class Fit:
    """The fit of all frames; see `Choice` and `kernels.linear_psf.solve_frames`, and the target's profile."""

    choice: Choice
    results: NDArray[np.float64]
    fluxes: NDArray[np.float64]
    residual: NDArray[np.float64]
    profile: NDArray[np.float64]


class LinPSFPhotometry(BasePhotometry):
    """Fluxes by linear least squares with stars at their catalogue positions.

    Stars move with the frames' world coordinates. Neighbours that matter are fitted, the others are
    subtracted at their mean flux. Pixels that are saturated (at least ``saturation_flux`` in the mean image)
    or not known have no weight.

    Attributes
    ----------
    neighbours : ndarray of int64, shape (K,)
        TIC numbers of the stars that were fitted, the target first.
    neighbour_fluxes : ndarray, shape (T, K)
        Their fluxes in every frame, e-/s.
    chi_square : ndarray, shape (T,)
        By degree of freedom, in every frame.
    residual : ndarray, shape (R, C)
        Mean of data less model over the frames, for the pixels of the stamp that were fitted, else NaN; e-/s.
    """

    neighbours: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    neighbour_fluxes: NDArray[np.float64] = np.empty((0, 0))
    chi_square: NDArray[np.float64] = np.empty(0)
    residual: NDArray[np.float64] = np.empty((0, 0))

    def do_photometry(self) -> STATUS:
        """Fill the light curve.

        Returns
        -------
        STATUS
            OK; WARNING if more than a tenth of the light is other stars', or a star cannot be separated from
            the target; ERROR, with a message in the details, if no frame could be solved.
        """
        box = self._fit_box()
        stars, target = self._fit_stars(box)
        shift, gradient = self._shifts()
        good = TESSQualityFlags.filter(self._columns.arrays["quality"]) & np.isfinite(shift).all(axis=1)
        if not good.any():
            self.report_details(error="No frame of good quality has a position of the star.")
            return STATUS.ERROR
        mean = np.median(shift[good], axis=0)
        place = self.target_pos_row + mean[0], self.target_pos_column + mean[1]
        response, weights, source, measured = local_response(
            self.input_folder, self.sector, self.camera, self.ccd, place, self._columns.arrays["time"]
        )
        origin = self._source.origin
        window = np.s_[box[0] - origin[0] : box[1] - origin[0], box[2] - origin[1] : box[3] - origin[1]]
        sums = self._source.sumimage[window].astype("f8")
        collected = (self._source.collected[window] & 1) > 0
        saturated = sums >= self.settings.getfloat("k2p2", "saturation_flux")
        pixels = Pixels(
            self._source.images[window], self._source.images_err[window], sums,
            collected & ~saturated & np.isfinite(sums), good,
        )  # fmt: skip
        positions = np.stack([stars["row"] + mean[0] - box[0], stars["column"] + mean[1] - box[2]], axis=1)
        expected = np.asarray(mag2flux(stars["tmag"]))  # type: ignore[arg-type]
        # Only a response from the same images has the same origin as the world coordinates.
        fit = fit_frames(
            pixels,
            positions,
            expected,
            target,
            response,
            weights,
            shift - mean,
            gradient,
            recentre=not measured,
        )
        if fit is None:
            self.report_details(error="All pixels around the star are saturated or unknown.")
            return STATUS.ERROR
        return self._take(stars[fit.choice.fitted]["starid"], fit, box, source)

    def _fit_box(self) -> Stamp:
        """The pixels to be fitted, and a stamp that holds them."""
        row, column = round(self.target_pos_row), round(self.target_pos_column)
        limits = self._limits
        box = (
            max(row - RADIUS, limits[0]),
            min(row + RADIUS + 1, limits[1]),
            max(column - RADIUS, limits[2]),
            min(column + RADIUS + 1, limits[3]),
        )
        return box

    def _fit_stars(self, box: Stamp) -> tuple[NDArray[np.void], int]:
        """Catalogue stars of known magnitude that reach into the pixels, and the target's number in them."""
        source = self._source
        near = source.stars_within(box[0] - REACH, box[1] + REACH, box[2] - REACH, box[3] + REACH)
        known = source.catalog.stars[near]
        near = near[np.isfinite(known["tmag"]) | (known["starid"] == self.starid)]
        stars = np.empty(len(near), dtype=[("starid", "i8"), ("tmag", "f8"), ("row", "f8"), ("column", "f8")])
        stars["starid"], stars["tmag"] = (
            source.catalog.stars["starid"][near],
            source.catalog.stars["tmag"][near],
        )
        stars["row"], stars["column"] = source.star_positions[near, 1], source.star_positions[near, 0]
        return stars, int(np.flatnonzero(stars["starid"] == self.starid)[0])

    def _shifts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Motion of the target in every frame as (row, column), and its change a pixel in row and column."""
        step = 10.0
        row, column = self.target_pos_row, self.target_pos_column
        own = self._columns.arrays["pos_corr"]
        time, kernel = self._columns.arrays["time"], self.MovementKernel
        moved = kernel.jitter(time, column, row + step), kernel.jitter(time, column + step, row)
        gradient = np.stack([(other - own)[:, ::-1] / step for other in moved], axis=-1)
        return np.ascontiguousarray(own[:, ::-1]), np.ascontiguousarray(np.nan_to_num(gradient))

    def _take(self, starids: NDArray[np.int64], fit: Fit, box: Stamp, source: str) -> STATUS:
        """Make the light curve of what was fitted."""
        results, choice, residual = fit.results, fit.choice, fit.residual
        solved = np.isfinite(results[:, 0])
        self.failed_frames = ~solved
        if not solved.any():
            self.report_details(error="No frame could be solved.")
            return STATUS.ERROR
        self.neighbours, self.neighbour_fluxes = starids, fit.fluxes
        self.chi_square = results[:, 3]
        first = box[0] - self.stamp[0], box[2] - self.stamp[2]
        inner = np.s_[first[0] : first[0] + residual.shape[0], first[1] : first[1] + residual.shape[1]]
        self.residual = np.full(self.sumimage.shape, np.nan)
        self.residual[inner] = residual
        # The pixels that a tenth of the peak reaches stand for the star's, for its background and for
        # pictures.
        mask = np.zeros(self.sumimage.shape, dtype=bool)
        mask[inner] = fit.profile >= 0.1 * fit.profile.max()
        rows, columns = np.nonzero(mask)
        background = self._source.background.total(
            rows + self._slices[0].start, columns + self._slices[1].start
        )
        background = np.where(solved, background + len(rows) * results[:, 2], np.nan)
        centroid = self._columns.arrays["pos_corr"] + [self.target_pos_column + 1, self.target_pos_row + 1]
        centroid[~solved] = np.nan
        self.set_lightcurve(results[:, 0], results[:, 1], background, centroid)
        self.final_phot_mask, self.final_position_mask = mask, mask.copy()
        self.contamination = choice.contamination if not self._source.catalog.only_targets else float("nan")
        known = self.contamination if np.isfinite(self.contamination) else None
        self.additional_headers.update(
            PSF_CONT=(known, "PSF contamination"),
            PSF_SRC=(source, "what the pixel response is from"),
            PSF_NFIT=(len(starids), "stars fitted, the target among them"),
            PSF_NSUB=(len(choice.flux) - len(starids), "fainter stars subtracted at their mean flux"),
            PSF_CHI2=(float(np.median(self.chi_square[solved])), "median chi-square by degree of freedom"),
        )
        self.report_details(skip_targets=[])
        if choice.inseparable:
            self.logger.warning(
                "TIC %d: a neighbour is too close: the flux rests on the catalogue's ratio", self.starid
            )
            return STATUS.WARNING
        return STATUS.WARNING if self.contamination > MOST_CONTAMINATION else STATUS.OK


def fit_frames(
    pixels: Pixels,
    positions: NDArray[np.float64],
    expected: NDArray[np.float64],
    target: int,
    response: NDArray[np.float64],
    weights: NDArray[np.float64],
    shift: NDArray[np.float64],
    gradient: NDArray[np.float64],
    recentre: bool,
) -> Fit | None:
    """Fit a star and its neighbours in every frame.

    Parameters
    ----------
    pixels : Pixels
    positions : ndarray, shape (N, 2)
        Mean (row, column) of all stars, in these pixels.
    expected : ndarray, shape (N,)
        Their fluxes by the catalogue, e-/s.
    target : int
    response : ndarray, shape (E, S, S)
        Coefficients at each epoch; see `kernels.spline_prf`.
    weights : ndarray, shape (T, E)
        Of the epochs.
    shift, gradient : ndarray, shape (T, 2), (T, 2, 2)
        Motion from the mean position as (row, column), and its change a pixel in row and column.
    recentre : bool
        Fit a shift of all stars to the mean image first.

    Returns
    -------
    Fit or None
        None if no pixel can be used.
    """
    weight = np.where(pixels.used, _mean_weight(pixels.errors[:, :, pixels.good]), 0.0)
    if not weight.any():
        return None
    shape = height, width = pixels.mean.shape
    rows, columns = np.ascontiguousarray(positions.T)
    middle = np.tensordot(weights[pixels.good].mean(axis=0), response, 1)
    profiles = _profiles(middle, rows, columns, shape)
    choice = _choose(profiles, pixels.mean, weight, expected, target)
    for _ in range(3 if recentre else 0):
        step = _common_shift(middle, rows, columns, profiles, choice.flux, pixels.mean, weight)
        rows, columns = rows + step[0], columns + step[1]
        profiles = _profiles(middle, rows, columns, shape)
        choice = _choose(profiles, pixels.mean, weight, expected, target)
    fitted = choice.fitted
    others = np.setdiff1d(np.arange(len(rows)), fitted)
    series = series_of_stars(
        response, rows[fitted], columns[fitted], np.ones(len(fitted)), height, width, False
    )
    fixed = series_of_stars(
        response, rows[others], columns[others], choice.flux[others], height, width, True
    )[0]
    results, fluxes, residual = solve_frames(
        pixels.images, pixels.errors, pixels.used, series, fixed, weights, shift, gradient,
        positions[fitted] - positions[target], choice.flux[fitted], choice.precision, LEAST,
    )  # fmt: skip
    return Fit(choice, results, fluxes, residual, profiles[target])


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
        np.tensordot(flux, _profiles(coefficients, rows + dy, columns + dx, image.shape), 1)
        for dy, dx in ((step, 0.0), (0.0, step))
    ]
    scale = model.ravel() / max(abs(flux).max(), 1e-9)
    design = np.stack([*((m - model).ravel() / step for m in moved), scale, np.ones(model.size)])
    weighted = design * weight.ravel()
    matrix = weighted @ design.T
    matrix[np.diag_indices(4)] += [SHIFT**-2.0, SHIFT**-2.0, 1e-12, 1e-12]
    solution = np.linalg.solve(matrix, weighted @ (np.nan_to_num(image) - model).ravel())
    return np.clip(solution[:2], -SHIFT, SHIFT)


def _profiles(
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


def _choose(
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
    error = np.where(alike, RATIO_ERROR, CATALOG_ERROR) * catalog
    precision = error**-2.0
    # The target has no prior unless only the catalogue can tell it from a neighbour.
    precision[target] = (CATALOG_ERROR * catalog[target]) ** -2.0 if alike.any() else 0.0
    vector = weighted @ np.nan_to_num(image).ravel()
    prior = np.nan_to_num(precision * catalog)
    full = matrix + np.diag(np.append(np.nan_to_num(precision), 1e-12))
    flux = np.linalg.solve(full, vector + np.append(prior, 0.0))[:n]
    flux = np.where(np.arange(n) == target, flux, np.maximum(flux, 0.0))

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
