"""The picture of a comparison: ratios of flux and of noise against magnitude."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .comparison import Comparison
from .figures import COLOURS, new_figure, robust_limits, save_figure
from .noise_picture import running_quantiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_comparison"]

#: Panels: numbers with their names and colours, and the label of the axis.
_PANELS = (
    ((("flux_ratio", "flux", "blue"),), "flux B / A"),
    (
        (("rms_hour_ratio", "1-hour noise", "blue"), ("ptp_ratio", "point-to-point noise", "orange")),
        "noise B / A",
    ),
)
#: Limits have this room about 1 at least: less is the precision of numbers.
_LEAST = 1e-6


def draw_comparison(comparison: Comparison, path: Path) -> Path:
    """Draw the ratios of flux and noise of the stars that were compared, as PNG.

    Raises
    ------
    InputError
        If matplotlib is not installed, or the file cannot be written.
    """
    stars = comparison.compared
    stars = stars[np.isfinite(stars["tmag"])]
    figure = new_figure(9.0, 7.5)
    panels = figure.subplots(2, 1, sharex=True)
    names = f"A: {_short(comparison.a.path)}\nB: {_short(comparison.b.path)}"
    figure.suptitle(f"{len(stars)} stars\n{names}", fontsize=10, parse_math=False)
    for axes, (parts, label) in zip(panels, _PANELS, strict=True):
        shown = [(stars[number], name, colour) for number, name, colour in parts]
        _draw_ratios(axes, stars["tmag"], shown)
        axes.set_ylabel(label)
    panels[-1].set_xlabel("TESS magnitude")
    if len(stars):
        panels[-1].set_xlim(stars["tmag"].min() - 0.3, stars["tmag"].max() + 0.3)
    return save_figure(figure, path)


def _short(path: Path) -> str:
    """The end of a path, which has room in a title."""
    text = str(path)
    return text if len(text) <= 90 else f"...{text[-87:]}"


def _draw_ratios(
    axes: Axes, tmag: NDArray[np.float64], parts: list[tuple[NDArray[np.float64], str, str]]
) -> None:
    """Points, running medians, and arrows at the edge for points beyond it."""
    axes.axhline(1.0, color=COLOURS["black"], linestyle="--", linewidth=1)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    limits = robust_limits(np.concatenate([ratio for ratio, _, _ in parts]))
    if limits is None:
        axes.text(0.5, 0.5, "no star with a ratio", transform=axes.transAxes, ha="center")
        return
    low, high = min(limits[0], 1 - _LEAST), max(limits[1], 1 + _LEAST)
    if min(float(np.nanmin(ratio)) for ratio, _, _ in parts if np.isfinite(ratio).any()) >= 0:
        low = max(low, 0.0)
    axes.set_ylim(low, high)
    axes.ticklabel_format(axis="y", useOffset=False)
    size = float(np.clip(6000 / max(len(tmag), 1), 3, 16))
    for ratio, name, colour in parts:
        style: dict[str, Any] = {"color": COLOURS[colour], "linewidths": 0, "rasterized": True}
        inside = (ratio >= low) & (ratio <= high)
        count = int(np.isfinite(ratio).sum())
        axes.scatter(tmag[inside], ratio[inside], s=size, alpha=0.6, label=f"{name} ({count})", **style)
        for beyond, edge, marker in ((ratio > high, high, "^"), (ratio < low, low, "v")):
            if beyond.any():
                place = np.full(int(beyond.sum()), edge)
                axes.scatter(tmag[beyond], place, s=25, marker=marker, clip_on=False, zorder=5, **style)
        centres, (_, median, _) = running_quantiles(tmag, ratio)
        if len(centres):
            axes.plot(centres, median, color=COLOURS[colour], linewidth=2, label=f"median, {name}")
    axes.legend(fontsize=8, loc="best")
