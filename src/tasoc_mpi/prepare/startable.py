"""Tables of stars, as the TESS Input Catalog (TIC) gives them, read into arrays."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingInput, UsageError
from ..products.catalog import STAR_DTYPE, stars_in_polygon, unit_vectors

__all__ = ["query_mast", "read_star_table"]

logger = logging.getLogger(__name__)

#: Names of each column in lower case; the first that a table has is taken. Those that say J2000 come
#: first; the TIC's own `ra` and `dec` are at J2000 too.
_NAMES = {
    "starid": ("id", "ticid", "tic_id", "tic", "starid"),
    "ra_J2000": ("ra_j2000", "raj2000", "ra"),
    "decl_J2000": ("decl_j2000", "dec_j2000", "dej2000", "dec", "decl"),
    "pm_ra": ("pmra", "pm_ra"),
    "pm_decl": ("pmdec", "pm_dec", "pmde", "pm_decl"),
    "tmag": ("tmag", "tessmag"),
    "teff": ("teff",),
    "disposition": ("disposition", "disp"),
}
_REQUIRED = {"starid": "ID", "ra_J2000": "ra", "decl_J2000": "dec", "tmag": "Tmag"}
_OPTIONAL = {"pm_ra": "pmRA", "pm_decl": "pmDEC", "teff": "Teff"}
_UNITS = {
    "ra_J2000": "deg",
    "decl_J2000": "deg",
    "pm_ra": "mas / yr",
    "pm_decl": "mas / yr",
    "tmag": "mag",
    "teff": "K",
}
#: What stands for an empty field.
_EMPTY = frozenset({"", "null", "none", "nan", "--", "n/a", "masked"})

#: Rows of a text file that are held as words at a time: some 50 MB.
_ROWS_AT_ONCE = 100_000

#: MAST is asked for cones of this radius (degrees): an answer is then some 10,000 stars, and at most
#: 200,000 in the densest fields.
_CONE = 1.0

_FORMATS = "CSV (.csv), ECSV (.ecsv), parquet (.parquet) or FITS (.fits), the first and the last also .gz"


def read_star_table(path: str | os.PathLike[str]) -> NDArray[np.void]:
    """Read a table of stars with the column names of the TIC, in any case.

    Parameters
    ----------
    path : path-like
        CSV, ECSV, parquet or FITS with the columns ID, ra, dec (J2000, degrees) and Tmag, and where known
        pmRA, pmDEC (mas/yr), Teff (K) and disposition. Others are not looked at.

    Returns
    -------
    ndarray of STAR_DTYPE
        With `ra` and `decl` at J2000. Left out, and counted in the log, are rows with a disposition (a
        star that is listed twice, was split, or is none), without a TIC number, a position or a Tmag, and
        repeated stars.

    Raises
    ------
    MissingInput
        If there is no such file.
    UsageError
        If its name ends in no known format.
    InputError
        If it cannot be read or lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path}: no such table of stars; --from takes a file, mast or headers")
    name = path.name.lower()
    readers: dict[str, Callable[[Path], dict[str, Any]]] = {
        ".csv": _read_csv,
        ".csv.gz": _read_csv,
        ".ecsv": _read_ecsv,
        ".parquet": _read_parquet,
        ".pq": _read_parquet,
        ".fits": _read_fits,
        ".fit": _read_fits,
        ".fits.gz": _read_fits,
    }
    for ending, reader in readers.items():
        if name.endswith(ending):
            return _stars(str(path), reader(path))
    raise UsageError(f"{path}: of no known format; a table of stars is {_FORMATS}")


def _choose(path: object, names: Iterable[str]) -> dict[str, str]:
    """From our columns to the table's; InputError names those that are missing."""
    there: dict[str, str] = {}
    for name in names:
        there.setdefault(name.strip().lower(), name)
    chosen = {}
    for ours, theirs in _NAMES.items():
        for name in theirs:
            if name in there:
                chosen[ours] = there[name]
                break
    missing = [word for ours, word in _REQUIRED.items() if ours not in chosen]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; a table of stars has ID, ra, dec, Tmag and, "
            "where known, pmRA, pmDEC, Teff, disposition, named as in the TIC"
        )
    absent = [word for ours, word in _OPTIONAL.items() if ours not in chosen]
    if absent:
        logger.warning("%s has no column %s: taken as unknown", path, ", ".join(absent))
    return chosen


