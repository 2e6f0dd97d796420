"""The page of one star: one HTML file without any network, or a picture."""

from __future__ import annotations

import base64
import io
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic import write_whole
from ..core.errors import InputError
from .figures import new_figure
from .html_page import number, page_file, page_template
from .star_facts import NEAR, SAME_MAGNITUDE, ShownCurve, StarFacts, observation
from .star_panels import PANELS, period_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "draw_page", "write_page"]

FORMATS = ("html", "png", "pdf")


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
    data = _html(facts).encode() if form == "html" else _picture(draw_page(facts), form)
    try:
        path.parent.mkdir(exist_ok=True)
        write_whole(path, data, durable=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --output") from None
    return path


def draw_page(facts: StarFacts) -> Figure:
    """All panels of a star and its diagnostics in one figure, one light curve below the other."""
    height = sum(height for *_, height in PANELS) + 0.6
    figure = new_figure(12.0, height * len(facts.curves))
    parts = figure.subfigures(len(facts.curves), 1, squeeze=False)[:, 0]
    for part, one in zip(parts, facts.curves, strict=True):
        part.suptitle(f"TIC {facts.starid}   Tmag {number(facts.tmag, 2)}   {one.title}", fontsize=12)
        panels = part.subfigures(len(PANELS), 1, height_ratios=[height for *_, height in PANELS])
        for panel, (name, draw, _, width, _) in zip(panels, PANELS, strict=True):
            if width > 10:
                draw(panel, one)
                continue
            left, right = panel.subfigures(1, 2, width_ratios=(width, 12 - width))
            draw(left, one)
            _write_table(right, _diagnostics_text(one) if name == "stamp" else _neighbours_text(one))
    return figure


def _write_table(figure: Any, text: str) -> None:
    # Of the program's own words and numbers; a dollar sign would begin a formula.
    figure.text(0.02, 0.95, text, family="monospace", fontsize=7.5, va="top", parse_math=False)


def _diagnostics_text(one: ShownCurve) -> str:
    lines = [f"{'':<33}{'star':>10}{'median':>10}"]
    for row in one.diagnostics:
        name = f"{row.name} ({row.unit})" if row.unit else row.name
        lines.append(
            f"{name:<33.33}{number(row.value, row.decimals):>10}{number(row.median, row.decimals):>10}"
        )
    lines.append(f"median of {one.peers} stars of Tmag \N{PLUS-MINUS SIGN} {SAME_MAGNITUDE}")
    return "\n".join(lines)


def _neighbours_text(one: ShownCurve) -> str:
    lines = [f"{'TIC':>12}{'Tmag':>7}{'pixels':>8}  {'amplitude (ppm)':>18}"]
    for near in one.neighbours[:20]:
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
    figure.savefig(data, format=form, metadata=metadata[form])
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
        panels=[_panels(one) for one in facts.curves],
        report=(facts.run.output / "report.html").is_file(),
        observation=observation,
        near=NEAR,
        same=SAME_MAGNITUDE,
    )


def _panels(one: ShownCurve) -> dict[str, dict[str, str]]:
    """Title, words and picture of each panel of a light curve by its name."""
    found = {}
    for name, draw, title, width, height in PANELS:
        figure = new_figure(width, height)
        words = draw(figure, one)
        found[name] = {
            "title": title,
            "words": words,
            "picture": base64.b64encode(_picture(figure, "png")).decode(),
        }
    return found
