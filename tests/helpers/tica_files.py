"""Small frames of TICA, written with astropy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from ffi_files import wcs_cards
from numpy.typing import NDArray

#: Of the first cadence (TJD, spacecraft).
START = 2036.28


def tica_name(t: int, orbit: str = "o1-", camera: int = 1, ccd: int = 1) -> str:
    return f"hlsp_tica_tess_ffi_s0027-{orbit}{116470 + t:08d}-cam{camera}-ccd{ccd}_tess_v01_img.fits"


def write_tica(
    folder: Path, t: int, electrons: NDArray[Any], seconds: int = 600, orbit: str = "o1-", **cards: Any
) -> Path:
    """A frame whose first pixel is column 44, row 0; cards with the value None are left out."""
    start = START + t * seconds / 86400
    header = {
        "CRM_N": 10,
        "ORBIT_ID": 61,
        "ACS_MODE": "FP",
        "TJD_ZERO": 2457000.0,
        "STARTTJD": start,
        "MIDTJD": start + seconds / 2 / 86400,
        "ENDTJD": start + seconds / 86400,
        "EXPTIME": seconds * 0.8 * 0.99,
        "INT_TIME": seconds,
        "QUAL_BIT": 0,
        "CAMNUM": 1,
        "CCDNUM": 1,
        "CADENCE": 116470 + t,
        "CRM": True,
        "SCIPIXS": "[45:2092,1:2048]",
        "UNITS": "electrons",
        "TICAVER": f"1.1.{t}",
        "CRVAL1P": 45,
        "CRVAL2P": 1,
        **wcs_cards((1001.0, 1001.0), t),
        **cards,
    }
    hdu = fits.PrimaryHDU(np.asarray(electrons, dtype="f4"))
    hdu.header.update({key: value for key, value in header.items() if value is not None})
    table = fits.BinTableHDU.from_columns([fits.Column("RESIDUAL", "D", array=np.zeros(3))])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / tica_name(t, orbit)
    fits.HDUList([hdu, table]).writeto(path)
    return path
