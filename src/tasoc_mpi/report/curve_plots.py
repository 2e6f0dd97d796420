"""Light curves in pictures: points with flags and a typical error, in time and folded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.quality import CorrectorQualityFlags, TESSQualityFlags
from .figures import COLOURS, robust_limits
from .results import Curve
from .star_signal import folded_medians

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["draw_folded", "draw_points", "draw_series", "log_numbers", "set_limits", "write_in"]

#: Raised digits and minus sign.
_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
#: Phases that are shown: the minimum at 0 is in the middle of the left half.
_PHASES = (-0.25, 1.25)
#: Flagged points: what they have, colour and symbol.
_FLAGGED = (("flag of the mission", "sky", "s"), ("flag of the light curve", "red", "^"))


def write_in(axes: Axes, text: str) -> None:
    """Words in the middle of axes that have nothing to show."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=COLOURS["red"])


def power_of_ten(value: float) -> str:
    """A power of ten as text, with a raised exponent where the number would be long.

    >>> power_of_ten(100.0), len(power_of_ten(1e-12))
    ('100', 5)
    """
    exponent = round(math.log10(value))
    if -3 <= exponent <= 3:
        return f"{value:g}"
    return "10" + str(exponent).translate(_RAISED)


def log_numbers(axis: Axis, decades: float) -> None:
    """Numbers at the ticks of a logarithmic axis; between the powers of ten, too, where there are few.

    Without formulas, whose parser alone takes a tenth of a second.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda x, _: power_of_ten(x)))
    few = FuncFormatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in "25" else "")
    axis.set_minor_formatter(few if decades < 2 else NullFormatter())


def draw_points(axes: Axes, x: NDArray[Any], y: NDArray[Any], **style: Any) -> None:
    """Points, in files of vectors as pixels: there may be a hundred thousand."""
    size = 3.0 if len(x) < 1000 else 2.0 if len(x) < 5000 else 1.0
    options: dict[str, Any] = {"markersize": size, "color": COLOURS["black"]} | style
    axes.plot(x, y, ".", rasterized=True, **options)


def set_limits(axes: Axes, shown: NDArray[np.float64], margin: float = 0.1) -> None:
    """Limits of the values' axis by the points that count, and how many points are outside."""
    limits = robust_limits(shown, margin=margin)
    if limits is None:
        write_in(axes, "no point is good")
        axes.set_yticks([])
        return
    axes.set_ylim(*limits)
    outside = int(((shown < limits[0]) | (shown > limits[1])).sum())
    if outside:
        axes.text(
            0.995, 0.97, f"{outside} outside", transform=axes.transAxes, ha="right", va="top", fontsize=8,
            color=COLOURS["red"],
        )  # fmt: skip


def draw_series(
    axes: Axes,
    curve: Curve,
    values: NDArray[np.float64],
    factor: float,
    behind: NDArray[np.float64] | None = None,
) -> None:
    """The relative flux against time, with flagged points marked and the median error at the left edge.

    Parameters
    ----------
    axes : Axes
    curve : Curve
    values : ndarray, shape (T,)
        Relative flux less one.
    factor : float
        To the unit of the axis.
    behind : ndarray, shape (T,), optional
        Another one that is drawn behind it, in grey.
    """
    good = curve.good
    if behind is not None:
        draw_points(axes, curve.time[good], factor * behind[good], color=COLOURS["grey"], label="raw")
    flagged = (
        ~TESSQualityFlags.filter(curve.quality),
        ~CorrectorQualityFlags.filter(curve.corrector_quality),
    )
    for (words, colour, symbol), chosen in zip(_FLAGGED, flagged, strict=True):
        axes.plot(
            curve.time[chosen], factor * values[chosen], symbol, markersize=4.5, markerfacecolor="none",
            markeredgecolor=COLOURS[colour], rasterized=True, label=f"{words} ({int(chosen.sum())})",
        )  # fmt: skip
    draw_points(axes, curve.time[good], factor * values[good], label=f"good ({int(good.sum())})")
    shown = [values[good]] if behind is None else [values[good], behind[good]]
    set_limits(axes, factor * np.concatenate(shown))
    _draw_error(axes, curve, factor)
    axes.ticklabel_format(useOffset=False)
    axes.margins(x=0.03)


def _draw_error(axes: Axes, curve: Curve, factor: float) -> None:
    """The median error of the good points, at the left edge."""
    good = curve.good
    median = float(np.median(curve.flux[good])) if good.any() else 0.0
    errors = curve.flux_err[good & np.isfinite(curve.flux_err) & (curve.flux_err >= 0)]
    if median > 0 and errors.size:
        low, high = axes.get_ylim()
        axes.errorbar(
            [0.012], [0.5 * (low + high)], yerr=[factor * float(np.median(errors)) / median],
            transform=axes.get_yaxis_transform(), color=COLOURS["blue"], capsize=2.5, fmt="none", zorder=5,
            label="median error",
        )  # fmt: skip


def draw_folded(
    axes: Axes, time: NDArray[np.float64], values: NDArray[np.float64], period: float, epoch: float
) -> None:
    """A light curve against its phase, one and a half times, with medians in red."""
    known = np.isfinite(values) & np.isfinite(time)
    values = values[known]
    phase = (time[known] - epoch) / period % 1.0
    low, high = _PHASES
    turned = np.concatenate([phase - 1, phase, phase + 1])
    shown = (turned >= low) & (turned <= high)
    # At once: the size of the points depends on their number.
    draw_points(axes, turned[shown], np.tile(values, 3)[shown], color=COLOURS["grey"])
    medians = folded_medians(time[known], values, period, epoch)
    middles = (np.arange(len(medians)) + 0.5) / len(medians)
    x = np.concatenate([middles - 1, middles, middles + 1])
    inside = (x >= low) & (x <= high)
    axes.plot(
        x[inside], np.tile(medians, 3)[inside], "o-", color=COLOURS["red"], markersize=2.5, linewidth=1.0
    )
    set_limits(axes, values)
    axes.set_xlim(low, high)
    axes.set_xticks([0.0, 0.5, 1.0])
