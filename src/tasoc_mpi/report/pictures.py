"""Pictures of a run: noise against magnitude, and a page of light curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .chosen_stars import ChosenStar, choose_stars
from .curve_plots import draw_folded, draw_series
from .figures import new_figure, relative_unit, robust_limits, save_figure
from .noise_picture import draw_noise, run_title
from .results import Curve, Run, read_curve
from .star_neighbours import corrected_flux
from .star_signal import fit_sine
from .variables import Variable, injected_variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_lightcurves", "draw_pictures"]

#: Light curves on the page.
PANELS = 12
#: Width of the page and height of a row, inches; relative widths of light curves, folded ones, and the gap.
_WIDTH, _HEIGHT = 14.0, 1.75
_WIDTHS = (2.3, 1.0, 0.4, 2.3, 1.0)


def draw_pictures(run: Run, folder: Path) -> list[Path]:
    """Draw ``noise.png`` and ``lightcurves.png`` into the folder of the light curves.

    Parameters
    ----------
    run : Run
    folder : Path
        The input folder; the truth of a simulation in it names the variable stars.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If no star is OK, matplotlib is not installed, or a file cannot be read or written.
    """
    if not run.ok.any():
        raise InputError(
            f"{run.path}: no star is OK, there is nothing to draw; `tasoc-mpi status` lists errors"
        )
    if not run.output.is_dir():
        raise InputError(f"{run.output}: no such folder; name the folder of the light curves with --output")
    variables = injected_variables(folder, run.stars)
    return [
        draw_noise(run, variables, run.output / "noise.png"),
        draw_lightcurves(run, variables, run.output / "lightcurves.png"),
    ]


# --- Light curves --------------------------------------------------------------------------------------


def draw_lightcurves(run: Run, variables: dict[int, Variable], path: Path) -> Path:
    """Draw a page of light curves: relative flux with flags and errors, folded where a period is known."""
    chosen = choose_stars(run, variables, PANELS)
    if not chosen:
        raise InputError(f"{run.path}: no star that is OK has a light curve; run again with --overwrite")
    # Down the columns, those with a period last: panels of one width are below each other.
    chosen.sort(key=lambda one: bool(np.isfinite(one.period)))
    rows = -(-len(chosen) // 2)
    height = 0.95 + _HEIGHT * rows
    figure = new_figure(_WIDTH, height, layout=None)
    figure.text(0.5, 1 - 0.2 / height, run_title(run), fontsize=11, ha="center", va="center")
    # Of each half: the light curve, and the folded one, which has the same scale.
    grid = figure.add_gridspec(
        rows, 5, width_ratios=_WIDTHS, left=0.8 / _WIDTH, right=1 - 0.15 / _WIDTH, wspace=0.03,
        bottom=0.5 / height, top=1 - 0.75 / height, hspace=0.5,
    )  # fmt: skip
    curves = [read_curve(run.file(run.stars[one.index])) for one in chosen]
    span = robust_limits(np.concatenate([curve.time for curve in curves]), margin=0.03, cut=0.0)
    handles: dict[str, Any] = {}
    for k, (one, curve) in enumerate(zip(chosen, curves, strict=True)):
        row, first = k % rows, 3 * (k // rows)
        folded = np.isfinite(one.period)
        axes = figure.add_subplot(grid[row, first : first + (1 if folded else 2)])
        beside = figure.add_subplot(grid[row, first + 1], sharey=axes) if folded else None
        _draw_star(axes, beside, run, one, curve)
        if span is not None:
            axes.set_xlim(*span)
        if row == rows - 1 or k == len(chosen) - 1:
            axes.set_xlabel("BJD \N{MINUS SIGN} 2457000 (days)", fontsize=8)
            if beside is not None:
                beside.set_xlabel("phase", fontsize=8)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label.partition(" (")[0], handle)
    figure.legend(
        list(handles.values()), list(handles), loc="center", bbox_to_anchor=(0.5, 1 - 0.42 / height),
        ncols=len(handles), fontsize=8, frameon=False,
    )  # fmt: skip
    return save_figure(figure, path)


def _draw_star(axes: Axes, beside: Axes | None, run: Run, one: ChosenStar, curve: Curve) -> None:
    """One light curve, and beside it the folded one where a period is known."""
    star = run.stars[one.index]
    values, corrected = corrected_flux(curve)
    shown = curve.corrected if corrected else curve.relative
    factor, unit = relative_unit(values)
    # Where there is a correction, the raw light curve is behind it.
    draw_series(axes, curve, shown, factor, behind=curve.relative if corrected else None)
    axes.set_ylabel(f"relative flux ({unit})", fontsize=8)
    words = f"TIC {star['starid']}, Tmag {star['tmag']:.2f}, {star['cadence']} s"
    axes.set_title(f"{words}: {one.why}" if one.why else words, fontsize=8.5, loc="left")
    axes.tick_params(labelsize=8)
    if beside is None:
        return
    sine = fit_sine(curve.time, values, one.period)
    epoch = sine.minimum(one.period) if sine is not None else 0.0
    limits = axes.get_ylim()
    draw_folded(beside, curve.time, factor * values, one.period, epoch)
    axes.set_ylim(*limits)
    beside.tick_params(labelleft=False, labelsize=8)
    beside.set_title(f"P = {one.period:.4g} d", fontsize=8.5, loc="left")
