"""Where a star's pixels come from: a CCD's cube or a target pixel file, with everything that the stars
on it have in common. Made once (see `load`), used by every star."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..models.barycentre import light_time
from ..models.motion import ImageMovementKernel
from ..products.cube import Cube
from ..products.frame_wcs import FrameWCS
from ..products.star_catalog import StarCatalog
from ..products.tpf import TPF

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["FACTS", "Background", "PixelBackground", "Source"]

#: Header cards that are the same for all stars, and what they say.
FACTS = ("PROCVER", "DATA_REL", "CRMITEN", "CRBLKSZ", "CRSPOC", "NUM_FRM", "NREADOUT")


class Background(Protocol):
    """The background that was subtracted: a model, or pixels of their own."""

    def stamp(self, row_min: int, row_max: int, col_min: int, col_max: int) -> NDArray[np.float32]:
        """In a stamp of array pixels, shape (rows, columns, T)."""
        ...

    def total(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum over pixels of the arrays in every frame, shape (T,)."""
        ...


@dataclass(frozen=True)
class PixelBackground:
    """A background that is given pixel by pixel, shape (R, C, T)."""

    pixels: NDArray[np.float32]

    def stamp(self, row_min: int, row_max: int, col_min: int, col_max: int) -> NDArray[np.float32]:
        """In a stamp of array pixels, shape (rows, columns, T)."""
        return np.array(self.pixels[row_min:row_max, col_min:col_max])

    def total(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum over pixels of the arrays in every frame, shape (T,)."""
        return self.pixels[rows, columns].sum(axis=0, dtype="f8")


@dataclass(frozen=True)
class Source:
    """Pixels of one CCD or target pixel file, and what its stars share.

    Attributes
    ----------
    path : Path
    sector, camera, ccd, cadence : int
        The cadence in seconds.
    header : mapping
        Primary header of a target pixel file, attributes of a cube.
    facts : mapping
        Values of `FACTS`; None for what is not known.
    images, images_err : ndarray of float32, shape (R, C, T)
    background : Background
    sumimage : ndarray of float32, shape (R, C)
    collected : ndarray of int32, shape (R, C)
        Aperture flags of every pixel (1 collected, 4 background, 32 to 256 output).
    origin : (int, int)
        Full frame image (row, column) of the arrays' first pixel.
    time, timecorr : ndarray, shape (T,)
        BJD - 2457000 as given by the source and its barycentric correction, days.
    own_star : int or None
        The star for which `time` is right (target pixel files).
    cadenceno, quality : ndarray of int32, shape (T,)
    positions : ndarray, shape (T, 3)
        Barycentric position of TESS, light-days.
    ephemeris : str
        What the positions were computed from.
    catalog : StarCatalog
    neighbours_known : bool
        Whether the catalog has the other stars, too, and not only targets.
    places : ndarray, shape (N, 2)
        (column, row) of every catalog star in the reference frame.
    wcs : FrameWCS
        Of every frame of a cube; one of a target pixel file.
    ref_frame : int
    wcs_header : str
        FITS header of the reference WCS, with pixels of the full frame image.
    movement : Cube or TPF
        What holds the motion of the stars.
    pixel_flags : ndarray of uint8, shape (R, C, F), or None
        On the times of the full frame images; None where there are none.
    flags_origin : (int, int)
        Full frame image (row, column) of the first pixel of `pixel_flags`.
    flag_spans : ndarray, shape (F, 2), or None
        Start and stop of the frames of `pixel_flags` in the frame of the spacecraft, days.
    """

    path: Path
    sector: int
    camera: int
    ccd: int
    cadence: int
    header: Mapping[str, Any]
    facts: Mapping[str, Any]
    images: NDArray[np.float32]
    images_err: NDArray[np.float32]
    background: Background
    sumimage: NDArray[np.float32]
    collected: NDArray[np.int32]
    origin: tuple[int, int]
    time: NDArray[np.float64]
    timecorr: NDArray[np.float64]
    own_star: int | None
    cadenceno: NDArray[np.int32]
    quality: NDArray[np.int32]
    positions: NDArray[np.float64]
    ephemeris: str
    catalog: StarCatalog
    neighbours_known: bool
    places: NDArray[np.float64]
    wcs: FrameWCS
    ref_frame: int
    wcs_header: str
    movement: Cube | TPF
    pixel_flags: NDArray[np.uint8] | None
    flags_origin: tuple[int, int]
    flag_spans: NDArray[np.float64] | None

    @property
    def is_tpf(self) -> bool:
        """Whether the pixels are those of a target pixel file."""
        return isinstance(self.movement, TPF)

    @functools.cached_property
    def _by_row(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Catalog stars ordered by row, and their rows (stars without a place last)."""
        order = np.argsort(self.places[:, 1], kind="stable")
        return order, self.places[order, 1]

    def stars_within(
        self, row_min: float, row_max: float, col_min: float, col_max: float
    ) -> NDArray[np.intp]:
        """Indices of the catalog stars whose reference place lies in a rectangle, in order of TIC id."""
        order, rows = self._by_row
        near = order[np.searchsorted(rows, row_min, "left") : np.searchsorted(rows, row_max, "right")]
        columns = self.places[near, 0]
        return np.sort(near[(columns >= col_min) & (columns <= col_max)])

    def times(self, starid: int, ra: float, dec: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Barycentric times of a star and their corrections, days, shape (T,) each."""
        if starid == self.own_star:
            return self.time, self.timecorr
        correction = light_time(self.positions, ra, dec)
        return self.time - self.timecorr + correction, correction

    def motion(self, ra: float, dec: float, column: float, row: float) -> NDArray[np.float64]:
        """Change of a star's (column, row) in every frame from its reference place, shape (T, 2).

        Frames without a usable WCS are interpolated over in time.
        """
        if isinstance(self.movement, TPF) or self.movement.warpmode != "wcs":
            return self.movement_kernel(self.time).jitter(self.time, column, row)
        moved = self.wcs.positions(ra, dec) - (column, row)
        lost = np.isnan(moved).any(axis=1)
        if lost.any() and not lost.all():
            for k in range(2):
                moved[lost, k] = np.interp(self.time[lost], self.time[~lost], moved[~lost, k])
        return moved

    def movement_kernel(self, times: NDArray[np.float64]) -> ImageMovementKernel:
        """The motion of the stars as a function of time, the frames being at the given times."""
        if isinstance(self.movement, TPF):
            reference = self.catalog.settings.reference_time - 2457000
            return ImageMovementKernel.from_pos_corr(times, self.movement.pos_corr, reference)
        if self.movement.warpmode == "wcs":
            return ImageMovementKernel.from_wcs(times, self.wcs, self.ref_frame)
        kernel = ImageMovementKernel(self.movement.warpmode)
        kernel.load_series(times, self.movement.movement_kernel)
        return kernel

    def astropy_wcs(self) -> WCS:
        """World coordinates: of the stamp for a target pixel file, else of the full frame image."""
        from astropy.io import fits
        from astropy.wcs import WCS

        if isinstance(self.movement, TPF):
            return WCS(self.movement.wcs_header)
        return WCS(fits.Header.fromstring(self.wcs_header))
