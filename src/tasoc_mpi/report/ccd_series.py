"""Time series of a CCD: background, pointing, and the frames that are used."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import InputFile
from ..core.names import cube_name
from ..core.quality import TESSQualityFlags
from ..products.cube import open_cube
from ..products.frame_wcs import FrameWCS
from ..worklist.work_list import CCD

__all__ = ["CCDSeries", "read_series"]

_MOST_BYTES = 1 << 28
_COLUMNS = ("cadenceno", "time", "quality", "decision", "background")


@dataclass(frozen=True)
class CCDSeries:
    """The frames of a CCD, in order of time; NaN where a value is not known."""

    ccd: CCD
    time: NDArray[np.float64]  #: BJD - 2457000, days
    background: NDArray[np.float64]  #: Median of the mesh, e-/s a pixel
    quality: NDArray[np.int64]
    #: column, row: where the middle of the CCD's pixels is, less the median, pixels.
    column: NDArray[np.float64]
    row: NDArray[np.float64]
    frames: dict[str, int]  #: Number of frames by the decision of `prepare`

    @property
    def good(self) -> NDArray[np.bool_]:
        """Frames without a flag that makes them bad."""
        return TESSQualityFlags.filter(self.quality)

    def columns(self) -> dict[str, list[float]]:
        """The series by name; ``good`` is 1 or 0."""
        values = {"time": (self.time, 6), "background": (self.background, 3)}
        values |= {"column": (self.column, 5), "row": (self.row, 5)}
        return {
            **{name: np.round(series, digits).tolist() for name, (series, digits) in values.items()},
            "quality": self.quality.tolist(),
            "good": self.good.astype(int).tolist(),
        }


def read_series(folder: Path, ccd: CCD) -> CCDSeries | None:
    """Read the log of the frames and the pointing of a cube; None where there is no cube.

    Raises
    ------
    InputError
        If one of the files is damaged.
    """
    path = folder / cube_name(*ccd)
    if not path.is_file():
        return None
    cube = open_cube(path)
    rows, columns, frames = cube.shape
    background, decisions = np.full(frames, np.nan), {"used": frames}
    log = path.with_suffix(".frames.csv")
    if log.is_file():
        background, decisions = _read_log(log, cube.cadenceno)
    middle = cube.column_offset + columns / 2, cube.row_offset + rows / 2
    column, row = _pointing(cube.wcs, cube.ref_frame, *middle)
    return CCDSeries(ccd, cube.time, background, cube.quality.astype("i8"), column, row, decisions)


def _pointing(wcs: FrameWCS, ref_frame: int, column: float, row: float) -> NDArray[np.float64]:
    """Where the sky of a pixel of the reference frame is in all frames, less its median, shape (2, T)."""
    if not wcs.good[ref_frame]:
        return np.full((2, len(wcs)), np.nan)
    sky = wcs.sky(np.array([column]), np.array([row]), ref_frame)
    positions = wcs.positions(*(float(one) for one in np.ravel(sky)))
    return np.asarray((positions - np.nanmedian(positions, axis=0)).T)


def _read_log(path: Path, cadenceno: NDArray[np.int32]) -> tuple[NDArray[np.float64], dict[str, int]]:
    """Background of each cadence, and how many frames there are of each decision."""
    with InputFile(path, _MOST_BYTES) as file:
        text = file.read().decode("utf-8", "replace")
    background = np.full(len(cadenceno), np.nan)
    decisions: dict[str, int] = {}
    place = {int(number): k for k, number in enumerate(cadenceno)}
    try:
        for row in csv.DictReader(text.splitlines()):
            decision = row["decision"]
            decisions[decision] = decisions.get(decision, 0) + 1
            k = place.get(int(row["cadenceno"] or -1))
            if k is not None and row["background"]:
                background[k] = float(row["background"])
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: no log of frames ({error}); run `tasoc-mpi prepare` again") from None
    return background, decisions
