"""Images of stars from an oversampled table of the pixel response.

The table already holds the response of whole pixels, so a pixel's value is the table at the distance
of its centre from the star: it is interpolated, not integrated.
"""

from __future__ import annotations

import math

from .jit import helper, kernel

__all__ = ["add_blended_stars", "add_table_stars", "draw_table_star"]


@helper(inline="always")
def _weights(s):
    """First of four samples around `s` and their weights in Catmull and Rom's cubic interpolation."""
    first = math.floor(s)
    f = s - first
    w0 = ((-0.5 * f + 1.0) * f - 0.5) * f
    w1 = (1.5 * f - 2.5) * f * f + 1.0
    w2 = ((-1.5 * f + 2.0) * f + 0.5) * f
    w3 = (0.5 * f - 0.5) * f * f
    return first - 1, (w0, w1, w2, w3)


@kernel
def add_table_stars(image, table, samples, rows, columns, fluxes, cutoff):
    """Add stars to an image.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
        Changed in place.
    table : ndarray of float64, shape (S, S)
        Share of a star's light in a pixel, by the distance of the pixel's centre from the star in
        (row, column); no distance is the middle sample. Zero from half a sample outside of it.
    samples : int
        Samples of the table a pixel.
    rows, columns : ndarray of float64, shape (N,)
        Of the stars in the image, 0-based; a star at NaN is left out.
    fluxes : ndarray of float64, shape (N,)
    cutoff : float
        Pixels whose centre is further from the star than this are left as they are.
    """
    size = table.shape[0]
    middle = size // 2
    # Half a sample beyond the last: as many pixels as the table has, wherever the star is in its own.
    reach = 0.5 * size / samples
    for k in range(rows.shape[0]):
        y = rows[k]
        x = columns[k]
        if not (math.isfinite(y) and math.isfinite(x)):
            continue
        radius = min(cutoff, reach)
        r0 = int(max(math.ceil(y - radius), 0.0))
        r1 = int(min(math.floor(y + radius) + 1.0, math.ceil(y + reach), image.shape[0]))
        c0 = int(max(math.ceil(x - radius), 0.0))
        c1 = int(min(math.floor(x + radius) + 1.0, math.ceil(x + reach), image.shape[1]))
        if r1 <= r0 or c1 <= c0:
            continue
        # From one pixel to the next is a whole number of samples: the weights are the same for all.
        i_first, (u0, u1, u2, u3) = _weights(middle + samples * (r0 - y))
        j_first, (v0, v1, v2, v3) = _weights(middle + samples * (c0 - x))
        for r in range(r0, r1):
            i = i_first + samples * (r - r0)
            for c in range(c0, c1):
                if (r - y) ** 2 + (c - x) ** 2 > cutoff * cutoff:
                    continue
                j = j_first + samples * (c - c0)
                value = 0.0
                for m in range(4):
                    u = u0 if m == 0 else u1 if m == 1 else u2 if m == 2 else u3
                    p = min(max(i + m, 0), size - 1)
                    for n in range(4):
                        v = v0 if n == 0 else v1 if n == 1 else v2 if n == 2 else v3
                        value += u * v * table[p, min(max(j + n, 0), size - 1)]
                image[r, c] += fluxes[k] * value


@helper(inline="always")
def _slopes(s):
    """Derivatives of the four weights of `_weights` by `s`."""
    f = s - math.floor(s)
    d0 = (-1.5 * f + 2.0) * f - 0.5
    d1 = (4.5 * f - 5.0) * f
    d2 = (-4.5 * f + 4.0) * f + 0.5
    d3 = (1.5 * f - 1.0) * f
    return d0, d1, d2, d3


@kernel
def draw_table_star(table, samples, y, x, out):
    """Image of a star of flux 1, and its derivatives by the star's row and column.

    Parameters
    ----------
    table : ndarray of float64, shape (S, S)
    samples : int
        As for `add_table_stars`.
    y, x : float
        0-based row and column of the star in the image.
    out : ndarray of float64, shape (3, R, C)
        Image, derivative by row and by column; changed in place. It has to be zero before.
    """
    size = table.shape[0]
    middle = size // 2
    reach = 0.5 * size / samples
    r0 = int(max(math.ceil(y - reach), 0.0))
    r1 = int(min(math.ceil(y + reach), out.shape[1]))
    c0 = int(max(math.ceil(x - reach), 0.0))
    c1 = int(min(math.ceil(x + reach), out.shape[2]))
    if r1 <= r0 or c1 <= c0:
        return
    i_first, u = _weights(middle + samples * (r0 - y))
    j_first, v = _weights(middle + samples * (c0 - x))
    row_slopes = _slopes(middle + samples * (r0 - y))
    column_slopes = _slopes(middle + samples * (c0 - x))
    for r in range(r0, r1):
        i = i_first + samples * (r - r0)
        for c in range(c0, c1):
            j = j_first + samples * (c - c0)
            for m in range(4):
                p = min(max(i + m, 0), size - 1)
                value, slope = 0.0, 0.0
                for n in range(4):
                    sample = table[p, min(max(j + n, 0), size - 1)]
                    value += v[n] * sample
                    slope += column_slopes[n] * sample
                out[0, r, c] += u[m] * value
                # A star that moves up brings a pixel nearer to the samples below.
                out[1, r, c] -= samples * row_slopes[m] * value
                out[2, r, c] -= samples * u[m] * slope


@kernel(fastmath=True)
def add_blended_stars(image, phases, rows, columns, fluxes, corners, shares):
    """Add stars whose response is a blend of four tables.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
        Changed in place.
    phases : ndarray of float64, shape (M, P, P, W, W)
        Tables of W pixels and P samples a pixel: ``[m, a, b, i, j]`` is the sample (P i + a, P j + b) of the
        m-th. Their outermost pixel has to be zero.
    rows, columns, fluxes : ndarray of float64, shape (N,)
    corners, shares : ndarray of int64 and float64, shape (N, 4)
        Tables of each star and their weights.
    """
    samples, width = phases.shape[1], phases.shape[3]
    middle = samples * width // 2
    for k in range(rows.shape[0]):
        y, x = rows[k], columns[k]
        if not (math.isfinite(y) and math.isfinite(x)):
            continue
        # The pixel of the table's first one in the image.
        top = math.floor(y + 0.5) - width // 2
        left = math.floor(x + 0.5) - width // 2
        r0, r1 = max(top + 1, 0), min(top + width - 1, image.shape[0])
        c0, c1 = max(left + 1, 0), min(left + width - 1, image.shape[1])
        if r1 <= r0 or c1 <= c0:
            continue
        i_first, u = _weights(middle + samples * (top - y))
        j_first, v = _weights(middle + samples * (left - x))
        for m in range(4):
            a = (i_first + m) % samples
            down = (i_first + m - a) // samples - top
            for n in range(4):
                b = (j_first + n) % samples
                right = (j_first + n - b) // samples - left
                for q in range(4):
                    factor = fluxes[k] * u[m] * v[n] * shares[k, q]
                    if factor == 0.0:
                        continue
                    table = phases[corners[k, q], a, b]
                    for r in range(r0, r1):
                        line = table[r + down]
                        for c in range(c0, c1):
                            image[r, c] += factor * line[c + right]
