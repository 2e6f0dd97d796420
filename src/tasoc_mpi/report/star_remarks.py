"""What of a light curve may be odd for a reason that its numbers tell."""

from __future__ import annotations

import numpy as np

from ..core.settings import mag2flux
from .results import Curve

__all__ = ["remarks"]

#: From these shares on there is a remark: of the flux in pixels on the edge of the stamp, of light of other
#: stars, of points without use, and of the flux that differs from that of the magnitude.
_EDGE, _OTHERS, _LOST, _FLUX = 0.02, 0.1, 0.1, 0.2


def remarks(star: np.void, curve: Curve) -> list[str]:
    """Sentences about a light curve, for one who asks why it looks odd.

    Parameters
    ----------
    star : void
        Row of the work list, of `RESULT_DTYPE`.
    curve : Curve

    Returns
    -------
    list of str
        Empty where nothing is to be noted.
    """
    found = []
    flux, edge, others = (float(star[name]) for name in ("mean_flux", "edge_flux", "contamination"))
    if flux > 0 and edge > _EDGE * flux:
        found.append(
            f"Pixels on the edge of the stamp hold {edge / flux:.0%} of the flux: light beyond it is missing,"
            " and the motion of the star changes the flux."
        )
    if others > _OTHERS:
        found.append(
            f"{others:.0%} of the light is of other stars: their variations may be in this light curve."
        )
    # Masks hold the light of the stars in them, fits that of the star alone.
    expected = float(mag2flux(float(star["tmag"])))
    whole = expected / (1 - others) if 0 < others < 1 else expected
    if flux > 0 and expected > 0 and not (1 - _FLUX) * expected < flux < (1 + _FLUX) * whole:
        found.append(
            f"The flux is {flux / expected:.2f} of that of a star of Tmag {star['tmag']:.2f}: light is lost,"
            " or there is light of other stars, or the magnitude is wrong."
        )
    lost = 1 - np.count_nonzero(curve.good) / max(len(curve.time), 1)
    if lost > _LOST:
        found.append(f"{lost:.0%} of the points are flagged or have no flux.")
    return found
