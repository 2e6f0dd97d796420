"""The interactive plots of a report: noise, maps, time series of the CCDs, and the time of the ranks.

Up to `MOST_POINTS` stars are points, which can be hovered over and chosen; of more the plots show densities,
so that a page does not grow with the number of stars.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.settings import mag2flux
from ..core.status import STATUS
from ..worklist.work_list import CCD, ccd_name
from .ccd_series import CCDSeries
from .figures import COLOURS
from .noise import noise_parts
from .run_report import MOST_POINTS, RunReport
from .star_map import CELL, CELL_QUANTITIES, QUANTITIES

if TYPE_CHECKING:
    from bokeh.models import ColorMapper
    from bokeh.plotting import figure as Figure

__all__ = [
    "STATUS_COLOURS",
    "focal_plane_plot",
    "map_plot",
    "noise_plot",
    "rate_plot",
    "ratio_plot",
    "series_plot",
    "timeline_plot",
]

#: Outliers that are drawn above densities.
_OUTLIERS = 1_000
#: Points of a time series at most.
_MOST_FRAMES = 1_500
_TOOLS = "pan,box_zoom,wheel_zoom,tap,reset,save"
STATUS_COLOURS = {
    STATUS.OK: COLOURS["blue"],
    STATUS.WARNING: COLOURS["yellow"],
    STATUS.ERROR: COLOURS["red"],
    STATUS.ABORT: COLOURS["pink"],
    STATUS.SKIPPED: COLOURS["grey"],
    STATUS.UNKNOWN: COLOURS["sky"],
    STATUS.STARTED: COLOURS["orange"],
}


_CELL_FIELDS = [
    ("stars", "@stars{0}"),
    ("share that is OK", "@status{0.00}"),
    ("WARNING", "@warning{0.00}"),
    ("failed", "@failed{0.00}"),
    ("SKIPPED", "@skipped{0.00}"),
    ("to do", "@todo{0.00}"),
    ("median noise / expected", "@ratio{0.00}"),
    ("median contamination", "@contamination{0.000}"),
    ("median mask", "@mask{0} px"),
]


def _figure(height: int, **options: Any) -> Figure:
    from bokeh.plotting import figure

    plot = figure(
        height=height, sizing_mode="stretch_width", tools=_TOOLS, toolbar_location="above", **options
    )
    plot.toolbar.logo = None
    # A page that is scrolled with the wheel must not zoom a plot on the way.
    plot.toolbar.active_scroll = None
    plot.background_fill_color = plot.border_fill_color = None
    return plot


def _hover(plot: Figure, renderer: Any, *fields: tuple[str, str]) -> None:
    from bokeh.models import HoverTool

    plot.add_tools(HoverTool(renderers=[renderer], tooltips=list(fields)))


def _legend_above(plot: Figure) -> None:
    """Move the legend off the points of a low plot."""
    plot.legend.orientation = "horizontal"
    plot.legend.location = "top_left"
    plot.add_layout(plot.legend[0], "above")


def noise_plot(report: RunReport) -> Figure:
    """1-hour noise against magnitude, with the expected noise."""
    stars, run = report.run.stars, report.run
    chosen = run.ok & np.isfinite(stars["tmag"]) & (stars["rms_hour"] > 0)
    ratio = report.ratio[chosen]
    tmag, noise = stars["tmag"][chosen], stars["rms_hour"][chosen]
    plot = _figure(420, y_axis_type="log", x_axis_label="TESS magnitude", y_axis_label="1-hour noise (ppm)")
    rows = np.flatnonzero(chosen)
    if len(rows) > MOST_POINTS:
        _density(plot, tmag, np.log10(1e6 * noise))
        outliers = np.sort(np.argsort(-np.nan_to_num(ratio), kind="stable")[:_OUTLIERS])
        rows, ratio = rows[outliers], ratio[outliers]
    shown = stars[rows]
    columns = {
        "starid": shown["starid"].astype("f8"),
        "tmag": shown["tmag"],
        "noise": 1e6 * shown["rms_hour"],
        "ratio": ratio,
        "mask": shown["mask_size"],
        "contamination": shown["contamination"],
    }
    is_tpf = np.char.startswith(shown["datasource"], "tpf")
    most = "" if len(shown) == len(tmag) else "most over expected: "
    kinds = ((~is_tpf, "full frame images", "blue"), (is_tpf, "target pixel files", "orange"))
    for mine, name, colour in kinds:
        if mine.any():
            points = plot.scatter(
                "tmag", "noise", source={key: column[mine] for key, column in columns.items()}, size=5,
                color=COLOURS[colour], line_color=None, alpha=0.7,
                legend_label=f"{most}{name} ({mine.sum()})", name="stars",
            )  # fmt: skip
            _hover(
                plot, points, ("TIC", "@starid{0}"), ("Tmag", "@tmag{0.00}"), ("noise", "@noise{0.0} ppm"),
                ("over expected", "@ratio{0.00}"), ("mask", "@mask{0} px"),
                ("contamination", "@contamination{0.000}"),
            )  # fmt: skip
    _expected(plot, report, tmag)
    plot.legend.location = "top_left"
    plot.legend.click_policy = "hide"
    return plot


def _density(plot: Figure, x: NDArray[Any], log_y: NDArray[Any]) -> None:
    """Numbers of stars in cells, on a logarithmic axis."""
    from bokeh.models import LogColorMapper
    from bokeh.palettes import Cividis256

    counts, x_edges, y_edges = np.histogram2d(x, log_y, bins=(160, 120))
    i, j = np.nonzero(counts)
    mapper = LogColorMapper(palette=Cividis256, low=1, high=counts.max())
    cells = plot.quad(
        left="left", right="right", bottom="bottom", top="top", line_color=None,
        fill_color={"field": "count", "transform": mapper},
        source={
            "left": x_edges[i], "right": x_edges[i + 1], "count": counts[i, j].astype("f4"),
            "bottom": 10 ** y_edges[j], "top": 10 ** y_edges[j + 1],
        },
    )  # fmt: skip
    _hover(plot, cells, ("stars", "@count{0}"))


def _expected(plot: Figure, report: RunReport, tmag: NDArray[np.float64]) -> None:
    """Curves of the expected noise for masks of the median size at each magnitude."""
    groups = report.data["groups"]
    if not len(tmag) or not groups:
        return
    grid = np.arange(np.floor(tmag.min()), np.ceil(tmag.max()) + 0.01, 0.1)
    bins = [one for one in groups[0]["magnitudes"] if one["mask_size"] and one["tmag"] is not None]
    if not bins:
        return
    pixels = np.interp(grid, [one["tmag"] + 0.5 for one in bins], [one["mask_size"] for one in bins])
    parts = noise_parts(mag2flux(grid), pixels, groups[0]["sky"])  # type: ignore[arg-type]
    for values, dash, name in (
        (parts.total, "solid", "expected"),
        (parts.star, "dashed", "star"),
        (parts.sky, "dotdash", "sky"),
        (parts.read, "dotted", "read-out"),
    ):
        plot.line(
            grid, 1e6 * values, color=COLOURS["red"], line_dash=dash, legend_label=name,
            line_width=2.5 if name == "expected" else 1.5,
        )  # fmt: skip


def ratio_plot(report: RunReport) -> Figure:
    """Running median of the noise over the expected noise."""
    from bokeh.models import Range1d

    plot = _figure(250, x_axis_label="TESS magnitude", y_axis_label="noise / expected")
    colours = (COLOURS["blue"], COLOURS["orange"], COLOURS["green"], COLOURS["pink"])
    for group, colour in zip(report.data["groups"], colours, strict=False):
        one = group["ratio"]
        if one["tmag"]:
            plot.varea(one["tmag"], one["p16"], one["p84"], fill_color=colour, fill_alpha=0.25)
            line = plot.line(
                "tmag", "median", source={name: one[name] for name in ("tmag", "median")},
                color=colour, line_width=2.5, legend_label=group["title"],
            )  # fmt: skip
            _hover(plot, line, ("Tmag", "@tmag{0.00}"), ("median", "@median{0.00}"))
    tmag = report.run.stars["tmag"][report.run.ok & np.isfinite(report.run.stars["tmag"])]
    low, high = (float(tmag.min()), float(tmag.max())) if tmag.size else (0.0, 15.0)
    plot.x_range = Range1d(low - 0.3, high + 0.3)
    plot.line([low, high], [1, 1], color=COLOURS["red"], line_dash="dashed", legend_label="as expected")
    _legend_above(plot)
    return plot


def _mappers(columns: Sequence[dict[str, NDArray[Any]]], points: bool) -> dict[str, ColorMapper]:
    """The colours of each quantity."""
    from bokeh.models import LinearColorMapper
    from bokeh.palettes import Cividis256

    mappers: dict[str, ColorMapper] = {}
    for name in QUANTITIES if points else CELL_QUANTITIES:
        if name == "status" and points:
            palette = [STATUS_COLOURS.get(STATUS(k), COLOURS["black"]) for k in range(max(STATUS) + 1)]
            mappers[name] = LinearColorMapper(palette=palette, low=-0.5, high=max(STATUS) + 0.5)
            continue
        values = np.concatenate([one[name] for one in columns] or [np.zeros(0)])
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
        mappers[name] = LinearColorMapper(
            palette=Cividis256, low=float(low), high=float(high) if high > low else float(low) + 1.0,
            nan_color=COLOURS["grey"],
        )  # fmt: skip
    return mappers


def map_plot(columns: list[dict[str, NDArray[Any]]], points: bool) -> tuple[Figure, dict[str, Any]]:
    """A map of the stars of one CCD.

    Parameters
    ----------
    columns : list of dict
        As of `map_points` or `map_cells`, of each CCD.
    points : bool
        Whether they are of stars, not of cells.

    Returns
    -------
    plot
        Of the first CCD and quantity.
    choices : dict
        ``sources`` (a column data source a CCD), ``mappers`` (colours by quantity): what the page sets.
    """
    from bokeh.models import ColorBar, ColumnDataSource

    mappers = _mappers(columns, points)
    plot = _figure(
        560, x_axis_label="column (pixels of the full frame image, from 1)", y_axis_label="row (from 1)",
        match_aspect=True, max_width=700,
    )  # fmt: skip
    sources = [ColumnDataSource(one) for one in columns]
    shown = ColumnDataSource(dict(columns[0]) if columns else dict.fromkeys(("x", "y", "status"), ()))
    colour = {"field": "status", "transform": mappers["status"]}
    if points:
        glyph = plot.scatter(
            "x", "y", source=shown, size="size", fill_color=colour, line_color=None, name="stars"
        )
        fields = [("TIC", "@starid{0}"), ("Tmag", "@tmag{0.00}"), ("status", "@word")]
        fields += [("noise / expected", "@ratio{0.00}"), ("contamination", "@contamination{0.000}")]
        fields += [("mask", "@mask{0} px")]
    else:
        glyph = plot.rect("x", "y", width=CELL, height=CELL, source=shown, fill_color=colour, line_color=None)
        fields = _CELL_FIELDS
    _hover(plot, glyph, *fields)
    mapper = mappers["ratio" if points else "status"]
    bar = ColorBar(color_mapper=mapper, visible=not points, background_fill_color=None)
    plot.add_layout(bar, "right")
    return plot, {"sources": sources, "mappers": mappers, "glyph": glyph, "bar": bar, "points": points}


def focal_plane_plot(
    ccds: Sequence[CCD], cells: Sequence[dict[str, NDArray[Any]]]
) -> tuple[Figure, dict[str, Any]]:
    """All CCDs side by side, as cells (of `map_cells`); a schematic, not as they lie on the sky."""
    from bokeh.models import ColorBar, ColumnDataSource, Range1d

    step = 2400
    parts: list[dict[str, NDArray[Any]]] = []
    plot = _figure(300, match_aspect=True)
    for (_, camera, ccd), cell in zip(ccds, cells, strict=True):
        part = dict(cell)
        part["x"] = part["x"] + step * (camera - 1) * 2.1 + step * ((ccd - 1) % 2)
        part["y"] = part["y"] - step * ((ccd - 1) // 2)
        part["name"] = np.full(len(part["x"]), f"camera {camera}, CCD {ccd}")
        parts.append(part)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    mappers = _mappers([columns], False)
    glyph = plot.rect(
        "x", "y", width=CELL, height=CELL, source=ColumnDataSource(columns), line_color=None,
        fill_color={"field": "status", "transform": mappers["status"]},
    )  # fmt: skip
    _hover(plot, glyph, ("", "@name"), *_CELL_FIELDS)
    bar = ColorBar(color_mapper=mappers["status"], background_fill_color=None)
    plot.add_layout(bar, "right")
    centres = [
        (step * (c - 1) * 2.1 + step * ((d - 1) % 2) + 1068, -step * ((d - 1) // 2) + 2140, f"{c}-{d}")
        for _, c, d in ccds
    ]
    x, y, text = zip(*centres, strict=True) if centres else ((), (), ())
    plot.text(
        list(x),
        list(y),
        list(text),
        text_align="center",
        text_baseline="bottom",
        text_font_size="11px",
        name="words",
    )
    plot.axis.visible = False
    plot.grid.visible = False
    plot.y_range = Range1d(-step - 100, 2500)
    return plot, {"mappers": mappers, "glyph": glyph, "bar": bar}


def series_plot(series: CCDSeries, what: str) -> Figure:
    """Background or pointing of a CCD; of many frames, means of neighbours."""
    good = series.good
    count = -(-len(series.time) // _MOST_FRAMES)
    plot = _figure(250, x_axis_label="time (BJD - 2457000, days)")
    x = _means(series.time, good, count)
    if what == "background":
        plot.yaxis.axis_label = "background (e-/s a pixel)"
        values = series.background
        plot.line(
            x, _means(values, good, count), color=COLOURS["blue"], line_width=1.5, legend_label="good frames"
        )
        bad = ~good & np.isfinite(values)
        if bad.any():
            some = np.flatnonzero(bad)[:: -(-int(bad.sum()) // _MOST_FRAMES)]
            plot.scatter(
                series.time[some], values[some], color=COLOURS["red"], size=4, legend_label="flagged frames"
            )
    else:
        plot.yaxis.axis_label = "shift (pixels)"
        for values, colour, name in (
            (series.column, COLOURS["orange"], "column"),
            (series.row, COLOURS["blue"], "row"),
        ):
            plot.line(x, _means(values, good, count), color=colour, line_width=1.5, legend_label=name)
    _legend_above(plot)
    plot.name = f"{what} {ccd_name(series.ccd)}"
    return plot


def _means(values: NDArray[np.float64], good: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """Means of `count` neighbours that are good; NaN of none."""
    padded = np.full(-(-len(values) // count) * count, np.nan)
    padded[: len(values)] = np.where(good, values, np.nan)
    rows = padded.reshape(-1, count)
    known = np.isfinite(rows)
    number = known.sum(axis=1)
    total = np.where(known, rows, 0.0).sum(axis=1)
    return np.divide(total, number, out=np.full(len(rows), np.nan), where=number > 0)


def rate_plot(record: dict[str, Any]) -> Figure:
    """Rows that all ranks finished a second, over the run."""
    times = record["timeline"]
    interval, counts = times["interval"] or 1.0, np.array(times["stars"], float)
    # Of some intervals together: a rank sends results twice a second at most.
    some = max(1, min(len(counts) // 8, int(np.ceil(2.0 / interval))))
    count = -(-len(counts) // some)
    sums = np.bincount(np.arange(len(counts)) // some, counts, count)
    widths = np.bincount(np.arange(len(counts)) // some, minlength=count) * interval
    edges = np.append(0.0, np.cumsum(widths))
    plot = _figure(
        200, x_axis_label="time since the first star was handed out (s)", y_axis_label="rows a second",
        x_range=(0, edges[-1]),
    )  # fmt: skip
    bars = plot.quad(
        left="left", right="right", top="rate", bottom=0, color=COLOURS["blue"], line_color=None,
        source={"left": edges[:-1], "right": edges[1:], "rate": sums / widths, "rows": sums},
    )  # fmt: skip
    _hover(
        plot, bars, ("time", "@left{0.0} to @right{0.0} s"), ("rows", "@rows{0}"), ("rate", "@rate{0.0}/s")
    )
    return plot


def timeline_plot(record: dict[str, Any]) -> Figure:
    """The share of time that each rank computed, over the run."""
    from bokeh.models import BasicTicker, ColorBar, LinearColorMapper
    from bokeh.palettes import Cividis256

    times = record["timeline"]
    interval = times["interval"] or 1.0
    computing = np.clip(np.array(times["computing"], ndmin=2) / interval, 0, 1).astype("f4")
    waiting, compiling = (
        np.clip(np.array(times[name], ndmin=2) / interval, 0, 1).astype("f4")
        for name in ("waiting", "compiling")
    )
    rows, bins = computing.shape
    first = times["ranks"][0][0]
    plot = _figure(
        max(160, min(420, 90 + 14 * rows)), x_axis_label="time since the first star was handed out (s)",
        y_axis_label="rank", x_range=(0, interval * bins), y_range=(first - 0.5, times["ranks"][-1][1] + 0.5),
    )  # fmt: skip
    plot.yaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    mapper = LinearColorMapper(palette=Cividis256, low=0, high=1)
    shares = {"computing": [computing], "waiting": [waiting], "compiling": [compiling]}
    image = plot.image(
        image="computing", x=0, y=first - 0.5, dw=interval * bins, dh=times["ranks"][-1][1] - first + 1,
        color_mapper=mapper, source=shares,
    )  # fmt: skip
    _hover(
        plot,
        image,
        ("time", "$x{0.0} s"),
        ("computing", "@computing{0.00}"),
        ("compiling", "@compiling{0.00}"),
        ("waiting for stars", "@waiting{0.00}"),
    )
    plot.add_layout(ColorBar(color_mapper=mapper, title="computing", background_fill_color=None), "right")
    return plot
