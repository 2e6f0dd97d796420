"""The panels of a page of one star; each function draws one into a figure and describes it in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.quality import CorrectorQualityFlags, TESSQualityFlags
from .figures import COLOURS, relative_unit, robust_limits
from .html_page import number
from .mask_plots import decades, outline, show_image
from .star_facts import NEAR, ShownCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["PANELS", "period_text"]

#: Microhertz of a cycle a day.
_MICROHERTZ = 1e6 / 86400.0
#: A source of a signal is drawn where its error is below this, pixels.
_SURE = 1.0
#: Bins of the phase.
_BINS = 40


def _empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=COLOURS["red"])


def _points(axes: Axes, x: NDArray[Any], y: NDArray[Any], **style: Any) -> None:
    """Points, in files of vectors as pixels: there may be a hundred thousand."""
    options: dict[str, Any] = {"markersize": 2.5 if len(x) < 5000 else 1.0, "color": COLOURS["black"]} | style
    axes.plot(x, y, ".", rasterized=True, **options)


def draw_stamp(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The sum image with the mask and the stars around."""
    from matplotlib.patheffects import withStroke

    axes = figure.subplots()
    row, column = one.curve.corner
    rows, columns = one.curve.mask.shape
    stamp = (row, row + rows, column, column + columns)
    image = show_image(axes, one.curve.sumimage, stamp)
    outline(axes, one.curve.mask, stamp, color=COLOURS["orange"], linewidth=2.2)
    stars = [(near.column, near.row, near.tmag, "blue") for near in one.neighbours]
    stars.append((one.column, one.row, float(one.star["tmag"]), "red"))
    for x, y, tmag, colour in stars:
        if not (column - 2 < x < column + columns + 1 and row - 2 < y < row + rows + 1):
            continue
        size = 5.0 + 1.3 * np.clip(16.0 - (tmag if np.isfinite(tmag) else 16.0), 0.0, 12.0)
        halo = [withStroke(linewidth=3, foreground="white")]
        edge: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": COLOURS[colour]}
        axes.plot(x, y, "o", markersize=size, path_effects=halo, **edge)
        side = -1 if x > column + 0.7 * columns else 1
        axes.annotate(
            number(tmag, 1), (x, y), xytext=(side * (0.5 * size + 3), 0), textcoords="offset points",
            color=COLOURS[colour], fontsize=9, va="center", ha="left" if side > 0 else "right",
            path_effects=halo,
        )  # fmt: skip
    source, error = one.source
    if np.all(error < _SURE):
        axes.errorbar(
            source[:1], source[1:], xerr=error[:1], yerr=error[1:], fmt="x", color=COLOURS["green"],
            capsize=3, label="source of the signal",
        )  # fmt: skip
        axes.legend(loc="lower right", fontsize=9)
    axes.set_xlim(column - 1.5, column + columns + 0.5)
    axes.set_ylim(row - 1.5, row + rows + 0.5)
    axes.locator_params(integer=True)
    axes.set_xlabel("column (full frame image pixel, from 0)")
    axes.set_ylabel("row (full frame image pixel, from 0)")
    axes.set_title("Sum image, mask (orange), Tmag of stars", fontsize=10, loc="left")
    ticks = decades(*image.get_clim(), image.norm.linear_width)  # type: ignore[attr-defined]
    figure.colorbar(image, ax=axes, label="e$^-$/s, asinh scale", shrink=0.8, ticks=ticks, format="%g")
    near = f"{len(one.neighbours)} other stars within {NEAR:g} pixels"
    return f"Sum image of {rows} x {columns} pixels with a mask of {int(one.curve.mask.sum())}; {near}."


