"""The comparison of light curves with a simulation's truth as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.tables import number, text_table
from .figures import COLOURS, new_figure, save_figure
from .truth_comparison import TruthComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["comparison_lines", "draw_comparisons"]

#: Magnitudes over which noise and flux are compared.
NOISE_RANGE, FLUX_RANGE = (9.0, 14.0), (7.0, 12.0)
#: Flux within this fraction of the true one counts as recovered.
FLUX_TOLERANCE = 0.03


def comparison_lines(comparison: TruthComparison) -> list[str]:
    """The comparison as lines of text."""
    jitter = "with" if comparison.jitter else "without"
    isolated = comparison.stars["isolated"]
    counts = f"{len(comparison.stars)} stars OK, {int(isolated.sum())} of them isolated and constant"
    lines = [
        f"{counts}; {jitter} jitter",
        "",
        "1-hour noise of isolated stars: medians, and excess over photon, sky and read noise in their masks;",
        "last columns: the ratio with the true sky in place of the fitted background, and what the fit adds",
        *_noise_table(comparison.stars[isolated]),
        "",
        "flux over true flux of isolated stars (clean: less the contamination known from the catalog)",
        *_flux_table(comparison.stars[isolated]),
        "",
        "injected variables: period found blindly; amplitude or depth at the true times over the true one",
        *_variables_table(comparison.variables),
        "",
    ]
    lost = comparison.without_own_pixel
    lines.append(f"stars OK without their own pixel in the mask: {', '.join(map(str, lost)) or 'none'}")
    return lines


def _bins(
    stars: NDArray[np.void], span: tuple[float, float], width: float
) -> list[tuple[str, NDArray[np.void]]]:
    """Stars by magnitude, and all of the span."""
    found = []
    for lower in np.arange(*span, width):
        here = stars[(stars["tmag"] >= lower) & (stars["tmag"] < lower + width)]
        found.append((f"{lower:.1f} - {lower + width:.1f}", here))
    found.append(("all", stars[(stars["tmag"] >= span[0]) & (stars["tmag"] < span[1])]))
    return [(name, here) for name, here in found if len(here)]


def _noise_table(stars: NDArray[np.void]) -> list[str]:
    rows = [
        ["Tmag", "stars", "noise", "expected", "ratio", "16%", "84%", "excess", "true sky", "fit/true"],
        ["", "", "ppm", "ppm", "", "", "", "ppm", "ratio", ""],
    ]
    for name, here in _bins(stars[stars["noise"] > 0], NOISE_RANGE, 0.5):
        noise, expected = np.median(here["noise"]), np.median(here["expected"])
        low, ratio, high = np.percentile(here["noise"] / here["expected"], [16, 50, 84])
        excess = np.median(np.sqrt(np.maximum(here["noise"] ** 2 - here["expected"] ** 2, 0.0)))
        values = (f"{1e6 * noise:.0f}", f"{1e6 * expected:.0f}", f"{ratio:.3f}", f"{low:.2f}", f"{high:.2f}")
        true_sky = np.nanmedian(here["noise_true_sky"] / here["expected"])
        fit = np.nanmedian(here["noise"] / here["noise_true_sky"])
        rows.append([name, str(len(here)), *values, f"{1e6 * excess:.0f}", f"{true_sky:.3f}", f"{fit:.3f}"])
    return text_table(rows, indent="  ")


def _flux_table(stars: NDArray[np.void]) -> list[str]:
    rows = [["Tmag", "stars", "median", "16%", "84%", "within 3%", "clean", "within 3%"]]
    for name, here in _bins(stars[np.isfinite(stars["ratio"])], FLUX_RANGE, 1.0):
        low, middle, high = np.percentile(here["ratio"], [16, 50, 84])
        clean = here["ratio"] * (1 - here["contamination"])
        clean = clean[np.isfinite(clean)]
        within = np.mean(np.abs(here["ratio"] - 1) <= FLUX_TOLERANCE)
        values = (f"{middle:.4f}", f"{low:.3f}", f"{high:.3f}", f"{100 * within:.0f}%")
        known = ["-", "-"]
        if clean.size:
            within_clean = np.mean(np.abs(clean - 1) <= FLUX_TOLERANCE)
            known = [f"{np.median(clean):.4f}", f"{100 * within_clean:.0f}%"]
        rows.append([name, str(len(here)), *values, *known])
    return text_table(rows, indent="  ")


def _variables_table(variables: NDArray[np.void]) -> list[str]:
    rows = [["TIC", "Tmag", "kind", "period", "found", "", "injected", "size", "+-"]]
    rows.append(["", "", "", "d", "d", "", "%", "", ""])
    for v in np.sort(variables, order=["kind", "tmag"]):
        rows.append(
            [
                str(v["starid"]),
                f"{v['tmag']:.2f}",
                str(v["kind"]),
                f"{v['period']:.4f}",
                number(v["found"], 4),
                str(v["match"]) or "no",
                f"{100 * v['size']:.3g}",
                number(v["scale"], 3),
                number(v["scale_error"], 3),
            ]
        )
    back = int((variables["match"] != "").sum())
    return [*text_table(rows, indent="  "), f"  periods that came back: {back} of {len(variables)}"]


def draw_comparisons(comparisons: list[TruthComparison], path: Path) -> Path:
    """Draw noise over expected noise and flux over true flux against magnitude, one row a comparison."""
    figure = new_figure(12.0, 0.3 + 3.6 * len(comparisons))
    grid = figure.subplots(len(comparisons), 2, squeeze=False)
    for (left, right), comparison in zip(grid, comparisons, strict=True):
        jitter = "with jitter" if comparison.jitter else "without jitter"
        _draw_stars(left, right, comparison.stars[comparison.stars["noise"] > 0])
        left.set_title(f"{jitter}: 1-hour noise over expected noise", fontsize=10)
        right.set_title(f"{jitter}: flux over true flux", fontsize=10)
        left.axhspan(0.85, 1.15, color=COLOURS["green"], alpha=0.2, linewidth=0)
        right.axhspan(1 - FLUX_TOLERANCE, 1 + FLUX_TOLERANCE, color=COLOURS["green"], alpha=0.2, linewidth=0)
        left.set_yscale("log")
        left.set_ylim(0.5, 30)
        ticks = [0.5, 1, 2, 5, 10, 20]
        left.set_yticks(ticks, map(str, ticks))
        right.set_ylim(0.7, 1.3)
        for axes in (left, right):
            axes.axhline(1, color=COLOURS["black"], linewidth=0.8)
            axes.set_xlabel("TESS magnitude")
            axes.legend(fontsize=8, loc="upper left")
    return save_figure(figure, path)


def _draw_stars(left: Axes, right: Axes, stars: NDArray[np.void]) -> None:
    """Noise over expected noise at the left, flux over true flux at the right."""
    others, alone = stars[~stars["isolated"]], stars[stars["isolated"]]
    for axes, here, values, colour, size, name in (
        (left, others, others["noise"] / others["expected"], "grey", 3, "others"),
        (left, alone, alone["noise"] / alone["expected"], "blue", 9, "isolated and constant"),
        (left, alone, alone["noise_true_sky"] / alone["expected"], "red", 9, "the same, with the true sky"),
        (right, others, others["ratio"], "grey", 3, "others"),
        (right, alone, alone["ratio"], "blue", 9, "isolated and constant"),
    ):
        axes.scatter(here["tmag"], values, s=size, color=COLOURS[colour], linewidths=0, label=name)
