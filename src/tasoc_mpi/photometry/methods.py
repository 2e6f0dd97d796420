"""One star from a line of the work list to its photometry: choosing the method, and changing it."""

from __future__ import annotations

import logging
from typing import Any

from ..core.errors import InputError, UsageError
from ..core.settings import load_settings, mag2flux
from ..core.status import STATUS
from .aperture import AperturePhotometry
from .base import BasePhotometry
from .diagnostics import SIDES, edge_flux

__all__ = ["METHODS", "PLANNED", "photometry_class", "tessphot"]

logger = logging.getLogger(__name__)

#: Methods by their name in the work list.
METHODS: dict[str, type[BasePhotometry]] = {"aperture": AperturePhotometry}

#: Methods whose names are reserved.
PLANNED = ("psf", "linpsf", "halo")


def photometry_class(method: str) -> type[BasePhotometry]:
    """The class of a method.

    Raises
    ------
    UsageError
        If there is no such method.
    """
    if method in METHODS:
        return METHODS[method]
    if method in PLANNED:
        raise InputError(f"method {method!r} is not built yet; use {', '.join(METHODS)}")
    raise UsageError(f"method {method!r}: one of {', '.join([*METHODS, *PLANNED])}")


def tessphot(method: str | None = None, *args: Any, **kwargs: Any) -> BasePhotometry:
    """Run the photometry of one star.

    Parameters
    ----------
    method : str, optional
        ``'aperture'``, ``'psf'``, ``'linpsf'`` or ``'halo'``. Without one: aperture photometry, then halo
        photometry where a very bright star does not fit into its stamp.
    *args, **kwargs
        Those of `BasePhotometry`.

    Returns
    -------
    BasePhotometry
        With the light curve and the diagnostics (`result`); to be closed by the caller.

    Raises
    ------
    InputError
        If the method is not there, and what `BasePhotometry` raises.
    ValueError
        If the method makes no usable light curve.
    """
    photometry = photometry_class(method or "aperture")(*args, **kwargs)
    try:
        photometry.photometry()
        if not method and _wants_halo(photometry):
            if "halo" in METHODS:
                photometry.close()
                photometry = METHODS["halo"](*args, **kwargs)
                photometry.photometry()
                photometry.report_details(error="Automatically switched to Halo photometry")
            else:
                logger.info(
                    "TIC %d: halo photometry would do better, but is not built yet", photometry.starid
                )
    except BaseException:
        photometry.close()
        raise
    return photometry


def _wants_halo(photometry: BasePhotometry) -> bool:
    """Whether a star is too bright for its stamp."""
    tmag = photometry.target["tmag"]
    settings = load_settings()
    # Also false for a star without a magnitude.
    if photometry.datasource.startswith("tpf:") or not tmag <= settings.getfloat("haloswitch", "tmag_limit"):
        return False
    if photometry.halo_advised:
        return True
    if photometry.status not in (STATUS.OK, STATUS.WARNING):
        return False
    mask, cut = photometry.final_phot_mask, photometry.cut_sides
    if mask is None:
        return False
    limit = settings.getfloat("haloswitch", "flux_limit") * mag2flux(tmag)
    # Where a cut-out ends halo photometry has no more pixels either.
    return edge_flux(photometry.sumimage, mask, SIDES.keys() - cut) > limit
