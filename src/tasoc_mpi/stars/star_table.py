"""Tables of stars, as the TESS Input Catalog (TIC) gives them, read into arrays."""

from __future__ import annotations

import csv
import functools
import io
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput, UsageError
from ..core.input_files import InputFile
from ..core.sphere import cone_centres
from ..products.fits_read import FITSReader
from ..products.star_catalog import STAR_DTYPE
from .star_rows import numbers, usable_stars

__all__ = ["choose_columns", "query_mast", "read_star_table"]

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
#: Rows of a text file that are held as words at a time: some 50 MB.
_ROWS_AT_ONCE = 100_000

#: MAST is asked for cones of this radius (degrees): an answer is then some 10,000 stars, and at most
#: 200,000 in the densest fields.
_CONE = 1.0

_FORMATS = "CSV (.csv), ECSV (.ecsv), FITS (.fits), also .gz, or parquet (.parquet)"


def read_star_table(path: str | os.PathLike[str], tmag_max: float | None = None) -> NDArray[np.void]:
    """Read a table of stars with the column names of the TIC, in any case.

    Parameters
    ----------
    path : path-like
        CSV, ECSV, parquet or FITS with the columns ID, ra, dec (J2000, degrees) and Tmag, and where known
        pmRA, pmDEC (mas/yr), Teff (K) and disposition. Others are not looked at. Empty cells are unknown.
    tmag_max : float, optional
        The faintest stars that are wanted.

    Returns
    -------
    ndarray of STAR_DTYPE
        With `ra` and `decl` at J2000. Left out, and counted in the log, are duplicates and artifacts, rows
        without a TIC number, a position or a Tmag, and repeated rows. Stars that were split stay, except
        where a star that stays lies within 2".

    Raises
    ------
    MissingInput
        If there is no such file.
    UsageError
        If its name ends in no known format.
    InputError
        If it cannot be read, lacks a column, has an impossible value (row and column are named), or rows of
        one star that differ.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path}: no such table of stars; --from takes a file, mast or headers")
    name = path.name.lower()
    for ending, reader in _READERS.items():
        if name.removesuffix(".gz").endswith(ending):
            return usable_stars(path, reader(path), tmag_max)
    raise UsageError(f"{path}: of no known format; a table of stars is {_FORMATS}")


def choose_columns(path: object, names: Iterable[str]) -> dict[str, str]:
    """From our columns to the table's; InputError names those that are missing or there twice."""
    there: dict[str, str] = {}
    twice: set[str] = set()
    for name in names:
        word = name.strip().lower()
        if word in there:
            twice.add(word)
        there.setdefault(word, name)
    chosen = {}
    for ours, theirs in _NAMES.items():
        for name in theirs:
            if name in there:
                if name in twice:
                    raise InputError(f"{path}: two columns {there[name].strip()}; remove or rename one")
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


