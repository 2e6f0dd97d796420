"""Cut-outs of full frame images, as TESSCut at MAST and the package astrocut make them.

They look like target pixel files: a table with a row a frame, and a place on the CCD. One set of world
coordinates is there for all frames. The background is still in the pixels, and cadence numbers are missing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.times import DAY
from .ffi_info import FFIInfo, cadence_seconds, ffi_info, wcs_cards
from .fits_read import HDU, WAY_OUT, Extension, FITSReader, is_integer
from .fits_table import read_table
from .frame_wcs import COLUMN_CARDS

__all__ = ["is_cutout", "scan_cutout"]

#: Degrees a pixel that there cannot be.
_LARGEST_SCALE = 360.0
#: Cadences of TESS at most, from its launch on.
_MOST_CADENCES = 1e8
#: TESS has pixels of 19 to 23 arcsec; a fit to one pixel or to a row of them gives anything.
_PIXEL_SCALE = (15.0, 30.0)
#: The order of the cards of the WCS.
_WCS = ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT")


@dataclass(frozen=True)
class CutoutPixels:
    """The pixels of one frame, shape (R, C) each, e-/s."""

    flux: NDArray[np.float32]
    error: NDArray[np.float32]

    def read(
        self, info: FFIInfo, first: int, last: int, errors: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Some rows of science pixels and their uncertainties."""
        region = info.region(first, last)
        return np.array(self.flux[region]), np.array(self.error[region]) if errors else None


def is_cutout(hdu: HDU) -> bool:
    """Whether the first extension of a FITS file is a cut-out's table of pixels: it names the frames."""
    names = {value for key, value in hdu.values.items() if key.startswith("TTYPE")}
    return hdu.values.get("XTENSION") == "BINTABLE" and {"FLUX", "FFI_FILE"} <= names


def scan_cutout(path: str | os.PathLike[str]) -> tuple[FFIInfo, ...]:
    """The frames of a cut-out, in order of time. Rows without a time are left out.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    tuple of FFIInfo
        Each holds its pixels. Shifts of the stars (POS_CORR) are in the reference pixel of its WCS.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If the file is not a cut-out, is truncated, has no frame with a time, or has no world coordinates
        that mean something (a single pixel has none).
    """
    path = Path(path)
    primary, table, aperture, columns = _read(path)
    wcs = _wcs(path, table, aperture)
    header = {**primary, **{key: value for key, value in table.items() if value is not None}}
    sector, camera, ccd = (_identity(path, header, word) for word in ("SECTOR", "CAMERA", "CCD"))
    time = columns["TIME"].astype("f8")
    rows = np.flatnonzero(np.isfinite(time) & (time > 0))
    if not len(rows):
        raise InputError(f"{path}: no frame in it has a time; {WAY_OUT}")
    rows = rows[np.argsort(time[rows], kind="stable")]
    cadence = cadence_seconds(path, header)
    numbers = _numbers(header, columns, rows, cadence)
    flux, error = (np.ascontiguousarray(columns[name], dtype="f4") for name in ("FLUX", "FLUX_ERR"))
    place = {f"CRVAL{axis}P": table.get(f"{axis}CRV4P") for axis in (1, 2)}
    place |= {f"CRPIX{axis}P": table.get(f"{axis}CRP4P", 1) for axis in (1, 2)}
    if not all(isinstance(value, int | float) for value in place.values()):
        raise InputError(
            f"{path}: its place on the CCD (1CRV4P, 2CRV4P) is not in its header, where some versions of "
            "astrocut forget it; fetch it from TESSCut, or cut it out with another version"
        )
    infos = []
    for row, number in zip(rows, numbers, strict=True):
        moved = dict(wcs)
        for axis in (1, 2):
            moved[f"CRPIX{axis}"] += float(np.nan_to_num(columns[f"POS_CORR{axis}"][row]))
        own = {
            **header,
            **place,
            **moved,
            "TSTART": time[row] - cadence / 2 / DAY,
            "TSTOP": time[row] + cadence / 2 / DAY,
            "BARYCORR": float(columns["TIMECORR"][row]),
            "DQUALITY": int(columns["QUALITY"][row]),
            "FFIINDEX": number,
            "BACKAPP": False,
            # What is in the file is the version of astrocut.
            "PROCVER": "",
        }
        infos.append(
            ffi_info(
                path,
                (sector, camera, ccd),
                own,
                wcs_cards(moved),
                Extension(0, ">f4", flux.shape[1:]),
                pixels=CutoutPixels(flux[row], error[row]),
                frame_name=_frame_name(columns["FFI_FILE"][row]),
            )
        )
    return tuple(infos)


