"""The light curve file: one star's FITS file, complete and compressed, written whole or not at all."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.names import parse_lightcurve_name
from ..core.settings import load_settings
from ..core.version import creator
from .extra_hdu import ExtraHDU
from .fits_bytes import CardTuple

__all__ = [
    "COLUMNS",
    "FLUX_UNIT",
    "SHOWN_FLUX_UNIT",
    "STAR_CARDS",
    "Column",
    "LightCurve",
    "Writer",
    "below",
    "check_star",
    "creation_date",
    "keep_lightcurve",
    "keep_new_lightcurve",
    "origin_cards",
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


#: Cards of the primary header that say which star a light curve is of, by the keys of its name.
STAR_CARDS = {"starid": "TICID", "sector": "SECTOR", "camera": "CAMERA", "ccd": "CCD"}
#: Unit of fluxes in the file: the FITS standard has none for electrons, which are the counts.
FLUX_UNIT = "ct/s"
#: The same in pictures.
SHOWN_FLUX_UNIT = "e\N{SUPERSCRIPT MINUS}/s"
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


def keep_lightcurve(path: str | os.PathLike[str], data: bytes) -> None:
    """Write the bytes of a light curve to a file that is there whole or not at all; its folder is made.

    Raises
    ------
    OSError
        If it cannot be written; nothing of it is left then.
    """
    name = os.fspath(path)
    if os.path.lexists(name):
        # A listed file may be in its place.
        write_whole(name, data)
    else:
        keep_new_lightcurve(name, data)


def keep_new_lightcurve(path: str, data: bytes) -> None:
    """As `keep_lightcurve`, where nothing is in the place: many of them are synchronised at a time."""
    try:
        write_whole(path, data, durable=False)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_whole(path, data, durable=False)


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


def origin_cards() -> list[CardTuple]:
    """What made a file, and when: ORIGIN, DATE, CREATOR and the settings that differ from their defaults."""
    settings = load_settings()
    unusual = settings.unusual()
    cards: list[CardTuple] = [
        ("ORIGIN", settings.get("files", "origin"), "institution responsible for creating this file"),
        ("DATE", creation_date(), "date the file was created"),
        ("CREATOR", creator(), "program that made this file"),
        ("NSETTING", len(unusual), "settings that differ from their defaults"),
    ]
    return cards + [(f"SET{i}", text, "") for i, text in enumerate(unusual, 1)]


def check_star(path: str | os.PathLike[str], cards: Mapping[str, Any]) -> None:
    """Raise InputError where a light curve is not of the star that it is named after.

    Parameters
    ----------
    path : path-like
        Of a file, or ``PACK.hdf5#NAME``; names that are not those of a run say nothing.
    cards : mapping
        Of its primary header; those that it lacks say nothing either.
    """
    name = parse_lightcurve_name("/".join(os.fspath(path).replace("#", "/").split("/")[-3:]))
    for key, card in STAR_CARDS.items() if name else ():
        if name and (value := cards.get(card, name[key])) != name[key]:
            raise InputError(
                f"{path}: {card} is {value!r} in its header, unlike its name; compute it again with "
                "--overwrite"
            )


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
