"""What the methods of PSF photometry share: pixels, stars and response, and the light curve from the fit."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.quality import TESSQualityFlags
from ..core.settings import mag2flux
from ..core.status import STATUS
from ..models.effective_prf import local_response
from .base import BasePhotometry
from .psf_scene import LEAST, Pixels, Scene, make_scene
from .stamp import Stamp

__all__ = ["FrameFits", "PSFMethod", "why_unsolved"]

#: Pixels up to this distance from the target's, in row and in column, are fitted.
RADIUS = 5
#: Stars up to this far outside of these pixels put light into them, pixels.
REACH = 7
#: Share of a star's light that has to fall on the pixels, or on such that are saturated or unknown.
LEAST_LIGHT = 0.2
#: Contamination above which the status is WARNING.
MOST_CONTAMINATION = 0.1


@dataclass(frozen=True)
class FrameFits:
    """The fits of all frames.

    Attributes
    ----------
    results : ndarray, shape (T, 4)
        Flux of the target, its error, background a pixel, and chi-square by degree of freedom; NaN in a
        frame without a solution.
    fluxes : ndarray, shape (T, K)
        Of the stars that were fitted, the target first.
    residual : ndarray, shape (R, C)
        Mean of data less model over the frames with a solution.
    moved : ndarray, shape (T, 2), or None
        (row, column) of the target from where the scene has it; None where it is held there.
    slopes : ndarray, shape (2,), or None
        Relative change of the flux by motion of a pixel in row and in column, which was taken out.
    focus : float
        Standard deviation of the relative change of the flux with the focus, which was taken out.
    """

    results: NDArray[np.float64]
    fluxes: NDArray[np.float64]
    residual: NDArray[np.float64]
    moved: NDArray[np.float64] | None = None
    slopes: NDArray[np.float64] | None = None
    focus: float = 0.0


class PSFMethod(BasePhotometry):
    """A method that fits a star and its neighbours with the pixel response.

    Neighbours that matter are fitted, the others are subtracted at their mean flux. Pixels that are saturated
    (at least ``saturation_flux`` in the mean image) or not known have no weight.

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

    skips_neighbours = False
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
            # Copies: one layout in memory, for which the kernels are compiled, for frames and target pixels.
            np.array(self._source.images[window], order="C"),
            np.array(self._source.images_err[window], order="C"), sums,
            collected & ~saturated & np.isfinite(sums), good,
        )  # fmt: skip
        positions = np.stack([stars["row"] + mean[0] - box[0], stars["column"] + mean[1] - box[2]], axis=1)
        expected = np.asarray(mag2flux(stars["tmag"]))  # type: ignore[arg-type]
        # Only a response from the same images has the same origin as the world coordinates.
        scene = make_scene(
            pixels, positions, expected, target, response, weights, shift - mean, gradient,
            recentre=not measured,
        )  # fmt: skip
        if scene is None:
            self.report_details(error="All pixels around the star are saturated or unknown.")
            return STATUS.ERROR
        if scene.profile.sum() < LEAST_LIGHT:
            self.report_details(error="Most of the star's light falls outside of the pixels.")
            return STATUS.ERROR
        return self._take(stars[scene.choice.fitted]["starid"], scene, self._fit(scene), box, source)

    @abstractmethod
    def _fit(self, scene: Scene) -> FrameFits:
        """Fit every frame."""

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

    def _take(
        self, starids: NDArray[np.int64], scene: Scene, fit: FrameFits, box: Stamp, source: str
    ) -> STATUS:
        """Make the light curve of what was fitted."""
        results, choice, residual = fit.results, scene.choice, fit.residual
        solved = np.isfinite(results[:, 0])
        self.failed_frames = ~solved
        if not (solved & scene.pixels.good).any():
            limit = self.settings.getfloat("k2p2", "saturation_flux")
            self.report_details(error=why_unsolved(scene, limit))
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
        mask[inner] = scene.profile >= 0.1 * scene.profile.max()
        rows, columns = np.nonzero(mask)
        background = self._source.background.total(
            rows + self._slices[0].start, columns + self._slices[1].start
        )
        background = np.where(solved, background + len(rows) * results[:, 2], np.nan)
        centroid = self._columns.arrays["pos_corr"] + [self.target_pos_column + 1, self.target_pos_row + 1]
        centroid += scene.step[::-1]
        if fit.moved is not None:
            centroid += fit.moved[:, ::-1]
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
        if fit.slopes is not None:
            for key, slope, axis in zip(("PSF_SLPR", "PSF_SLPC"), fit.slopes, ("row", "column"), strict=True):
                words = f"[1/pixel] corrected change of flux with {axis}"
                self.additional_headers[key] = (float(slope), words)
            focus = (1e6 * fit.focus, "[ppm] corrected change of flux with focus (RMS)")
            self.additional_headers["PSF_FOC"] = focus
        if choice.inseparable:
            self.logger.warning(
                "TIC %d: a neighbour is too close: the flux rests on the catalogue's ratio", self.starid
            )
            return STATUS.WARNING
        if self.contamination > MOST_CONTAMINATION:
            self.report_details(
                error=f"{self.contamination:.0%} of the light in the star's pixels is of others"
            )
            return STATUS.WARNING
        return STATUS.OK


def why_unsolved(scene: Scene, saturation: float) -> str:
    """The reason for which no frame has a solution, for the report of a star.

    Parameters
    ----------
    scene : Scene
    saturation : float
        Pixels with more in the mean image are not fitted, e-/s.
    """
    pixels = scene.pixels
    share = scene.profile**2 / np.sum(scene.profile**2)
    lost = share[pixels.mean >= saturation].sum()
    if lost > 1.0 - LEAST:
        return (
            f"Saturated pixels hold {lost:.0%} of the weight of the star, and PSF photometry cannot use "
            "them: take the aperture or halo photometry."
        )
    known = np.isfinite(pixels.images) & (pixels.errors > 0) & pixels.used[:, :, None]
    most = np.tensordot(share, known, 2).max(initial=0.0)
    if most < LEAST:
        return f"No frame could be solved: pixels with values hold at most {most:.0%} of the star's weight."
    count = len(scene.choice.fitted)
    return f"No frame could be solved for the fluxes of {count} stars and the background."
