"""The panels of a page of one star; each function draws one into a figure and describes it in words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..products.lightcurve import SHOWN_FLUX_UNIT
from .curve_plots import draw_folded, draw_points, draw_series, log_numbers, write_in
from .figures import COLOURS, panel_axes, relative_unit, robust_limits
from .html_page import number
from .mask_plots import decades, outline, show_image
from .star_facts import ShownCurve, StarFacts
from .star_neighbours import NEAR, Neighbour
from .star_signal import folded_medians

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["PANELS", "draw_overview", "period_text"]

#: Microhertz of a cycle a day.
_MICROHERTZ = 1e6 / 86400.0
#: A source of a signal is drawn where its error is below this, pixels.
_SURE = 1.0
#: Relative width of the windows of the smoothed power spectrum.
_SMOOTH = 0.05
#: Dots of an axis: more than a picture has.
_DOTS = 2000
#: Neighbours whose folded light curves are drawn: colours.
_FOLDED = ("blue", "orange", "green", "pink", "sky")


def draw_overview(figure: Figure | SubFigure, facts: StarFacts) -> str:
    """All light curves of the star, sector by sector, in colours by their source."""
    sectors = sorted({int(one.star["sector"]) for one in facts.curves})
    kinds = sorted({(int(one.star["cadence"]), str(one.star["datasource"])[:3]) for one in facts.curves})
    margins = (1.0, 0.1, 0.55, 0.6)
    panels = panel_axes(figure, 1, len(sectors), margins=margins, gaps=(0.1, 0), sharey=True)[0]
    factor, unit = relative_unit(np.concatenate([one.values for one in facts.curves]))
    for one in sorted(facts.curves, key=lambda one: int(one.star["cadence"])):
        kind = int(one.star["cadence"]), str(one.star["datasource"])[:3]
        # The fast ones, which have many points, are behind the others.
        colour = ("sky", "black", "orange", "green")[kinds.index(kind) % 4] if len(kinds) > 1 else "black"
        axes = panels[sectors.index(int(one.star["sector"]))]
        draw_points(axes, one.curve.time, factor * one.values, color=COLOURS[colour])
    for axes, sector in zip(panels, sectors, strict=True):
        axes.set_title(f"sector {sector}", fontsize=9)
        axes.locator_params(axis="x", nbins=max(2, 10 // len(sectors)))
        axes.ticklabel_format(useOffset=False)
        axes.set_xlabel("BJD \N{MINUS SIGN} 2457000 (days)")
    panels[0].set_ylabel(f"relative flux ({unit})")
    if (limits := robust_limits(np.concatenate([factor * one.values for one in facts.curves]))) is not None:
        panels[0].set_ylim(*limits)
    if len(kinds) > 1:
        names = {"ffi": "full frame images", "tpf": "target pixel files"}
        for k, (cadence, source) in enumerate(kinds):
            colour = COLOURS[("sky", "black", "orange", "green")[k % 4]]
            panels[0].plot([], [], ".", color=colour, label=f"{names.get(source, source)}, {cadence} s")
        panels[0].legend(
            loc="lower left", bbox_to_anchor=(0, 1.1), fontsize=9, frameon=False, ncols=4, borderpad=0
        )
    figure.text(
        0.99, 0.97, f"TIC {facts.starid}   Tmag {number(facts.tmag, 2)}", ha="right", va="top", fontsize=12
    )
    where = "one sector" if len(sectors) == 1 else f"{len(sectors)} sectors"
    return f"All {len(facts.curves)} light curves of {where}, corrected where they are."


def draw_stamp(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The sum image with the mask and the stars around."""
    ((axes,),) = panel_axes(figure, margins=(0.95, 1.35, 0.6, 0.35))
    row, column = one.curve.corner
    rows, columns = one.curve.mask.shape
    stamp = (row, row + rows, column, column + columns)
    image = show_image(axes, one.curve.sumimage, stamp)
    outline(axes, one.curve.mask, stamp, color=COLOURS["orange"], linewidth=2.2)
    stars = [(near.column, near.row, near.tmag, "blue") for near in one.neighbours]
    stars.append((one.column, one.row, float(one.star["tmag"]), "red"))
    for x, y, tmag, colour in stars:
        if column - 2 < x < column + columns + 1 and row - 2 < y < row + rows + 1:
            side = -1 if x > column + 0.7 * columns else 1
            _mark_star(axes, x, y, tmag, COLOURS[colour], side)
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
    beside = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    figure.colorbar(
        image, cax=beside, label=f"mean flux ({SHOWN_FLUX_UNIT}), asinh scale", ticks=ticks, format="%g"
    )
    near = f"{len(one.neighbours)} other stars within {NEAR:g} pixels"
    return f"Sum image of {rows} x {columns} pixels with a mask of {int(one.curve.mask.sum())}; {near}."


