"""Full frame images: finding them, their headers, and their science pixels.

A sector has 11,700 frames a CCD, and astropy takes 20 ms to parse the headers of one. Only two kinds of
HDU occur, so the cards are read here directly and the pixels by their place in the file, which also
lets a caller read some rows of a frame only. Files that are cut to a region of the CCD say which one by
their physical world coordinates: CRVAL1P, CRVAL2P are the column and row (1-based) of the first pixel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT, check_folder, files_below
from .fits_read import Extension, Reader, image_extension

__all__ = [
    "SCIENCE_COLUMNS",
    "SCIENCE_ROWS",
    "FFIFrame",
    "FFIInfo",
    "PixelReader",
    "find_ffis",
    "is_wcs_card",
    "name_time",
    "parse_ffi_name",
    "read_ffi",
    "read_rows",
    "scan_ffi",
    "science_pixels",
    "science_region",
]

#: Rows and columns (0-based, half open) of the full frame image that see the sky.
SCIENCE_ROWS = (0, 2048)
SCIENCE_COLUMNS = (44, 2092)

_NAME = re.compile(
    r"tess(?P<time>\d+)-s(?P<sector>\d{4})-(?P<camera>[1-4])-(?P<ccd>[1-4])-\d{4}-[a-z]_ffic\.fits(\.gz)?",
    re.ASCII,
)
#: What TICA, the quick-look calibration, calls its frames, with or without the orbit.
_TICA_NAME = re.compile(
    r"hlsp_tica_tess_ffi_s(?P<sector>\d{4})-(o\d[a-z]?-)?(?P<time>\d{8})-cam(?P<camera>[1-4])-ccd(?P<ccd>[1-4])"
    r"_tess_v\d+_img\.fits(\.gz)?",
    re.ASCII,
)
_CARD = 80
_YEAR_2000 = datetime(2000, 1, 1)
#: A cadence is no longer than this (seconds).
_LONGEST = 86400
#: Keywords of the cards that make up a frame's WCS.
_WCS_CARD = re.compile(
    r"(WCSAXES|RADESYS|EQUINOX|(CTYPE|CRVAL|CRPIX|CUNIT|CDELT)[12]|(CD|PC)[12]_[12]|LONPOLE|LATPOLE"
    r"|[AB]P?_(ORDER|DMAX|\d_\d))"
)


class PixelReader(Protocol):
    """Reads the pixels of a frame in another kind of file, as `read_rows`."""

    def read(
        self, info: FFIInfo, first: int, last: int, errors: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]: ...


@dataclass(frozen=True)
class FFIInfo:
    """What the headers of a full frame image say; its pixels are still in the file.

    Attributes
    ----------
    path : Path
    sector, camera, ccd : int
    header : mapping
        Values of the primary header and of the calibrated image's, which wins. None for undefined ones.
    cards : mapping
        The cards themselves (80 characters) of the calibrated image's header.
    shape : (int, int)
        Rows and columns of science pixels in the file.
    row_offset, column_offset : int
        0-based full frame image pixel of the first science pixel.
    file_offset : (int, int)
        0-based full frame image (column, row) of the file's first pixel.
    pixels : PixelReader or None
        What reads the pixels; None for the mission's own files.
    frame_name : str
        The frame's own file name, where `path` holds several.
    spacecraft_times : bool
        Times are those at the spacecraft; BARYCORR is unknown.
    compressed : bool
        Reading any of the pixels means to unpack the file from its beginning.
    """

    path: Path
    sector: int
    camera: int
    ccd: int
    header: Mapping[str, Any] = field(repr=False)
    cards: Mapping[str, str] = field(repr=False)
    shape: tuple[int, int]
    row_offset: int
    column_offset: int
    file_offset: tuple[int, int]
    image: Extension = field(repr=False)
    error: Extension | None = field(repr=False)
    pixels: PixelReader | None = field(default=None, repr=False)
    frame_name: str = ""
    spacecraft_times: bool = False
    compressed: bool = False

    @property
    def name(self) -> str:
        """File name of the frame."""
        return self.frame_name or self.path.name

    def number(self, key: str) -> float:
        """A finite number of the header; InputError names the file and the card otherwise."""
        value = self.header.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise InputError(f"{self.label}: no number in header card {key}; {WAY_OUT}")
        return float(value)

    def integer(self, key: str, largest: int, smallest: int = 0) -> int:
        """An integer of the header, from `smallest` to `largest`; InputError otherwise, as in `number`."""
        value = self.number(key)
        if value != round(value) or not smallest <= value <= largest:
            raise InputError(
                f"{self.label}: {key} = {value:.15g} in its header, not an integer from {smallest} to "
                f"{largest}; {WAY_OUT}"
            )
        return round(value)

    @property
    def label(self) -> str:
        """The file, with the frame's own name where it holds several."""
        return f"{self.path} ({self.frame_name})" if self.frame_name else f"{self.path}"

    @property
    def cadence(self) -> int:
        """Time from frame to frame, seconds."""
        frame_time = self.number("FRAMETIM") if "FRAMETIM" in self.header else 2.0
        cadence = self.integer("NUM_FRM", _LONGEST) * frame_time
        if not 1 <= cadence <= _LONGEST:
            raise InputError(
                f"{self.label}: NUM_FRM frames of {frame_time:g} s (FRAMETIM) in its header, a cadence of "
                f"{cadence:g} s; {WAY_OUT}"
            )
        return round(cadence)

    @property
    def wcs_cards(self) -> dict[str, Any]:
        """Values of the cards that make up the WCS, for the file's own pixels."""
        return {key: self.header[key] for key in self.cards if is_wcs_card(key)}

    def wcs_string(self) -> str:
        """The WCS as FITS cards for 1-based pixels of the full frame image; empty without one."""
        lines = []
        for key, card in self.cards.items():
            if not is_wcs_card(key):
                continue
            if key in ("CRPIX1", "CRPIX2"):
                value = self.number(key) + self.file_offset[0 if key == "CRPIX1" else 1]
                card = f"{key:<8}= {value!r:>20}".ljust(_CARD)
            lines.append(card)
        return "".join(lines)