def _read_csv(path: Path) -> dict[str, Any]:
    """Comma-separated values, by the standard library: one pass, and only the wanted columns are kept."""
    from isal import igzip, isal_zlib

    opener = igzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(line for line in file if not line.startswith("#"))
            names = next(rows, [])
            if len(names) == 1 and " " in names[0]:
                raise InputError(f"{path}: separated by blanks; call it .ecsv if it is one, or use commas")
            chosen = _choose(path, names)
            places = [names.index(theirs) for theirs in chosen.values()]
            parts: list[dict[str, NDArray[np.float64]]] = []
            block: list[list[str]] = []
            for row in rows:
                if row:
                    block.append([row[place] for place in places])
                if len(block) == _ROWS_AT_ONCE:
                    parts.append(_block(path, list(chosen), block, len(parts) * _ROWS_AT_ONCE))
                    block = []
            parts.append(_block(path, list(chosen), block, len(parts) * _ROWS_AT_ONCE))
    except IndexError:
        raise InputError(f"{path}: row {rows.line_num} is too short; complete or remove it") from None
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, isal_zlib.error) as error:  # type: ignore[misc]
        raise _unreadable(path, error) from None
    return {name: np.concatenate([part[name] for part in parts]) for name in chosen}


def _block(
    path: Path, names: Sequence[str], rows: Sequence[Sequence[str]], before: int
) -> dict[str, NDArray[np.float64]]:
    """Rows of words as columns of numbers; a disposition becomes 1."""
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    return {
        name: _disposed(words).astype("f8") if name == "disposition" else _numbers(path, name, words, before)
        for name, words in zip(names, columns, strict=True)
    }


def _read_ecsv(path: Path) -> dict[str, Any]:
    from astropy.table import Table

    try:
        table = Table.read(path, format="ascii.ecsv")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from None
    return _from_table(path, table)


def _read_fits(path: Path) -> dict[str, Any]:
    import warnings

    from astropy.table import Table
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings():
            # Truncated files and units of other catalogs; what matters raises below.
            warnings.simplefilter("ignore", AstropyWarning)
            table = Table.read(path, format="fits", hdu=1)
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        raise _unreadable(path, error) from None
    return _from_table(path, table)


def _read_parquet(path: Path) -> dict[str, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: parquet needs pyarrow; pip install 'tasoc-mpi[parquet]'") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            chosen = _choose(path, file.schema_arrow.names)
            table = file.read(columns=list(chosen.values()))
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from None
    columns = {}
    for ours, theirs in chosen.items():
        column = table[theirs]
        # Integers with gaps become floats with NaN; TIC numbers are far below 2**53.
        numeric = pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)
        columns[ours] = column.to_numpy(zero_copy_only=False) if numeric else column.to_pylist()
    return columns


def _unreadable(path: object, error: object) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{path}: cannot be read as a table of stars ({reason}); a table is {_FORMATS}")


def _from_table(path: object, table: Any) -> dict[str, Any]:
    """Columns of an astropy table, in our units."""
    from astropy import units

    columns = {}
    for ours, theirs in _choose(path, table.colnames).items():
        column = table[theirs]
        values: Any = column
        if column.dtype.kind in "fiu":
            values = np.ma.filled(np.ma.asarray(column, dtype="f8"), np.nan)
            if column.unit is not None and ours in _UNITS:
                try:
                    values = values * units.Unit(column.unit).to(units.Unit(_UNITS[ours]))
                except (units.UnitConversionError, ValueError, TypeError):
                    raise InputError(
                        f"{path}: {theirs} is in {column.unit} and not in a unit such as {_UNITS[ours]}"
                    ) from None
        elif np.ma.isMaskedArray(column):
            values = column.filled("")
        columns[ours] = (
            values if isinstance(values, np.ndarray) and values.dtype.kind == "f" else list(values)
        )
    return columns


def _numbers(path: object, name: str, values: Any, before: int = 0) -> NDArray[np.float64]:
    """A column as floats, NaN where it is empty; there are `before` rows before it."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return values.astype("f8")
    try:
        return np.array([float(x) if x else np.nan for x in values], dtype="f8")
    except (TypeError, ValueError):
        pass
    out = np.empty(len(values))
    for i, value in enumerate(values):
        text = _text(value)
        try:
            out[i] = np.nan if text in _EMPTY else float(text)
        except ValueError:
            raise InputError(
                f"{path}: {text!r} in row {before + i + 1}, column {name}, is not a number"
            ) from None
    return out


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().lower()


def _disposed(values: Any) -> NDArray[np.bool_]:
    """Where a star has a disposition: a word, or the number that stands for it."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return np.isfinite(values) & (values != 0)
    return np.array([bool(x) and _text(x) not in _EMPTY for x in values], dtype=bool)


