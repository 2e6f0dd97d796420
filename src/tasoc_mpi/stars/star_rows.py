"""From the columns of a table of stars to stars: numbers that are checked, and rows that are usable."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sphere import unit_vectors
from ..products.star_catalog import STAR_DTYPE
from ..products.star_values import LARGEST_STARID, LIMITS, impossible

__all__ = ["STANDS", "numbers", "usable_stars"]

logger = logging.getLogger(__name__)

#: What stands for an empty field.
_EMPTY = frozenset({"", "null", "none", "nan", "--", "n/a", "masked"})

#: A row without a disposition is a star. A duplicate or an artifact is none. A star that was split, or has a
#: disposition of another kind, is one unless a star that stays lies this close (degrees).
STANDS, _LEFT_OUT, _UNLESS_CLOSE = 0.0, 1.0, 2.0
_CLOSE = 2.0 / 3600.0
#: Words of the TIC, and the numbers that some copies of it have instead (TIC release notes; SPLIT is 8).
_DISPOSITIONS = {"0": STANDS, "duplicate": _LEFT_OUT, "6": _LEFT_OUT, "artifact": _LEFT_OUT, "7": _LEFT_OUT}


def numbers(
    path: object, ours: str, theirs: str, values: Sequence[Any] | NDArray[Any], before: int = 0
) -> NDArray[np.float64]:
    """A column as floats that are possible values of it, NaN where it is empty.

    Parameters
    ----------
    path : object
        Of the table, for messages.
    ours, theirs : str
        Our name of the column and the table's own.
    values : sequence or ndarray, shape (N,)
        Numbers, words, or None.
    before : int
        Rows of the table before these.

    Returns
    -------
    ndarray of float64, shape (N,)
        Of a disposition: whether the row is a star, see `STANDS`. Numbers of stars that are not positive
        are NaN: some tables mark stars that are not in the TIC by them.

    Raises
    ------
    InputError
        Names the row and the column of a value that is no number, or an impossible one.
    """

    def refuse(i: int, meaning: str) -> InputError:
        shown = _shown(values[i])
        place = f"row {before + i + 1}, column {theirs}"
        return InputError(f"{path}: {shown} in {place}, is not {meaning}; correct it, or remove the row")

    if ours == "disposition":
        # Nearly all are empty.
        return np.array([_disposition(x) if x != "" else STANDS for x in values], dtype="f8")
    if not isinstance(values, list) and np.ndim(values) > 1:
        raise InputError(f"{path}: column {theirs} has several values in a row; give it one")
    array, bad = _floats(values)
    if len(bad):
        raise refuse(bad[0], "a number")
    if ours == "starid":
        # Integers up to here are exact in the column's own type: float32 has those of seven digits.
        own = values.dtype if isinstance(values, np.ndarray) else np.dtype("f8")
        kept_as = own if own.kind == "f" else np.dtype("f8")
        largest = min(LARGEST_STARID, 2 ** (np.finfo(kept_as).nmant + 1) - 1)
        wrong = (array > largest) | (np.abs(array) == np.inf) | (array != np.round(array))
        wrong &= ~np.isnan(array)
        meaning = f"a TIC number, an integer up to {largest} (as {kept_as.name})"
    else:
        wrong, meaning = impossible(ours, array), LIMITS[ours].meaning
    if wrong.any():
        raise refuse(int(np.argmax(wrong)), meaning)
    return np.where(array > 0, array, np.nan) if ours == "starid" else array


def _floats(values: Sequence[Any] | NDArray[Any]) -> tuple[NDArray[np.float64], list[int]]:
    """Values as floats, and the places of those that are no numbers."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return values.astype("f8"), []
    try:
        # Most tables: words that are numbers or empty.
        if "_" not in "".join(values):
            return np.array([float(x) if x else np.nan for x in values], dtype="f8"), []
    except (TypeError, ValueError):
        pass
    out, bad = np.full(len(values), np.nan), []
    for i, value in enumerate(values):
        text = _text(value)
        if text not in _EMPTY:
            try:
                # Python's own form of numbers (1_000, True) is not that of tables.
                out[i] = float(text.replace("_", "x"))
            except ValueError:
                bad.append(i)
    return out, bad


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().lower()


def _shown(value: Any) -> str:
    """A value for a message: short, and on one line."""
    if isinstance(value, np.floating) and value == np.round(value) and abs(value) < 1e16:
        value = int(value)
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _disposition(value: Any) -> float:
    """Whether a row with a disposition is a star."""
    text = _text(value).removesuffix(".0")
    return STANDS if text in _EMPTY else _DISPOSITIONS.get(text, _UNLESS_CLOSE)


