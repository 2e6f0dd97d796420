"""What is kept of a star's photometry: its light curve as a file has it, and the messages on the way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..core.errors import UsageError
from ..core.status import STATUS
from ..products.lightcurve import LightCurve
from . import header as cards
from .columns import background_shenanigans

if TYPE_CHECKING:
    from .base import BasePhotometry

__all__ = ["Messages", "lightcurve_of"]


class Messages(logging.Handler):
    """Collects the messages of one star, from level WARNING on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.lines.append(record.getMessage())


def lightcurve_of(pho: BasePhotometry, version: int) -> LightCurve:
    """The light curve of a star.

    Parameters
    ----------
    pho : BasePhotometry
    version : int
        Of the light curve, for its header and file name.

    Raises
    ------
    UsageError
        If there is no photometry to be saved; see `BasePhotometry.save_lightcurve`.
    """
    _check(pho)
    source, columns = pho._source, pho._final_columns()
    aperture = pho.aperture.copy()
    for mask, bit in ((pho.final_phot_mask, 2), (pho.final_position_mask, 8)):
        if mask is not None:
            aperture[mask] |= bit
    quality = background_shenanigans(source, pho.stamp, columns["time"] - columns["timecorr"])
    return LightCurve(
        starid=pho.starid,
        sector=pho.sector,
        camera=pho.camera,
        ccd=pho.ccd,
        cadence=pho.cadence,
        data_rel=pho.data_rel,
        version=version,
        columns={**columns, "pixel_quality": columns["quality"], "quality": quality},
        sumimage=pho.sumimage,
        aperture=aperture,
        primary_cards=cards.primary_cards(source, pho.target, pho.method, version, pho.additional_headers),
        table_cards=cards.table_cards(source, columns),
        wcs_cards=cards.wcs_cards(source, pho.stamp),
    )


def _check(pho: BasePhotometry) -> None:
    """Raise UsageError unless there is a light curve that belongs to the stamp as it is."""
    status = pho.result.status
    if pho._closed:
        reason = "is closed; save its light curve before close()"
    elif status == STATUS.UNKNOWN or (status.has_lightcurve and pho._measured is None):
        reason = "has no photometry yet; call photometry() before save_lightcurve()"
    elif not status.has_lightcurve:
        reason = f"has no light curve to be saved: its photometry ended with {status.name}"
    elif pho._measured != pho.stamp:
        reason = "has another stamp than at its photometry; call photometry() again"
    else:
        return
    raise UsageError(f"TIC {pho.starid}: {reason}")
