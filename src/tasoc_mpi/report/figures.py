"""Figures: their colours, sizes, limits of axes, and how they are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import replacing
from ..core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["COLOURS", "new_figure", "panel_axes", "relative_unit", "robust_limits", "save_figure"]

#: Colours that remain different for colour-blind eyes (Okabe & Ito 2008).
COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "red": "#D55E00",
    "pink": "#CC79A7",
    "grey": "#888888",
}
_DPI = 110


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of a size in inches, that no global list of figures knows.

    Parameters
    ----------
    width, height : float
        Inches.
    layout : {'constrained', None}, optional
        Whether matplotlib looks for the places of the axes, which takes longer than drawing them.

    Raises
    ------
    InputError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("pictures need matplotlib: pip install 'tasoc-mpi[plot]'") from None
    return Figure(figsize=(width, height), dpi=_DPI, layout=layout)


def panel_axes(
    figure: Figure | SubFigure,
    rows: int = 1,
    columns: int = 1,
    margins: tuple[float, float, float, float] = (1.0, 0.15, 0.55, 0.3),
    gaps: tuple[float, float] = (1.0, 0.1),
    **options: Any,
) -> NDArray[Any]:
    """Axes on a grid whose margins and gaps are given, of a figure without a layout.

    Parameters
    ----------
    figure : Figure or SubFigure
    rows, columns : int, optional
    margins : (float, float, float, float), optional
        Left, right, below and above the axes, inches.
    gaps : (float, float), optional
        Between columns and between rows, inches.
    **options
        Of `matplotlib.figure.Figure.subplots`.

    Returns
    -------
    ndarray of Axes, shape (rows, columns)
    """
    width, height = (float(side) / figure.dpi for side in figure.bbox.size)
    left, right, below, above = margins
    across, down = gaps
    # The gaps of a grid are relative to the mean size of its axes.
    places = {
        "left": left / width,
        "right": 1 - right / width,
        "bottom": below / height,
        "top": 1 - above / height,
        "wspace": across * columns / (width - left - right - across * (columns - 1)),
        "hspace": down * rows / (height - below - above - down * (rows - 1)),
    }
    grid = options.pop("gridspec_kw", {}) | places
    return figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid, **options)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, whole or not at all, and empty it.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    path = Path(path)
    try:
        with replacing(path, durable=False) as part:
            # No version of the program in the file: the same data give the same bytes.
            figure.savefig(part, format="png", metadata={"Software": None})
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); check the folder") from None
    finally:
        figure.clear()
    return path


def robust_limits(values: NDArray[Any], margin: float = 0.15, cut: float = 0.5) -> tuple[float, float] | None:
    """Limits of an axis that a few outliers do not set.

    Parameters
    ----------
    values : ndarray
        NaN for missing ones.
    margin : float
        Room on each side, relative to the range.
    cut : float
        Percentage of the values on each side that may lie outside by more than half of the range.

    Returns
    -------
    (float, float) or None
        None where no value is finite.
    """
    values = np.asarray(values, dtype="f8")
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = np.percentile(values, [cut, 100 - cut])
    reach = 0.5 * (high - low)
    low, high = max(values.min(), low - reach), min(values.max(), high + reach)
    room = margin * (high - low) or 1e-3 * abs(high) or 1.0
    return float(low - room), float(high + room)


def relative_unit(relative: NDArray[Any]) -> tuple[float, str]:
    """Factor and name of the unit in which a relative flux reads well: percent or parts per million."""
    limits = robust_limits(relative, margin=0.0)
    if limits is not None and limits[1] - limits[0] > 0.02:
        return 1e2, "%"
    return 1e6, "ppm"
