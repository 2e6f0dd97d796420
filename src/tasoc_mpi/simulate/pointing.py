"""The world coordinates of a CCD in a sector, and their changes with the motion of the spacecraft."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, fields
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from ..core.sphere import from_tangent_plane, meridian_turn
from ..core.times import BTJD_ZERO
from ..products.frame_wcs import FrameWCS

__all__ = ["Pointing", "load_pointing", "moved_wcs"]

#: From the Julian date at which the published list of pointings begins a sector to its first frame
#: (as in sector 1), days.
_FIRST_FRAME = 0.813


@dataclass(frozen=True, eq=False)
class Pointing:
    """World coordinates of one CCD in one sector, for 1-based full frame image pixels."""

    sector: int
    camera: int
    ccd: int
    start: float  #: Spacecraft time (TJD, TDB) of the beginning of the sector's first frame
    #: Shape (3,): right ascension, declination and roll of the spacecraft, degrees.
    boresight: NDArray[np.float64]
    #: crval, crpix: shape (2,), as in FITS: degrees, and pixels counted from 1.
    crval: NDArray[np.float64]
    crpix: NDArray[np.float64]
    cd: NDArray[np.float64]  #: Shape (2, 2): degrees per pixel
    #: a, b, ap, bp: shape (5, 5), SIP polynomials and their approximate inverse, ``[p, q]`` of u^p v^q.
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    ap: NDArray[np.float64]
    bp: NDArray[np.float64]


def load_pointing(sector: int, camera: int, ccd: int) -> Pointing:
    """World coordinates of a CCD.

    Those of one CCD (sector 1, camera 1, CCD 1) come with the program, all others from the package tesswcs.

    Raises
    ------
    UsageError
        If tesswcs is needed and not installed, or does not know the sector.

    Examples
    --------
    >>> pointing = load_pointing(1, 1, 1)
    >>> arcsec = 3600 * abs(np.linalg.det(pointing.cd)) ** 0.5
    >>> pointing.crpix.tolist(), round(float(arcsec), 1)
    ([1045.0, 1001.0], 20.5)
    """
    text = (resources.files("tasoc_mpi") / "data" / "simulate_wcs.json").read_text("utf-8")
    numbers = json.loads(text)
    if (sector, camera, ccd) == tuple(numbers[key] for key in ("sector", "camera", "ccd")):
        return _pointing(numbers)
    try:
        import tesswcs
    except ImportError:
        raise UsageError(
            f"sector {sector}, camera {camera}, CCD {ccd}: only the world coordinates of sector 1, camera 1, "
            "CCD 1 come with the program; for others: pip install 'tasoc-mpi[simulate]'"
        ) from None
    rows = [row for row in tesswcs.pointings if int(row["Sector"]) == sector]
    if not rows:
        known = max(s for s in map(int, tesswcs.pointings["Sector"]) if s < 1000)
        raise UsageError(
            f"--sector {sector}: tesswcs {tesswcs.__version__} knows no pointing for it, "
            f"only for sectors 1 to {known}"
        )
    # tesswcs logs a warning of its own for a predicted pointing; the one below is enough.
    logging.getLogger("tesswcs").setLevel(logging.ERROR)
    if sector > tesswcs.latest_sector:
        logging.getLogger(__name__).warning("the pointing of sector %d is a prediction", sector)
    wcs = tesswcs.WCS.from_sector(sector, camera, ccd)
    start = float(rows[0]["Start"]) - BTJD_ZERO + _FIRST_FRAME
    return _pointing(
        {
            "sector": sector,
            "camera": camera,
            "ccd": ccd,
            "start": numbers["start"] if sector == numbers["sector"] else start,
            "boresight": [wcs.ra, wcs.dec, wcs.roll],
            "crval": wcs.wcs.crval,
            "crpix": wcs.wcs.crpix,
            "cd": np.diag(wcs.wcs.cdelt) @ wcs.wcs.get_pc(),
            "a": wcs.sip.a,
            "b": wcs.sip.b,
            "ap": wcs.sip.ap,
            "bp": wcs.sip.bp,
        }
    )


def _pointing(numbers: dict[str, object]) -> Pointing:
    values = {field.name: numbers[field.name] for field in fields(Pointing)}
    for name, value in values.items():
        if name not in ("sector", "camera", "ccd", "start"):
            values[name] = np.array(value, dtype="f8")
    return Pointing(**values)  # type: ignore[arg-type]


def moved_wcs(pointing: Pointing, shift: NDArray[np.float64], matrix: NDArray[np.float64]) -> FrameWCS:
    """World coordinates after the stars have moved on the CCD, with changed CRVAL and CD alone.

    A star at undistorted pixel offset U from the reference pixel moves to ``matrix @ U + shift``. A
    rotation of the sky is not a shift of its tangent plane, so that the shift itself holds at the
    reference pixel and differs by up to 2% of it in the corners of the CCD.

    Parameters
    ----------
    pointing : Pointing
    shift : ndarray, shape (T, 2)
        (column, row), pixels.
    matrix : ndarray, shape (T, 2, 2)
        Near the unit matrix.

    Returns
    -------
    FrameWCS
        Of T frames.
    """
    n = len(shift)
    cd = pointing.cd @ np.linalg.inv(matrix)
    # The point of the sky that lies on the reference pixel now, in the old tangent plane.
    xi, eta = np.deg2rad(-np.einsum("tij,tj->ti", cd, shift)).T
    ra0, dec0 = pointing.crval
    ra, dec = from_tangent_plane(xi, eta, ra0, dec0)
    # North at the new reference point is turned against north at the old one, carried along.
    turn = meridian_turn(ra0, dec0, ra, dec)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=-2)
    return FrameWCS(
        crval=np.stack([ra, dec], axis=-1),
        cd=np.ascontiguousarray(rotation @ cd),
        crpix=np.tile(pointing.crpix, (n, 1)),
        sip_a=np.tile(pointing.a, (n, 1, 1)),
        sip_b=np.tile(pointing.b, (n, 1, 1)),
        good=np.ones(n, dtype=bool),
    )
