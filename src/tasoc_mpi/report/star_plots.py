"""Pictures of one star: its pixels and mask, its light curve, its motion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.quality import CorrectorQualityFlags, TESSQualityFlags
from ..photometry.psf_method import PSFMethod
from ..products.lightcurve import SHOWN_FLUX_UNIT
from .figures import COLOURS, new_figure, relative_unit, robust_limits, save_figure
from .halo_plots import draw_halo
from .html_page import number
from .mask_plots import decades, draw_mask_making, outline, show_image
from .psf_plots import draw_psf_fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..photometry.base import BasePhotometry

__all__ = ["plot_star"]

#: Pixels around a stamp that are shown: its catalog reaches 5 pixels beyond it.
_ROOM = 6.0
#: Largest circle of a legend, points: those of the brightest stars are larger than its lines.
_LEGEND = 18.0
#: Marks of the kinds of flags, in order of the bits: colour, symbol, size. Those of one point do not hide
#: each other.
_MARKS = [
    ("orange", "s", 6),
    ("red", "^", 8),
    ("pink", "D", 9),
    ("sky", "o", 11),
    ("green", "v", 8),
    ("blue", "<", 8),
    ("grey", ">", 8),
    ("black", "p", 12),
]


def plot_star(pho: BasePhotometry, folder: str | os.PathLike[str]) -> list[Path]:
    """Draw the pixels, the mask and the light curve of one star.

    Works for every method and every status: a missing mask or flux is named in the picture.

    Parameters
    ----------
    pho : BasePhotometry
        After `photometry`, with any status.
    folder : path-like
        Made if it is not there.

    Returns
    -------
    list of Path
        ``sumimage.png``, ``lightcurve.png``, ``centroid.png``; for aperture photometry ``mask.png`` with
        the steps of the mask making; for PSF photometry ``psf.png`` with data, model and residual; for halo
        photometry ``halo.png`` with weights and objective.

    Raises
    ------
    InputError
        If matplotlib is not installed or a file cannot be written.
    """
    folder = Path(folder)
    pictures: dict[str, tuple[Any, float, float]] = {
        "sumimage": (_draw_sumimage, 7.5, 7.0),
        "lightcurve": (_draw_lightcurve, 11.0, 8.0),
        "centroid": (_draw_centroid, 11.0, 7.0),
    }
    if pho.method == "aperture":
        pictures["mask"] = (draw_mask_making, 12.0, 8.0)
    if isinstance(pho, PSFMethod):
        pictures["psf"] = (draw_psf_fit, 14.0, 8.0)
    if pho.method == "halo":
        pictures["halo"] = (draw_halo, 13.0, 9.0)
    new_figure(1, 1)  # a missing matplotlib is an error before any file is made
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (draw, width, height) in pictures.items():
        figure = new_figure(width, height)
        figure.suptitle(_title(pho), fontsize=11)
        draw(pho, figure)
        paths.append(save_figure(figure, folder / f"{name}.png"))
    return paths


def _title(pho: BasePhotometry) -> str:
    status = pho.result.status.name
    pixels = "no mask" if pho.final_phot_mask is None else f"{int(pho.final_phot_mask.sum())} px"
    name = f"TIC {pho.starid}" if pho.starid else "Star without a TIC number"
    return (
        f"{name}   Tmag {number(pho.target['tmag'], 2)}   {pho.method}, {pixels}: {status}\n"
        f"sector {pho.sector}, camera {pho.camera}, CCD {pho.ccd}, {pho.cadence} s, {pho.datasource}"
    )


# --- Sum image -----------------------------------------------------------------------------------------


def _draw_sumimage(pho: BasePhotometry, figure: Figure) -> None:
    axes = figure.add_subplot()
    image = show_image(axes, pho.sumimage, pho.stamp)
    everything = np.ones(pho.sumimage.shape, dtype=bool)
    outline(axes, everything, pho.stamp, color=COLOURS["grey"], linewidth=0.6)
    figure.colorbar(
        image,
        ax=axes,
        label=f"mean flux ({SHOWN_FLUX_UNIT}), asinh scale",
        shrink=0.8,
        pad=0.02,
        ticks=decades(*image.get_clim(), image.norm.linear_width),  # type: ignore[attr-defined]
        format="%g",
    )
    # Pixels of a target pixel file that were not sent down belong to no image.
    collected = (pho.aperture & 1) > 0
    if not collected.all():
        outline(axes, collected, pho.stamp, color=COLOURS["grey"], linewidth=1.0, linestyle=":")
    if pho.final_phot_mask is not None:
        outline(axes, pho.final_phot_mask, pho.stamp, color=COLOURS["orange"], linewidth=2.2)
    _draw_stars(axes, pho)
    row_min, row_max, col_min, col_max = pho.stamp
    axes.set_xlim(col_min - _ROOM, col_max - 1 + _ROOM)
    axes.set_ylim(row_min - _ROOM, row_max - 1 + _ROOM)
    axes.locator_params(integer=True)
    axes.set_xlabel("column (full frame image pixel, from 0)")
    axes.set_ylabel("row (full frame image pixel, from 0)")


def _draw_stars(axes: Axes, pho: BasePhotometry) -> None:
    """Catalog stars as circles by magnitude, with the magnitudes of the brightest, and a legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    stars = pho.stamp_stars
    target = stars["starid"] == pho.starid
    area = _star_area(stars["tmag"])
    for chosen, colour, width in ((~target, "blue", 1.1), (target, "red", 1.8)):
        axes.scatter(
            stars["column"][chosen],
            stars["row"][chosen],
            s=area[chosen],
            facecolors="none",
            edgecolors=COLOURS[colour],
            linewidths=width,
            path_effects=[withStroke(linewidth=width + 1.2, foreground="white")],
            zorder=4,
        )
    _label_stars(axes, pho, area)
    handles = [
        _circle(tmag, "red" if k == 0 else "blue", k)
        for k, tmag in enumerate((float(pho.target["tmag"]), 8.0, 12.0, 16.0))
    ]
    handles[0].set_label("target")
    if pho.final_phot_mask is not None:
        handles.insert(0, Line2D([], [], color=COLOURS["orange"], linewidth=2.2, label="mask"))
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(handles), fontsize=8,
        frameon=False, handletextpad=1.1, handleheight=(_LEGEND + 2.0) / 8,
    )  # fmt: skip


