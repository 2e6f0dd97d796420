"""The columns of a fit of systematics at the cadences of a light curve."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from ..core.errors import InputError
from ..core.times import DAY
from ..kernels.trend_fit import column_spans
from ..products.cbv_file import Vectors
from ..products.raw_curve import RawCurve

__all__ = ["Design", "design_of", "vectors_design"]

#: Distance of the knots of a star's own variations, days.
KNOTS = 1.0
#: Widths of the running means in which transits and flares are found, hours.
WIDTHS = (0.5, 1.0, 2.0, 4.0, 6.5)
#: Corrected light curves are compared over this time, days.
COMPARED = 0.25
#: Orbits between which vectors are not interpolated, and the longest gap that is interpolated over, days.
LONGEST_GAP = 0.1
#: Times are rounded to this for the interpolation, days.
CLOCK = 1e-5
#: Designs that are kept for the next stars.
MOST_DESIGNS = 8


@dataclass(frozen=True, eq=False)
class Design:
    """Vectors and basis functions at T cadences.

    Attributes
    ----------
    slow, spikes : ndarray, shape (T, K)
        Parts of the vectors; 0 where not `good`.
    orbit : ndarray of int32, shape (T,)
        -1 where there are no vectors.
    own : ndarray, shape (T, M)
        Cubic B-splines for a star's own slow variations.
    widths : ndarray of int64
        `WIDTHS` in points, each once.
    significant : int
        Number of the leading vectors that are more than noise.
    interpolated : bool
        Whether the vectors are of a longer cadence.
    days : ndarray, shape (T,)
        Time by the cadence numbers, from 0 on.
    bins : ndarray of int64, shape (T,)
        Number of the time over which corrected light curves are compared, from 0.
    left : ndarray, shape (2, T)
        `Vectors.left`.
    """

    slow: NDArray[np.float64]
    spikes: NDArray[np.float64]
    orbit: NDArray[np.int32]
    own: NDArray[np.float64]
    widths: NDArray[np.int64]
    significant: int
    interpolated: bool
    days: NDArray[np.float64]
    bins: NDArray[np.int64]
    left: NDArray[np.float64]

    @property
    def good(self) -> NDArray[np.bool_]:
        """Cadences with vectors."""
        return self.orbit >= 0

    @functools.cached_property
    def nested(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Columns for one vector after the other, in both orbits together.

        Returns
        -------
        columns : ndarray, shape (T, P)
            A constant, and the slow part and the spikes (where it has any) of each vector in turn.
        sizes : ndarray of int, shape (K + 1,)
            Number of columns up to each vector; the first is that without any.
        slots : ndarray of int, shape (P - 1, 2)
            Vector and part (0 slow, 1 spikes) of each column but the first.
        """
        columns, sizes, slots = [self.good.astype(float)], [1], []
        for k in range(self.slow.shape[1]):
            for part, values in enumerate((self.slow[:, k], self.spikes[:, k])):
                if values.any():
                    columns.append(values)
                    slots.append((k, part))
            sizes.append(len(columns))
        places = np.array(slots, dtype=np.int64).reshape(-1, 2)
        return np.stack(columns, axis=1), np.array(sizes), places

    @functools.cached_property
    def joint(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], int]:
        """Columns for the fit with a prior, shape (P, T), where they are not 0 (see `column_spans`), their
        normal matrix, and the number before `own`.

        A constant; the slow parts in each orbit and the spikes of the significant vectors; the star's own
        variations.
        """
        parts = [self.good.astype(float)[:, None]]
        for k in range(self.significant):
            parts += [np.where(self.orbit == g, self.slow[:, k], 0.0)[:, None] for g in self.orbits]
        parts.append(self.spikes[:, : self.significant])
        count = sum(part.shape[1] for part in parts)
        columns = np.ascontiguousarray(np.concatenate([*parts, self.own], axis=1).T)
        return columns, column_spans(columns), columns @ columns.T, count

    #: Numbers of the orbits of the vectors.
    orbits: tuple[int, ...] = (0,)


def design_of(curve: RawCurve, vectors: Vectors) -> Design:
    """The columns at the cadences of a light curve, computed once for all stars with the same ones.

    Raises
    ------
    InputError
        If the vectors are of another sector or CCD, or of a shorter cadence.
    """
    names = ("sector", "camera", "ccd")
    wrong = [name for name in names if getattr(curve, name) != getattr(vectors, name)]
    if wrong or curve.cadence > vectors.cadence:
        name = wrong[0] if wrong else "cadence"
        raise InputError(
            f"TIC {curve.starid}: its light curve is of {name} {getattr(curve, name)}, the vectors of "
            f"area {vectors.area} are of {name} {getattr(vectors, name)}; take those of its own"
        )
    clock = None if curve.cadence == vectors.cadence else _clock(curve)
    # A design depends on nothing else of a star: which star comes first makes no difference.
    key = curve.cadence, curve.cadenceno.tobytes(), b"" if clock is None else clock.tobytes()
    found = vectors.designs.get(key)
    if found is None:
        if clock is None:
            parts = _matched(curve.cadenceno, vectors)
        else:
            parts = _interpolated(clock, curve.cadence, vectors)
        if len(vectors.designs) >= MOST_DESIGNS:
            vectors.designs.clear()
        found = vectors.designs[key] = _make_design(vectors, curve.cadenceno, curve.cadence, *parts)
    return found


