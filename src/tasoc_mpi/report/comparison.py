"""The comparison of two sets of light curves, star by star: numbers, text and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import TasocError
from ..core.progress import progress
from ..core.status import STATUS
from ..core.tables import counted, json_text, number, text_table
from ..worklist.listed_lightcurves import OpenPacks
from .curve_difference import DIFFERENCES, NUMBERS, curve_difference
from .curve_sources import KEY, CurveSource
from .results import read_curve

__all__ = ["Comparison", "compare_sources", "comparison_json", "comparison_text"]

#: A star that both have. NaN where a number is not known; `state` is one of `_STATES`.
STAR_DTYPE = np.dtype(
    [(name, "i8") for name in KEY]
    + [("tmag", "f8"), ("status_a", "i4"), ("status_b", "i4"), ("state", "i1"), ("same", "?")]
    + [(name, "f8") for name in (*NUMBERS, *DIFFERENCES)]
)
#: Which light curves a star has.
_STATES = ("none", "only in A", "only in B", "compared", "unreadable")
_NONE, _COMPARED, _UNREADABLE = 0, 3, 4
#: Messages of unreadable files that are kept: a folder that was moved has one for each star.
_KEPT = 1000


@dataclass(frozen=True)
class Comparison:
    """What `compare_sources` finds."""

    a: CurveSource
    b: CurveSource
    tolerance: float
    stars: NDArray[np.void]  #: Of STAR_DTYPE, the stars that both have, by TIC number
    only_a: NDArray[np.void]  #: only_a, only_b: entries of the sources that the other does not have
    only_b: NDArray[np.void]
    errors: tuple[str, ...]  #: Of files that cannot be read, up to 1,000
    unreadable: int  #: How many files cannot be read

    @property
    def same(self) -> bool:
        """Whether both have the same stars, and all of them agree within the tolerance."""
        return bool(self.stars["same"].all()) and not (
            len(self.only_a) or len(self.only_b) or self.unreadable
        )

    @property
    def compared(self) -> NDArray[np.void]:
        """The stars whose light curves were compared."""
        return self.stars[self.stars["state"] == _COMPARED]


def compare_sources(a: CurveSource, b: CurveSource, tolerance: float = 0.0) -> Comparison:
    """Compare the light curves of two sources, one star at a time.

    Parameters
    ----------
    a, b : CurveSource
        Where one of them is no work list, stars without a light curve do not count in the other.
    tolerance : float, optional
        Relative differences up to which light curves agree (`DIFFERENCES`).

    Returns
    -------
    Comparison
    """
    first, second = a.entries, b.entries
    with_status = a.has_status and b.has_status
    if not with_status:
        first, second = first[first["file"] != ""], second[second["file"] != ""]
    in_a, in_b = _common(first, second)
    stars = np.zeros(len(in_a), STAR_DTYPE)
    errors = [*a.unreadable, *b.unreadable]
    unreadable = len(errors)
    pairs = zip(stars, first[in_a], second[in_b], strict=True)
    with OpenPacks() as packs:
        for star, entry_a, entry_b in progress(pairs, len(stars), "compared", "stars"):
            found = _compare_star(star, (a, b), (entry_a, entry_b), tolerance, with_status, packs)
            unreadable += len(found)
            errors += found[: max(0, _KEPT - len(errors))]
    only_a, only_b = np.delete(first, in_a), np.delete(second, in_b)
    return Comparison(a, b, tolerance, stars, only_a, only_b, tuple(errors), unreadable)


def _common(a: NDArray[np.void], b: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the entries that have the same keys."""
    # Plain columns: a set of keys as Python objects would be gigabytes for a sector.
    every = np.concatenate([a, b])
    order = np.lexsort([every[name] for name in reversed(KEY)])
    keys = every[list(KEY)][order]
    pair = np.all([keys[name][1:] == keys[name][:-1] for name in KEY], axis=0)
    # The sort is stable, and neither has a key twice: the first of a pair is of `a`.
    return order[:-1][pair], order[1:][pair] - len(a)


