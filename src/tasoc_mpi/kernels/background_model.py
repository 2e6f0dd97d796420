"""The background model: a cubic B-spline on a mesh of boxes plus a profile in radius.

Both parts are linear in their coefficients, so a sum over pixels needs only the summed weights of
the coefficients, and an average over frames is the model of the averaged coefficients.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .filled import filled
from .jit import helper, kernel

__all__ = ["BackgroundModel", "add_background"]


class BackgroundModel(NamedTuple):
    """The smooth background of every frame.

    Examples
    --------
    >>> mesh = np.full((2, 3, 1), 100.0, "f4")
    >>> model = BackgroundModel(mesh, 64, np.empty((0, 1), "f4"), 2400.0, 5.0, (0.0, 0.0), (0, 44))
    >>> float(model.frame((128, 192), 0)[5, 7])
    100.0
    >>> model.total(np.array([5, 6]), np.array([7, 7])).tolist()
    [200.0]
    """

    #: Shape (M, N, T): cubic B-spline coefficients, e-/s; NaN for a frame without a background.
    mesh: NDArray[np.float32]
    box: int  #: Side of a mesh box, pixels
    #: Shape (K, T): values at nodes in distance from the camera centre, linear between them; K = 0 for none.
    radial: NDArray[np.float32]
    #: radial_first, radial_step: distance of the first node and between nodes, pixels.
    radial_first: float
    radial_step: float
    centre: tuple[float, float]  #: 0-based full frame image (row, column) of the camera centre
    origin: tuple[int, int]  #: 0-based full frame image (row, column) of the first pixel

    def subtract(self, frames: NDArray[np.float32], first: int = 0, row: int = 0) -> None:
        """Take the model of frames `first` to ``first + K`` out of `frames`, shape (K, rows, columns).

        `row` is the array row of ``frames[:, 0]``.
        """
        add_background(frames, self, first, (row, 0), -1.0)

    def frame(self, shape: tuple[int, int], t: int, corner: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
        """The model of frame `t` in the rectangle of shape `shape` whose first pixel is `corner`, 0-based."""
        out = np.zeros((1, *shape), dtype=np.float32)
        add_background(out, self, t, corner, 1.0)
        return out[0]

    def stamp(self, row_min: int, row_max: int, col_min: int, col_max: int) -> NDArray[np.float32]:
        """The model in a stamp of array pixels (half open), shape (rows, columns, T)."""
        out = np.zeros((self.mesh.shape[2], row_max - row_min, col_max - col_min), dtype=np.float32)
        add_background(out, self, 0, (row_min, col_min), 1.0)
        return np.ascontiguousarray(np.moveaxis(out, 0, -1))

    def total(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum of the model over pixels of the arrays, in every frame, shape (T,), e-/s."""
        # Its parts: the list of kernels (`data/kernels.json`) has no type for a named tuple.
        return _sum_model(*self, rows, columns)


@helper
def _spline(x):
    """Weights of the four B-spline coefficients around the fractional place x in [0, 1)."""
    y = 1.0 - x
    w0 = y * y * y / 6.0
    w3 = x * x * x / 6.0
    w1 = (4.0 - 6.0 * x * x + 3.0 * x * x * x) / 6.0
    w2 = (4.0 - 6.0 * y * y + 3.0 * y * y * y) / 6.0
    return w0, w1, w2, w3


@helper
def _place(pixel, box):
    """First of the four coefficients that a pixel needs, and the fractional place."""
    x = (pixel + 0.5) / box - 0.5
    i = math.floor(x)
    return np.int64(i) - 1, x - i


@helper
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


