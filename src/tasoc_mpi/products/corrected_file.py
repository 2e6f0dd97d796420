"""A light curve file with its corrected columns filled: bytes in, bytes out.

Only the corrected columns, the bits of QUALITY that belong to the correction, the cards of the correction and
the two checksums of the table change. All other bytes of the file stay as they are, so that a file that is
corrected again, or whose correction is taken out, has the bytes that it would have had without the first one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT
from ..core.quality import CorrectorQualityFlags
from ..kernels.fits_words import sign_hdus, sum_words
from .fits_bytes import CardTuple, card, known_cards, split_cards, unsigned_header
from .fits_read import HDU, FITSReader, is_integer
from .fits_table import table_columns

__all__ = ["TABLE", "LightCurveTable", "checksums_hold", "corrected_bytes"]

#: The extension that holds the light curve.
TABLE = "LIGHTCURVE"
#: Cards whose keywords begin so belong to the correction.
_PREFIXES = (b"CBV_", b"CORR")
#: Every correction replaces them, and the checksums, which depend on all others.
_REPLACED = (*_PREFIXES, b"DATASUM ", b"CHECKSUM")
_END = b"END     "
_CARD = 80
#: Cards that a table has once, and for each of its columns, of which the type of its rows depends.
_TABLE_CARDS = ("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS")
_COLUMN_CARDS = ("TFORM", "TTYPE", "TDIM", "TSCAL", "TZERO")
#: Types of rows that are known, by these cards, and how many there can be.
_ROW_TYPES: dict[tuple[str | None, ...], np.dtype[np.void]] = {}
_MOST_TYPES = 16
#: The columns that are written, with their types in the file.
_WRITTEN = {"FLUX_CORR": ">f8", "FLUX_CORR_ERR": ">f8", "QUALITY": ">i4"}


class LightCurveTable:
    """The table of a light curve file that is in memory.

    Parameters
    ----------
    path : Path
        For messages.
    content : bytes
        The uncompressed file.

    Attributes
    ----------
    rows : ndarray, shape (T,)
        A structured array over the bytes of the table, with its columns of plain values; read only.
    start, end : int
        First byte of the header of the table, and of the HDU behind it.
    primary, hdu : HDU
        The primary header; the header of the table, and where its data begin.

    Raises
    ------
    InputError
        If there is no whole table, or a column that a correction writes is missing or of another type.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content = path, content
        with FITSReader(path, content) as reader:
            # All of them: a file that is broken behind its table is not written anew as a whole one.
            hdus = list(reader.hdus())
            tables = [n for n, hdu in enumerate(hdus) if hdu.values.get("EXTNAME") == TABLE]
            if not tables or tables[-1] == 0:
                raise InputError(f"{path}: has no table {TABLE}; {WAY_OUT}")
            extensions = len(hdus) - 1
            self.primary, self.hdu = hdus[0], hdus[tables[-1]]
            if self.primary.values.get("NEXTEND", extensions) != extensions:
                raise InputError(
                    f"{path}: has {extensions} extensions, unlike NEXTEND in its header; {WAY_OUT}"
                )
            self.start, self.end = reader.end(hdus[tables[-1] - 1]), reader.end(self.hdu)
            hdu = self.hdu
            dtype = _row_type(reader, hdu)
        if hdu.values["PCOUNT"] != 0:
            raise InputError(f"{path}: PCOUNT is not that of a light curve; {WAY_OUT}")
        self.rows = np.frombuffer(content, dtype, hdu.values["NAXIS2"], hdu.start)

    def column(self, name: str, dtype: str) -> NDArray[Any]:
        """A copy of a column of numbers of another type; InputError where it is not one number a row."""
        if name not in (self.rows.dtype.names or ()) or self.rows.dtype[name].kind not in "if":
            raise InputError(f"{self.path}: no column {name} of one number in its table; {WAY_OUT}")
        return self.rows[name].astype(dtype)

    @functools.cached_property
    def photometry_quality(self) -> NDArray[np.int32]:
        """QUALITY without the bits of a correction, shape (T,)."""
        return self.column("QUALITY", "i4") & np.int32(~CorrectorQualityFlags.CORRECTION)


