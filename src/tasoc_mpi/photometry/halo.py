"""Halo photometry of the brightest stars: weighted sums of pixels, with weights that make the sum quiet."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..core.quality import TESSQualityFlags
from ..core.settings import mag2flux
from ..core.status import STATUS
from ..kernels.weighted_sum import weighted_sum
from .aperture import stars_in_mask
from .base import BasePhotometry
from .halo_fit import HaloParameters, HaloSeries, fit_segments
from .halo_pixels import (
    HaloPixels,
    choose_pixels,
    mask_radius,
    neighbour_wings,
    saturated_regions,
    sum_series,
)
from .halo_segments import SPLITS, Segment, between_gaps, join_short, match_levels, split_series
from .halo_sky import star_in_background
from .halo_weights import OBJECTIVES, WeightFit

__all__ = ["HaloPhotometry"]

#: Version of the method, for the header.
VERSION = "1.1"
#: Share of the good frames in which a pixel has to be known.
_KNOWN_SHARE = 0.9
#: A star with less than this share of its mask on the CCD gets a warning.
_MASK_SHARE = 0.4
#: The accepted share of other stars' light is doubled so often at most, until this share of the mask is used.
_LARGER_SHARES, _ENOUGH_PIXELS = 5, 0.03
#: Stars that are fainter than the target by more than this many magnitudes do not matter.
_FAINT = 12.0


class HaloPhotometry(BasePhotometry):
    """Weighted sums of the pixels around a very bright star.

    The weights are not negative and make the light curve as quiet as possible (see `halo_weights`). Each
    segment of the series has weights of its own. The light curve is scaled to the expected flux.

    Attributes
    ----------
    halo_pixels : HaloPixels or None
        The pixels that were used.
    segments : list of (int, int)
        Half-open ranges of frames.
    weightmaps : ndarray, shape (S, rows, columns)
        Weights of the pixels in each segment; their sum is 1.
    courses : list of ndarray
        The objective relative to its value at the start, after each iteration, of each segment.
    plain_flux : ndarray, shape (T,)
        The plain sum of the same pixels, e-/s.

    Examples
    --------
    >>> HaloPhotometry(25155310, "sector1", "lightcurves", sector=1)
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.UsageError: TIC 25155310: datasource 'ffi' needs the sector, the camera and the ccd
    """

    halo_pixels: HaloPixels | None = None
    neighbour_share = 0.0

    def default_stamp(self) -> tuple[int, int]:
        """Rows and columns that hold the mask."""
        return (2 * math.ceil(self._radius) + 1,) * 2

    @property
    def _radius(self) -> float:
        """Radius of the mask, pixels."""
        return mask_radius(self._magnitude, self.settings.getfloat("halo", "radius"))

    def _distance(self) -> NDArray[np.float64]:
        """Distance of the pixels of the stamp from the star."""
        rows, columns = np.indices(self.sumimage.shape)
        return np.hypot(rows - self.target_pos_row_stamp, columns - self.target_pos_column_stamp)

    @property
    def _magnitude(self) -> float:
        """Magnitude of the star; that of a faint one where it is not known."""
        tmag = self.target["tmag"]
        return float(tmag) if math.isfinite(tmag) else 20.0

    def do_photometry(self, objective: str | None = None) -> STATUS:
        """Fit the weights and fill the light curve.

        Parameters
        ----------
        objective : {'tv', 'tv_o2', 'l2v', 'l3v'}, optional
            Default: the setting.

        Returns
        -------
        STATUS
            OK; WARNING if a segment is short, the weights lie on few pixels, or most of the mask is not on
            the CCD; ERROR, with a message in the details, if there are too few pixels or frames, or the star
            has no magnitude.
        """
        parameters = HaloParameters.from_settings(self.settings)
        objective = objective or parameters.objective
        if objective not in OBJECTIVES:
            raise ValueError(f"objective {objective!r}: one of {', '.join(OBJECTIVES)}")
        self.segments: list[Segment] = []
        self.weightmaps = np.zeros((0, *self.sumimage.shape))
        self.courses: list[NDArray[np.float64]] = []
        try:
            if not math.isfinite(self.target["tmag"]):
                raise _NoHalo("The star has no TESS magnitude, to which the flux could be scaled.")
            pixels = self._choose(parameters)
            series = self._read(pixels, parameters)
            status = self._split(series, parameters)
        except _NoHalo as error:
            self.report_details(error=str(error))
            return STATUS.ERROR
        fits = self._fit(series, objective, parameters)
        self.courses = [fit.course for fit in fits]
        self._fill(pixels, series, fits)
        self._add_headers(parameters, objective, pixels, len(fits))
        return self._warnings(pixels, parameters, status)

    # --- Pixels --------------------------------------------------------------------------------------

    def _choose(self, parameters: HaloParameters) -> HaloPixels:
        """The pixels that are used, in a stamp that holds the mask and the saturated pixels."""
        radius = self._radius
        regions = self._grow(parameters)
        image = self.sumimage
        distance = self._distance()
        usable = ((self.aperture & 1) > 0) & np.isfinite(image)
        used = usable & ((distance <= radius) | regions[0])
        usable[used] = self._known(used, parameters.min_flux)
        neighbours = self._neighbours(image, usable & ~regions[0] & ~regions[1])
        shares = [parameters.neighbour_share * 2**k for k in range(_LARGER_SHARES + 1)]
        for share in shares:
            pixels = choose_pixels(
                image, usable, regions, distance, radius, neighbours, share, bool(parameters.saturated)
            )
            if pixels.count >= max(parameters.min_pixels, _ENOUGH_PIXELS * np.sum(distance <= radius)):
                break
        self.neighbour_share = share
        if pixels.reason:
            text = "TIC %d: the saturated pixels are left out: %s"
            self.logger.info(text, self.starid, pixels.reason)
        if pixels.count < parameters.min_pixels:
            raise _NoHalo(
                f"Only {pixels.count} pixels can be used for halo photometry (at least "
                f"{parameters.min_pixels} are needed): {pixels.saturated} are saturated, the others faint, "
                "incomplete, or those of other stars."
            )
        self.halo_pixels = pixels
        return pixels

    def _grow(self, parameters: HaloParameters) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Let the stamp grow along the bleed columns; the saturated pixels of the star and of others."""
        step = math.ceil(parameters.radius)
        while True:
            place = (self.target_pos_row_stamp, self.target_pos_column_stamp)
            regions = saturated_regions(self.sumimage, parameters.saturation, *place)
            own = regions[0]
            touched = {"down": own[0].any(), "up": own[-1].any()}
            touched |= {"left": own[:, 0].any(), "right": own[:, -1].any()}
            sides = {side: step for side, there in touched.items() if there}
            if not parameters.saturated or not sides or not self.resize_stamp(**sides):
                return regions

    def _known(self, used: NDArray[np.bool_], min_flux: float) -> NDArray[np.bool_]:
        """Which of the used pixels have enough good frames, and none far below zero."""
        rows, columns = np.nonzero(used)
        good = TESSQualityFlags.filter(self._columns.arrays["quality"])
        values = self._source.images[rows + self._slices[0].start, columns + self._slices[1].start]
        finite = np.isfinite(values) & good
        known = finite.sum(axis=1) >= _KNOWN_SHARE * good.sum()
        return known & ~(finite & (values < min_flux)).any(axis=1)

    def _neighbours(self, image: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Expected light of other stars in the stamp, e-/s: cores by the response, wings by the target's."""
        row_min, row_max, col_min, col_max = self.stamp
        reach = self._radius
        source = self._source
        i = source.stars_within(row_min - reach, row_max + reach, col_min - reach, col_max + reach)
        stars = source.catalog.stars[i]
        matter = (stars["starid"] != self.starid) & (stars["tmag"] < self.target["tmag"] + _FAINT)
        stars, places = stars[matter], source.star_positions[i][matter]
        rows, columns = places[:, 1] - row_min, places[:, 0] - col_min
        flux = np.asarray(mag2flux(stars["tmag"]))
        cores = self.psf.integrate_to_image(np.stack([rows, columns, flux], axis=1), cutoff_radius=None)
        share = flux / mag2flux(self.target["tmag"])
        target = (self.target_pos_row_stamp, self.target_pos_column_stamp)
        wings = neighbour_wings(image, usable, target, np.stack([rows, columns, share], axis=1))
        return np.maximum(cores, wings)

    def _read(self, pixels: HaloPixels, parameters: HaloParameters) -> HaloSeries:
        """The time series of the pixels."""
        source, slices = self._source, self._slices
        flux = sum_series(source.images[slices], pixels, 1)
        if not pixels.core and not source.is_tpf:
            flux += self._subtracted_light(pixels)
        variance = sum_series(source.images_err[slices], pixels, 2)
        quality, index = self._columns.arrays["quality"], pixels.index
        good = TESSQualityFlags.filter(quality) & np.isfinite(flux).all(axis=0)
        if good.sum() < parameters.min_frames:
            raise _NoHalo(
                f"Only {int(good.sum())} frames are good in all pixels (at least {parameters.min_frames} are "
                "needed)."
            )
        others = np.bincount(index[index >= 0], pixels.neighbours[index >= 0], pixels.count)
        light = flux[:, good].mean(axis=1, dtype="f8") - others
        if not (light > 0).all():
            raise _NoHalo(
                "The flux of some pixels is zero or negative after that of other stars is subtracted."
            )
        flux -= (light + others)[:, None].astype("f4")
        flux /= light[:, None].astype("f4")
        variance /= (light * light)[:, None].astype("f4")
        return HaloSeries(flux, variance, light, good)

    def _subtracted_light(self, pixels: HaloPixels) -> NDArray[np.float32] | float:
        """Changes of the star that were subtracted with the background, as `HaloSeries.pixels`."""
        source, row, column = self._source, *self._source.origin
        good = TESSQualityFlags.filter(self._columns.arrays["quality"])
        place = (self.target_pos_row - row, self.target_pos_column - column)
        found = star_in_background(source.background, source.images.shape[:2], place, *self._slices, good)
        if found is None:
            text = "TIC %d: too little sky around the star to tell its light in the background"
            self.logger.info(text, self.starid)
            return 0.0
        return sum_series(found, pixels, 1)

    # --- Segments and weights ------------------------------------------------------------------------

    def _split(self, series: HaloSeries, parameters: HaloParameters) -> STATUS:
        """Find the segments; WARNING if one was too short."""
        time = self._columns.arrays["time"]
        times = SPLITS.get(self.sector, ())
        found = split_series(time, series.good, times, parameters.gap)
        self.segments, short = join_short(found, time, series.good, parameters.min_frames)
        for begin, end in short:
            self.logger.warning(
                "TIC %d: only %d good frames from %.3f to %.3f: they get the weights of the next segment",
                self.starid, int(series.good[begin:end].sum()), time[begin], time[end - 1],
            )  # fmt: skip
        return STATUS.WARNING if short else STATUS.OK

    def _fit(self, series: HaloSeries, objective: str, parameters: HaloParameters) -> list[WeightFit]:
        """The weights of each segment; joins those that need no weights of their own."""
        columns = self._columns.arrays
        time, cadenceno = columns["time"], columns["cadenceno"]
        lag, hour = (max(1, round(hours * 3600.0 / self.cadence)) for hours in (parameters.lag, 1.0))
        fits: list[WeightFit] = []
        segments: list[Segment] = []
        for group in between_gaps(self.segments, time, series.good, parameters.gap):
            frames = group[0][0] + np.flatnonzero(series.good[group[0][0] : group[-1][1]])
            pieces = [slice(*np.searchsorted(frames, segment).tolist()) for segment in group]
            variance = _mean_known(series.errors[:, frames])
            found = fit_segments(
                np.ascontiguousarray(series.pixels[:, frames]), variance, series.light, time[frames],
                cadenceno[frames], pieces, objective, lag, hour, parameters.noise_weight,
                parameters.max_iterations,
            )  # fmt: skip
            fits += found
            segments += group if len(found) == len(group) else [(group[0][0], group[-1][1])]
        self.segments = segments
        return fits

    def _fill(self, pixels: HaloPixels, series: HaloSeries, fits: list[WeightFit]) -> None:
        """Fill the light curve, the weight maps and the masks from the shares of the pixels."""
        time = self._columns.arrays["time"]
        mask = pixels.mask
        sums = self.sum_mask(mask)
        flux, error = np.empty((2, len(time)))
        for fit, (begin, end) in zip(fits, self.segments, strict=True):
            part = np.s_[:, begin:end]
            flux[begin:end] = 1.0 + weighted_sum(np.ascontiguousarray(series.pixels[part]), fit.shares)
            error[begin:end] = weighted_sum(np.ascontiguousarray(series.errors[part]), fit.shares**2)
        common = np.mean([fit.shares for fit in fits], axis=0)
        level = np.ones(len(time))
        if len(fits) > 1:
            with_common = 1.0 + weighted_sum(series.pixels, common)
            level = match_levels(time, series.good, self.segments, flux, with_common)
        scale = mag2flux(self.target["tmag"]) * level / np.median((flux * level)[series.good])
        missing = np.isnan(sums.flux) | np.isnan(flux)
        flux[missing] = error[missing] = np.nan
        centroid = np.stack([sums.column, sums.row], axis=1)
        self.set_lightcurve(scale * flux, scale * np.sqrt(error), sums.background, centroid)
        self.plain_flux = sums.flux
        self.final_phot_mask, self.final_position_mask = mask, mask.copy()
        self.weightmaps = np.zeros((len(fits), *mask.shape))
        for image, fit in zip(self.weightmaps, fits, strict=True):
            image[mask] = (fit.shares / series.light)[pixels.index[mask]]
            image /= image.sum()
        if not self._source.catalog.only_targets:
            others = np.bincount(pixels.index[mask], pixels.neighbours[mask], pixels.count)
            self.contamination = float((common * others / (others + series.light)).sum())

    # --- Reports -------------------------------------------------------------------------------------

    @property
    def effective_pixels(self) -> NDArray[np.float64]:
        """1 / sum of the squared weights of each segment."""
        return 1.0 / (self.weightmaps**2).sum(axis=(1, 2))

    def _add_headers(
        self, parameters: HaloParameters, objective: str, pixels: HaloPixels, segments: int
    ) -> None:
        self.additional_headers.update(
            HALO_VER=(VERSION, "halo: version of the method"),
            HALO_OBJ=(objective, "halo: objective of the weights"),
            HALO_THR=(parameters.saturation, "[e-/s] halo: saturated from here on"),
            HALO_MXI=(parameters.max_iterations, "halo: most iterations"),
            HALO_SCL=(False, "halo: sigma clipping"),
            HALO_MFL=(parameters.min_flux, "[e-/s] halo: lowest flux of a pixel"),
            HALO_LAG=(parameters.lag, "[h] halo: lag of the differences"),
            HALO_NOI=(parameters.noise_weight, "halo: weight of the expected noise"),
            HALO_SAT=(pixels.core, "halo: saturated pixels used, as their sum"),
            HALO_SEG=(segments, "halo: segments with weights of their own"),
            HALO_EFF=(
                round(float(self.effective_pixels.min()), 2),
                "halo: effective number of pixels, least",
            ),
        )
        cadenceno = self._columns.arrays["cadenceno"]
        table = np.zeros(
            segments,
            [
                ("CADENCENO1", "i4"),
                ("CADENCENO2", "i4"),
                ("SAT_PIXELS", "i4"),
                ("EFF_PIXELS", "f4"),
                ("WEIGHTMAP", "f4", self.weightmaps.shape[1:]),
            ],
        )
        table["CADENCENO1"] = [cadenceno[begin] for begin, _ in self.segments]
        table["CADENCENO2"] = [cadenceno[end - 1] for _, end in self.segments]
        table["SAT_PIXELS"] = pixels.saturated
        table["EFF_PIXELS"], table["WEIGHTMAP"] = self.effective_pixels, self.weightmaps
        self.add_hdu("WEIGHTMAP", table)
        stars = self.stamp_stars
        fainter = stars[(stars["starid"] != self.starid) & (stars["tmag"] > self.target["tmag"])]
        core = pixels.index == pixels.count - 1 if pixels.core else np.zeros(pixels.index.shape, dtype=bool)
        self.report_details(skip_targets=np.sort(fainter["starid"][stars_in_mask(fainter, core)]).tolist())

    def _warnings(self, pixels: HaloPixels, parameters: HaloParameters, status: STATUS) -> STATUS:
        """The status, and what is to be known about the light curve."""
        effective = float(self.effective_pixels.min())
        if effective < parameters.min_pixels:
            text = "TIC %d: the weights lie on %.1f pixels only"
            self.logger.warning(text, self.starid, effective)
            status = STATUS.WARNING
        if self.neighbour_share > parameters.neighbour_share:
            text = "TIC %d: up to %.0f%% of the light of a pixel belongs to other stars"
            self.logger.warning(text, self.starid, 100 * self.neighbour_share)
            status = STATUS.WARNING
        share = float((self._distance() <= self._radius).sum()) / (math.pi * self._radius**2)
        if share < _MASK_SHARE and self.datasource == "ffi":
            text = "TIC %d: only %.0f%% of the mask have pixels"
            self.logger.warning(text, self.starid, 100 * share)
            status = STATUS.WARNING
        return status


def _mean_known(errors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over time of variances, shape (N, T), where they are known."""
    mean = errors.mean(axis=1, dtype="f8")
    unknown = ~np.isfinite(mean)
    if unknown.any():
        known = np.isfinite(errors[unknown])
        total = np.where(known, errors[unknown], 0.0).sum(axis=1, dtype="f8")
        mean[unknown] = total / np.maximum(known.sum(axis=1), 1)
    return mean


class _NoHalo(Exception):
    """There is no halo photometry of this star, and why."""