def _label_stars(axes: Axes, pho: BasePhotometry, area: NDArray[np.float64]) -> None:
    """The magnitudes of the brightest stars and of the target, beside their circles."""
    from matplotlib.patheffects import withStroke

    stars = pho.stamp_stars
    target = stars["starid"] == pho.starid
    named = np.argsort(np.where(np.isfinite(stars["tmag"]), stars["tmag"], np.inf), kind="stable")[:12]
    right = pho.stamp[3] - 1 + 0.5 * _ROOM  # further right, a label goes to the left of its star
    for i in np.union1d(named, np.flatnonzero(target)):
        side = -1 if stars["column"][i] > right else 1
        axes.annotate(
            number(stars["tmag"][i], 1),
            (stars["column"][i], stars["row"][i]),
            xytext=(side * (0.5 * np.sqrt(area[i]) + 2), 0),
            textcoords="offset points",
            fontsize=8,
            color=COLOURS["red" if target[i] else "blue"],
            ha="left" if side > 0 else "right",
            va="center",
            path_effects=[withStroke(linewidth=2, foreground="white")],
            annotation_clip=True,
            clip_on=True,
            zorder=5,
        )


def _star_area(tmag: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of a star's circle in points squared: its diameter falls linearly with the magnitude."""
    known = np.where(np.isfinite(tmag), tmag, 18.0)
    return (4.0 + 1.6 * np.clip(18.0 - known, 0.0, 14.0)) ** 2


def _circle(tmag: float, colour: str, k: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], linestyle="none", marker="o", markerfacecolor="none", markeredgecolor=COLOURS[colour],
        markersize=min(float(np.sqrt(_star_area(np.array(tmag)))), _LEGEND),
        label=f"Tmag {tmag:.0f}" if k else None,
    )  # fmt: skip


# --- Light curve ---------------------------------------------------------------------------------------


