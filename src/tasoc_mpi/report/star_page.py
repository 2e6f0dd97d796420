"""The page of one star: one HTML file without any network, or a picture."""

from __future__ import annotations

import base64
import html
import io
import os
import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic import write_whole
from ..core.errors import InputError, UsageError
from ..core.methods import choose_method
from ..core.settings import input_folder as input_folder_of
from ..core.whole import whole
from ..worklist.output_folder import check_there
from .figures import new_figure
from .html_page import number, page_file, page_template
from .results import read_run
from .star_facts import SAME_MAGNITUDE, ShownCurve, StarFacts, collect_star, observation
from .star_neighbours import NEAR
from .star_panels import PANELS, draw_overview, period_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "StarPage", "draw_page", "show", "write_page"]

FORMATS = ("html", "png", "pdf")
#: Height of a page in a notebook, pixels.
_NOTEBOOK = 900
#: Heights of the titles and of the overview of a picture, inches, and lines of remarks and neighbours.
_HEADER, _OVERVIEW, _LISTED = 0.5, 3.2, 15
#: Characters in a line of its texts.
_COLUMNS = 60
#: Dots an inch of the points in a PDF.
_PDF_DPI = 220


class StarPage:
    """The page of one star, which notebooks show; made by `show`.

    Attributes
    ----------
    facts : StarFacts
        Everything that the page shows: the rows of the star in the work list, and for each light curve its
        power spectrum, best period, neighbours and diagnostics.
    """

    def __init__(self, facts: StarFacts) -> None:
        self.facts = facts

    def __repr__(self) -> str:
        return f"<StarPage TIC {self.facts.starid}: {len(self.facts.curves)} light curves>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, whose style does not change that of the notebook."""
        page = html.escape(_html(self.facts))
        title = f"TIC {self.facts.starid}"
        return f'<iframe srcdoc="{page}" title="{title}" width="100%" height="{_NOTEBOOK}"></iframe>'

    def draw(self) -> Figure:
        """All panels as one matplotlib figure."""
        return draw_page(self.facts)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file; its form is that of the name's end: ``.html``, ``.png`` or ``.pdf``.

        Raises
        ------
        UsageError
            If the name ends with something else.
        InputError
            If matplotlib or jinja2 is not installed, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix[1:] not in FORMATS:
            raise UsageError(f"{path}: a page's name ends with .{', .'.join(FORMATS)}")
        return _write(self.facts, path)


def show(
    starid: int,
    input_folder: str | os.PathLike[str],
    output_folder: str | os.PathLike[str] | None = None,
    photometry: str | None = None,
    todo: str | os.PathLike[str] | None = None,
) -> StarPage:
    """The page of one star of a run: pixels, light curves, power spectra, neighbours, diagnostics.

    Parameters
    ----------
    starid : int
        TIC number.
    input_folder : path-like
        The input folder of the run, with its work list.
    output_folder : path-like, optional
        The folder of the light curves. Default: that of the last run.
    photometry : str, optional
        The method of ``run --photometry``. Default: the methods of the work list.
    todo : path-like, optional
        The work list. Default: ``todo.sqlite`` in the input folder.

    Returns
    -------
    StarPage
        A notebook shows it; `save` writes it.

    Raises
    ------
    MissingInput
        If the star is not in the work list or has no light curve.
    InputError
        If a file is damaged.

    Examples
    --------
    >>> show(25155310, "x")
    Traceback (most recent call last):
    tasoc_mpi.core.errors.MissingInput: x: no such folder; name the one that holds the data
    """
    starid, folder = whole(starid, "starid"), input_folder_of(input_folder)
    run = read_run(folder, output_folder, choose_method(photometry).name, starid, todo)
    check_there(run.output)
    return StarPage(collect_star(run, folder, starid))


def write_page(facts: StarFacts, folder: Path, form: str = "html") -> Path:
    """Write the page of a star.

    Parameters
    ----------
    facts : StarFacts
    folder : Path
        The folder of the light curves; the page goes into its folder `pages`.
    form : {'html', 'png', 'pdf'}

    Returns
    -------
    Path
        ``pages/ticNNNNNNNNNNN.html``, ``.png`` or ``.pdf``.

    Raises
    ------
    InputError
        If matplotlib or jinja2 is not installed, or the file cannot be written.
    """
    path = folder / "pages" / f"tic{facts.starid:011d}.{form}"
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --output") from None
    return _write(facts, path)


