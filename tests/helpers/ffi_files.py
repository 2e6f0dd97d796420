"""Small full frame images, written with astropy, for the tests of everything that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from tasoc_mpi.products.ffi import FFIInfo, read_rows, scan_ffi

#: Sector 30 at 600 s; the first cadence starts here (JD - 2457000, spacecraft).
START = 2115.9
STEP = 600 / 86400


def ffi_name(t: int, sector: int = 30, camera: int = 1, ccd: int = 1) -> str:
    return f"tess{20202660000000 + t:014d}-s{sector:04d}-{camera}-{ccd}-0195-s_ffic.fits"


def wcs_cards(crpix: tuple[float, float], t: int = 0) -> dict[str, Any]:
    """TAN-SIP like that of a TESS CCD, moving by 0.01 px a frame."""
    cards = {
        "WCSAXES": 2,
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE2": "DEC--TAN-SIP",
        "CRVAL1": 60.0 + 5e-5 * t,
        "CRVAL2": -30.0,
        "CRPIX1": crpix[0],
        "CRPIX2": crpix[1],
        "CD1_1": 0.0054,
        "CD1_2": -0.0014,
        "CD2_1": 0.0015,
        "CD2_2": 0.0055,
        "A_ORDER": 2,
        "B_ORDER": 2,
        "A_2_0": -1.9e-5,
        "A_1_1": 1.7e-5,
        "B_1_1": -1.6e-5,
        "B_0_2": 2.0e-5,
    }
    return cards


def write_ffi(
    folder: Path,
    t: int,
    flux: NDArray[Any],
    error: NDArray[Any] | None = None,
    *,
    first: tuple[int, int] = (44, 0),
    sector: int = 30,
    camera: int = 1,
    ccd: int = 1,
    primary: dict[str, Any] | None = None,
    **cards: Any,
) -> Path:
    """One frame of a region whose first pixel is the full frame image (column, row) `first`.

    Cards with the value None are left out.
    """
    start = START + t * STEP
    timecorr = 0.002 + 1e-6 * t
    header = {
        "CAMERA": camera,
        "CCD": ccd,
        "TSTART": start + timecorr,
        "TSTOP": start + STEP + timecorr,
        "BARYCORR": timecorr,
        "BTC_PIX1": 1068.0,
        "BTC_PIX2": 1024.0,
        "FRAMETIM": 2.0,
        "NUM_FRM": 300,
        "NREADOUT": 240,
        "BACKAPP": False,
        "DQUALITY": 0,
        "CRPIX1P": 1,
        "CRPIX2P": 1,
        "CRVAL1P": first[0] + 1,
        "CRVAL2P": first[1] + 1,
        **wcs_cards((1045.0 - first[0], 1001.0 - first[1]), t),
        **cards,
    }
    top = {
        "TSTART": start,
        "SECTOR": sector,
        "DATA_REL": 42,
        "PROCVER": "spoc-5.0.0",
        "FFIINDEX": 700000 + t,
        "CRMITEN": True,
        "CRBLKSZ": 10,
        "CRSPOC": False,
        **(primary or {}),
    }
    hdus = fits.HDUList([fits.PrimaryHDU()])
    hdus[0].header.update({k: v for k, v in top.items() if v is not None})
    for data in (flux, error if error is not None else np.full_like(flux, 0.5)):
        hdu = fits.ImageHDU(np.asarray(data, dtype="f4"))
        hdu.header.update({k: v for k, v in header.items() if v is not None})
        hdus.append(hdu)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ffi_name(t, sector, camera, ccd)
    hdus.writeto(path)
    return path


def series(
    folder: Path, frames: int, shape: tuple[int, int] = (70, 80), seed: int = 0, **options: Any
) -> NDArray[np.float32]:
    """Frames of stars on a sky that changes; returns the pixels, shape (T, R, C)."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[: shape[0], : shape[1]]
    stars = np.zeros(shape)
    for _ in range(shape[0] * shape[1] // 150):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        flux = 10 ** rng.uniform(1.0, 4.0)
        stars += flux / 5 * np.exp(-((row - y) ** 2 + (column - x) ** 2) / 1.6)
    pixels = np.empty((frames, *shape), dtype="f4")
    for t in range(frames):
        sky = 100 + 5 * np.sin(t / 5) + 0.1 * row - 0.05 * column
        pixels[t] = sky + stars + rng.normal(0, 0.5, shape)
        write_ffi(folder, t, pixels[t], **options)
    return pixels


class FFIFrame(NamedTuple):
    """The science pixels of a full frame image, and their errors if they were read."""

    info: FFIInfo
    flux: NDArray[np.float32]
    error: NDArray[np.float32] | None


def read_ffi(path: Path, errors: bool = True) -> FFIFrame:
    """Read all science pixels of a frame."""
    info = scan_ffi(path)
    return FFIFrame(info, *read_rows(info, 0, info.shape[0], errors=errors))
