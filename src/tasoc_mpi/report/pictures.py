"""Pictures of a run: noise against magnitude, and a page of light curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .figures import COLOURS, new_figure, relative_unit, robust_limits, save_figure
from .noise_picture import draw_noise, run_title
from .results import Curve, Run, read_curve
from .variables import Variable, injected_variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["choose_stars", "draw_lightcurves", "draw_pictures"]

#: Light curves on the page.
PANELS = 12


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


def choose_stars(run: Run, variables: dict[int, Variable], number: int = PANELS) -> list[tuple[int, str]]:
    """Stars for the page: the same for the same results.

    The brightest star that is OK; the brightest injected variable of each kind; the star of the largest
    variability in each bin of one magnitude from 8 to 13; stars of typical noise at magnitudes 9 to 13; a
    faint one. Then the brightest of the rest, until there are enough.

    Returns
    -------
    list of (int, str)
        Places in ``run.stars`` and why, brightest first.
    """
    stars = run.stars
    able = np.flatnonzero(run.ok & (stars["lightcurve"] != "") & np.isfinite(stars["tmag"]))
    able = able[np.lexsort((stars["priority"][able], stars["tmag"][able]))]
    chosen: dict[int, str] = {}

    def take(candidates: NDArray[np.intp], why: str) -> None:
        """The first candidate that is not there yet, one light curve a star."""
        taken = {int(stars["starid"][i]) for i in chosen}
        for i in candidates:
            if len(chosen) < number and int(stars["starid"][i]) not in taken:
                chosen[int(i)] = why
                return

    take(able, "brightest")
    kinds: dict[str, list[int]] = {}
    for i in able:
        if int(stars["starid"][i]) in variables:
            kinds.setdefault(variables[int(stars["starid"][i])].kind, []).append(int(i))
    for kind in sorted(kinds):
        take(np.array(kinds[kind]), "")
    tmag = stars["tmag"][able]
    faint = able[tmag > 14.0] if (tmag > 14.0).any() else able[-1:]
    take(_typical(faint, stars["rms_hour"]), "faint")
    for lower in range(8, 13):
        here = able[(tmag >= lower) & (tmag < lower + 1)]
        take(
            here[np.argsort(-_finite(stars["variability"][here]), kind="stable")],
            "most variable of its magnitude",
        )
    for lower in range(9, 14):
        take(
            _typical(able[(tmag >= lower) & (tmag < lower + 1)], stars["rms_hour"]),
            "typical of its magnitude",
        )
    for i in able:
        if len(chosen) == number:
            break
        take(np.array([i]), "")
    order = sorted(chosen, key=lambda i: (stars["tmag"][i], stars["priority"][i]))
    return [(i, chosen[i]) for i in order]


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, -1.0)


def _typical(candidates: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Candidates in order of the distance of their value from the median."""
    known = candidates[np.isfinite(values[candidates])]
    if not len(known):
        return candidates
    distance = np.abs(values[known] - np.median(values[known]))
    return known[np.argsort(distance, kind="stable")]


def draw_lightcurves(run: Run, variables: dict[int, Variable], path: Path) -> Path:
    """Draw a page of light curves: relative flux at good points, each on its own scale."""
    chosen = choose_stars(run, variables)
    if not chosen:
        raise InputError(f"{run.path}: no star that is OK has a light curve; run again with --overwrite")
    columns = 2
    rows = -(-len(chosen) // columns)
    figure = new_figure(13.0, 0.6 + 2.0 * rows)
    figure.suptitle(run_title(run), fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    span = _draw_curves(list(grid.flat), run, chosen, variables)
    for axes in grid[-1]:
        axes.set_xlabel("time (BJD $-$ 2457000, days)")
    limits = robust_limits(np.array(span), margin=0.01, cut=0.0)
    if limits is not None:
        grid[0, 0].set_xlim(*limits)
    figure.align_ylabels(grid)
    return save_figure(figure, path)


def _draw_curves(
    panels: Sequence[Axes], run: Run, chosen: Sequence[tuple[int, str]], variables: dict[int, Variable]
) -> list[float]:
    """Draw one light curve a panel; returns the first and last times."""
    span: list[float] = []
    for axes, (i, why) in zip(panels, chosen, strict=False):
        star = run.stars[i]
        curve = read_curve(run.file(star))
        good = curve.good
        size = 2.5 if good.sum() < 3000 else 1.0
        # Where there is a correction, the raw light curve is in the background.
        corrected = bool(np.isfinite(curve.corrected[good]).any())
        shown = [curve.relative, curve.corrected] if corrected else [curve.relative]
        factor, unit = relative_unit(shown[-1][good])
        for values, colour in zip(shown, ("grey", "black")[-len(shown) :], strict=True):
            axes.plot(
                curve.time[good], factor * values[good], ".", markersize=size, color=COLOURS[colour],
                rasterized=True,
            )  # fmt: skip
        limits = robust_limits(np.concatenate([factor * values[good] for values in shown]), margin=0.1)
        if limits is not None:
            axes.set_ylim(*limits)
        axes.set_ylabel(unit)
        axes.ticklabel_format(useOffset=False)
        variable = variables.get(int(star["starid"]))
        # What was injected stands in the same line.
        words = [f"TIC {star['starid']}", f"Tmag {star['tmag']:.2f}", "" if variable else why]
        words += [_source(curve, star), "grey: raw" if corrected else ""]
        axes.set_title("   ".join(word for word in words if word), fontsize=9, loc="left")
        if variable is not None:
            axes.set_title(variable.text, fontsize=9, loc="right", color=COLOURS["red"])
        span += [float(t) for t in curve.time[np.isfinite(curve.time)][[0, -1]]]
    return span


def _source(curve: Curve, star: np.void) -> str:
    return f"{star['cadence']} s" if str(star["datasource"]).startswith("tpf") else ""
