"""A star that shows itself: as text, in notebooks, as pictures, and as light curves of other packages."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, UsageError
from ..core.quality import TESSQualityFlags
from ..core.tables import counted
from ..products.lightcurve import SHOWN_FLUX_UNIT
from .result import PhotometryResult
from .stamp_stars import StampStars

if TYPE_CHECKING:
    from lightkurve import TessLightCurve
    from matplotlib.axes import Axes

__all__ = ["ShownStar"]


def _number(value: float, digits: int = 1, unit: str = "") -> str:
    """A number with its unit; '-' where it is not known."""
    return f"{value:,.{digits}f}{unit}" if math.isfinite(value) else "-"


def _edge(result: PhotometryResult) -> str:
    """The flux in pixels of the mask on the edge of the stamp, and its share of all flux."""
    share = result.edge_flux / result.mean_flux if result.mean_flux > 0 else math.nan
    return f"{_number(result.edge_flux, 2, ' e-/s')} ({share:.1%})" if math.isfinite(share) else "-"


class ShownStar(StampStars):
    """What a photometry object says and draws of itself; see `BasePhotometry`."""

    result: PhotometryResult
    method: str
    datasource: str
    cutout: Path | None = None  #: The cut-out from which the star was opened; its cube is a temporary file

    @property
    def star_name(self) -> str:
        """The star in words."""
        return f"TIC {self.starid}" if self.starid else "without a TIC number"

    @property
    def stars_unknown(self) -> bool:
        """Whether the star is the only one that is known: there is no catalog of the field."""
        return self._source.catalog.only_targets

    def facts(self) -> dict[str, str]:
        """The star, its pixels and the outcome of its photometry, in words; '-' for what is not known."""
        result, (row_min, row_max, col_min, col_max) = self.result, self.stamp
        mask, source = self.final_phot_mask, "cut-out" if self.cutout else self.datasource
        return {
            "star": self.star_name,
            "TESS magnitude": _number(self.target["tmag"], 2),
            "observed in": f"sector {self.sector}, camera {self.camera}, CCD {self.ccd}",
            "cadence": f"{self.cadence} s, {counted(len(self._source.time), 'point')}",
            "source": f"{source} ({self.cutout or self._source.path})",
            "method": self.method,
            "status": result.status.name if result.status.value else "no photometry yet",
            "stamp": f"rows {row_min} to {row_max - 1}, columns {col_min} to {col_max - 1} (from 0)",
            "mask": "-" if mask is None else counted(int(mask.sum()), "pixel"),
            "median flux": _number(result.mean_flux, 2, " e-/s"),
            # Where it is much, light is missing and the motion of the star changes the flux.
            "flux on the edge": _edge(result),
            "1-hour noise": _number(result.rms_hour * 1e6, 1, " ppm"),
            "point-to-point noise": _number(result.ptp * 1e6, 1, " ppm"),
            "contamination": _number(result.contamination, 4),
            "messages": "; ".join(result.errors) or "-",
        }

    def __repr__(self) -> str:
        facts = self.facts()
        return (
            f"<{type(self).__name__} {facts['star']}, Tmag {facts['TESS magnitude']}, "
            f"{facts['observed in']}, {facts['cadence']}: {facts['status']}>"
        )

    def _repr_html_(self) -> str:
        """The facts as a table, for notebooks."""
        left = 'style="text-align:left"'
        rows = "".join(
            f"<tr><th {left}>{key}</th><td {left}>{html.escape(value)}</td></tr>"
            for key, value in self.facts().items()
        )
        return f"<table>{rows}</table>"

    def plot_lightcurve(self, ax: Axes | None = None) -> Axes:
        """Draw the flux against time: all finite points, flagged ones on top.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: of a new figure.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        UsageError
            Before `photometry`.
        InputError
            If matplotlib is not installed.
        """
        self._check_flux()
        ax = _axes(ax, (10.0, 4.0))
        time, flux, quality = (self._columns.arrays[name] for name in ("time", "flux", "quality"))
        good = TESSQualityFlags.filter(quality)
        known = np.isfinite(flux)
        size = 7.0 if len(time) <= 200 else 3.0 if len(time) <= 5000 else 1.5
        for chosen, colour, points, name in (
            (known & good, "black", size, "good"),
            (known & ~good, "#56B4E9", max(size, 4.0), "flagged"),
        ):
            if chosen.any():
                ax.plot(time[chosen], flux[chosen], ".", color=colour, markersize=points, label=name)
        ax.ticklabel_format(useOffset=False, style="plain")
        # Times of a few minutes have long numbers.
        ax.locator_params(axis="x", nbins=5)
        ax.set_xlabel("time (BJD $-$ 2457000, days)")
        ax.set_ylabel(f"flux ({SHOWN_FLUX_UNIT})")
        ax.set_title(f"{self.star_name}, sector {self.sector}, {self.method}", loc="left", fontsize=11)
        ax.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
        return ax

    def plot_stamp(self, ax: Axes | None = None) -> Axes:
        """Draw the sum image of the stamp with the mask, the star and its known neighbours.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: of a new figure.

        Returns
        -------
        matplotlib Axes
            In pixels of the full frame image, counted from 0.

        Raises
        ------
        InputError
            If matplotlib is not installed.
        """
        ax = _axes(ax, (5.5, 5.0))
        from matplotlib.colors import AsinhNorm
        from matplotlib.ticker import SymmetricalLogLocator

        row_min, row_max, col_min, col_max = self.stamp
        sky = np.nanmedian(np.abs(self.sumimage)) if np.isfinite(self.sumimage).any() else 1.0
        image = ax.imshow(
            self.sumimage, origin="lower", cmap="viridis", norm=AsinhNorm(float(sky) or 1.0),
            extent=(col_min - 0.5, col_max - 0.5, row_min - 0.5, row_max - 0.5),
        )  # fmt: skip
        # Below the width of the linear part only zero has room for a number.
        ticks = SymmetricalLogLocator(base=10, linthresh=10 * float(sky) or 1.0)
        label = f"mean flux ({SHOWN_FLUX_UNIT}), asinh scale"
        ax.figure.colorbar(image, ax=ax, label=label, ticks=ticks, format="%g").minorticks_off()
        if self.final_phot_mask is not None:
            rows, columns = np.nonzero(self.final_phot_mask)
            for k, (row, column) in enumerate(zip(rows + row_min, columns + col_min, strict=True)):
                ax.add_patch(_square((column - 0.5, row - 0.5), "_" if k else "mask"))
        stars = self.stamp_stars
        other = stars["starid"] != self.starid
        if other.any():
            ax.plot(stars["column"][other], stars["row"][other], "wo", fillstyle="none", label="other stars")
        ax.plot(self.target_pos_column, self.target_pos_row, "r+", markersize=10, label="the star")
        ax.set_xlim(col_min - 0.5, col_max - 0.5)
        ax.set_ylim(row_min - 0.5, row_max - 0.5)
        ax.locator_params(integer=True)
        ax.set_xlabel("column (full frame image pixel, from 0)")
        ax.set_ylabel("row (full frame image pixel, from 0)")
        # White circles are to be seen in the legend, too.
        ax.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, facecolor="0.7", framealpha=1)
        return ax

    def to_lightkurve(self) -> TessLightCurve:
        """The light curve as an object of the package lightkurve, without the points that have no flux.

        Returns
        -------
        lightkurve.TessLightCurve
            Flux, its error and the background in electrons/s, quality, cadence numbers, and centroids in
            pixels of the full frame image counted from 1, as lightkurve has them.

        Raises
        ------
        UsageError
            Before `photometry`.
        InputError
            If lightkurve is not installed.
        """
        self._check_flux()
        try:
            from lightkurve import TessLightCurve
        except ImportError:
            raise InputError("to_lightkurve needs lightkurve: pip install lightkurve") from None
        from astropy import units as u
        from astropy.time import Time

        columns, rate = self._columns.arrays, u.electron / u.s
        name = f"TIC {self.starid}" if self.starid else None
        known = np.isfinite(columns["flux"])
        centroid = columns["pos_centroid"][known] * u.pixel
        return TessLightCurve(
            time=Time(columns["time"][known], format="btjd", scale="tdb"),
            flux=columns["flux"][known] * rate,
            flux_err=columns["flux_err"][known] * rate,
            data={
                "flux_bkg": columns["flux_background"][known] * rate,
                "quality": columns["quality"][known],
                "cadenceno": columns["cadenceno"][known],
                "centroid_col": centroid[:, 0],
                "centroid_row": centroid[:, 1],
            },
            meta={
                "LABEL": name, "TARGETID": self.starid or None, "TICID": self.starid or None,
                "OBJECT": name, "SECTOR": self.sector, "CAMERA": self.camera, "CCD": self.ccd,
                "RA": self.target["ra_J2000"], "DEC": self.target["decl_J2000"], "MISSION": "TESS",
                "TESSMAG": self.target["tmag"], "PHOTMET": self.method, "AUTHOR": "TASOC",
            },
        )  # fmt: skip

    def _check_flux(self) -> None:
        """Raise UsageError where there is no flux yet."""
        if not np.isfinite(self._columns.arrays["flux"]).any():
            raise UsageError(f"{self.star_name}: has no light curve yet; call photometry() first")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The given axes, or those of a new figure that notebooks show."""
    if ax is not None:
        if not hasattr(ax, "imshow"):
            words = f"ax: matplotlib Axes are needed, not {type(ax).__name__}; leave it out for a new figure"
            raise UsageError(words)
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise InputError("pictures need matplotlib: pip install 'tasoc-mpi[plot]'") from None
    return plt.subplots(figsize=size, layout="constrained")[1]


def _square(corner: tuple[float, float], label: str) -> Any:
    """The outline of a pixel of the mask, with its name in a legend ("_": none)."""
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, fill=False, edgecolor="#E69F00", linewidth=1.5, label=label)
