"""HDUs and header cards that a method of photometry adds to a light curve file."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError, one_line
from .fits_bytes import (
    CardTuple,
    NumberCards,
    cards_bytes,
    hdu_bytes,
    image_bytes,
    image_cards,
    known_cards,
    split_cards,
)

__all__ = ["ExtraHDU", "added_card", "check_card"]

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,67}", re.ASCII)
_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}", re.ASCII)
#: The HDUs that every light curve file has.
_OWN_NAMES = ("PRIMARY", "LIGHTCURVE", "SUMIMAGE", "APERTURE")
#: Cards that describe the structure of the file.
_STRUCTURE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|NEXTEND|EXTNAME|EXTVER|PCOUNT|GCOUNT|TFIELDS|T(TYPE|FORM|DIM|UNIT)\d+"
    r"|CHECKSUM|DATASUM|END|T(SCAL|ZERO|NULL)\d+|THEAP|GROUPS|BLOCKED|EPOCH|Z(IMAGE|TABLE|CMPTYPE|BITPIX|NAXIS\d*)"
    r"|COMMENT|HISTORY|CONTINUE|INHERIT|ORIGIN|DATE|CREATOR|NSETTING|SET\d+|BSCALE|BZERO|BLANK"
)
#: FITS codes of the columns of tables by numpy's kinds and sizes.
_CODES = {"b1": "L", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
#: Types that FITS does not have, and the next that hold all their values.
_WIDER = {"i1": "i2", "u2": "i4", "u4": "i8", "f2": "f4"}
#: Characters of a text of one card, quotation marks twice.
_LONGEST_TEXT = 68
#: Types of the values of cards.
_VALUES = (type(None), bool, int, float, str, np.bool_, np.integer, np.floating)
_PLAIN = {type(None), bool, int, float, str}
#: Columns of a table at most (FITS standard 4.0, section 7.3.1).
_MOST_FIELDS = 999


def check_card(keyword: str, entry: tuple[Any, str]) -> None:
    """Check a header card, a keyword with its value and comment.

    Raises
    ------
    UsageError
        If it cannot be one, or is one that the file itself sets.

    Examples
    --------
    >>> check_card("HALO_OBJ", ("tv", "objective"))
    >>> check_card("halo obj", ("tv", "objective"))
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.UsageError: header card 'halo obj': capitals, digits, - and _, 8 characters at most
    """
    if reason := _wrong_keyword(keyword) or _wrong_entry(entry):
        raise UsageError(f"header card {one_line(repr(keyword))}: {reason}")


def added_card(keyword: str, entry: tuple[Any, str]) -> bytes:
    """A header card as bytes; none where its value is not known.

    Raises
    ------
    UsageError
        As `check_card`.

    Examples
    --------
    >>> added_card("AP_CONT", (0.5, "contamination"))[:30], added_card("AP_CONT", (None, ""))
    (b'AP_CONT =                  0.5', b'')
    """
    # The stars of a CCD have most of their cards in common.
    if type(entry) is tuple and len(entry) == 2 and type(entry[0]) in _PLAIN and type(entry[1]) is str:
        return _checked_card(keyword, *entry)
    check_card(keyword, entry)
    return cards_bytes(known_cards([(keyword, *entry)]))


@functools.lru_cache(maxsize=1024, typed=True)
def _checked_card(keyword: str, value: Any, comment: str) -> bytes:
    if type(value) is float:
        # Both zeros are one key of the cache.
        return _number_card(keyword, comment)(value + 0.0)
    check_card(keyword, (value, comment))
    return cards_bytes(known_cards([(keyword, value, comment)]))


@functools.lru_cache(maxsize=256)
def _number_card(keyword: str, comment: str) -> NumberCards:
    """The checked card of a number that differs from star to star."""
    check_card(keyword, (0.0, comment))
    return NumberCards((keyword, comment))


@functools.lru_cache(maxsize=256)
def _wrong_keyword(keyword: Any) -> str:
    """What is wrong with the keyword of a card, in words; '' where nothing is."""
    if not isinstance(keyword, str) or not _KEYWORD.fullmatch(keyword):
        return "capitals, digits, - and _, 8 characters at most"
    return "the file sets it itself; choose another keyword" if _STRUCTURE.fullmatch(keyword) else ""


def _wrong_entry(entry: Any) -> str:
    """What is wrong with the value and the comment of a card, in words; '' where nothing is."""
    if not isinstance(entry, tuple) or len(entry) != 2 or not isinstance(entry[1], str):
        return f"(value, comment) is needed, not {one_line(repr(entry))[:60]}"
    value, comment = entry
    if not isinstance(value, _VALUES):
        return f"a number, a word or None, not {type(value).__name__}"
    if isinstance(value, str) and "'" in value and len(value) + value.count("'") > _LONGEST_TEXT:
        # Programs that read it join long texts in different ways at a quotation mark.
        return f"a text with quotation marks of more than {_LONGEST_TEXT} characters, each mark counted twice"
    words = comment + value if isinstance(value, str) else comment
    return "" if words.isascii() and words.isprintable() else "only printable ASCII fits into a header"


class ExtraHDU:
    """An image or a table that a method adds to a light curve file.

    Parameters
    ----------
    name : str
        EXTNAME: capital letters, digits and underscores.
    data : ndarray
        Numbers or bool of shape (..., R, C) for an image; a structured array of shape (N,) for a table. It is
        copied. Masked numbers become NaN.
    header : mapping
        Further cards: keyword to (value, comment).
    units : mapping
        Units of the fields of a table by their names; of an image by the name ''. A Quantity and
        a Table of astropy have their own.

    Raises
    ------
    UsageError
        If it cannot be written to a FITS file, or the name is one of the file's own.

    Examples
    --------
    >>> weights = np.zeros(2, [("CADENCENO1", "i4"), ("WEIGHTMAP", "f4", (11, 11))])
    >>> ExtraHDU("WEIGHTMAP", weights, {}, {}).shape
    (2,)
    """

    def __init__(
        self,
        name: str,
        data: NDArray[Any],
        header: Mapping[str, tuple[Any, str]],
        units: Mapping[str, str],
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(f"HDU {one_line(repr(name))}: its name has to be capital letters, digits and _")
        if name in _OWN_NAMES:
            raise UsageError(f"HDU {name}: every light curve file has one; choose another name")
        self.name = name
        for what, given in (("header", header), ("units", units)):
            if not isinstance(given, Mapping):
                raise UsageError(f"HDU {name}: {what}: a dict is needed, not {type(given).__name__}")
        array = _unmasked(name, data)
        self._check_shape(array)
        fields = array.dtype.names or ("",)
        units = {**_own_units(data, fields), **units}
        if extra := set(units) - set(fields):
            raise UsageError(f"HDU {name}: units of {min(extra)!r}, which it does not have")
        cards: list[CardTuple] = []
        for keyword, entry in header.items():
            check_card(keyword, entry)
            if keyword == "BUNIT":
                raise UsageError(f"HDU {name}: header card 'BUNIT': give it as units={{'': {entry[0]!r}}}")
            cards.append((keyword, *entry))
        units = {field: _unit_text(name, unit) for field, unit in units.items() if unit is not None}
        if array.dtype.names is None:
            self._data = _plain(name, array)
            self._structure = image_cards(name, self._data)
            if "" in units:
                cards.insert(0, ("BUNIT", units[""], "unit of the pixels"))
        else:
            self._data = _packed(name, array)
            self._structure = _table_cards(name, array, units)
        self._cards = known_cards(cards)

    def _check_shape(self, array: NDArray[Any]) -> None:
        if array.dtype.names is None:
            if array.ndim < 2 or not array.size:
                raise UsageError(f"HDU {self.name}: shape {array.shape}; an image has rows and columns")
        elif array.ndim != 1 or len(array.dtype.names) > _MOST_FIELDS:
            raise UsageError(
                f"HDU {self.name}: shape {array.shape}; a table has rows, and {_MOST_FIELDS} fields at most"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image, or of the rows of the table."""
        return self._data.shape

    def to_bytes(self, stamp_shape: tuple[int, ...], wcs_cards: bytes) -> bytes:
        """The HDU with its checksums.

        An image of the shape of the stamp gets the cards of its world coordinates.
        """
        is_image = self._data.dtype.names is None
        wcs = wcs_cards if is_image and self._data.shape[-2:] == tuple(stamp_shape) else b""
        own = {keyword for keyword, _, _ in self._cards}
        others = [card for card in split_cards(wcs) if card[:8].decode().rstrip() not in own]
        cards: list[CardTuple | bytes] = [*self._structure, *others, *self._cards]
        return hdu_bytes(cards, image_bytes(self._data) if is_image else self._data.tobytes())


