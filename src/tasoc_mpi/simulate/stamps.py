"""Which stars have a target pixel file, and which pixels are in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from .options import SimulationOptions
from .render import FULL_WELL
from .stars import Stars, Variability

__all__ = ["SATURATED_TMAG", "SIDE", "Stamp", "choose_stamps"]

#: Side of a stamp, pixels; that of a saturated star has more rows.
SIDE = 11
#: Stars brighter than this overflow their pixels.
SATURATED_TMAG = 6.8
#: Magnitudes that stars with a target pixel file have; if there are too few, the second range.
TMAG_RANGE, TMAG_RANGE_WIDE = (5.0, 13.0), (5.0, 15.5)


@dataclass(frozen=True)
class Stamp:
    """One star's stamp."""

    star: int  #: Index in `Stars`
    #: row, column: full frame image pixel of the stamp's first pixel, 0-based.
    row: int
    column: int
    rows: int
    columns: int


def choose_stamps(options: SimulationOptions, stars: Stars, variability: Variability) -> list[Stamp]:
    """Stars with a target pixel file, brightest first: a third of them variables, the others by lot.

    Raises
    ------
    UsageError
        If there are too few stars whose stamp fits.
    """
    if options.tpfs == 0:
        return []
    rng = options.rng(4)
    (bright,) = np.nonzero(stars.tmag < SATURATED_TMAG)
    low, high = TMAG_RANGE_WIDE
    (asked,) = np.nonzero((stars.tmag >= low) & (stars.tmag <= high))
    found = {int(k): _stamp(options, stars, int(k), bright) for k in asked}
    stamps = {k: stamp for k, stamp in found.items() if stamp is not None}
    for low, high in (TMAG_RANGE, TMAG_RANGE_WIDE):
        able = np.array([k for k in stamps if low <= stars.tmag[k] <= high], dtype="i8")
        if len(able) >= options.tpfs:
            break
    else:
        raise UsageError(
            f"--tpfs {options.tpfs}: only {len(able)} stars of the region can have a target pixel file; "
            "ask for fewer, or for more --rows and --columns"
        )
    vary = able[np.isin(able, variability.star)]
    chosen = rng.choice(vary, min(len(vary), -(-options.tpfs // 3)), replace=False)
    others = np.setdiff1d(able, chosen)
    chosen = np.concatenate([chosen, rng.choice(others, options.tpfs - len(chosen), replace=False)])
    return [stamps[int(k)] for k in np.sort(chosen)]


def _stamp(options: SimulationOptions, stars: Stars, k: int, bright: NDArray[np.int64]) -> Stamp | None:
    """The stamp of a star, or None where it does not fit or another of the `bright` stars bleeds into it."""
    row0, column0, n_rows, n_columns = options.science
    rows = SIDE
    if stars.tmag[k] < SATURATED_TMAG:
        # The overflowing charge fills both directions alike; an odd number keeps the star in the middle.
        rows += 2 * math.ceil(0.6 * stars.flux[k] / FULL_WELL)
    row, column = round(float(stars.row[k])) - rows // 2, round(float(stars.column[k])) - SIDE // 2
    if row < row0 or column < column0 or row + rows > row0 + n_rows or column + SIDE > column0 + n_columns:
        return None
    bleeds = np.abs(stars.column[bright] - stars.column[k]) < SIDE
    bleeds &= np.abs(stars.row[bright] - stars.row[k]) < stars.flux[bright] / FULL_WELL + rows
    return None if (bleeds & (bright != k)).any() else Stamp(k, row, column, rows, SIDE)
