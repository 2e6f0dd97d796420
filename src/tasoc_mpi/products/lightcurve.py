"""The light curve file: one star's FITS file, complete and compressed, written whole or not at all."""

from __future__ import annotations

import datetime
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.names import lightcurve_name
from ..core.settings import load_settings
from ..core.version import creator
from .extra_hdu import ExtraHDU
from .fits_bytes import (
    CardTuple,
    cards_bytes,
    checksummed_header,
    hdu_bytes,
    image_bytes,
    image_cards,
    known_cards,
)

__all__ = [
    "COLUMNS",
    "FLUX_UNIT",
    "Column",
    "LightCurve",
    "Writer",
    "below",
    "creation_date",
    "keep_lightcurve",
    "lightcurve_bytes",
    "origin_cards",
    "write_lightcurve",
]

#: Keeps a light curve: takes its name below the output folder and its compressed bytes, and returns the name
#: under which it is to be listed.
Writer = Callable[[str, bytes], str]


class Column(NamedTuple):
    """A column of the light curve file.

    Attributes
    ----------
    attribute : str
        Name in `BasePhotometry.lightcurve` and `LightCurve.columns`; '' for a column that stays NaN.
    part : int or None
        Index into the second axis of the attribute's array.
    name, format, unit, display, ucd, comment : str
        In the file. The unit is one of the FITS standard; '' for none.
    """

    attribute: str
    part: int | None
    name: str
    format: str
    unit: str
    display: str
    ucd: str
    comment: str


#: Unit of fluxes in the file: the FITS standard has none for electrons, which are the counts.
FLUX_UNIT = "ct/s"
_PPM = "10**-6"
_FLUX, _RELATIVE = "phot.count;em.opt", "phot.flux;em.opt;arith.ratio"
_X, _Y = "pos.cartesian.x;instr.det", "pos.cartesian.y;instr.det"
#: The columns of a light curve, in the order of the file. Displayed digits are those of the number.
COLUMNS = (
    Column("time", None, "TIME", "D", "d", "F17.10", "time.epoch", "BJD - 2457000"),
    Column("timecorr", None, "TIMECORR", "E", "d", "E15.8", "time;arith.diff", "barycentric correction"),
    Column("cadenceno", None, "CADENCENO", "J", "", "I10", "meta.number", "cadence number"),
    Column("flux", None, "FLUX_RAW", "D", FLUX_UNIT, "E26.17", _FLUX, "flux, electrons/s"),
    Column("flux_err", None, "FLUX_RAW_ERR", "D", FLUX_UNIT, "E26.17", f"stat.error;{_FLUX}", "its error"),
    Column(
        "flux_background", None, "FLUX_BKG", "D", FLUX_UNIT, "E26.17", "phot.count;instr.background",
        "background, electrons/s",
    ),
    Column("", None, "FLUX_CORR", "D", _PPM, "E26.17", _RELATIVE, "corrected flux, ppm"),
    Column("", None, "FLUX_CORR_ERR", "D", _PPM, "E26.17", f"stat.error;{_RELATIVE}", "its error, ppm"),
    Column("corrector_quality", None, "QUALITY", "J", "", "B24.24", "meta.code.qual", "light curve flags"),
    Column("quality", None, "PIXEL_QUALITY", "J", "", "B24.24", "meta.code.qual", "flags of the mission"),
    Column("pos_centroid", 0, "MOM_CENTR1", "D", "pixel", "F13.7", _X, "centroid, CCD column from 1"),
    Column("pos_centroid", 1, "MOM_CENTR2", "D", "pixel", "F13.7", _Y, "centroid, CCD row from 1"),
    Column("pos_corr", 0, "POS_CORR1", "D", "pixel", "F14.9", f"{_X};arith.diff", "column motion"),
    Column("pos_corr", 1, "POS_CORR2", "D", "pixel", "F14.9", f"{_Y};arith.diff", "row motion"),
)  # fmt: skip
_DTYPES = {"D": ">f8", "E": ">f4", "J": ">i4"}
_BUNIT: CardTuple = ("BUNIT", FLUX_UNIT, "unit of the pixels: electrons/s")
_ROW = np.dtype([(column.name, _DTYPES[column.format]) for column in COLUMNS])
#: Data units of FITS files are multiples of this.
_BLOCK = 2880


