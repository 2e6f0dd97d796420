"""FITS files read by their bytes: cards by the card, pixels by their place in the file.

astropy takes 20 ms to parse the headers of a full frame image; here it is one, and some rows of an
image can be read without the others.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import InputError, MissingInput

__all__ = ["DTYPES", "WAY_OUT", "Extension", "Reader", "card_value", "image_extension"]

#: Types of pixels by BITPIX.
DTYPES = {-32: ">f4", -64: ">f8"}
#: What to do about a damaged file.
WAY_OUT = "fetch it again, or remove it"
_BLOCK = 2880
_CARD = 80
#: TESS has headers of 7 blocks.
_MAX_BLOCKS = 200


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
    dtype = DTYPES.get(values.get("BITPIX", 0))
    shape = (values.get("NAXIS2"), values.get("NAXIS1"))
    image = values.get("XTENSION") == "IMAGE" and values.get("NAXIS") == 2
    if not image or dtype is None or not all(isinstance(n, int) and n > 0 for n in shape):
        raise InputError(f"{path}: its first extension is not an image of float pixels; {WAY_OUT}")
    if values.get("BSCALE", 1) != 1 or values.get("BZERO", 0) != 0:
        raise InputError(f"{path}: scaled pixels (BSCALE, BZERO) are not known of TESS; {WAY_OUT}")
    return Extension(start, dtype, shape)  # type: ignore[arg-type]


class Reader:
    """A FITS file open for reading, plain or gzip; its errors name the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.compressed = path.name.endswith(".gz")
        self.position = 0
        try:
            self._stream = self._open()
        except FileNotFoundError:
            raise MissingInput(f"{path}: no such file") from None

    def _open(self) -> IO[bytes]:
        if not self.compressed:
            return open(self.path, "rb", buffering=0)
        from isal import igzip

        return igzip.open(self.path, "rb")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on."""
        try:
            self._stream.seek(start)
            data = self._stream.read(size)
            while data and len(data) < size:
                more = self._stream.read(size - len(data))
                if not more:
                    break
                data += more
        except (OSError, EOFError, zlib.error, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(f"{self.path}: cannot be unpacked ({error}); {WAY_OUT}") from None
        if len(data) < size:
            raise InputError(f"{self.path}: truncated, it ends before byte {start + size}; {WAY_OUT}")
        return data

    def check_size(self, size: int) -> None:
        """InputError unless a plain file has `size` bytes."""
        there = os.fstat(self._stream.fileno()).st_size
        if there < size:
            raise InputError(f"{self.path}: truncated, {there} of {size} bytes; {WAY_OUT}")

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
                if card[8:10] == "= " and key not in cards:
                    cards[key] = card
                    values[key] = card_value(card[10:])
        raise InputError(f"{self.path}: not a FITS file, or its headers are damaged; {WAY_OUT}")

    def error(self, image: Extension) -> Extension | None:
        """Place of the uncertainties behind the image; None where there is nothing."""
        if not self.compressed and os.fstat(self._stream.fileno()).st_size <= image.end:
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
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text.replace("D", "E").replace("d", "e"))
    except ValueError:
        return None