def _read_csv(path: Path) -> dict[str, NDArray[np.float64]]:
    """Comma-separated values, by the standard library: one pass, and only the wanted columns are kept."""
    try:
        with io.TextIOWrapper(io.BufferedReader(InputFile(path)), "utf-8-sig", newline="") as file:
            rows = csv.reader(line for line in file if not line.startswith("#"))
            names = next(rows, [])
            if len(names) == 1 and " " in names[0]:
                raise InputError(f"{path}: separated by blanks; call it .ecsv if it is one, or use commas")
            chosen = choose_columns(path, names)
            places = [names.index(theirs) for theirs in chosen.values()]
            parts: list[dict[str, NDArray[np.float64]]] = []
            block: list[list[str]] = []
            count = 0
            for row in rows:
                if row:
                    count += 1
                    if len(row) != len(names) and (len(row) < len(names) or any(row[len(names) :])):
                        raise InputError(
                            f"{path}: {len(row)} values in row {count}, but {len(names)} columns; "
                            "complete or remove the row"
                        )
                    block.append([row[place] for place in places])
                if len(block) == _ROWS_AT_ONCE:
                    parts.append(_block(path, chosen, block, count - len(block)))
                    block = []
            parts.append(_block(path, chosen, block, count - len(block)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from None
    return {name: np.concatenate([part[name] for part in parts]) for name in chosen}


def _block(
    path: Path, chosen: Mapping[str, str], rows: Sequence[Sequence[str]], before: int
) -> dict[str, NDArray[np.float64]]:
    """Rows of words as columns of numbers."""
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in chosen]
    return {
        ours: numbers(path, ours, theirs, words, before)
        for (ours, theirs), words in zip(chosen.items(), columns, strict=True)
    }


def _read_fits(path: Path) -> dict[str, NDArray[np.float64]]:
    with FITSReader(path) as reader:
        # astropy takes the memory for any size, and reads as many axes as a header names.
        reader.end(reader.hdu(reader.end(reader.hdu())))
    return _read_by_astropy(path, format="fits", hdu=1)


def _read_by_astropy(path: Path, **options: Any) -> dict[str, NDArray[np.float64]]:
    import warnings
    import zlib

    from astropy.io.fits import VerifyError
    from astropy.table import Table
    from astropy.utils.exceptions import AstropyWarning

    # What astropy raises for damaged files.
    values = (ValueError, TypeError, LookupError, ArithmeticError, AssertionError, AttributeError)
    others = (OSError, EOFError, RecursionError, VerifyError, csv.Error, zlib.error)
    try:
        with warnings.catch_warnings():
            # Truncated files, types and units of other catalogs; what matters raises below.
            warnings.simplefilter("ignore", AstropyWarning)
            table = Table.read(path, **options)
    except (*values, *others) as error:
        raise _unreadable(path, error) from None
    return _from_table(path, table)


def _read_parquet(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: parquet needs pyarrow; pip install 'tasoc-mpi[parquet]'") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            chosen = choose_columns(path, file.schema_arrow.names)
            table = file.read(columns=list(chosen.values()))
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from None
    columns = {}
    for ours, theirs in chosen.items():
        column = table[theirs]
        # Integers with gaps become floats with NaN.
        numeric = pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)
        values = column.to_numpy(zero_copy_only=False) if numeric else column.to_pylist()
        columns[ours] = numbers(path, ours, theirs, values)
    return columns


#: Readers of the formats, by the end of a file's name (without .gz).
_READERS: dict[str, Callable[[Path], dict[str, NDArray[np.float64]]]] = {
    ".csv": _read_csv,
    ".ecsv": functools.partial(_read_by_astropy, format="ascii.ecsv"),
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".fits": _read_fits,
    ".fit": _read_fits,
}


def _unreadable(path: object, error: object) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{path}: cannot be read as a table of stars ({reason}); a table is {_FORMATS}")


def _from_table(path: object, table: Any) -> dict[str, NDArray[np.float64]]:
    """Columns of an astropy table, in our units."""
    from astropy import units

    columns = {}
    for ours, theirs in choose_columns(path, table.colnames).items():
        column = table[theirs]
        values: Any = column
        if column.dtype.kind in "fiu":
            # Masked arrays of integers stay integers where nothing is masked.
            masked = np.ma.getmaskarray(np.ma.asarray(column))
            values = np.asarray(np.ma.getdata(np.ma.asarray(column)))
            if masked.any():
                values = np.where(masked, np.nan, values.astype("f8"))
            if column.unit is not None and ours in _UNITS:
                try:
                    values = values * units.Unit(column.unit).to(units.Unit(_UNITS[ours]))
                except (units.UnitConversionError, ValueError, TypeError):
                    raise InputError(
                        f"{path}: {theirs} is in {column.unit} and not in a unit such as {_UNITS[ours]}"
                    ) from None
        elif column.ndim != 1 or column.dtype.kind not in "SUOb":
            raise InputError(f"{path}: column {theirs} has no single numbers or words; give it one a row")
        else:
            values = [None if np.ma.is_masked(value) else value for value in column]
        columns[ours] = numbers(path, ours, theirs, values)
    return columns


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

    centres = cone_centres(corners, buffer, _CONE)
    parts: dict[str, list[NDArray[np.float64]]] = {}
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
                parts.setdefault(name, []).append(values)
    if not parts:
        return np.zeros(0, dtype=STAR_DTYPE)
    return usable_stars("MAST", {name: np.concatenate(values) for name, values in parts.items()}, tmag_max)
