"""The place of a maximum between the samples of a series."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["peak_place"]


def peak_place(values: NDArray[np.floating], highest: int) -> float:
    """Place of the maximum of the parabola through a sample and the ones before and after it.

    Parameters
    ----------
    values : ndarray, shape (N,)
    highest : int
        Index of the largest sample; returned as it is at the ends, and where the parabola has no maximum.

    Examples
    --------
    >>> peak_place(np.array([0.0, 3.0, 4.0, 1.0]), 2)
    1.75
    """
    if not 0 < highest < len(values) - 1:
        return float(highest)
    low, middle, high = values[highest - 1 : highest + 2].tolist()
    curvature = low - 2.0 * middle + high
    return highest + (0.5 * (low - high) / curvature if curvature < 0.0 else 0.0)
