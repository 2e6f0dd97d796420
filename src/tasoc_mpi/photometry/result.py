"""What the photometry of one star reports: status, diagnostics, and the stars that it makes superfluous."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..core.status import STATUS

__all__ = ["PhotometryResult"]


@dataclass
class PhotometryResult:
    """The outcome of one star, as it goes to the work list. Numbers that are not known are NaN.

    Attributes
    ----------
    status : STATUS
    lightcurve : str or None
        Path of the light curve relative to the output folder.
    method_used : str
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
    errors : list of str
        Messages of level WARNING and above.
    skip_targets : list of int
        Stars that need no light curve of their own.
    """

    status: STATUS = STATUS.UNKNOWN
    lightcurve: str | None = None
    method_used: str = ""
    mean_flux: float = math.nan
    variance: float = math.nan
    variability: float = math.nan
    rms_hour: float = math.nan
    ptp: float = math.nan
    pos_row: float = math.nan
    pos_column: float = math.nan
    contamination: float = math.nan
    mask_size: float = math.nan
    edge_flux: float = math.nan
    stamp_width: float = math.nan
    stamp_height: float = math.nan
    stamp_resizes: float = math.nan
    errors: list[str] = field(default_factory=list)
    skip_targets: list[int] = field(default_factory=list)
