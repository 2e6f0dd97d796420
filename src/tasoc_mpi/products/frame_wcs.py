"""The world coordinates of frames as plain numbers, read from FITS headers.

Positions are 0-based (column, row) in the pixels of the full frame image file (column 44 is the
first science column), whatever region of it a file holds. The methods that compute positions import their
kernels: pages and summaries, which only read catalogs, start without numba.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.sphere import from_tangent_plane

__all__ = ["COLUMN_CARDS", "FrameWCS", "wcs_problem"]

_COLUMN_WORDS = {"CTYPE": "CTYP", "CRPIX": "CRPX", "CRVAL": "CRVL", "CUNIT": "CUNI", "CDELT": "CDLT"}
#: From the WCS cards of an image to those of a table's column, which end with the column's number.
COLUMN_CARDS = {f"{image}{k}": f"{k}{column}" for image, column in _COLUMN_WORDS.items() for k in (1, 2)}
COLUMN_CARDS |= {f"PC{i}_{j}": f"{i}{j}PC" for i in (1, 2) for j in (1, 2)}

#: Coefficients of SIP polynomials up to this order are kept.
MAX_ORDER = 9
_TESS_ORDER = 4
#: So few stars are as fast one by one.
_FEW = 2
#: A CD matrix with a determinant below this, or above its inverse, is taken for singular (square degrees).
_SMALLEST = 1e-14


@dataclass(frozen=True)
class FrameWCS:
    """TAN-SIP world coordinate systems of T frames."""

    #: Shape (T, 2): right ascension and declination of the reference pixel, degrees.
    crval: NDArray[np.float64]
    cd: NDArray[np.float64]  #: Shape (T, 2, 2): CD matrix, degrees per pixel
    #: Shape (T, 2): reference pixel (column, row) in full frame image pixels, 1-based as in FITS.
    crpix: NDArray[np.float64]
    #: sip_a, sip_b: shape (T, N, N), SIP coefficients ``[p, q]`` of u^p v^q; zeros without distortion.
    sip_a: NDArray[np.float64]
    sip_b: NDArray[np.float64]
    good: NDArray[np.bool_]  #: Shape (T,): frames whose WCS can be inverted

    def __len__(self) -> int:
        return len(self.good)

    @functools.cached_property
    def projection(self) -> NDArray[np.float64]:
        """Matrices of `kernels.wcs.pack_projection`, shape (T, 3, 3)."""
        from ..kernels import wcs as kernel

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
            Not good where there is no header, or `wcs_problem` finds something in it.
        """
        parts = [_checked(header, offset) for header in headers]
        size = max([2] + [len(q) for p in parts if not isinstance(p, str) for q in p[3:]])
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
            if isinstance(part, str):
                continue
            crval, cd, crpix, a, b = part
            out.crval[t], out.cd[t], out.crpix[t] = crval, cd, crpix
            out.sip_a[t, : a.shape[0], : a.shape[1]] = a
            out.sip_b[t, : b.shape[0], : b.shape[1]] = b
            out.good[t] = True
        return out

    def take(self, frames: Sequence[int]) -> FrameWCS:
        """Those of some frames."""
        return FrameWCS(
            self.crval[frames],
            self.cd[frames],
            self.crpix[frames],
            self.sip_a[frames],
            self.sip_b[frames],
            self.good[frames],
        )

    def forget(self, frame: int) -> None:
        """Treat a frame like one without a WCS."""
        self.good[frame] = False
        self.crval[frame], self.cd[frame], self.crpix[frame] = np.nan, np.nan, np.nan
        self.sip_a[frame], self.sip_b[frame] = 0.0, 0.0

    def positions(self, ra: float, dec: float) -> NDArray[np.float64]:
        """0-based (column, row) of a star in every frame, shape (T, 2); NaN in bad frames."""
        sky = np.array([ra], dtype="f8"), np.array([dec], dtype="f8")
        return self._follow(*sky, self.projection, self.crpix, self.sip_a, self.sip_b, self.good)[0]

    def positions_of(
        self, ra: NDArray[np.float64], dec: NDArray[np.float64]
    ) -> Iterator[NDArray[np.float64]]:
        """The `positions` of many stars, of shape (N,), one after the other; several are computed at once."""
        from ..kernels import wcs as kernel

        at_once = kernel.TOGETHER if self.sip_a.shape[1] == _TESS_ORDER + 1 else 1
        for first in range(0, len(ra), at_once):
            some = slice(first, first + at_once)
            count = len(ra[some])
            if count <= _FEW:
                yield from map(self.positions, ra[some], dec[some])
                continue
            # The kernel is compiled for arrays without gaps.
            places = [np.ascontiguousarray(values[some]) for values in (ra, dec)]
            if count < at_once:
                # The last one again.
                places = [np.pad(values, (0, at_once - count), "edge") for values in places]
            yield from kernel.sky_to_pixel_together(
                *places, self.projection, self.crpix, self.sip_a, self.sip_b, self.good
            )[:count]

    @functools.cached_property
    def _follow(self) -> Callable[..., NDArray[np.float64]]:
        """The kernel, imported once."""
        from ..kernels.wcs import sky_to_pixel

        return sky_to_pixel

    def stars(self, ra: NDArray[np.float64], dec: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """0-based (column, row) of many stars in one frame, shape (N, 2)."""
        one = slice(frame, frame + 1)
        return self._follow(
            np.ascontiguousarray(ra, dtype="f8"),
            np.ascontiguousarray(dec, dtype="f8"),
            self.projection[one],
            self.crpix[one],
            self.sip_a[one],
            self.sip_b[one],
            self.good[one],
        )[:, 0]

    def sky(self, column: NDArray[np.float64], row: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """(ra, dec) in degrees of pixel positions in one frame, shape (N, 2); ra in [0, 360)."""
        from ..kernels import wcs as kernel

        plane = kernel.pixel_to_plane(
            np.atleast_1d(column).astype("f8"),
            np.atleast_1d(row).astype("f8"),
            self.crpix[frame],
            self.sip_a[frame],
            self.sip_b[frame],
        )
        xi, eta = np.deg2rad(plane @ self.cd[frame].T).T
        return np.stack(from_tangent_plane(xi, eta, *self.crval[frame]), axis=-1)


def wcs_problem(header: Mapping[str, Any] | None) -> str:
    """Why the WCS of a FITS header cannot be used, in words for a message; empty where it can."""
    found = _checked(header, (0, 0))
    return found if isinstance(found, str) else ""


def _checked(
    header: Mapping[str, Any] | None, offset: tuple[int, int]
) -> tuple[NDArray[np.float64], ...] | str:
    """Numbers of one header that can be used, or why they cannot."""
    if header is None:
        return "there is none"
    try:
        parts = _read(header, offset)
    except KeyError as error:
        return f"{str(error.args[0]).split()[-1].strip(chr(39))} is missing"
    except (TypeError, ValueError, OverflowError) as error:
        return str(error)
    for name, part in zip(("CRVAL", "CD", "CRPIX", "A", "B"), parts, strict=True):
        if not np.all(np.isfinite(part)):
            return f"{name} is undefined or not finite"
    crval, cd, *_ = parts
    if abs(crval[1]) > 90:
        return f"CRVAL2 is {crval[1]:g}"
    with np.errstate(over="ignore", invalid="ignore"):
        determinant = abs(np.linalg.det(cd))
    if not _SMALLEST < determinant < 1 / _SMALLEST:
        return "its CD matrix cannot be inverted"
    return parts


def _read(header: Mapping[str, Any], offset: tuple[int, int]) -> tuple[NDArray[np.float64], ...]:
    """Numbers of one header; KeyError, TypeError, ValueError or OverflowError where there are none."""
    ctype = (str(header["CTYPE1"]).strip(), str(header["CTYPE2"]).strip())
    if ctype not in (("RA---TAN-SIP", "DEC--TAN-SIP"), ("RA---TAN", "DEC--TAN")):
        raise ValueError(f"its projection is {ctype[0]}, {ctype[1]}, not TAN or TAN-SIP")
    crval = _numbers(header["CRVAL1"], header["CRVAL2"])
    crpix = _numbers(header["CRPIX1"], header["CRPIX2"]) + offset
    names = [f"CD{i}_{j}" for i in (1, 2) for j in (1, 2)]
    there = [name for name in names if name in header]
    if there == ["CD1_1", "CD2_2"]:
        cd = np.diag(_numbers(header["CD1_1"], header["CD2_2"]))
    elif there:
        # The standard takes 0 for one that is missing alone; of a frame it is lost.
        cd = _numbers(*(header[name] for name in names)).reshape(2, 2)
    else:
        pc = _numbers(*(header.get(f"PC{i}_{j}", float(i == j)) for i in (1, 2) for j in (1, 2)))
        cd = _numbers(header["CDELT1"], header["CDELT2"])[:, None] * pc.reshape(2, 2)
    if crval[1] >= 90:
        # There the default LONPOLE is 0 instead of 180 degrees (Calabretta & Greisen 2002, section 2.2).
        cd = -cd
    sip = ctype[0].endswith("-SIP")
    if sip and ("A_ORDER" in header or "B_ORDER" in header):
        a, b = (_polynomial(header, name) for name in "AB")
    else:
        a, b = np.zeros((2, 2)), np.zeros((2, 2))
    return crval, cd, crpix, a, b


def _numbers(*values: Any) -> NDArray[np.float64]:
    """Values of cards; NaN for undefined ones."""
    if any(isinstance(value, (str, bool)) for value in values):
        raise TypeError("a card holds no number")
    return np.array([np.nan if value is None else float(value) for value in values])


def _polynomial(header: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    order = header[f"{name}_ORDER"]
    if isinstance(order, (str, bool)) or order is None or order not in range(MAX_ORDER + 1):
        raise ValueError(f"{name}_ORDER is {order}")
    order = int(order)
    c = np.zeros((max(order, 1) + 1,) * 2)
    for p in range(order + 1):
        for q in range(order + 1 - p):
            (c[p, q],) = _numbers(header.get(f"{name}_{p}_{q}", 0.0))
    return c
