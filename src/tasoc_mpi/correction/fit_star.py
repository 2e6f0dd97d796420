"""The correction of one light curve with the vectors of its area."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from ..core.errors import InputError
from ..core.methods import CORRECTION_METHODS as METHODS
from ..core.quality import CorrectorQualityFlags, TESSQualityFlags
from ..core.resources import one_blas_thread
from ..kernels.light_curve_pairs import binned_correlation, masked_median, median_step
from ..kernels.trend_fit import column_spans, combine, exclude_outliers, fit_trend
from ..products.cbv_file import Vectors, read_vectors
from ..products.fits_bytes import CardTuple
from ..products.raw_curve import RawCurve, parse_raw_curve
from ..worklist.listed_lightcurves import read_lightcurve
from .design import Design, design_of
from .own_periods import own_sines
from .prior import neighbour_prior

__all__ = ["CLIP", "FEWEST", "Correction", "correct", "further_columns", "good_points"]

#: Points are left out of the fit where a running mean of the residuals is farther from zero than this many
#: robust standard deviations ...
CLIP = 4.0
#: ... again and again until nothing changes, but not more often than this.
MOST_TURNS = 50
#: A light curve with fewer good points is not corrected.
FEWEST = 50


@dataclass(frozen=True)
class Correction:
    """A corrected light curve.

    Attributes
    ----------
    flux, flux_err : ndarray of float64, shape (T,)
        Relative flux less 1, and its error, ppm; NaN where there are no vectors.
    quality : ndarray of int32, shape (T,)
        Bits of `CorrectorQualityFlags` of the correction, to be added to those of the light curve.
    used : ndarray of bool, shape (T,)
        Points that the coefficients were found from. The others are no worse: they can be a transit or a
        flare, and carry no flag.
    method : str
    area : int
        Area of the vectors.
    number, most : int
        How many vectors were subtracted, and how many there were to choose from.
    bic : float
        Bayesian information criterion of the fit.
    constant : float
        Level of the fit over the median flux.
    coefficients : ndarray, shape (number,)
        Of the slow part of each vector, the mean over the orbits, relative flux.
    over_fitting : float
        Increase of the point-to-point scatter by the correction, relative; negative where it decreased.
    under_fitting : float
        Correlation of the corrected light curve with the mean corrected light curve of other stars of the
        area, over 6 hours; near 0 where nothing is left.
    """

    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    quality: NDArray[np.int32]
    used: NDArray[np.bool_]
    method: str
    area: int
    number: int
    most: int
    bic: float
    constant: float
    coefficients: NDArray[np.float64]
    over_fitting: float
    under_fitting: float

    @property
    def cards(self) -> list[CardTuple]:
        """Header cards of the correction."""
        return [
            ("CBV_METH", self.method, "method of the correction"),
            ("CBV_AREA", self.area, "area of the co-trending basis vectors"),
            ("CBV_NUM", self.number, "number of vectors that were subtracted"),
            ("CBV_MAX", self.most, "number of vectors to choose from"),
            ("CBV_BIC", _known(self.bic), "Bayesian information criterion of the fit"),
            ("CBV_OVER", _known(self.over_fitting), "relative change of point-to-point scatter"),
            ("CBV_UNDR", _known(self.under_fitting), "correlation left with other stars"),
            ("CBV_C0", _known(self.constant), "level of the fit over the median flux"),
            *(
                (f"CBV_C{k}", value, f"coefficient of vector {k}, mean of the orbits")
                for k, value in enumerate(self.coefficients.tolist(), 1)
            ),
        ]


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


@dataclass(frozen=True)
class _Fit:
    """Systematics of a light curve, relative to its level, and how they were found."""

    trend: NDArray[np.float64]
    used: NDArray[np.bool_]
    bic: float
    coefficients: NDArray[np.float64]


def correct(
    light_curve: RawCurve | str | os.PathLike[str],
    vectors: Vectors | str | os.PathLike[str],
    method: str = METHODS[0],
    further: bool = False,
) -> Correction:
    """Subtract systematics from a light curve.

    Parameters
    ----------
    light_curve : RawCurve or path-like
        A light curve in memory, the name of a file, or ``PACK.hdf5#NAME`` for one in a pack.
    vectors : Vectors or path-like
        Those of the star's area, or the name of their file.
    method : str, optional
        One of `core.methods.CORRECTION_METHODS`: ``map``, a fit with a prior from neighbouring stars, or
        ``cbv``, least squares.
    further : bool, optional
        Whether the star's own background and change of position are further vectors.

    Returns
    -------
    Correction

    Raises
    ------
    MissingInput
        If a file is not there.
    InputError
        If one cannot be used, or the vectors are of another sector, CCD or shorter cadence.

    Examples
    --------
    >>> correct("star.fits.gz", "cbv-s0001-c1800-a231.hdf5")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.MissingInput: star.fits.gz: no such light curve; ...
    """
    if method not in METHODS:
        raise InputError(f"{method!r} is no method of correction; the methods are {', '.join(METHODS)}")
    if not isinstance(light_curve, RawCurve):
        light_curve = parse_raw_curve(light_curve, read_lightcurve(light_curve))
    known = vectors if isinstance(vectors, Vectors) else read_vectors(vectors)
    with one_blas_thread():
        return _correct(light_curve, known, method, further)


def good_points(curve: RawCurve, design: Design) -> tuple[NDArray[np.bool_], float]:
    """Points that a fit may use, and their median flux (NaN where it is not positive, or of too few)."""
    usable = (
        design.good
        & np.isfinite(curve.flux)
        & TESSQualityFlags.filter(curve.quality)
        & CorrectorQualityFlags.filter(curve.corrector_quality)
    )
    level = masked_median(curve.flux, usable) if np.count_nonzero(usable) >= FEWEST else float("nan")
    return usable, level if level > 0 else float("nan")


def _correct(curve: RawCurve, vectors: Vectors, method: str, further: bool) -> Correction:
    design = design_of(curve, vectors)
    usable, level = good_points(curve, design)
    if np.isnan(level):
        raise _no_flux(curve, usable)
    relative = curve.flux / level - 1.0
    values = np.where(usable, relative, 0.0)
    extra = further_columns(curve, usable) if further else np.empty((len(values), 0))
    prior = None
    if method == "map":
        row, column = (masked_median(x, usable) for x in (curve.row, curve.column))
        prior = neighbour_prior(vectors, curve.starid, row, column, curve.tmag)
    found = (
        _least_squares(design, values, usable, extra)
        if prior is None
        else _with_prior(design, values, usable, extra, *prior)
    )
    shape = 1.0 + found.trend
    # A fit that is not positive is none.
    shape[~design.good | ~(shape > 0)] = np.nan
    ratio = (1.0 + relative) / shape
    constant = masked_median(ratio, usable & np.isfinite(ratio))
    fit = shape * constant
    flux = 1e6 * (ratio / constant - 1.0)
    seen = usable & np.isfinite(flux)
    quality = np.where(np.isnan(fit), CorrectorQualityFlags.FlaggedBadData, 0)
    if design.interpolated:
        quality = np.where(np.isnan(fit), quality, CorrectorQualityFlags.Interpolated)
    return Correction(
        flux=flux,
        flux_err=1e6 * curve.flux_err / level / fit,
        quality=quality.astype(np.int32),
        used=found.used,
        method=method if prior is not None else "cbv",
        area=vectors.area,
        number=len(found.coefficients),
        most=vectors.count if prior is None else design.significant,
        bic=found.bic,
        constant=constant,
        coefficients=found.coefficients,
        over_fitting=_over_fitting(relative, flux, seen),
        under_fitting=_under_fitting(curve, flux, seen, vectors, design),
    )


def _no_flux(curve: RawCurve, usable: NDArray[np.bool_]) -> InputError:
    middle = np.median(curve.flux[usable]) if usable.any() else np.nan
    return InputError(
        f"TIC {curve.starid}: cannot be corrected, it has {usable.sum()} good points (at least {FEWEST} "
        f"are needed) with a median flux of {middle:.6g} e-/s; its corrected flux stays NaN"
    )


def further_columns(curve: RawCurve, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Background and changes of the position of a star as columns of standard deviation 1, shape (T, F).

    Missing values, and columns that do not change, are 0 and left out.
    """
    columns = []
    for values in (curve.background, curve.column_shift, curve.row_shift):
        inside = values[usable & np.isfinite(values)]
        spread = float(np.std(inside)) if len(inside) else 0.0
        if spread > 1e-9:
            columns.append(np.where(np.isfinite(values), (values - inside.mean()) / spread, 0.0))
    return np.stack(columns, axis=1) if columns else np.empty((len(curve.flux), 0))


