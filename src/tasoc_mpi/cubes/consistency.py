"""What is wrong with the headers of frames, told by comparing each frame with its neighbours.

Functions of arrays of all frames of a CCD, in the order of their names. Neighbours are the nearest eleven
frames. Their median is not moved by single frames that are wrong, nor by a step, as after a restart of the
instrument.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.sphere import separation, unit_vectors
from ..core.times import DAY
from ..models.barycentre import earth_position, light_time
from ..products.frame_wcs import FrameWCS

__all__ = ["majority", "one_a_cadence", "repaired_timecorr", "times_that_do_not_fit", "wcs_problems"]

_NEIGHBOURS = 11
#: A WCS can be inverted if it brings a pixel back to its place within this (pixels).
_ROUND_TRIP = 1e-3
#: A WCS that is farther from those of the other frames, anywhere on the CCD, is wrong (degrees). The
#: pointing within a sector varies by less than a hundredth of it.
_FARTHEST = 0.5
#: Seconds that the barycentric correction may differ from the median of its neighbours: it changes by up to
#: 8 s a day. And the same after the light time from the Earth is taken off: the light time from the Earth to
#: TESS is left, up to 1.5 s.
_TIMECORR_STEP, _TIMECORR_EXCESS = 20.0, 2.0

T = TypeVar("T", bound=Hashable)


def majority(values: Sequence[T]) -> T:
    """The most frequent value; the first of equally frequent ones.

    >>> majority([600, 1800, 1800])
    1800
    """
    counts: dict[T, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return max(counts, key=counts.__getitem__)


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the nearest frames, without NaN; NaN where there are none."""
    width = min(_NEIGHBOURS, len(values))
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    known = np.isfinite(windows).any(axis=1)
    medians = np.full(len(windows), np.nan)
    medians[known] = np.nanmedian(windows[known], axis=1)
    return medians[np.clip(np.arange(len(values)) - width // 2, 0, len(windows) - 1)]


def times_that_do_not_fit(
    mid: NDArray[np.float64], clocks: Sequence[NDArray[np.float64]], cadence: float
) -> NDArray[np.bool_]:
    """Frames whose times are over half a cadence from what their numbers or names say.

    Parameters
    ----------
    mid : ndarray, shape (T,)
        Mid times at the spacecraft, days.
    clocks : sequence of ndarray, shape (T,)
        The same by other clocks (the number of the cadence, the time stamp in the name), days, any zero; NaN
        where not known. The first one that runs like the times of most frames is used.
    cadence : float
        Seconds.

    Returns
    -------
    ndarray of bool, shape (T,)
    """
    for clock in clocks:
        offset = (mid - clock) * DAY
        known = int(np.isfinite(offset).sum())
        if not known:
            continue
        # Within a cadence: a restart of the instrument can move all that follows it.
        with np.errstate(invalid="ignore"):
            agreeing = int(np.sum(np.abs(offset - np.nanmedian(offset)) < cadence))
            if 2 * agreeing > known or known <= 2:
                return np.abs(offset - _running_median(offset)) > cadence / 2
    return np.zeros(len(mid), dtype=bool)


def repaired_timecorr(
    mid: NDArray[np.float64], timecorr: NDArray[np.float64], ra: float, dec: float
) -> NDArray[np.float64]:
    """The barycentric correction with values that cannot be true replaced.

    Parameters
    ----------
    mid : ndarray, shape (T,)
        Barycentric mid times, BJD - 2457000, days.
    timecorr : ndarray, shape (T,)
        Days; NaN where not known.
    ra, dec : float
        Direction that it is for, degrees.

    Returns
    -------
    ndarray, shape (T,)
        Where `timecorr` is not known or does not fit its neighbours, the light time from the Earth, and what
        the neighbours have beside it, interpolated; without any neighbours it is up to 1.5 s off.
    """
    with np.errstate(invalid="ignore"):
        usable = np.abs(timecorr - _running_median(timecorr)) * DAY < _TIMECORR_STEP
    index = np.arange(len(mid))
    known = np.flatnonzero(usable)
    guess = np.interp(index, known, timecorr[known]) if len(known) else np.zeros_like(mid)
    expected = guess
    # The Earth moves by 0.05 s of light in the 500 s that a first guess can be off.
    for _ in range(3):
        expected = light_time(earth_position(mid - guess), ra, dec)
        excess = np.where(usable, timecorr - expected, np.nan)
        with np.errstate(invalid="ignore"):
            usable &= np.abs(excess - _running_median(excess)) * DAY < _TIMECORR_EXCESS
        known = np.flatnonzero(usable)
        rest = np.interp(index, known, excess[known]) if len(known) else 0.0
        guess = np.where(usable, timecorr, expected + rest)
    return guess


def one_a_cadence(
    mid: NDArray[np.float64], cadence: float, rank: Callable[[int], tuple]
) -> tuple[list[int], dict[int, int]]:
    """One frame of every cadence, in order of time.

    Parameters
    ----------
    mid : ndarray, shape (T,)
        Mid times at the spacecraft, days.
    cadence : float
        Seconds. Frames less than half of it apart are of the same cadence.
    rank : callable
        Of a frame; the largest one of a cadence is taken.

    Returns
    -------
    chosen : list of int
    others : dict
        From every frame that is not taken to the one that is taken instead.
    """
    groups: list[list[int]] = []
    for t in np.argsort(mid, kind="stable").tolist():
        if groups and (mid[t] - mid[groups[-1][0]]) * DAY < cadence / 2:
            groups[-1].append(t)
        else:
            groups.append([t])
    chosen = [group[0] if len(group) == 1 else max(group, key=rank) for group in groups]
    others = {t: best for group, best in zip(groups, chosen, strict=True) for t in group if t != best}
    return chosen, others


def wcs_problems(wcs: FrameWCS, shape: tuple[int, int], origin: tuple[int, int]) -> list[str]:
    """Why the WCS of frames cannot be used, though its numbers are there.

    Parameters
    ----------
    wcs : FrameWCS
    shape : (int, int)
        Rows and columns.
    origin : (int, int)
        0-based full frame image (row, column) of the first pixel.

    Returns
    -------
    list of str
        Words for a message for each frame; empty where it can be used, or is not good anyway. It can if it
        takes the corners and the middle of the pixels to the sky and back, and to where most other frames
        have them.
    """
    height, width = shape[0] - 1, shape[1] - 1
    row = origin[0] + np.array([0, 0, height, height, height / 2])
    column = origin[1] + np.array([0, width, 0, width, width / 2])
    pixels = np.stack([column, row], axis=-1)
    problems = [""] * len(wcs)
    vectors = np.full((len(wcs), len(row), 3), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in np.flatnonzero(wcs.good).tolist():
            ra, dec = wcs.sky(column, row, t).T
            back = wcs.stars(ra, dec, t)
            if np.all(np.abs(back - pixels) < _ROUND_TRIP):
                vectors[t] = unit_vectors(ra, dec)
            else:
                problems[t] = "it cannot be inverted"
    there = np.flatnonzero(np.isfinite(vectors[:, 0, 0]))
    if not len(there):
        return problems
    distances = separation(vectors[there], np.median(vectors[there], axis=0)).max(axis=1)
    for t, distance in zip(there.tolist(), distances.tolist(), strict=True):
        if distance > _FARTHEST:
            problems[t] = f"it is {distance:.3g} degrees away from those of the other frames"
    return problems
