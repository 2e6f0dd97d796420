"""The photometry of one star from end to end: the choice of the method, and the pictures."""

from __future__ import annotations

from typing import Any

from .core.settings import load_settings, mag2flux
from .core.status import STATUS
from .photometry.base import BasePhotometry
from .photometry.measurements import SIDES, edge_flux
from .photometry.method_class import photometry_class

__all__ = ["photometry_class", "tessphot", "wants_halo"]


def tessphot(method: str | type[BasePhotometry] | None = None, *args: Any, **kwargs: Any) -> BasePhotometry:
    """Run the photometry of one star.

    Parameters
    ----------
    method : str or type, optional
        ``'aperture'``, ``'psf'``, ``'linpsf'`` or ``'halo'``; a subclass of `BasePhotometry`, or where it is:
        ``'MODULE:CLASS'`` or ``'FILE.py:CLASS'``. Without one: aperture photometry, then halo photometry
        where a very bright star does not fit into its stamp.
    *args, **kwargs
        Those of `BasePhotometry`. With ``plot=True`` the pictures of `report.star_plots` are drawn, of a star
        that fails, too.

    Returns
    -------
    BasePhotometry
        With the light curve and the diagnostics (`result`); to be closed by the caller.

    Raises
    ------
    InputError
        If the method is not there or cannot be imported, and the errors of `BasePhotometry`.
    ValueError
        If the method makes no usable light curve.

    Examples
    --------
    >>> tessphot("halo", 25155310, "in", "out", datasource="tpf")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.MissingInput: in: no such folder; name the one that holds the data
    """
    photometry = photometry_class(method or "aperture")(*args, **kwargs)
    try:
        _run(photometry)
        if not method and wants_halo(photometry):
            photometry.close()
            photometry = photometry_class("halo")(*args, **kwargs)
            _run(photometry)
            photometry.report_details(error="Automatically switched to Halo photometry")
    except BaseException:
        photometry.close()
        raise
    return photometry


def _run(photometry: BasePhotometry) -> None:
    try:
        photometry.photometry()
    finally:
        if photometry.plot_folder is not None:
            from .report.star_plots import plot_star

            plot_star(photometry, photometry.plot_folder)


def wants_halo(photometry: BasePhotometry) -> bool:
    """Whether a star is so bright that halo photometry does better than a mask in its stamp."""
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
    # Halo photometry has no more pixels where a cut-out ends.
    return edge_flux(photometry.sumimage, mask, SIDES.keys() - cut) > limit
