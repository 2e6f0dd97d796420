"""The picture of halo photometry: weights, light curve before and after, course of the objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.quality import TESSQualityFlags
from .figures import COLOURS, relative_unit, robust_limits
from .mask_plots import outline, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..photometry.base import BasePhotometry

__all__ = ["draw_halo"]


def draw_halo(pho: BasePhotometry, figure: Figure) -> None:
    """Draw the weight map over the sum image with the catalog, the light curves, and the objective."""
    grid = figure.add_gridspec(2, 3)
    _draw_weights(figure, figure.add_subplot(grid[0, 0]), pho)
    _draw_course(figure.add_subplot(grid[0, 1:]), pho)
    _draw_light_curves(figure.add_subplot(grid[1, :]), pho)


def _draw_weights(figure: Figure, axes: Axes, pho: BasePhotometry) -> None:
    """The mean weight map of the segments as colours on the sum image, and the stars."""
    from matplotlib.colors import LogNorm

    show_image(axes, pho.sumimage, pho.stamp)
    axes.set(title="weights (mean of the segments)", xlabel="column", ylabel="row")
    maps = getattr(pho, "weightmaps", np.zeros((0,)))
    row_min, row_max, col_min, col_max = pho.stamp
    if len(maps):
        weights = maps.mean(axis=0)
        shown = np.ma.masked_where(weights <= 0, weights)
        high = float(weights.max())
        image = axes.imshow(
            shown,
            origin="lower",
            extent=(col_min - 0.5, col_max - 0.5, row_min - 0.5, row_max - 0.5),
            cmap="viridis",
            norm=LogNorm(1e-4 * high, high),
            alpha=0.8,
            interpolation="nearest",
        )
        figure.colorbar(image, ax=axes, shrink=0.8, label="weight of a pixel")
    if pho.final_phot_mask is not None:
        outline(axes, pho.final_phot_mask, pho.stamp, color=COLOURS["orange"], linewidth=0.8)
    stars = pho.stamp_stars
    size = 2.0 + 1.2 * np.clip(16.0 - np.nan_to_num(stars["tmag"], nan=18.0), 0.0, 14.0)
    target = stars["starid"] == pho.starid
    for chosen, colour in ((~target, "sky"), (target, "red")):
        axes.scatter(
            stars["column"][chosen],
            stars["row"][chosen],
            s=size[chosen] ** 2,
            facecolors="none",
            edgecolors=COLOURS[colour],
            linewidths=1.0,
        )
    axes.set_xlim(col_min - 0.5, col_max - 0.5)
    axes.set_ylim(row_min - 0.5, row_max - 0.5)


def _draw_course(axes: Axes, pho: BasePhotometry) -> None:
    """The objective of each segment against the iteration."""
    axes.set(title="course of the objective", xlabel="iteration", ylabel="relative to the start")
    courses = getattr(pho, "courses", [])
    colours = list(COLOURS)
    for k, course in enumerate(courses):
        axes.plot(course, color=COLOURS[colours[k % len(colours)]], label=f"segment {k + 1}")
    if courses:
        axes.legend(fontsize=8, frameon=False)
    else:
        axes.text(0.5, 0.5, "no weights were fitted", transform=axes.transAxes, ha="center")


def _draw_light_curves(axes: Axes, pho: BasePhotometry) -> None:
    """The plain sum of the pixels and the weighted one, good frames, relative to their medians."""
    time = np.asarray(pho.lightcurve["time"], dtype="f8")
    good = TESSQualityFlags.filter(np.asarray(pho.lightcurve["quality"]))
    plain = getattr(pho, "plain_flux", None)
    curves = {} if plain is None else {"plain sum of the pixels": (plain, "sky")}
    curves["halo"] = (np.asarray(pho.lightcurve["flux"], dtype="f8"), "black")
    relative = {}
    for name, (flux, colour) in curves.items():
        known = flux[good & np.isfinite(flux)]
        if known.size and np.median(known) > 0:
            relative[name] = (np.where(good, flux / np.median(known) - 1, np.nan), colour)
    axes.set_xlabel("time (BJD $-$ 2457000, days)")
    if "halo" not in relative:
        axes.text(0.5, 0.5, "no light curve", transform=axes.transAxes, ha="center", color=COLOURS["red"])
        return
    factor, unit = relative_unit(relative["halo"][0])
    for name, (values, colour) in relative.items():
        axes.plot(time, factor * values, ".", color=COLOURS[colour], markersize=2.5, label=name)
    limits = robust_limits(factor * np.concatenate([values for values, _ in relative.values()]))
    if limits is not None:
        axes.set_ylim(*limits)
    for begin, _ in getattr(pho, "segments", [])[1:]:
        axes.axvline(time[begin], color=COLOURS["grey"], linewidth=0.8, linestyle="--")
    axes.set_ylabel(f"relative flux ({unit})")
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
