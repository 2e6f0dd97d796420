"""The star catalog of one CCD: an SQLite file with the stars in its footprint and around it.

Positions are those at the epoch of observation; the positions at J2000 are kept beside them.
`docs/formats.md` lists every table and column.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.atomic import replacing
from ..core.errors import InputError, MissingInput, one_line
from ..core.input_files import InputFile
from ..core.sphere import SkyIndex, convex_hull, from_tangent_plane
from ..core.times import BTJD_ZERO
from .ccd_outline import camera_centre_sky, stamp_outline
from .star_values import check_stars

if TYPE_CHECKING:
    from .frame_wcs import FrameWCS
    from .tpf import TPF

__all__ = [
    "FROM_HEADERS",
    "STAR_DTYPE",
    "CatalogSettings",
    "StarCatalog",
    "catalog_from_tpf",
    "catalog_settings",
    "footprint_text",
    "header_catalog",
    "is_listed",
    "julian_epoch",
    "move_stars",
    "open_catalog",
    "write_catalog",
]

#: One star: degrees, mas/yr (the proper motion in right ascension includes cos(dec)), magnitudes, K.
#: NaN for what is not known. `ra` and `decl` are at the epoch of observation.
STAR_DTYPE = np.dtype(
    [("starid", "i8")]
    + [(name, "f8") for name in ("ra", "decl", "ra_J2000", "decl_J2000", "pm_ra", "pm_decl", "tmag", "teff")]
)

#: `CatalogSettings.source` of catalogs from headers of target pixel files.
FROM_HEADERS = "headers"


@dataclass(frozen=True)
class CatalogSettings:
    """What a catalog was made for."""

    sector: int
    camera: int
    ccd: int
    ticver: str  #: Version of the TESS Input Catalog
    reference_time: float  #: Julian date (TDB) the positions belong to
    epoch: float  #: The same as a Julian year
    coord_buffer: float  #: Stars up to this far outside the footprint are included, degrees
    #: camera_centre_ra, camera_centre_dec: where the camera points, degrees; NaN where it is not known.
    camera_centre_ra: float
    camera_centre_dec: float
    footprint: str  #: Corners of the convex polygon, ``"ra,dec;ra,dec;..."`` in degrees
    #: Where the stars are from: ``"table"``, ``"mast"``, ``"simulation"``, or ``"headers"`` of target pixel
    #: files; empty if not known.
    source: str = ""


#: SQL type of the columns of the settings by the types of the attributes, and of those that may be NULL.
_SQL_TYPES = {"int": "INTEGER NOT NULL", "float": "REAL NOT NULL", "str": "TEXT NOT NULL"}
_SETTINGS_COLUMNS = {field.name: _SQL_TYPES[str(field.type)] for field in fields(CatalogSettings)}
_SETTINGS_COLUMNS |= {"camera_centre_ra": "REAL", "camera_centre_dec": "REAL", "source": "TEXT"}
#: Columns that catalogs of other programs do not have.
_OWN_COLUMNS = ("source",)


@dataclass(frozen=True)
class StarCatalog:
    """The stars of one CCD."""

    path: Path  #: Where they were read from
    settings: CatalogSettings
    stars: NDArray[np.void]  #: Of STAR_DTYPE, shape (N,), sorted by `starid`

    def __len__(self) -> int:
        return len(self.stars)

    @property
    def only_targets(self) -> bool:
        """Whether the stars are those of target pixel files, without the others in the field."""
        return self.settings.source == FROM_HEADERS

    @functools.cached_property
    def starids(self) -> NDArray[np.int64]:
        """`starid` of all stars by itself, shape (N,): a search in the field of `stars` would copy it."""
        return np.ascontiguousarray(self.stars["starid"])

    @functools.cached_property
    def positions(self) -> SkyIndex:
        """Finds stars by `ra` and `decl`."""
        return SkyIndex(self.stars["ra"], self.stars["decl"])

    def __contains__(self, starid: int) -> bool:
        i = self.starids.searchsorted(starid)
        return bool(i < len(self.starids) and self.starids[i] == starid)

    def index(self, starid: int) -> int:
        """Place of a star in `stars`.

        Raises
        ------
        InputError
            If the catalog has no such star.
        """
        i = int(self.starids.searchsorted(starid))
        if i == len(self.starids) or self.starids[i] != starid:
            raise InputError(
                f"TIC {starid} is not in {self.path}; tasoc-mpi catalog takes it from a table with the star"
            )
        return i


def write_catalog(path: str | os.PathLike[str], settings: CatalogSettings, stars: NDArray[np.void]) -> None:
    """Write a catalog file; it appears whole or not at all.

    Parameters
    ----------
    path : path-like
        An existing file is replaced.
    settings : CatalogSettings
    stars : ndarray of STAR_DTYPE
        In any order.

    Raises
    ------
    InputError
        If a star is there twice or has no position.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    stars = np.sort(np.asarray(stars, dtype=STAR_DTYPE), order="starid")
    twice = stars["starid"][1:][np.diff(stars["starid"]) == 0]
    if len(twice):
        raise InputError(f"{path}: TIC {twice[0]} is there twice; remove one of its rows from the table")
    lost = ~(np.isfinite(stars["ra"]) & np.isfinite(stars["decl"]))
    if lost.any():
        raise InputError(f"{path}: TIC {stars['starid'][lost][0]} has no position; remove it from the table")
    try:
        with replacing(path, durable=False) as temporary:
            _fill(temporary, settings, stars)
    except sqlite3.Error as error:
        raise OSError(f"{path}: cannot be written ({error}); is there room on the disk?") from None