def _draw_lightcurve(pho: BasePhotometry, figure: Figure) -> None:
    lightcurve = pho.lightcurve
    time = np.asarray(lightcurve["time"], dtype="f8")
    flux, error = (np.asarray(lightcurve[name], dtype="f8") for name in ("flux", "flux_err"))
    quality = np.asarray(lightcurve["quality"])
    good = TESSQualityFlags.filter(quality)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [3, 3, 2]})

    _points_with_errors(top, time, flux, error)
    _mark_flags(pho, top, time, flux, quality)
    _limit(top, flux, error)
    top.set_ylabel(f"flux ({SHOWN_FLUX_UNIT})\nall points")

    median = _median(flux[good])
    if median > 0:
        relative = np.where(good, flux / median - 1, np.nan)
        factor, unit = relative_unit(relative)
        relative_error = factor * error / median
        _points_with_errors(middle, time, factor * relative, relative_error)
        middle.axhline(0, color=COLOURS["grey"], linewidth=0.8)
        _limit(middle, factor * relative, relative_error)
        middle.set_ylabel(f"relative flux ({unit})\ngood points")
        middle.set_title(_numbers(pho), fontsize=9, loc="left")
    else:
        middle.set_ylabel("relative flux")
        middle.set_yticks([])
        unit = SHOWN_FLUX_UNIT
        _write(middle, f"no relative flux: the median flux of good points is {median:.4g} {unit}")

    background = np.asarray(lightcurve["flux_background"], dtype="f8")
    bottom.plot(time, background, ".", color=COLOURS["blue"], markersize=3)
    _limit(bottom, background)
    bottom.set_ylabel(f"background\nin mask ({SHOWN_FLUX_UNIT})")
    bottom.set_xlabel("time (BJD $-$ 2457000, days)")
    limits = robust_limits(time, margin=0.02, cut=0.0)
    if limits is not None:
        bottom.set_xlim(*limits)


def _numbers(pho: BasePhotometry) -> str:
    result = pho.result
    values = {
        "1-hour scatter": (1e6 * result.rms_hour, ".4g", " ppm"),
        "point to point": (1e6 * result.ptp, ".4g", " ppm"),
        "variability": (result.variability, ".3g", ""),
        "contamination": (result.contamination, ".3g", ""),
    }
    return "   ".join(
        f"{name} {value:{form}}{unit}" if np.isfinite(value) else f"{name} -"
        for name, (value, form, unit) in values.items()
    )


def _points_with_errors(axes: Axes, time: NDArray[Any], value: NDArray[Any], error: NDArray[Any]) -> None:
    known = np.isfinite(error) & np.isfinite(value)
    # A line collection: error bars of thousands of points as an artist each would take seconds.
    axes.vlines(
        time[known], (value - error)[known], (value + error)[known], color="0.8", linewidth=0.7, zorder=1
    )
    axes.plot(time, value, ".", color=COLOURS["black"], markersize=2.5, zorder=2)
    axes.ticklabel_format(useOffset=False, style="plain")


def _mark_flags(
    pho: BasePhotometry, axes: Axes, time: NDArray[Any], flux: NDArray[Any], quality: NDArray[Any]
) -> None:
    """Mark the points with flags; one whose flux is missing gets its mark on the lower edge."""
    kinds = [(name, (quality & bit) > 0) for bit, name in sorted(TESSQualityFlags.STRINGS.items())]
    shenanigans = CorrectorQualityFlags.BackgroundShenanigans
    kinds.append((CorrectorQualityFlags.STRINGS[shenanigans], (pho.corrector_quality() & shenanigans) > 0))
    transform = axes.get_xaxis_transform()
    marked = 0
    for name, flagged in kinds:
        if not flagged.any():
            continue
        colour, symbol, size = _MARKS[marked % len(_MARKS)]
        marked += 1
        style: dict[str, Any] = {
            "linestyle": "none", "marker": symbol, "markersize": size, "markerfacecolor": "none",
            "markeredgecolor": COLOURS[colour], "zorder": 3,
        }  # fmt: skip
        seen = flagged & np.isfinite(flux)
        axes.plot(time[seen], flux[seen], label=f"{name} ({int(flagged.sum())})", **style)
        missing = flagged & ~np.isfinite(flux)
        axes.plot(time[missing], np.full(int(missing.sum()), 0.02), transform=transform, **style)
    if marked:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, frameon=False, ncols=3)


