"""Images of stars from an oversampled table of the pixel response.

The table already holds the response of whole pixels, so a pixel's value is the table at the distance
of its centre from the star: it is interpolated, not integrated.
"""

from __future__ import annotations

import math

import numba

__all__ = ["add_table_stars"]


@numba.njit(cache=True, inline="always")
def _weights(s):
    """First of four samples around `s` and their weights in Catmull and Rom's cubic interpolation."""
    first = math.floor(s)
    f = s - first
    w0 = ((-0.5 * f + 1.0) * f - 0.5) * f
    w1 = (1.5 * f - 2.5) * f * f + 1.0
    w2 = ((-1.5 * f + 2.0) * f + 0.5) * f
    w3 = (0.5 * f - 0.5) * f * f
    return first - 1, w0, w1, w2, w3


@numba.njit(cache=True)
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
        i_first, u0, u1, u2, u3 = _weights(middle + samples * (r0 - y))
        j_first, v0, v1, v2, v3 = _weights(middle + samples * (c0 - x))
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
