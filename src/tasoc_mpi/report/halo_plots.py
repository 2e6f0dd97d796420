"""The picture of halo photometry: weights, light curve before and after, course of the objective."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.quality import TESSQualityFlags
from .figures import COLOURS, relative_unit, robust_limits
from .mask_plots import outline, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..photometry.base import BasePhotometry

__all__ = ["draw_halo"]

#: Weights below this fraction of the largest have the same colour.
_WEIGHTS_SHOWN = 1e-3
#: Stamps whose sides differ by more than this factor are not drawn to scale.
_LONGEST = 2.5
#: Standard deviation of white noise over the median absolute difference of successive points.
_TO_SIGMA = 1.0 / (0.6745 * math.sqrt(2.0))


def draw_halo(pho: BasePhotometry, figure: Figure) -> None:
    """Draw the weight map over the sum image with the catalog, the light curves, and the objective."""
    grid = figure.add_gridspec(3, 2, height_ratios=(2.4, 1.0, 1.0), width_ratios=(1.3, 1.0))
    _draw_weights(figure, figure.add_subplot(grid[0, 0]), pho)
    _draw_course(figure.add_subplot(grid[0, 1]), pho)
    before = figure.add_subplot(grid[1, :])
    after = figure.add_subplot(grid[2, :], sharex=before)
    before.tick_params(labelbottom=False)
    plain = getattr(pho, "plain_flux", None)
    if plain is not None:
        _draw_light_curve(before, pho, plain, "plain sum of the pixels", "blue")
    _draw_light_curve(after, pho, np.asarray(pho.lightcurve["flux"], dtype="f8"), "halo", "black")
    after.set_xlabel("time (BJD $-$ 2457000, days)")


def _draw_weights(figure: Figure, axes: Axes, pho: BasePhotometry) -> None:
    """The mean weight map of the segments as colours on the sum image, and the stars."""
    from matplotlib.colors import LogNorm

    show_image(axes, pho.sumimage, pho.stamp)
    axes.set(xlabel="column (full frame image pixel, from 0)", ylabel="row (from 0)")
    axes.set_title("weights on the sum image (mean of the segments)", fontsize=10)
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
            norm=LogNorm(_WEIGHTS_SHOWN * high, high),
            interpolation="nearest",
        )
        figure.colorbar(image, ax=axes, shrink=0.8, extend="min", label="weight of a pixel")
    if pho.final_phot_mask is not None:
        outline(axes, pho.final_phot_mask, pho.stamp, color=COLOURS["orange"], linewidth=1.0)
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
            linewidths=1.5 if colour == "red" else 0.8,
            zorder=4,
        )
    if max(row_max - row_min, col_max - col_min) > _LONGEST * min(row_max - row_min, col_max - col_min):
        # A stamp that follows a bleed column would be a narrow strip.
        axes.set_aspect("auto")
    axes.set_xlim(col_min - 0.5, col_max - 0.5)
    axes.set_ylim(row_min - 0.5, row_max - 0.5)


def _draw_course(axes: Axes, pho: BasePhotometry) -> None:
    """The objective of each segment against the iteration."""
    axes.set(xlabel="iteration", ylabel="relative to the start")
    axes.set_title("course of the objective", fontsize=10)
    courses = getattr(pho, "courses", [])
    colours = list(COLOURS)
    for k, course in enumerate(courses):
        axes.plot(course, color=COLOURS[colours[k % len(colours)]], label=f"segment {k + 1}")
    if courses:
        axes.legend(fontsize=8, frameon=False)
    else:
        axes.text(0.5, 0.5, "no weights were fitted", transform=axes.transAxes, ha="center")


def _draw_light_curve(
    axes: Axes, pho: BasePhotometry, flux: NDArray[np.float64], name: str, colour: str
) -> None:
    """A light curve in good frames, relative to its median, with its scatter from frame to frame."""
    time = np.asarray(pho.lightcurve["time"], dtype="f8")
    good = TESSQualityFlags.filter(np.asarray(pho.lightcurve["quality"])) & np.isfinite(flux)
    known = flux[good]
    axes.set_title(name, fontsize=10, loc="left")
    if not known.size or not np.median(known) > 0:
        axes.text(0.5, 0.5, "no light curve", transform=axes.transAxes, ha="center", color=COLOURS["red"])
        return
    relative = known / np.median(known) - 1.0
    factor, unit = relative_unit(relative)
    axes.plot(time[good], factor * relative, ".", color=COLOURS[colour], markersize=2.5)
    if known.size > 1:
        scatter = 1e6 * _TO_SIGMA * float(np.median(np.abs(np.diff(relative))))
        form = ".0f" if scatter >= 100.0 else ".2g"
        axes.set_title(f"scatter from frame to frame: {scatter:{form}} ppm", fontsize=10, loc="right")
    limits = robust_limits(factor * relative)
    if limits is not None:
        axes.set_ylim(*limits)
    for begin, _ in getattr(pho, "segments", [])[1:]:
        axes.axvline(time[begin], color=COLOURS["grey"], linewidth=0.8, linestyle="--")
    axes.set_ylabel(f"relative flux ({unit})")
