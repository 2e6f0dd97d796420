"""The bytes of a light curve file, with its checksums, and the writing of it."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.names import lightcurve_name
from ..core.settings import load_settings
from ..kernels.fits_words import sign_hdus, store_columns
from .fits_bytes import CardTuple, cards_bytes, image_cards, known_cards, unsigned_header
from .lightcurve import COLUMNS, FLUX_UNIT, LightCurve, Writer, keep_lightcurve, origin_cards

__all__ = ["lightcurve_bytes", "write_lightcurve"]

_DTYPES = {"D": ">f8", "E": ">f4", "J": ">i4"}
#: Of the pixels of both images.
_FLOATS, _INTEGERS = np.dtype(">f4"), np.dtype(">i4")
_BUNIT: CardTuple = ("BUNIT", FLUX_UNIT, "unit of the pixels: electrons/s")
_ROW = np.dtype([(column.name, _DTYPES[column.format]) for column in COLUMNS])
#: Data units of FITS files are multiples of this.
_BLOCK = 2880


def write_lightcurve(
    folder: str | os.PathLike[str], lightcurve: LightCurve, writer: Writer | None = None
) -> str:
    """Write a light curve file.

    Parameters
    ----------
    folder : path-like
        The output folder; sub-folders are made.
    lightcurve : LightCurve
    writer : callable, optional
        Keeps the file's bytes in another way than as a file of its own; see `Writer`.

    Returns
    -------
    str
        The name to be listed: the file's path relative to `folder`, or what `writer` returned.

    Raises
    ------
    OSError
        If it cannot be written; nothing of it is left then.
    """
    # The file is small and there are millions of them: the fast compressor is worth its dependency.
    from isal import igzip_lib

    lc = lightcurve
    name = lightcurve_name(lc.starid, lc.sector, lc.camera, lc.ccd, lc.cadence, lc.data_rel, lc.version)
    data = igzip_lib.compress(_content(lc), 1, igzip_lib.COMP_GZIP)
    if writer is not None:
        return writer(name, data)
    keep_lightcurve(os.path.join(folder, name), data)
    return name


def lightcurve_bytes(lc: LightCurve) -> bytes:
    """The uncompressed FITS file; raises InputError as `creation_date`."""
    return bytes(_content(lc))


def _content(lc: LightCurve) -> bytearray:
    """See `lightcurve_bytes`."""
    sumimage, aperture = lc.sumimage.astype(_FLOATS), lc.aperture.astype(_INTEGERS)
    primary_cards = cards_bytes(known_cards(lc.primary_cards))
    table_cards = cards_bytes(known_cards(lc.table_cards))
    wcs_cards = cards_bytes(lc.wcs_cards)
    common = _common_parts(
        _primary_start(3 + len(lc.extra_hdus)),
        len(lc.columns["time"]),
        sumimage.shape,
        aperture.shape,
        (len(primary_cards), len(table_cards), len(wcs_cards)),
    )
    extra = [hdu.to_bytes(sumimage.shape, wcs_cards) for hdu in lc.extra_hdus]
    content = bytearray().join([*common.parts, *extra])
    own = (primary_cards, table_cards, wcs_cards, sumimage.tobytes(), wcs_cards, aperture.tobytes())
    for place, part in zip(common.places, own, strict=True):
        content[place] = part
    _fill_table(content, common.table, lc.columns)
    sign_hdus(np.frombuffer(content, np.uint8), np.frombuffer(content, np.uint32), common.hdus)
    return content


class _Common(NamedTuple):
    """The parts of a file that stars have in common.

    Attributes
    ----------
    parts : tuple of bytes
        The file without its extra HDUs, cards and data of the star being blank.
    places : tuple of slice
        Where the star's own belong: cards of the primary header and of the table, and cards and data of
        both images.
    table : int
        The first byte of the table.
    hdus : ndarray of int64, shape (4, 4)
        As for `sign_hdus`.
    """

    parts: tuple[bytes, ...]
    places: tuple[slice, ...]
    table: int
    hdus: NDArray[np.int64]


@functools.lru_cache(maxsize=64)
def _common_parts(
    primary_start: bytes,
    n_rows: int,
    sumimage: tuple[int, int],
    aperture: tuple[int, int],
    sizes: tuple[int, int, int],
) -> _Common:
    """The parts that files with some shapes of the images, and sizes of the star's cards, have in common.

    The sizes are those of the cards of the primary header, the table and the world coordinates.
    """
    primary_size, table_size, wcs_size = sizes
    parts: list[bytes] = []
    places, hdus, end = [], [], 0
    for start, size, data, is_own in (
        (primary_start, primary_size, b"", False),
        (_table_cards(n_rows), table_size, _empty_table(n_rows), False),
        (_sumimage_cards(*sumimage), wcs_size, bytes(4 * math.prod(sumimage)), True),
        (_aperture_cards(*aperture), wcs_size, bytes(4 * math.prod(aperture)), True),
    ):
        header = unsigned_header(start + b" " * size)
        first, cards, begin = end, end + len(start) + size, end + len(header)
        places.append(slice(cards - size, cards))
        if is_own:
            places.append(slice(begin, begin + len(data)))
        end = begin - -len(data) // _BLOCK * _BLOCK
        hdus.append((first, cards, begin, end))
        # The table is the same object for all.
        parts += (header, data, bytes(end - begin - len(data)))
    return _Common(tuple(parts), tuple(places), hdus[1][2], np.array(hdus))


def _places(formats: str, size: int) -> tuple[list[tuple[str, np.dtype[Any]]], tuple[int, ...]]:
    """Columns of some formats, whose numbers have `size` bytes: attributes, types in memory, and places.

    The places in a row are in units of `size`, as `store_columns` takes them.
    """
    attributes, places = [], []
    fields: Any = _ROW.fields
    for column in COLUMNS:
        if column.attribute and not column.part and column.format in formats:
            place, rest = divmod(fields[column.name][1], size)
            assert rest == 0, f"column {column.name} is not at a multiple of its size"
            attributes.append((column.attribute, np.dtype(_DTYPES[column.format]).newbyteorder("=")))
            places.append(place)
    return attributes, tuple(places)


_DOUBLES, _DOUBLE_PLACES = _places("D", 8)
_SINGLES, _SINGLE_PLACES = _places("EJ", 4)


def _fill_table(content: bytearray, start: int, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write the columns into the table that begins at a byte."""
    n_rows = len(columns["time"])
    rows = np.frombuffer(content, np.uint64, n_rows * _ROW.itemsize // 8, start).reshape(n_rows, -1)
    store_columns(
        rows,
        rows.view(np.uint32),
        _bits(columns, _DOUBLES, np.uint64),
        _DOUBLE_PLACES,
        _bits(columns, _SINGLES, np.uint32),
        _SINGLE_PLACES,
    )


def _bits(
    columns: Mapping[str, NDArray[Any]], attributes: list[tuple[str, np.dtype[Any]]], unsigned: type[Any]
) -> tuple[NDArray[Any], ...]:
    """Some columns as unsigned numbers of the same bits, each flat."""
    return tuple(
        [np.frombuffer(np.ascontiguousarray(columns[name], dtype), unsigned) for name, dtype in attributes]
    )


def _primary_start(n_extensions: int) -> bytes:
    """The first cards of the primary header, which are the same for all stars of a day."""
    key = n_extensions, os.environ.get("SOURCE_DATE_EPOCH"), time.time() // 86400
    return load_settings().remembered(key, lambda: _formatted_start(n_extensions))


def _formatted_start(n_extensions: int) -> bytes:
    cards: list[CardTuple] = [
        ("SIMPLE", True, "conforms to FITS standards"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("EXTEND", True, "file contains extensions"),
        ("NEXTEND", n_extensions, "number of standard extensions"),
        ("EXTNAME", "PRIMARY", "name of extension"),
        ("EXTVER", 1, "extension version number"),
    ]
    return cards_bytes(cards + origin_cards())


def _sumimage_cards(n_rows: int, n_columns: int) -> bytes:
    """Structural cards of the sum image and its unit; stamps have few sizes."""
    return cards_bytes([*image_cards("SUMIMAGE", np.empty((n_rows, n_columns), dtype="f4")), _BUNIT])


def _aperture_cards(n_rows: int, n_columns: int) -> bytes:
    """Structural cards of the image of flags."""
    return cards_bytes(image_cards("APERTURE", np.empty((n_rows, n_columns), dtype="i4")))


@functools.lru_cache(maxsize=8)
def _table_cards(n_rows: int) -> bytes:
    """Structural cards of the table, which are the same for all stars of a CCD."""
    cards: list[CardTuple] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", _ROW.itemsize, "length of first array dimension"),
        ("NAXIS2", n_rows, "length of second array dimension"),
        ("PCOUNT", 0, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("TFIELDS", len(COLUMNS), "number of table fields"),
    ]
    for i, column in enumerate(COLUMNS, start=1):
        cards.append((f"TTYPE{i}", column.name, f"column title: {column.comment}"))
        cards.append((f"TFORM{i}", column.format, "column format"))
        if column.unit:
            cards.append((f"TUNIT{i}", column.unit, "column units"))
        cards.append((f"TDISP{i}", column.display, "column display format"))
        cards.append((f"TUCD{i}", column.ucd, "unified content descriptor"))
    cards.append(("INHERIT", True, "inherit the primary header"))
    cards.append(("EXTNAME", "LIGHTCURVE", "name of extension"))
    cards.append(("EXTVER", 1, "extension version number"))
    return cards_bytes(cards)


@functools.lru_cache(maxsize=2)
def _empty_table(n_rows: int) -> bytes:
    """The rows of a table whose columns without an attribute are NaN, and the others 0."""
    table = np.zeros(n_rows, dtype=_ROW)
    for column in COLUMNS:
        if not column.attribute:
            table[column.name] = np.nan
    return table.tobytes()
