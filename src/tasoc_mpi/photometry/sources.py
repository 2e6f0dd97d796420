"""The pixels of one CCD or target pixel file, and the quantities that all stars on it share."""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.quality import TESSQualityFlags, exposures_reached
from ..core.sphere import unit_vectors
from ..kernels.sums import mean_frame, sum_frames, sum_pixels
from ..models.barycentre import ephemeris
from ..models.motion import ImageMovementKernel
from ..products.cube import BackgroundModel, Cube, PixelBackground
from ..products.fits_bytes import card
from ..products.fits_read import header_cards, is_number
from ..products.star_catalog import StarCatalog
from ..products.tpf import TPF

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["STAMP_STAR_DTYPE", "CubeSource", "Source", "TPFSource"]

logger = logging.getLogger(__name__)

#: A star of a stamp's catalog: degrees at the time of observation, 0-based pixels of image and stamp.
STAMP_STAR_DTYPE = np.dtype(
    [("starid", "i8")]
    + [(name, "f8") for name in ("tmag", "ra", "dec", "row", "column", "row_stamp", "column_stamp")]
)

#: Header cards that are the same for all stars. Of the last five, cubes store 0 or '' for an unknown value.
_FACTS = ("CRMITEN", "CRSPOC", "PROCVER", "DATA_REL", "CRBLKSZ", "NUM_FRM", "NREADOUT")
_SWITCHES, _TEXTS, _COUNTS = _FACTS[:2], _FACTS[2:3], _FACTS[3:]
#: Counts are below this.
_MOST = 2**31
#: Whether the pixels are simulated: the mission's card and the cube's attribute.
_SIMULATED = ("SIMULATD", "SIMDATA")
_FACT_CARDS = (*_FACTS, *_SIMULATED)
#: Stars up to so many pixels beyond a target pixel file's belong to its catalog: a CCD may have half a
#: million others. No method looks farther: halo's masks have a radius of 55 pixels at Tmag -1.5.
_REACH = 60