def usable_stars(
    path: object, columns: Mapping[str, NDArray[np.float64]], tmag_max: float | None = None
) -> NDArray[np.void]:
    """The stars of a table's columns.

    Parameters
    ----------
    path : object
        Of the table, for messages.
    columns : mapping of str to ndarray of float64, shape (N,)
        Each from `numbers`: starid, ra_J2000, decl_J2000, tmag and, where known, others.
    tmag_max : float, optional
        The faintest stars that are wanted.

    Returns
    -------
    ndarray of STAR_DTYPE
        Sorted by `starid`, each star once. Rows that are left out are counted in the log.

    Raises
    ------
    InputError
        If a star has several rows that differ.
    """
    n = len(columns["starid"])
    disposition = columns.get("disposition", np.full(n, STANDS))
    reasons = {
        "duplicates or artifacts": disposition == _LEFT_OUT,
        "without a TIC number": np.isnan(columns["starid"]),
        "without a position": np.isnan(columns["ra_J2000"]) | np.isnan(columns["decl_J2000"]),
        "without a Tmag": np.isnan(columns["tmag"]),
    }
    if tmag_max is not None:
        reasons[f"fainter than Tmag {tmag_max:g}"] = columns["tmag"] > tmag_max
    keep = np.ones(n, dtype=bool)
    for reason, bad in reasons.items():
        if bad[keep].any():
            logger.info("%s: %d of %d rows are left out, %s", path, np.count_nonzero(bad & keep), n, reason)
        keep &= ~bad
    stars = np.zeros(np.count_nonzero(keep), dtype=STAR_DTYPE)
    for name in STAR_DTYPE.names or ():
        source = {"ra": "ra_J2000", "decl": "decl_J2000"}.get(name, name)
        stars[name] = columns[source][keep] if source in columns else np.nan
    first = _first_rows(path, stars, np.flatnonzero(keep))
    stars, uncertain = stars[first], disposition[keep][first] == _UNLESS_CLOSE
    close = _close_to_others(stars, uncertain)
    if close.any():
        logger.info(
            '%s: %d of %d stars that were split are left out, within 2" of another star',
            path,
            np.count_nonzero(close),
            np.count_nonzero(uncertain),
        )
    return stars[~close]


def _first_rows(path: object, stars: NDArray[np.void], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Indices of each star's first row, by `starid`; `rows` are their places in the table."""
    _, first, which = np.unique(stars["starid"], return_index=True, return_inverse=True)
    if len(first) == len(stars):
        return first
    for name in STAR_DTYPE.names or ():
        values, own = stars[name], stars[name][first[which]]
        differs = (values != own) & ~(np.isnan(values) & np.isnan(own))
        if differs.any():
            i = int(np.argmax(differs))
            raise InputError(
                f"{path}: TIC {stars['starid'][i]} is in row {rows[first[which[i]]] + 1} and in row "
                f"{rows[i] + 1} with another {name} ({own[i]:.10g} and {values[i]:.10g}); remove one of them"
            )
    logger.info("%s: %d repeated rows of stars, each star is taken once", path, len(stars) - len(first))
    return first


def _close_to_others(stars: NDArray[np.void], uncertain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which uncertain stars lie close to one that stays: a certain one, or a brighter uncertain one."""
    from scipy.spatial import cKDTree

    close = np.zeros(len(stars), dtype=bool)
    if not uncertain.any():
        return close
    vectors = unit_vectors(stars["ra"], stars["decl"])
    reach = 2.0 * np.sin(np.deg2rad(_CLOSE) / 2.0)
    places = np.flatnonzero(uncertain)
    # From bright to faint, the TIC number deciding between equals: each that stays excludes its neighbours.
    places = places[np.lexsort((stars["starid"][places], stars["tmag"][places]))]
    if not uncertain.all():
        distance, _ = cKDTree(vectors[~uncertain]).query(vectors[places], distance_upper_bound=reach)
        close[places[np.isfinite(distance)]] = True
        places = places[~np.isfinite(distance)]
    if len(places):
        for i, near in enumerate(cKDTree(vectors[places]).query_ball_point(vectors[places], reach)):
            if not close[places[i]]:
                close[places[[k for k in near if k > i]]] = True
    return close
