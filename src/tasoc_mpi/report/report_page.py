"""The report of a run as one HTML file without any network, and its numbers as JSON."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.progress import progress
from ..core.status import STATUS
from ..worklist.work_list import ccd_name
from .html_page import page_file, page_template
from .report_stills import draw_stills
from .run_report import RunReport, star_pages
from .star_facts import collect_star
from .star_map import CELL_QUANTITIES, QUANTITIES
from .star_page import write_page

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

__all__ = ["write_report", "write_star_pages"]

#: Of more stars the search box knows no noise: a page stays below 10 MB.
_MOST_WITH_NOISE = 300_000
#: Ranks that are listed.
_RANKS = 20
#: Stages of a run.
_STAGES = {
    "compiling": "compiling kernels in advance",
    "starting": "starting: modules, MPI",
    "reading": "reading the work list",
    "computing": "computing",
    "publishing": "publishing",
}


def write_report(report: RunReport, folder: Path) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.json`` into a folder.

    Parameters
    ----------
    report : RunReport
    folder : Path
        Has to be there.

    Returns
    -------
    html, json : Path

    Raises
    ------
    InputError
        If bokeh or jinja2 is not installed, or a file cannot be written.
    """
    html, numbers = folder / "report.html", folder / "report.json"
    page = _render(report)
    try:
        write_whole(html, page.encode(), durable=False)
        write_whole(numbers, (json.dumps(report.data) + "\n").encode(), durable=False)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from None
    return html, numbers


def write_star_pages(report: RunReport, folder: Path, count: int) -> None:
    """Write the pages of the stars that are noisiest for their magnitude.

    Parameters
    ----------
    report : RunReport
        Its list of pages is brought up to date.
    folder : Path
        The input folder.
    count : int
        How many.

    Raises
    ------
    InputError
        If a file is damaged or cannot be written.
    """
    ratio = np.nan_to_num(report.ratio, nan=-1.0)
    order = np.argsort(-ratio, kind="stable")
    stars = report.run.stars
    chosen = [stars["starid"][i] for i in order[: 4 * count] if ratio[i] > 0 and stars["lightcurve"][i]]
    starids = list(dict.fromkeys(int(starid) for starid in chosen))[:count]
    for starid in progress(starids, len(starids), "pages", "stars"):
        write_page(collect_star(report.run, folder, starid), report.run.output)
    report.data["pages"] = star_pages(report.run.output)


def _render(report: RunReport) -> str:
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources

        template = page_template("report.html")
    except ImportError:
        raise InputError("reports need bokeh and jinja2: pip install 'tasoc-mpi[report]'") from None
    run = _complete_run(report)
    plots, choices = _plots(report, run)
    script, divs = components(plots)
    # The part that draws; not those of widgets, tables and formulas.
    library = Resources(mode="inline", components=["bokeh"])
    return template.render(
        report=report.data,
        plots=divs,
        script=script,
        bokeh="\n".join(f"<script>{code}</script>" for code in library.js_raw),
        css=page_file("page.css"),
        page_script=page_file("report.js"),
        choices=_json(choices),
        stars=_json(_search_columns(report)),
        points=bool(report.points),
        run=run,
        ranks=_fewest_rows(run),
        stages=_STAGES,
        statuses=[status.name for status in STATUS],
        statuses_json=_json(_words(report)),
        quantities=QUANTITIES if report.points else CELL_QUANTITIES,
        stills=draw_stills(report, run),
        ccd_name=lambda ccd: ccd_name(tuple(ccd)),
    )


def _words(report: RunReport) -> dict[str, Any]:
    """Names and colours of statuses, the command of a star's page, and the pages that are there."""
    from .page_plots import STATUS_COLOURS

    return {
        "names": [STATUS(k).name if k in set(STATUS) else "-" for k in range(max(STATUS) + 1)],
        "colours": {
            status.name: STATUS_COLOURS[status]
            for status in STATUS
            if status in STATUS_COLOURS and report.data["counts"].get(status.name)
        },
        "show": report.data["show"],
        "pages": report.data["pages"],
    }


def _json(value: Any) -> str:
    """JSON within an element of a page: nothing in it can end the element."""
    text = json.dumps(value)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _plots(report: RunReport, run: dict[str, Any] | None) -> tuple[dict[str, Figure], dict[str, Any]]:
    """All plots by their names, and what the page's controls set in them."""
    from .page_plots import noise_plot, rate_plot, ratio_plot, series_plot, timeline_plot

    plots: dict[str, Figure] = {}
    if (report.run.stars["rms_hour"][report.run.ok] > 0).any():
        plots |= {"noise": noise_plot(report), "ratio": ratio_plot(report)}
        plots["noise"].x_range = plots["ratio"].x_range
    choices: dict[str, Any] = {"maps": _add_maps(report, plots)}
    with_series = [series.ccd for series in report.series]
    choices["series"] = len(with_series)
    choices["series_of"] = [with_series.index(ccd) if ccd in with_series else -1 for ccd in report.ccds]
    for k, series in enumerate(report.series):
        plots[f"background_{k}"] = series_plot(series, "background")
        plots[f"pointing_{k}"] = series_plot(series, "pointing")
        plots[f"pointing_{k}"].x_range = plots[f"background_{k}"].x_range
    if run is not None:
        plots["timeline"], plots["rate"] = timeline_plot(run), rate_plot(run)
        plots["rate"].x_range = plots["timeline"].x_range
    return plots, choices


