"""Aperture photometry: the pixels of a K2P2 mask, summed in every frame."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..core.settings import mag2flux
from ..core.status import STATUS
from ..kernels.mask_touches import sides_of, stars_inside
from .base import BasePhotometry
from .k2p2 import K2P2Parameters, K2P2Result, k2p2_masks
from .measurements import SIDES, edge_flux

__all__ = ["AperturePhotometry", "contamination", "minimal_mask", "stars_in_mask", "touched_sides"]


class AperturePhotometry(BasePhotometry):
    """Sums over the pixels of the mask that holds the star.

    The mask is made from the sum image (see `k2p2_masks`); a mask that touches the edge of the stamp makes
    the stamp grow. A star without a mask gets the pixels next to it, with the status WARNING.

    Attributes
    ----------
    k2p2 : K2P2Result or None
        The steps of the mask making in the last stamp; None before `do_photometry`.

    Examples
    --------
    >>> AperturePhotometry(25155310, "sector1", "lightcurves", sector=1)
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.UsageError: TIC 25155310: datasource 'ffi' needs the sector, the camera and the ccd
    """

    k2p2: K2P2Result | None = None

    def do_photometry(self) -> STATUS:
        """Make the mask and fill the light curve.

        Returns
        -------
        STATUS
            OK; WARNING if the star has no mask of its own and the pixels next to it were used; ERROR, with
            a message in the details, if it belongs to two masks, the stamp would have to grow too often,
            the star is cut off by the edge of the CCD (not that of a cut-out or target pixel file, which
            are used as they are), or no star of the catalog is in the mask.
        """
        parameters = K2P2Parameters.from_settings(self.settings)
        self._add_headers(parameters)
        try:
            mask = self._grow(parameters)
            status = STATUS.OK
            if mask is None:
                mask = self._minimal_mask()
                status = STATUS.WARNING
            stars = self.stamp_stars
            inside = stars_in_mask(stars, mask)
            # Not of all fields of these stars: numpy would copy them one by one.
            starids, tmags = stars["starid"][inside], stars["tmag"][inside]
            if not len(starids):
                raise _NoAperture("No star of the catalog is in the mask.")
        except _NoAperture as error:
            self.report_details(error=str(error))
            return STATUS.ERROR

        self.contamination = float("nan")
        if not self._source.catalog.only_targets:
            self.contamination = contamination(tmags, starids == self.starid)
        known = self.contamination if math.isfinite(self.contamination) else None
        self.additional_headers["AP_CONT"] = (known, "AP contamination")
        others = sorted(starid for starid in starids.tolist() if starid != self.starid)
        self.report_details(skip_targets=others)

        sums = self.sum_mask(mask)
        self.set_lightcurve(sums.flux, sums.flux_err, sums.background, sums.centroid)
        self.final_phot_mask = mask
        self.final_position_mask = mask.copy()
        return status

    def _grow(self, parameters: K2P2Parameters) -> NDArray[np.bool_] | None:
        """The mask of the target in a stamp that is large enough for it, or None if it has none."""
        # Sides on which there are no more pixels. A target pixel file has none to give.
        ended = set() if self.datasource == "ffi" else set(SIDES)
        resizes = 0
        while True:
            mask = self._target_mask(parameters)
            if mask is None:
                return None
            touched = touched_sides(mask)
            if not touched:
                return mask
            self._check_cut_off(mask, touched & ended - self.cut_sides)
            growing = touched - ended
            if not growing:
                if touched & self.cut_sides:
                    self.logger.info("%s: the mask is cut off by the edge of the cut-out", self.star_name)
                return mask
            settings = self.settings
            bright = self.target["tmag"] < settings.getfloat("photometry", "bright_tmag")
            if resizes >= settings.getint("photometry", "max_resizes_bright" if bright else "max_resizes"):
                self.halo_advised = self._may_be_halo()
                raise _NoAperture("Too many stamp resizes.")
            before, step = self.stamp, settings.getint("photometry", "resize_step")
            if self.resize_stamp(**dict.fromkeys(growing, step)):
                resizes += 1
            # down, up, left, right are the order of the stamp's limits, too.
            grown = {side: abs(self.stamp[k] - before[k]) for k, side in enumerate(SIDES)}
            ended |= {side for side in growing if grown[side] < step}

    def _target_mask(self, parameters: K2P2Parameters) -> NDArray[np.bool_] | None:
        """The mask that holds the target's pixel in the present stamp, or None."""
        image: NDArray[np.float32] = self.sumimage
        collected = (self.aperture & 1) > 0
        if not collected.all():
            image = np.where(collected, image, np.float32(np.nan))
        stars = self.stamp_stars
        row, column = round(self.target_pos_row_stamp), round(self.target_pos_column_stamp)
        tmags = stars["tmag"]
        if math.isnan(self.target["tmag"]):
            # A star without a magnitude gets no mask: that of a cut-out has the one of its pixels.
            light = float(np.nansum(image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]))
            zero_point = self.settings.getfloat("photometry", "zero_point")
            estimate = zero_point - 2.5 * np.log10(max(light, 1.0))
            tmags = np.where(stars["starid"] == self.starid, estimate, tmags)
        self.k2p2 = k2p2_masks(image, stars["row_stamp"], stars["column_stamp"], tmags, parameters)
        labels = self.k2p2.labels_at(row, column)
        if len(labels) > 1:
            raise _NoAperture(f"The target's pixel is in {len(labels)} masks.")
        return self.k2p2.mask(labels[0]) if labels else None

    def _may_be_halo(self) -> bool:
        """Whether the star is of the kind that halo photometry is for."""
        return bool(
            self.target["tmag"] <= self.settings.getfloat("haloswitch", "tmag_limit")
            and not self.datasource.startswith("tpf:")
        )

    def _check_cut_off(self, mask: NDArray[np.bool_], sides: set[str]) -> None:
        """Refuse a very bright star of which the edge of the CCD cuts off a good part."""
        if not sides or self.datasource != "ffi" or not self._may_be_halo():
            return
        limit = self.settings.getfloat("haloswitch", "flux_limit") * mag2flux(self.target["tmag"])
        flux = edge_flux(self.sumimage, mask, sides)
        if flux > limit:
            self.halo_advised = True
            raise _NoAperture(
                f"The mask is cut off by the edge of the CCD, with {flux:.4g} e-/s on it "
                f"(more than {limit:.4g}); halo photometry is better."
            )

    def _minimal_mask(self) -> NDArray[np.bool_]:
        """The collected pixels next to the target."""
        mask = minimal_mask(self.aperture, self.target_pos_row_stamp, self.target_pos_column_stamp)
        if not mask.any():
            raise _NoAperture("No mask holds the target, and none of the pixels next to it was collected.")
        self.logger.warning("No mask holds the target: the %d pixels next to it are used", int(mask.sum()))
        return mask

    def _add_headers(self, parameters: K2P2Parameters) -> None:
        """How the mask is made, for the primary header."""
        self.additional_headers.update(
            KP_THRES=(parameters.threshold, "K2P2 threshold over the mode (robust sigmas)"),
            KP_MIPIX=(parameters.min_pixels, "K2P2 min pixels in mask"),
            KP_MICLS=(parameters.min_cluster, "K2P2 min pixels of a core point"),
            KP_CLSRA=(parameters.cluster_radius, "[pixel] K2P2 cluster radius"),
            KP_WS=(True, "K2P2 watershed segmentation"),
            KP_WSBLR=(parameters.watershed_blur, "[pixel] K2P2 watershed blur"),
            KP_WSTHR=(0, "K2P2 watershed threshold over the minimum"),
            KP_WSFOT=(3, "[pixel] K2P2 watershed footprint"),
            KP_EX=(True, "K2P2 extend saturated columns"),
        )


