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
def _place(pixel, box):
    """First of the four coefficients that a pixel needs, and the fractional place."""
    x = (pixel + 0.5) / box - 0.5
    i = math.floor(x)
    return int(i) - 1, x - i


@numba.njit(cache=True)
def _axis_weights(pixel, box, n, weights):
    """Weights of up to four coefficients in a row, and the first of them.

    Beyond the first and the last coefficient they go on as a straight line: so does the surface beyond the
    middles of the outer boxes.
    """
    i0, f = _place(pixel, box)
    values = _spline(f)
    start = max(0, min(i0, n - 4))
    weights[:] = 0.0
    for k in range(4):
        i = i0 + k
        w = values[k]
        if n == 1:
            weights[0] += w
        elif i < 0:
            weights[0] += (1 - i) * w
            weights[1] += i * w
        elif i >= n:
            beyond = i - (n - 1)
            weights[n - 1 - start] += (1 + beyond) * w
            weights[n - 2 - start] -= beyond * w
        else:
            weights[i - start] += w
    return start


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
    wy = np.empty(4)
    wx = np.empty(4)
    for k in range(rows.shape[0]):
        i0 = _axis_weights(rows[k], box, shape[0], wy)
        j0 = _axis_weights(columns[k], box, shape[1], wx)
        for i in range(min(4, shape[0])):
            for j in range(min(4, shape[1])):
                out[i0 + i, j0 + j] += wy[i] * wx[j]
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
    wy = np.empty(4)
    wx = np.empty(4)
    for k in range(rows.shape[0]):
        line[:] = 0.0
        i0 = _axis_weights(rows[k], box, mesh.shape[0], wy)
        j0 = _axis_weights(columns[k], box, mesh.shape[1], wx)
        for i in range(min(4, mesh.shape[0])):
            for j in range(min(4, mesh.shape[1])):
                w = wy[i] * wx[j]
                for t in range(n_time):
                    line[t] += w * mesh[i0 + i, j0 + j, t]
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
    # Four columns more than there are: weights of meshes of fewer boxes are zero there.
    line = np.zeros(mesh.shape[1] + 4)
    weights = np.empty((width, 4))
    places = np.empty(width, dtype=np.int64)
    wy = np.empty(4)
    for c in range(width):
        places[c] = _axis_weights(c, box, mesh.shape[1], weights[c])
    for r in range(height):
        i0 = _axis_weights(r, box, mesh.shape[0], wy)
        line[:] = 0.0
        for i in range(min(4, mesh.shape[0])):
            for j in range(mesh.shape[1]):
                line[j] += wy[i] * mesh[i0 + i, j]
        for c in range(width):
            j0 = places[c]
            value = 0.0
            for j in range(4):
                value += weights[c, j] * line[j0 + j]
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
