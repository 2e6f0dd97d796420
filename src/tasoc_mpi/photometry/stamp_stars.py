"""The stars of one stamp: the catalog, their positions in each frame, and their images."""

from __future__ import annotations

import configparser
import math
import numbers
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import UsageError
from ..core.quality import TESSQualityFlags
from ..core.settings import load_settings
from ..core.whole import whole
from .columns import star_columns
from .load_sources import load_source
from .sources import STAMP_STAR_DTYPE
from .stamp import default_size
from .stamp_pixels import StampPixels

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

    from ..models.motion import ImageMovementKernel
    from ..models.psf import PSF

__all__ = ["STAMP_STAR_DTYPE", "StampStars"]


class StampStars(StampPixels):
    """A star with its stamp: `StampPixels`, the stars in it, their positions and images, and the light curve.

    Parameters
    ----------
    starid : int
    input_folder : path-like
    datasource : str
    where : tuple
        Sector, camera, CCD and cadence; None where they are not known.
    cache : str
        The parameters are those of `BasePhotometry`.
    """

    def __init__(
        self,
        starid: int,
        input_folder: str | os.PathLike[str],
        datasource: str,
        where: tuple[int | None, int | None, int | None, int | None],
        cache: str,
    ) -> None:
        self.input_folder = os.fspath(input_folder)
        starid = whole(starid, "starid")
        source = load_source(self.input_folder, starid, datasource, *where, cache)
        i = source.index(starid)
        star = source.catalog.stars[i]
        self.target: dict[str, Any] = dict(zip(star.dtype.names, star.item(), strict=True))
        column, row = source.star_positions[i].tolist()
        super().__init__(source, starid, row, column, cache)
        self.sector, self.camera, self.ccd = source.sector, source.camera, source.ccd
        self.cadence, self.header = source.cadence, source.header
        self.data_rel, self.n_readout = (int(source.facts[key] or 0) for key in ("DATA_REL", "NREADOUT"))
        self._columns = star_columns(source, i)

    @property
    def settings(self) -> configparser.ConfigParser:
        """Settings and constants of the pipeline; see `tasoc_mpi.core.settings.load_settings`."""
        return load_settings()

    def default_stamp(self) -> tuple[int, int]:
        """Rows and columns of the first stamp around the star (full frame images only)."""
        return default_size(self.target["tmag"])

    # --- Stars and their motion ----------------------------------------------------------------------

    @property
    def stamp_stars(self) -> NDArray[np.void]:
        """The catalog of the stamp as an array of `STAMP_STAR_DTYPE`; see `catalog`."""
        return self._get("stamp_stars", self._find_stars)

    def _find_stars(self) -> NDArray[np.void]:
        row_min, row_max, col_min, col_max = self._stamp
        margin = self.settings.getfloat("photometry", "catalog_buffer")
        source = self._source
        # Pixels reach half a pixel to both sides of their centre.
        inside = source.stars_within(
            row_min - 0.5 - margin, row_max - 0.5 + margin, col_min - 0.5 - margin, col_max - 0.5 + margin
        )
        stars = source.field_stars(inside)
        stars["row_stamp"] = stars["row"] - row_min
        stars["column_stamp"] = stars["column"] - col_min
        return stars

    @property
    def catalog(self) -> Table:
        """Stars in the stamp and up to 5 pixels around it.

        Columns: starid, tmag, ra, dec (degrees, at the time of observation), row, column (0-based full
        frame image pixels), row_stamp, column_stamp.
        """
        from astropy.table import Table

        return Table(self.stamp_stars, copy=True)

    def catalog_attime(self, time: float) -> Table:
        """The catalog with the stars where they are at a time.

        Parameters
        ----------
        time : float
            On the time axis of the light curve, BJD - 2457000 in days.

        Returns
        -------
        astropy.table.Table
            As `catalog`, with row, column, row_stamp and column_stamp at that time.

        Raises
        ------
        ValueError
            If the time is not known or more than one time step outside of the series.
        """
        table = self.catalog
        positions = np.stack([table["column"], table["row"]], axis=-1)
        if not isinstance(time, numbers.Real) or not math.isfinite(time):
            raise UsageError(f"time {time!r}: one known time is needed, BJD - 2457000 in days")
        change = self.MovementKernel.interpolate(float(time), positions)
        for k, name in enumerate(("column", "row")):
            table[name] += change[:, k]
            table[f"{name}_stamp"] += change[:, k]
        return table

    @property
    def MovementKernel(self) -> ImageMovementKernel:
        """Positions on the focal plane as a function of time; its times are those of the light curve."""
        return self._get("movement", lambda: self._source.movement_kernel(self._columns.arrays["time"]))

    @property
    def wcs(self) -> WCS:
        """World coordinates: of the stamp for target pixel files, else of the full frame image."""
        return self._get("wcs", self._source.astropy_wcs)

    @property
    def star_positions(self) -> NDArray[np.float64]:
        """Where every star of `catalog` is in every frame, shape (N, T, 2): 0-based (column, row).

        In 0-based pixels of the full frame image, for the stars in the order of `catalog`. They move with the
        world coordinates of the frames, or with the position corrections of a target pixel file. In frames
        without usable world coordinates they are interpolated in time.
        """
        return self._get("star_positions", self._find_positions)

    def _find_positions(self) -> NDArray[np.float64]:
        stars = self.stamp_stars
        out = np.empty((len(stars), len(self._source.time), 2))
        index = self._source.catalog.starids.searchsorted(stars["starid"])
        for positions, moved, star in zip(out, self._source.motions(index), stars, strict=True):
            positions[:] = moved
            positions += (star["column"].item(), star["row"].item())
        return out

    @property
    def psf(self) -> PSF:
        """Pixel response in the middle of the stamp, from the best source that there is (`PSF.source`)."""
        from ..models.psf import PSF

        folder = self.input_folder
        where = (self.sector, self.camera, self.ccd, self.stamp)
        return self._get("psf", lambda: PSF(*where, input_folder=folder))

    def design_matrix(
        self, positions: ArrayLike, frame: int | None = None, derivatives: bool = False
    ) -> NDArray[np.float64]:
        """Images of stars of unit flux in the stamp, the columns of a linear model of its pixels.

        Parameters
        ----------
        positions : array_like, shape (N, 2)
            (column, row) of the stars, 0-based pixels of the full frame image; ``star_positions[:, t]`` are
            those in frame t. A star at NaN gives zeros.
        frame : int, optional
            Frame whose response is taken, where it changes with time. Default: the mean of the good frames.
        derivatives : bool, optional
            Also give the derivatives of each image by the star's column and by its row, a pixel: the further
            columns of a model in which stars are moved.

        Returns
        -------
        ndarray, shape (N, rows, columns), or (N, 3, rows, columns) with `derivatives`
            Share of each star's light in each pixel. With `derivatives` ``[:, 0]`` is that, ``[:, 1]`` its
            derivative by column and ``[:, 2]`` by row, in the order of `positions`.

        Raises
        ------
        ValueError
            If `positions` has another shape, or there is no such frame.
        """
        places = np.asarray(positions, dtype="f8")
        if places.ndim != 2 or places.shape[1] != 2:
            raise ValueError(f"positions of shape {places.shape}: (column, row) of each star are needed")
        time, quality = self._columns.arrays["time"], self._columns.arrays["quality"]
        if frame is not None and not -len(time) <= (frame := whole(frame, "frame")) < len(time):
            raise UsageError(f"frame {frame}: there are {len(time)} frames, counted from 0")
        when = time[TESSQualityFlags.filter(quality)] if frame is None else time[frame]
        row_min, _, col_min, _ = self._stamp
        rows, columns = places[:, 1] - row_min, places[:, 0] - col_min
        images = self.psf.design_matrix(rows, columns, when, derivatives)
        return images[:, [0, 2, 1]] if derivatives else images

    # --- The light curve -----------------------------------------------------------------------------

    @property
    def lightcurve(self) -> Table:
        """The light curve, to be filled by `do_photometry`.

        Columns of shape (T,): time (BJD - 2457000), timecorr (days), cadenceno, quality (of the TESS
        mission), flux, flux_err, flux_background (e-/s; NaN at first); of shape (T, 2), (column, row):
        pos_centroid (1-based CCD pixels; NaN at first) and pos_corr (pixels).
        """
        return self._columns.table

    def set_lightcurve(
        self,
        flux: NDArray[np.float64],
        flux_err: NDArray[np.float64],
        background: NDArray[np.float64],
        centroid: NDArray[np.float64],
    ) -> None:
        """Fill the light curve at once: arrays of shape (T,); centroid (T, 2): column and row from 1."""
        self._columns.fill(flux=flux, flux_err=flux_err, flux_background=background, pos_centroid=centroid)
