"""The report of a run as one HTML file without any network, and its numbers as JSON."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.status import STATUS
from ..worklist.work_list import ccd_name
from .html_page import page_file, page_template
from .noise_picture import noise_figure
from .run_report import RunReport
from .star_map import QUANTITIES, map_columns

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

__all__ = ["write_report"]

#: Of more stars the search box knows no noise: a page stays below 10 MB.
_MOST_WITH_NOISE = 300_000


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
        write_whole(numbers, (json.dumps(report.data, indent=1) + "\n").encode(), durable=False)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --output") from None
    return html, numbers


def _render(report: RunReport) -> str:
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources

        template = page_template("report.html")
    except ImportError:
        raise InputError("reports need bokeh and jinja2: pip install 'tasoc-mpi[report]'") from None
    plots, choices = _plots(report)
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
        stars=_json(_search_columns(report.run.stars)),
        points=choices["maps"][0]["points"],
        statuses=[status.name for status in STATUS],
        statuses_json=_json(_words(report)),
        quantities=QUANTITIES,
        picture=_picture(report),
        ccd_name=lambda ccd: ccd_name(tuple(ccd)),
    )


def _words(report: RunReport) -> dict[str, Any]:
    """Names and colours of statuses, the command of a star's page, and the pages that are there."""
    from .page_plots import STATUS_COLOURS

    pages = report.run.output / "pages"
    return {
        "names": [STATUS(k).name if k in set(STATUS) else "-" for k in range(max(STATUS) + 1)],
        "colours": {status.name: STATUS_COLOURS[status] for status in STATUS if status in STATUS_COLOURS},
        "show": report.data["show"],
        "pages": sorted(path.name for path in pages.glob("tic*.html")) if pages.is_dir() else [],
    }


def _json(value: Any) -> str:
    """JSON within an element of a page: nothing in it can end the element."""
    text = json.dumps(value)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _plots(report: RunReport) -> tuple[dict[str, Figure], dict[str, Any]]:
    """All plots by their names, and what the page's controls set in them."""
    from .page_plots import (
        MOST_POINTS,
        focal_plane_plot,
        map_plot,
        noise_plot,
        ratio_plot,
        series_plot,
        timeline_plot,
    )

    plots = {"noise": noise_plot(report), "ratio": ratio_plot(report)}
    plots["noise"].x_range = plots["ratio"].x_range
    choices: dict[str, Any] = {"maps": []}
    ccds = [tuple(one["ccd"]) for one in report.data["ccds"]]
    points = len(report.run.stars) <= MOST_POINTS
    columns = [map_columns(report, ccd, points) for ccd in ccds]
    plots["map"], on_map = map_plot(columns, points)
    # The data of the other CCDs travel with the plot as tags: the page exchanges them.
    plots["map"].tags = [*on_map["sources"], *on_map["mappers"].values()]
    choices["maps"].append(
        {
            "plot": plots["map"].id,
            "glyph": on_map["glyph"].id,
            "bar": on_map["bar"].id,
            "points": on_map["points"],
            "sources": [source.id for source in on_map["sources"]],
            "mappers": {name: mapper.id for name, mapper in on_map["mappers"].items()},
        }
    )
    if len(ccds) > 1:
        cells = [map_columns(report, ccd, False) for ccd in ccds] if points else columns
        plots["focal_plane"], on_plane = focal_plane_plot(ccds, cells)
        plots["focal_plane"].tags = list(on_plane["mappers"].values())
        choices["maps"].append(
            {
                "plot": plots["focal_plane"].id,
                "glyph": on_plane["glyph"].id,
                "points": False,
                "sources": [],
                "mappers": {name: mapper.id for name, mapper in on_plane["mappers"].items()},
            }
        )
    with_series = [series.ccd for series in report.series]
    choices["series"] = len(with_series)
    choices["series_of"] = [with_series.index(ccd) if ccd in with_series else -1 for ccd in ccds]
    for k, series in enumerate(report.series):
        plots[f"background_{k}"] = series_plot(series, "background")
        plots[f"pointing_{k}"] = series_plot(series, "pointing")
        plots[f"pointing_{k}"].x_range = plots[f"background_{k}"].x_range
    for k, record in enumerate(report.data["runs"]):
        if record.get("timeline"):
            plots["timeline"] = timeline_plot(record)
            choices["timeline"] = k
            break
    return plots, choices


def _search_columns(stars: NDArray[np.void]) -> dict[str, Any]:
    """All rows in order of their TIC numbers, packed: what the search box looks in."""
    order = np.argsort(stars["starid"], kind="stable")
    stars = stars[order]
    ccds, place = np.unique(stars[["sector", "camera", "ccd"]], return_inverse=True)
    tmag = np.where(np.isfinite(stars["tmag"]), np.clip(1000 * (stars["tmag"] + 10), 0, 65534), 65535)
    columns = {
        "starid": _varints(np.diff(stars["starid"].astype("u8"), prepend=np.uint64(0))),
        "status": stars["status"].astype("u1").tobytes(),
        "ccd": place.astype("<u2").tobytes(),
        "tmag": tmag.round().astype("<u2").tobytes(),
        "tpf": np.char.startswith(stars["datasource"], "tpf").astype("u1").tobytes(),
    }
    if len(stars) <= _MOST_WITH_NOISE:
        columns["noise"] = (1e6 * stars["rms_hour"]).astype("<f4").tobytes()
    packed = {name: base64.b64encode(zlib.compress(data, 6)).decode() for name, data in columns.items()}
    return {"count": len(stars), "ccds": [list(ccd) for ccd in ccds.tolist()], "columns": packed}


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


def _picture(report: RunReport) -> str:
    """The noise against magnitude as a picture, for pages without JavaScript; '' without a star."""
    if not report.run.ok.any():
        return ""
    figure = noise_figure(report.run, {})
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=70)
    figure.clear()
    return base64.b64encode(data.getvalue()).decode()