@dataclass(repr=False)
class LightCurve:
    """Everything that one file holds.

    Attributes
    ----------
    starid, sector, camera, ccd, cadence, data_rel, version : int
    columns : mapping
        Array of every attribute in `COLUMNS`, shape (T,) or (T, 2).
    primary_cards, table_cards, wcs_cards : sequence of (keyword, value, comment) or bytes
        Cards after the structural ones of the primary header, the table, and both images; bytes are cards
        that were formatted before.
    sumimage : ndarray of float32, shape (R, C)
    aperture : ndarray of int32, shape (R, C)
    extra_hdus : sequence of ExtraHDU
        What the method adds behind these.
    """

    starid: int
    sector: int
    camera: int
    ccd: int
    cadence: int
    data_rel: int
    version: int
    columns: Mapping[str, NDArray[Any]]
    sumimage: NDArray[np.float32]
    aperture: NDArray[np.int32]
    primary_cards: Sequence[CardTuple | bytes] = field(default_factory=list)
    table_cards: Sequence[CardTuple | bytes] = field(default_factory=list)
    wcs_cards: Sequence[CardTuple | bytes] = field(default_factory=list)
    extra_hdus: Sequence[ExtraHDU] = field(default_factory=list)

    def __repr__(self) -> str:
        return (
            f"<LightCurve TIC {self.starid}, sector {self.sector}, camera {self.camera}, CCD {self.ccd}, "
            f"{self.cadence} s: {len(self.columns['time'])} points>"
        )


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
    from isal import igzip

    lc = lightcurve
    name = lightcurve_name(lc.starid, lc.sector, lc.camera, lc.ccd, lc.cadence, lc.data_rel, lc.version)
    data = igzip.compress(lightcurve_bytes(lc), 1, mtime=0)
    if writer is not None:
        return writer(name, data)
    keep_lightcurve(os.path.join(folder, name), data)
    return name


def keep_lightcurve(path: str | os.PathLike[str], data: bytes) -> None:
    """Write the bytes of a light curve to a file that is there whole or not at all; its folder is made.

    Raises
    ------
    OSError
        If it cannot be written; nothing of it is left then.
    """
    name = os.fspath(path)
    # A listed file may be in its place. New ones are synchronised many at a time, before they are reported.
    durable = os.path.exists(name)
    try:
        write_whole(name, data, durable)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        write_whole(name, data, durable)


def below(folder: str | os.PathLike[str], name: str) -> Path:
    """Path of a listed light curve; raises InputError for a name that would leave the folder.

    Examples
    --------
    >>> below("output", "c1800/00471/x.fits.gz").as_posix()
    'output/c1800/00471/x.fits.gz'
    """
    root = os.path.normpath(folder)
    path = os.path.normpath(os.path.join(root, name))
    if os.path.isabs(name) or not path.startswith(os.path.join(root, "")):
        raise InputError(f"{name}: not the name of a light curve below {root}; the work list is damaged")
    return Path(path)


def lightcurve_bytes(lc: LightCurve) -> bytes:
    """The uncompressed FITS file; raises InputError as `creation_date`."""
    primary = _primary_start(3 + len(lc.extra_hdus)) + cards_bytes(known_cards(lc.primary_cards))
    sumimage = np.asarray(lc.sumimage, dtype=np.float32)
    aperture = np.asarray(lc.aperture, dtype=np.int32)
    table_cards = _table_cards(len(lc.columns["time"])) + cards_bytes(known_cards(lc.table_cards))
    wcs_cards = cards_bytes(lc.wcs_cards)
    # The table is most of the file: it is copied once, into the whole.
    table = _table(lc.columns)
    return b"".join(
        [
            hdu_bytes(primary),
            checksummed_header(table_cards, table),
            table.data,
            hdu_bytes(_sumimage_cards(*sumimage.shape) + wcs_cards, image_bytes(sumimage)),
            hdu_bytes(_aperture_cards(*aperture.shape) + wcs_cards, image_bytes(aperture)),
            *(hdu.to_bytes(sumimage.shape, wcs_cards) for hdu in lc.extra_hdus),
        ]
    )


