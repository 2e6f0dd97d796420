"""Where a star lies in every frame: TAN-SIP world coordinates inverted for many frames at once.

A frame's WCS is kept as numbers that make one star in one frame cheap: a 3 x 3 matrix that takes the
star's unit vector to homogeneous coordinates of the undistorted pixel plane, the reference pixel, and
the SIP polynomials (Shupe et al. 2005). The distortion is inverted by Newton's method on the forward
polynomials (not by the approximate AP, BP ones), which converges to rounding error.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .jit import helper, kernel

__all__ = [
    "TOGETHER",
    "pack_projection",
    "pixel_to_plane",
    "sky_to_pixel",
    "sky_to_pixel_together",
]

#: Stars whose positions are found at once.
TOGETHER = 8
#: Newton steps before a position counts as not found. From afar 5 are enough.
_MAX_STEPS = 30
#: A step below this (pixels) ends the search; the error after it is its square times the
#: curvature (1e-5 per pixel), far below 1e-9 px.
_SMALL_STEP = 1e-3


def pack_projection(crval: NDArray[np.float64], cd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices from unit vectors on the sky to the pixel plane before distortion.

    Parameters
    ----------
    crval : ndarray, shape (T, 2)
        Right ascension and declination of the reference pixel, degrees.
    cd : ndarray, shape (T, 2, 2)
        CD matrix, degrees per pixel.

    Returns
    -------
    ndarray, shape (T, 3, 3)
        ``p @ s = (U w, V w, w)`` for a unit vector `s`, with (U, V) in pixels from the reference pixel.
        NaN where the CD matrix cannot be inverted.
    """
    ra, dec = np.deg2rad(np.asarray(crval, dtype="f8")).T
    sa, ca, sd, cdec = np.sin(ra), np.cos(ra), np.sin(dec), np.cos(dec)
    xi = np.stack([-sa, ca, np.zeros_like(ra)], axis=-1)
    eta = np.stack([-sd * ca, -sd * sa, cdec], axis=-1)
    pole = np.stack([cdec * ca, cdec * sa, sd], axis=-1)
    cd = np.asarray(cd, dtype="f8")
    det = cd[:, 0, 0] * cd[:, 1, 1] - cd[:, 0, 1] * cd[:, 1, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(det != 0, np.rad2deg(1.0) / det, np.nan)[:, None]
        u = scale * (cd[:, 1, 1, None] * xi - cd[:, 0, 1, None] * eta)
        v = scale * (cd[:, 0, 0, None] * eta - cd[:, 1, 0, None] * xi)
    return np.ascontiguousarray(np.stack([u, v, pole], axis=1))


@helper
def _polynomials(a, b, t, u, v):
    """Values and both derivatives of sum a[t, p, q] u^p v^q and of that of b, by Horner's scheme in u and v.

    Both in one loop: the processor computes them at once.
    """
    order = a.shape[1] - 1
    f = fu = fv = 0.0
    h = hu = hv = 0.0
    for p in range(order, -1, -1):
        g = gv = 0.0
        k = kv = 0.0
        for q in range(order - p, -1, -1):
            gv = gv * v + g
            g = g * v + a[t, p, q]
            kv = kv * v + k
            k = k * v + b[t, p, q]
        fu = fu * u + f
        f = f * u + g
        fv = fv * u + gv
        hu = hu * u + h
        h = h * u + k
        hv = hv * u + kv
    return f, fu, fv, h, hu, hv


@helper
def _triangle(c):
    """The coefficients ``[p][q]`` of a polynomial of order 4, p + q <= 4."""
    return (
        (c[0, 0], c[0, 1], c[0, 2], c[0, 3], c[0, 4]),
        (c[1, 0], c[1, 1], c[1, 2], c[1, 3]),
        (c[2, 0], c[2, 1], c[2, 2]),
        (c[3, 0], c[3, 1]),
        c[4, 0],
    )


@helper
def _quartic(c, u, v):
    """Value and both derivatives of a polynomial of `_triangle`, as `_polynomials` computes them."""
    c0, c1, c2, c3, c4 = c
    f, fu, fv = c4, 0.0, 0.0
    g, gv = c3[1] * v + c3[0], c3[1]
    f, fu, fv = f * u + g, f, gv
    gv = c2[2]
    g = c2[2] * v + c2[1]
    g, gv = g * v + c2[0], gv * v + g
    f, fu, fv = f * u + g, fu * u + f, fv * u + gv
    g, gv = c1[3] * v + c1[2], c1[3]
    g, gv = g * v + c1[1], gv * v + g
    g, gv = g * v + c1[0], gv * v + g
    f, fu, fv = f * u + g, fu * u + f, fv * u + gv
    g, gv = c0[4] * v + c0[3], c0[4]
    g, gv = g * v + c0[2], gv * v + g
    g, gv = g * v + c0[1], gv * v + g
    g, gv = g * v + c0[0], gv * v + g
    return f * u + g, fu * u + f, fv * u + gv


@helper
def _invert_sip(target_u, target_v, a, b, t, u, v):
    """Solve u + A(u, v) = U, v + B(u, v) = V in frame t by Newton's method from (u, v)."""
    found = False
    for _ in range(_MAX_STEPS):
        if a.shape[1] == 5:
            # The order that TESS has: without loops it takes 0.6 of the time.
            fa, fau, fav = _quartic(_triangle(a[t]), u, v)
            fb, fbu, fbv = _quartic(_triangle(b[t]), u, v)
        else:
            fa, fau, fav, fb, fbu, fbv = _polynomials(a, b, t, u, v)
        ru = u + fa - target_u
        rv = v + fb - target_v
        j00 = 1.0 + fau
        j11 = 1.0 + fbv
        det = j00 * j11 - fav * fbu
        if not (det > 0.0):
            break
        du = (j11 * ru - fav * rv) / det
        dv = (j00 * rv - fbu * ru) / det
        u -= du
        v -= dv
        if abs(du) < _SMALL_STEP and abs(dv) < _SMALL_STEP:
            found = True
            break
    return (u, v) if found else (math.nan, math.nan)


@kernel
def sky_to_pixel(ra, dec, projection, crpix, sip_a, sip_b, good):
    """Positions of stars in every frame.

    Parameters
    ----------
    ra, dec : ndarray, shape (N,)
        Of the stars, degrees.
    projection : ndarray, shape (T, 3, 3)
        From `pack_projection`.
    crpix : ndarray, shape (T, 2)
        Reference pixel (column, row), 1-based as in FITS.
    sip_a, sip_b : ndarray, shape (T, M, M)
        SIP coefficients ``[p, q]`` of u^p v^q.
    good : ndarray of bool, shape (T,)
        Frames whose WCS can be used.

    Returns
    -------
    ndarray, shape (N, T, 2)
        (column, row), 0-based; NaN in bad frames and where a star has no place.
    """
    out = np.empty((ra.shape[0], good.shape[0], 2))
    for k in range(ra.shape[0]):
        cos_dec = math.cos(math.radians(dec[k]))
        sx = cos_dec * math.cos(math.radians(ra[k]))
        sy = cos_dec * math.sin(math.radians(ra[k]))
        sz = math.sin(math.radians(dec[k]))
        u = v = math.nan
        for t in range(good.shape[0]):
            p = projection[t]
            w = p[2, 0] * sx + p[2, 1] * sy + p[2, 2] * sz
            if not (good[t] and w > 0.0):
                out[k, t, 0] = out[k, t, 1] = math.nan
                continue
            tu = (p[0, 0] * sx + p[0, 1] * sy + p[0, 2] * sz) / w
            tv = (p[1, 0] * sx + p[1, 1] * sy + p[1, 2] * sz) / w
            # The last frame's answer is some 0.01 px away: one step is then enough.
            if not (abs(u - tu) < 200.0 and abs(v - tv) < 200.0):
                u = tu
                v = tv
            u, v = _invert_sip(tu, tv, sip_a, sip_b, t, u, v)
            out[k, t, 0] = u + crpix[t, 0] - 1.0
            out[k, t, 1] = v + crpix[t, 1] - 1.0
    return out


@helper(inline="always")
def _begin_together(p, sky, state):
    """The targets of some stars in a frame of matrix `p`, and where their search begins."""
    for k in range(TOGETHER):
        w = p[2, 0] * sky[0, k] + p[2, 1] * sky[1, k] + p[2, 2] * sky[2, k]
        in_front = w > 0.0
        w = w if in_front else 1.0
        tu = (p[0, 0] * sky[0, k] + p[0, 1] * sky[1, k] + p[0, 2] * sky[2, k]) / w
        tv = (p[1, 0] * sky[0, k] + p[1, 1] * sky[1, k] + p[1, 2] * sky[2, k]) / w
        near = (abs(state[0, k] - tu) < 200.0) & (abs(state[1, k] - tv) < 200.0)
        keep = near | (not in_front)
        state[0, k] = state[0, k] if keep else tu
        state[1, k] = state[1, k] if keep else tv
        state[2, k] = tu
        state[3, k] = tv
        state[4, k] = 1.0 if in_front else 0.0
        state[5, k] = 0.0 if in_front else math.nan


@helper(inline="always")
def _step_together(a, b, state):
    """A step of Newton's method for all stars that are searched; see `_invert_sip`."""
    for k in range(TOGETHER):
        u, v = state[0, k], state[1, k]
        fa, fau, fav = _quartic(a, u, v)
        fb, fbu, fbv = _quartic(b, u, v)
        ru = u + fa - state[2, k]
        rv = v + fb - state[3, k]
        j00 = 1.0 + fau
        j11 = 1.0 + fbv
        det = j00 * j11 - fav * fbu
        solved = det > 0.0
        det = det if solved else math.nan
        du = (j11 * ru - fav * rv) / det
        dv = (j00 * rv - fbu * ru) / det
        moving = state[4, k]
        state[0, k] = u - du if moving > 0.0 else u
        state[1, k] = v - dv if moving > 0.0 else v
        small = (abs(du) < _SMALL_STEP) & (abs(dv) < _SMALL_STEP)
        state[4, k] = 0.0 if small | (not solved) else moving


@kernel
def sky_to_pixel_together(ra, dec, projection, crpix, sip_a, sip_b, good):
    """Positions of `TOGETHER` stars in every frame, the same numbers as `sky_to_pixel` gives.

    The search for a star in a frame begins where that in the frame before ended, and each of its steps waits
    for the one before. The processor takes the steps of several stars at once.

    Parameters
    ----------
    ra, dec : ndarray, shape (TOGETHER,)
        Of the stars, degrees.
    projection, crpix, good : ndarray
        As of `sky_to_pixel`.
    sip_a, sip_b : ndarray, shape (T, 5, 5)
        Polynomials of order 4, that of TESS.

    Returns
    -------
    ndarray, shape (TOGETHER, T, 2)
        (column, row), 0-based; NaN in bad frames and where a star has no place.
    """
    n = crpix.shape[0]
    out = np.empty((TOGETHER, n, 2))
    sky = np.empty((3, TOGETHER))
    for k in range(TOGETHER):
        cos_dec = math.cos(math.radians(dec[k]))
        sky[0, k] = cos_dec * math.cos(math.radians(ra[k]))
        sky[1, k] = cos_dec * math.sin(math.radians(ra[k]))
        sky[2, k] = math.sin(math.radians(dec[k]))
    # u, v, their targets, 1 while a star is searched, and NaN for a star that has no place. In one array, of
    # which the compiler knows that its rows do not overlap, and without branches in the loops over it: so
    # they become vector instructions. The helpers are inlined, for the compiler to know it in them, too.
    state = np.empty((6, TOGETHER))
    for k in range(TOGETHER):
        state[0, k] = state[1, k] = math.nan
    for t in range(n):
        if not good[t]:
            for k in range(TOGETHER):
                out[k, t, 0] = out[k, t, 1] = math.nan
            continue
        _begin_together(projection[t], sky, state)
        a, b = _triangle(sip_a[t]), _triangle(sip_b[t])
        for _ in range(_MAX_STEPS):
            _step_together(a, b, state)
            searched = 0.0
            for k in range(TOGETHER):
                searched += state[4, k]
            if searched == 0.0:
                break
        for k in range(TOGETHER):
            if state[4, k] > 0.0:
                state[0, k] = math.nan
                state[1, k] = math.nan
            out[k, t, 0] = state[0, k] + crpix[t, 0] - 1.0 + state[5, k]
            out[k, t, 1] = state[1, k] + crpix[t, 1] - 1.0 + state[5, k]
    return out


def pixel_to_plane(
    column: NDArray[np.float64],
    row: NDArray[np.float64],
    crpix: NDArray[np.float64],
    sip_a: NDArray[np.float64],
    sip_b: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Undistorted pixel offsets (U, V) from the reference pixel of 0-based pixel positions.

    With the CD matrix they give the intermediate world coordinates of the FITS standard.

    Parameters
    ----------
    column, row : ndarray, shape (N,)
    crpix : ndarray, shape (2,)
    sip_a, sip_b : ndarray, shape (M, M)

    Returns
    -------
    ndarray, shape (N, 2)
    """
    u, v = column + 1.0 - crpix[0], row + 1.0 - crpix[1]
    return np.stack([u + _polynomial(sip_a, u, v), v + _polynomial(sip_b, u, v)], axis=-1)


def _polynomial(
    c: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum c[p, q] u^p v^q, as `_polynomials` computes it."""
    f = np.zeros(u.shape)
    for p in range(len(c) - 1, -1, -1):
        g = np.zeros(u.shape)
        for q in range(len(c) - 1 - p, -1, -1):
            g = g * v + c[p, q]
        f = f * u + g
    return f
