"""FITS files as bytes: header cards, images and tables with their checksums, fast.

A light curve file has some 300 cards. astropy takes 20 ms to write one, more than everything else that a
star costs; here the cards that stars have in common are formatted once. Only plain values are formatted
here: whatever is unusual (long strings, long keywords) is left to `astropy.io.fits.Card`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CardTuple",
    "Cards",
    "NumberCards",
    "card",
    "cards_bytes",
    "checksummed_header",
    "hdu_bytes",
    "known_cards",
    "split_cards",
    "unsigned_header",
]

#: Keyword, value (None for an undefined one), comment.
CardTuple = tuple[str, Any, str]
#: Cards, and bytes of cards that were formatted before.
Cards = Iterable[CardTuple | bytes]

_BLOCK = 2880
_CARD = 80
#: The characters that the checksum must not hold (punctuation between the digits and letters).
_EXCLUDED = frozenset([*range(0x3A, 0x41), *range(0x5B, 0x61)])


@functools.lru_cache(maxsize=8192, typed=True)
def card(keyword: str, value: Any, comment: str = "") -> bytes:
    """One header card, or several where the value needs continuation.

    Parameters
    ----------
    keyword : str
    value : bool, int, float, str or None
        None and not-finite numbers give an undefined value, as FITS has no other way to say so.
    comment : str
        Cut where the card is full.

    Returns
    -------
    bytes
        A multiple of 80.

    Examples
    --------
    >>> card("TMAG", 10.5, "TESS magnitude").rstrip()
    b'TMAG    =                 10.5 / TESS magnitude'
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, int):
        text = f"{value:>20d}"
    elif isinstance(value, float):
        text = f"{_float(value):>20}"
    elif value is None:
        text = " " * 20
    else:
        text = f"'{str(value).replace(chr(39), chr(39) * 2):<8}'"
        text = f"{text:<20}"
    plain = len(keyword) <= 8 and keyword.isascii() and keyword == keyword.upper() and " " not in keyword
    if not plain or len(text) > 70 or not text.isascii() or not text.isprintable():
        return _unusual(keyword, value, comment)
    line = f"{keyword:<8}= {text}"
    if comment:
        line = f"{line} / {comment}"
    return f"{line[:80]:<80}".encode("ascii", "replace")


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ""
    # Both zeros are one key of the cache of `card`, so they have to be one text, too.
    text = repr(value + 0.0).upper()
    if "E" in text:
        mantissa, exponent = text.split("E")
        text = f"{mantissa if '.' in mantissa else mantissa + '.0'}E{exponent}"
    return text


def _unusual(keyword: str, value: Any, comment: str) -> bytes:
    from astropy.io import fits

    return fits.Card(keyword, value, comment).image.encode("ascii")


class NumberCards:
    """Cards of numbers that are formatted many times, and constant ones between them.

    Parameters
    ----------
    *cards : (str, str), (str, str, int) or bytes
        Of a number keyword of at most 8 characters, and comment; of a plain text also its length, at least 8;
        bytes are cards as of `cards_bytes`.

    Examples
    --------
    >>> cards = NumberCards(("TESSMAG", "magnitude"), card("EQUINOX", 2000.0), ("TEFF", "temperature"))
    >>> cards(10.5, None) == card("TESSMAG", 10.5, "magnitude") + card("EQUINOX", 2000.0)
    True
    """

    def __init__(self, *cards: tuple[str, str] | tuple[str, str, int] | bytes) -> None:
        self._cards = cards
        # Of numbers as long as the place for them.
        self._template = "".join(map(_template, cards))
        self._size = sum(len(one) if isinstance(one, bytes) else _CARD for one in cards)

    def __call__(self, *values: float | str | None) -> bytes:
        """The cards with their values, without those whose value is not known: None or not finite."""
        texts = tuple(map(repr, values))
        all_texts = "".join(texts)
        # Without an exponent, None, nan and inf.
        if "e" not in all_texts and "n" not in all_texts:
            line = self._template % texts
            # No number was too long.
            if len(line) == self._size:
                return line.encode("ascii")
        left = iter(values)
        cards = [one if isinstance(one, bytes) else (one[0], next(left), one[1]) for one in self._cards]
        return cards_bytes(known_cards(cards))


def _template(one: tuple[str, str] | tuple[str, str, int] | bytes) -> str:
    """A card of `NumberCards` with a place for its value's `repr`, which has quotes around a text."""
    if isinstance(one, bytes):
        return one.decode("ascii").replace("%", "%%")
    width = one[2] + 2 if len(one) > 2 else 20
    rest = _CARD - 10 - width
    comment = f" / {one[1]}"[:rest].replace("%", "%%")
    return f"{one[0]:<8}= %{width}s{comment:<{rest}}"


# These sums are those of `kernels.fits_words`, which takes those of light curves. Other files are written by
# processes that do without kernels, rank 0 among them: numba takes longer to load than all of their sums.