@dataclass(frozen=True)
class FFIFrame:
    """The science pixels of a full frame image.

    Attributes
    ----------
    info : FFIInfo
    flux : ndarray of float32, shape (R, C)
        Calibrated pixels, e-/s.
    error : ndarray of float32 or None, shape (R, C)
        Their uncertainties, e-/s.
    """

    info: FFIInfo
    flux: NDArray[np.float32]
    error: NDArray[np.float32] | None

    @property
    def path(self) -> Path:
        """The file."""
        return self.info.path

    @property
    def header(self) -> Mapping[str, Any]:
        """Values of the primary header and of the calibrated image's, which wins."""
        return self.info.header

    @property
    def row_offset(self) -> int:
        """0-based full frame image row of ``flux[0, 0]``."""
        return self.info.row_offset

    @property
    def column_offset(self) -> int:
        """0-based full frame image column of ``flux[0, 0]``."""
        return self.info.column_offset


def is_wcs_card(key: str) -> bool:
    """Whether a card of this name is a part of a frame's WCS."""
    return _WCS_CARD.fullmatch(key) is not None


def parse_ffi_name(path: str | os.PathLike[str]) -> tuple[int, int, int, str] | None:
    """(sector, camera, ccd, time or cadence) of a file name; None if it is not that of a frame."""
    name = Path(path).name
    match = _NAME.fullmatch(name) or _TICA_NAME.fullmatch(name)
    if match is None:
        return None
    return int(match["sector"]), int(match["camera"]), int(match["ccd"]), match["time"]


def name_time(name: str) -> float:
    """Days (any zero) at which a frame of the mission begins by its name; NaN for other names."""
    match = _NAME.fullmatch(name)
    try:
        # Year, day of the year, hour, minute, second, UTC.
        begin = datetime.strptime(match["time"], "%Y%j%H%M%S") if match else None
    except ValueError:
        begin = None
    return np.nan if begin is None else (begin - _YEAR_2000).total_seconds() / 86400


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


def read_ffi(path: str | os.PathLike[str], errors: bool = True) -> FFIFrame:
    """Read the science pixels of a full frame image.

    Parameters
    ----------
    path : path-like
        A calibrated full frame image, ``.fits`` or ``.fits.gz``, whole or a region of the CCD.
    errors : bool
        Read the uncertainties too.

    Returns
    -------
    FFIFrame

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If the file is truncated, is not a full frame image, has no science pixels, is of another CCD than
        its name says, or (with `errors`) has uncertainties of another size than the image.
    """
    info = scan_ffi(path)
    flux, error = read_rows(info, 0, info.shape[0], errors=errors)
    return FFIFrame(info, flux, error)


