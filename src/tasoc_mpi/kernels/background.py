"""Values of the background model: a cubic B-spline on a mesh of boxes plus a profile in radius.

Both parts are linear in their coefficients, so a sum over pixels needs only the summed weights of
the coefficients, and an average over frames is the model of the averaged coefficients.
"""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["mesh_weights", "model_frame", "model_pixels", "radial_weights"]


@numba.njit(cache=True, inline="always")
def _spline(x):
    """Weights of the four B-spline coefficients around the fractional place x in [0, 1)."""
    y = 1.0 - x
    w0 = y * y * y / 6.0
    w3 = x * x * x / 6.0
    w1 = (4.0 - 6.0 * x * x + 3.0 * x * x * x) / 6.0
    w2 = (4.0 - 6.0 * y * y + 3.0 * y * y * y) / 6.0
    return w0, w1, w2, w3


@numba.njit(cache=True, inline="always")
def _reflect(i, n):
    """Index mirrored at the outer edges of the first and last box (d c b a | a b c d | d c b a)."""
    while i < 0 or i >= n:
        if i < 0:
            i = -1 - i
        if i >= n:
            i = 2 * n - 1 - i
    return i


@numba.njit(cache=True, inline="always")
def _place(pixel, box):
    """First of the four coefficients that a pixel needs, and the fractional place."""
    x = (pixel + 0.5) / box - 0.5
    i = math.floor(x)
    return int(i) - 1, x - i


@numba.njit(cache=True, inline="always")
def _node(radius, first, step, n):
    """Lower node and fraction of a radius between linear nodes; node -1 outside of them."""
    x = (radius - first) / step
    if not (x >= 0.0) or x > n - 1:
        return -1, 0.0
    j = min(int(x), n - 2)
    return j, x - j


@numba.njit(cache=True)
def mesh_weights(rows, columns, box, shape):
    """Summed weights of the mesh coefficients over pixels.

    Parameters
    ----------
    rows, columns : ndarray of int64, shape (P,)
        Pixels of the cube's arrays (not of the full frame image).
    box : int
        Side of a box in pixels; pixel 0 is the first of box 0.
    shape : (int, int)
        Number of boxes (rows, columns).

    Returns
    -------
    ndarray, shape `shape`
        Its sum is the number of pixels.
    """
    out = np.zeros(shape)
    for k in range(rows.shape[0]):
        i0, fy = _place(rows[k], box)
        j0, fx = _place(columns[k], box)
        wy = _spline(fy)
        wx = _spline(fx)
        for i in range(4):
            ii = _reflect(i0 + i, shape[0])
            for j in range(4):
                out[ii, _reflect(j0 + j, shape[1])] += wy[i] * wx[j]
    return out


@numba.njit(cache=True)
def radial_weights(radii, first, step, n):
    """Summed weights of the radial nodes over pixels at the given radii; zero outside the nodes.

    Parameters
    ----------
    radii : ndarray, shape (P,)
        Distances from the camera centre, pixels.
    first, step : float
        Radius of the first node and the distance between nodes, pixels.
    n : int
        Number of nodes, 0 or at least 2.

    Returns
    -------
    ndarray, shape (n,)
    """
    out = np.zeros(n)
    if n < 2:
        return out
    for k in range(radii.shape[0]):
        j, f = _node(radii[k], first, step, n)
        if j >= 0:
            out[j] += 1.0 - f
            out[j + 1] += f
    return out


@numba.njit(cache=True)
def model_pixels(rows, columns, radii, box, mesh, radial, first, step):
    """The model in single pixels for all frames.

    Parameters
    ----------
    rows, columns : ndarray of int64, shape (P,)
        Pixels of the cube's arrays.
    radii : ndarray, shape (P,)
        Their distances from the camera centre, pixels.
    box : int
        Side of a box, pixels.
    mesh : ndarray of float32, shape (M, N, T)
        B-spline coefficients, e-/s.
    radial : ndarray of float32, shape (K, T)
        Values at the radial nodes, e-/s.
    first, step : float
        Radius of the first node and the distance between nodes, pixels.

    Returns
    -------
    ndarray of float32, shape (P, T)
    """
    n_time = mesh.shape[2]
    out = np.empty((rows.shape[0], n_time), dtype=np.float32)
    line = np.empty(n_time)
    for k in range(rows.shape[0]):
        line[:] = 0.0
        i0, fy = _place(rows[k], box)
        j0, fx = _place(columns[k], box)
        wy = _spline(fy)
        wx = _spline(fx)
        for i in range(4):
            ii = _reflect(i0 + i, mesh.shape[0])
            for j in range(4):
                jj = _reflect(j0 + j, mesh.shape[1])
                w = wy[i] * wx[j]
                for t in range(n_time):
                    line[t] += w * mesh[ii, jj, t]
        if radial.shape[0] >= 2:
            node, f = _node(radii[k], first, step, radial.shape[0])
            if node >= 0:
                for t in range(n_time):
                    line[t] += (1.0 - f) * radial[node, t] + f * radial[node + 1, t]
        for t in range(n_time):
            out[k, t] = line[t]
    return out


@numba.njit(cache=True)
def model_frame(shape, origin, centre, box, mesh, radial, first, step):
    """The model of one frame in all its pixels.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the frame.
    origin : (float, float)
        Full frame image (row, column) of pixel (0, 0).
    centre : (float, float)
        Full frame image (row, column) of the camera centre.
    box : int
        Side of a box, pixels.
    mesh : ndarray, shape (M, N)
        B-spline coefficients, e-/s.
    radial : ndarray, shape (K,)
        Values at the radial nodes, e-/s.
    first, step : float
        Radius of the first node and the distance between nodes, pixels.

    Returns
    -------
    ndarray of float32, shape `shape`
    """
    height, width = shape
    out = np.empty(shape, dtype=np.float32)
    line = np.empty(mesh.shape[1])
    weights = np.empty((4, width))
    places = np.empty((4, width), dtype=np.int64)
    for c in range(width):
        j0, fx = _place(c, box)
        wx = _spline(fx)
        for j in range(4):
            weights[j, c] = wx[j]
            places[j, c] = _reflect(j0 + j, mesh.shape[1])
    for r in range(height):
        i0, fy = _place(r, box)
        wy = _spline(fy)
        line[:] = 0.0
        for i in range(4):
            ii = _reflect(i0 + i, mesh.shape[0])
            for j in range(mesh.shape[1]):
                line[j] += wy[i] * mesh[ii, j]
        for c in range(width):
            value = 0.0
            for j in range(4):
                value += weights[j, c] * line[places[j, c]]
            out[r, c] = value
        if radial.shape[0] >= 2:
            dy = r + origin[0] - centre[0]
            for c in range(width):
                dx = c + origin[1] - centre[1]
                if dx * dx + dy * dy >= first * first:
                    node, f = _node(math.sqrt(dx * dx + dy * dy), first, step, radial.shape[0])
                    if node >= 0:
                        out[r, c] += (1.0 - f) * radial[node] + f * radial[node + 1]
    return out
