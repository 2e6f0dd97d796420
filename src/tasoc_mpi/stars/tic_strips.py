"""The TESS Input Catalog as MAST publishes it: strips of declination, tables without a line of names."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..core.input_files import WAY_OUT, InputFile
from ..core.progress import progress
from ..core.sphere import in_polygon
from ..products.star_catalog import STAR_DTYPE
from .star_rows import numbers, usable_stars
from .star_table import choose_columns

__all__ = ["read_strips"]

_NAME = re.compile(r"tic_dec\d\d_\d\d[NS]__\d\d_\d\d[NS]\.csv(\.gz)?")
_HEADER = "header.csv"
_MOST_HEADER = 1 << 20
#: Rows that are held as words at a time: some 100 MB.
_ROWS_AT_ONCE = 20_000
#: No star is farther from its place at J2000 than this: 11" a year for 60 years (degrees).
_MOVED = 0.2


def read_strips(
    folder: Path, corners: Sequence[NDArray[np.float64]], buffer: float, tmag_max: float
) -> NDArray[np.void]:
    """Read the stars of some fields from the strips of the TIC, each once.

    Parameters
    ----------
    folder : Path
        Holds ``tic_decDD_MMX__DD_MMX.csv[.gz]``, all that reach into the fields, and ``header.csv``.
    corners : sequence of ndarray, shape (V, 2)
        (ra, dec) of the convex polygons of the fields, degrees.
    buffer : float
        Stars up to this far outside are wanted, degrees.
    tmag_max : float
        The faintest that are wanted. All stars that are wanted are held in memory (72 bytes each).

    Returns
    -------
    ndarray of STAR_DTYPE
        As `read_star_table`.

    Raises
    ------
    MissingInput
        If the folder has no strip, or not the names of the columns.
    InputError
        If a strip cannot be read.
    """
    names = _column_names(folder / _HEADER)
    strips = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    if not strips:
        raise MissingInput(
            f"{folder}: no strip of the TIC in it; tasoc-mpi download --what catalog fetches them"
        )
    chosen = choose_columns(folder / _HEADER, names)
    parts: dict[str, list[NDArray[np.float64]]] = {name: [np.zeros(0)] for name in chosen}
    for path in progress(strips, len(strips), "TIC", "strips"):
        for columns in _blocks(path, names, chosen):
            wanted = columns["tmag"] <= tmag_max
            near = np.zeros(len(wanted), dtype=bool)
            ra, dec = columns["ra_J2000"], columns["decl_J2000"]
            known = np.flatnonzero(wanted & np.isfinite(ra) & np.isfinite(dec))
            for polygon in corners:
                near[known] |= in_polygon(ra[known], dec[known], polygon, buffer + _MOVED)
            for name, values in columns.items():
                parts[name].append(values[near])
    found = {name: np.concatenate(values) for name, values in parts.items()}
    if not len(found["starid"]):
        return np.zeros(0, dtype=STAR_DTYPE)
    return usable_stars(folder, found, tmag_max)


def _column_names(path: Path) -> list[str]:
    """The names of the columns, in one line or in several."""
    try:
        with InputFile(path, _MOST_HEADER) as file:
            text = file.read().decode("ascii")
    except MissingInput:
        raise MissingInput(
            f"{path}: not there; it has the names of the columns of the TIC's strips"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a list of the TIC's columns; {WAY_OUT}") from None
    return [name.strip().strip('"') for name in text.replace("\n", ",").split(",") if name.strip()]


def _blocks(
    path: Path, names: Sequence[str], chosen: Mapping[str, str]
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """The wanted columns of a strip, some rows at a time."""
    places = [names.index(theirs) for theirs in chosen.values()]
    before = 0
    try:
        with io.TextIOWrapper(io.BufferedReader(InputFile(path), 1 << 20), "utf-8", newline="") as file:
            rows = csv.reader(file)
            while block := list(itertools.islice(rows, _ROWS_AT_ONCE)):
                for number, row in enumerate(block, before + 1):
                    if len(row) != len(names):
                        raise InputError(
                            f"{path}: {len(row)} values in row {number}, but {len(names)} columns in "
                            f"{_HEADER}; {WAY_OUT}"
                        )
                yield {
                    ours: numbers(path, ours, theirs, [row[place] for row in block], before)
                    for (ours, theirs), place in zip(chosen.items(), places, strict=True)
                }
                before += len(block)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a strip of the TIC ({error}); {WAY_OUT}") from None
