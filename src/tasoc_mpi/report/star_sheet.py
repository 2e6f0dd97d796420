"""What `tasoc-mpi star` writes beside the light curve of a star: a table as text, and a picture."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.atomic import replacing
from ..core.errors import InputError
from ..products.read_lightcurve import read_lightcurve
from .figures import new_figure, save_figure

if TYPE_CHECKING:
    from ..photometry.base import BasePhotometry

__all__ = ["draw_sheet", "write_table"]

logger = logging.getLogger(__name__)


def _beside(lightcurve: Path, suffix: str) -> Path:
    return lightcurve.with_name(lightcurve.name.removesuffix(".fits.gz") + suffix)


def write_table(lightcurve: Path) -> Path:
    """Write a light curve file as text with units (ECSV) beside it; returns its path."""
    path = _beside(lightcurve, ".ecsv")
    with replacing(path, durable=False) as part:
        read_lightcurve(lightcurve).write(part, format="ascii.ecsv", overwrite=True)
    return path


def draw_sheet(pho: BasePhotometry, lightcurve: Path) -> Path | str:
    """Draw the stamp and the light curve beside its file; returns the path, '-' without matplotlib."""
    try:
        figure = new_figure(13.0, 4.5)
    except InputError as error:
        logger.warning("%s", error)
        return "-"
    stamp, series = figure.subplots(1, 2, width_ratios=(1, 2))
    pho.plot_stamp(stamp)
    pho.plot_lightcurve(series)
    return save_figure(figure, _beside(lightcurve, ".png"))