def draw_curve(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The light curve, raw and corrected, with flagged points marked."""
    curve, good = one.curve, one.curve.good
    corrected = bool(np.isfinite(curve.corrected).any())
    panels = np.atleast_1d(figure.subplots(1 + corrected, 1, sharex=True))
    shown = [(curve.relative, "raw")] + ([(curve.corrected, "corrected")] if corrected else [])
    bad = [
        ("mission's flag", ~TESSQualityFlags.filter(curve.quality), "sky", "s"),
        ("light curve's flag", ~CorrectorQualityFlags.filter(curve.corrector_quality), "red", "^"),
    ]
    for axes, (values, name) in zip(panels, shown, strict=True):
        factor, unit = relative_unit(values[good])
        values = factor * values
        for words, chosen, colour, symbol in bad:
            style: dict[str, Any] = {
                "markerfacecolor": "none",
                "markeredgecolor": COLOURS[colour],
                "markersize": 5,
            }
            label = f"{words} ({int(chosen.sum())})"
            axes.plot(curve.time[chosen], values[chosen], symbol, label=label, rasterized=True, **style)
        _points(axes, curve.time[good], values[good], label=f"good ({int(good.sum())})")
        limits = robust_limits(values[good])
        if limits is None:
            _empty(axes, "no point is good")
        else:
            axes.set_ylim(*limits)
            outside = int(((values < limits[0]) | (values > limits[1])).sum())
            if outside:
                axes.text(0.995, 0.97, f"{outside} outside", transform=axes.transAxes, ha="right", va="top")
        axes.set_ylabel(f"{name}: relative flux ({unit})")
        axes.ticklabel_format(useOffset=False)
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=9, frameon=False, ncols=3)
    panels[-1].set_xlabel("time (BJD $-$ 2457000, days)")
    words = "raw and corrected" if corrected else "raw; it is not corrected"
    flagged = len(good) - int(good.sum())
    return f"Light curve of {len(good)} points, {words}; {flagged} have flags or no flux."


def draw_signal(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The power spectrum, and the light curve folded at the best period."""
    left, right = figure.subplots(1, 2)
    spectrum, signal = one.spectrum, one.signal
    if spectrum is None or signal is None:
        for axes in (left, right):
            _empty(axes, "too few good points for a power spectrum")
            axes.set_axis_off()
        return "There are too few good points for a power spectrum."
    frequency, power = _MICROHERTZ * spectrum.frequency, 1e12 * spectrum.power
    left.loglog(frequency, power, color=COLOURS["black"], linewidth=0.6, rasterized=True)
    left.axvline(_MICROHERTZ / spectrum.period, color=COLOURS["red"], linewidth=5, alpha=0.3, zorder=0)
    left.set_ylim(max(1e-3 * float(np.median(power)), 1e-300), 3 * float(power.max()))
    left.set_xlim(frequency[0], _MICROHERTZ * spectrum.nyquist)
    left.set_xlabel("frequency (microhertz), to Nyquist's")
    left.set_ylabel("power density (ppm$^2$ / microhertz)")
    left.set_title(
        f"Power spectrum of the {'corrected' if one.corrected else 'raw'} flux", fontsize=10, loc="left"
    )
    values, time = one.values, one.curve.time
    factor, unit = relative_unit(values)
    known = np.isfinite(values) & np.isfinite(time)
    phase = (time[known] - time[known][0]) / spectrum.period % 1.0
    folded = factor * values[known]
    for turn in (0, 1):
        _points(right, phase + turn, folded, color=COLOURS["grey"])
    middles = (np.arange(_BINS) + 0.5) / _BINS
    place = (phase * _BINS).astype(int) % _BINS
    medians = np.array(
        [np.median(folded[place == k]) if (place == k).any() else np.nan for k in range(_BINS)]
    )
    right.plot([*middles, *(1 + middles)], [*medians, *medians], "o-", color=COLOURS["red"], markersize=3.5)
    if (limits := robust_limits(folded)) is not None:
        right.set_ylim(*limits)
    right.set_xlabel("phase")
    right.set_ylabel(f"relative flux ({unit})")
    right.set_title(f"Folded at {period_text(one)}; medians in red", fontsize=10, loc="left")
    return (
        f"Power spectrum to {_MICROHERTZ * spectrum.nyquist:,.1f} microhertz, and the light curve folded"
        f" at its strongest period, {period_text(one)}: amplitude {1e6 * signal.amplitude:,.1f} ppm."
    )


def period_text(one: ShownCurve) -> str:
    """The best period in words; says where it is none that differs from noise."""
    if one.spectrum is None:
        return "-"
    text = f"{one.spectrum.period:.6g} d"
    return text if one.spectrum.significant else f"{text} (not significant)"


def draw_centroid(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The centroid against the flux."""
    factor, unit = relative_unit(one.values)
    moves = []
    for axis, (axes, name) in enumerate(zip(figure.subplots(1, 2), ("column", "row"), strict=True)):
        moved = np.where(np.isfinite(one.values), one.curve.centroid[:, axis], np.nan)
        known = np.isfinite(moved)
        axes.set_xlabel(f"relative flux ({unit})")
        if not known.any():
            _empty(axes, "no centroid at good points")
            continue
        flux, moved = factor * one.values[known], 1e3 * (moved[known] - np.median(moved[known]))
        _points(axes, flux, moved)
        for limits, limit in ((robust_limits(flux), axes.set_xlim), (robust_limits(moved), axes.set_ylim)):
            if limits is not None:
                limit(*limits)
        axes.set_ylabel(f"centroid, {name} (1/1000 pixel)")
        offset, error = one.offset[axis]
        if one.spectrum is not None and one.spectrum.significant and np.isfinite(offset):
            moves.append(f"{offset:+.2f} \N{PLUS-MINUS SIGN} {error:.2f} pixels in {name}")
            axes.set_title(f"source of the signal: {moves[-1]}", fontsize=10, loc="left")
    if not moves:
        return "Centroid against flux, in column and row; no period is significant."
    return f"Centroid against flux. From the centroid the signal's source is {' and '.join(moves)} away."


def draw_neighbours(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The amplitude at the best period in the light curves around."""
    axes = figure.subplots()
    axes.set_xlabel("distance (pixels)")
    axes.set_ylabel("amplitude at the best period (e$^-$/s)")
    axes.set_title(f"The period {period_text(one)} in the light curves around", fontsize=10, loc="left")
    around = [(near.distance, near.signal, near.flux, near.starid) for near in one.neighbours]
    good = one.curve.flux[one.curve.good]
    flux = float(np.median(good)) if good.size else float("nan")
    stars = [(0.0, one.signal, flux, int(one.star["starid"])), *around]
    drawn = 0
    for distance, signal, level, starid in stars:
        if signal is None or not np.isfinite(level):
            continue
        drawn += distance > 0
        height, error = abs(level) * signal.amplitude, abs(level) * signal.error
        axes.errorbar(
            [distance], [height], yerr=[error], fmt="o", color=COLOURS["blue" if distance else "red"]
        )
        axes.annotate(
            f" {starid}", (distance, height), fontsize=8, rotation=30, va="bottom", annotation_clip=True
        )
    axes.set_xlim(-0.5, NEAR + 1.5)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.25)
    return f"Amplitude in electrons/s at {period_text(one)} of the star and of {drawn} others, by distance."


#: Name, what draws it, its title, width and height in inches.
PANELS = (
    ("stamp", draw_stamp, "Pixels and neighbours", 7.0, 5.2),
    ("curve", draw_curve, "Light curve", 11.0, 5.2),
    ("signal", draw_signal, "Power spectrum and folded light curve", 11.0, 4.0),
    ("centroid", draw_centroid, "Centroid against flux", 11.0, 3.6),
    ("neighbours", draw_neighbours, "The same signal in the neighbours", 8.0, 3.8),
)