def _compare_star(
    star: np.void,
    sources: tuple[CurveSource, CurveSource],
    entries: tuple[np.void, np.void],
    tolerance: float,
    with_status: bool,
    packs: OpenPacks,
) -> list[str]:
    """Fill in the row of a star; returns the errors of files that cannot be read."""
    for name in KEY:
        star[name] = entries[0][name]
    star["status_a"], star["status_b"] = (entry["status"] for entry in entries)
    star["tmag"] = next((e["tmag"] for e in entries if np.isfinite(e["tmag"])), np.nan)
    for name in (*NUMBERS, *DIFFERENCES):
        star[name] = np.nan
    same_status = not with_status or star["status_a"] == star["status_b"]
    has_a, has_b = (bool(entry["file"]) for entry in entries)
    star["state"] = has_a + 2 * has_b
    if not (has_a and has_b):
        star["same"] = same_status and star["state"] == _NONE
        return []
    curves, errors = [], []
    for source, entry in zip(sources, entries, strict=True):
        try:
            curves.append(read_curve(source.file(entry), packs.read))
        except TasocError as error:
            errors.append(str(error))
    if errors:
        star["state"] = _UNREADABLE
        return errors
    numbers = curve_difference(curves[0], curves[1], int(star["cadence"]))
    for name, value in numbers.items():
        star[name] = value
    if np.isnan(star["tmag"]):
        star["tmag"] = next((c.tmag for c in curves if np.isfinite(c.tmag)), np.nan)
    # A difference that is not known is of values that neither has.
    star["same"] = same_status and not any(numbers[name] > tolerance for name in DIFFERENCES)
    return []


def _largest(stars: NDArray[np.void]) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """The largest of the differences of each star, and its name; 0 where none is known."""
    names = list(DIFFERENCES)
    values = np.nan_to_num(np.array([stars[name] for name in names]), nan=0.0, posinf=np.inf)
    return values.max(axis=0), np.array(names)[values.argmax(axis=0)]


def _status_changes(comparison: Comparison) -> Counter[tuple[str, str]]:
    """How many stars have one status in A and another one in B."""
    if not (comparison.a.has_status and comparison.b.has_status):
        return Counter()
    stars = comparison.stars[comparison.stars["status_a"] != comparison.stars["status_b"]]
    values, counts = np.unique(stars[["status_a", "status_b"]], return_counts=True)
    return Counter(
        {(_status(a), _status(b)): int(n) for (a, b), n in zip(values.tolist(), counts, strict=True)}
    )


def _status(value: int) -> str:
    """The name of a status; its number where it has none."""
    if value == STATUS.UNKNOWN:
        return "to do"
    return STATUS(value).name if value in STATUS._value2member_map_ else str(value)


def comparison_text(comparison: Comparison, count: int = 10) -> Iterator[str]:
    """The comparison as lines of text; stars and messages are listed up to a count of each kind."""
    stars, compared = comparison.stars, comparison.compared
    for letter, source, only in (
        ("A", comparison.a, comparison.only_a),
        ("B", comparison.b, comparison.only_b),
    ):
        repeated = f", {source.repeated} of them left out for a later one" if source.repeated else ""
        kind = "row" if source.has_status else "light curve"
        yield f"{letter}: {source.path}: {counted(len(stars) + len(only), kind)}{repeated}"
    states = [int((stars["state"] == n).sum()) for n in range(len(_STATES))]
    alone = f"{len(comparison.only_a)} only in A, {len(comparison.only_b)} only in B"
    yield f"in both, by star, CCD and cadence: {len(stars)}; {alone}"
    if len(stars):
        yield "their light curves: " + ", ".join(
            f"{n} {s}" for n, s in zip(states, _STATES, strict=True) if n
        )
    yield f"agree within {comparison.tolerance:g}: {int(stars['same'].sum())} of {len(stars)}"
    for (first, second), number_of in sorted(_status_changes(comparison).items()):
        yield f"status {first} in A, {second} in B: {number_of}"
    for letter, only in (("A", comparison.only_a), ("B", comparison.only_b)):
        if len(only):
            yield f"only in {letter}: {_names(only, count)}"
    if comparison.unreadable:
        yield f"files that cannot be read: {comparison.unreadable}"
        yield from (f"  {error}" for error in comparison.errors[:count])
    if len(compared):
        yield ""
        yield from text_table(_magnitude_rows(compared))
        yield from _difference_lines(compared, count)


