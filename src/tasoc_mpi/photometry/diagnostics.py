"""Numbers that say how good a light curve is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels.statistics import light_curve_statistics

__all__ = ["SIDES", "Diagnostics", "MaskSums", "edge_flux", "light_curve_diagnostics"]

#: The pixels of a stamp on each of its sides, by the name that `resize_stamp` has for the side.
SIDES: dict[str, tuple[int | slice, int | slice]] = {
    "down": (0, slice(None)),
    "up": (-1, slice(None)),
    "left": (slice(None), 0),
    "right": (slice(None), -1),
}


@dataclass(frozen=True)
class MaskSums:
    """Sums over a mask in every frame, arrays of shape (T,).

    Attributes
    ----------
    flux, flux_err, background : ndarray
        e-/s.
    column, row : ndarray
        Flux-weighted centroid, CCD pixels counted from 1.
    """

    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    background: NDArray[np.float64]
    column: NDArray[np.float64]
    row: NDArray[np.float64]


@dataclass(frozen=True)
class Diagnostics:
    """Statistics of a light curve over its good points; see `kernels.statistics`."""

    mean_flux: float
    variance: float
    rms_hour: float
    ptp: float
    variability: float
    pos_column: float
    pos_row: float


def light_curve_diagnostics(
    time: NDArray[np.float64],
    flux: NDArray[np.float64],
    error: NDArray[np.float64],
    centroid: NDArray[np.float64],
    good: NDArray[np.bool_],
) -> Diagnostics:
    """Statistics of a light curve.

    Parameters
    ----------
    time, flux, error : ndarray, shape (T,)
        Days, e-/s, e-/s.
    centroid : ndarray, shape (T, 2)
        (column, row).
    good : ndarray of bool, shape (T,)
        The points to use.

    Raises
    ------
    ValueError
        If no point is good, or all good points of the flux or of its error are missing.
    """
    if not good.any():
        raise ValueError("no point of the light curve is of good quality")
    if not np.isfinite(flux[good]).any():
        raise ValueError("the light curve is all NaN")
    if not np.isfinite(error[good]).any():
        raise ValueError("the errors of the light curve are all NaN")
    mean_flux, variance, rms_hour, ptp, variability = light_curve_statistics(
        np.ascontiguousarray(time, dtype="f8"),
        np.ascontiguousarray(flux, dtype="f8"),
        np.ascontiguousarray(error, dtype="f8"),
        good,
    )
    known = good & np.isfinite(centroid).all(axis=1)
    place = np.median(centroid[known], axis=0) if known.any() else np.full(2, np.nan)
    return Diagnostics(
        mean_flux, variance, rms_hour, ptp, variability, pos_column=float(place[0]), pos_row=float(place[1])
    )


def edge_flux(
    sumimage: NDArray[np.float32], mask: NDArray[np.bool_], sides: Iterable[str] = tuple(SIDES)
) -> float:
    """Flux of a mask's pixels on the sides of the stamp, in the sum image, e-/s; NaN if none is known."""
    edge = np.zeros(mask.shape, dtype=bool)
    for side in sides:
        edge[SIDES[side]] = True
    values = sumimage[mask & edge]
    known = values[np.isfinite(values)]
    return float(known.sum(dtype="f8")) if known.size or not values.size else float("nan")
