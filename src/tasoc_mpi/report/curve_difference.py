"""How two light curves of one star differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.statistics import light_curve_statistics
from .results import Curve

__all__ = ["DIFFERENCES", "NUMBERS", "curve_difference"]

#: Relative differences that have to be within the tolerance, and what they are.
DIFFERENCES = {
    "flux": "largest difference of the flux, relative to the median of A's",
    "flux_err": "largest difference of the flux's error, relative to the median of A's",
    "flux_background": "largest difference of the background, relative to the median of A's",
    "corrected": "largest difference of the corrected relative flux",
    "time": "largest difference of the time, relative to the cadence",
    "cadences": "share of the cadences that only one has",
    "missing": "share of the common cadences at which only one has a value",
    "flags": "share of the common cadences whose flags differ",
    "mask": "share of the pixels of the masks that only one has",
}
#: Other numbers; `_a` and `_b` of each light curve, noise at the common good points.
NUMBERS = (
    "flux_ratio",  # Median of B / A at the common good points
    *("rms_hour_a", "rms_hour_b", "rms_hour_ratio", "ptp_a", "ptp_b", "ptp_ratio"),
    *("mask_a", "mask_b", "mask_common"),  # Pixels
    *("cadences_a", "cadences_b", "cadences_common"),
    "time_seconds",  # Largest difference
)
_COLUMNS = ("flux", "flux_err", "flux_background")
_SIDE = 100_000


def curve_difference(a: Curve, b: Curve, cadence: int) -> dict[str, float]:
    """Compare two light curves of one star, cadence by cadence.

    Parameters
    ----------
    a, b : Curve
    cadence : int
        Seconds.

    Returns
    -------
    dict of str to float
        The keys of `DIFFERENCES`, NaN where neither has the values, and `NUMBERS`. Differences are over all
        common cadences, flagged ones too; ratios and noise over those that are good in both.
    """
    _, in_a, in_b = np.intersect1d(a.cadenceno, b.cadenceno, return_indices=True)
    common = len(in_a)
    every = len(a.cadenceno) + len(b.cadenceno) - common
    result: dict[str, float] = {
        "cadences_a": len(a.cadenceno),
        "cadences_b": len(b.cadenceno),
        "cadences_common": common,
        "cadences": 1 - common / every if every else 0.0,
    }
    missing = np.zeros(common, bool)
    pairs = {name: (getattr(a, name)[in_a], getattr(b, name)[in_b]) for name in ("time", *_COLUMNS)}
    for name, (first, second) in pairs.items():
        missing |= np.isfinite(first) != np.isfinite(second)
        if name != "time":
            result[name] = _relative(_largest(first, second), first)
    days = _largest(*pairs["time"])
    result["time"], result["time_seconds"] = days * 86400 / cadence, days * 86400
    flags = a.quality[in_a] != b.quality[in_b]
    result["corrected"] = math.nan
    if not (a.is_missions or b.is_missions):
        first, second = a.corrected[in_a], b.corrected[in_b]
        missing |= np.isfinite(first) != np.isfinite(second)
        result["corrected"] = _largest(first, second)
        flags |= a.corrector_quality[in_a] != b.corrector_quality[in_b]
    result["missing"] = float(missing.mean()) if common else math.nan
    result["flags"] = float(flags.mean()) if common else math.nan
    return result | _mask_difference(a, b) | _ratios(a, b, in_a, in_b)


def _largest(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest absolute difference where both are finite; NaN where they never are."""
    known = np.isfinite(a) & np.isfinite(b)
    # Values near the limits of numbers, of a damaged file.
    with np.errstate(over="ignore"):
        return float(np.abs(b[known] - a[known]).max()) if known.any() else math.nan


def _relative(difference: float, values: NDArray[np.float64]) -> float:
    """A difference relative to the median of the absolute values; infinite where that is zero."""
    if not difference > 0:
        return difference
    known = np.abs(values[np.isfinite(values)])
    scale = float(np.median(known))
    return difference / scale if scale else math.inf


def _mask_difference(a: Curve, b: Curve) -> dict[str, float]:
    """Sizes of the masks, and what they have in common, by pixels of the full frame image."""
    first, second = (_pixels(curve) for curve in (a, b))
    common = len(np.intersect1d(first, second, assume_unique=True))
    every = len(first) + len(second) - common
    return {
        "mask_a": len(first),
        "mask_b": len(second),
        "mask_common": common,
        "mask": 1 - common / every if every else math.nan,
    }


def _pixels(curve: Curve) -> NDArray[np.int64]:
    """Numbers of the pixels of a mask, the same for one pixel of the full frame image in any stamp."""
    rows, columns = np.nonzero(curve.mask)
    return (rows + curve.corner[0]) * _SIDE + columns + curve.corner[1]


def _ratios(a: Curve, b: Curve, in_a: NDArray[Any], in_b: NDArray[Any]) -> dict[str, float]:
    """Ratios of flux and of noise over the cadences that are good in both."""
    good = a.good[in_a] & b.good[in_b]
    chosen = good & (a.flux[in_a] != 0)
    ratios = b.flux[in_b][chosen] / a.flux[in_a][chosen]
    result = {"flux_ratio": float(np.median(ratios)) if ratios.size else math.nan}
    for curve, index, side in ((a, in_a, "a"), (b, in_b, "b")):
        usable = np.zeros(len(curve.time), bool)
        usable[index] = good
        _, _, rms_hour, ptp, _ = light_curve_statistics(curve.time, curve.flux, curve.flux_err, usable)
        result |= {f"rms_hour_{side}": rms_hour, f"ptp_{side}": ptp}
    for name in ("rms_hour", "ptp"):
        first, second = result[f"{name}_a"], result[f"{name}_b"]
        result[f"{name}_ratio"] = second / first if first else math.nan
    return result