def _names(entries: NDArray[np.void], count: int) -> str:
    shown = [f"TIC {e['starid']} sector {e['sector']} {e['cadence']} s" for e in entries[:count]]
    more = f" and {len(entries) - count} more" if len(entries) > count else ""
    return ", ".join(shown) + more


#: Columns of the table by magnitude: head, number, decimals.
_MEDIANS = (
    ("flux B/A", "flux_ratio", 5),
    ("1-hour noise B/A", "rms_hour_ratio", 4),
    ("p-to-p noise B/A", "ptp_ratio", 4),
    ("mask A", "mask_a", 0),
    ("mask B", "mask_b", 0),
    ("common", "mask_common", 0),
    ("time, s", "time_seconds", 3),
)


def _magnitude_rows(stars: NDArray[np.void]) -> list[list[str]]:
    """Medians over the stars of each magnitude, and of all."""
    rows = [["Tmag", "stars", "agree", *(head for head, _, _ in _MEDIANS)]]
    lower = np.floor(stars["tmag"])
    groups = [(number(t), stars[np.isnan(lower) if np.isnan(t) else lower == t]) for t in np.unique(lower)]
    for title, here in [*groups, ("all", stars)]:
        cells = [number(_median(here[name]), digits) for _, name, digits in _MEDIANS]
        rows.append([title, str(len(here)), str(int(here["same"].sum())), *cells])
    return rows


def _median(values: NDArray[np.float64]) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")


def _difference_lines(stars: NDArray[np.void], count: int) -> Iterator[str]:
    """The stars whose light curves differ most."""
    largest, names = _largest(stars)
    order = [i for i in np.argsort(-largest, kind="stable")[:count] if largest[i] > 0]
    if not order:
        return
    rows = [
        ["largest differences", "sector", "CCD", "cadence", "Tmag", "relative", "in", "flux B/A", "time, s"]
    ]
    for i in order:
        star = stars[i]
        place = [star["sector"], f"{star['camera']}-{star['ccd']}", f"{star['cadence']} s"]
        numbers = [number(star["tmag"], 2), f"{largest[i]:.3g}", names[i], number(star["flux_ratio"], 5)]
        rows.append([f"TIC {star['starid']}", *map(str, place), *numbers, number(star["time_seconds"], 3)])
    yield ""
    yield from text_table(rows, left=1)
    yield from (f"  {name}: {DIFFERENCES[name]}" for name in DIFFERENCES if name in names[order])


def comparison_json(comparison: Comparison) -> Iterator[str]:
    """The comparison as lines that together are JSON; each star is a line, for there may be a million."""
    head = {
        "same": comparison.same,
        "tolerance": comparison.tolerance,
        "a": str(comparison.a.path),
        "b": str(comparison.b.path),
        "repeated_a": comparison.a.repeated,
        "repeated_b": comparison.b.repeated,
        "status_changes": [
            {"a": a, "b": b, "stars": n} for (a, b), n in sorted(_status_changes(comparison).items())
        ],
        "unreadable": comparison.unreadable,
        "errors": list(comparison.errors),
    }
    yield json_text(head).removesuffix("\n}") + ","
    with_status = comparison.a.has_status, comparison.b.has_status
    for title, rows in (("only_a", comparison.only_a), ("only_b", comparison.only_b)):
        yield from _json_list(title, ({name: row[name] for name in KEY} for row in rows), len(rows))
        yield "  ],"
    records = (_star_values(star, with_status) for star in comparison.stars)
    yield from _json_list("stars", records, len(comparison.stars))
    yield "  ]"
    yield "}"


def _json_list(title: str, records: Iterator[dict[str, Any]], count: int) -> Iterator[str]:
    """The lines of a list up to its last record."""
    yield f'  "{title}": ['
    for n, record in enumerate(records, start=1):
        yield f"    {json_text(record, indent=None)}{',' if n < count else ''}"


def _star_values(star: np.void, with_status: tuple[bool, bool]) -> dict[str, Any]:
    """All numbers of a star; differences apart from the others."""
    values: dict[str, Any] = {name: star[name] for name in (*KEY, "tmag", "same")}
    values["light_curves"] = _STATES[star["state"]]
    for name, known in zip(("status_a", "status_b"), with_status, strict=True):
        values[name] = _status(int(star[name])) if known else None
    values |= {name: star[name] for name in NUMBERS}
    values["differences"] = {name: star[name] for name in DIFFERENCES}
    return values
