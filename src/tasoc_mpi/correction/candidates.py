"""The light curves of a run by areas, and which of them the vectors may be made from."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.names import parse_lightcurve_name
from ..core.status import STATUS
from ..products.packed import split_name
from ..worklist.corrections import of_version
from ..worklist.schema import columns_of
from ..worklist.todo_file import SQLITE_ERRORS, explain, open_todo
from ..worklist.unlisted_lightcurves import is_listed_name

__all__ = ["FEWEST_STARS", "Area", "areas_to_join", "digest", "quiet_stars", "read_areas"]

logger = logging.getLogger(__name__)

#: Vectors are made from at least this many stars.
FEWEST_STARS = 30
#: Stars are quiet up to this factor of the median variability ...
VARIABILITY = 1.3
#: ... of so many stars of the most similar magnitudes: bright stars show systematics that the noise of faint
#: ones hides.
SIMILAR = 101

_COLUMNS = np.dtype(
    [
        *((name, "i8") for name in ("starid", "sector", "camera", "ccd", "cadence", "area", "status")),
        *((name, "f8") for name in ("tmag", "variability", "mean_flux", "variance")),
        ("method", "U16"),
        # Names are strings of their own: in an array each would take the room of the longest.
        ("lightcurve", "O"),
    ]
)
_SELECT = (
    "SELECT starid, sector, camera, ccd, cadence, cbv_area, status, tmag, variability, mean_flux, variance,"
    " method_used, lightcurve FROM todolist JOIN diagnostics USING (priority) WHERE lightcurve IS NOT NULL"
    " AND cbv_area IS NOT NULL ORDER BY priority"
)
#: Rows that are in memory as Python's objects at once.
_ROWS_AT_ONCE = 100_000
_UNFINISHED = "SELECT DISTINCT sector, camera, ccd, cadence, cbv_area FROM todolist WHERE status IS NULL"


@dataclass(frozen=True)
class Area:
    """The light curves of an area of a CCD at one cadence.

    Attributes
    ----------
    sector, camera, ccd, cadence, number : int
        `number` is `cbv_area` of the work list.
    stars : ndarray
        With the fields starid, tmag, variability, status, method, lightcurve ..., in order of priority.
    unfinished : bool
        Whether stars of the area are still to be computed.
    """

    sector: int
    camera: int
    ccd: int
    cadence: int
    number: int
    stars: NDArray[np.void]
    unfinished: bool


def read_areas(todo: Path, version: int | None = None) -> list[Area]:
    """The areas of a work list that have light curves, sorted.

    Parameters
    ----------
    todo : Path
        The work list.
    version : int, optional
        Of the light curves; by default there may be only one.

    Raises
    ------
    MissingInput, InputError
        If the work list is not there, cannot be used, or lists light curves of several versions or of others.
    """
    with contextlib.closing(open_todo(todo)) as conn:
        try:
            if not columns_of(conn, "diagnostics"):
                raise InputError(f"{todo}: has no results; compute them with `tasoc-mpi run`")
            conn.execute("BEGIN")
            stars = _read_stars(todo, conn)
            unfinished = set(conn.execute(_UNFINISHED).fetchall())
        except SQLITE_ERRORS as error:
            raise explain(todo, error) from None
    if not len(stars):
        raise InputError(f"{todo}: lists no light curves with an area; compute them with `tasoc-mpi run`")
    if not all(map(is_listed_name, stars["lightcurve"].tolist())):
        raise InputError(f"{todo}: lists a name that is not that of a light curve; run `tasoc-mpi publish`")
    names = (parse_lightcurve_name(split_name(name)[1]) for name in stars["lightcurve"].tolist())
    # Vectors of two versions would mix two ways to choose pixels.
    stars = stars[of_version(todo, np.array([-1 if n is None else n["version"] for n in names]), version)]
    fields = ("sector", "camera", "ccd", "cadence", "area")
    keys, which = np.unique(np.stack([stars[name] for name in fields], axis=1), axis=0, return_inverse=True)
    out = []
    for place, key in enumerate(map(tuple, keys.tolist())):
        if not (0 < key[4] < 1000 and 0 < key[3] < 100_000):
            raise InputError(f"{todo}: area {key[4]} at {key[3]} s is none; make it with `tasoc-mpi todo`")
        own = stars[which.reshape(-1) == place]
        # A star can have several light curves, of its own and of another star's target pixel file.
        _, first = np.unique(own["starid"], return_index=True)
        sector, camera, ccd, cadence, number = key
        own = own[np.sort(first)]
        out.append(Area(sector, camera, ccd, cadence, number, own, key in unfinished))
    return out


def _read_stars(todo: Path, conn: sqlite3.Connection) -> NDArray[np.void]:
    """The stars of all areas."""
    blocks, rows = [np.zeros(0, _COLUMNS)], conn.execute(_SELECT)
    while some := rows.fetchmany(_ROWS_AT_ONCE):
        known = [tuple(np.nan if x is None else x for x in row) for row in some]
        try:
            blocks.append(np.array(known, _COLUMNS))
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{todo}: a value is of the wrong kind ({error}); restore a copy") from None
    return np.concatenate(blocks)


def areas_to_join(area: Area, areas: list[Area]) -> list[Area]:
    """The other areas of the CCD, the closest to the camera's centre first of those equally near."""
    same = [
        other
        for other in areas
        if other.number != area.number
        and (other.sector, other.camera, other.ccd, other.cadence)
        == (area.sector, area.camera, area.ccd, area.cadence)
    ]
    return sorted(same, key=lambda other: (abs(other.number - area.number), other.number))


def quiet_stars(stars: NDArray[np.void]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Stars that vectors may be made from.

    Returns
    -------
    eligible : ndarray of bool, shape (N,)
        Status OK, of the method of most stars, with a variability.
    quiet : ndarray of bool, shape (N,)
        Those of them with a variability below `VARIABILITY` times the median of similar magnitudes.
    """
    eligible = (stars["status"] == STATUS.OK) & np.isfinite(stars["variability"])
    if eligible.any():
        methods, counts = np.unique(stars["method"][eligible], return_counts=True)
        eligible &= stars["method"] == methods[np.argmax(counts)]
    quiet = np.zeros(len(stars), dtype=bool)
    (chosen,) = np.nonzero(eligible)
    # Unknown magnitudes last.
    order = chosen[np.argsort(stars["tmag"][chosen], kind="stable")]
    values = stars["variability"][order]
    half = SIMILAR // 2
    for i, star in enumerate(order.tolist()):
        first = max(0, min(i - half, len(values) - SIMILAR))
        quiet[star] = values[i] < VARIABILITY * np.median(values[first : first + SIMILAR])
    return eligible, quiet


def digest(areas: list[Area]) -> str:
    """A digest of everything in the work list that vectors depend on; not of which packs hold the stars."""
    total = hashlib.sha256()
    for area in areas:
        total.update(repr((area.number, area.cadence)).encode())
        for name in _COLUMNS.names or ():
            values = area.stars[name]
            if name == "lightcurve":
                values = np.array([split_name(listed)[1] for listed in values.tolist()])
            total.update(values.tobytes())
    return total.hexdigest()
