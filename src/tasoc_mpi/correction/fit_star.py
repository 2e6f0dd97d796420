"""The correction of one light curve with the vectors of its area."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from ..core.errors import InputError
from ..core.quality import CorrectorQualityFlags, TESSQualityFlags
from ..products.cbv_file import Vectors, read_vectors
from ..products.fits_bytes import CardTuple
from ..products.raw_curve import RawCurve, parse_raw_curve
from ..worklist.listed_lightcurves import read_lightcurve

__all__ = ["METHODS", "Correction", "correct"]

#: How the coefficients are found: least squares, or with a prior from neighbouring stars.
METHODS = ("cbv",)
#: Points farther from the fit than this many robust standard deviations are left out of it ...
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
        Points that the coefficients were found from.
    method : str
    area : int
        Area of the vectors.
    number, most : int
        How many vectors were subtracted, and how many there were to choose from.
    bic : float
        Bayesian information criterion of the fit.
    constant : float
        Level of the fit over the median flux.
    coefficients : ndarray, shape (number, 2)
        Of the slow and the spike part of each vector, relative flux.
    over_fitting : float
        Increase of the point-to-point scatter by the correction, relative; 0 where it did not increase.
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

    @property
    def cards(self) -> list[CardTuple]:
        """Header cards of the correction."""
        return [
            ("CBV_METH", self.method, "method of the correction"),
            ("CBV_AREA", self.area, "area of the co-trending basis vectors"),
            ("CBV_NUM", self.number, "number of vectors that were subtracted"),
            ("CBV_MAX", self.most, "number of vectors to choose from"),
            ("CBV_BIC", _known(self.bic), "Bayesian information criterion of the fit"),
            ("CBV_OVER", _known(self.over_fitting), "relative increase of point-to-point scatter"),
            ("CBV_C0", _known(self.constant), "level of the fit over the median flux"),
            *(
                card
                for k, (slow, spike) in enumerate(self.coefficients.tolist(), 1)
                for card in (
                    (f"CBV_C{k}", slow, f"coefficient of vector {k}"),
                    (f"CBV_S{k}", spike, f"coefficient of the spikes of vector {k}"),
                )
            ),
        ]


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


@dataclass(frozen=True)
class _Design:
    """Columns of the fit at the cadences of a light curve.

    Attributes
    ----------
    columns : ndarray, shape (T, P)
        A constant, and the slow part and the spikes (where it has any) of each vector in turn.
    sizes : ndarray of int, shape (K,)
        Number of columns up to each vector.
    slots : ndarray of int, shape (P - 1, 2)
        Vector and part (0 slow, 1 spikes) of each column but the first.
    good : ndarray of bool, shape (T,)
        Cadences that have vectors.
    """

    columns: NDArray[np.float64]
    sizes: NDArray[np.int64]
    slots: NDArray[np.int64]
    good: NDArray[np.bool_]


def correct(
    light_curve: RawCurve | str | os.PathLike[str],
    vectors: Vectors | str | os.PathLike[str],
    method: str = METHODS[0],
) -> Correction:
    """Subtract systematics from a light curve.

    Parameters
    ----------
    light_curve : RawCurve or path-like
        A light curve in memory, the name of a file, or ``PACK.hdf5#NAME`` for one in a pack.
    vectors : Vectors or path-like
        Those of the star's area, or the name of their file.
    method : str, optional
        One of `METHODS`.

    Returns
    -------
    Correction

    Raises
    ------
    MissingInput
        If a file is not there.
    InputError
        If one cannot be used, the vectors are of another sector, CCD or cadence, or the light curve has too
        few good points.

    Examples
    --------
    >>> correct("star.fits.gz", "cbv-s0001-c1800-a231.hdf5")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.MissingInput: star.fits.gz: no such light curve; ...
    """
    if method not in METHODS:
        raise InputError(f"{method!r} is no method of correction; the methods are {', '.join(METHODS)}")
    if isinstance(light_curve, RawCurve):
        curve = light_curve
    else:
        curve = parse_raw_curve(light_curve, read_lightcurve(light_curve))
    if not isinstance(vectors, Vectors):
        vectors = read_vectors(vectors)
    return _correct(curve, vectors, method)


def _correct(curve: RawCurve, vectors: Vectors, method: str) -> Correction:
    design = _design(curve, vectors)
    usable = (
        design.good
        & np.isfinite(curve.flux)
        & TESSQualityFlags.filter(curve.quality)
        & CorrectorQualityFlags.filter(curve.corrector_quality)
    )
    level = float(np.median(curve.flux[usable])) if usable.sum() >= FEWEST else float("nan")
    if not level > 0:
        raise InputError(
            f"TIC {curve.starid}: cannot be corrected, it has {usable.sum()} good points (at least {FEWEST} "
            f"are needed) with a median flux of {level:.6g} e-/s; its corrected flux stays NaN"
        )
    relative = curve.flux / level - 1.0
    solution, used, bic = _fit(design, relative, usable)
    fit = 1.0 + design.columns[:, : len(solution)] @ solution
    # A fit that is not positive is none.
    fit[~design.good | ~(fit > 0)] = np.nan
    flux = 1e6 * ((1.0 + relative) / fit - 1.0)
    coefficients = np.zeros((int(np.searchsorted(design.sizes, len(solution))) + 1, 2))
    for value, (vector, part) in zip(solution[1:], design.slots[: len(solution) - 1], strict=True):
        coefficients[vector, part] = value
    quality = np.where(np.isnan(fit), CorrectorQualityFlags.FlaggedBadData, 0).astype(np.int32)
    return Correction(
        flux=flux,
        flux_err=1e6 * curve.flux_err / level / fit,
        quality=quality,
        used=used,
        method=method,
        area=vectors.area,
        number=len(coefficients),
        most=len(design.sizes),
        bic=bic,
        constant=float(solution[0]),
        coefficients=coefficients,
        over_fitting=_over_fitting(relative, flux, usable),
    )


def _design(curve: RawCurve, vectors: Vectors) -> _Design:
    """Vectors at the cadences of a light curve, computed once for all stars with the same ones."""
    for name in ("sector", "camera", "ccd", "cadence"):
        if getattr(curve, name) != getattr(vectors, name):
            raise InputError(
                f"TIC {curve.starid}: its light curve is of {name} {getattr(curve, name)}, the vectors of "
                f"area {vectors.area} are of {name} {getattr(vectors, name)}; take those of its own"
            )
    key = curve.cadenceno.tobytes()
    found = vectors.designs.get(key)
    if found is None:
        found = vectors.designs[key] = _align(curve.cadenceno, vectors)
    return found


def _align(cadenceno: NDArray[np.int32], vectors: Vectors) -> _Design:
    place = np.minimum(np.searchsorted(vectors.cadenceno, cadenceno), len(vectors.cadenceno) - 1)
    good = vectors.good[place] & (vectors.cadenceno[place] == cadenceno)
    columns, sizes, slots = [good.astype(float)], [], []
    for k in range(vectors.count):
        for part, values in enumerate((vectors.slow[:, k], vectors.spikes[:, k])):
            column = np.where(good, values[place], 0.0)
            if column.any():
                columns.append(column)
                slots.append((k, part))
        sizes.append(len(columns))
    return _Design(
        np.stack(columns, axis=1), np.array(sizes), np.array(slots, dtype=np.int64).reshape(-1, 2), good
    )


def _fit(
    design: _Design, relative: NDArray[np.float64], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
    """Least squares with the number of vectors by BIC; outliers are left out until nothing changes.

    Returns
    -------
    solution : ndarray, shape (p,)
        Of the first columns.
    used : ndarray of bool, shape (T,)
    bic : float
    """
    used = usable
    for _ in range(MOST_TURNS):
        solution, bic = _least_squares(design, relative, used)
        residual = relative - design.columns[:, : len(solution)] @ solution
        spread = 1.4826 * np.median(np.abs(residual[used] - np.median(residual[used])))
        kept = usable & (np.abs(residual) <= CLIP * spread)
        if kept.sum() < FEWEST or (kept == used).all():
            break
        used = kept
    return solution, used, bic


def _least_squares(
    design: _Design, relative: NDArray[np.float64], used: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Solution with the number of vectors of the smallest BIC, and that BIC."""
    columns, values = design.columns[used], relative[used]
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
    left = values @ values - np.cumsum(projected**2)[design.sizes - 1]
    criterion = count * np.log(np.maximum(left, 1e-300) / count) + design.sizes * np.log(count)
    best = int(np.argmin(criterion))
    size = int(design.sizes[best])
    return (
        solve_triangular(lower[:size, :size], projected[:size], lower=True, trans="T"),
        float(criterion[best]),
    )


def _over_fitting(
    relative: NDArray[np.float64], corrected: NDArray[np.float64], usable: NDArray[np.bool_]
) -> float:
    """Relative increase of the median difference between neighbouring points."""
    pair = usable[1:] & usable[:-1] & np.isfinite(corrected[1:]) & np.isfinite(corrected[:-1])
    if not pair.any():
        return float("nan")
    before = 1e6 * np.median(np.abs(np.diff(relative))[pair])
    after = np.median(np.abs(np.diff(corrected))[pair])
    return float(max(0.0, after / before - 1.0)) if before > 0 else float("nan")
