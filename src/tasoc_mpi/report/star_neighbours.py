"""The stars around one that is shown, and its signal in their light curves."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.polynomial.polynomial import polyval2d
from numpy.typing import NDArray

from ..core.errors import InputError, TasocError, one_line
from ..core.names import catalog_name
from ..core.status import STATUS
from ..products.frame_wcs import FrameWCS, wcs_problem
from ..products.star_catalog import open_catalog
from ..worklist.listed_lightcurves import OpenPacks
from .results import Curve, Run, read_curve
from .star_signal import SineFit, fit_sine, folded_medians

__all__ = [
    "NEAR",
    "Neighbour",
    "catalog_stars",
    "corrected_flux",
    "find_neighbours",
    "pixel_positions",
    "status_word",
]

logger = logging.getLogger(__name__)

#: Neighbours are within this distance, pixels; light curves of so many are read, of so many rows are shown.
NEAR, _READ, _SHOWN = 10.0, 25, 25
#: Steps in which the distortion of an image is inverted.
_STEPS = 8


@dataclass(frozen=True)
class Neighbour:
    """A star near the one that is shown."""

    starid: int
    tmag: float
    column: float  #: 0-based, pixel of the full frame image
    row: float
    distance: float  #: Pixels
    status: str  #: In the work list; "-" for a star that is not in it
    #: signal, flux, folded: of its light curve, where it was read: the period of the shown star in its
    #: relative flux; the median, e-/s; medians of the relative flux in bins of the phase.
    signal: SineFit | None = None
    flux: float = float("nan")
    folded: NDArray[np.float64] | None = None


def status_word(star: np.void) -> str:
    """The status of a row of a work list."""
    status = STATUS(int(star["status"]))
    return "to do" if status == STATUS.UNKNOWN else status.name


def corrected_flux(curve: Curve) -> tuple[NDArray[np.float64], bool]:
    """Relative flux less one, NaN at points that are not good, and whether it is the corrected one."""
    corrected = bool(np.isfinite(curve.corrected[curve.good]).any())
    return np.where(curve.good, curve.corrected if corrected else curve.relative, np.nan), corrected


def catalog_stars(folder: Path, star: np.void, curve: Curve) -> dict[int, tuple[float, float, float]]:
    """TIC number to (Tmag, column, row) of the stars of the catalog around a stamp, the star among them.

    Parameters
    ----------
    folder : Path
        The input folder.
    star : void of RESULT_DTYPE
    curve : Curve

    Returns
    -------
    dict
        Columns and rows are 0-based pixels of the full frame image; empty without a catalog of the CCD or
        world coordinates in the light curve.

    Raises
    ------
    InputError
        If the world coordinates or the catalog are damaged.
    """
    path = folder / catalog_name(*(int(star[name]) for name in ("sector", "camera", "ccd")))
    if not path.is_file() or "CTYPE1" not in curve.header:
        return {}
    row, column = curve.corner
    rows, columns = curve.mask.shape
    try:
        problem = wcs_problem(curve.header)
    except InputError as error:
        problem = one_line(error)
    if problem:
        raise InputError(f"{curve.path}: its world coordinates are damaged ({problem}); compute it again")
    wcs = FrameWCS.from_headers([curve.header], (column, row))
    stars = open_catalog(path).stars
    places = pixel_positions(wcs, stars["ra"], stars["decl"])
    away = np.abs(places - (column + (columns - 1) / 2, row + (rows - 1) / 2))
    near = (away < (NEAR + columns, NEAR + rows)).all(axis=1)
    return {
        int(starid): (float(tmag), float(x), float(y))
        for starid, tmag, (x, y) in zip(stars["starid"][near], stars["tmag"][near], places[near], strict=True)
    }


def pixel_positions(wcs: FrameWCS, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places of stars in the first frame of a WCS, as `FrameWCS.stars`, whose kernel takes a second to load.

    Parameters
    ----------
    wcs : FrameWCS
    ra, dec : ndarray, shape (N,)
        Degrees.

    Returns
    -------
    ndarray, shape (N, 2)
        0-based column and row; NaN for stars on the other half of the sky.
    """
    ra0, dec0 = np.deg2rad(wcs.crval[0])
    turn, height = np.deg2rad(ra) - ra0, np.deg2rad(dec)
    depth = np.sin(dec0) * np.sin(height) + np.cos(dec0) * np.cos(height) * np.cos(turn)
    # The gnomonic projection (Calabretta & Greisen 2002, section 5.1.3).
    depth = np.where(depth > 0, depth, np.nan)
    xi = np.cos(height) * np.sin(turn) / depth
    eta = (np.cos(dec0) * np.sin(height) - np.sin(dec0) * np.cos(height) * np.cos(turn)) / depth
    plane = np.linalg.solve(wcs.cd[0], np.rad2deg(np.stack([xi, eta])))
    # The distortion is a small part of the distance: each step divides its error by a hundred.
    place = plane.copy()
    for _ in range(_STEPS):
        u, v = place[0], place[1]
        place = plane - np.stack([polyval2d(u, v, wcs.sip_a[0]), polyval2d(u, v, wcs.sip_b[0])])
    return (place + wcs.crpix[0][:, None] - 1).T


def find_neighbours(
    run: Run,
    star: np.void,
    position: tuple[float, float],
    catalog: dict[int, tuple[float, float, float]],
    period: float,
    epoch: float,
) -> list[Neighbour]:
    """Stars of the catalog and of the work list near a star, by distance, with its signal in their light.

    Parameters
    ----------
    run : Run
    star : void of RESULT_DTYPE
    position : (float, float)
        Its 0-based column and row.
    catalog : dict
        Of `catalog_stars`.
    period, epoch : float
        Of the star's signal, days; NaN where there is none.
    """
    listed = _listed_stars(run, star)
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
    neighbours = []
    with OpenPacks() as packs:
        for distance, starid, tmag, column, row in shown:
            status = status_word(listed[starid]) if starid in listed else "-"
            one = Neighbour(starid, tmag, column, row, distance, status)
            if starid in listed and listed[starid]["lightcurve"] and np.isfinite(period):
                one = _with_signal(one, run, listed[starid], packs, period, epoch)
            neighbours.append(one)
    return neighbours


def _listed_stars(run: Run, star: np.void) -> dict[int, np.void]:
    """Rows of the other stars of a star's CCD, one of each star, by TIC number."""
    stars = run.stars
    same = np.all([stars[name] == star[name] for name in ("sector", "camera", "ccd")], axis=0)
    same &= stars["starid"] != star["starid"]
    # Of several light curves of a star that of the same cadence comes first.
    listed: dict[int, np.void] = {}
    for other in stars[same][np.argsort(stars["cadence"][same] != star["cadence"], kind="stable")]:
        if (starid := int(other["starid"])) not in listed or not listed[starid]["lightcurve"]:
            listed[starid] = other
    return listed


def _with_signal(
    one: Neighbour, run: Run, star: np.void, packs: OpenPacks, period: float, epoch: float
) -> Neighbour:
    """A neighbour with what its light curve has of a signal."""
    try:
        curve = read_curve(run.file(star), packs.read)
    except TasocError as error:
        logger.warning("%s", error)
        return one
    values, _ = corrected_flux(curve)
    good = curve.flux[curve.good]
    return replace(
        one,
        signal=fit_sine(curve.time, values, period),
        flux=float(np.median(good)) if good.size else float("nan"),
        folded=folded_medians(curve.time, values, period, epoch),
    )