def _clock(curve: RawCurve) -> NDArray[np.float64]:
    """Times without the barycentric correction, days, shape (T,), equal for the stars of a CCD.

    The correction is single precision in a file, so its rounding differs between stars. What remains after
    the cadence numbers hardly changes, and rounding it removes this difference.
    """
    expected = curve.cadenceno * (curve.cadence / DAY)
    clock = expected + CLOCK * np.rint((curve.time - curve.timecorr - expected) / CLOCK)
    clock[~np.isfinite(clock)] = np.nan
    return clock


def vectors_design(vectors: Vectors) -> Design:
    """The columns at the cadences of the vectors themselves."""
    parts = vectors.slow, vectors.spikes, vectors.orbit, vectors.left
    return _make_design(vectors, vectors.cadenceno, vectors.cadence, *parts)


def _make_design(
    vectors: Vectors,
    cadenceno: NDArray[np.int32],
    cadence: int,
    slow: NDArray[np.float64],
    spikes: NDArray[np.float64],
    orbit: NDArray[np.int32],
    left: NDArray[np.float32],
) -> Design:
    days = (cadenceno - cadenceno[0]) * (cadence / DAY)
    bins = (cadenceno * (cadence / DAY) // COMPARED).astype(np.int64)
    return Design(
        slow=slow,
        spikes=spikes,
        orbit=orbit,
        own=_own(cadenceno * (cadence / DAY), orbit >= 0),
        widths=np.unique(np.rint(np.array(WIDTHS) * 3600 / cadence).astype(np.int64).clip(1)),
        significant=vectors.significant,
        interpolated=cadence != vectors.cadence,
        orbits=tuple(range(vectors.orbits)),
        days=days,
        bins=bins - bins.min(),
        left=left.astype(np.float64),
    )


def _matched(
    cadenceno: NDArray[np.int32], vectors: Vectors
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32], NDArray[np.float32]]:
    """Vectors, and what their correction leaves, by their cadence numbers."""
    place = np.minimum(np.searchsorted(vectors.cadenceno, cadenceno), len(vectors.cadenceno) - 1)
    orbit = np.where(vectors.cadenceno[place] == cadenceno, vectors.orbit[place], -1).astype(np.int32)
    good = (orbit >= 0)[:, None]
    slow, spikes = (np.where(good, values[place], 0.0) for values in (vectors.slow, vectors.spikes))
    return slow, spikes, orbit, vectors.left[:, place]


def _interpolated(
    time: NDArray[np.float64], cadence: int, vectors: Vectors
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32], NDArray[np.float32]]:
    """Vectors of a longer cadence: slow parts linear within an orbit, spikes those of the exposure."""
    known = vectors.good
    x = (vectors.time - vectors.timecorr)[known]
    right = np.clip(np.searchsorted(x, time), 1, len(x) - 1)
    left = right - 1
    nearest = np.where(np.abs(time - x[left]) < np.abs(x[right] - time), left, right)
    reach = np.abs(time - x[nearest]) <= (0.5 * vectors.cadence + 0.5 * cadence) / DAY
    numbers = vectors.orbit[known]
    gap = (numbers[left] != numbers[right]) | (x[right] - x[left] > LONGEST_GAP)
    weight = np.where(gap, (nearest == right).astype(float), (time - x[left]) / (x[right] - x[left]))
    weight = weight.clip(0.0, 1.0)[:, None]
    inside = (reach | (~gap & (time > x[left]) & (time < x[right]))) & np.isfinite(time)
    slow = vectors.slow[known]
    # A spike belongs to one long exposure, and to all short ones in it.
    spikes = np.where((reach & inside)[:, None], vectors.spikes[known][nearest], 0.0)
    mixed = np.where(inside[:, None], (1 - weight) * slow[left] + weight * slow[right], 0.0)
    orbit = np.where(inside, numbers[nearest], -1).astype(np.int32)
    return mixed, spikes, orbit, vectors.left[:, known][:, nearest]


def _own(time: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Basis functions over the good cadences, 0 at the others."""
    inside = time[good]
    first, last = (inside[0], inside[-1]) if len(inside) else (0.0, 1.0)
    pieces = max(1, round((last - first) / KNOTS))
    inner = np.linspace(first, max(last, first + 1e-6), pieces + 1)
    knots = np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])
    basis = BSpline.design_matrix(time.clip(inner[0], inner[-1]), knots, 3).toarray()
    # A function over a gap without any point would have nothing to be found from.
    basis[~good] = 0.0
    return basis[:, (basis**2).sum(axis=0) > 1.0]
