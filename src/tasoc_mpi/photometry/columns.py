"""The columns of a star's light curve: times, flux, positions and flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from ..core.quality import CorrectorQualityFlags, PixelQualityFlags
from ..kernels.sums import flagged_frames
from ..products.lightcurve import COLUMNS, FLUX_UNIT
from .sources import Source
from .stamp import Stamp

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Columns", "check_columns", "corrector_flags", "star_columns"]

#: Units of the table, by those of the file.
_UNITS = {"d": "d", FLUX_UNIT: "electron / s", "pixel": "pix"}
#: By the names of the columns.
_TABLE_UNITS = {c.attribute: _UNITS.get(c.unit) for c in COLUMNS}
#: The attributes of a light curve with their last part; the others exist in the file alone.
_PARTS = {c.attribute: c.part for c in COLUMNS if c.attribute not in ("", "corrector_quality")}


class Columns:
    """The columns of a star's light curve, as arrays and as a table.

    Parameters
    ----------
    arrays : dict
        Name to array; see `BasePhotometry.lightcurve`.

    Examples
    --------
    >>> columns = Columns({"flux": np.full(3, np.nan)})
    >>> columns.table["flux"] = 2.0
    >>> columns.arrays["flux"].tolist()
    [2.0, 2.0, 2.0]
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self._table: Table | None = None

    def fill(self, **columns: NDArray[Any]) -> None:
        """Set the values of some columns."""
        # The table may have got columns of its own, which no longer share their memory.
        self._arrays = self.arrays
        for name, values in columns.items():
            self._arrays[name][...] = values
        self._table = None

    @property
    def table(self) -> Table:
        """A table that shares its memory with the arrays; made when first used."""
        if self._table is None:
            from astropy.table import Table

            units = {name: _TABLE_UNITS.get(name) for name in self._arrays}
            self._table = Table(self._arrays, copy=False, units=units)
        return self._table

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns as they are now, filled through the table or by `fill`."""
        if self._table is None:
            return self._arrays
        return {name: _plain(self._table, name) for name in self._arrays}


def _plain(table: Table, name: str) -> NDArray[Any]:
    """A column of a table without its mask: masked numbers are unknown, masked integers 0."""
    if name not in table.colnames:
        raise UsageError(f"column {name} of the light curve is missing; leave those there that it has")
    column = table[name]
    # A quantity that a method has put there has a unit of its own.
    unit, wanted = getattr(column, "unit", None), _TABLE_UNITS[name]
    if unit is not None and unit != wanted:
        raise UsageError(
            f"column {name} of the light curve: its unit is {unit}, not {wanted or 'none'}; convert it"
        )
    if hasattr(column, "filled"):
        column = column.filled(np.nan if column.dtype.kind == "f" else 0)
    return np.asarray(column)


def check_columns(arrays: Mapping[str, NDArray[Any]], n: int) -> None:
    """Check that the columns of a star are a light curve of `n` points, whatever a method has put into them.

    Raises
    ------
    ValueError
        If one holds no real numbers or has another shape.

    Examples
    --------
    >>> check_columns({"flux": np.ones((3, 2))}, 3)
    Traceback (most recent call last):
        ...
    ValueError: column flux of the light curve: numbers of shape (3,) are needed, not float64 of shape (3, 2)
    """
    for name, values in arrays.items():
        part = _PARTS[name]
        shape = (n,) if part is None else (n, part + 1)
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise ValueError(
                f"column {name} of the light curve: numbers of shape {shape} are needed, not {values.dtype}"
                f" of shape {values.shape}"
            )


def star_columns(source: Source, i: int) -> Columns:
    """The columns of the star at a place of the catalog, the flux still NaN."""
    time, timecorr = source.times(i)
    known: dict[str, NDArray[Any]] = {
        "time": time,
        "timecorr": timecorr,
        "cadenceno": source.cadenceno.copy(),
        "quality": source.quality.copy(),
        "pos_corr": source.star_motion(i),
    }
    n = len(time)
    unknown = np.empty(n * sum([(part or 0) + 1 for name, part in _PARTS.items() if name not in known]))
    unknown.fill(np.nan)
    arrays, place = {}, 0
    for name, part in _PARTS.items():
        if name in known:
            arrays[name] = known[name]
            continue
        end = place + n * ((part or 0) + 1)
        arrays[name] = unknown[place:end] if part is None else unknown[place:end].reshape(n, -1)
        place = end
    return Columns(arrays)


def corrector_flags(
    source: Source, stamp: Stamp, spacecraft_time: NDArray[np.float64], failed: NDArray[np.bool_] | None
) -> NDArray[np.int32]:
    """Quality flags of cadences, shape (T,): a misbehaving background in the stamp, and no solution.

    The times are those of the spacecraft, days.
    """
    flags = np.zeros(len(spacecraft_time), dtype=np.int32)
    cube = source.cube
    if cube is not None:
        row, column = cube.row_offset, cube.column_offset
        flagged = flagged_frames(
            cube.pixel_flags,
            stamp[0] - row,
            stamp[1] - row,
            stamp[2] - column,
            stamp[3] - column,
            PixelQualityFlags.BackgroundShenanigans,
            cube.never_shenanigans,
        )
        if flagged.any():
            at = source.at_cadences(flagged, spacecraft_time)
            flags[at] = CorrectorQualityFlags.BackgroundShenanigans
    if failed is not None:
        flags[failed] |= CorrectorQualityFlags.FlaggedBadData
    return flags
