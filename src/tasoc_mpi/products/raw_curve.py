"""The raw columns of a light curve file, as the correction of systematics reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip, igzip_lib
from numpy.typing import NDArray

from ..core.errors import InputError, one_line
from ..core.input_files import WAY_OUT
from .corrected_file import LightCurveTable, checksums_hold
from .fits_read import is_integer, is_number
from .lightcurve import STAR_CARDS, check_star

__all__ = ["RawCurve", "open_listed", "open_table", "parse_raw_curve", "raw_curve"]

_COLUMNS = {
    "time": ("TIME", "f8"),
    "timecorr": ("TIMECORR", "f8"),
    "cadenceno": ("CADENCENO", "i4"),
    "flux": ("FLUX_RAW", "f8"),
    "flux_err": ("FLUX_RAW_ERR", "f8"),
    "background": ("FLUX_BKG", "f8"),
    "quality": ("PIXEL_QUALITY", "i4"),
    "column": ("MOM_CENTR1", "f8"),
    "row": ("MOM_CENTR2", "f8"),
    "column_shift": ("POS_CORR1", "f8"),
    "row_shift": ("POS_CORR2", "f8"),
}
#: Of damaged gzip files.
_ERRORS: tuple[Any, ...] = (OSError, EOFError, igzip_lib.IsalError)


@dataclass(frozen=True)
class RawCurve:
    """A light curve before the correction of systematics.

    Attributes
    ----------
    starid, sector, camera, ccd : int
    cadence : int
        Seconds.
    tmag : float
        TESS magnitude; NaN where it is not known.
    time, timecorr : ndarray of float64, shape (T,)
        BJD - 2457000 and the barycentric correction in it, days.
    cadenceno : ndarray of int32, shape (T,)
    flux, flux_err, background : ndarray of float64, shape (T,)
        e-/s.
    corrector_quality, quality : ndarray of int32, shape (T,)
        Bits of `CorrectorQualityFlags` (column QUALITY, those of the photometry alone) and of
        `TESSQualityFlags` (PIXEL_QUALITY).
    column, row : ndarray of float64, shape (T,)
        Centroid, counted from 1, pixels of the CCD.
    column_shift, row_shift : ndarray of float64, shape (T,)
        Change of the star's position against the reference frame, pixels.
    """

    starid: int
    sector: int
    camera: int
    ccd: int
    cadence: int
    tmag: float
    time: NDArray[np.float64]
    timecorr: NDArray[np.float64]
    cadenceno: NDArray[np.int32]
    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    background: NDArray[np.float64]
    corrector_quality: NDArray[np.int32]
    quality: NDArray[np.int32]
    column: NDArray[np.float64]
    row: NDArray[np.float64]
    column_shift: NDArray[np.float64]
    row_shift: NDArray[np.float64]


def parse_raw_curve(path: str | os.PathLike[str], data: bytes) -> RawCurve:
    """The raw columns of a light curve.

    Parameters
    ----------
    path : path-like
        Names the light curve in errors.
    data : bytes
        The file, gzip or plain.

    Raises
    ------
    InputError
        If it is not a light curve of this program.
    """
    return raw_curve(open_table(path, data))


def open_table(path: str | os.PathLike[str], data: bytes) -> LightCurveTable:
    """The table of a light curve file; arguments and errors as of `parse_raw_curve`."""
    path = path if isinstance(path, Path) else Path(path)
    try:
        content = igzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except _ERRORS as error:
        raise InputError(f"{path}: not a whole light curve ({one_line(error)}); {WAY_OUT}") from None
    return LightCurveTable(path, content)


def open_listed(path: str | os.PathLike[str], data: bytes) -> LightCurveTable:
    """The table of a light curve of a run, of which every byte is to be as it was written.

    Parameters
    ----------
    path : path-like
        Its name in the work list, below the output folder.
    data : bytes

    Raises
    ------
    InputError
        If it is not a light curve of this program or of another star, or its checksums do not hold.
    """
    table = open_table(path, data)
    # Not to give damaged values the checksum of right ones.
    if not checksums_hold(table.content):
        raise InputError(
            f"{table.path}: its checksums are not those of its bytes; compute it again with --overwrite"
        )
    check_star(table.path, table.primary.values)
    return table


def raw_curve(table: LightCurveTable) -> RawCurve:
    """The raw columns of the table of a light curve file; InputError where they are not those of one."""
    path = table.path
    facts: dict[str, Any] = {key: table.column(name, dtype) for key, (name, dtype) in _COLUMNS.items()}
    facts["corrector_quality"] = table.photometry_quality
    for key, card in STAR_CARDS.items():
        # The star of a cut-out may have no number.
        facts[key] = table.primary.values.get(card, 0 if key == "starid" else None)
        if not is_integer(facts[key]) or not 0 <= facts[key] < 2**63:
            raise InputError(f"{path}: {card} is {facts[key]!r} in its header; {WAY_OUT}")
    step = table.hdu.values.get("TIMEDEL")
    if not is_number(step) or not 1e-5 < step < 1:
        raise InputError(f"{path}: TIMEDEL is {step!r} in its header; {WAY_OUT}")
    tmag = table.primary.values.get("TESSMAG")
    return RawCurve(
        **facts,
        cadence=round(step * 86400.0),
        tmag=float(tmag) if is_number(tmag) else float("nan"),
    )
