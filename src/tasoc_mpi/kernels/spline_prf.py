"""A pixel response as a cubic B-spline: stars drawn with it, and the equations for its coefficients.

The response of a pixel whose centre is (dy, dx) pixels from a star is ``sum C[i, j] b(3 dy - i) b(3 dx - j)``
with the cubic B-spline b, i and j from -`HALF` to `HALF`. From one pixel to the next is a whole number of
knots, so that all pixels of a star have the same eight weights. Over the CCD the coefficients are a blend of
linear functions of the place, each around a node; `blend` evaluates it.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel

__all__ = [
    "HALF",
    "KNOTS",
    "RINGS",
    "SIDE",
    "add_equations",
    "add_rings",
    "blend",
    "blend_all",
    "draw_patches",
    "draw_star",
    "flux_equations",
    "star_patches",
]

#: Knots a pixel. With two, TESS's sharpest responses give fluxes that depend on the place in the pixel by up
#: to 2.5%, with three by 0.9% (MAST's tables of camera 4, CCD 1, whose noise at a ninth of a pixel is part of
#: that).
KNOTS = 3
#: Coefficients on each side of the middle one, and along a side: the response ends 6.7 pixels from the star.
HALF = 18
SIDE = 2 * HALF + 1
#: Share of the way from a node to the next one in which both count.
BLENDED = 0.5
#: Radii of the wings, pixels: what is added to the spline is linear between the inner ones, and 0 at
#: the first and the last.
RINGS = np.array([4.5, 5.5, 6.5, 7.5, 9.0, 11.0, 14.0])
#: Side of the images of single stars: with a star in their middle pixel they hold all of its light.
PATCH = 2 * ((HALF + 2) // KNOTS + 1) + 1


@helper(inline="always")
def _cubic(f):
    """The four B-splines that are not zero at a distance `f` behind a knot."""
    g = 1.0 - f
    return (
        g * g * g / 6.0,
        (3.0 * f * f * f - 6.0 * f * f + 4.0) / 6.0,
        (3.0 * g * g * g - 6.0 * g * g + 4.0) / 6.0,
        f * f * f / 6.0,
    )


@helper
def _weights(s, variance, out):
    """First knot of the four around `s` and their weights, smeared by jitter (variance in knots squared)."""
    below = math.floor(s)
    f = s - below
    out[0], out[1], out[2], out[3] = _cubic(f)
    # The second derivatives: the mean over a jitter d of b(s - d) is b + var/2 b''.
    half = 0.5 * variance
    out[0] += half * (1.0 - f)
    out[1] += half * (3.0 * f - 2.0)
    out[2] += half * (1.0 - 3.0 * f)
    out[3] += half * f
    return int(below) - 1 + HALF


@kernel
def blend(coefficients, node_rows, node_columns, scale, row, column, out):
    """Coefficients at a place of the CCD.

    Parameters
    ----------
    coefficients : ndarray, shape (M, N, 3, S, S)
        At each node: the value, and the change over `scale` pixels in row and in column.
    node_rows, node_columns : ndarray, shape (M,), (N,)
        Places of the nodes, increasing, 0-based full frame image pixels.
    scale : float
        Pixels.
    row, column : float
        The place.
    out : ndarray, shape (S, S)
        The result.
    """
    out[:] = 0.0
    i, u = _bracket(node_rows, row)
    j, v = _bracket(node_columns, column)
    for m in range(2):
        for n in range(2):
            weight = (u if m else 1.0 - u) * (v if n else 1.0 - v)
            if weight == 0.0:
                continue
            node = coefficients[i + m, j + n]
            a = weight * (row - node_rows[i + m]) / scale
            b = weight * (column - node_columns[j + n]) / scale
            for p in range(out.shape[0]):
                for q in range(out.shape[1]):
                    out[p, q] += weight * node[0, p, q] + a * node[1, p, q] + b * node[2, p, q]


@helper
def _bracket(nodes, x):
    """Index of the node below `x`, and the weight of the next one, 0 beyond the outer nodes."""
    last = nodes.shape[0] - 1
    if last == 0 or x <= nodes[0]:
        return 0, 0.0
    if x >= nodes[last]:
        return last, 0.0
    i = 0
    while nodes[i + 1] <= x:
        i += 1
    # Most of the way a node's own function holds: a blend from node to node would round off its slopes.
    u = 0.5 + (x - 0.5 * (nodes[i] + nodes[i + 1])) / (BLENDED * (nodes[i + 1] - nodes[i]))
    return i, min(max(u, 0.0), 1.0)


@kernel(fastmath=True, forceinline=True)
def draw_star(coefficients, y, x, variance_y, variance_x, factor, image):
    """Add a star to an image.

    Parameters
    ----------
    coefficients : ndarray, shape (S, S)
    y, x : float
        0-based row and column of the star in the image.
    variance_y, variance_x : float
        Of the jitter during the exposure, pixels squared.
    factor : float
        The star's flux.
    image : ndarray, shape (R, C)
        Changed in place.
    """
    wy = np.empty(4)
    wx = np.empty(4)
    reach = (HALF + 2.0) / KNOTS
    r0 = max(math.ceil(y - reach), 0)
    r1 = min(math.floor(y + reach) + 1, image.shape[0])
    c0 = max(math.ceil(x - reach), 0)
    c1 = min(math.floor(x + reach) + 1, image.shape[1])
    if r1 <= r0 or c1 <= c0:
        return
    first_i = _weights(KNOTS * (r0 - y), variance_y * KNOTS * KNOTS, wy)
    first_j = _weights(KNOTS * (c0 - x), variance_x * KNOTS * KNOTS, wx)
    line = np.empty(SIDE)
    for r in range(r0, r1):
        i = first_i + KNOTS * (r - r0)
        line[:] = 0.0
        for m in range(max(0, -i), min(4, SIDE - i)):
            w = factor * wy[m]
            for q in range(SIDE):
                line[q] += w * coefficients[i + m, q]
        for c in range(c0, c1):
            j = first_j + KNOTS * (c - c0)
            value = 0.0
            for n in range(max(0, -j), min(4, SIDE - j)):
                value += wx[n] * line[j + n]
            image[r, c] += value


@kernel
def star_patches(coefficients, node_rows, node_columns, scale, rows, columns, variances):
    """Images of stars of flux 1, each by itself.

    Parameters
    ----------
    coefficients, node_rows, node_columns, scale
        As for `blend`.
    rows, columns : ndarray, shape (K,)
        Of the stars, 0-based full frame image pixels.
    variances : ndarray, shape (K, 2)
        Of the jitter in (row, column), pixels squared.

    Returns
    -------
    patches : ndarray, shape (K, PATCH, PATCH)
    corners : ndarray of int64, shape (K, 2)
        0-based full frame image (row, column) of the first pixel of each.
    """
    n = rows.shape[0]
    patches = np.zeros((n, PATCH, PATCH))
    corners = np.empty((n, 2), dtype=np.int64)
    local = np.empty((SIDE, SIDE))
    for k in range(n):
        corners[k, 0] = math.floor(rows[k] + 0.5) - PATCH // 2
        corners[k, 1] = math.floor(columns[k] + 0.5) - PATCH // 2
        blend(coefficients, node_rows, node_columns, scale, rows[k], columns[k], local)
        y, x = rows[k] - corners[k, 0], columns[k] - corners[k, 1]
        draw_star(local, y, x, variances[k, 0], variances[k, 1], 1.0, patches[k])
    return patches, corners


@kernel
def draw_patches(patches, corners, fluxes, image):
    """Add stars to an image.

    Parameters
    ----------
    patches : ndarray, shape (K, P, P)
    corners : ndarray of int64, shape (K, 2)
        Of the patches in the image.
    fluxes : ndarray, shape (K,)
    image : ndarray, shape (R, C)
        Changed in place.
    """
    side = patches.shape[1]
    for k in range(patches.shape[0]):
        for r in range(max(corners[k, 0], 0), min(corners[k, 0] + side, image.shape[0])):
            for c in range(max(corners[k, 1], 0), min(corners[k, 1] + side, image.shape[1])):
                image[r, c] += fluxes[k] * patches[k, r - corners[k, 0], c - corners[k, 1]]


@kernel(fastmath=True)
def flux_equations(patches, corners, planes, image, weight):
    """Normal equations of the fluxes of stars and of a background.

    Parameters
    ----------
    patches : ndarray, shape (K, P, P)
    corners : ndarray of int64, shape (K, 2)
        Of the patches in the image.
    planes : ndarray, shape (Q, R, C)
        Parts of the background.
    image, weight : ndarray, shape (R, C)

    Returns
    -------
    matrix : ndarray, shape (K + Q, K + Q)
        The lower triangle.
    vector : ndarray, shape (K + Q,)
    """
    n, side, parts = patches.shape[0], patches.shape[1], planes.shape[0]
    matrix = np.zeros((n + parts, n + parts))
    vector = np.zeros(n + parts)
    weighted = np.empty((side, side))
    for a in range(n):
        top, left = corners[a]
        r0, r1 = max(top, 0), min(top + side, image.shape[0])
        c0, c1 = max(left, 0), min(left + side, image.shape[1])
        for r in range(r0, r1):
            for c in range(c0, c1):
                value = weight[r, c] * patches[a, r - top, c - left]
                weighted[r - top, c - left] = value
                vector[a] += value * image[r, c]
                for q in range(parts):
                    matrix[n + q, a] += value * planes[q, r, c]
        for b in range(a + 1):
            down, right = top - corners[b, 0], left - corners[b, 1]
            if abs(down) >= side or abs(right) >= side:
                continue
            value = 0.0
            for r in range(max(r0, corners[b, 0]), min(r1, corners[b, 0] + side)):
                for c in range(max(c0, corners[b, 1]), min(c1, corners[b, 1] + side)):
                    value += weighted[r - top, c - left] * patches[b, r - top + down, c - left + right]
            matrix[a, b] = value
    for p in range(parts):
        weighted_plane = weight * planes[p]
        vector[n + p] = np.sum(weighted_plane * image)
        for q in range(p + 1):
            matrix[n + p, n + q] = np.sum(weighted_plane * planes[q])
    return matrix, vector


@kernel
def add_equations(
    normal, mixed, own, right, residual, weight, stars, images, index, rings, plane, row0, column0
):
    """Add pixels to the normal equations of coefficients, rings, stars' fluxes and the background.

    Parameters
    ----------
    normal : ndarray, shape (U, U)
        Lower triangle of the equations of the coefficients and rings among themselves; changed in place.
    mixed : ndarray, shape (K + Q, U)
        Of the fluxes and the background with the coefficients and rings; changed in place.
    own : ndarray, shape (K + Q, K + Q)
        Lower triangle of the fluxes and the background among themselves; changed in place.
    right : ndarray, shape (U + K + Q,)
        Right-hand sides; changed in place.
    residual, weight : ndarray, shape (R, C)
        Pixels.
    stars : ndarray, shape (K, 5)
        Of the stars that the coefficients are to be learnt from: row and column (0-based full frame image
        pixels), flux, variances of the jitter in row and column.
    images : ndarray, shape (K, S, S)
        Coefficients at the place of each star, from `blend`.
    index : ndarray of int64, shape (S, S)
        Number of each coefficient among the unknowns, -1 for those that are not fitted.
    rings : ndarray, shape (L, R, C)
        Images of the rings, which are the last of the U unknowns.
    plane : ndarray, shape (Q, R, C)
        Parts of the background.
    row0, column0 : int
        0-based full frame image pixel of the first one.
    """
    unknowns, n_stars, n_rings = normal.shape[0], stars.shape[0], rings.shape[0]
    dense = np.zeros(unknowns)
    active = np.empty(unknowns, dtype=np.int64)
    values = np.empty(n_stars + plane.shape[0])
    reached = np.empty(n_stars + plane.shape[0], dtype=np.int64)
    for r in range(residual.shape[0]):
        for c in range(residual.shape[1]):
            w = weight[r, c]
            if w <= 0.0:
                continue
            count, n = _pixel(stars, images, index, r + row0, c + column0, dense, active, values, reached)
            for q in range(plane.shape[0]):
                values[n] = plane[q, r, c]
                reached[n] = n_stars + q
                n += 1
            for q in range(n_rings):
                if rings[q, r, c] != 0.0:
                    active[count] = unknowns - n_rings + q
                    dense[active[count]] = rings[q, r, c]
                    count += 1
            chosen = active[:count]
            chosen.sort()
            d = w * residual[r, c]
            for a in range(count):
                p = chosen[a]
                right[p] += d * dense[p]
                value = w * dense[p]
                line = normal[p]
                for b in range(a + 1):
                    line[chosen[b]] += value * dense[chosen[b]]
            for k in range(n):
                right[unknowns + reached[k]] += d * values[k]
                value = w * values[k]
                for b in range(k + 1):
                    own[reached[k], reached[b]] += value * values[b]
                line = mixed[reached[k]]
                for a in range(count):
                    line[chosen[a]] += value * dense[chosen[a]]
            for a in range(count):
                dense[chosen[a]] = 0.0


@helper
def _pixel(stars, images, index, row, column, dense, active, values, reached):
    """A pixel's line of the design: coefficients in `dense` and `active`, stars in `values` and `reached`.

    Returns the number of coefficients and of stars; `dense` has to be zero before.
    """
    reach = (HALF + 2.0) / KNOTS
    wy = np.empty(4)
    wx = np.empty(4)
    count = 0
    n = 0
    for k in range(stars.shape[0]):
        dy = row - stars[k, 0]
        dx = column - stars[k, 1]
        if abs(dy) >= reach or abs(dx) >= reach:
            continue
        i = _weights(KNOTS * dy, stars[k, 3] * KNOTS * KNOTS, wy)
        j = _weights(KNOTS * dx, stars[k, 4] * KNOTS * KNOTS, wx)
        value = 0.0
        for a in range(max(0, -i), min(4, SIDE - i)):
            for b in range(max(0, -j), min(4, SIDE - j)):
                product = wy[a] * wx[b]
                value += product * images[k, i + a, j + b]
                p = index[i + a, j + b]
                if p < 0 or product == 0.0:
                    continue
                if dense[p] == 0.0:
                    active[count] = p
                    count += 1
                dense[p] += stars[k, 2] * product
        values[n] = value
        reached[n] = k
        n += 1
    return count, n


@kernel
def blend_all(coefficients, node_rows, node_columns, scale, rows, columns):
    """Coefficients at several places, shape (K, S, S); see `blend`."""
    out = np.empty((rows.shape[0], SIDE, SIDE))
    for k in range(rows.shape[0]):
        blend(coefficients, node_rows, node_columns, scale, rows[k], columns[k], out[k])
    return out


@kernel
def add_rings(images, rows, columns, fluxes, radii):
    """Add rings around stars to images: the k-th is 1 at radius k and 0 at the radii beside it.

    Parameters
    ----------
    images : ndarray, shape (K, R, C)
        Changed in place.
    rows, columns, fluxes : ndarray, shape (N,)
        Stars, in pixels of the images.
    radii : ndarray, shape (K + 2,)
        Increasing, pixels; the first and the last are those where the outermost rings end.
    """
    last = radii.shape[0] - 1
    for s in range(rows.shape[0]):
        r0 = max(math.ceil(rows[s] - radii[last]), 0)
        r1 = min(math.floor(rows[s] + radii[last]) + 1, images.shape[1])
        c0 = max(math.ceil(columns[s] - radii[last]), 0)
        c1 = min(math.floor(columns[s] + radii[last]) + 1, images.shape[2])
        for r in range(r0, r1):
            for c in range(c0, c1):
                distance = math.hypot(r - rows[s], c - columns[s])
                if distance <= radii[0] or distance >= radii[last]:
                    continue
                k = 0
                while radii[k + 1] <= distance:
                    k += 1
                share = (distance - radii[k]) / (radii[k + 1] - radii[k])
                if k > 0:
                    images[k - 1, r, c] += fluxes[s] * (1.0 - share)
                if k < last - 1:
                    images[k, r, c] += fluxes[s] * share
