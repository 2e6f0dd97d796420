"""A picture of the effective response of a CCD: its shape over the CCD and with time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..products.prf_file import EffectivePRF, read_prf
from .figures import COLOURS, new_figure, save_figure

__all__ = ["draw_prf"]

#: Half the width of the drawings, pixels.
HALF_WIDTH = 3
_SAMPLES = 9


def draw_prf(path: Path) -> Path:
    """Draw the response in a file as a PNG beside it.

    Parameters
    ----------
    path : Path
        Of a file that `tasoc-mpi prf` has made.

    Returns
    -------
    Path
        Of the picture.

    Raises
    ------
    InputError
        If the file cannot be used, the picture cannot be written, or matplotlib is not installed.
    """
    prf = read_prf(path)
    figure = new_figure(13, 10)
    title = f"Sector {prf.sector}, camera {prf.camera}, CCD {prf.ccd}: effective response"
    figure.suptitle(f"{title}; {len(prf.epochs)} epoch(s), {prf.stars[0].sum()} stars in the first")
    parts: Any = figure.subfigures(3, 1, height_ratios=(1.0, 0.8, 0.9))
    middle = float(prf.node_rows.mean()), float(prf.node_columns.mean())
    time = prf.epochs[len(prf.epochs) // 2]
    mean = _cut(prf, *middle, time)
    axes = parts[0].subplots(1, 4)
    limit = mean.max() * 1e-4
    image = _image(axes[0], np.log10(np.maximum(mean, limit)), "middle of the CCD, log10", cmap="viridis")
    parts[0].colorbar(image, ax=axes[0])
    _profile(axes[1], prf, middle)
    image = axes[2].imshow(prf.stars.mean(axis=0), origin="lower", cmap="cividis")
    axes[2].set(title="stars at each node", xlabel="node in column (from 0)", ylabel="node in row (from 0)")
    parts[0].colorbar(image, ax=axes[2])
    drift = _cut(prf, *middle, prf.epochs[-1]) - _cut(prf, *middle, prf.epochs[0])
    _differences(parts[0], axes[3:], [drift / mean.max()], ["last less first epoch, over the peak"])
    rows, columns = (nodes[[-1, 0]] for nodes in (prf.node_rows, prf.node_columns))
    places = [(row, column) for row in rows for column in columns[::-1]]
    changes = [(_cut(prf, *place, time) - mean) / mean.max() for place in places]
    titles = [f"row {row:.0f}, column {column:.0f}" for row, column in places]
    titles[0] += " (from 0), less the middle"
    _differences(parts[1], parts[1].subplots(1, len(places)), changes, titles)
    _series(parts[2].subplots(1, 3), prf)
    return save_figure(figure, path.with_suffix(".png"))


def _cut(prf: EffectivePRF, row: float, column: float, time: float) -> Any:
    """Middle of the response at a place and time."""
    return prf.table(row, column, time, _SAMPLES, 2 * HALF_WIDTH + 1)


def _image(panel: Any, values: Any, title: str, **words: Any) -> Any:
    edge = HALF_WIDTH + 0.5
    panel.set_title(title, fontsize=9)
    panel.set_xlabel("columns from the star", fontsize=8)
    panel.set_ylabel("rows from the star", fontsize=8)
    return panel.imshow(values, origin="lower", extent=(-edge, edge) * 2, **words)


def _differences(figure: Any, panels: Any, values: list[Any], titles: list[str]) -> None:
    """Draw differences with the same colours, white for none."""
    limit = max(*(float(np.abs(value).max()) for value in values), 1e-4)
    for panel, value, title in zip(panels, values, titles, strict=True):
        image = _image(panel, value, title, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=list(panels))


def _profile(panel: Any, prf: EffectivePRF, place: tuple[float, float]) -> None:
    """Response against the distance from the star."""
    table = prf.table(*place, prf.epochs[0], _SAMPLES, 13)
    offset = (np.arange(len(table)) - len(table) // 2) / _SAMPLES
    radius = np.hypot(offset[:, None], offset)
    panel.semilogy(radius.ravel(), np.maximum(table, 1e-7).ravel(), ".", ms=1, color=COLOURS["blue"])
    panel.set(title="response of a pixel", xlabel="distance (pixels)", xlim=(0, 6.5), ylim=(1e-6, 1.0))


def _series(panels: Any, prf: EffectivePRF) -> None:
    """What changes with time: residuals, extrapolated light, and the focus."""
    time = f"BJD - 2457000, from {prf.spans.min():.1f}"
    days = prf.epochs - prf.spans.min()
    panels[0].plot(days, 100 * prf.scatter, "o-", color=COLOURS["blue"])
    panels[0].set(title="residuals in central pixels (% of the peak)", xlabel=time, ylim=(0, None))
    panels[1].plot(days, 100 * (1 - prf.inside), "o-", color=COLOURS["green"])
    panels[1].set(title="light in the wings beyond the spline (%)", xlabel=time, ylim=(0, None))
    panels[2].plot(prf.frame_times - prf.spans.min(), prf.broadening, ".", ms=2, color=COLOURS["red"])
    panels[2].set(title="broadening in each frame (pixels squared)", xlabel=time)
