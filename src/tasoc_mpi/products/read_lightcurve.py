"""Read a light curve file as a time series of astropy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError
from ..core.input_files import WAY_OUT, InputFile
from ..core.times import BTJD_ZERO
from .fits_read import FITSReader, is_number
from .fits_table import read_table
from .raw_curve import open_table, raw_curve

if TYPE_CHECKING:
    from astropy.timeseries import TimeSeries

__all__ = ["read_lightcurve"]

#: Units of astropy by those of the files of this and of earlier versions.
_UNITS = {
    "ct/s": "electron / s",
    "e-/s": "electron / s",
    "10**-6": "1e-6",
    "ppm": "1e-6",
    "pixel": "pix",
    "pixels": "pix",
    "d": "d",
}


def read_lightcurve(path: str | os.PathLike[str]) -> TimeSeries:
    """Read a light curve of this program, of any version.

    Parameters
    ----------
    path : path-like
        FITS, gzipped or not.

    Returns
    -------
    astropy.timeseries.TimeSeries
        Its column `time` is a `Time` of the scale TDB, at the barycentre. The others have the names of the
        file in lower case: flux_raw, flux_raw_err and flux_bkg in electrons/s; flux_corr and flux_corr_err
        in units of 1e-6 (ppm), NaN until the light curve is corrected; mom_centr1, mom_centr2 (column and
        row of the CCD, pixels counted from 1); pos_corr1, pos_corr2 (motion of the star in column and row,
        pixels); timecorr (days), cadenceno, quality and pixel_quality. `meta` has the cards of the primary
        header and of the table.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is not a light curve of this program, or is damaged.

    Examples
    --------
    >>> read_lightcurve("no.fits.gz")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.MissingInput: no.fits.gz: no such file; fetch it again, or name another one
    """
    from astropy import units as u
    from astropy.time import Time
    from astropy.timeseries import TimeSeries

    path = Path(path)
    with InputFile(path) as file:
        content = file.read()
    try:
        table = open_table(path, content)
    except InputError:
        _check_columns(path)
        raise
    # Raises where its columns and its star are not those of a light curve.
    curve, header = raw_curve(table), table.hdu.values
    first = header.get("BJDREFI", BTJD_ZERO), header.get("BJDREFF", 0.0)
    if not all(map(is_number, first)) or sum(first) != BTJD_ZERO or np.isinf(curve.time).any():
        raise InputError(
            f"{path}: its times are not BJD - {BTJD_ZERO:.0f} (TIME, BJDREFI, BJDREFF); {WAY_OUT}"
        )
    with FITSReader(path, table.content) as reader:
        columns = read_table(reader, table.hdu)
    units = {header.get(f"TTYPE{i}"): header.get(f"TUNIT{i}") for i in range(1, len(columns) + 1)}
    time = Time(BTJD_ZERO, columns.pop("TIME"), format="jd", scale="tdb")
    series = TimeSeries(time=time)
    for name, values in columns.items():
        unit = _UNITS.get(str(units.get(name)))
        is_quantity = unit is not None and values.dtype.kind in "if"
        series[name.lower()] = values * u.Unit(unit) if is_quantity else values
    structure = ("TTYPE", "TFORM", "TUNIT", "TDISP", "TUCD", "NAXIS")
    for cards in (table.primary.values, header):
        series.meta |= {key: value for key, value in cards.items() if not key.startswith(structure)}
    return series


def _check_columns(path: Path) -> None:
    """Raise InputError for a light curve of another program, which is not damaged."""
    with FITSReader(path) as reader:
        names = {
            value for hdu in reader.hdus() for key, value in hdu.values.items() if key.startswith("TTYPE")
        }
    if names and "FLUX_RAW" not in names:
        raise InputError(
            f"{path}: no column FLUX_RAW, so not a light curve of tasoc-mpi; lightkurve.read reads those of "
            "other programs"
        )