def _primary_start(n_extensions: int) -> bytes:
    """The first cards of the primary header, which are the same for all stars of a day."""
    settings = load_settings()
    facts = settings.get("files", "origin"), creation_date(), creator(), settings.unusual()
    return _formatted_start(n_extensions, *facts)


@functools.lru_cache(maxsize=8)
def _formatted_start(n_extensions: int, *origin: Any) -> bytes:
    cards: list[CardTuple] = [
        ("SIMPLE", True, "conforms to FITS standards"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("EXTEND", True, "file contains extensions"),
        ("NEXTEND", n_extensions, "number of standard extensions"),
        ("EXTNAME", "PRIMARY", "name of extension"),
        ("EXTVER", 1, "extension version number"),
    ]
    return cards_bytes(cards + _origin(*origin))


@functools.lru_cache(maxsize=64)
def _sumimage_cards(n_rows: int, n_columns: int) -> bytes:
    """Structural cards of the sum image and its unit; stamps have few sizes."""
    return cards_bytes([*image_cards("SUMIMAGE", np.empty((n_rows, n_columns), dtype="f4")), _BUNIT])


@functools.lru_cache(maxsize=64)
def _aperture_cards(n_rows: int, n_columns: int) -> bytes:
    """Structural cards of the image of flags."""
    return cards_bytes(image_cards("APERTURE", np.empty((n_rows, n_columns), dtype="i4")))


def origin_cards() -> list[CardTuple]:
    """What made a file, and when: ORIGIN, DATE, CREATOR and the settings that differ from their defaults."""
    settings = load_settings()
    return _origin(settings.get("files", "origin"), creation_date(), creator(), settings.unusual())


def _origin(origin: str, date: str, program: str, unusual: Sequence[str]) -> list[CardTuple]:
    cards: list[CardTuple] = [
        ("ORIGIN", origin, "institution responsible for creating this file"),
        ("DATE", date, "date the file was created"),
        ("CREATOR", program, "program that made this file"),
        ("NSETTING", len(unusual), "settings that differ from their defaults"),
    ]
    return cards + [(f"SET{i}", text, "") for i, text in enumerate(unusual, 1)]


def creation_date() -> str:
    """Today's date in UTC, or that of SOURCE_DATE_EPOCH, with which files can be made again byte for byte.

    Raises
    ------
    InputError
        If the variable is not a number of seconds since 1970.
    """
    # The convention of https://reproducible-builds.org/specs/source-date-epoch/
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise InputError(
            f"SOURCE_DATE_EPOCH={epoch}: not a number of seconds since 1970; correct or unset it"
        ) from None


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


def _table(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """The data unit of the table, padded, as bytes."""
    n_rows = len(columns["time"])
    unit = _empty_table(n_rows).copy()
    table = unit[: n_rows * _ROW.itemsize].view(_ROW)
    for column in COLUMNS:
        if column.attribute:
            values = columns[column.attribute]
            table[column.name] = values if column.part is None else values[:, column.part]
    return unit


@functools.lru_cache(maxsize=2)
def _empty_table(n_rows: int) -> NDArray[np.uint8]:
    """The data unit of a table whose columns without an attribute are NaN, and the others 0."""
    unit = np.zeros(-(-n_rows * _ROW.itemsize // _BLOCK) * _BLOCK, dtype=np.uint8)
    table = unit[: n_rows * _ROW.itemsize].view(_ROW)
    for column in COLUMNS:
        if not column.attribute:
            table[column.name] = np.nan
    return unit
