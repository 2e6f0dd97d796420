"""Measures of the quality of a light curve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.diagnostics import Diagnostics
from ..kernels.mask_touches import sides_of
from ..kernels.statistics import light_curve_numbers

__all__ = ["SIDES", "MaskSums", "edge_flux", "fill_statistics"]

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

    @property
    def centroid(self) -> NDArray[np.float64]:
        """Column and row, shape (T, 2)."""
        centroid = np.empty((len(self.column), 2))
        centroid[:, 0], centroid[:, 1] = self.column, self.row
        return centroid


def fill_statistics(
    result: Diagnostics,
    time: NDArray[np.float64],
    flux: NDArray[np.float64],
    error: NDArray[np.float64],
    centroid: NDArray[np.float64],
    good: NDArray[np.bool_],
) -> None:
    """Fill in the statistics of a light curve over its good points; see `kernels.statistics`.

    Arrays have the shape (T,), days and e-/s; the centroid (T, 2) is (column, row), 1-based.

    Raises
    ------
    ValueError
        If a flux or an error is infinite, or an error negative; if no point is good, or all good points of
        the flux or of its error are missing.

    Examples
    --------
    >>> result, n = Diagnostics(), 96
    >>> centroid = np.tile([100.5, 200.0], (n, 1))
    >>> flux = 1000.0 + (-1.0) ** np.arange(n)
    >>> fill_statistics(result, np.arange(n) / 48, flux, np.ones(n), centroid, np.ones(n, bool))
    >>> result.mean_flux, round(result.ptp, 9), result.pos_column
    (1000.0, 0.002, 100.5)
    """
    time, flux, error, centroid = [
        np.ascontiguousarray(values, dtype="f8") for values in (time, flux, error, centroid)
    ]
    infinite, negative, n_good, n_flux, n_error, numbers, position = light_curve_numbers(
        time, flux, error, centroid, good
    )
    if infinite:
        raise ValueError("the light curve or its errors hold infinite values")
    if negative:
        raise ValueError("errors of the light curve are negative")
    if not n_good:
        raise ValueError("no point of the light curve is of good quality")
    if not (n_flux and n_error):
        name = "errors of the light curve (flux_err) are" if n_flux else "light curve (flux) is"
        raise ValueError(f"the {name} all NaN")
    result.mean_flux, result.variance, result.rms_hour, result.ptp, result.variability = numbers
    result.pos_column, result.pos_row = position


def edge_flux(
    sumimage: NDArray[np.float32], mask: NDArray[np.bool_], sides: Iterable[str] = tuple(SIDES)
) -> float:
    """Flux of a mask's pixels on the sides of the stamp, in the sum image, e-/s; NaN if none is known.

    Examples
    --------
    >>> edge_flux(np.full((3, 3), 2.0, "f4"), np.eye(3, dtype=bool))
    4.0
    """
    on_sides = dict(zip(SIDES, sides_of(mask), strict=True))
    touched = [SIDES[side] for side in sides if on_sides[side]]
    if not touched:
        return 0.0
    edge = np.zeros(mask.shape, dtype=bool)
    for pixels in touched:
        edge[pixels] = True
    values = sumimage[mask & edge]
    known = values[np.isfinite(values)]
    return float(known.sum(dtype="f8")) if known.size or not values.size else float("nan")
