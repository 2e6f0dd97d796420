"""The numbers that describe a light curve: the only list of them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

__all__ = ["CORRECTED_LIGHTCURVE", "CORRECTION", "CORRECTION_SOURCE", "DIAGNOSTICS", "Diagnostics"]


def _count() -> Any:
    """A whole number."""
    return dataclasses.field(default=math.nan, metadata={"sql": "INTEGER"})


@dataclass(kw_only=True)
class Diagnostics:
    """Numbers that describe a light curve; NaN where unknown.

    Messages of results and the table `diagnostics` of the work list hold them in this order.

    Attributes
    ----------
    mean_flux : float
        Median flux over good points, e-/s.
    variance, variability, rms_hour, ptp : float
        Of the relative flux; see `kernels.statistics.light_curve_statistics`.
    pos_row, pos_column : float
        Median centroid, 1-based CCD pixels.
    contamination : float
        Fraction of the light in the mask that is not the target's, from catalog magnitudes.
    mask_size : float
        Number of pixels used.
    edge_flux : float
        Flux of the mask's pixels on the stamp's edge in the sum image, e-/s.
    stamp_width, stamp_height, stamp_resizes : float
        Pixels, and how often the stamp was resized.

    Examples
    --------
    >>> Diagnostics(mask_size=9).mask_size
    9
    >>> DIAGNOSTICS["rms_hour"], DIAGNOSTICS["mask_size"]
    ('REAL', 'INTEGER')
    """

    mean_flux: float = math.nan
    variance: float = math.nan
    variability: float = math.nan
    rms_hour: float = math.nan
    ptp: float = math.nan
    pos_row: float = math.nan
    pos_column: float = math.nan
    contamination: float = math.nan
    mask_size: float = _count()
    edge_flux: float = math.nan
    stamp_width: float = _count()
    stamp_height: float = _count()
    stamp_resizes: float = _count()


#: Name and SQL type of each number.
DIAGNOSTICS = {field.name: field.metadata.get("sql", "REAL") for field in dataclasses.fields(Diagnostics)}

#: The numbers that describe a correction, and the diagnostic in whose place a message has each of them:
#: results of photometry and of corrections are messages and logs of one layout.
CORRECTION = {
    "variance": "variance",
    "rms_hour": "rms_hour",
    "ptp": "ptp",
    "overfitting": "variability",
    "underfitting": "contamination",
    "vectors": "mask_size",
}
#: The diagnostic in whose place a message of a correction has the digest of its vectors and method.
CORRECTION_SOURCE = "edge_flux"
#: ... and the digest of the light curve that was corrected.
CORRECTED_LIGHTCURVE = "mean_flux"