def _mark_star(axes: Axes, x: float, y: float, tmag: float, colour: str, side: int) -> None:
    """A circle by the magnitude of a star, with the magnitude on its right (1) or left (-1)."""
    from matplotlib.patheffects import withStroke

    size = 5.0 + 1.3 * np.clip(16.0 - (tmag if np.isfinite(tmag) else 16.0), 0.0, 12.0)
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.plot(x, y, "o", markersize=size, path_effects=halo, markerfacecolor="none", markeredgecolor=colour)
    axes.annotate(
        number(tmag, 1), (x, y), xytext=(side * (0.5 * size + 3), 0), textcoords="offset points",
        color=colour, fontsize=9, va="center", ha="left" if side > 0 else "right", path_effects=halo,
    )  # fmt: skip


def draw_curve(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The light curve, raw and corrected, with flagged points marked."""
    curve, good = one.curve, one.curve.good
    corrected = bool(np.isfinite(curve.corrected).any())
    shown = [(curve.relative, "raw")] + ([(curve.corrected, "corrected")] if corrected else [])
    panels = panel_axes(figure, len(shown), 1, margins=(1.0, 0.1, 0.55, 0.35), gaps=(0, 0.12), sharex=True)
    for (axes,), (values, name) in zip(panels, shown, strict=True):
        factor, unit = relative_unit(values[good])
        draw_series(axes, curve, values, factor)
        axes.set_ylabel(f"{name} relative flux ({unit})")
    panels[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 0.99), fontsize=9, frameon=False, ncols=5)
    panels[-1, 0].set_xlabel("time (BJD \N{MINUS SIGN} 2457000, days)")
    words = "raw and corrected" if corrected else "raw; it is not corrected"
    flagged = len(good) - int(good.sum())
    return f"Light curve of {len(good)} points, {words}; without {flagged} that are flagged or have no flux."


def draw_signal(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The power spectrum, and the light curve folded at the best period."""
    ((left, right),) = panel_axes(figure, 1, 2, margins=(1.0, 0.1, 0.55, 0.3))
    spectrum, signal = one.spectrum, one.signal
    if spectrum is None or signal is None:
        for axes in (left, right):
            write_in(axes, "too few good points for a power spectrum")
            axes.set_axis_off()
        return "There are too few good points for a power spectrum."
    frequency, power = _MICROHERTZ * spectrum.frequency, 1e12 * spectrum.power
    left.loglog(*_extremes(frequency, power), color="0.6", linewidth=0.5, rasterized=True)
    left.plot(*_smoothed(frequency, power), color=COLOURS["black"], linewidth=1.2)
    left.plot(
        [_MICROHERTZ / spectrum.period],
        [0.97],
        "v",
        color=COLOURS["red"],
        transform=left.get_xaxis_transform(),
    )
    left.set_ylim(max(1e-3 * float(np.median(power)), 1e-300), 4 * float(power.max()))
    left.set_xlim(frequency[0], _MICROHERTZ * spectrum.nyquist)
    log_numbers(left.xaxis, float(np.log10(frequency[-1] / frequency[0])))
    log_numbers(left.yaxis, float(np.log10(left.get_ylim()[1] / left.get_ylim()[0])))
    left.set_xlabel("frequency (\N{MICRO SIGN}Hz), up to the Nyquist frequency")
    left.set_ylabel("power density (ppm\N{SUPERSCRIPT TWO}/\N{MICRO SIGN}Hz)")
    kind = "corrected" if one.corrected else "raw"
    left.set_title(f"Power spectrum of the {kind} flux, and smoothed (bold)", fontsize=10, loc="left")
    factor, unit = relative_unit(one.values)
    draw_folded(right, one.curve.time, factor * one.values, spectrum.period, one.epoch)
    right.set_xlabel("phase, 0 at the minimum of the sine")
    right.set_ylabel(f"relative flux ({unit})")
    right.set_title(f"Folded at {period_text(one)} (line: medians)", fontsize=10, loc="left")
    return (
        f"Power spectrum to {_MICROHERTZ * spectrum.nyquist:,.1f} microhertz, and the light curve folded"
        f" at its strongest period, {period_text(one)}: amplitude {1e6 * signal.amplitude:,.1f} ppm."
    )


def _extremes(
    frequency: NDArray[np.float64], power: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest power of every dot on a logarithmic axis: what a line through all points covers."""
    dot = (np.log(frequency / frequency[0]) / np.log(frequency[-1] / frequency[0]) * _DOTS).astype(int)
    first = np.flatnonzero(np.diff(dot, prepend=-1))
    both = np.stack([np.minimum.reduceat(power, first), np.maximum.reduceat(power, first)], axis=1)
    return np.repeat(frequency[first], 2), both.ravel()


def _smoothed(
    frequency: NDArray[np.float64], power: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of the power in windows of a relative width, at their mean frequencies."""
    window = (np.log(frequency / frequency[0]) / _SMOOTH).astype(int)
    count = np.bincount(window)
    full = count > 0
    return (
        np.bincount(window, frequency)[full] / count[full],
        np.bincount(window, power)[full] / count[full],
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
    panels = panel_axes(figure, 1, 2, margins=(1.0, 0.1, 0.55, 0.3))[0]
    for axis, (axes, name) in enumerate(zip(panels, ("column", "row"), strict=True)):
        moved = np.where(np.isfinite(one.values), one.curve.centroid[:, axis], np.nan)
        known = np.isfinite(moved)
        axes.set_xlabel(f"relative flux ({unit})")
        if not known.any():
            write_in(axes, "no centroid at good points")
            continue
        middle = float(np.median(moved[known]))
        flux, moved = factor * one.values[known], 1e3 * (moved[known] - middle)
        draw_points(axes, flux, moved)
        for limits, limit in ((robust_limits(flux), axes.set_xlim), (robust_limits(moved), axes.set_ylim)):
            if limits is not None:
                limit(*limits)
        axes.set_ylabel(f"{name} \N{MINUS SIGN} {middle - 1:.3f} (1/1000 pixel)")
        offset, error = one.offset[axis]
        if one.spectrum is not None and one.spectrum.significant and np.isfinite(offset):
            moves.append(f"{offset:+.2f} \N{PLUS-MINUS SIGN} {error:.2f} pixels in {name}")
            axes.set_title(f"source of the signal: {moves[-1]}", fontsize=10, loc="left")
    if not moves:
        return "Centroid against flux, in column and row (from 0); no period is significant."
    return (
        "Centroid against flux, in column and row (from 0). From the centroid the signal's source is"
        f" {' and '.join(moves)} away."
    )


def draw_neighbours(figure: Figure | SubFigure, one: ShownCurve) -> str:
    """The best period in the light curves around: amplitudes, and folded light curves."""
    ((left, right),) = panel_axes(figure, 1, 2, margins=(1.0, 2.3, 0.55, 0.3))
    left.set_xlabel("distance (pixels)")
    left.set_ylabel(f"amplitude ({SHOWN_FLUX_UNIT})")
    right.set_xlabel("phase, 0 at the minimum of the star's sine")
    right.set_ylabel(f"flux \N{MINUS SIGN} median ({SHOWN_FLUX_UNIT})")
    left.set_title(f"The period {period_text(one)} in the light curves around", fontsize=10, loc="left")
    good = one.curve.flux[one.curve.good]
    flux = float(np.median(good)) if good.size else float("nan")
    star = Neighbour(int(one.star["starid"]), float(one.star["tmag"]), one.column, one.row, 0.0, "")
    if one.signal is not None and one.spectrum is not None:
        folded = folded_medians(one.curve.time, one.values, one.spectrum.period, one.epoch)
        star = replace(star, signal=one.signal, flux=flux, folded=folded)
    stars = [near for near in (star, *one.neighbours) if near.signal is not None and np.isfinite(near.flux)]
    if not stars:
        for axes in (left, right):
            write_in(axes, "no light curve with enough good points")
            axes.set_axis_off()
        return "No light curve has enough good points to look for the period."
    for k, near in enumerate(stars):
        _draw_neighbour(left, right, near, ("red", *_FOLDED)[k] if k <= len(_FOLDED) else "grey")
    left.set_xlim(-0.5, NEAR + 0.5)
    left.set_ylim(bottom=0)
    right.set_xlim(-0.25, 1.25)
    right.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=8, frameon=False)
    others = sum(near.distance > 0 for near in stars)
    return f"Amplitude in electrons/s at {period_text(one)} of the star and of {others} others, by distance."


def _draw_neighbour(left: Axes, right: Axes, near: Neighbour, colour: str) -> None:
    """The amplitude of one star, and its folded light curve where it has a colour of its own."""
    if near.signal is None or near.folded is None:
        return
    level = abs(near.flux)
    left.errorbar(
        [near.distance], [level * near.signal.amplitude], yerr=[level * near.signal.error], fmt="o",
        markersize=5, color=COLOURS[colour],
    )  # fmt: skip
    if colour == "grey":
        return
    middles = (np.arange(len(near.folded)) + 0.5) / len(near.folded)
    x = np.concatenate([middles - 1, middles, middles + 1])
    where = f"{near.distance:.1f} pixels" if near.distance else "the star"
    right.plot(
        x, np.tile(near.flux * near.folded, 3), "-", color=COLOURS[colour], linewidth=1.2,
        label=f"TIC {near.starid}\nTmag {number(near.tmag, 1)}, {where}",
    )  # fmt: skip


#: Name, what draws it, its title, width and height in inches.
PANELS = (
    ("stamp", draw_stamp, "Pixels and neighbours", 7.0, 5.2),
    ("curve", draw_curve, "Light curve", 11.0, 5.2),
    ("signal", draw_signal, "Power spectrum and folded light curve", 11.0, 4.0),
    ("centroid", draw_centroid, "Centroid against flux", 11.0, 3.6),
    ("neighbours", draw_neighbours, "The same signal in the neighbours", 11.0, 3.6),
)