def _fill(path: Path, settings: CatalogSettings, stars: NDArray[np.void]) -> None:
    connection = sqlite3.connect(path)
    try:
        # The file is nobody's yet: no journal is needed to undo anything.
        connection.execute("PRAGMA journal_mode = OFF")
        columns = ", ".join(f"{name} {kind}" for name, kind in _SETTINGS_COLUMNS.items())
        connection.execute(f"CREATE TABLE settings ({columns})")
        connection.execute(
            "CREATE TABLE catalog (starid INTEGER PRIMARY KEY, ra REAL NOT NULL, decl REAL NOT NULL, "
            "ra_J2000 REAL, decl_J2000 REAL, pm_ra REAL, pm_decl REAL, tmag REAL, teff REAL)"
        )
        marks = ", ".join("?" * len(_SETTINGS_COLUMNS))
        connection.execute(f"INSERT INTO settings VALUES ({marks})", astuple(settings))
        # NaN becomes NULL.
        marks = ", ".join("?" * len(stars.dtype.names or ()))
        connection.executemany(f"INSERT INTO catalog VALUES ({marks})", stars.tolist())
        connection.execute("CREATE INDEX ra_decl_idx ON catalog (ra, decl)")
        connection.commit()
    finally:
        connection.close()


def open_catalog(path: str | os.PathLike[str]) -> StarCatalog:
    """Read a catalog file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    StarCatalog

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If the file is not SQLite, is corrupt, has not the tables of a catalog, or impossible values.
    """
    path = Path(path)
    with _reading(path) as connection:
        settings = _only_settings(connection)
        cursor = connection.execute(
            f"SELECT {', '.join(STAR_DTYPE.names or ())} FROM catalog ORDER BY starid"
        )
        stars = np.fromiter(cursor, dtype=STAR_DTYPE)
    check_stars(path, stars, "remove it and run tasoc-mpi catalog")
    return StarCatalog(path, settings, stars)


def is_listed(path: str | os.PathLike[str], starid: int) -> bool:
    """Whether a catalog has a star, without reading the others; errors are those of `open_catalog`."""
    with _reading(Path(path)) as connection:
        found = connection.execute("SELECT 1 FROM catalog WHERE starid = ?", (starid,))
        return found.fetchone() is not None


