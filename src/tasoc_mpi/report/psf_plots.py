"""The picture of a fit with the pixel response: data, model and residual, and chi-square in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.quality import TESSQualityFlags
from ..products.lightcurve import SHOWN_FLUX_UNIT
from .figures import COLOURS, robust_limits
from .mask_plots import decades, outline, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..photometry.psf_method import PSFMethod

__all__ = ["draw_psf_fit"]


def draw_psf_fit(pho: PSFMethod, figure: Figure) -> None:
    """Draw the mean image, what the fit makes of it, and the rest; below, chi-square of every frame."""
    grid = figure.add_gridspec(2, 3, height_ratios=[3, 2])
    images = [figure.add_subplot(grid[0, k]) for k in range(3)]
    chi_square = figure.add_subplot(grid[1, :])
    if not pho.residual.size:
        for axes in (*images, chi_square):
            axes.set_axis_off()
        chi_square.text(0.5, 0.5, "no frame was fitted", ha="center", color=COLOURS["red"])
        return
    fitted = np.isfinite(pho.residual)
    data = np.where(fitted, pho.sumimage, np.nan)
    for axes, image, title in zip(images, (data, data - pho.residual), ("data", "model"), strict=False):
        drawn = show_image(axes, image, pho.stamp)
        ticks = decades(*drawn.get_clim(), drawn.norm.linear_width)  # type: ignore[attr-defined]
        label = f"mean flux ({SHOWN_FLUX_UNIT}), asinh scale"
        figure.colorbar(drawn, ax=axes, shrink=0.8, label=label, ticks=ticks, format="%g")
        axes.set_title(title)
    _draw_residual(figure, images[2], pho)
    for axes in images:
        _mark_stars(axes, pho, fitted)
    figure.legend(*images[0].get_legend_handles_labels(), loc="outside upper left", fontsize=8, frameon=False)
    _draw_chi_square(chi_square, pho)


def _draw_residual(figure: Figure, axes: Axes, pho: PSFMethod) -> None:
    largest = float(np.nanmax(np.abs(pho.residual))) or 1.0
    row_min, row_max, col_min, col_max = pho.stamp
    drawn = axes.imshow(
        pho.residual, origin="lower", extent=(col_min - 0.5, col_max - 0.5, row_min - 0.5, row_max - 0.5),
        cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest",
    )  # fmt: skip
    figure.colorbar(drawn, ax=axes, shrink=0.8, label=f"data $-$ model ({SHOWN_FLUX_UNIT})", format="%g")
    peak = float(np.nanmax(pho.sumimage))
    axes.set_title(f"residual, up to {100 * largest / peak:.2g}% of the peak" if peak > 0 else "residual")


def _mark_stars(axes: Axes, pho: PSFMethod, fitted: NDArray[np.bool_]) -> None:
    """The target, the stars that were fitted with it, and those that were subtracted."""
    stars = pho.stamp_stars
    target = stars["starid"] == pho.starid
    with_it = np.isin(stars["starid"], pho.neighbours) & ~target
    kinds = (
        (target, "red", "x", "the star"),
        (with_it, "orange", "+", "fitted with it"),
        (~target & ~with_it, "grey", ".", "subtracted at the mean flux"),
    )
    for chosen, colour, symbol, name in kinds:
        axes.plot(
            stars["column"][chosen],
            stars["row"][chosen],
            symbol,
            color=COLOURS[colour],
            markersize=7,
            zorder=4,
            label=name,
        )
    outline(axes, fitted, pho.stamp, color=COLOURS["grey"], linewidth=0.8)
    rows, columns = np.nonzero(fitted)
    axes.set_xlim(columns.min() + pho.stamp[2] - 1, columns.max() + pho.stamp[2] + 1)
    axes.set_ylim(rows.min() + pho.stamp[0] - 1, rows.max() + pho.stamp[0] + 1)
    axes.locator_params(integer=True)
    axes.set_xlabel("column (full frame image pixel, from 0)")
    axes.set_ylabel("row (from 0)")


def _draw_chi_square(axes: Axes, pho: PSFMethod) -> None:
    time, quality = (np.asarray(pho.lightcurve[name]) for name in ("time", "quality"))
    good, values = TESSQualityFlags.filter(quality), pho.chi_square
    failed = ~np.isfinite(values)
    style: dict[str, Any] = {"linestyle": "none", "marker": "."}
    axes.plot(time[~good], values[~good], color=COLOURS["sky"], markersize=5, label="flagged", **style)
    axes.plot(time[good], values[good], color=COLOURS["black"], markersize=3, label="good", **style)
    axes.plot(
        time[failed], np.full(int(failed.sum()), 0.03), "|", color=COLOURS["red"],
        transform=axes.get_xaxis_transform(), label=f"no solution ({int(failed.sum())})",
    )  # fmt: skip
    limits = robust_limits(values)
    if limits is not None:
        axes.set_ylim(*limits)
    axes.set_xlabel("time (BJD $-$ 2457000, days)")
    axes.set_ylabel("chi-square by\ndegree of freedom")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, frameon=False, ncols=3)
