"""What a page of one star shows, from the published results of a run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput, one_line
from ..worklist.failures import cause_line
from ..worklist.schema import columns_of
from ..worklist.todo_file import SQLITE_ERRORS, explain, open_todo
from .noise import expected_noise
from .results import Curve, Run, read_curve
from .star_neighbours import Neighbour, catalog_stars, corrected_flux, find_neighbours, status_word
from .star_remarks import remarks
from .star_signal import SineFit, Spectrum, fit_sine, power_spectrum, source_offset

__all__ = ["Diagnostic", "ShownCurve", "StarFacts", "collect_star"]

#: Stars of the same magnitude are within this much of it.
SAME_MAGNITUDE = 0.5
#: Light curves of one star that are drawn at most: those of all sectors of an extended mission.
_CURVES = 40
#: Diagnostics, with a factor, a unit, and the decimals that are shown.
_DIAGNOSTICS = {
    "rms_hour": ("1-hour noise", 1e6, "ppm", 1),
    "rms_hour_corr": ("1-hour noise, corrected", 1e6, "ppm", 1),
    "ptp": ("point-to-point noise", 1e6, "ppm", 1),
    "ptp_corr": ("point-to-point noise, corrected", 1e6, "ppm", 1),
    "variability": ("variability", 1.0, "", 3),
    "mean_flux": ("flux", 1.0, "e-/s", 1),
    "contamination": ("contamination", 1.0, "", 4),
    "mask_size": ("mask", 1.0, "pixels", 0),
    "edge_flux": ("flux on the stamp's edge", 1.0, "e-/s", 1),
    "stamp_width": ("width of the stamp", 1.0, "pixels", 0),
    "stamp_height": ("height of the stamp", 1.0, "pixels", 0),
    "elaptime": ("time of computation", 1e3, "ms", 2),
}


@dataclass(frozen=True)
class Diagnostic:
    """A number of a star beside those of other stars of its magnitude; NaN where it is not known."""

    name: str
    unit: str
    decimals: int
    value: float
    median: float
    low: float  #: 16th percentile
    high: float  #: 84th percentile


@dataclass(frozen=True)
class ShownCurve:
    """A light curve of a star with everything that is shown of it."""

    star: np.void  #: Of RESULT_DTYPE
    curve: Curve
    #: Relative flux less one, corrected where it is; NaN at points that are not good.
    values: NDArray[np.float64]
    corrected: bool  #: Whether `values` are corrected
    column: float  #: 0-based position of the star in the full frame image
    row: float
    has_catalog: bool  #: Whether the neighbours are those of the catalog
    spectrum: Spectrum | None
    signal: SineFit | None  #: Of the best period, in the relative flux
    offset: NDArray[np.float64]  #: Shape (2, 2), [column, row] by [offset, error] of the signal's source
    neighbours: list[Neighbour]  #: By distance
    diagnostics: list[Diagnostic]
    peers: int  #: Stars of its magnitude
    remarks: list[str]  #: What may be odd for a reason that the numbers tell

    @property
    def epoch(self) -> float:
        """Time of a minimum of the best period's sine, days; NaN where there is none."""
        if self.signal is None or self.spectrum is None:
            return float("nan")
        return self.signal.minimum(self.spectrum.period)

    @property
    def source(self) -> NDArray[np.float64]:
        """Where the source of the signal is, 0-based: shape (2, 2), [position, error] by [column, row].

        NaN where no period is significant.
        """
        if self.spectrum is None or not self.spectrum.significant:
            return np.full((2, 2), np.nan)
        centre = [self.star["pos_column"] - 1, self.star["pos_row"] - 1]
        return np.stack([centre + self.offset[:, 0], self.offset[:, 1]])

    @property
    def title(self) -> str:
        """The observation in words."""
        return f"{observation(self.star)}, {self.star['method'] or '-'}"


@dataclass(frozen=True)
class StarFacts:
    """A star with its rows of the work list and its light curves."""

    run: Run
    starid: int
    tmag: float
    rows: list[dict[str, Any]]  #: All rows of the star
    curves: list[ShownCurve]


def observation(star: np.void) -> str:
    """Sector, CCD, source and cadence of a row in words."""
    source = "full frame images" if star["datasource"] == "ffi" else "target pixel file"
    if ":" in str(star["datasource"]):
        source += f" of TIC {str(star['datasource']).partition(':')[2]}"
    return (
        f"sector {star['sector']}, camera {star['camera']}, CCD {star['ccd']}, {source}, {star['cadence']} s"
    )