def _complete_run(report: RunReport) -> dict[str, Any] | None:
    """The record of the last run that computed light curves and has told of all ranks."""
    runs = (one for one in report.data["runs"] if one["command"] == "run" and one["by_rank"])
    return next((one for one in runs if one["timeline"]), None)


def _fewest_rows(run: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The ranks of a run that computed the fewest rows, each with its numbers."""
    columns = run["by_rank"] if run is not None else {}
    ranks = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return sorted(ranks, key=lambda one: (one["stars"], one["rank"]))[:_RANKS]


def _add_maps(report: RunReport, plots: dict[str, Figure]) -> list[dict[str, Any]]:
    """Draw the map of a CCD and that of the focal plane; what the page's controls set in them."""
    from .page_plots import focal_plane_plot, map_plot

    points = bool(report.points)
    plots["map"], on_map = map_plot(report.points or report.cells, points)
    # The data of the other CCDs travel with the plot as tags: the page exchanges them.
    plots["map"].tags = [*on_map["sources"], *on_map["mappers"].values()]
    maps = [_map_choices(plots["map"], on_map, points)]
    if len(report.ccds) > 1:
        plots["focal_plane"], on_plane = focal_plane_plot(report.ccds, report.cells)
        plots["focal_plane"].tags = list(on_plane["mappers"].values())
        maps.append(_map_choices(plots["focal_plane"], on_plane, False))
    return maps


def _map_choices(plot: Figure, made: dict[str, Any], points: bool) -> dict[str, Any]:
    return {
        "plot": plot.id,
        "glyph": made["glyph"].id,
        "bar": made["bar"].id,
        "points": points,
        "sources": [source.id for source in made.get("sources", ())],
        "mappers": {name: mapper.id for name, mapper in made["mappers"].items()},
    }


def _search_columns(report: RunReport) -> dict[str, Any]:
    """All rows in order of their TIC numbers, packed: what the search box looks in."""
    rows = report.run.stars
    order = np.argsort(rows["starid"], kind="stable")
    names = ("starid", "sector", "camera", "ccd", "tmag", "status", "datasource", "rms_hour")
    stars = {name: rows[name][order] for name in names}
    ccd = {ccd: place for place, ccd in enumerate(report.ccds)}
    keys = np.array([*ccd, (0, 0, 0)])
    place = np.zeros(len(rows), int)
    for k in range(len(ccd)):
        same = [stars[name] == key for name, key in zip(("sector", "camera", "ccd"), keys[k], strict=True)]
        place[np.logical_and.reduce(same)] = k
    tmag = np.where(np.isfinite(stars["tmag"]), np.clip(1000 * (stars["tmag"] + 10), 0, 65534), 65535)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    by = report.skipping[order]
    columns = {
        "starid": _varints(np.diff(stars["starid"].astype("u8"), prepend=np.uint64(0))),
        "status": stars["status"].astype("u1").tobytes(),
        "ccd": place.astype("<u2").tobytes(),
        "tmag": tmag.round().astype("<u2").tobytes(),
        "tpf": np.char.startswith(stars["datasource"], "tpf").astype("u1").tobytes(),
        # Which rows are skipped, and the places of the stars that skip them.
        "skipped": np.packbits(by >= 0, bitorder="little").tobytes(),
        "by": rank[by[by >= 0]].astype("<u4").view("u1").reshape(-1, 4).T.tobytes(),
    }
    if len(rows) <= _MOST_WITH_NOISE:
        columns["noise"] = (1e6 * stars["rms_hour"]).astype("<f4").tobytes()
    packed = {name: base64.b64encode(zlib.compress(data, 6)).decode() for name, data in columns.items()}
    return {"count": len(rows), "ccds": [list(one) for one in report.ccds], "columns": packed}


def _varints(values: NDArray[np.uint64]) -> bytes:
    """Numbers in groups of seven bits, the lowest first, with bit 7 set where another group follows.

    >>> _varints(np.array([1, 300], "u8")).hex()
    '01ac02'
    """
    groups = np.zeros((len(values), 10), np.uint8)
    used = np.zeros((len(values), 10), bool)
    rest = values.astype("u8")
    for k in range(10):
        groups[:, k] = rest & np.uint64(127)
        used[:, k] = (rest > 0) | (k == 0)
        rest = rest >> np.uint64(7)
    groups[:, :-1] |= 128 * used[:, 1:].astype(np.uint8)
    return groups[used].tobytes()
