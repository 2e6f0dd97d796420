"""What prepare decided about every frame of a CCD, as a table to look at."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import replacing
from ..core.quality import TESSQualityFlags
from .checkpoint import LEFT_OUT, NO_SKY
from .file_writing import writing
from .partial_cube import CubeContent

__all__ = ["write_log"]

_COLUMNS = (
    "frame",
    "cadenceno",
    "time",
    "quality",
    "decision",
    "wcs",
    "columns_used",
    "background",
    "glow",
    "shenanigans",
)


def write_log(
    cube: Path, content: CubeContent, verdicts: NDArray[np.uint32], flagged: NDArray[np.uint32]
) -> Path:
    """Write ``<cube without .hdf5>.frames.csv`` beside a cube.

    Parameters
    ----------
    cube : Path
    content : CubeContent
    verdicts : ndarray, shape (T,)
        `checkpoint.FITTED`, `LEFT_OUT` or `NO_SKY`.
    flagged : ndarray, shape (T,)
        Number of pixels with background shenanigans.

    Returns
    -------
    Path
    """
    series, path = content.series, cube.with_suffix(".frames.csv")
    good = TESSQualityFlags.filter(content.quality)
    with writing(path), replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        for t, info in enumerate(series.infos):
            radial = content.model.radial[:, t]
            table.writerow(
                [
                    info.name,
                    series.cadenceno[t],
                    f"{series.time[t]:.6f}",
                    content.quality[t],
                    _decision(int(verdicts[t]), bool(good[t])),
                    "reference" if t == content.ref_frame else "good" if series.wcs.good[t] else "none",
                    series.excluded[t],
                    f"{np.median(content.model.mesh[:, :, t]):.2f}",
                    f"{radial.max():.2f}" if len(radial) else "",
                    flagged[t],
                ]
            )
        for one, best in series.left_out:
            table.writerow([one.name, "", "", "", f"left out: same cadence as {best.name}", *[""] * 5])
    return path


def _decision(verdict: int, good: bool) -> str:
    if verdict == LEFT_OUT:
        return "left out: nothing but NaN or zero"
    if verdict == NO_SKY:
        return "left out: not enough sky"
    return "used" if good else "used, but not in the sum image: quality"
