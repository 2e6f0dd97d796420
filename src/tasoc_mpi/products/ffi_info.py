"""The name, the headers and the region of a full frame image, whatever kind of file holds it.

The mission's files, those of TICA, MAST's cubes and cut-outs hold frames; their readers all give `FFIInfo`.
Files that are cut to a region of the CCD say which one by their physical world coordinates: CRVAL1P, CRVAL2P
are the column and row (1-based) of the first pixel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT
from .fits_read import Extension, FITSReader, is_number

__all__ = [
    "SCIENCE_COLUMNS",
    "SCIENCE_ROWS",
    "FFIInfo",
    "PixelReader",
    "cadence_seconds",
    "card_number",
    "check_ccd",
    "ffi_info",
    "is_tica_name",
    "name_time",
    "parse_ffi_name",
    "science_pixels",
    "wcs_cards",
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
#: Bytes that are read at once.
_PIECE = 1 << 20
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
    """What the headers of a full frame image say; its pixels are still in the file."""

    path: Path
    sector: int
    camera: int
    ccd: int
    #: Values of the primary header and of the calibrated image's, which wins. None for undefined ones.
    header: Mapping[str, Any] = field(repr=False)
    #: The cards themselves (80 characters) of the calibrated image's header.
    cards: Mapping[str, str] = field(repr=False)
    shape: tuple[int, int]  #: Rows and columns of science pixels in the file
    #: row_offset, column_offset: 0-based full frame image pixel of the first science pixel.
    row_offset: int
    column_offset: int
    file_offset: tuple[int, int]  #: 0-based full frame image (column, row) of the file's first pixel
    image: Extension = field(repr=False)
    error: Extension | None = field(default=None, repr=False)
    #: What reads the pixels; None for the mission's own files.
    pixels: PixelReader | None = field(default=None, repr=False)
    frame_name: str = ""  #: The frame's own file name, where `path` holds several
    spacecraft_times: bool = False  #: Times are those at the spacecraft; BARYCORR is unknown
    compressed: bool = False  #: Reading any of the pixels means to unpack the file from its beginning

    @property
    def name(self) -> str:
        """File name of the frame."""
        return self.frame_name or self.path.name

    def number(self, key: str) -> float:
        """A finite number of the header; InputError names the file and the card otherwise."""
        return card_number(self.label, self.header, key)

    def integer(self, key: str) -> int:
        """An integer of the header from 0 to 2**31 - 1; InputError otherwise, as in `number`."""
        return _card_integer(self.label, self.header, key, 2**31 - 1)

    def region(self, first: int, last: int) -> tuple[slice, slice]:
        """Rows and columns of the file's pixels that hold some rows (half open) of science pixels."""
        row = first + self.row_offset - self.file_offset[1]
        column = self.column_offset - self.file_offset[0]
        return slice(row, row + last - first), slice(column, column + self.shape[1])

    @property
    def label(self) -> str:
        """The file, with the frame's own name where it holds several."""
        return f"{self.path} ({self.frame_name})" if self.frame_name else f"{self.path}"

    @property
    def cadence(self) -> int:
        """Time from frame to frame, seconds."""
        return cadence_seconds(self.label, self.header)

    @property
    def wcs_cards(self) -> dict[str, Any]:
        """Values of the cards that make up the WCS, for the file's own pixels."""
        return {key: self.header[key] for key in self.cards if _WCS_CARD.fullmatch(key)}

    def wcs_string(self) -> str:
        """The WCS as FITS cards for 1-based pixels of the full frame image; empty without one."""
        cards = {key: card for key, card in self.cards.items() if _WCS_CARD.fullmatch(key)}
        for key, offset in zip(("CRPIX1", "CRPIX2"), self.file_offset, strict=True):
            if key in cards:
                cards[key] = _card(key, self.number(key) + offset)
        return "".join(cards.values())


def card_number(label: object, header: Mapping[str, Any], key: str) -> float:
    """A finite number of a header; InputError with the label (of the file) and the card otherwise."""
    value = header.get(key)
    if not is_number(value):
        raise InputError(f"{label}: no number in header card {key}; {WAY_OUT}")
    return float(value)


def _card_integer(label: object, header: Mapping[str, Any], key: str, largest: int) -> int:
    value = card_number(label, header, key)
    if value != round(value) or not 0 <= value <= largest:
        raise InputError(
            f"{label}: {key} = {value:.15g} in its header, not an integer from 0 to {largest}; {WAY_OUT}"
        )
    return round(value)


