"""The picture of the noise against magnitude, and of its ratio to the expected noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.settings import mag2flux
from ..products.lightcurve import SHOWN_FLUX_UNIT
from .figures import COLOURS, new_figure, save_figure
from .noise import expected_noise, noise_parts
from .results import Run, ccds_of, sky_level
from .summary import star_groups
from .variables import Variable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_noise", "noise_figure", "run_title", "running_quantiles"]

#: Width of the windows of the running median, magnitudes, and outliers that are named.
_WINDOW, _NAMED = 0.25, 5
#: Stars this far above the expected noise are outliers that are named.
_OUTLIER = 3.0


def running_quantiles(
    tmag: NDArray[np.float64], values: NDArray[np.float64], least: int = 5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quantiles of values in windows of magnitude.

    Parameters
    ----------
    tmag, values : ndarray, shape (n,)
        NaN where not known. Values have no slope with magnitude within a window: of the noise itself a
        median would be that of the fainter stars, which are more and have more noise.
    least : int, optional
        Fewest stars of a window.

    Returns
    -------
    centres : ndarray, shape (m,)
        Middles of the windows that have enough stars.
    quantiles : ndarray, shape (3, m)
        16th percentile, median and 84th percentile.

    Examples
    --------
    >>> centres, quantiles = running_quantiles(np.full(5, 10.1), np.arange(5.0))
    >>> centres.tolist(), quantiles[1].tolist()
    ([10.125], [2.0])
    """
    known = np.isfinite(tmag) & np.isfinite(values)
    window = np.floor(tmag[known] / _WINDOW).astype(int)
    values = values[known]
    numbers = [w for w in np.unique(window) if np.count_nonzero(window == w) >= least]
    found = [np.percentile(values[window == w], [16, 50, 84]) for w in numbers]
    return (np.array(numbers) + 0.5) * _WINDOW, np.array(found).reshape(-1, 3).T


def draw_noise(run: Run, variables: dict[int, Variable], path: Path) -> Path:
    """Draw the 1-hour noise of all stars that are OK against magnitude, with the expected noise."""
    return save_figure(noise_figure(run, variables), path)


def noise_figure(run: Run, variables: dict[int, Variable]) -> Figure:
    """The figure of `draw_noise`."""
    chosen = run.ok & np.isfinite(run.stars["tmag"]) & (run.stars["rms_hour"] > 0)
    stars = run.stars[chosen]
    figure = new_figure(9.0, 8.5)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.set_yscale("log")
    below.set_xlabel("TESS magnitude")
    axes.set_ylabel("1-hour noise (ppm)")
    below.set_ylabel("noise / expected")
    axes.set_title(run_title(run), fontsize=11)
    if not len(stars):
        axes.text(0.5, 0.5, "no star with a noise", transform=axes.transAxes, ha="center")
        return figure
    injected = np.isin(stars["starid"], list(variables))
    _draw_stars(axes, stars, injected)
    ratio = np.full(len(stars), np.nan)
    for number, (title, group) in enumerate(star_groups(stars)):
        rows = chosen.copy()
        rows[chosen] = group
        sky, _ = sky_level(run, rows)
        ratio[group] = stars["rms_hour"][group] / expected_noise(
            stars["tmag"][group], stars["mask_size"][group], sky
        )
        if not number:
            _draw_expected(axes, stars[group], sky, title)
        # Injected variations are no noise.
        centres, (low, median, high) = running_quantiles(
            stars["tmag"][group & ~injected], ratio[group & ~injected]
        )
        colour = COLOURS["blue" if title.startswith("target") else "black"]
        if len(centres):
            below.plot(centres, median, color=colour, linewidth=2, label=f"median, {title}")
            below.fill_between(
                centres, low, high, color=colour, alpha=0.2, linewidth=0, label="16% to 84% of the stars"
            )
    below.axhline(1.0, color=COLOURS["red"], linestyle="--", linewidth=1)
    if below.lines[1:]:
        below.legend(fontsize=8, loc="upper left", ncols=2)
    limits = ratio[np.isfinite(ratio)]
    if limits.size:
        below.set_ylim(0, max(2.0, 1.2 * float(np.percentile(limits, 90))))
    _name_outliers(axes, stars, np.where(injected, np.nan, ratio))
    for one in (axes, below):
        one.grid(which="major", color="0.9")
        one.set_axisbelow(True)
    axes.grid(which="minor", color="0.95", linewidth=0.5)
    axes.set_xlim(stars["tmag"].min() - 0.3, stars["tmag"].max() + 0.3)
    # Below the expected noise there is room; outliers are above it.
    axes.legend(fontsize=9, loc="lower right")
    return figure


