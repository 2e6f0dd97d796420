"""The world coordinates of frames as plain numbers, read from FITS headers.

Positions are 0-based (column, row) in the pixels of the full frame image file (column 44 is the
first science column), whatever region of it a file holds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import wcs as kernel

__all__ = ["FrameWCS"]

#: Coefficients of SIP polynomials up to this order are kept (TESS uses 4).
_MAX_ORDER = 9


@dataclass(frozen=True)
class FrameWCS:
    """TAN-SIP world coordinate systems of T frames.

    Attributes
    ----------
    crval : ndarray, shape (T, 2)
        Right ascension and declination of the reference pixel, degrees.
    cd : ndarray, shape (T, 2, 2)
        CD matrix, degrees per pixel.
    crpix : ndarray, shape (T, 2)
        Reference pixel (column, row) in full frame image pixels, 1-based as in FITS.
    sip_a, sip_b : ndarray, shape (T, N, N)
        SIP coefficients ``[p, q]`` of u^p v^q; zeros without distortion.
    good : ndarray of bool, shape (T,)
        Frames whose WCS can be inverted.
    """

    crval: NDArray[np.float64]
    cd: NDArray[np.float64]
    crpix: NDArray[np.float64]
    sip_a: NDArray[np.float64]
    sip_b: NDArray[np.float64]
    good: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.good)

    @functools.cached_property
    def projection(self) -> NDArray[np.float64]:
        """Matrices of `kernels.wcs.pack_projection`, shape (T, 3, 3)."""
        return kernel.pack_projection(self.crval, self.cd)

    @classmethod
    def from_headers(
        cls, headers: Sequence[Mapping[str, Any] | None], offset: tuple[int, int] = (0, 0)
    ) -> FrameWCS:
        """Read the WCS of every header.

        Parameters
        ----------
        headers : sequence of mapping or None
            FITS headers; None for a frame without one.
        offset : (int, int)
            0-based full frame image (column, row) of the first pixel of the array the headers
            belong to.

        Returns
        -------
        FrameWCS
            Not good where there is no header, where cards are missing, and where the matrix
            cannot be inverted.

        Raises
        ------
        InputError
            If a header has another projection than TAN.
        """
        parts = [_read(header, offset) for header in headers]
        size = max([2] + [p[3].shape[0] for p in parts if p is not None])
        n = len(parts)
        out = cls(
            np.full((n, 2), np.nan),
            np.full((n, 2, 2), np.nan),
            np.full((n, 2), np.nan),
            np.zeros((n, size, size)),
            np.zeros((n, size, size)),
            np.zeros(n, dtype=bool),
        )
        for t, part in enumerate(parts):
            if part is None:
                continue
            crval, cd, crpix, a, b = part
            out.crval[t], out.cd[t], out.crpix[t] = crval, cd, crpix
            out.sip_a[t, : a.shape[0], : a.shape[1]] = a
            out.sip_b[t, : b.shape[0], : b.shape[1]] = b
            finite = all(np.all(np.isfinite(x)) for x in part)
            out.good[t] = finite and abs(np.linalg.det(cd)) > 1e-14
        return out

    def positions(self, ra: float, dec: float) -> NDArray[np.float64]:
        """(column, row) of a star in every frame, shape (T, 2); NaN in bad frames."""
        return kernel.sky_to_pixel_frames(
            float(ra), float(dec), self.projection, self.crpix, self.sip_a, self.sip_b, self.good
        )

    def stars(self, ra: NDArray[np.float64], dec: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """(column, row) of many stars in one frame, shape (N, 2)."""
        return kernel.sky_to_pixel_stars(
            np.ascontiguousarray(ra, dtype="f8"),
            np.ascontiguousarray(dec, dtype="f8"),
            self.projection[frame],
            self.crpix[frame],
            self.sip_a[frame],
            self.sip_b[frame],
        )

    def sky(self, column: NDArray[np.float64], row: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """(ra, dec) in degrees of pixel positions in one frame, shape (N, 2); ra in [0, 360)."""
        plane = kernel.pixel_to_plane(
            np.ascontiguousarray(np.atleast_1d(column), dtype="f8"),
            np.ascontiguousarray(np.atleast_1d(row), dtype="f8"),
            self.crpix[frame],
            self.sip_a[frame],
            self.sip_b[frame],
        )
        xi, eta = np.deg2rad(plane @ self.cd[frame].T).T
        ra0, dec0 = np.deg2rad(self.crval[frame])
        # Vector from the tangent point's own axes back to the sky.
        x = np.cos(dec0) - eta * np.sin(dec0)
        z = np.sin(dec0) + eta * np.cos(dec0)
        ra = np.rad2deg(ra0 + np.arctan2(xi, x)) % 360.0
        dec = np.rad2deg(np.arctan2(z, np.hypot(xi, x)))
        return np.stack([ra, dec], axis=-1)


def _read(
    header: Mapping[str, Any] | None, offset: tuple[int, int]
) -> tuple[NDArray[np.float64], ...] | None:
    """Numbers of one header, or None where there are none."""
    if header is None or "CTYPE1" not in header:
        return None
    ctype = (str(header["CTYPE1"]).strip(), str(header["CTYPE2"]).strip())
    if ctype not in (("RA---TAN-SIP", "DEC--TAN-SIP"), ("RA---TAN", "DEC--TAN")):
        raise InputError(f"projection {ctype[0]}, {ctype[1]}: only TAN and TAN-SIP are known")
    try:
        crval = np.array([header["CRVAL1"], header["CRVAL2"]], dtype="f8")
        crpix = np.array([header["CRPIX1"], header["CRPIX2"]], dtype="f8") + offset
        if "CD1_1" in header or "CD2_2" in header:
            cd = np.array([[header.get(f"CD{i}_{j}", 0.0) for j in (1, 2)] for i in (1, 2)], dtype="f8")
        else:
            pc = np.array(
                [[header.get(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)], dtype="f8"
            )
            cd = np.array([header["CDELT1"], header["CDELT2"]], dtype="f8")[:, None] * pc
        if crval[1] >= 90:
            # There the default LONPOLE is 0 instead of 180 degrees (Calabretta & Greisen 2002, section 2.2).
            cd = -cd
        sip = ctype[0].endswith("-SIP")
        a, b = (_polynomial(header, name) if sip else np.zeros((2, 2)) for name in "AB")
    except (KeyError, TypeError, ValueError):
        # Cards missing, undefined or not numbers: a frame without a usable WCS.
        return None
    return crval, cd, crpix, a, b


def _polynomial(header: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    order = int(header.get(f"{name}_ORDER", 0))
    if not 0 <= order <= _MAX_ORDER:
        raise ValueError(f"{name}_ORDER = {order}")
    c = np.zeros((max(order, 1) + 1,) * 2)
    for p in range(order + 1):
        for q in range(order + 1 - p):
            c[p, q] = header.get(f"{name}_{p}_{q}", 0.0)
    return c