@helper
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
    out = np.empty(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            out[i, j] = 0.0
    wy = np.empty(4)
    wx = np.empty(4)
    for k in range(rows.shape[0]):
        i0 = _axis_weights(rows[k], box, shape[0], wy)
        j0 = _axis_weights(columns[k], box, shape[1], wx)
        for i in range(min(4, shape[0])):
            for j in range(min(4, shape[1])):
                out[i0 + i, j0 + j] += wy[i] * wx[j]
    return out


@kernel
def _sum_model(mesh, box, radial, radial_first, radial_step, centre, origin, rows, columns):
    """Sum of a model over pixels in every frame, shape (T,); before them are its fields."""
    out = filled(mesh.shape[2], 0.0)
    weights = mesh_weights(rows, columns, box, (mesh.shape[0], mesh.shape[1]))
    for i in range(mesh.shape[0]):
        for j in range(mesh.shape[1]):
            _add_line(out, weights[i, j], mesh[i, j])
    n = radial.shape[0]
    if n >= 2:
        # Two more for pixels beyond the profile.
        shares = filled(n + 2, 0.0)
        for k in range(rows.shape[0]):
            dy = rows[k] + origin[0] - centre[0]
            dx = columns[k] + origin[1] - centre[1]
            j, f = _node(dx, dy, n, radial_first, radial_step)
            shares[j] += 1.0 - f
            shares[j + 1] += f
        for j in range(n):
            _add_line(out, shares[j], radial[j])
    return out


@helper
def _add_line(out, weight, line):
    """Add a multiple of the values of one coefficient in time."""
    if weight != 0.0:
        for t in range(out.shape[0]):
            out[t] += weight * line[t]


@helper
def _node(dx, dy, n, first, step):
    """Lower node of a pixel in a profile of n nodes, and fraction; node n, and 0, for one beyond it."""
    x = (math.sqrt(dx * dx + dy * dy) - first) / step
    inside = (x >= 0.0) & (x <= n - 1)
    j = min(int(x), n - 2) if inside else n
    return j, (x - j if inside else 0.0)


@helper
def _row_nodes(left, dy, n, first, step, nodes, fractions):
    """Lower nodes of a row's pixels in a profile of n nodes, and fractions; node n for pixels beyond it.

    Only the columns before the first number that is returned, and those from the second one on, are so far
    from the centre that they have any. `left` and `dy` are the first column and the row, less the centre.
    """
    low = 0
    high = nodes.shape[0]
    if n >= 2:
        while low < high and (left + low) * (left + low) + dy * dy >= first * first:
            low += 1
        while high > low and (left + high - 1) * (left + high - 1) + dy * dy >= first * first:
            high -= 1
    for a, b in ((0, low), (high, nodes.shape[0])):
        for c in range(a, b):
            nodes[c], fractions[c] = _node(left + c, dy, n, first, step)
    return low, high


def add_background(
    frames: NDArray[np.float32], model: BackgroundModel, first: int, corner: tuple[int, int], factor: float
) -> None:
    """Add a multiple of the model to a rectangle of pixels of some frames.

    Parameters
    ----------
    frames : ndarray of float32, shape (K, R, C)
        Changed.
    model : BackgroundModel
    first : int
        Frame of the model that belongs to ``frames[0]``.
    corner : (int, int)
        0-based (row, column) of ``frames[:, 0, 0]`` in the array.
    factor : float
    """
    _add_model(frames, *model, first, corner, factor)


@kernel
def _add_model(frames, mesh, box, radial, radial_first, radial_step, centre, origin, first, corner, factor):
    """As `add_background`; in between are the fields of `BackgroundModel`."""
    n_frames, height, width = frames.shape
    m, n = mesh.shape[0], mesh.shape[1]
    k_nodes = radial.shape[0]
    wx = np.empty((4, width))
    places = np.empty(width, dtype=np.int64)
    # Columns between the middles of two boxes have the same four coefficients: first columns of such runs.
    runs = np.empty(width + 1, dtype=np.int64)
    n_runs = 0
    w = np.empty(4)
    for c in range(width):
        places[c] = _axis_weights(c + corner[1], box, n, w)
        for i in range(4):
            wx[i, c] = w[i]
        if c == 0 or places[c] != places[c - 1]:
            runs[n_runs] = c
            n_runs += 1
    runs[n_runs] = width
    last = min(places[width - 1] + 4, n)
    nodes = np.empty(width, dtype=np.int64)
    fractions = np.empty(width)
    # Two more nodes, which are zero, for pixels beyond the profile.
    profiles = np.empty((n_frames, k_nodes + 2))
    for k in range(n_frames):
        for i in range(k_nodes):
            profiles[k, i] = radial[i, first + k]
        profiles[k, k_nodes] = profiles[k, k_nodes + 1] = 0.0
    # Four columns more than there are: weights of meshes of fewer boxes are zero there.
    lines = np.empty((n_frames, n + 4))
    values = np.empty(width)
    left = corner[1] + origin[1] - centre[1]
    for r in range(height):
        i0 = _axis_weights(r + corner[0], box, m, w)
        dy = r + corner[0] + origin[0] - centre[0]
        # Columns with a profile: those before `low` and those from `high` on.
        low, high = _row_nodes(left, dy, k_nodes, radial_first, radial_step, nodes, fractions)
        for k in range(n_frames):
            line = lines[k]
            for j in range(n + 4):
                line[j] = 0.0
            for i in range(min(4, m)):
                for j in range(places[0], last):
                    line[j] += w[i] * mesh[i0 + i, j, first + k]
        # A run's weights stay in the nearest cache for all frames.
        for q in range(n_runs):
            c0, c1 = runs[q], runs[q + 1]
            w0, w1, w2, w3 = wx[0, c0:c1], wx[1, c0:c1], wx[2, c0:c1], wx[3, c0:c1]
            j0 = places[c0]
            for k in range(n_frames):
                line = lines[k]
                a0, a1, a2, a3 = line[j0], line[j0 + 1], line[j0 + 2], line[j0 + 3]
                part = values[: c1 - c0]
                for c in range(c1 - c0):
                    part[c] = w0[c] * a0 + w1[c] * a1 + w2[c] * a2 + w3[c] * a3
                profile = profiles[k]
                for a, b in ((c0, min(low, c1)), (max(high, c0), c1)):
                    for c in range(a, b):
                        j = nodes[c]
                        f = fractions[c]
                        part[c - c0] += (1.0 - f) * profile[j] + f * profile[j + 1]
                row = frames[k, r, c0:c1]
                for c in range(c1 - c0):
                    row[c] += factor * part[c]