def checksums_hold(content: bytes) -> bool:
    """Whether a file all of whose HDUs have a CHECKSUM is as it was written.

    The sum of such an HDU is 0 modulo 2**32 - 1, and so is that of the file.
    """
    if len(content) % 4:
        content = content.ljust(-(-len(content) // 4) * 4, b"\0")
    return int(sum_words(np.frombuffer(content, dtype=np.uint32))) % 0xFFFFFFFF == 0


@functools.cache
def _structure(columns: Any) -> tuple[str, ...]:
    """Keywords of the cards of which the type of the rows of a table depends."""
    count = columns if is_integer(columns) and 0 < columns < 1000 else 0
    return (*_TABLE_CARDS, *(f"{word}{n}" for n in range(1, count + 1) for word in _COLUMN_CARDS))


def _row_type(reader: FITSReader, hdu: HDU) -> np.dtype[np.void]:
    """Type of the rows of a table; found once for all tables with the same cards of columns."""
    key = tuple(map(hdu.cards.get, _structure(hdu.values.get("TFIELDS"))))
    found = _ROW_TYPES.get(key)
    if found is not None:
        return found
    columns = table_columns(reader, hdu)
    dtype = np.dtype(
        {
            "names": list(columns),
            "formats": [(column.dtype, column.shape) for column in columns.values()],
            "offsets": [column.offset for column in columns.values()],
            "itemsize": hdu.values["NAXIS1"],
        }
    )
    for name, kind in _WRITTEN.items():
        if name not in columns or dtype[name] != np.dtype(kind):
            raise InputError(f"{reader.path}: no column {name} of one number in its table; {WAY_OUT}")
    if len(_ROW_TYPES) >= _MOST_TYPES:
        _ROW_TYPES.clear()
    _ROW_TYPES[key] = dtype
    return dtype


def corrected_bytes(
    table: LightCurveTable,
    flux: NDArray[np.float64] | float = np.nan,
    flux_err: NDArray[np.float64] | float = np.nan,
    quality: NDArray[np.int32] | int = 0,
    cards: Sequence[CardTuple] = (),
) -> bytes:
    """The file with another correction in place of the one that it has; by default with none.

    Parameters
    ----------
    table : LightCurveTable
        Of the file.
    flux, flux_err : ndarray of float64, shape (T,)
        ppm; NaN where there is no value.
    quality : ndarray of int32, shape (T,)
        Bits of `CorrectorQualityFlags.CORRECTION` to set.
    cards : sequence of (keyword, value, comment)
        Of the header of the table; keywords begin with ``CBV_`` or ``CORR``.

    Returns
    -------
    bytes
        Uncompressed; DATASUM and CHECKSUM of the table are right.

    Raises
    ------
    ValueError
        If a keyword or a bit is not one of a correction.
    """
    if bad := [keyword for keyword, _, _ in cards if not keyword.encode().startswith(_PREFIXES)]:
        raise ValueError(f"card {bad[0]}: not one of a correction")
    if np.any(np.asarray(quality) & ~CorrectorQualityFlags.CORRECTION):
        raise ValueError("a bit of QUALITY that does not belong to the correction")
    content, start, first, end = table.content, table.start, table.hdu.start, table.end
    kept = _without_correction(content[start:first])
    head = b"".join((kept, *[card(*one) for one in known_cards(cards)]))
    hdu = bytearray(unsigned_header(head))
    place = len(hdu)
    # What is between and behind the columns stays, too; a file may end without the rest of its last block.
    hdu += memoryview(content)[first:end]
    hdu.extend(bytes(place + end - first - len(hdu)))
    written = np.frombuffer(hdu, table.rows.dtype, table.rows.size, place)
    written["FLUX_CORR"] = flux
    written["FLUX_CORR_ERR"] = flux_err
    written["QUALITY"] = table.photometry_quality | quality
    places = np.array([(0, len(head), place, len(hdu))])
    sign_hdus(np.frombuffer(hdu, np.uint8), np.frombuffer(hdu, np.uint32), places)
    return b"".join((content[:start], hdu, content[end:]))


def _without_correction(header: bytes) -> bytes:
    """The cards of a header but those of a correction, the checksums and END."""
    first = min(place for word in (*_REPLACED, _END) if (place := _card_place(header, word)) >= 0)
    kept, own = [header[:first]], False
    for one in split_cards(header[first:]):
        if one.startswith(_END):
            break
        # A long text goes on in cards of its own.
        own = one.startswith(_REPLACED) or (own and one.startswith(b"CONTINUE"))
        if not own:
            kept.append(one)
    return b"".join(kept)


def _card_place(header: bytes, word: bytes) -> int:
    """First byte of the first card whose keyword begins so; -1 without one."""
    place = header.find(word)
    # Other places are in values and comments.
    while place >= 0 and place % _CARD:
        place = header.find(word, place + 1)
    return place
