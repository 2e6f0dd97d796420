"""Still pictures of a report's plots, for pages without JavaScript."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.settings import mag2flux
from ..worklist.work_list import ccd_name
from .figures import COLOURS, new_figure
from .noise import noise_parts
from .run_report import MOST_POINTS, RunReport
from .star_map import CELL, CELL_QUANTITIES, FIRST_COLUMN, cell_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_stills"]

#: Pixels from one CCD to the next in the map of all.
_STEP = 2300
#: CCDs whose series are drawn.
_MOST_SERIES = 16


def draw_stills(report: RunReport, run: dict[str, Any] | None) -> dict[str, str]:
    """PNG files of the plots as base64, by the names ``noise``, ``maps``, ``series`` and ``timeline``.

    Parameters
    ----------
    report : RunReport
    run : dict, optional
        The record whose timeline is drawn.
    """
    stills = {}
    if report.run.ok.any():
        stills["noise"] = _png(_noise(report))
    if any(len(one["x"]) for one in report.cells):
        stills["maps"] = _png(_maps(report))
    if report.series:
        stills["series"] = _png(_series(report))
    if run is not None:
        stills["timeline"] = _png(_timeline(run))
    return stills


def _png(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=70, metadata={"Software": None})
    figure.clear()
    return base64.b64encode(data.getvalue()).decode()


def _noise(report: RunReport) -> Figure:
    """Noise against magnitude with the expected curve, and the running ratio."""
    figure = new_figure(9.0, 6.5)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    stars = report.run.stars
    chosen = report.run.ok & np.isfinite(stars["tmag"]) & (stars["rms_hour"] > 0)
    tmag, ppm = stars["tmag"][chosen], 1e6 * stars["rms_hour"][chosen]
    axes.set_yscale("log")
    axes.set_ylabel("1-hour noise (ppm)")
    below.set(xlabel="TESS magnitude", ylabel="noise / expected")
    if len(tmag) > MOST_POINTS:
        edges = np.linspace(tmag.min(), tmag.max(), 161), np.geomspace(ppm.min(), ppm.max(), 121)
        counts, *_ = np.histogram2d(tmag, ppm, bins=edges)
        axes.pcolormesh(*edges, np.where(counts > 0, counts, np.nan).T, norm="log", cmap="cividis")
    elif len(tmag):
        axes.scatter(tmag, ppm, s=5, linewidths=0, color=COLOURS["blue"], rasterized=True)
    groups = report.data["groups"]
    bins = [one for one in groups[0]["magnitudes"] if one["mask_size"] and one["tmag"] is not None]
    if bins and len(tmag):
        grid = np.arange(tmag.min(), tmag.max() + 0.05, 0.1)
        pixels = np.interp(grid, [one["tmag"] + 0.5 for one in bins], [one["mask_size"] for one in bins])
        parts = noise_parts(mag2flux(grid), pixels, groups[0]["sky"])  # type: ignore[arg-type]
        axes.plot(grid, 1e6 * parts.total, color=COLOURS["red"], linewidth=2, label="expected")
        axes.legend(loc="upper left")
    for group, colour in zip(groups, ("blue", "orange", "green", "pink"), strict=False):
        one = group["ratio"]
        below.plot(one["tmag"], one["median"], color=COLOURS[colour], label=group["title"])
        below.fill_between(one["tmag"], one["p16"], one["p84"], color=COLOURS[colour], alpha=0.2)
    below.axhline(1.0, color=COLOURS["red"], linestyle="--", linewidth=1)
    below.legend(fontsize=8, loc="upper left")
    return figure


def _maps(report: RunReport) -> Figure:
    """Share of OK stars, noise over expected, contamination and mask size of all CCDs, in cells."""
    several = len(report.ccds) > 1
    figure = new_figure(10.0, 5.5 if several else 9.0)
    names = ("status", "ratio", "contamination", "mask")
    for axes, name in zip(figure.subplots(2, 2).ravel(), names, strict=True):
        _map(axes, report, name, several)
        axes.set_title(CELL_QUANTITIES[name], fontsize=10)
    return figure


def _map(axes: Axes, report: RunReport, name: str, several: bool) -> None:
    values = np.concatenate([cells[name] for cells in report.cells])
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
    image = None
    for (_, camera, ccd), cells in zip(report.ccds, report.cells, strict=True):
        across = _STEP * (2.1 * (camera - 1) + (ccd - 1) % 2) if several else 0.0
        down = _STEP * ((ccd - 1) // 2) if several else 0.0
        column, row = cell_index(cells["x"], cells["y"])
        grid = np.full((33, 33), np.nan)
        grid[row, column] = cells[name]
        left, bottom = across + FIRST_COLUMN + 0.5, 0.5 - down
        extent = (left, left + 33 * CELL, bottom, bottom + 33 * CELL)
        high = high if high > low else low + 1.0
        image = axes.imshow(
            grid, origin="lower", extent=extent, vmin=low, vmax=high, cmap="cividis", interpolation="nearest"
        )
        if several:
            axes.text(across, 33 * CELL - down, f"{camera}-{ccd}", fontsize=6, va="bottom")
    if several:
        axes.set(xlim=(-100, _STEP * 8.3), ylim=(-_STEP - 100, _STEP + 200), xticks=[], yticks=[])
    else:
        x = np.concatenate([cells["x"] for cells in report.cells])
        y = np.concatenate([cells["y"] for cells in report.cells])
        axes.set(xlim=(x.min() - CELL, x.max() + CELL), ylim=(y.min() - CELL, y.max() + CELL))
        axes.set(xlabel="column (from 1)", ylabel="row (from 1)")
    if image is not None:
        axes.figure.colorbar(image, ax=axes, shrink=0.8)


def _series(report: RunReport) -> Figure:
    """Background and pointing of the CCDs, one below the other."""
    shown = report.series[:_MOST_SERIES]
    figure = new_figure(10.0, 1.0 + 1.6 * len(shown))
    panels = figure.subplots(len(shown), 2, squeeze=False)
    for (left, right), one in zip(panels, shown, strict=True):
        good = one.good
        left.plot(one.time[good], one.background[good], ".", markersize=2, color=COLOURS["blue"])
        left.plot(one.time[~good], one.background[~good], "x", markersize=3, color=COLOURS["red"])
        left.set_ylabel(f"{ccd_name(one.ccd)}\nbackground", fontsize=8)
        right.plot(
            one.time[good], one.column[good], ".", markersize=2, color=COLOURS["orange"], label="column"
        )
        right.plot(one.time[good], one.row[good], ".", markersize=2, color=COLOURS["blue"], label="row")
        right.set_ylabel("shift (px)", fontsize=8)
    panels[0, 1].legend(fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel("time (BJD - 2457000, days)")
    return figure


def _timeline(run: dict[str, Any]) -> Figure:
    """The share of time that each rank computed, and rows a second."""
    times = run["timeline"]
    interval, rows = times["interval"] or 1.0, np.array(times["computing"], ndmin=2)
    figure = new_figure(10.0, 2.8 + min(0.15 * len(rows), 3.0))
    axes, below = figure.subplots(2, 1, sharex=True)
    first, last = times["ranks"][0][0], times["ranks"][-1][1]
    image = axes.imshow(
        rows / interval, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="cividis",
        extent=(0, interval * rows.shape[1], first - 0.5, last + 0.5), interpolation="nearest",
    )  # fmt: skip
    figure.colorbar(image, ax=axes, label="computing")
    axes.set_ylabel("rank")
    axes.locator_params(axis="y", integer=True)
    edges = interval * np.arange(rows.shape[1] + 1)
    below.stairs(np.array(times["stars"]) / interval, edges, color=COLOURS["blue"], fill=True)
    below.set(xlabel="time since the first star was handed out (s)", ylabel="rows a second")
    return figure