def _unmasked(name: str, data: Any) -> NDArray[Any]:
    """A copy of the data as a plain array; masked numbers are NaN."""
    if hasattr(data, "as_array"):
        data = data.as_array()  # a Table of astropy
    array = np.array(data)
    if not isinstance(data, np.ma.MaskedArray):
        return array
    masks: NDArray[Any] = np.ma.getmaskarray(data)
    fields: tuple[Any, ...] = array.dtype.names or (...,)
    for field in fields:
        values, mask = array[field], masks[field]
        if mask.any() and values.dtype.kind != "f":
            which = "" if field is ... else f"field {field!r}: "
            raise UsageError(
                f"HDU {name}: {which}masked {values.dtype}; fill them, or take floats, which have NaN"
            )
        if mask.any():
            values[mask] = np.nan
    return array


def _own_units(data: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    """The units of a Quantity or of the columns of a Table of astropy."""
    if hasattr(data, "as_array"):
        units = {field: getattr(data[field], "unit", None) for field in fields}
    else:
        units = {"": getattr(data, "unit", None)}
    return {field: unit for field, unit in units.items() if unit is not None}


def _unit_text(name: str, unit: Any) -> str:
    """A unit as FITS files have it: a text, or of astropy."""
    try:
        text = unit if isinstance(unit, str) else str(unit.to_string("fits"))
    except (AttributeError, TypeError, ValueError):
        raise UsageError(f"HDU {name}: unit {one_line(repr(unit))[:60]}: a text is needed") from None
    if not text.isascii() or not text.isprintable():
        raise UsageError(
            f"HDU {name}: unit {one_line(repr(unit))[:60]}: only printable ASCII fits into a header"
        )
    return text


def _stored(base: np.dtype[Any]) -> np.dtype[Any]:
    """The type of FITS tables that holds the numbers of another."""
    return np.dtype(_WIDER.get(f"{base.kind}{base.itemsize}", base))


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The pixels of an image in one of the types of FITS images."""
    if array.dtype.kind == "b":
        return array.astype("u1")
    if array.dtype.kind in "iu" and f"{array.dtype.kind}{array.dtype.itemsize}" in ("u1", "i2", "i4", "i8"):
        return array
    if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        return array
    code = _WIDER.get(f"{array.dtype.kind}{array.dtype.itemsize}")
    if code is None:
        raise UsageError(f"HDU {name}: an image of {array.dtype} does not fit into a FITS file; convert it")
    return array.astype(code)


def _packed(name: str, table: NDArray[Any]) -> NDArray[Any]:
    """The rows of a table as FITS has them: big-endian, without gaps, True and False as letters."""
    fields = []
    names = [field.upper() for field in table.dtype.names or ()]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise UsageError(f"HDU {name}: two fields {twice!r}: capitals make no difference; rename one")
    for field in table.dtype.names or ():
        base, shape = _stored(table.dtype[field].base), table.dtype[field].shape
        if not _NAME.fullmatch(field.upper()) or f"{base.kind}{base.itemsize}" not in _CODES:
            raise UsageError(
                f"HDU {name}: field {one_line(repr(field))} of {base}; a field has letters, digits and _ in "
                f"its name and a type of {', '.join((*_CODES, *_WIDER))}"
            )
        fields.append((field, "u1" if base.kind == "b" else base.newbyteorder(">"), shape))
    out = np.zeros(table.shape, dtype=fields)
    for field, _, _ in fields:
        values = table[field]
        out[field] = np.where(values, ord("T"), ord("F")) if values.dtype.kind == "b" else values
    return out


def _table_cards(name: str, table: NDArray[Any], units: Mapping[str, str]) -> list[CardTuple]:
    """Structural cards of a table."""
    row = _packed(name, table[:0]).dtype
    cards: list[CardTuple] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", row.itemsize, "length of first array dimension"),
        ("NAXIS2", len(table), "length of second array dimension"),
        ("PCOUNT", 0, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("TFIELDS", len(row.names or ()), "number of table fields"),
    ]
    for i, field in enumerate(row.names or (), start=1):
        base, shape = _stored(table.dtype[field].base), table.dtype[field].shape
        repeat = math.prod(shape)
        cards.append((f"TTYPE{i}", field, "column title"))
        cards.append((f"TFORM{i}", f"{repeat if shape else ''}{_CODES[f'{base.kind}{base.itemsize}']}", ""))
        if len(shape) > 1:
            cards.append((f"TDIM{i}", f"({','.join(str(side) for side in reversed(shape))})", ""))
        if field in units:
            cards.append((f"TUNIT{i}", units[field], "column units"))
    cards.append(("INHERIT", True, "inherit the primary header"))
    cards.append(("EXTNAME", name, "name of extension"))
    cards.append(("EXTVER", 1, "extension version number"))
    return cards
