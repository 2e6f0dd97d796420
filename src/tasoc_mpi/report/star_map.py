"""Where stars are on their CCD, and what is shown of them: single stars, or cells of many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.status import FAILED, STATUS

__all__ = ["CELL", "CELL_QUANTITIES", "FIRST_COLUMN", "QUANTITIES", "cell_index", "map_cells", "map_points"]

#: Pixels of a side of a cell: that of a tile of the work list, from the first science column on.
CELL = 64
#: Science columns before the first one in a full frame image.
FIRST_COLUMN = 44
#: What a map of stars can show, and its name.
QUANTITIES = {
    "status": "status",
    "ratio": "noise over expected",
    "contamination": "contamination",
    "mask": "size of the mask",
}
#: What a map of cells can show: numbers, shares and medians of their stars.
CELL_QUANTITIES = {
    "status": "share that is OK",
    "warning": "share with a WARNING",
    "failed": "share that failed (ERROR, ABORT)",
    "skipped": "share that is SKIPPED",
    "todo": "share to do",
    "stars": "number of stars",
    "ratio": "median noise over expected",
    "contamination": "median contamination",
    "mask": "median size of the mask",
}
_SHARES = {
    "status": (STATUS.OK,),
    "warning": (STATUS.WARNING,),
    "failed": FAILED,
    "skipped": (STATUS.SKIPPED,),
    "todo": (STATUS.UNKNOWN, STATUS.STARTED),
}


def _positions(stars: NDArray[np.void]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column and row in the full frame image, from 1; of stars without a result the middle of their tile.

    NaN where neither is known.
    """
    column, row = stars["pos_column"].copy(), stars["pos_row"].copy()
    unknown = ~np.isfinite(column) & (stars["tile"] >= 0)
    tile = stars["tile"][unknown]
    column[unknown], row[unknown] = _cell_middle(tile % 32, tile // 32)
    return column, row


def _cell_middle(
    column: NDArray[np.integer], row: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column and row of the middle of a cell, counted from 1: pixels reach half a pixel to both sides."""
    middle = 0.5 * (CELL + 1)
    return FIRST_COLUMN + CELL * column.astype("f8") + middle, CELL * row.astype("f8") + middle


def cell_index(
    column: NDArray[np.floating[Any]], row: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the cell, across and up, in which a position lies that is counted from 1.

    >>> [int(k) for k in cell_index(np.array(45.0), np.array(65.0))]
    [0, 1]
    """
    across = (column - 0.5 - FIRST_COLUMN) // CELL
    return np.clip(across, 0, 32).astype("i8"), np.clip((row - 0.5) // CELL, 0, 32).astype("i8")


def map_points(stars: NDArray[np.void], ratio: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Columns of a map of stars, a row a star; columns and rows of pixels are counted from 1.

    Parameters
    ----------
    stars : ndarray of RESULT_DTYPE
        Of one CCD.
    ratio : ndarray of float64
        Their noise over the expected one.

    Returns
    -------
    dict
        x, y, size, starid, tmag, word, and the `QUANTITIES`; ``status`` is the number.
    """
    column, row = _positions(stars)
    return {
        "x": column.astype("f4"),
        "y": row.astype("f4"),
        "size": np.clip(13.0 - 0.7 * np.nan_to_num(stars["tmag"], nan=14.0), 3, 14).astype("f4"),
        "starid": stars["starid"].astype("f8"),
        "tmag": stars["tmag"].astype("f4"),
        "word": np.array([STATUS(int(value)).name for value in stars["status"]], dtype=object),
        "status": stars["status"].astype("f4"),
        "ratio": ratio.astype("f4"),
        "contamination": stars["contamination"].astype("f4"),
        "mask": stars["mask_size"].astype("f4"),
    }


def map_cells(stars: NDArray[np.void], ratio: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Columns of a map of cells, a row a cell with stars: x, y and the `CELL_QUANTITIES`.

    Parameters as of `map_points`.
    """
    column, row = _positions(stars)
    known = np.isfinite(column) & np.isfinite(row)
    across, up = cell_index(column[known], row[known])
    cells, group = np.unique(64 * up + across, return_inverse=True)
    x, y = _cell_middle(cells % 64, cells // 64)
    number = np.bincount(group, minlength=len(cells))
    values = {"ratio": ratio, "contamination": stars["contamination"], "mask": stars["mask_size"]}
    status = stars["status"][known]
    shares = {
        name: np.bincount(group, np.isin(status, some), len(cells)) / np.maximum(number, 1)
        for name, some in _SHARES.items()
    }
    return {
        "x": x.astype("f4"),
        "y": y.astype("f4"),
        "stars": number.astype("f4"),
        **{name: share.astype("f4") for name, share in shares.items()},
        **{name: _medians(v[known], group, len(cells)).astype("f4") for name, v in values.items()},
    }


def _medians(values: NDArray[np.float64], group: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Median of each group's finite values; NaN of none.

    >>> _medians(np.array([3.0, 1.0, np.nan, 5.0]), np.array([0, 0, 0, 1]), 3)
    array([ 2.,  5., nan])
    """
    known = np.isfinite(values)
    values, group = values[known], group[known]
    values = values[np.lexsort((values, group))]
    number = np.bincount(group, minlength=count)
    if not values.size:
        return np.full(count, np.nan)
    first = np.cumsum(number) - number
    low = np.minimum(first + np.maximum(number - 1, 0) // 2, len(values) - 1)
    high = np.minimum(first + number // 2, len(values) - 1)
    return np.where(number > 0, 0.5 * (values[low] + values[high]), np.nan)
