"""Pictures of co-trending basis vectors: their shapes, their weights over the CCD, and the stars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.names import cbv_pictures
from ..products.cbv_file import USES, Vectors, read_vectors
from .figures import COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_vectors"]

#: Vectors in a picture.
_MOST = 8


def draw_vectors(path: Path) -> list[Path]:
    """Draw the vectors of a file, beside it.

    Returns
    -------
    list of Path
        ``...-vectors.png``, ``...-weights.png`` and ``...-stars.png``.
    """
    vectors = read_vectors(path)
    draw = {"vectors": _shapes, "weights": _weights, "stars": _stars}
    pictures = cbv_pictures(path)
    for name, picture in pictures.items():
        save_figure(draw[name](vectors), picture)
    return list(pictures.values())


def _title(vectors: Vectors) -> str:
    return f"Sector {vectors.sector}, area {vectors.area}, {vectors.cadence} s"


def _shapes(vectors: Vectors) -> Figure:
    """Slow parts and spikes in time, and the explained variance."""
    count = min(_MOST, vectors.count)
    figure = new_figure(11, 1.3 * count + 2.2)
    from matplotlib.ticker import LogFormatter, MaxNLocator

    axes = figure.subplots(count + 1, 1, gridspec_kw={"height_ratios": [1] * count + [1.4]})
    good = vectors.good
    for k, axis in enumerate(axes[:count]):
        for orbit in range(vectors.orbits):
            own = vectors.orbit == orbit
            axis.plot(vectors.time[own], vectors.slow[own, k], color=COLOURS["blue"], lw=0.8)
        spikes = good & (vectors.spikes[:, k] != 0)
        whole = (vectors.slow + vectors.spikes)[spikes, k]
        axis.plot(vectors.time[spikes], whole, ".", ms=3, color=COLOURS["red"])
        kind = "" if k < vectors.significant else ", noise"
        axis.set_ylabel(f"{k + 1}{kind}")
        if k < count - 1:
            axis.tick_params(labelbottom=False)
    axes[count - 1].set_xlabel("BJD - 2457000 (days)")
    bars = axes[count]
    bars.bar(np.arange(1, vectors.count + 1), 100 * vectors.explained, color=COLOURS["green"])
    bars.set_yscale("log")
    # 6 and not 6 x 10^0.
    bars.yaxis.set_major_formatter(LogFormatter())
    bars.yaxis.set_minor_formatter(LogFormatter())
    bars.set_xlim(0.4, vectors.count + 0.6)
    bars.xaxis.set_major_locator(MaxNLocator(integer=True))
    bars.set_xlabel("vector")
    bars.set_ylabel("explained variance (%)")
    unused = "" if vectors.significant >= count else "; the method map leaves out those marked noise"
    figure.suptitle(f"{_title(vectors)}: slow parts (lines) and spikes (points) of the vectors{unused}")
    return figure


def _weights(vectors: Vectors) -> Figure:
    """Weights of the stars over the CCD."""
    count = min(_MOST, vectors.count)
    figure = new_figure(12, 3.2 * (-(-count // 4)))
    used = vectors.weights.any(axis=1)
    for k in range(count):
        axis = figure.add_subplot(-(-count // 4), 4, k + 1)
        values = vectors.weights[used, k]
        limit = np.percentile(np.abs(values), 95) or 1.0
        points = axis.scatter(
            vectors.column[used] - 1,
            vectors.row[used] - 1,
            c=values,
            s=6,
            cmap="coolwarm",
            vmin=-limit,
            vmax=limit,
        )
        axis.set_title(f"vector {k + 1}", fontsize=9)
        axis.set_aspect("equal")
        figure.colorbar(points, ax=axis, shrink=0.8, label="weight")
    figure.suptitle(f"{_title(vectors)}: weights at column (across) and row (up), counted from 0")
    return figure


def _stars(vectors: Vectors) -> Figure:
    """What became of each star, over the CCD and by magnitude."""
    figure = new_figure(12, 5)
    place, magnitude = figure.subplots(1, 2)
    colours = ("blue", "grey", "orange", "sky", "red", "pink")
    for number, (use, colour) in enumerate(zip(USES, colours, strict=True)):
        own = vectors.use == number
        if not own.any():
            continue
        style = {"s": 40 if number == USES.index("dominated a vector") else 6, "color": COLOURS[colour]}
        # Files count pixels from 1, pictures from 0.
        place.scatter(vectors.column[own] - 1, vectors.row[own] - 1, label=f"{use} ({own.sum()})", **style)
        size = np.abs(vectors.coefficients[own, 0]) if vectors.coefficients.size else np.zeros(own.sum())
        known = np.isfinite(size) & (size > 0)
        magnitude.scatter(vectors.tmag[own][known], 1e6 * size[known], **style)
    place.set_aspect("equal")
    place.set_xlabel("column of the centroid (full frame image pixel, from 0)")
    place.set_ylabel("row (from 0)")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    magnitude.set_yscale("log")
    magnitude.set_xlabel("Tmag")
    magnitude.set_ylabel("size of the coefficient of vector 1 (ppm)")
    figure.suptitle(f"{_title(vectors)}: stars")
    return figure