def run_title(run: Run) -> str:
    """The CCDs and numbers of a run: stars once, and rows of the work list where there are more."""
    ccds, _ = ccds_of(run.stars)
    if len(ccds) == 1:
        ((sector, camera, ccd),) = ccds
        where = f"sector {sector}, camera {camera}, CCD {ccd}"
    else:
        where = f"{len(ccds)} CCDs"
    return f"{where}: {int(run.ok.sum())} of {len(run.stars)} rows of the work list are OK"


def _draw_stars(axes: Axes, stars: NDArray[np.void], injected: NDArray[np.bool_]) -> None:
    is_tpf = np.char.startswith(stars["datasource"], "tpf")
    size = float(np.clip(4000 / len(stars), 2, 14))
    ppm = 1e6 * stars["rms_hour"]
    dots = {"s": size, "linewidths": 0, "zorder": 2, "rasterized": True}
    rings = {"s": size + 30, "facecolors": "none", "linewidths": 1.0, "zorder": 3}
    for chosen, name, marks in (
        (~is_tpf, "full frame images", dots | {"color": COLOURS["grey"]}),
        (is_tpf, "target pixel files", dots | {"color": COLOURS["blue"]}),
        (injected, "injected variables", rings | {"edgecolors": COLOURS["orange"]}),
    ):
        if chosen.any():
            axes.scatter(stars["tmag"][chosen], ppm[chosen], label=f"{name} ({int(chosen.sum())})", **marks)


def _draw_expected(axes: Axes, stars: NDArray[np.void], sky: float, title: str) -> None:
    """The parts of the expected noise for masks of the median size at each magnitude."""
    centres, quantiles = running_quantiles(stars["tmag"], stars["mask_size"], least=1)
    if not len(centres):
        return
    grid = np.arange(stars["tmag"].min(), stars["tmag"].max() + 0.05, 0.05)
    pixels = np.interp(grid, centres, quantiles[1])
    parts = noise_parts(mag2flux(grid), pixels, sky)  # type: ignore[arg-type]
    axes.plot(
        grid, 1e6 * parts.total, color=COLOURS["red"], linewidth=2.0, zorder=6,
        label=f"expected, {title}: {pixels.min():.0f} to {pixels.max():.0f} px,"
        f" sky {sky:.0f} {SHOWN_FLUX_UNIT} a px",
    )  # fmt: skip
    for values, style, name in (
        (parts.star, "--", "star"),
        (parts.sky, "-.", "sky"),
        (parts.read, ":", "read-out"),
    ):
        axes.plot(grid, 1e6 * values, style, color=COLOURS["red"], linewidth=1.0, label=name, zorder=4)
    shown = np.concatenate([1e6 * stars["rms_hour"], 1e6 * parts.total])
    axes.set_ylim(0.5 * np.nanmin(shown), 2.0 * np.nanmax(shown))


def _name_outliers(axes: Axes, stars: NDArray[np.void], ratio: NDArray[np.float64]) -> None:
    """Numbers of the stars that are farthest above the expected noise."""
    from matplotlib.patheffects import withStroke

    order = np.argsort(-np.nan_to_num(ratio), kind="stable")[:_NAMED]
    for i in order[np.nan_to_num(ratio[order]) > _OUTLIER]:
        axes.annotate(
            f"TIC {stars['starid'][i]}", (stars["tmag"][i], 1e6 * stars["rms_hour"][i]), xytext=(-4, 4),
            textcoords="offset points", ha="right", fontsize=7, color=COLOURS["black"], zorder=7,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
