"""Full frame images: finding them, their headers, and their science pixels.

A sector has 11,700 frames a CCD, and astropy takes 20 ms to parse the headers of one. Only two kinds of
HDU occur, so the cards are read here directly and the pixels by their place in the file, which also
lets a caller read some rows of a frame only.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT, check_folder, files_below
from .ffi_info import (
    SCIENCE_COLUMNS,
    SCIENCE_ROWS,
    FFIInfo,
    check_ccd,
    ffi_info,
    is_tica_name,
    name_time,
    parse_ffi_name,
    science_pixels,
)
from .fits_read import FITSReader, image_extension
from .tica import scan_tica

__all__ = [
    "SCIENCE_COLUMNS",
    "SCIENCE_ROWS",
    "FFIInfo",
    "find_ffis",
    "name_time",
    "parse_ffi_name",
    "read_rows",
    "scan_ffi",
]


def find_ffis(folder: str | os.PathLike[str]) -> dict[tuple[int, int, int], list[Path]]:
    """All full frame images in a folder and the folders in it.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    dict
        From (sector, camera, ccd), sorted, to the files in order of the time in their names.

    Raises
    ------
    MissingInput
        If there is no such folder.
    """
    folder = Path(folder)
    check_folder(folder, "the full frame images")
    found: dict[tuple[int, int, int], list[tuple[str, str, Path]]] = {}
    for path in files_below(folder):
        name = parse_ffi_name(path)
        if name is not None:
            found.setdefault(name[:3], []).append((name[3], path.name, path))
    return {key: [path for *_, path in sorted(found[key])] for key in sorted(found)}


def scan_ffi(path: str | os.PathLike[str]) -> FFIInfo:
    """Read the headers of a full frame image.

    Parameters
    ----------
    path : path-like
        A calibrated full frame image, ``.fits`` or ``.fits.gz``, whole or a region of the CCD.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If the file is truncated, is not a full frame image, has no science pixels, or is of another CCD than
        its name says.
    """
    path = Path(path)
    name = parse_ffi_name(path)
    if name is None:
        raise InputError(
            f"{path}: not named like a full frame image (tess*-sSSSS-C-D-XXXX-s_ffic.fits, also .gz)"
        )
    if is_tica_name(path):
        return scan_tica(path)
    with FITSReader(path) as reader:
        primary = reader.hdu()
        hdu = reader.hdu(primary.start)
        image = image_extension(path, hdu)
        error = None
        if not reader.compressed:
            error = reader.error(image)
            reader.check_size(image.end if error is None else error.end)
    header = {**primary.values, **hdu.values}
    sector = header.get("SECTOR")
    # Frames of the mission do not say their sector.
    said = {"SECTOR": name[0] if sector is None else sector}
    check_ccd(path, said | {key: header.get(key) for key in ("CAMERA", "CCD")}, name[:3])
    return ffi_info(path, name[:3], header, hdu.cards, image, error=error, compressed=reader.compressed)


def read_rows(
    info: FFIInfo,
    first: int,
    last: int,
    errors: bool = True,
    out: tuple[NDArray[np.float32] | None, NDArray[np.float32] | None] = (None, None),
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Read some rows of science pixels.

    Parameters
    ----------
    info : FFIInfo
    first, last : int
        Rows of the science pixels, half open.
    errors : bool
        Read the uncertainties too.
    out : pair of (ndarray of float32, shape (last - first, C), or None)
        Memory for flux and uncertainties.

    Returns
    -------
    flux, error : ndarray of float32, shape (last - first, C)
        `error` is None without `errors`.

    Raises
    ------
    MissingInput, InputError
        If the pixels cannot be read; with `errors`, if the uncertainties are missing or of another size.
    """
    if info.pixels is not None:
        found = info.pixels.read(info, first, last, errors)
        return _placed(found[0], out[0]), None if found[1] is None else _placed(found[1], out[1])
    with FITSReader(info.path) as reader:
        flux = science_pixels(reader, info, info.image, first, last, out[0])
        if not errors:
            return flux, None
        extension = info.error or reader.error(info.image)
        if extension is None:
            raise InputError(f"{info.path}: no uncertainties in it; {WAY_OUT}")
        if extension.shape != info.image.shape:
            raise InputError(
                f"{info.path}: the uncertainties have {extension.shape[0]} x {extension.shape[1]} pixels, "
                f"the image {info.image.shape[0]} x {info.image.shape[1]}; {WAY_OUT}"
            )
        error = science_pixels(reader, info, extension, first, last, out[1])
        if last == info.shape[0]:
            reader.check_end()
        return flux, error


def _placed(pixels: NDArray[np.float32], out: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Pixels, in `out` if that is given."""
    if out is None:
        return pixels
    out[:] = pixels
    return out