class Source(ABC):
    """Input of the photometry of a star: a `CubeSource` or a `TPFSource`. Read-only.

    Attributes
    ----------
    path : Path
        The cube or the target pixel file.
    sector, camera, ccd, cadence : int
        The cadence in seconds.
    header : mapping
        Attributes of the cube, or primary header of the target pixel file.
    facts : dict
        Header cards for the light curve file; None for unknown values.
    images, images_err : ndarray of float32, shape (R, C, T)
        e-/s. C-contiguous for a cube; of a target pixel file a frame is one run of bytes.
    background : BackgroundModel or PixelBackground
    sumimage : ndarray of float32, shape (R, C)
    collected : ndarray of int32, shape (R, C)
        Aperture flags of every pixel (1 collected, 4 background, 32 to 256 output).
    origin : (int, int)
        0-based full frame image (row, column) of the first pixel of these arrays.
    time, timecorr : ndarray, shape (T,)
        BJD - 2457000 and its barycentric correction in the file, days.
    cadenceno, quality : ndarray of int32, shape (T,)
    tess_positions : ndarray, shape (T, 3)
        Barycentric position of TESS, light-days.
    ephemeris : str
        Origin of `tess_positions`.
    catalog : StarCatalog
        Of the CCD; of a target pixel file only the stars in it and around it.
    star_positions : ndarray, shape (N, 2)
        0-based (column, row) of every catalog star in the reference frame.
    wcs_header : str
        FITS header of the reference WCS, with pixels of the full frame image.
    cube : Cube or None
        Of the CCD, with the pixel flags; None for a target pixel file that no cube covers.
    """

    is_tpf: bool
    cadence: int
    facts: dict[str, Any]
    background: BackgroundModel | PixelBackground
    sumimage: NDArray[np.float32]
    collected: NDArray[np.int32]
    tess_positions: NDArray[np.float64]
    ephemeris: str
    wcs_header: str

    def __init__(
        self,
        path: Path,
        file: Cube | TPF,
        header: Mapping[str, Any],
        ccd: tuple[int, int, int],
        catalog: StarCatalog,
        star_positions: NDArray[np.float64],
        cube: Cube | None,
    ) -> None:
        self.path = path
        self.sector, self.camera, self.ccd = ccd
        self.header = header
        self.images, self.images_err = file.images, file.images_err
        self.origin = (file.row_offset, file.column_offset)
        self.time, self.timecorr = file.time, file.timecorr.astype("f8")
        self.cadenceno, self.quality = file.cadenceno, file.quality
        self.catalog, self.star_positions = catalog, star_positions
        self.cube = cube
        self._formatted: dict[Hashable, Any] = {}
        self._expected: set[int] = set()
        self._coming: Iterator[tuple[int, NDArray[np.float64]]] = iter(())
        self._motions: dict[int, NDArray[np.float64]] = {}

    def formatted(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Header cards that all stars of this source have, made once and kept under a key."""
        if key not in self._formatted:
            self._formatted[key] = make()
        return self._formatted[key]

    @abstractmethod
    def movement_kernel(self, times: NDArray[np.float64]) -> ImageMovementKernel:
        """The motion of the stars as a function of time, the frames being at the given times."""

    @abstractmethod
    def astropy_wcs(self) -> WCS:
        """World coordinates: of the stamp for a target pixel file, else of the full frame image."""

    @abstractmethod
    def at_cadences(
        self, flagged: NDArray[np.bool_], spacecraft_time: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Cadences of the light curve, shape (T,), that fall into flagged frames of `cube`, shape (F,)."""

    @abstractmethod
    def sum_pixels(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], ...]:
        """Sums over the pixels of a mask in every frame.

        Parameters
        ----------
        rows, columns : ndarray of int64, shape (P,)
            The pixels as indices of the arrays.

        Returns
        -------
        tuple of ndarray of float64, shape (T,)
            Flux, its error, flux-weighted mean column and row (`kernels.sums.sum_pixels`), and background.
        """

    def index(self, starid: int) -> int:
        """Place of a star in `catalog.stars` and `star_positions`.

        Raises
        ------
        InputError
            If the star is not there.
        """
        return self.catalog.index(starid)

    @functools.cached_property
    def _movement(self) -> ImageMovementKernel:
        return self.movement_kernel(self.time)

    def field_stars(self, i: NDArray[np.intp]) -> NDArray[np.void]:
        """Catalog stars as `STAMP_STAR_DTYPE`; their places in a stamp are 0."""
        return self._field[i].view(STAMP_STAR_DTYPE)

    @functools.cached_property
    def _field(self) -> NDArray[np.void]:
        """All of them, as elements without fields: numpy copies fields one by one."""
        stars = np.zeros(len(self.catalog.stars), dtype=STAMP_STAR_DTYPE)
        for name, column in (("starid", "starid"), ("tmag", "tmag"), ("ra", "ra"), ("dec", "decl")):
            stars[name] = self.catalog.stars[column]
        stars["column"], stars["row"] = self.star_positions[:, 0], self.star_positions[:, 1]
        return stars.view(f"V{STAMP_STAR_DTYPE.itemsize}")

    @functools.cached_property
    def _by_row(self) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """Catalog stars ordered by row, their rows and columns (stars without a position last)."""
        order = np.argsort(self.star_positions[:, 1], kind="stable")
        return order, self.star_positions[order, 1], self.star_positions[order, 0]

    def stars_within(
        self, row_min: float, row_max: float, col_min: float, col_max: float
    ) -> NDArray[np.intp]:
        """Indices of the catalog stars whose reference position lies in a rectangle, in order of TIC id."""
        order, rows, columns = self._by_row
        near = slice(rows.searchsorted(row_min), rows.searchsorted(row_max, "right"))
        inside = order[near][(columns[near] >= col_min) & (columns[near] <= col_max)]
        inside.sort()
        return inside

    @functools.cached_property
    def spacecraft_time(self) -> NDArray[np.float64]:
        """Times at the spacecraft, days, shape (T,)."""
        return self.time - self.timecorr

    @functools.cached_property
    def _directions(self) -> NDArray[np.float64]:
        """Unit vectors of the catalog stars, shape (N, 3)."""
        return unit_vectors(self.catalog.stars["ra"], self.catalog.stars["decl"])

    def times(self, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Barycentric times of a catalog star and their corrections, days; new arrays of shape (T,)."""
        correction = self.tess_positions @ self._directions[i]  # as `light_time`
        return self.spacecraft_time + correction, correction

    def expect(self, stars: Sequence[int]) -> None:
        """Catalog stars whose motion will be asked for next, in this order: some are computed at once.

        What was expected before is forgotten.
        """
        self._expected, self._motions = set(stars), {}
        self._coming = zip(stars, self.motions(stars), strict=True)

    def star_motion(self, i: int) -> NDArray[np.float64]:
        """Change of a catalog star's (column, row) in every frame from its reference position, shape (T, 2).

        Frames without a usable WCS are interpolated over in time.
        """
        if i not in self._expected:
            return next(self.motions([i]))
        self._expected.remove(i)
        while i not in self._motions:
            star, motion = next(self._coming)
            self._motions[star] = motion
        return self._motions.pop(i)

    def motions(self, stars: Sequence[int] | NDArray[np.intp]) -> Iterator[NDArray[np.float64]]:
        """The `star_motion` of catalog stars, one after the other; several are computed at once."""
        ra, dec = (self.catalog.stars[name][stars] for name in ("ra", "decl"))
        return self._movement.follow(self.time, ra, dec, self.star_positions[stars])


class CubeSource(Source):
    """The cube of a CCD; `path` is in the input folder, the open cube may be a copy of it.

    Raises
    ------
    InputError
        If they do not fit into memory.
    """

    is_tpf = False
    cube: Cube

    def __init__(self, path: Path, cube: Cube, catalog: StarCatalog, in_memory: bool = False) -> None:
        header, stars = cube.attributes, catalog.stars
        ccd = (int(header["SECTOR"]), int(header["CAMERA"]), int(header["CCD"]))
        positions = cube.wcs.stars(stars["ra"], stars["decl"], cube.ref_frame)
        super().__init__(path, cube, header, ccd, catalog, positions, cube)
        self.cadence = int(header["CADENCE"])
        self.facts = _facts(header)
        if in_memory:
            self.images, self.images_err = (_in_memory(path, x) for x in (self.images, self.images_err))
        self.background, self.sumimage = cube.background, cube.sumimage
        self.tess_positions, self.ephemeris = cube.ephemeris, cube.ephemeris_source
        self.wcs_header = cube.ref_header
        columns = np.arange(cube.shape[1]) + cube.column_offset + 1
        self.collected = np.where(cube.backgrounds_pixels_used, 1 | 4, 1).astype("i4")
        # The four outputs of a CCD: 512 columns each, the first science column is 45 (1-based).
        self.collected |= (32 << np.clip((columns - 45) // 512, 0, 3)).astype("i4")[None, :]

    def movement_kernel(self, times: NDArray[np.float64]) -> ImageMovementKernel:
        """As `Source.movement_kernel`: from the frames' WCS, or the kernels that the cube holds."""
        if self.cube.warpmode == "wcs":
            return ImageMovementKernel.from_wcs(times, self.cube.wcs, self.cube.ref_frame)
        kernel = ImageMovementKernel(self.cube.warpmode)
        kernel.load_series(times, self.cube.movement_kernel)
        return kernel

    def sum_pixels(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], ...]:
        """As `Source.sum_pixels`."""
        sums = sum_pixels(self.images, self.images_err, rows, columns)
        return (*sums, self.background.total(rows, columns))

    def astropy_wcs(self) -> WCS:
        """World coordinates of the full frame image."""
        from astropy.io import fits
        from astropy.wcs import WCS

        return WCS(fits.Header.fromstring(self.wcs_header))

    def at_cadences(
        self, flagged: NDArray[np.bool_], spacecraft_time: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """As `Source.at_cadences`: every frame is a cadence."""
        return flagged


class TPFSource(Source):
    """A target pixel file; `cube` is that of its CCD, where there is one that covers the pixels.

    Raises
    ------
    InputError
        If the WCS of the file is unusable.
    """

    is_tpf = True

    def __init__(self, tpf: TPF, catalog: StarCatalog, cube: Cube | None) -> None:
        if not tpf.wcs.good[0]:
            raise InputError(
                f"{tpf.path}: its world coordinates cannot be inverted; no star can be placed on it"
            )
        ccd = (tpf.sector, tpf.camera, tpf.ccd)
        self._whole = catalog
        pixel = float(np.linalg.norm(tpf.wcs.cd[0], 2))  # degrees, along its longest direction
        reach = pixel * (float(np.hypot(*tpf.aperture.shape)) / 2 + _REACH)
        stars = catalog.stars[catalog.positions.within(*tpf.middle, reach)]
        catalog = replace(catalog, stars=stars)
        positions = tpf.wcs.stars(stars["ra"], stars["decl"], 0)
        super().__init__(tpf.path, tpf, tpf.header, ccd, catalog, positions, cube)
        self.cadence, self._tpf = tpf.cadence, tpf
        both = (tpf.table_header, tpf.header)
        self.facts = _facts({key: values[key] for values in both for key in _FACT_CARDS if key in values})
        self.background = PixelBackground(tpf.backgrounds)
        # The pixels that SPOC used for its own flux and positions do not matter here.
        self.collected = (tpf.aperture & ~(2 | 8)).astype(np.int32)
        star = catalog.stars[self.index(tpf.starid)]
        self.tess_positions, self.ephemeris = ephemeris(
            self.spacecraft_time, self.timecorr, star["ra"], star["decl"]
        )
        good = TESSQualityFlags.filter(tpf.quality)
        if not good.any():
            logger.warning("%s: no cadence of good quality; the sum image is the mean of all", tpf.path)
            good = np.ones_like(good)
        self.sumimage = mean_frame(tpf.flux.reshape(len(good), -1), good).reshape(tpf.flux.shape[1:])
        self.wcs_header = _moved(tpf.wcs_header, {"CRPIX1": tpf.column_offset, "CRPIX2": tpf.row_offset})

    def index(self, starid: int) -> int:
        """As `Source.index`; stars far outside of the pixels have no place."""
        if starid not in self.catalog and starid in self._whole:
            raise InputError(f"TIC {starid} is far outside of the pixels of {self.path}")
        return super().index(starid)

    def times(self, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As `Source.times`; those in the file are right for its own star."""
        if self.catalog.stars["starid"][i] == self._tpf.starid:
            return self.time.copy(), self.timecorr.copy()
        return super().times(i)

    def movement_kernel(self, times: NDArray[np.float64]) -> ImageMovementKernel:
        """As `Source.movement_kernel`: from the position corrections of the file."""
        return ImageMovementKernel.from_pos_corr(times, self._tpf.pos_corr)

    def sum_pixels(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], ...]:
        """As `Source.sum_pixels`."""
        tpf = self._tpf
        return tuple(sum_frames(tpf.flux, tpf.flux_err, tpf.flux_bkg, rows, columns))

    def astropy_wcs(self) -> WCS:
        """World coordinates of the stamp."""
        from astropy.io import fits
        from astropy.wcs import WCS

        return WCS(fits.Header.fromstring(self._tpf.wcs_header))

    def at_cadences(
        self, flagged: NDArray[np.bool_], spacecraft_time: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """As `Source.at_cadences`: cadences during the exposures of the flagged frames."""
        assert self.cube is not None
        start, stop = (time - self.cube.timecorr for time in (self.cube.time_start, self.cube.time_stop))
        first, last = exposures_reached(start, stop, spacecraft_time, self.cadence / 86400.0)
        counts = np.concatenate([[0], np.cumsum(flagged)])
        return counts[np.maximum(first, last)] > counts[first]


def _facts(header: Mapping[str, Any]) -> dict[str, Any]:
    """`_FACTS` of a header or a cube's attributes; None for unknown ones, and for values of another kind."""
    known: dict[str, Any] = {key: header.get(key) for key in _FACTS}
    facts: dict[str, Any] = dict.fromkeys(_FACTS)
    facts |= {key: known[key] for key in _SWITCHES if isinstance(known[key], int) and known[key] in (0, 1)}
    facts |= {key: known[key] for key in _TEXTS if isinstance(known[key], str | int | float) and known[key]}
    facts |= {key: known[key] for key in _COUNTS if is_number(known[key]) and 0 < known[key] < _MOST}
    # None for files that do not say.
    simulated = header.get(_SIMULATED[0], header.get(_SIMULATED[1]))
    return {"SIMULATD": simulated is True, **facts}


def _moved(header: str, by: Mapping[str, int]) -> str:
    """A header whose cards of some keywords have a number more."""
    cards = [
        card(keyword, value + by[keyword], comment) if keyword in by else card(keyword, value, comment)
        for keyword, value, comment in header_cards(header)
    ]
    return b"".join(cards).decode("ascii")


def _in_memory(path: Path, array: NDArray[np.float32]) -> NDArray[np.float32]:
    try:
        copy = np.array(array)
    except MemoryError:
        raise InputError(
            f"{path}: {array.nbytes / 1e9:.1f} GB do not fit into memory; use --cache basic"
        ) from None
    copy.setflags(write=False)
    return copy
