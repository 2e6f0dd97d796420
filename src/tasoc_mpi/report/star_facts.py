"""What a page of one star shows, from the published results of a run."""

from __future__ import annotations

import contextlib
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput, TasocError, one_line
from ..core.names import catalog_name
from ..core.sphere import separation, unit_vectors
from ..core.status import STATUS
from ..products.star_catalog import open_catalog
from ..worklist.schema import columns_of
from ..worklist.todo_file import SQLITE_ERRORS, explain, open_todo
from .noise import expected_noise
from .results import Curve, Run, read_curve
from .star_signal import SineFit, Spectrum, fit_sine, power_spectrum, source_offset

__all__ = ["Diagnostic", "Neighbour", "ShownCurve", "StarFacts", "collect_star"]

logger = logging.getLogger(__name__)

#: Neighbours are within this distance, pixels; light curves of so many are read, of so many rows are shown.
NEAR, _READ, _SHOWN = 10.0, 25, 25
#: Stars of the same magnitude are within this much of it.
SAME_MAGNITUDE = 0.5
#: Light curves of one star that are drawn at most.
_CURVES = 4
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
class Neighbour:
    """A star near the one that is shown."""

    starid: int
    tmag: float
    column: float  #: 0-based, pixel of the full frame image
    row: float
    distance: float  #: Pixels
    status: str  #: In the work list; "-" for a star that is not in it
    signal: (
        SineFit | None
    )  #: Of the period of the shown star in its relative flux, where it has a light curve
    flux: float  #: Median of its light curve, e-/s


@dataclass(frozen=True)
class ShownCurve:
    """A light curve of a star with everything that is shown of it."""

    star: np.void  #: Of RESULT_DTYPE
    curve: Curve
    corrected: bool  #: Whether the signal is that of the corrected flux
    column: float  #: 0-based position of the star in the full frame image
    row: float
    has_catalog: bool  #: Whether the neighbours are those of the catalog
    spectrum: Spectrum | None
    signal: SineFit | None  #: Of the best period, in the relative flux
    offset: NDArray[np.float64]  #: Shape (2, 2), [column, row] by [offset, error] of the signal's source
    neighbours: list[Neighbour]  #: By distance
    diagnostics: list[Diagnostic]
    peers: int  #: Stars of its magnitude

    @property
    def values(self) -> NDArray[np.float64]:
        """Relative flux less one, corrected where it is; NaN at points that are not good."""
        flux = self.curve.corrected if self.corrected else self.curve.relative
        return np.where(self.curve.good, flux, np.nan)

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
            f"{observation(star)}: {_status(star)}"
            + (f" ({text.splitlines()[-1]})" if (text := messages.get(int(star["priority"]), "")) else "")
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
            "status": _status(star),
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


def _status(star: np.void) -> str:
    status = STATUS(int(star["status"]))
    return "to do" if status == STATUS.UNKNOWN else status.name


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
    corrected = bool(np.isfinite(curve.corrected[curve.good]).any())
    flux = np.where(curve.good, curve.corrected if corrected else curve.relative, np.nan)
    spectrum = power_spectrum(curve.time, flux)
    period = spectrum.period if spectrum is not None else float("nan")
    signal, offset = None, np.full((2, 2), np.nan)
    if spectrum is not None:
        signal = fit_sine(curve.time, flux, period)
        for axis in range(2):
            moved = np.where(curve.good, curve.centroid[:, axis], np.nan)
            fit = fit_sine(curve.time, moved, period)
            if signal is not None and fit is not None:
                offset[axis] = source_offset(signal, fit)
    catalog = _catalog_stars(folder, star, curve)
    column, row = _position(star, curve, catalog)
    diagnostics, peers = _diagnostics(run, star, curve)
    return ShownCurve(
        star=star,
        curve=curve,
        corrected=corrected,
        column=column,
        row=row,
        has_catalog=bool(catalog),
        spectrum=spectrum,
        signal=signal,
        offset=offset,
        neighbours=_neighbours(run, star, (column, row), catalog, period),
        diagnostics=diagnostics,
        peers=peers,
    )


