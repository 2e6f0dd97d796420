"""Where stars are on their CCD, and what is shown of them: single stars, or cells of many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.status import STATUS
from ..worklist.work_list import CCD
from .run_report import RunReport

__all__ = ["CELL", "QUANTITIES", "map_columns", "star_positions"]

#: Pixels of a side of a cell: that of a tile of the work list, from the first science column on.
CELL = 64
#: Science columns before the first one in a full frame image.
_FIRST_COLUMN = 44
#: What a map can show, and its name.
QUANTITIES = {
    "status": "status",
    "ratio": "noise over expected",
    "contamination": "contamination",
    "mask": "size of the mask",
}


def star_positions(stars: NDArray[np.void]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """0-based column and row in the full frame image; of stars without a result the middle of their tile.

    NaN where neither is known.
    """
    column, row = stars["pos_column"].copy(), stars["pos_row"].copy()
    unknown = ~np.isfinite(column) & (stars["tile"] >= 0)
    tile = stars["tile"][unknown]
    column[unknown] = _FIRST_COLUMN + CELL * (tile % 32) + CELL / 2
    row[unknown] = CELL * (tile // 32) + CELL / 2
    return column, row


def map_columns(report: RunReport, ccd: CCD, points: bool) -> dict[str, NDArray[Any]]:
    """Columns of a plot of one CCD; columns and rows of pixels are counted from 1.

    Parameters
    ----------
    report : RunReport
    ccd : (int, int, int)
    points : bool
        A row a star (x, y, size, starid, tmag, word, and the `QUANTITIES`; ``status`` is the number). Else a
        row a cell with stars: their number and medians; ``status`` is the share that is OK.
    """
    stars = report.run.stars
    here = (stars["sector"] == ccd[0]) & (stars["camera"] == ccd[1]) & (stars["ccd"] == ccd[2])
    stars, ratio = stars[here], report.ratio[here]
    column, row = star_positions(stars)
    if points:
        word = np.array([STATUS(int(value)).name for value in stars["status"]], dtype=object)
        return {
            "x": (column + 1).astype("f4"),
            "y": (row + 1).astype("f4"),
            "size": np.clip(13.0 - 0.7 * np.nan_to_num(stars["tmag"], nan=14.0), 3, 14).astype("f4"),
            "starid": stars["starid"].astype("f8"),
            "tmag": stars["tmag"].astype("f4"),
            "word": word,
            "status": stars["status"].astype("f4"),
            "ratio": ratio.astype("f4"),
            "contamination": stars["contamination"].astype("f4"),
            "mask": stars["mask_size"].astype("f4"),
        }
    known = np.isfinite(column) & np.isfinite(row)
    cell_column = np.clip((column[known] - _FIRST_COLUMN) // CELL, 0, 32).astype("i8")
    cell = 64 * np.clip(row[known] // CELL, 0, 32).astype("i8") + cell_column
    order = np.argsort(cell, kind="stable")
    cells, starts = np.unique(cell[order], return_index=True)
    groups = np.split(order, starts[1:]) if len(cells) else []
    ok = stars["status"][known] == STATUS.OK
    values = {"ratio": ratio, "contamination": stars["contamination"], "mask": stars["mask_size"]}
    return {
        "x": (_FIRST_COLUMN + CELL * (cells % 64) + CELL / 2 + 1).astype("f4"),
        "y": (CELL * (cells // 64) + CELL / 2 + 1).astype("f4"),
        "stars": np.array([len(group) for group in groups], "f4"),
        "status": np.array([ok[group].mean() for group in groups], "f4"),
        **{name: np.array([_median(v[known][g]) for g in groups], "f4") for name, v in values.items()},
    }


def _median(values: NDArray[np.float64]) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")
