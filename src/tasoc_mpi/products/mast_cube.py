"""The cubes of calibrated full frame images that MAST publishes, `tess-sSSSS-C-D-cube.fits`.

Made by astrocut's cube factory: an image with axes (row, column, frame, [flux, error]), in FITS order the
other way round, and behind it a table of the cards of every frame's image header. The primary header is
that of the first frame.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.times import DAY
from ..kernels.interleave import frames_of_cube
from .ffi_info import FFIInfo, ffi_info, wcs_cards
from .fits_read import HDU, MAX_SIDE, WAY_OUT, Extension, FITSReader, is_integer
from .fits_table import read_table

__all__ = ["MastPixels", "frame_block", "is_mast_cube", "mast_ccd", "scan_mast_cube"]

_NAME = re.compile(r"tess-s(?P<sector>\d{4,5})-(?P<camera>[1-4])-(?P<ccd>[1-4])-cube\.fits")
#: Frames are taken out of the cube in groups of a multiple of this: one page (4 kB) of a pixel is
#: 512 pairs of values.
_PAGE = 512


@dataclass(frozen=True)
class MastPixels:
    """The pixels of one frame of a cube."""

    start: int  #: First byte of the pixels in the file
    shape: tuple[int, int, int]  #: Rows, columns and frames of the file
    frame: int
    #: Bytes that frames may take which are read ahead: values of a frame lie far apart in the file, so that
    #: one frame is as slow to read as many.
    memory: float
    #: Descriptor of a file with the fluxes as (frame, row, column) of science pixels.
    spool: int | None = None

    def read(
        self, info: FFIInfo, first: int, last: int, errors: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Some rows of science pixels and their uncertainties."""
        if self.spool is not None and not errors:
            rows, columns = info.shape
            data = os.pread(
                self.spool, 4 * columns * (last - first), 4 * columns * (self.frame * rows + first)
            )
            return np.frombuffer(data, "f4").reshape(last - first, columns).copy(), None
        size = 4.0 * (2 if errors else 1) * (last - first) * info.shape[1]
        count = int(min(max(self.memory // size, 1), self.shape[2]))
        if count < self.shape[2]:
            count = max(count // _PAGE * _PAGE, min(count, _PAGE))
        group = self.frame // count * count
        region = _bounds(info, first, last)
        flux, error = _frames(info.path, self.start, self.shape, region, group, count, errors)
        k = self.frame - group
        return np.array(flux[k]), None if error is None else np.array(error[k])


def frame_block(info: FFIInfo, first: int, last: int) -> NDArray[np.float32]:
    """Some rows of the fluxes of all frames of a cube, shape (T, last - first, C); `info` is any of them."""
    pixels = info.pixels
    assert isinstance(pixels, MastPixels)
    region = _bounds(info, first, last)
    flux, _ = _frames(info.path, pixels.start, pixels.shape, region, 0, pixels.shape[2], False)
    return flux


def _bounds(info: FFIInfo, first: int, last: int) -> tuple[int, int, int, int]:
    """The region of the file with some rows of science pixels, as it can be a key."""
    rows, columns = info.region(first, last)
    return rows.start, rows.stop, columns.start, columns.stop


@functools.lru_cache(maxsize=1)
def _frames(
    path: Path,
    start: int,
    shape: tuple[int, int, int],
    region: tuple[int, int, int, int],
    first: int,
    count: int,
    errors: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """A region of some frames and of their uncertainties, shape (K, R, C)."""
    cube = np.memmap(path, "u4", "r", start, (*shape, 2))[region[0] : region[1], region[2] : region[3]]
    last = min(first + count, shape[2])
    out = []
    for kind in range(2 if errors else 1):
        frames = np.empty((last - first, *cube.shape[:2]), dtype="u4")
        frames_of_cube(np.asarray(cube), first, kind, frames)
        out.append(frames.view("f4"))
    return out[0], out[1] if errors else None


def is_mast_cube(hdu: HDU) -> bool:
    """Whether the first extension of a FITS file is an image of four axes."""
    return hdu.values.get("XTENSION") == "IMAGE" and hdu.values.get("NAXIS") == 4


def mast_ccd(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Sector, camera and CCD of a cube; InputError if its header and its name do not agree."""
    path = Path(path)
    with FITSReader(path) as reader:
        return _ccd(path, reader.hdu().values)


def scan_mast_cube(path: str | os.PathLike[str], memory: float = 1e9) -> tuple[FFIInfo, ...]:
    """The frames of a cube, in order of time; their pixels are still in the file.

    Parameters
    ----------
    path : path-like
    memory : float
        Bytes that frames may take which are read ahead.

    Returns
    -------
    tuple of FFIInfo

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If the file is not such a cube, is truncated, or is of another CCD than its name says.
    """
    path = Path(path)
    with FITSReader(path) as reader:
        primary = reader.hdu()
        cube = reader.hdu(primary.start)
        shape = _shape(path, cube.values)
        # Pairs of values count as one of 8 bytes.
        image = Extension(cube.start, ">f8", (shape[0] * shape[1], shape[2]))
        reader.check_size(image.end)
        if reader.compressed:
            raise InputError(f"{path}: packed; unpack it with gunzip, its pixels are read where they are")
        table = reader.hdu(image.end)
        if table.values.get("XTENSION") != "BINTABLE" or table.values.get("NAXIS2") != shape[2]:
            raise InputError(f"{path}: no table of the headers of its {shape[2]} frames; {WAY_OUT}")
        columns = read_table(reader, table)
    key = _ccd(path, primary.values)
    headers = [_header(primary.values, columns, frame, key) for frame in range(shape[2])]
    if "FFIINDEX" not in columns:
        _number(headers)
    infos = []
    for frame, header in enumerate(headers):
        infos.append(
            ffi_info(
                path,
                key,
                header,
                wcs_cards(header),
                Extension(image.start, ">f4", (shape[0], shape[1])),
                pixels=MastPixels(image.start, shape, frame, memory),
                frame_name=str(header.get("FFI_FILE") or f"frame {frame}"),
            )
        )
    return tuple(infos)


def _shape(path: Path, values: Mapping[str, Any]) -> tuple[int, int, int]:
    """Rows, columns and frames of a cube."""
    shape = tuple(values.get(f"NAXIS{axis}") for axis in (4, 3, 2))
    whole = values.get("XTENSION") == "IMAGE" and all(is_integer(n) for n in shape)
    sizes = values.get("NAXIS"), values.get("BITPIX"), values.get("NAXIS1")
    plain = (values.get("PCOUNT") or 0, values.get("GCOUNT") or 1) == (0, 1)
    if not whole or not plain or sizes != (4, -32, 2):
        raise InputError(
            f"{path}: not a cube of fluxes and their errors (row, column, frame, 2) as MAST publishes "
            f"them; {WAY_OUT}"
        )
    rows, columns, frames = (int(n) for n in shape)  # type: ignore[arg-type]
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE and 0 < frames < 10**6):
        raise InputError(
            f"{path}: {frames} frames of {rows} x {columns} pixels (NAXIS2, 4, 3), unlike any CCD; {WAY_OUT}"
        )
    return rows, columns, frames


def _ccd(path: Path, primary: Mapping[str, Any]) -> tuple[int, int, int]:
    """Sector, camera and CCD by the header, or the name where the header does not say."""
    match = _NAME.fullmatch(path.name)
    name = match.groupdict() if match else {}
    found = []
    for word in ("sector", "camera", "ccd"):
        value: Any = primary.get(word.upper())
        if value is None:
            value = name.get(word)
        most = 9999 if word == "sector" else 4
        known = str(value).isdecimal() and 1 <= int(value) <= most
        if not known or int(name.get(word, value)) != int(value):
            raise InputError(
                f"{path}: {word} {value} in its header; name it tess-sSSSS-C-D-cube.fits as MAST does, or "
                "fetch it again"
            )
        found.append(int(value))
    return found[0], found[1], found[2]


def _header(
    primary: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], frame: int, key: tuple[int, int, int]
) -> dict[str, Any]:
    """Cards of a frame; None where the table has nothing."""
    header = dict(primary)
    for name, column in columns.items():
        value = column[frame].item()
        if isinstance(value, float) and not np.isfinite(value):
            value = None
        elif isinstance(value, bytes):
            # As of a card: what is not printable says nothing.
            text = value.decode("latin-1").strip()
            value = text if text and text.isascii() and text.isprintable() else None
        header[name] = value
    header.update(zip(("SECTOR", "CAMERA", "CCD"), key, strict=True))
    return header


def _number(headers: list[dict[str, Any]]) -> None:
    """Give every frame its FFIINDEX, which only the primary header of the first one has."""
    first = headers[0].get("FFIINDEX")
    if not is_integer(first):
        return
    for header in headers:
        header["FFIINDEX"] = None
        try:
            cadence = header["NUM_FRM"] * (header.get("FRAMETIM") or 2.0)
            middle, start = (h["TSTART"] - h["BARYCORR"] for h in (header, headers[0]))
            header["FFIINDEX"] = first + round((middle - start) * DAY / cadence)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            # What is missing or no number is named when the frames are checked.
            continue