def _limit(axes: Axes, values: NDArray[Any], errors: NDArray[Any] | None = None) -> None:
    """Set the limits of the values' axis, with the number of points outside."""
    bars = values if errors is None else np.concatenate([values - errors, values + errors, values])
    limits = robust_limits(bars)
    if limits is None:
        _write(axes, "no finite value")
        axes.set_yticks([])
        return
    axes.set_ylim(*limits)
    outside = int(((values < limits[0]) | (values > limits[1])).sum())
    if outside:
        axes.text(
            0.995, 0.97, f"{outside} outside", transform=axes.transAxes, ha="right", va="top", fontsize=8,
            color=COLOURS["red"],
        )  # fmt: skip


def _write(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=COLOURS["red"])


def _median(values: NDArray[Any]) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")


# --- Centroid ------------------------------------------------------------------------------------------


def _draw_centroid(pho: BasePhotometry, figure: Figure) -> None:
    lightcurve = pho.lightcurve
    time = np.asarray(lightcurve["time"], dtype="f8")
    good = TESSQualityFlags.filter(np.asarray(lightcurve["quality"]))
    axes = figure.subplots(2, 2, gridspec_kw={"width_ratios": [2.6, 1]})
    for k, name in enumerate(("column", "row")):
        centroid, expected = (
            np.asarray(lightcurve[column], dtype="f8")[:, k] for column in ("pos_centroid", "pos_corr")
        )
        # Both as differences from where they are on a typical good point.
        middle = _median(centroid[good])
        moved, due = centroid - middle, expected - _median(expected[good])
        _draw_motion(axes[k, 0], time, moved, due, good)
        # Files count pixels from 1, pictures from 0.
        axes[k, 0].set_ylabel(f"{name} $-$ {middle - 1:.3f} (px, from 0)")
        _draw_comparison(axes[k, 1], moved, due, good)
        axes[k, 1].set_xlabel(f"POS_CORR, {name} (px)")
        axes[k, 1].set_ylabel(f"centroid, {name} (px)")
    axes[0, 0].sharex(axes[1, 0])
    axes[0, 0].tick_params(labelbottom=False)
    axes[1, 0].set_xlabel("time (BJD $-$ 2457000, days)")
    axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, frameon=False, ncols=3)


def _draw_motion(
    axes: Axes, time: NDArray[Any], moved: NDArray[Any], due: NDArray[Any], good: NDArray[np.bool_]
) -> None:
    """The centroid and the star's motion against time."""
    step = np.diff(time)
    gap = np.append(step > 3 * np.nanmedian(step), False) if step.size else np.zeros(time.size, dtype=bool)
    # The line of the motion is not drawn over gaps and frames during which the star moved far.
    steady = np.where(good & ~gap, due, np.nan)
    axes.plot(time[~good], moved[~good], ".", color=COLOURS["sky"], markersize=5, label="flagged")
    axes.plot(time[good], moved[good], ".", color=COLOURS["black"], markersize=3, label="centroid")
    axes.plot(
        time, steady, "-", color=COLOURS["red"], linewidth=0.9, alpha=0.8, label="star's motion (POS_CORR)"
    )
    _limit_two(axes, moved[good], due[good])
    if not np.isfinite(moved).any():
        _write(axes, "no finite centroid")


def _draw_comparison(axes: Axes, moved: NDArray[Any], due: NDArray[Any], good: NDArray[np.bool_]) -> None:
    """The centroid against the star's motion."""
    axes.plot(due[~good], moved[~good], ".", color=COLOURS["sky"], markersize=5)
    axes.plot(due[good], moved[good], ".", color=COLOURS["black"], markersize=3)
    axes.axline((0, 0), slope=1, color=COLOURS["red"], linewidth=0.9)
    _limit_two(axes, moved[good])
    limits = robust_limits(due[good] if len(np.unique(due[good])) > 1 else moved[good])
    if limits is not None:
        axes.set_xlim(*limits)
    axes.locator_params(axis="x", nbins=5)


def _limit_two(axes: Axes, *values: NDArray[Any]) -> None:
    # The motion of a star in a file without POS_CORR is a line of zeros.
    shown = [one for one in values if len(np.unique(one[np.isfinite(one)])) > 1] or list(values)
    limits = [found for found in map(robust_limits, shown) if found is not None]
    if limits:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