def cadence_seconds(label: object, header: Mapping[str, Any]) -> int:
    """Seconds from frame to frame by a header; InputError with the label where it has no such time.

    Examples
    --------
    >>> cadence_seconds("a.fits", {"NUM_FRM": 900, "FRAMETIM": 2.0})
    1800
    """
    frame_time = card_number(label, header, "FRAMETIM") if "FRAMETIM" in header else 2.0
    cadence = _card_integer(label, header, "NUM_FRM", _LONGEST) * frame_time
    if not 1 <= cadence <= _LONGEST:
        raise InputError(
            f"{label}: NUM_FRM frames of {frame_time:g} s (FRAMETIM) in its header, a cadence of "
            f"{cadence:g} s; {WAY_OUT}"
        )
    return round(cadence)


def wcs_cards(header: Mapping[str, Any]) -> dict[str, str]:
    """The values of a header that are a part of a frame's WCS, as cards."""
    return {
        key: _card(key, value)
        for key, value in header.items()
        if value is not None and _WCS_CARD.fullmatch(key)
    }


def _card(key: str, value: Any) -> str:
    text = f"'{value:<8}'" if isinstance(value, str) else f"{value!r:>20}"
    return f"{key:<8}= {text}".ljust(80)


def is_tica_name(path: Path) -> bool:
    """Whether a file is named like a frame of TICA."""
    return _TICA_NAME.fullmatch(path.name) is not None


def parse_ffi_name(path: str | os.PathLike[str]) -> tuple[int, int, int, str] | None:
    """(sector, camera, ccd, time or cadence) of a file name; None if it is not that of a frame.

    Examples
    --------
    >>> parse_ffi_name("tess2018206192942-s0001-1-4-0120-s_ffic.fits.gz")
    (1, 1, 4, '2018206192942')
    >>> parse_ffi_name("hlsp_tica_tess_ffi_s0027-o1-00116470-cam1-ccd1_tess_v01_img.fits")
    (27, 1, 1, '00116470')
    """
    name = Path(path).name
    match = _NAME.fullmatch(name) or _TICA_NAME.fullmatch(name)
    if match is None:
        return None
    return int(match["sector"]), int(match["camera"]), int(match["ccd"]), match["time"]


def name_time(name: str) -> float:
    """Days (any zero) at which a frame of the mission begins by its name; NaN for other names.

    Examples
    --------
    >>> name_time("tess2000002120000-s0001-1-1-0120-s_ffic.fits")
    1.5
    """
    match = _NAME.fullmatch(name)
    try:
        # Year, day of the year, hour, minute, second, UTC.
        begin = datetime.strptime(match["time"], "%Y%j%H%M%S") if match else None
    except ValueError:
        begin = None
    return np.nan if begin is None else (begin - _YEAR_2000).total_seconds() / 86400


def check_ccd(path: Path, header: Mapping[str, Any], name: Sequence[object]) -> None:
    """Raise InputError unless the cards of a frame say what its name says, in the order of the name."""
    for (key, value), expected in zip(header.items(), name, strict=True):
        if value is None:
            raise InputError(f"{path}: no {key} in its header; {WAY_OUT}")
        if value != expected:
            raise InputError(
                f"{path}: {key} is {value} in its header, not {expected} as its name says; {WAY_OUT}"
            )


def science_pixels(
    reader: FITSReader,
    info: FFIInfo,
    extension: Extension,
    first: int,
    last: int,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Science pixels of some rows of one image of the file, in `out` if that is given."""
    rows, columns = info.region(first, last)
    dtype, width = np.dtype(extension.dtype), extension.shape[1]
    if out is None:
        out = np.empty((last - first, info.shape[1]), dtype="f4")
    line = width * dtype.itemsize
    # Piece by piece: the bytes that are put in order are still in the processor's cache.
    piece = max(1, _PIECE // line)
    content = np.empty(min(piece, last - first) * line, dtype="u1")
    for row in range(0, last - first, piece):
        part = content[: min(piece, last - first - row) * line]
        reader.readinto(extension.start + (rows.start + row) * line, part.data)
        pixels = part.view(dtype).reshape(-1, width)
        out[row : row + len(pixels)] = pixels[:, columns]
    return out


def ffi_info(
    path: Path,
    ccd: tuple[int, int, int],
    header: Mapping[str, Any],
    cards: Mapping[str, str],
    image: Extension,
    **others: Any,
) -> FFIInfo:
    """The `FFIInfo` of a frame of a CCD (sector, camera, ccd); its header says where the science pixels are.

    Raises
    ------
    InputError
        If there are none.
    """
    column, row = (_first_pixel(path, header, axis) for axis in (1, 2))
    rows = (max(SCIENCE_ROWS[0], row), min(SCIENCE_ROWS[1], row + image.shape[0]))
    columns = (max(SCIENCE_COLUMNS[0], column), min(SCIENCE_COLUMNS[1], column + image.shape[1]))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        raise InputError(
            f"{path}: no science pixels in it, its first one being column {column}, row {row}; {WAY_OUT}"
        )
    shape = (rows[1] - rows[0], columns[1] - columns[0])
    return FFIInfo(path, *ccd, header, cards, shape, rows[0], columns[0], (column, row), image, **others)


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