def _sum32(data: bytes | bytearray | NDArray[Any]) -> int:
    """Ones' complement sum of big-endian 32-bit words (FITS standard 4.0, appendix J)."""
    total = int(np.frombuffer(data, dtype=">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _encode_sum(value: int) -> str:
    """The complement of a 32-bit sum as 16 printable characters (FITS standard 4.0, appendix J)."""
    a, b, c, d = map(_four_characters, (0xFFFFFFFF - value).to_bytes(4))
    first, second, third, (w, x, y, z) = zip(a, b, c, d, strict=True)
    return "".join((z, *first, *second, *third, w, x, y))


@functools.cache
def _four_characters(byte: int) -> str:
    """Four characters whose sum is a byte, over an offset of the character "0"."""
    quarter, rest = divmod(byte, 4)
    four = [quarter + 0x30] * 4
    four[0] += rest
    while any(c in _EXCLUDED for c in four):
        for i in (0, 2):
            if four[i] in _EXCLUDED or four[i + 1] in _EXCLUDED:
                four[i] += 1
                four[i + 1] -= 1
    return "".join(map(chr, four))


def cards_bytes(cards: Cards) -> bytes:
    """Some header cards, a multiple of 80 bytes."""
    return b"".join([one if type(one) is bytes else card(*one) for one in cards])


def split_cards(cards: bytes) -> list[bytes]:
    """The cards of `cards_bytes`, 80 bytes each.

    Examples
    --------
    >>> [one.split()[0] for one in split_cards(card("CRPIX1", 5.5) + card("CRPIX2", 7.5))]
    [b'CRPIX1', b'CRPIX2']
    """
    return [cards[start : start + _CARD] for start in range(0, len(cards), _CARD)]


@overload
def known_cards(cards: Iterable[CardTuple]) -> list[CardTuple]: ...
@overload
def known_cards(cards: Cards) -> list[CardTuple | bytes]: ...
def known_cards(cards: Cards) -> list[Any]:
    """The cards whose values are known: not None and no NaN.

    Checkers of FITS files complain of cards without a value.

    Examples
    --------
    >>> known_cards([("TEFF", None, "unknown"), ("TMAG", float("nan"), ""), ("SECTOR", 1, "")])
    [('SECTOR', 1, '')]
    """
    return [one for one in cards if type(one) is bytes or _is_known(one[1])]


def _is_known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float | np.floating) and not math.isfinite(value))


def hdu_bytes(cards: Cards | bytes, data: bytes = b"") -> bytes:
    """One header and data unit with valid DATASUM and CHECKSUM.

    Parameters
    ----------
    cards : iterable of (keyword, value, comment) or bytes, or bytes
        All cards but DATASUM, CHECKSUM and END, the structural ones (SIMPLE or XTENSION, BITPIX, NAXIS,
        ...) first; bytes as of `cards_bytes`.
    data : bytes
        The data, big-endian; padded here.

    Returns
    -------
    bytes
        A multiple of 2880.
    """
    data += b"\0" * (-len(data) % _BLOCK)
    return checksummed_header(cards if isinstance(cards, bytes) else cards_bytes(cards), data) + data


#: The last cards of a header; the digits of the checksum begin at byte 11.
_LAST_CARDS = card("CHECKSUM", "0" * 16, "HDU checksum") + b"%-80s" % b"END"
_UNSIGNED = card("DATASUM", "0", "data unit checksum") + _LAST_CARDS


def unsigned_header(cards: bytes) -> bytes:
    """A header of some cards, and behind them DATASUM and CHECKSUM, to be filled in, and END.

    Examples
    --------
    >>> header = unsigned_header(card("SIMPLE", True))
    >>> len(header), header[80:91]
    (2880, b"DATASUM = '")
    """
    size = len(cards) + len(_UNSIGNED)
    return b"%s%s%s" % (cards, _UNSIGNED, b" " * (-size % _BLOCK))


def checksummed_header(cards: bytes, data: bytes | bytearray | NDArray[Any]) -> bytes:
    """A header of some cards, and behind them DATASUM, CHECKSUM and END.

    Parameters
    ----------
    cards : bytes
        A multiple of 80.
    data : bytes, or contiguous ndarray
        The data unit, padded.

    Returns
    -------
    bytes
        A multiple of 2880.
    """
    data_sum = _sum32(data)
    place = len(cards) + 91
    head = b"%s%s%s" % (cards, card("DATASUM", str(data_sum), "data unit checksum"), _LAST_CARDS)
    head = head.ljust(-(-len(head) // _BLOCK) * _BLOCK)
    total = _sum32(head) + data_sum
    total = (total & 0xFFFFFFFF) + (total >> 32)
    return b"%s%s%s" % (head[:place], _encode_sum(total).encode(), head[place + 16 :])


def image_cards(extname: str, image: NDArray[Any]) -> list[CardTuple]:
    """Structural cards of an image extension; of bytes, integers or floats of the sizes that FITS has."""
    bitpix = {"f": -8, "i": 8, "u": 8}[image.dtype.kind] * image.dtype.itemsize
    words = ("first", "second", "third")
    return [
        ("XTENSION", "IMAGE", "Image extension"),
        ("BITPIX", bitpix, "array data type"),
        ("NAXIS", image.ndim, "number of array dimensions"),
        *(
            (f"NAXIS{i + 1}", side, f"length of {words[i] if i < 3 else 'further'} array dimension")
            for i, side in enumerate(reversed(image.shape))
        ),
        ("PCOUNT", 0, "number of parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("INHERIT", True, "inherit the primary header"),
        ("EXTNAME", extname, "name of extension"),
        ("EXTVER", 1, "extension version number"),
    ]


def image_bytes(image: NDArray[Any]) -> bytes:
    """Pixels of an image, big-endian."""
    return np.ascontiguousarray(image, dtype=image.dtype.newbyteorder(">")).tobytes()
