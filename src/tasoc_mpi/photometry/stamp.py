"""Which pixels around a star to look at: the default stamp and the arithmetic of stamps.

A stamp is (row_min, row_max, col_min, col_max), half open, in pixels of the full frame image.
"""

from __future__ import annotations

import bisect
import math

from ..core.errors import InputError

__all__ = ["Stamp", "clipped", "default_size", "stamp_around"]

Stamp = tuple[int, int, int, int]

_TMAG = (
    0.0, 0.526, 1.053, 1.579, 2.105, 2.632, 3.158, 3.684, 4.211, 4.737, 5.263,
    5.789, 6.316, 6.842, 7.368, 7.895, 8.421, 8.947, 9.474, 10.0, 13.0,
)  # fmt: skip
_HEIGHT = (
    832.0, 533.6, 344.1, 223.7, 147.3, 98.8, 68.0, 48.4, 36.0, 28.1, 23.0,
    19.9, 17.8, 16.6, 15.7, 15.2, 14.9, 14.7, 14.5, 14.5, 14.0,
)  # fmt: skip
#: Bleed columns make the stamps of saturated stars higher than wide.
_WIDTH = (157.7, 125.1, 100.0, 80.6, 65.7, 54.2, 45.3, 38.4, 33.2, *_HEIGHT[9:])
_SMALLEST = 15


def default_size(tmag: float) -> tuple[int, int]:
    """Rows and columns of the default stamp of a star of TESS magnitude `tmag`; the smallest if it is NaN.

    Examples
    --------
    >>> default_size(12.0), default_size(5.0)
    ((15, 15), (26, 26))
    """
    if math.isnan(tmag):
        return _SMALLEST, _SMALLEST
    height, width = math.ceil(_between(tmag, _HEIGHT)), math.ceil(_between(tmag, _WIDTH))
    return max(height, _SMALLEST), max(width, _SMALLEST)


def _between(tmag: float, sizes: tuple[float, ...]) -> float:
    """A size between those of the magnitudes around: numpy takes five times as long for one number."""
    k = bisect.bisect_right(_TMAG, tmag)
    if k in (0, len(_TMAG)):
        return sizes[max(k - 1, 0)]
    slope = (sizes[k] - sizes[k - 1]) / (_TMAG[k] - _TMAG[k - 1])
    return slope * (tmag - _TMAG[k - 1]) + sizes[k - 1]


def stamp_around(row: float, column: float, size: tuple[int, int], limits: Stamp, starid: int) -> Stamp:
    """The stamp of a size (rows, columns; one more where even) around a position, cut at the limits.

    Raises
    ------
    InputError
        If no pixel is left: the star is not on the CCD, or has no position.

    Examples
    --------
    >>> stamp_around(3.2, 50.0, (15, 15), (0, 100, 0, 100), starid=1)
    (0, 11, 43, 58)
    """
    if not (math.isfinite(row) and math.isfinite(column)):
        raise InputError(f"TIC {starid} has no place on the CCD: it is far outside of the field of view")
    r, c = round(row), round(column)
    half_rows, half_columns = size[0] // 2, size[1] // 2
    around = (r - half_rows, r + half_rows + 1, c - half_columns, c + half_columns + 1)
    stamp = clipped(around, limits)
    if stamp is None:
        raise InputError(
            f"TIC {starid} is at row {row:.1f}, column {column:.1f}, outside of the pixels that there are "
            f"(rows {limits[0]} to {limits[1] - 1}, columns {limits[2]} to {limits[3] - 1})"
        )
    return stamp


def clipped(stamp: Stamp, limits: Stamp) -> Stamp | None:
    """The part of a stamp within limits, or None if there is none.

    Examples
    --------
    >>> clipped((-3, 5, 2, 20), (0, 10, 0, 10))
    (0, 5, 2, 10)
    """
    row_min, row_max = max(stamp[0], limits[0]), min(stamp[1], limits[1])
    col_min, col_max = max(stamp[2], limits[2]), min(stamp[3], limits[3])
    return (row_min, row_max, col_min, col_max) if row_min < row_max and col_min < col_max else None
