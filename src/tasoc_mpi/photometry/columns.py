"""The columns of a light curve: times, positions and flags of one star."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.quality import CorrectorQualityFlags, PixelQualityFlags
from ..kernels.sums import flagged_frames
from .sources import Source
from .stamp import Stamp

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["background_shenanigans", "lightcurve_table", "make_columns"]


def make_columns(
    source: Source, starid: int, ra: float, dec: float, column: float, row: float
) -> dict[str, NDArray[Any]]:
    """The columns of a star's light curve, with the flux still NaN.

    Parameters
    ----------
    source : Source
    starid : int
    ra, dec : float
        At the time of observation, degrees.
    column, row : float
        Reference position, 0-based full frame image pixels.

    Returns
    -------
    dict
        Name to array; see `BasePhotometry.lightcurve`. New arrays for every star.
    """
    time, timecorr = source.times(starid, ra, dec)
    n = len(time)
    return {
        "time": np.array(time),
        "timecorr": np.array(timecorr, dtype="f8"),
        "cadenceno": source.cadenceno.copy(),
        "quality": source.quality.copy(),
        "flux": np.full(n, np.nan),
        "flux_err": np.full(n, np.nan),
        "flux_background": np.full(n, np.nan),
        "pos_centroid": np.full((n, 2), np.nan),
        "pos_corr": source.motion(ra, dec, column, row),
    }


_UNITS = {
    "time": "d",
    "timecorr": "d",
    "flux": "electron / s",
    "flux_err": "electron / s",
    "flux_background": "electron / s",
    "pos_centroid": "pix",
    "pos_corr": "pix",
}


def lightcurve_table(columns: dict[str, NDArray[Any]]) -> Table:
    """A table that shares its memory with the columns."""
    from astropy.table import Table

    return Table(columns, copy=False, units=_UNITS)


def background_shenanigans(
    source: Source, stamp: Stamp, spacecraft_time: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Light curve quality flags of frames in which the background of the stamp misbehaves.

    Parameters
    ----------
    source : Source
    stamp : Stamp
    spacecraft_time : ndarray, shape (T,)
        Times of the light curve in the frame of the spacecraft, days.

    Returns
    -------
    ndarray of int32, shape (T,)
    """
    flags = np.zeros(len(spacecraft_time), dtype=np.int32)
    cube = source.cube
    if cube is not None:
        row, column = cube.row_offset, cube.column_offset
        flagged = flagged_frames(
            cube.pixel_flags,
            stamp[0] - row,
            stamp[1] - row,
            stamp[2] - column,
            stamp[3] - column,
            PixelQualityFlags.BackgroundShenanigans,
        )
        at = source.at_cadences(flagged, spacecraft_time)
        flags[at] = CorrectorQualityFlags.BackgroundShenanigans
    return flags
