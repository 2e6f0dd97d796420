"""Spread of a star's light over the pixels at one position of a CCD."""

from __future__ import annotations

import functools
import logging
import os
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, UsageError, one_line
from ..core.logs import rank_name
from ..core.names import prf_name
from ..core.whole import whole
from ..kernels.newton_psf import draw_with_slopes
from ..kernels.prf_table import add_table_stars, draw_table_star
from ..products.prf_file import EffectivePRF, read_prf, spline_table
from .prf_files import SAMPLES, SIZE, analytic_table, find_folder, read_grid

__all__ = ["PSF"]

logger = logging.getLogger(__name__)


class PSF:
    """Point spread function in the middle of a stamp.

    Parameters
    ----------
    sector, camera, ccd : int
    stamp : (int, int, int, int)
        (row_min, row_max, col_min, col_max), half open, in 0-based pixels of the full frame image.
    prf_folder : path-like, optional
        Folder of the TESS PRF files as MAST publishes them; else the environment variable
        ``TESSPHOT_PRF`` names it. Without either, the analytic model is used, and the log says so.
    input_folder : path-like, optional
        Folder in which `tasoc-mpi prf` has written the CCD's effective response, which is taken where it
        is there, unless `prf_folder` is given.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the stamp.
    ref_row, ref_column : float
        Middle of the stamp in 0-based full frame image pixels, where the function is taken.
    table : ndarray, shape (117, 117)
        Share of a star's light in a pixel by the distance of the pixel's centre from the star in
        (row, column); 9 samples a pixel, no distance in sample 58. Of an effective response the mean over its
        epochs.
    source : str
        Origin of the function.

    Raises
    ------
    MissingInput
        If the folder has no files for the CCD.
    InputError
        If files are corrupt or missing among them, or there is no such CCD or stamp.

    Examples
    --------
    >>> psf = PSF(sector=1, camera=1, ccd=1, stamp=(1000, 1011, 1000, 1013))
    >>> image = psf.integrate_to_image([(5.0, 6.0, 1000.0)])
    >>> image.shape, [int(i) for i in np.unravel_index(image.argmax(), image.shape)]
    ((11, 13), [5, 6])
    >>> bool(0.95 < image.sum() / 1000.0 < 1.0)
    True
    """

    def __init__(
        self,
        sector: int,
        camera: int,
        ccd: int,
        stamp: tuple[int, int, int, int],
        prf_folder: str | os.PathLike[str] | None = None,
        input_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        sector, camera, ccd = whole(sector, "sector"), whole(camera, "camera"), whole(ccd, "ccd")
        if camera not in (1, 2, 3, 4) or ccd not in (1, 2, 3, 4) or sector < 1:
            raise InputError(
                f"sector {sector}, camera {camera}, CCD {ccd}: there is no such CCD (1 to 4 each)"
            )
        if np.size(stamp) != 4:
            raise UsageError(
                f"stamp {one_line(repr(stamp))[:60]}: (row_min, row_max, col_min, col_max) are needed"
            )
        row_min, row_max, col_min, col_max = (whole(edge, "stamp:") for edge in stamp)
        if row_max <= row_min or col_max <= col_min:
            raise InputError(
                f"stamp {tuple(stamp)}: no pixels in (row_min, row_max, col_min, col_max), half open"
            )
        self.sector, self.camera, self.ccd = sector, camera, ccd
        self.stamp = (row_min, row_max, col_min, col_max)
        self.shape = (self.stamp[1] - self.stamp[0], self.stamp[3] - self.stamp[2])
        self.ref_row = (row_min + row_max - 1) / 2.0
        self.ref_column = (col_min + col_max - 1) / 2.0
        self._effective: EffectivePRF | None = None
        name = prf_folder or os.environ.get("TESSPHOT_PRF")
        path = Path(input_folder or "") / prf_name(sector, camera, ccd)
        if input_folder is not None and not prf_folder and path.exists():
            self._effective = read_prf(path)
            self._coefficients = self._effective.at(self.ref_row, self.ref_column)
            table = spline_table(self._coefficients.mean(axis=0), SAMPLES, SIZE // SAMPLES)
            self.source = f"effective PRF ({path.name})"
        elif name:
            folder = find_folder(Path(name), self.sector, self.camera, self.ccd)
            table = read_grid(folder, self.camera, self.ccd).table(self.ref_row, self.ref_column)
            self.source = f"TESS PRF files ({folder.parent.name}/{folder.name})"
        else:
            _log_analytic()
            table = analytic_table(self.ref_row, self.ref_column, self.camera, self.ccd)
            self.source = "analytic (two Gaussians)"
        self.table: NDArray[np.float64] = np.ascontiguousarray(table)

    def __repr__(self) -> str:
        position = f"camera {self.camera} CCD {self.ccd} at row {self.ref_row:g}, column {self.ref_column:g}"
        return f"<PSF {position}: {self.source}>"

    def _repr_html_(self) -> str:
        """What it is for, as a table for notebooks."""
        facts = {
            "pixel response": self.source,
            "CCD": f"sector {self.sector}, camera {self.camera}, CCD {self.ccd}",
            "centre": f"row {self.ref_row:g}, column {self.ref_column:g} (full frame image pixels, from 0)",
            "stamp": f"{self.shape[0]} rows, {self.shape[1]} columns",
        }
        left = 'style="text-align:left"'
        rows = (
            f"<tr><th {left}>{key}</th><td {left}>{escape(text)}</td></tr>" for key, text in facts.items()
        )
        return f"<table>{''.join(rows)}</table>"

    def integrate_to_image(self, params: ArrayLike, cutoff_radius: float | None = 5.0) -> NDArray[np.float64]:
        """Image of stars, integrated over the pixels.

        Parameters
        ----------
        params : array_like, shape (N, 3)
            (row, column, flux) of the stars: 0-based pixels of the stamp (integers are pixel centres) and
            e-/s. A star whose position is NaN is left out.
        cutoff_radius : float or None
            Pixels whose centre is further from a star are not reached by it. Within 5 pixels lie about
            98.5% of the light, of which `flux` is the whole. None: as far as is known (6.4 pixels
            in row and in column).

        Returns
        -------
        ndarray, shape (R, C)
            e-/s.

        Raises
        ------
        ValueError
            If `params` has another shape, or the radius is negative or unknown.
        """
        stars = np.asarray(params, dtype="f8")
        if stars.size == 0:
            return np.zeros(self.shape)
        stars = np.atleast_2d(stars)
        if stars.ndim != 2 or stars.shape[1] != 3:
            raise ValueError(f"params of shape {stars.shape}: (row, column, flux) of each star are needed")
        image = np.zeros(self.shape)
        rows, columns, fluxes = np.ascontiguousarray(stars.T)
        cutoff = float(SIZE) if cutoff_radius is None else float(cutoff_radius)
        if not cutoff >= 0:
            raise UsageError(f"cutoff_radius {cutoff:g}: a number of pixels from 0 on is needed, or None")
        add_table_stars(image, self.table, SAMPLES, rows, columns, fluxes, cutoff)
        return image

    def design_matrix(
        self,
        rows: ArrayLike,
        columns: ArrayLike,
        time: ArrayLike | None = None,
        derivatives: bool = False,
    ) -> NDArray[np.float64]:
        """Images of stars of unit flux, one a star: the light of star k is ``flux[k] * images[k]``.

        Parameters
        ----------
        rows, columns : array_like, shape (N,)
            Of the stars, 0-based pixels of the stamp; a star at NaN gives zeros.
        time : float or array_like, optional
            An effective response changes with time: its mean over these times (BJD - 2457000, days) is
            taken, by default over its epochs.
        derivatives : bool, optional
            Also give the derivatives of each image by the star's row and by its column, a pixel.

        Returns
        -------
        ndarray, shape (N, R, C), or (N, 3, R, C) with `derivatives`
            Share of each star's light in each pixel, as far as the response is known. With `derivatives`
            ``[:, 0]`` is that, ``[:, 1]`` its derivative by row and ``[:, 2]`` by column.

        Examples
        --------
        >>> psf = PSF(sector=1, camera=1, ccd=1, stamp=(1000, 1011, 1000, 1013))
        >>> psf.design_matrix([5.0, 2.0], [6.0, 7.5]).shape
        (2, 11, 13)

        A star that moves by 0.01 pixels in row:

        >>> image, by_row, _ = psf.design_matrix([5.0], [6.0], derivatives=True)[0]
        >>> moved = psf.design_matrix([5.01], [6.0])[0]
        >>> bool(abs(image + 0.01 * by_row - moved).max() < 1e-4)
        True
        """
        y, x = (np.atleast_1d(np.asarray(values, dtype="f8")) for values in (rows, columns))
        images = np.zeros((len(y), 3, *self.shape))
        known = np.flatnonzero(np.isfinite(y) & np.isfinite(x)).tolist()
        if self._effective is None:
            for k in known:
                draw_table_star(self.table, SAMPLES, y[k], x[k], images[k])
        else:
            weights = None if time is None else self._effective.weights(time).mean(axis=0)
            response = np.average(self._coefficients, axis=0, weights=weights)
            for k in known:
                draw_with_slopes(response, y[k], x[k], *self.shape, images[k].reshape(3, -1))
        return images if derivatives else images[:, 0].copy()

    def plot(self, ax: Any = None) -> Any:
        """Draw the function, and a star in the middle of the pixels beside it.

        Parameters
        ----------
        ax : pair of matplotlib Axes, optional
            For the function and for the pixels; a new figure by default.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure

        if ax is None:
            ax = Figure(figsize=(10, 4.5), layout="constrained").subplots(1, 2)
        elif np.size(ax) != 2:
            raise UsageError(f"ax: two matplotlib Axes are needed, not {type(ax).__name__}; or leave it out")
        pixels = SIZE // SAMPLES
        star, position = np.zeros((pixels, pixels)), np.array([float(pixels // 2)])
        add_table_stars(star, self.table, SAMPLES, position, position, np.ones(1), float(SIZE))
        peak = float(self.table.max())
        norm = LogNorm(peak * 1e-4, peak, clip=True)
        extent = (-pixels / 2.0, pixels / 2.0) * 2
        for axes, image, title in zip(
            ax, (self.table, star), ("response", "star on a pixel's centre"), strict=True
        ):
            drawn = axes.imshow(image, origin="lower", extent=extent, norm=norm, interpolation="nearest")
            axes.set(xlabel="column from the star (pixels)", ylabel="row from the star (pixels)", title=title)
        figure = ax[0].figure
        figure.colorbar(drawn, ax=list(ax), label="share of the star's light in a pixel")
        figure.suptitle(f"Sector {self.sector}, camera {self.camera}, CCD {self.ccd}: {self.source}")
        return figure


@functools.cache
def _log_analytic() -> None:
    """Log once in a program that the analytic model is used: by its first worker, not by each."""
    if rank_name() in ("0", "1"):
        logger.info("No TESS PRF files (TESSPHOT_PRF is not set): the analytic pixel response is used")