class _NoAperture(Exception):
    """There is no aperture for this star, and why."""


def touched_sides(mask: NDArray[np.bool_]) -> set[str]:
    """Sides of the stamp that a mask touches, as `SIDES` names them.

    Examples
    --------
    >>> sorted(touched_sides(np.array([[True, False], [False, False]])))
    ['down', 'left']
    """
    return {side for side, touched in zip(SIDES, sides_of(mask), strict=True) if touched}


def minimal_mask(aperture: NDArray[np.int32], row: float, column: float) -> NDArray[np.bool_]:
    """Collected pixels (bit 1 of `aperture`) within 1 pixel, in row and column, of a position counted from 0.

    Examples
    --------
    >>> minimal_mask(np.ones((4, 4), "i4"), row=0.2, column=2.0).astype(int).tolist()
    [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    near_row = np.abs(np.arange(aperture.shape[0]) - row) <= 1
    near_column = np.abs(np.arange(aperture.shape[1]) - column) <= 1
    return near_row[:, None] & near_column & ((aperture & 1) > 0)


def stars_in_mask(stars: NDArray[np.void], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which stars, rows of `STAMP_STAR_DTYPE`, have their rounded pixel in a mask.

    Examples
    --------
    >>> stars = np.zeros(2, [("row_stamp", "f8"), ("column_stamp", "f8")])
    >>> stars["column_stamp"] = [0.4, 1.2]
    >>> stars_in_mask(stars, np.array([[True, False]])).tolist()
    [True, False]
    """
    return stars_inside(stars["row_stamp"], stars["column_stamp"], mask)


def contamination(tmags: NDArray[np.float64], target: NDArray[np.bool_]) -> float:
    """Fraction of the light of stars that is not the target's, from their magnitudes.

    Parameters
    ----------
    tmags : ndarray, shape (N,)
        Magnitudes of all stars in the mask.
    target : ndarray of bool, shape (N,)
        Which of them is the target.

    Returns
    -------
    float
        0 where the target is alone, 1 where it is not among the stars; NaN where one of several has no
        magnitude.

    Examples
    --------
    >>> contamination(np.array([10.0, 12.5]), np.array([True, False])).__round__(3)
    0.091
    """
    if target.all():
        return 0.0
    flux = 10.0 ** (-0.4 * tmags)
    return float(flux[~target].sum() / flux.sum())
