"""The stars whose light curves stand for a run: bright, faint, typical and variable ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..worklist.listed_lightcurves import OpenPacks
from .results import Run, read_curve
from .star_neighbours import corrected_flux
from .star_signal import SIGNIFICANT, fit_sine, power_spectrum
from .variables import Variable

__all__ = ["ChosenStar", "choose_stars", "find_period"]

#: Light curves of a magnitude that are searched for periods: those that vary most for their errors.
_SEARCHED = 8
#: Stars that have one period, up to the resolution, by chance or as they are in each other's masks.
_SHARED = 2
#: Cycles that a light curve has of a period: a drift has one or two.
_CYCLES = 3.0


@dataclass(frozen=True)
class ChosenStar:
    """A star for the page of light curves."""

    index: int  #: In ``run.stars``
    why: str
    period: float = float("nan")  #: Known period, days


def choose_stars(run: Run, variables: dict[int, Variable], number: int) -> list[ChosenStar]:
    """Stars for the page: the same for the same results.

    The brightest star that is OK; the brightest injected variable of each kind; a faint one; in each bin of
    one magnitude from 7 to 13 the star with the most significant period; stars of typical noise. Then the
    brightest of the rest, until there are enough.

    Parameters
    ----------
    run : Run
    variables : dict of int to Variable
        Injected variables by TIC number.
    number : int
        Of stars, at most.

    Returns
    -------
    list of ChosenStar
        Brightest first; each star once.
    """
    stars = run.stars
    able = np.flatnonzero(run.ok & (stars["lightcurve"] != "") & np.isfinite(stars["tmag"]))
    able = able[np.lexsort((stars["priority"][able], stars["tmag"][able]))]
    tmag = stars["tmag"][able]
    chosen: dict[int, ChosenStar] = {}

    def take(candidates: NDArray[np.intp], why: str, period: float = float("nan")) -> None:
        """The first candidate whose star is not there yet."""
        for i in candidates:
            starid = int(stars["starid"][i])
            if len(chosen) < number and starid not in chosen:
                chosen[starid] = ChosenStar(int(i), why, period)
                return

    take(able, "brightest")
    kinds: dict[str, tuple[int, Variable]] = {}
    for i in able[np.isin(stars["starid"][able], list(variables))]:
        variable = variables[int(stars["starid"][i])]
        kinds.setdefault(variable.kind, (int(i), variable))
    for kind in sorted(kinds):
        place, variable = kinds[kind]
        take(np.array([place]), variable.text, variable.period)
    faint = able[tmag > 14.0] if (tmag > 14.0).any() else able[-1:]
    take(_typical(faint, stars["rms_hour"]), "faint")
    for place, period in _most_variable(run, able[~np.isin(stars["starid"][able], list(variables))]):
        take(np.array([place]), "period found", period)
    for lower in range(8, 14):
        take(_typical(able[(tmag >= lower) & (tmag < lower + 1)], stars["rms_hour"]), "typical noise")
    for i in able[: 2 * number]:  # Most stars have one row.
        take(np.array([i]), "")
    return sorted(chosen.values(), key=lambda one: (stars["tmag"][one.index], stars["priority"][one.index]))


def _most_variable(run: Run, candidates: NDArray[np.intp]) -> list[tuple[int, float]]:
    """The star with the most significant period of each magnitude from 7 to 13, and the period.

    The scatter of a star in units of its errors is large where errors are too small, so it only says which
    light curves are searched. A period that several of them share is one of the spacecraft.
    """
    tmag, scatter = (run.stars[name][candidates] for name in ("tmag", "variability"))
    order = np.argsort(-np.where(np.isfinite(scatter), scatter, -1.0), kind="stable")
    found = []
    with OpenPacks() as packs:
        for lower in range(7, 13):
            here = order[(tmag[order] >= lower) & (tmag[order] < lower + 1)]
            for i in candidates[here[:_SEARCHED]]:
                curve = read_curve(run.file(run.stars[i]), packs.read)
                signal = find_period(curve.time, corrected_flux(curve)[0], SIGNIFICANT / _SEARCHED)
                if signal is not None:
                    found.append((lower, int(i), *signal, float(np.ptp(curve.time[curve.good]))))
    best: dict[int, tuple[float, int, float]] = {}
    for lower, i, period, strength, length in found:
        near = {
            run.stars["starid"][j] for _, j, other, *_ in found if abs(1 / other - 1 / period) < 1 / length
        }
        if len(near) <= _SHARED and strength > best.get(lower, (0.0,))[0]:
            best[lower] = strength, i, period
    return [(i, period) for _, i, period in best.values()]


def find_period(
    time: NDArray[np.float64], values: NDArray[np.float64], chance: float = SIGNIFICANT
) -> tuple[float, float] | None:
    """The strongest period of a light curve, unless it is noise or drift, and its amplitude over the error.

    Parameters
    ----------
    time, values : ndarray, shape (T,)
        Days, and relative flux; points that are NaN are left out.
    chance : float, optional
        Probability below which a peak is no peak of white noise.

    Returns
    -------
    (float, float) or None
        None where there is no such period with at least three cycles.
    """
    spectrum = power_spectrum(time, values)
    if spectrum is None or not spectrum.chance < chance:
        return None
    known = time[np.isfinite(values) & np.isfinite(time)]
    fit = fit_sine(time, values, spectrum.period)
    if fit is None or not fit.error > 0 or spectrum.period * _CYCLES > np.ptp(known):
        return None
    return spectrum.period, fit.amplitude / fit.error


def _typical(candidates: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Candidates in order of the distance of their value from the median."""
    known = candidates[np.isfinite(values[candidates])]
    if not len(known):
        return candidates
    distance = np.abs(values[known] - np.median(values[known]))
    return known[np.argsort(distance, kind="stable")]