def scan_ffi(path: str | os.PathLike[str]) -> FFIInfo:
    """Read the headers of a full frame image.

    Errors are those of `read_ffi`, except for damages of the pixels of compressed files.
    """
    path = Path(path)
    name = parse_ffi_name(path)
    if name is None:
        raise InputError(
            f"{path}: not named like a full frame image (tess*-sSSSS-C-D-XXXX-s_ffic.fits, also .gz)"
        )
    if _TICA_NAME.fullmatch(path.name):
        from .tica import scan_tica

        return scan_tica(path)
    with Reader(path) as reader:
        primary, _ = reader.header(0)
        values, cards = reader.header(reader.position)
        image = image_extension(path, values, reader.position)
        error = None
        if not reader.compressed:
            error = reader.error(image)
            reader.check_size(image.end if error is None else error.end)
    header = {**primary, **values}
    sector = header.get("SECTOR")
    if sector not in (None, name[0]) or (header.get("CAMERA"), header.get("CCD")) != name[1:3]:
        raise InputError(
            f"{path}: its header is of sector {sector}, camera {header.get('CAMERA')}, CCD "
            f"{header.get('CCD')}, not what its name says; {WAY_OUT}"
        )
    region = science_region(path, header, image.shape)
    return FFIInfo(
        path=path,
        sector=name[0],
        camera=name[1],
        ccd=name[2],
        header=header,
        cards=cards,
        **region,
        image=image,
        error=error,
        compressed=reader.compressed,
    )


def read_rows(
    info: FFIInfo, first: int, last: int, errors: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Read some rows of science pixels.

    Parameters
    ----------
    info : FFIInfo
    first, last : int
        Rows of the science pixels, half open.
    errors : bool
        Read the uncertainties too.

    Returns
    -------
    flux, error : ndarray of float32, shape (last - first, C)
        `error` is None without `errors`.

    Raises
    ------
    MissingInput, InputError
        As `read_ffi`.
    """
    if info.pixels is not None:
        return info.pixels.read(info, first, last, errors)
    with Reader(info.path) as reader:
        flux = science_pixels(reader, info, info.image, first, last)
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
        error = science_pixels(reader, info, extension, first, last)
        if last == info.shape[0]:
            reader.check_end()
        return flux, error


def science_pixels(
    reader: Reader, info: FFIInfo, extension: Extension, first: int, last: int
) -> NDArray[np.float32]:
    """Science pixels of some rows of one image of the file."""
    width = extension.shape[1]
    dtype = np.dtype(extension.dtype)
    row0 = first + info.row_offset - info.file_offset[1]
    column0 = info.column_offset - info.file_offset[0]
    data = reader.read(
        extension.start + row0 * width * dtype.itemsize, (last - first) * width * dtype.itemsize
    )
    rows = np.frombuffer(data, dtype).reshape(last - first, width)
    return np.ascontiguousarray(rows[:, column0 : column0 + info.shape[1]], dtype=np.float32)


def science_region(path: Path, header: Mapping[str, Any], shape: tuple[int, int]) -> dict[str, Any]:
    """Attributes of `FFIInfo` that say where the science pixels of a file with `shape` pixels lie.

    Raises
    ------
    InputError
        If there are none.
    """
    column, row = (_first_pixel(path, header, axis) for axis in (1, 2))
    rows = (max(SCIENCE_ROWS[0], row), min(SCIENCE_ROWS[1], row + shape[0]))
    columns = (max(SCIENCE_COLUMNS[0], column), min(SCIENCE_COLUMNS[1], column + shape[1]))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        raise InputError(
            f"{path}: no science pixels in it, its first one being column {column}, row {row}; {WAY_OUT}"
        )
    return {
        "shape": (rows[1] - rows[0], columns[1] - columns[0]),
        "row_offset": rows[0],
        "column_offset": columns[0],
        "file_offset": (column, row),
    }


def _first_pixel(path: Path, header: Mapping[str, Any], axis: int) -> int:
    """0-based full frame image pixel of the file's first one along FITS axis 1 (column) or 2 (row)."""
    value, pixel = header.get(f"CRVAL{axis}P", 1), header.get(f"CRPIX{axis}P", 1)
    try:
        place = int(value) - int(pixel)
        if place != value - pixel:
            raise ValueError
        return place
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: CRVAL{axis}P and CRPIX{axis}P are not integers; {WAY_OUT}") from None
