"""Images of stamps with masks on them, and the picture of how a mask was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..products.lightcurve import SHOWN_FLUX_UNIT
from .figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from ..photometry.base import BasePhotometry
    from ..photometry.k2p2 import K2P2Parameters, K2P2Result
    from ..photometry.stamp import Stamp

__all__ = ["decades", "draw_mask_making", "mask_segments", "outline", "show_image"]

_ORANGE, _RED, _BLUE = (COLOURS[name] for name in ("orange", "red", "blue"))


def show_image(axes: Axes, image: NDArray[Any], stamp: Stamp) -> AxesImage:
    """Show an image of a stamp, dark is bright, on an asinh scale that shows its noise and its stars."""
    from matplotlib.colors import AsinhNorm

    finite = image[np.isfinite(image)]
    if finite.size:
        middle = float(np.median(finite))
        spread = float(1.4826 * np.median(np.abs(finite - middle)))
        low, high = max(float(finite.min()), middle - 3 * spread), float(finite.max())
    else:
        middle, spread, low, high = 0.0, 1.0, 0.0, 1.0
    if not high > low:
        # 0.5 changes no number beyond 1e16.
        room = max(0.5, 0.01 * abs(low))
        low, high = low - room, low + room
    row_min, row_max, col_min, col_max = stamp
    return axes.imshow(
        np.asarray(image, dtype="f8"),
        origin="lower",
        extent=(col_min - 0.5, col_max - 0.5, row_min - 0.5, row_max - 0.5),
        cmap="gray_r",
        norm=AsinhNorm(linear_width=max(spread, 1e-5 * (high - low)), vmin=low, vmax=high),
        interpolation="nearest",
    )


def decades(low: float, high: float, width: float) -> list[float]:
    """Zero and powers of ten with either sign for a scale that is linear up to a width.

    Of a scale with fewer than three of them also twice and five times these.

    >>> decades(-3.0, 2e4, 5.0), decades(900.0, 1.3e5, 4e4)
    ([0.0, 10.0, 100.0, 1000.0, 10000.0], [10000.0, 20000.0, 50000.0, 100000.0])
    """
    last = int(np.log10(max(high, -low, width)))
    ticks: list[float] = []
    for first, steps in ((int(np.ceil(np.log10(width))), (1,)), (int(np.log10(width)), (1, 2, 5))):
        some = [step * 10.0**k for k in range(first, max(last + 1, first + 1)) for step in steps]
        ticks = [x for x in [-x for x in reversed(some)] + [0.0] + some if low <= x <= high]
        if len(ticks) >= 3:
            break
    return ticks


def mask_segments(mask: NDArray[np.bool_], stamp: Stamp) -> NDArray[np.float64]:
    """Lines of shape (L, 2, 2) between the pixels of a mask and others: ends as 0-based (column, row)."""
    padded = np.pad(np.asarray(mask, dtype=bool), 1)
    row_min, _, col_min, _ = stamp
    r, c = np.nonzero(padded[:, 1:] != padded[:, :-1])  # between column c - 1 and c of the mask
    x, y = c - 0.5 + col_min, r - 1.5 + row_min
    upright = np.stack([np.stack([x, y], -1), np.stack([x, y + 1], -1)], axis=1)
    r, c = np.nonzero(padded[1:, :] != padded[:-1, :])
    x, y = c - 1.5 + col_min, r - 0.5 + row_min
    level = np.stack([np.stack([x, y], -1), np.stack([x + 1, y], -1)], axis=1)
    return np.concatenate([upright, level])


def outline(axes: Axes, mask: NDArray[np.bool_], stamp: Stamp, **style: Any) -> None:
    """Draw a line around a mask."""
    from matplotlib.collections import LineCollection

    axes.add_collection(
        LineCollection(list(mask_segments(mask, stamp)), capstyle="projecting", zorder=3, **style),
        autolim=False,
    )


def draw_mask_making(pho: BasePhotometry, figure: Figure) -> None:
    """The steps from the sum image to the mask: threshold, clusters, markers, segments, mask."""
    from ..photometry.k2p2 import K2P2Parameters, k2p2_masks

    parameters = K2P2Parameters.from_settings(pho.settings)
    result = getattr(pho, "k2p2", None)
    if result is None or result.labels.shape != pho.sumimage.shape:
        stars = pho.stamp_stars
        result = k2p2_masks(
            pho.sumimage, stars["row_stamp"], stars["column_stamp"], stars["tmag"], parameters
        )
    axes = figure.subplots(2, 3)
    _histogram(axes[0, 0], pho.sumimage, result, parameters)
    stamp, mask = pho.stamp, pho.final_phot_mask
    significant, clusters, markers, segments, final = (
        _panel(panel, pho, title)
        for panel, title in zip(
            axes.ravel()[1:],
            (
                f"significant: {int(result.significant.sum())} px",
                f"clusters: {int(result.clusters.max(initial=0))}",
                f"maxima and markers: {int(result.markers.max(initial=0))}",
                f"masks: {result.count}",
                "no final mask" if mask is None else f"final mask: {int(mask.sum())} px",
            ),
            strict=True,
        )
    )
    _colour(significant, result.significant.astype(int), stamp)
    _colour(clusters, result.clusters, stamp)
    _markers(markers, pho, result)
    _colour(segments, result.labels, stamp)
    for label in range(1, min(result.count, 200) + 1):
        outline(segments, result.mask(label), stamp, color="0.25", linewidth=0.6)
    if mask is not None:
        outline(final, mask, stamp, color=_ORANGE, linewidth=2.0)
    for panel in (significant, clusters, segments, final):
        panel.plot(pho.target_pos_column, pho.target_pos_row, "+", color=_RED, markersize=9, zorder=6)
    for panel in (markers, segments, final):
        panel.set_xlabel("column (full frame image pixel, from 0)")
    for panel in (significant, markers):
        panel.set_ylabel("row (full frame image pixel, from 0)")


def _panel(axes: Axes, pho: BasePhotometry, title: str) -> Axes:
    """The sum image with a title."""
    show_image(axes, pho.sumimage, pho.stamp)
    axes.set_title(title, fontsize=9)
    axes.locator_params(nbins=5, integer=True)
    return axes


def _histogram(axes: Axes, image: NDArray[Any], result: K2P2Result, parameters: K2P2Parameters) -> None:
    """The faint pixels' flux with the density estimate, its mode and the threshold."""
    flux = np.asarray(image, dtype="f8")
    flux = flux[np.isfinite(flux) & (flux > 0)]
    axes.set_title("flux of the pixels", fontsize=9)
    axes.set_xlabel(f"mean flux ({SHOWN_FLUX_UNIT})")
    axes.set_ylabel("pixels")
    if not flux.size or not np.isfinite(result.mode):
        axes.text(0.5, 0.5, "no positive flux", transform=axes.transAxes, ha="center", color=_RED)
        return
    # The mode and the threshold are among the faint pixels; the stars would squeeze them into one bin.
    sigma = max(result.mad, result.bandwidth, 1e-9)
    high = min(max(result.threshold + 8 * sigma, float(np.percentile(flux, 60))), float(flux.max()))
    low = min(float(flux.min()), result.mode) - 2 * sigma
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 61)
    axes.hist(flux, bins=list(edges), color="0.8", edgecolor="0.6", linewidth=0.5)
    if result.bandwidth > 0:
        grid = np.linspace(low, high, 400)
        used = np.sort(flux)[: flux.size - int(parameters.trim * flux.size)]
        used = used[used < parameters.saturation_flux]
        steps = (grid[:, None] - used[None, :]) / result.bandwidth
        density = np.exp(-0.5 * steps**2).sum(axis=1) / (result.bandwidth * np.sqrt(2 * np.pi))
        axes.plot(grid, density * (edges[1] - edges[0]), color=_BLUE, label="density estimate")
    axes.axvline(result.mode, color="black", linewidth=1.2, label=f"mode {result.mode:.4g}")
    axes.axvline(
        result.threshold, color=_RED, linewidth=1.2, linestyle="--", label=f"threshold {result.threshold:.4g}"
    )
    axes.set_xlim(low, high)
    outside = int((flux > high).sum())
    title = f"{outside} px beyond" if outside else None
    axes.legend(fontsize=8, loc="upper right", title=title, title_fontsize=8)


