"""FITS files read by their bytes: headers card by card, pixels and tables by their place in the file.

astropy takes 20 ms to parse the headers of a full frame image; here it takes one, and some rows of an image
or of a table can be read without the others.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ..core.errors import InputError
from ..core.input_files import WAY_OUT, InputFile

__all__ = [
    "HDU",
    "MAX_SIDE",
    "WAY_OUT",
    "Extension",
    "FITSReader",
    "card_value",
    "float_image",
    "header_cards",
    "image_extension",
    "is_integer",
    "is_number",
]

#: Types of pixels by BITPIX.
_DTYPES = {-32: ">f4", -64: ">f8"}
_BLOCK = 2880
_CARD = 80
#: TESS has headers of 7 blocks.
_MAX_BLOCKS = 200
#: Further cards of the size of data, and what they are where they are missing.
_SIZES: dict[str, Any] = {"PCOUNT": 0, "GCOUNT": 1, "BITPIX": None}
#: Of an array (FITS standard 4.0, section 4.4.1), less one.
_MAX_AXES = 1000
#: Rows and columns of an image at most; the CCDs of TESS have 2078 x 2136.
MAX_SIDE = 4096
#: Bytes behind the images of a packed file at most, and how many are read at once.
_MAX_REST, _REST = 1 << 28, 1 << 20
#: Numbers as FITS writes them (standard 4.0, section 4.2); Python also takes 1_000, nan and infinity.
_NUMBER = re.compile(r"[+-]?(\d+(?P<real>\.\d*)?|(?P<fraction>\.\d+))(?P<power>[EeDd][+-]?\d+)?", re.ASCII)
#: The text of a card from column 11 on, as far as a slash in it belongs to a string.
_VALUE = re.compile(r" *'(?:[^']|'')*'")


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
        return _to_block(self.stop)


@dataclass(frozen=True)
class HDU:
    """A header and the place of the data behind it."""

    values: Mapping[str, Any]  #: Keyword to value; None for one that is undefined or not understood
    cards: Mapping[str, str]  #: Keyword to card (80 characters)
    start: int  #: First byte of the data

    @functools.cached_property
    def size(self) -> int | None:
        """Bytes of the data; None if the cards contradict each other."""
        axes = self.values.get("NAXIS")
        if not is_integer(axes) or not 0 <= axes < _MAX_AXES:
            return None
        sides: list[Any] = [self.values.get(f"NAXIS{i + 1}") for i in range(axes)]
        others = [self.values.get(name, default) for name, default in _SIZES.items()]
        for n in (*sides, *others):
            if not is_integer(n) or abs(n) >= 2**48:
                return None
        extra, groups, bits = others
        size = abs(bits) // 8 * groups * (extra + math.prod(sides)) if sides else 0
        return size if size >= 0 else None


def _to_block(size: int) -> int:
    """The next multiple of a block."""
    return -(-size // _BLOCK) * _BLOCK


def image_extension(path: Path, hdu: HDU) -> Extension:
    """Place of the pixels of an image extension; InputError if it is none of float pixels."""
    if hdu.values.get("XTENSION") != "IMAGE":
        raise InputError(f"{path}: its first extension is not an image of float pixels; {WAY_OUT}")
    if hdu.values.get("BSCALE", 1) != 1 or hdu.values.get("BZERO", 0) != 0:
        raise InputError(f"{path}: scaled pixels (BSCALE, BZERO) are not known of TESS; {WAY_OUT}")
    return float_image(path, hdu)


def float_image(path: Path, hdu: HDU) -> Extension:
    """Place of the pixels of an image; InputError if it is none of TESS's CCDs."""
    values = hdu.values
    dtype = _DTYPES.get(values.get("BITPIX", 0))
    rows, columns = values.get("NAXIS2"), values.get("NAXIS1")
    if values.get("NAXIS") != 2 or dtype is None or not (is_integer(rows) and is_integer(columns)):
        raise InputError(f"{path}: no image of float pixels where it should be; {WAY_OUT}")
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise InputError(f"{path}: {rows} x {columns} pixels (NAXIS2, NAXIS1), unlike any CCD; {WAY_OUT}")
    if (values.get("PCOUNT") or 0) != 0 or (values.get("GCOUNT") or 1) != 1:
        raise InputError(f"{path}: PCOUNT and GCOUNT are not those of an image; {WAY_OUT}")
    return Extension(hdu.start, dtype, (rows, columns))


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a card's value is an integer; T and F are none.

    Examples
    --------
    >>> is_integer(3), is_integer(3.0), is_integer(True)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a card's value is a finite number; T and F are none.

    Examples
    --------
    >>> is_number(3), is_number(3.5), is_number(float("nan")), is_number(True)
    (True, True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class _Values(Mapping[str, Any]):
    """The values of cards, each read when it is asked for: few of a header's are."""

    def __init__(self, cards: Mapping[str, str]) -> None:
        self._cards = cards

    def __getitem__(self, key: str) -> Any:
        return _known_value(self._cards[key])

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a card; `default` where there is no such card."""
        found = self._cards.get(key)
        return default if found is None else _known_value(found)

    def __contains__(self, key: object) -> bool:
        return key in self._cards

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)


class _Content:
    """The bytes of a file that are in memory already, read like an `InputFile`."""

    packed = False

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read_at(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on, or fewer at the end."""
        return self._data[start : start + max(0, size)]

    def close(self) -> None:
        """Nothing is open."""


class FITSReader:
    """A FITS file open for reading, plain or gzip (told by its content); its errors name the file.

    A gzip file is unpacked on the way: reading forwards is cheap, going back unpacks it anew.

    Parameters
    ----------
    path : Path
    content : bytes, optional
        What is in the file, where it was read (and unpacked) before.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        self._file: InputFile | _Content = InputFile(path) if content is None else _Content(content)
        self.compressed = self._file.packed

    def __enter__(self) -> FITSReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on."""
        data = self._file.read_at(start, size)
        if len(data) < size:
            raise self._truncated(start + size)
        return data

    def readinto(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from `start` on."""
        assert isinstance(self._file, InputFile)
        self._file.seek(start)
        filled = 0
        while filled < len(buffer):
            count = self._file.readinto(buffer[filled:])
            if not count:
                raise self._truncated(start + len(buffer))
            filled += count

    def _truncated(self, needed: int) -> InputError:
        return InputError(f"{self.path}: truncated, it ends before byte {needed}; {WAY_OUT}")

    def check_size(self, size: int) -> None:
        """InputError unless a plain file has `size` bytes; a packed one may have them."""
        if self._file.size < size:
            raise InputError(f"{self.path}: truncated, {self._file.size} of {size} bytes; {WAY_OUT}")

    def check_end(self) -> None:
        """Read a packed file to its end, where its checksum is; InputError if that is wrong."""
        if isinstance(self._file, InputFile) and self.compressed:
            for _ in range(_MAX_REST // _REST):
                if not self._file.read(_REST):
                    return
            raise InputError(f"{self.path}: far more in it than its images; {WAY_OUT}")

    def hdu(self, start: int = 0) -> HDU:
        """The HDU that begins at a byte; its header is read."""
        return self._hdu(start, self.read(start, _BLOCK))

    def hdus(self) -> Iterator[HDU]:
        """All HDUs from the first to the last one; a file that ends within one is an InputError."""
        start = 0
        while block := self._file.read_at(start, _BLOCK):
            found = self._hdu(start, block)
            yield found
            start = self.end(found)

    def _hdu(self, start: int, block: bytes) -> HDU:
        """The HDU whose first block is known."""
        cards: dict[str, str] = {}
        if block.startswith((b"SIMPLE  =", b"XTENSION=")):
            for stop in range(start + _BLOCK, start + _MAX_BLOCKS * _BLOCK, _BLOCK):
                if len(block) < _BLOCK:
                    raise self._truncated(stop)
                found, ends = _block_cards(block)
                # Of cards with one keyword the first one counts.
                cards = {**cards, **found, **cards} if cards else found
                if ends:
                    return HDU(_Values(cards), cards, stop)
                block = self._file.read_at(stop, _BLOCK)
        raise InputError(f"{self.path}: not a FITS file, or its headers are damaged; {WAY_OUT}")

    def end(self, hdu: HDU) -> int:
        """Where the next HDU begins; InputError if the file cannot have the data before."""
        size = hdu.size
        if size is None:
            raise InputError(f"{self.path}: sizes in its headers are damaged; {WAY_OUT}")
        self.check_size(hdu.start + size)
        return hdu.start + _to_block(size)

    def error(self, image: Extension) -> Extension | None:
        """Place of the uncertainties behind the image; None where there is nothing."""
        if not self.compressed and self._file.size <= image.end:
            self.check_size(image.end)
            return None
        return image_extension(self.path, self.hdu(image.end))


@functools.lru_cache(maxsize=64)
def _block_cards(block: bytes) -> tuple[dict[str, str], bool]:
    """The cards of a block of a header by their keywords, and whether the header ends with it.

    Files of one kind have blocks in common, so those of the last files are kept.
    """
    text = block.decode("ascii", "replace")
    # A header has printable ASCII only: a card with anything else in it says nothing.
    clean = text.isascii() and text.isprintable()
    cards: dict[str, str] = {}
    for card in [text[i : i + _CARD] for i in range(0, _BLOCK, _CARD)]:
        if card[8:10] == "= ":
            key = card[:8].rstrip()
            if key not in cards and (clean or (card.isascii() and card.isprintable())):
                cards[key] = card
        elif card.startswith("END     "):
            return cards, True
    return cards, False


def header_cards(header: str) -> Iterator[tuple[str, Any, str]]:
    """Keyword, value and comment of the cards of a header that have a value; None for an undefined one.

    Examples
    --------
    >>> list(header_cards("CRPIX1  =                  5.5 / [pixel] column".ljust(80) + "END".ljust(80)))
    [('CRPIX1', 5.5, '[pixel] column')]
    """
    for start in range(0, len(header), _CARD):
        text = header[start : start + _CARD]
        if text.rstrip() == "END":
            return
        if text[8:10] == "= ":
            comment = _VALUE.sub("", text[10:], count=1).partition("/")[2]
            yield text[:8].rstrip(), card_value(text[10:]), comment.strip()


@functools.lru_cache(maxsize=4096)
def _known_value(card: str) -> Any:
    """`card_value` of a card; files of one kind have most cards in common."""
    return card_value(card[10:])


def card_value(text: str) -> Any:
    """Value of a card from column 11 on; None if it is undefined or not understood.

    Examples
    --------
    >>> card_value("             -1.5D+03 / comment"), card_value("'it''s   '"), card_value("T")
    (-1500.0, "it's", True)
    >>> card_value("1_000") is card_value("") is None
    True
    """
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