def _with_prior(
    design: Design,
    values: NDArray[np.float64],
    usable: NDArray[np.bool_],
    extra: NDArray[np.float64],
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> _Fit:
    """Fit with a prior beside slow variations and periods of the star itself."""
    columns, spans, normal, count = design.joint
    if extra.shape[1]:
        columns, spans, normal = _with_columns(columns, count, extra.T)
        count += extra.shape[1]
        mean, variance = _anything_more(mean, variance, extra.shape[1], values[usable])
    last = count
    for sines in (False, True):
        solution, _, used, noise = fit_trend(
            columns, spans, normal, values, usable, last, mean, variance, CLIP, design.widths, False
        )
        if sines:
            break
        rest = values - combine(columns, spans, solution, 0, len(columns))
        own = own_sines(design.days, rest, used)
        if not len(own):
            break
        columns, spans, normal = _with_columns(columns, count, own * design.good)
        last = count + len(own)
        mean, variance = _anything_more(mean, variance, len(own), values[usable])
    points = int(np.count_nonzero(used))
    orbits = len(design.orbits)
    slow = solution[1 : 1 + design.significant * orbits].reshape(design.significant, orbits)
    return _Fit(
        trend=combine(columns, spans, solution, 1, count) / (1.0 + solution[0]),
        used=used,
        bic=2 * points * math.log(noise) + last * math.log(points),
        coefficients=slow.mean(axis=1),
    )


def _anything_more(
    mean: NDArray[np.float64], variance: NDArray[np.float64], count: int, values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A prior with more coefficients, of columns that may explain all of some values, or nothing."""
    anything = float(np.var(values)) + 1e-12
    return np.append(mean, np.zeros(count)), np.append(variance, np.full(count, anything))


def _with_columns(
    columns: NDArray[np.float64], place: int, more: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Columns with more of them at a place, where they are not 0, and the normal matrix of all."""
    columns = np.concatenate([columns[:place], more, columns[place:]])
    return columns, column_spans(columns), columns @ columns.T


def _least_squares(
    design: Design, values: NDArray[np.float64], usable: NDArray[np.bool_], extra: NDArray[np.float64]
) -> _Fit:
    """Least squares with the number of vectors by BIC, beside periods of the star itself."""
    nested, sizes, slots = design.nested
    columns = np.concatenate([nested[:, :1], extra, nested[:, 1:]], axis=1) if extra.shape[1] else nested
    sizes = sizes + extra.shape[1]
    solution, bic, used = _without_outliers(columns, sizes, values, usable, design)
    own = own_sines(design.days, values - columns[:, : len(solution)] @ solution, used)
    first = 1 + len(own)
    if len(own):
        columns = np.concatenate([columns[:, :1], (own * design.good).T, columns[:, 1:]], axis=1)
        sizes = sizes + len(own)
        solution, bic, used = _without_outliers(columns, sizes, values, usable, design)
    number = int(np.searchsorted(sizes, len(solution)))
    coefficients = np.zeros(number)
    vectors = solution[first + extra.shape[1] :]
    for value, (vector, part) in zip(vectors, slots[: len(vectors)], strict=True):
        if part == 0:
            coefficients[vector] = value
    trend = columns[:, first : len(solution)] @ solution[first:] / (1.0 + solution[0])
    return _Fit(trend, used, bic, coefficients)


def _without_outliers(
    columns: NDArray[np.float64],
    sizes: NDArray[np.int64],
    values: NDArray[np.float64],
    usable: NDArray[np.bool_],
    design: Design,
) -> tuple[NDArray[np.float64], float, NDArray[np.bool_]]:
    """Solution and BIC of `_nested_solution` without outliers, and the points that are none."""
    used, kept = usable, np.empty_like(usable)
    for _ in range(MOST_TURNS):
        solution, bic = _nested_solution(columns[used], sizes, values[used])
        residual = np.where(usable, values - columns[:, : len(solution)] @ solution, 0.0)
        exclude_outliers(residual, usable, CLIP, design.widths, kept)
        if 2 * kept.sum() < usable.sum() or (kept == used).all():
            break
        used = kept.copy()
    return solution, bic, used


def _nested_solution(
    columns: NDArray[np.float64], sizes: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Solution with the number of vectors of the smallest BIC, and that BIC."""
    count = len(values)
    normal = columns.T @ columns
    # A column without any value at the used points gets no coefficient.
    normal[np.diag_indices_from(normal)] += 1e-9 * count
    try:
        lower: NDArray[Any] = cholesky(normal, lower=True)
    except LinAlgError:
        raise InputError("the vectors depend on each other; make them again with `tasoc-mpi cbv`") from None
    projected = solve_triangular(lower, columns.T @ values, lower=True)
    # Of the nested models with one, two, ... vectors.
    left = values @ values - np.cumsum(projected**2)[sizes - 1]
    criterion = count * np.log(np.maximum(left, 1e-300) / count) + sizes * np.log(count)
    best = int(np.argmin(criterion))
    size = int(sizes[best])
    return (
        solve_triangular(lower[:size, :size], projected[:size], lower=True, trans="T"),
        float(criterion[best]),
    )


def _over_fitting(
    relative: NDArray[np.float64], corrected: NDArray[np.float64], usable: NDArray[np.bool_]
) -> float:
    """Relative increase of the median difference between neighbouring points."""
    before, after = 1e6 * median_step(relative, usable), median_step(corrected, usable)
    return float(after / before - 1.0) if before > 0 else float("nan")


def _under_fitting(
    curve: RawCurve,
    corrected: NDArray[np.float64],
    usable: NDArray[np.bool_],
    vectors: Vectors,
    design: Design,
) -> float:
    """Correlation with the mean corrected light curve of the half of the stars that this one is not in."""
    (place,) = np.nonzero(vectors.starid == curve.starid)
    half = (int(place[0]) + 1) % 2 if len(place) else 0
    return float(binned_correlation(corrected, design.left[half], design.bins, usable))