def _colour(axes: Axes, labels: NDArray[Any], stamp: Stamp, alpha: float = 0.45) -> None:
    """Lay colours over the pixels of each label; 0 stays clear."""
    from matplotlib import colormaps

    colours = np.array(colormaps["tab10"].colors)  # type: ignore[attr-defined]
    overlay = np.zeros((*labels.shape, 4))
    known = labels > 0
    overlay[known, :3] = colours[(labels[known] - 1) % len(colours)]
    overlay[known, 3] = alpha
    row_min, row_max, col_min, col_max = stamp
    axes.imshow(
        overlay, origin="lower", interpolation="nearest", zorder=2,
        extent=(col_min - 0.5, col_max - 0.5, row_min - 0.5, row_max - 0.5),
    )  # fmt: skip


def _markers(axes: Axes, pho: BasePhotometry, result: K2P2Result) -> None:
    stamp = pho.stamp
    outline(axes, result.clusters > 0, stamp, color="0.25", linewidth=0.6)
    if result.saturated.any():
        outline(axes, result.saturated, stamp, color=_RED, linewidth=1.4, linestyle=":")
    _colour(axes, result.markers, stamp, alpha=0.8)
    rows, columns = np.nonzero(result.candidates)
    for colour, width in (("black", 2.4), ("white", 1.0)):
        axes.plot(
            columns + stamp[2],
            rows + stamp[0],
            "x",
            color=colour,
            markeredgewidth=width,
            markersize=6,
            zorder=5,
        )
    stars = pho.stamp_stars
    axes.plot(
        stars["column"], stars["row"], "o", markerfacecolor="none", markeredgecolor=_RED, markersize=6,
        linestyle="none", zorder=5,
    )  # fmt: skip
    axes.set_title(axes.get_title() + "\n(x maximum, o star, colour marker)", fontsize=9)
    row_min, row_max, col_min, col_max = stamp
    axes.set_xlim(col_min - 0.5, col_max - 0.5)
    axes.set_ylim(row_min - 0.5, row_max - 0.5)