def catalog_settings(path: str | os.PathLike[str]) -> CatalogSettings:
    """What a catalog was made for, without reading its stars; errors are those of `open_catalog`."""
    with _reading(Path(path)) as connection:
        return _only_settings(connection)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a catalog file, with errors that name it."""
    if not os.path.lexists(path):
        raise MissingInput(f"{path}: no such catalog; tasoc-mpi catalog makes it")
    InputFile(path).close()
    # A catalog is replaced as a whole and never changed: without locks it can be read by any number of
    # processes and from file systems that have none.
    uri = f"file:{urllib.parse.quote(os.fsencode(path.absolute()))}?mode=ro&immutable=1"
    connection = None
    try:
        connection = sqlite3.connect(uri, uri=True)
        yield connection
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{path}: cannot be read as a catalog ({one_line(error)}); remove it and run tasoc-mpi catalog"
        ) from None
    finally:
        if connection is not None:
            connection.close()


def _only_settings(connection: sqlite3.Connection) -> CatalogSettings:
    found = {row[1] for row in connection.execute("PRAGMA table_info(settings)")}
    columns = ["NULL" if name in _OWN_COLUMNS and name not in found else name for name in _SETTINGS_COLUMNS]
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM settings").fetchall()
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows of settings instead of one")
    return _settings(rows[0])


def _settings(row: tuple[Any, ...]) -> CatalogSettings:
    """The row of settings; NULL stands for numbers and words that were not known."""
    convert = {
        "int": int,
        "float": lambda x: np.nan if x is None else float(x),
        "str": lambda x: str(x or ""),
    }
    kinds = [convert[str(field.type)] for field in fields(CatalogSettings)]
    return CatalogSettings(*(kind(x) for kind, x in zip(kinds, row, strict=True)))  # type: ignore[operator]


def julian_epoch(jd: float) -> float:
    """Julian year of a Julian date (TDB).

    Examples
    --------
    >>> julian_epoch(2451545.0)
    2000.0
    """
    return 2000.0 + (jd - 2451545.0) / 365.25


def move_stars(stars: NDArray[np.void], epoch: float) -> NDArray[np.void]:
    """Stars with `ra` and `decl` moved from J2000 to another epoch by their proper motion.

    Each star goes straight through space at its tangential velocity, at a distance that does not matter.
    What parallax and radial velocity add (below 1" in 25 years for all but a few stars) is left out.

    Parameters
    ----------
    stars : ndarray of STAR_DTYPE, shape (N,)
        `ra_J2000`, `decl_J2000`, `pm_ra` and `pm_decl` are used; unknown proper motion is none.
    epoch : float
        Julian year.

    Returns
    -------
    ndarray of STAR_DTYPE, shape (N,)
        A copy with new `ra` (in [0, 360)) and `decl`.

    Examples
    --------
    >>> star = np.zeros(1, dtype=STAR_DTYPE)
    >>> star["ra_J2000"], star["decl_J2000"], star["pm_ra"] = 100.0, 60.0, 3600.0
    >>> move_stars(star, 2020.0)["ra"].round(3)
    array([100.04])
    """
    moved = stars.copy()
    angle = np.deg2rad((epoch - 2000.0) / 3.6e6)
    along, up = angle * np.nan_to_num(stars["pm_ra"]), angle * np.nan_to_num(stars["pm_decl"])
    moved["ra"], moved["decl"] = from_tangent_plane(along, up, stars["ra_J2000"], stars["decl_J2000"])
    # Rounding must not move a star that does not move.
    still = (along == 0) & (up == 0)
    moved["ra"][still], moved["decl"][still] = stars["ra_J2000"][still] % 360.0, stars["decl_J2000"][still]
    return moved


def catalog_from_tpf(tpf: TPF) -> StarCatalog:
    """The catalog that a target pixel file's header gives: its own star, and no other.

    Parameters
    ----------
    tpf : TPF

    Returns
    -------
    StarCatalog
        Its path is that of the target pixel file. The footprint is the stamp and the camera centre is
        extrapolated, or both are unknown ('' and NaN) where the file has no usable WCS.

    Raises
    ------
    InputError
        If the header names no star or no position.
    """
    starid, header = tpf.starid, tpf.header
    if starid <= 0:
        raise InputError(f"{tpf.path}: its header names no star with a position; give its CCD a catalog")
    middle = float(tpf.time[len(tpf.time) // 2])
    ccd = (tpf.sector, tpf.camera, tpf.ccd)
    return header_catalog(tpf.path, header, starid, ccd, tpf.wcs, tpf.stamp, middle)


def header_catalog(
    path: Path,
    header: Mapping[str, Any],
    starid: int,
    ccd: tuple[int, int, int],
    wcs: FrameWCS,
    stamp: tuple[int, int, int, int],
    time: float,
    frame: int = 0,
) -> StarCatalog:
    """The catalog of one star from the header of a file around it.

    Parameters
    ----------
    path : Path
        Of the file.
    header : mapping
        RA_OBJ and DEC_OBJ, and where they are known PMRA, PMDEC, TESSMAG, TEFF and TICVER.
    starid : int
        Number of the star; 0 for one that has none.
    ccd : (int, int, int)
        Sector, camera and CCD.
    wcs : FrameWCS
        Of full frame image pixels (positions are 0-based).
    stamp : (int, int, int, int)
        (row_min, row_max, col_min, col_max) of the file's pixels, half open, 0-based.
    time : float
        BJD - 2457000, of the positions.
    frame : int
        Of the world coordinates.

    Returns
    -------
    StarCatalog

    Raises
    ------
    InputError
        If the header has no position, or an impossible value.
    """
    star = np.zeros(1, dtype=STAR_DTYPE)
    star["starid"] = starid
    cards = {
        "ra_J2000": "RA_OBJ",
        "decl_J2000": "DEC_OBJ",
        "pm_ra": "PMRA",
        "pm_decl": "PMDEC",
        "tmag": "TESSMAG",
        "teff": "TEFF",
    }
    for name, card in cards.items():
        value = header.get(card)
        star[name] = np.nan if isinstance(value, bool) or not isinstance(value, (int, float)) else value
    if not (np.isfinite(star["ra_J2000"][0]) and np.isfinite(star["decl_J2000"][0])):
        raise InputError(f"{path}: its header names no star with a position; give its CCD a catalog")
    star["ra"], star["decl"] = star["ra_J2000"], star["decl_J2000"]
    if starid:
        check_stars(path, star, "fetch it again")
    reference_time = BTJD_ZERO + time
    epoch = julian_epoch(reference_time)
    centre, footprint = (np.nan, np.nan), ""
    if wcs.good[frame]:
        centre = camera_centre_sky(wcs, frame, ccd[1], ccd[2])
        footprint = footprint_text(convex_hull(stamp_outline(wcs, frame, stamp)))
    settings = CatalogSettings(
        sector=ccd[0],
        camera=ccd[1],
        ccd=ccd[2],
        ticver=str(header.get("TICVER") or ""),
        reference_time=reference_time,
        epoch=epoch,
        coord_buffer=0.0,
        camera_centre_ra=centre[0],
        camera_centre_dec=centre[1],
        footprint=footprint,
        source=FROM_HEADERS,
    )
    return StarCatalog(path, settings, move_stars(star, epoch))


def footprint_text(corners: ArrayLike) -> str:
    """The text of a footprint: corners (ra, dec) in degrees as ``"ra,dec;ra,dec;..."``.

    Examples
    --------
    >>> footprint_text([[10, -1], [12, -1], [11, 1]])
    '10.000000000,-1.000000000;12.000000000,-1.000000000;11.000000000,1.000000000'
    """
    return ";".join(f"{ra:.9f},{dec:.9f}" for ra, dec in np.asarray(corners, dtype="f8"))