def _read(
    path: Path,
) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], dict[str, NDArray[Any]]]:
    """Values of the headers (of the file, the table and the mask), and the columns of the table."""
    names = ("TIME", "TIMECORR", "CADENCENO", "FLUX", "FLUX_ERR", "QUALITY", "POS_CORR1", "POS_CORR2")
    with FITSReader(path) as reader:
        primary = reader.hdu()
        table = reader.hdu(primary.start)
        columns = read_table(reader, table, (*names, "FFI_FILE"))
        try:
            aperture = reader.hdu(reader.end(table)).values
        except InputError:
            # The mask is of no use here but for its WCS, which the table has, too.
            aperture = {}
    for name in names:
        kind, axes = columns[name].dtype.kind, columns[name].ndim
        integer = name in ("CADENCENO", "QUALITY")
        if kind not in ("iu" if integer else "f") or (axes != 1 and not name.startswith("FLUX")):
            raise InputError(
                f"{path}: {name} is no column of {'integers' if integer else 'floats'}; {WAY_OUT}"
            )
    if columns["FLUX"].ndim != 3 or columns["FLUX"].shape != columns["FLUX_ERR"].shape:
        raise InputError(f"{path}: FLUX and FLUX_ERR are not images of one size; {WAY_OUT}")
    return primary.values, table.values, aperture, columns


def _wcs(path: Path, table: Mapping[str, Any], aperture: Mapping[str, Any]) -> dict[str, Any]:
    """The cards of the WCS of the pixels, named as those of an image.

    They are with the column of pixels, and again with the mask.
    """
    cards: dict[str, Any] = {"WCSAXES": 2, "RADESYS": "ICRS"}
    for name in (f"{word}{axis}" for word in _WCS for axis in (1, 2)):
        value = table.get(f"{COLUMN_CARDS[name]}4", aperture.get(name))
        if value is not None:
            cards[name] = float(value) if is_integer(value) else value
    for name in (f"PC{i}_{j}" for i in (1, 2) for j in (1, 2)):
        value = table.get(f"{COLUMN_CARDS[name]}4", aperture.get(name))
        cards[name] = float(name[2] == name[4]) if value is None else value
    try:
        scale = np.array([[cards[f"PC{i}_{j}"] * cards[f"CDELT{i}"] for j in (1, 2)] for i in (1, 2)])
        known = np.isfinite([*scale.ravel(), *(cards[f"{c}{k}"] for c in ("CRVAL", "CRPIX") for k in (1, 2))])
    except (KeyError, TypeError):
        known = np.array([False])
    if not known.all():
        raise InputError(f"{path}: no world coordinates in it; cut out a larger region")
    if not np.abs(scale).max() < _LARGEST_SCALE:
        raise InputError(f"{path}: its world coordinates make pixels larger than the sky; {WAY_OUT}")
    sides = np.linalg.svd(scale, compute_uv=False) * 3600
    if sides[0] > _PIXEL_SCALE[1] or sides[1] < _PIXEL_SCALE[0]:
        raise InputError(
            f"{path}: its world coordinates make pixels of {sides[0]:.3g} by {sides[1]:.3g} arcsec; too few "
            "pixels to fit them to: cut out a larger region"
        )
    return cards


def _identity(path: Path, header: Mapping[str, Any], word: str) -> int:
    """Sector, camera or CCD."""
    value = header.get(word)
    if not is_integer(value) or not 1 <= value <= (9999 if word == "SECTOR" else 4):
        raise InputError(f"{path}: {word} is {value} in its header; {WAY_OUT}")
    return value


def _numbers(
    header: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], rows: NDArray[np.intp], cadence: float
) -> list[int | None]:
    """Cadence numbers; from the first frame's FFIINDEX and the times where the column is empty."""
    known = columns["CADENCENO"][rows]
    if (known > 0).all():
        return [int(number) for number in known]
    first, start = header.get("FFIINDEX"), header.get("TSTART")
    if not is_integer(first) or not isinstance(start, int | float) or isinstance(start, bool):
        return [None] * len(rows)
    # TSTART and FFIINDEX are of the first frame of the sector, whose correction is not known any more: the
    # change in it, 8 minutes in half a year, is some 5 s in a day. Values that are no times are named later.
    with np.errstate(all="ignore"):
        spacecraft = columns["TIME"][rows].astype("f8") - columns["TIMECORR"][rows]
        first_correction = _extrapolated(spacecraft, columns["TIMECORR"][rows], start)
        steps = (spacecraft - (start - first_correction)) * DAY / cadence - 0.5
    # Where a time's correction is not known, its number is not either.
    return [first + int(step) if abs(step) < _MOST_CADENCES else None for step in np.round(steps)]


def _extrapolated(time: NDArray[np.float64], correction: NDArray[np.float32], at: float) -> float:
    """Barycentric correction at another time."""
    if len(time) < 2 or np.ptp(time) == 0:
        return float(correction[0])
    slope = (float(correction[-1]) - float(correction[0])) / (time[-1] - time[0])
    return float(correction[0]) + slope * (at - time[0])


def _frame_name(value: Any) -> str:
    """The frame's file name, which the column cuts off."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return Path(text.strip()).name
