"""FITS files read by their bytes: cards by the card, pixels by their place in the file.

astropy takes 20 ms to parse the headers of a full frame image; here it is one, and some rows of an
image can be read without the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ..core.errors import InputError
from ..core.input_files import WAY_OUT, InputFile

__all__ = [
    "DTYPES",
    "MAX_SIDE",
    "WAY_OUT",
    "Extension",
    "Reader",
    "card_value",
    "float_image",
    "image_extension",
    "is_integer",
]

#: Types of pixels by BITPIX.
DTYPES = {-32: ">f4", -64: ">f8"}
_BLOCK = 2880
_CARD = 80
#: TESS has headers of 7 blocks.
_MAX_BLOCKS = 200
#: Of an array (FITS standard 4.0, section 4.4.1), less one.
_MAX_AXES = 1000
#: Rows and columns of an image at most; the CCDs of TESS have 2078 x 2136.
MAX_SIDE = 4096
#: Bytes behind the images of a packed file at most, and how many are read at once.
_MAX_REST, _REST = 1 << 28, 1 << 20
#: Numbers as FITS writes them (standard 4.0, section 4.2); Python also takes 1_000, nan and infinity.
_NUMBER = re.compile(r"[+-]?(\d+(?P<real>\.\d*)?|(?P<fraction>\.\d+))(?P<power>[EeDd][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Extension:
    """Where the pixels of an image are in the (uncompressed) file."""

    start: int
    dtype: str
    shape: tuple[int, int]

    @property
    def stop(self) -> int:
        return self.start + np.dtype(self.dtype).itemsize * self.shape[0] * self.shape[1]

    @property
    def end(self) -> int:
        """Where the next HDU starts."""
        return -(-self.stop // _BLOCK) * _BLOCK


def image_extension(path: Path, values: Mapping[str, Any], start: int) -> Extension:
    """Place of the pixels of an image HDU with these cards, whose data start there."""
    if values.get("XTENSION") != "IMAGE":
        raise InputError(f"{path}: its first extension is not an image of float pixels; {WAY_OUT}")
    if values.get("BSCALE", 1) != 1 or values.get("BZERO", 0) != 0:
        raise InputError(f"{path}: scaled pixels (BSCALE, BZERO) are not known of TESS; {WAY_OUT}")
    return float_image(path, values, start)


def float_image(path: Path, values: Mapping[str, Any], start: int) -> Extension:
    """Place of the pixels of an image with these cards; InputError if it is none of TESS's CCDs."""
    dtype = DTYPES.get(values.get("BITPIX", 0))
    shape = (values.get("NAXIS2"), values.get("NAXIS1"))
    if values.get("NAXIS") != 2 or dtype is None or not all(is_integer(n) for n in shape):
        raise InputError(f"{path}: no image of float pixels where it should be; {WAY_OUT}")
    rows, columns = (int(n) for n in shape)  # type: ignore[arg-type]
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise InputError(f"{path}: {rows} x {columns} pixels (NAXIS2, NAXIS1), unlike any CCD; {WAY_OUT}")
    if (values.get("PCOUNT") or 0) != 0 or (values.get("GCOUNT") or 1) != 1:
        raise InputError(f"{path}: PCOUNT and GCOUNT are not those of an image; {WAY_OUT}")
    return Extension(start, dtype, (rows, columns))


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a card's value is an integer; T and F are none."""
    return isinstance(value, int) and not isinstance(value, bool)


class Content:
    """The bytes of a file that are in memory already, read like an `InputFile`."""

    packed = False

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on, or fewer at the end."""
        return self._data[start : start + max(0, size)]

    def read(self, size: int = -1) -> bytes:
        """Nothing: only packed files are read to their end."""
        return b""

    def close(self) -> None:
        """Nothing is open."""


class Reader:
    """A FITS file open for reading, plain or gzip; its errors name the file.

    Parameters
    ----------
    path : Path
    content : bytes, optional
        What is in the file, where it was read (and unpacked) before.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        self._file: InputFile | Content = InputFile(path) if content is None else Content(content)
        self.compressed = self._file.packed
        self.position = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on."""
        data = self._file.read_at(start, size)
        if len(data) < size:
            raise InputError(f"{self.path}: truncated, it ends before byte {start + size}; {WAY_OUT}")
        return data

    def check_size(self, size: int) -> None:
        """InputError unless a plain file has `size` bytes; a packed one may have them."""
        if self._file.size < size:
            raise InputError(f"{self.path}: truncated, {self._file.size} of {size} bytes; {WAY_OUT}")

    def check_end(self) -> None:
        """Read a packed file to its end, where its checksum is; InputError if that is wrong."""
        if self.compressed:
            for _ in range(_MAX_REST // _REST):
                if not self._file.read(_REST):
                    return
            raise InputError(f"{self.path}: far more in it than its images; {WAY_OUT}")

    def header(self, start: int) -> tuple[dict[str, Any], dict[str, str]]:
        """Values and cards of the header at `start`; leaves `position` at the data behind it."""
        values: dict[str, Any] = {}
        cards: dict[str, str] = {}
        for block in range(_MAX_BLOCKS):
            text = self.read(start + block * _BLOCK, _BLOCK).decode("ascii", "replace")
            if block == 0 and not text.startswith(("SIMPLE  =", "XTENSION=")):
                break
            for i in range(0, _BLOCK, _CARD):
                card = text[i : i + _CARD]
                key = card[:8].rstrip()
                if key == "END":
                    self.position = start + (block + 1) * _BLOCK
                    return values, cards
                # A header has printable ASCII only: a card with anything else in it says nothing.
                if card[8:10] == "= " and key not in cards and card.isascii() and card.isprintable():
                    cards[key] = card
                    values[key] = card_value(card[10:])
        raise InputError(f"{self.path}: not a FITS file, or its headers are damaged; {WAY_OUT}")

    def data_end(self, values: Mapping[str, Any]) -> int:
        """Where the HDU after the one whose header was read last begins."""
        axes: Any = values.get("NAXIS")
        known = is_integer(axes) and 0 <= axes < _MAX_AXES
        sides = [values.get(f"NAXIS{i + 1}") for i in range(axes)] if known else []
        sizes = [*sides, values.get("PCOUNT", 0), values.get("GCOUNT", 1), values.get("BITPIX")]
        if not known or not all(is_integer(n) and abs(n) < 2**48 for n in sizes):
            raise InputError(f"{self.path}: sizes in its headers are damaged; {WAY_OUT}")
        *sides, extra, groups, bits = sizes
        size = abs(bits) // 8 * groups * (extra + math.prod(sides)) if sides else 0
        if size < 0:
            raise InputError(f"{self.path}: sizes in its headers are damaged; {WAY_OUT}")
        self.check_size(self.position + size)
        return self.position + -(-size // _BLOCK) * _BLOCK

    def error(self, image: Extension) -> Extension | None:
        """Place of the uncertainties behind the image; None where there is nothing."""
        if not self.compressed and self._file.size <= image.end:
            self.check_size(image.end)
            return None
        values, _ = self.header(image.end)
        return image_extension(self.path, values, self.position)


def card_value(text: str) -> Any:
    """Value of a card from column 11 on; None if it is undefined or not understood."""
    text = text.strip()
    if text.startswith("'"):
        match = re.match(r"'((?:[^']|'')*)'", text)
        return match[1].replace("''", "'").rstrip() if match else None
    text = text.split("/", 1)[0].strip()
    if text in ("T", "F"):
        return text == "T"
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    if match["real"] is match["fraction"] is match["power"] is None:
        return int(text)
    return float(text.replace("D", "E").replace("d", "e"))