def collect_star(run: Run, folder: Path, starid: int) -> StarFacts:
    """Read everything that a page of a star shows.

    Parameters
    ----------
    run : Run
        With all stars of the CCDs of the star.
    folder : Path
        The input folder, for the catalogs.
    starid : int
        TIC number.

    Raises
    ------
    MissingInput
        If the star is not in the work list or has no light curve.
    InputError
        If a file is damaged.
    """
    mine = run.stars[run.stars["starid"] == starid]
    if not len(mine):
        raise MissingInput(
            f"TIC {starid} is not in the work list {run.path}; check the number, or make the list"
            " with this star"
        )
    messages = _messages(run.path, starid)
    able = mine[mine["lightcurve"] != ""]
    if not len(able):
        why = "; ".join(
            f"{observation(star)}: {status_word(star)}"
            + (f" ({cause_line(text)})" if (text := messages.get(int(star["priority"]), "")) else "")
            for star in mine
        )
        raise MissingInput(f"TIC {starid} has no light curve in {run.path}; {one_line(why)}")
    drawn = able[:_CURVES]
    rows = [
        {
            **{
                name: star[name].item() for name in ("sector", "camera", "ccd", "cadence", "tmag", "rms_hour")
            },
            "datasource": str(star["datasource"]),
            "method": str(star["method"]),
            "status": status_word(star),
            "mask_size": float(star["mask_size"]),
            "lightcurve": str(star["lightcurve"]),
            "message": messages.get(int(star["priority"]), ""),
            "drawn": bool((drawn["priority"] == star["priority"]).any()),
        }
        for star in mine
    ]
    known = mine["tmag"][np.isfinite(mine["tmag"])]
    tmag = float(known[0]) if len(known) else float("nan")
    return StarFacts(run, starid, tmag, rows, [_show(run, folder, star) for star in drawn])


def _messages(path: Path, starid: int) -> dict[int, str]:
    """Error messages of the rows of a star, and which star skipped it, by priority."""
    with contextlib.closing(open_todo(path)) as conn:
        try:
            found: dict[int, str] = {}
            if "errors" in columns_of(conn, "diagnostics"):
                found |= conn.execute(
                    "SELECT priority, CAST(errors AS TEXT) FROM diagnostics JOIN todolist USING (priority)"
                    " WHERE starid = ? AND errors IS NOT NULL",
                    (starid,),
                ).fetchall()
            if columns_of(conn, "photometry_skipped"):
                skipped = conn.execute(
                    "SELECT s.priority, b.starid FROM photometry_skipped s JOIN todolist t USING (priority)"
                    " JOIN todolist b ON b.priority = s.skipped_by WHERE t.starid = ?",
                    (starid,),
                )
                found |= {priority: f"in the mask of TIC {other}" for priority, other in skipped}
            return found
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None


def _show(run: Run, folder: Path, star: np.void) -> ShownCurve:
    curve = read_curve(run.file(star))
    if curve.sumimage.shape != curve.mask.shape:
        raise InputError(f"{curve.path}: has no sum image of its mask; compute it again with --overwrite")
    values, corrected = corrected_flux(curve)
    spectrum = power_spectrum(curve.time, values)
    period = epoch = float("nan")
    signal, offset = None, np.full((2, 2), np.nan)
    if spectrum is not None:
        period = spectrum.period
        signal = fit_sine(curve.time, values, period)
        for axis in range(2):
            moved = np.where(curve.good, curve.centroid[:, axis], np.nan)
            fit = fit_sine(curve.time, moved, period)
            if signal is not None and fit is not None:
                offset[axis] = source_offset(signal, fit)
    if signal is not None:
        epoch = signal.minimum(period)
    catalog = catalog_stars(folder, star, curve)
    column, row = _position(star, curve, catalog)
    diagnostics, peers = _diagnostics(run, star, curve)
    return ShownCurve(
        star=star,
        curve=curve,
        values=values,
        corrected=corrected,
        column=column,
        row=row,
        has_catalog=bool(catalog),
        spectrum=spectrum,
        signal=signal,
        offset=offset,
        neighbours=find_neighbours(run, star, (column, row), catalog, period, epoch),
        diagnostics=diagnostics,
        peers=peers,
        remarks=remarks(star, curve),
    )


def _position(
    star: np.void, curve: Curve, catalog: dict[int, tuple[float, float, float]]
) -> tuple[float, float]:
    """0-based (column, row) of a star: of the catalog, else its centroid, else the middle of its mask."""
    if int(star["starid"]) in catalog:
        return catalog[int(star["starid"])][1:]
    if np.isfinite(star["pos_column"]) and np.isfinite(star["pos_row"]):
        return float(star["pos_column"]) - 1, float(star["pos_row"]) - 1
    used = np.argwhere(curve.mask if curve.mask.any() else np.ones_like(curve.mask))
    row, column = used.mean(axis=0) + curve.corner
    return float(column), float(row)


def _diagnostics(run: Run, star: np.void, curve: Curve) -> tuple[list[Diagnostic], int]:
    """The diagnostics of a star beside those of other OK stars of its magnitude, and their number."""
    stars = run.stars
    peers = run.ok & (np.abs(stars["tmag"] - star["tmag"]) < SAME_MAGNITUDE)
    peers &= (stars["cadence"] == star["cadence"]) & (stars["starid"] != star["starid"])
    # Light curves of full frame images have other stamps than those of target pixel files.
    peers &= (stars["datasource"] == "ffi") == (star["datasource"] == "ffi")
    found = []
    for name, (words, factor, unit, decimals) in _DIAGNOSTICS.items():
        values = factor * stars[name][peers]
        values = values[np.isfinite(values)]
        low, median, high = np.percentile(values, [16, 50, 84]) if values.size else (np.nan,) * 3
        found.append(Diagnostic(words, unit, decimals, factor * float(star[name]), median, low, high))
    sky = curve.flux_background[curve.good & np.isfinite(curve.flux_background)]
    if sky.size and star["mask_size"] > 0:
        level = float(np.median(sky)) / float(star["mask_size"])
        expected = 1e6 * float(expected_noise(star["tmag"], star["mask_size"], level))
        nan = float("nan")
        found.insert(1, Diagnostic("expected 1-hour noise", "ppm", 1, expected, nan, nan, nan))
    return found, int(peers.sum())