def _catalog_stars(folder: Path, star: np.void, curve: Curve) -> dict[int, tuple[float, float, float]]:
    """TIC number to (Tmag, column, row) of the stars of the catalog around a stamp, the star among them."""
    path = folder / catalog_name(*(int(star[name]) for name in ("sector", "camera", "ccd")))
    if not path.is_file():
        return {}
    from astropy.io import fits
    from astropy.wcs import WCS

    rows, columns = curve.mask.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the form of cards that are not of the coordinates
        try:
            wcs = WCS(fits.Header.fromstring(curve.cards))
            if not wcs.has_celestial:
                return {}
            centre = wcs.all_pix2world([[(columns - 1) / 2, (rows - 1) / 2]], 0)[0]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{curve.path}: its world coordinates are damaged ({one_line(error)}); compute it again"
            ) from None
        stars = open_catalog(path).stars
        # A pixel has 21 arcseconds.
        reach = (NEAR + 0.75 * max(rows, columns)) * 21 / 3600
        apart = separation(unit_vectors(stars["ra"], stars["decl"]), unit_vectors(*centre))
        stars = stars[apart < reach]
        if not len(stars):
            return {}
        x, y = wcs.all_world2pix(stars["ra"], stars["decl"], 0, quiet=True)
    row, column = curve.corner
    return {
        int(starid): (float(tmag), float(a + column), float(b + row))
        for starid, tmag, a, b in zip(stars["starid"], stars["tmag"], x, y, strict=True)
    }


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


def _neighbours(
    run: Run,
    star: np.void,
    position: tuple[float, float],
    catalog: dict[int, tuple[float, float, float]],
    period: float,
) -> list[Neighbour]:
    """Stars of the catalog and of the work list near a star, by distance."""
    stars = run.stars
    same = np.all([stars[name] == star[name] for name in ("sector", "camera", "ccd")], axis=0)
    same &= stars["starid"] != star["starid"]
    # Of several light curves of a star that of the same cadence comes first.
    listed: dict[int, np.void] = {}
    for other in stars[same][np.argsort(stars["cadence"][same] != star["cadence"], kind="stable")]:
        if (starid := int(other["starid"])) not in listed or not listed[starid]["lightcurve"]:
            listed[starid] = other
    places = {
        starid: (float(other["tmag"]), float(other["pos_column"]) - 1, float(other["pos_row"]) - 1)
        for starid, other in listed.items()
        if starid not in catalog
    }
    found = []
    for starid, (tmag, column, row) in (places | catalog).items():
        distance = float(np.hypot(column - position[0], row - position[1]))
        if starid != int(star["starid"]) and distance <= NEAR:
            found.append((distance, starid, tmag, column, row))
    able = sorted(one for one in found if one[1] in listed and listed[one[1]]["lightcurve"])[:_READ]
    # Where there are too many, the faint ones that have no light curve are not shown.
    others = sorted((one for one in found if one not in able), key=lambda one: (not one[2] < 99, one[2]))
    shown = sorted(able + others[: max(_SHOWN - len(able), 0)])
    return [
        Neighbour(
            starid,
            tmag,
            column,
            row,
            distance,
            _status(listed[starid]) if starid in listed else "-",
            *_signal_of(run, listed.get(starid), period),
        )
        for distance, starid, tmag, column, row in shown
    ]


def _signal_of(run: Run, star: np.void | None, period: float) -> tuple[SineFit | None, float]:
    """The sine of a period in the light curve of a star, and its median flux."""
    if star is None or not star["lightcurve"] or not np.isfinite(period):
        return None, float("nan")
    try:
        curve = read_curve(run.file(star))
    except TasocError as error:
        logger.warning("%s", error)
        return None, float("nan")
    corrected = np.isfinite(curve.corrected[curve.good]).any()
    flux = np.where(curve.good, curve.corrected if corrected else curve.relative, np.nan)
    good = curve.flux[curve.good]
    return fit_sine(curve.time, flux, period), float(np.median(good)) if good.size else float("nan")


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