def _write(facts: StarFacts, path: Path) -> Path:
    form = path.suffix[1:]
    data = _html(facts).encode() if form == "html" else _picture(draw_page(facts), form)
    try:
        write_whole(path, data, durable=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another folder") from None
    return path


def draw_page(facts: StarFacts) -> Figure:
    """All panels of a star and its diagnostics in one figure, one light curve below the other."""
    heights = [_HEADER, *(height for *_, height in PANELS)]
    overview = [_OVERVIEW] if len(facts.curves) > 1 else []
    figure = new_figure(12.0, sum(overview) + sum(heights) * len(facts.curves), layout=None)
    ratios = overview + [sum(heights)] * len(facts.curves)
    parts = list(figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0])
    if overview:
        draw_overview(parts.pop(0), facts)
    for part, one in zip(parts, facts.curves, strict=True):
        header, *panels = part.subfigures(len(heights), 1, height_ratios=heights)
        title = f"TIC {facts.starid}   Tmag {number(facts.tmag, 2)}   {one.title}"
        header.text(0.01, 0.4, title, fontsize=12, va="center", parse_math=False)
        for panel, (name, draw, _, width, _) in zip(panels, PANELS, strict=True):
            if name == "stamp":
                notes = [line for remark in one.remarks for line in textwrap.wrap(remark, _COLUMNS)]
                left, panel = panel.subfigures(1, 2, width_ratios=(width, 12 - width))
                draw(left, one)
                neighbours = _neighbours_text(one, max(_LISTED - len(notes), 1))
                text = "\n".join([_diagnostics_text(one), *([""] if notes else []), *notes, "", neighbours])
                # A dollar sign would begin a formula.
                panel.text(0.02, 0.95, text, family="monospace", fontsize=7.5, va="top", parse_math=False)
            else:
                draw(panel, one)
    return figure


def _diagnostics_text(one: ShownCurve) -> str:
    lines = [f"{'':<38}{'star':>11}{'median':>11}"]
    for row in one.diagnostics:
        name = f"{row.name} ({row.unit})" if row.unit else row.name
        lines.append(
            f"{name:<38.38}{number(row.value, row.decimals):>11}{number(row.median, row.decimals):>11}"
        )
    lines.append(f"median of {one.peers} stars of Tmag \N{PLUS-MINUS SIGN} {SAME_MAGNITUDE}")
    return "\n".join(lines)


def _neighbours_text(one: ShownCurve, most: int) -> str:
    lines = [f"{'TIC':>12}{'Tmag':>7}{'pixels':>8}  {'amplitude (ppm)':>18}"]
    for near in one.neighbours[:most]:
        signal = near.signal
        sine = (
            "-"
            if signal is None
            else f"{number(signal.amplitude, 0, 1e6)} \N{PLUS-MINUS SIGN} " + number(signal.error, 0, 1e6)
        )
        lines.append(f"{near.starid:>12}{number(near.tmag, 2):>7}{near.distance:>8.2f}  {sine:>18}")
    return "\n".join(lines)


def _picture(figure: Figure, form: str) -> bytes:
    # No version and no time in the file: the same data give the same PNG.
    metadata = {"png": {"Software": None}, "pdf": {"Producer": None, "Creator": None, "CreationDate": None}}
    data = io.BytesIO()
    dpi = _PDF_DPI if form == "pdf" else "figure"
    figure.savefig(data, format=form, metadata=metadata[form], dpi=dpi)
    figure.clear()
    return data.getvalue()


def _html(facts: StarFacts) -> str:
    try:
        template = page_template("star.html", period=period_text)
    except ImportError:
        raise InputError("pages need jinja2: pip install 'tasoc-mpi[report]'; or --format png") from None
    return template.render(
        facts=facts,
        css=page_file("page.css"),
        program=version("tasoc-mpi"),
        overview=_drawn(draw_overview, facts, 11.0, _OVERVIEW) if len(facts.curves) > 1 else None,
        panels=[_panels(one) for one in facts.curves],
        report=(facts.run.output / "report.html").is_file(),
        observation=observation,
        near=NEAR,
        same=SAME_MAGNITUDE,
    )


def _panels(one: ShownCurve) -> dict[str, dict[str, str]]:
    """Title, words and picture of each panel of a light curve by its name."""
    return {
        name: {"title": title, **_drawn(draw, one, width, height)}
        for name, draw, title, width, height in PANELS
    }


def _drawn(draw: Callable[[Figure, Any], str], what: Any, width: float, height: float) -> dict[str, str]:
    """A panel as PNG, and its words."""
    figure = new_figure(width, height, layout=None)
    words = draw(figure, what)
    return {"words": words, "picture": base64.b64encode(_picture(figure, "png")).decode()}