def _stars(path: str, columns: Mapping[str, Any]) -> NDArray[np.void]:
    """The usable stars of a table's columns."""
    n = len(columns["starid"])
    numbers = {
        name: _numbers(path, name, values) for name, values in columns.items() if name != "disposition"
    }
    starid, dec, tmag = numbers["starid"], numbers["decl_J2000"], numbers["tmag"]
    if (np.abs(dec) > 90).any():
        raise InputError(f"{path}: a declination of {dec[np.abs(dec) > 90][0]:g}; dec is in degrees")
    reasons = {
        "with a disposition": _disposed(columns["disposition"])
        if "disposition" in columns
        else np.zeros(n, bool),
        "without a TIC number": ~(starid > 0),
        "without a position": ~(np.isfinite(numbers["ra_J2000"]) & np.isfinite(dec)),
        "without a Tmag": ~np.isfinite(tmag),
    }
    keep = np.ones(n, dtype=bool)
    for reason, bad in reasons.items():
        if bad[keep].any():
            logger.info("%s: %d of %d rows are left out, %s", path, np.count_nonzero(bad & keep), n, reason)
        keep &= ~bad
    stars = np.zeros(np.count_nonzero(keep), dtype=STAR_DTYPE)
    for name in STAR_DTYPE.names or ():
        source = {"ra": "ra_J2000", "decl": "decl_J2000"}.get(name, name)
        stars[name] = numbers[source][keep] if source in numbers else np.nan
    _, first = np.unique(stars["starid"], return_index=True)
    if len(first) < len(stars):
        logger.info("%s: %d repeated stars, the first row of each is taken", path, len(stars) - len(first))
    return stars[first]


def query_mast(corners: NDArray[np.float64], buffer: float, tmag_max: float) -> NDArray[np.void]:
    """Ask MAST for the stars of the TIC in a field, in cones of a degree.

    Parameters
    ----------
    corners : ndarray, shape (V, 2)
        (ra, dec) of the field's convex polygon, degrees.
    buffer : float
        Stars up to this far outside are wanted, degrees.
    tmag_max : float
        The faintest wanted.

    Returns
    -------
    ndarray of STAR_DTYPE
        As `read_star_table`.

    Raises
    ------
    InputError
        If astroquery is not installed or MAST does not answer.
    """
    try:
        from astroquery.exceptions import InvalidQueryError, RemoteServiceError
        from astroquery.exceptions import TimeoutError as NoAnswerError
        from astroquery.mast import Catalogs
    except ImportError:
        raise InputError(
            "--from mast needs astroquery; pip install 'tasoc-mpi[mast]', or give a table of stars"
        ) from None
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    centres = _cone_centres(corners, buffer)
    parts: dict[str, list[Any]] = {}
    for i, (ra, dec) in enumerate(centres):
        logger.info("MAST: cone %d of %d around RA %.3f, Dec %.3f", i + 1, len(centres), ra, dec)
        try:
            answer: Table = Catalogs.query_criteria(
                catalog="TIC",
                coordinates=SkyCoord(ra, dec, unit="deg"),
                radius=_CONE * units.deg,
                Tmag=[-10.0, float(tmag_max)],
            )
        except (OSError, NoAnswerError, RemoteServiceError, InvalidQueryError) as error:
            reason = " ".join(str(error).split())[:100]
            raise InputError(
                f"MAST does not answer ({reason}); try again later, or give a table of stars"
            ) from None
        if len(answer):
            for name, values in _from_table("MAST", answer).items():
                parts.setdefault(name, []).extend(list(values))
    if not parts:
        return np.zeros(0, dtype=STAR_DTYPE)
    return _stars("MAST", parts)


def _cone_centres(corners: NDArray[np.float64], buffer: float) -> NDArray[np.float64]:
    """Centres (ra, dec) of cones that together cover a polygon and its buffer, shape (K, 2)."""
    vertices = unit_vectors(*corners.T)
    centre = vertices.mean(axis=0)
    centre /= np.linalg.norm(centre)
    first = np.cross(centre, np.eye(3)[np.argmin(np.abs(centre))])
    first /= np.linalg.norm(first)
    second = np.cross(centre, first)
    reach = np.tan(np.arccos((vertices @ centre).min()) + np.deg2rad(buffer))
    # The gnomonic plane is never smaller than the sky: squares that fit in the cone there fit on the sky.
    step = np.deg2rad(_CONE) * np.sqrt(2.0) * 0.99
    count = int(np.ceil(reach / step))
    grid = np.arange(-count, count + 1) * step
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    points = centre + x[:, None] * first + y[:, None] * second
    points /= np.linalg.norm(points, axis=1)[:, None]
    ra = np.rad2deg(np.arctan2(points[:, 1], points[:, 0])) % 360.0
    dec = np.rad2deg(np.arcsin(np.clip(points[:, 2], -1.0, 1.0)))
    near = stars_in_polygon(ra, dec, corners, buffer + _CONE)
    return np.stack([ra[near], dec[near]], axis=-1)
