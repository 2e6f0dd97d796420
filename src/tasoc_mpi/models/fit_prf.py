"""The effective pixel response from images: fluxes of all stars and the response, by least squares in turn.

Anderson & King 2000 (PASP 112, 1360). The images are means of many frames. Each round solves, tile by tile,
for the fluxes of the stars and a background plane, and then, node by node, for the change of the response
that explains the residuals best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import maximum_filter

from ..core.errors import InputError
from ..kernels.spline_prf import (
    HALF,
    KNOTS,
    RINGS,
    add_equations,
    add_rings,
    blend_all,
    draw_patches,
    flux_equations,
    star_patches,
)
from ..products.prf_file import SCALE
from .prf_stack import PRFFit, Stack

__all__ = ["MIN_STARS", "fit_stack"]

#: Side of the tiles, and how far around a tile its fluxes are fitted in and stars are taken from, pixels.
TILE, MARGIN, REACH = 64, 5, 7
#: Fewest stars that the response is learnt from, and fewest at a node for slopes over the CCD.
MIN_STARS, MIN_SLOPES = 30, 90
#: Most stars at a node: fainter ones add time, and errors of their neighbours.
MOST_STARS = 250
#: Error of the model in units of itself, in each round: at first the response is only roughly known.
MODEL_ERROR = (0.2, 0.05, 0.02, 0.01, 0.01)
#: Catalogue fluxes are right to this share (a prior, which matters for stars that cannot be separated).
FLUX_ERROR = 0.2
#: Prior of a coefficient's change in a round, in units of the response (the largest values are some 0.4).
CHANGE = 0.05
#: Weight of the condition that the light does not depend on the place in the pixel: it is kept to 1e-5.
FIRM = 1e10
#: The response changes over a node's region only within this distance of the star, knots.
SLOPING = 10.0
#: Beyond that distance a node's response is the usual one of all nodes to this share, in so many last rounds:
#: a very bright star disturbs it easily there. MAST's responses differ by 3 to 7% within 512 pixels.
ALIKE, TOGETHER = 0.1, 2
#: Light in each ring for a response of 1 at its radius: area of the triangle times the way of its middle.
VOLUMES = np.pi / 3 * (RINGS[2:] - RINGS[:-2]) * (RINGS[2:] + RINGS[1:-1] + RINGS[:-2])
#: Wings as they are expected at the inner `RINGS`, and their error in units of that of the model: they
#: are not circular.
TYPICAL_WINGS = np.array([1.5e-4, 1.1e-4, 8e-5, 5e-5, 2e-5])
WING_ERROR = 20.0
#: The error of the model is taken to be at least that for a pixel with this share of the largest one nearby.
FAR = 0.05
#: Residuals beyond so many sigma have less weight, and none beyond the second.
CLIP = (3.0, 10.0)


class _Fit:
    """One stack's fit while it is going on."""

    def __init__(
        self,
        stack: Stack,
        expected: NDArray[np.float64],
        nodes: tuple[NDArray[np.float64], NDArray[np.float64]],
        coefficients: NDArray[np.float64],
        saturated: float,
    ) -> None:
        self.stack, self.catalog, self.expected = stack, expected, expected
        self.node_rows, self.node_columns = nodes
        self.coefficients = np.array(coefficients)
        self.fluxes = np.array(expected)
        good = np.isfinite(stack.image) & (stack.variance > 0)
        self.image = np.where(good, stack.image, 0.0)
        self.noise = np.where(good, stack.variance, np.inf)
        self.robust = good.astype("f8")
        self.residual = np.full(self.image.shape, np.nan)
        self.model = np.maximum(self.image, 0.0)
        row0, column0 = stack.origin
        n_rows, n_columns = self.image.shape
        self.inside = (
            (stack.rows > row0 - 0.5)
            & (stack.rows < row0 + n_rows - 0.5)
            & (stack.columns > column0 - 0.5)
            & (stack.columns < column0 + n_columns - 0.5)
        )
        peak = 0.4 * expected
        sigma = np.sqrt(np.nanmedian(stack.variance))
        self._choose(peak > 30.0 * sigma, saturated)
        # The light of fainter ones is taken from the catalog.
        self.free = peak > 3.0 * sigma
        distance = np.hypot(*np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1])
        # Knots (row, column) of the unknown coefficients, those with slopes first.
        near, far = np.argwhere(distance <= SLOPING), np.argwhere(distance > SLOPING)
        self.places = np.concatenate([near, far[distance[tuple(far.T)] <= HALF + 0.5]])
        self.unknowns, self.sloping = len(self.places), len(near)
        self.index = np.full(distance.shape, -1)
        self.index[tuple(self.places.T)] = np.arange(self.unknowns)
        self.usual: NDArray[np.float64] | None = None
        self.wings = np.zeros(len(RINGS) - 2)
        self.rings = np.zeros((len(self.wings), *self.image.shape))
        self.wing_image = np.zeros(self.image.shape)
        self.wing_error = np.zeros(self.image.shape)
        # Only the wings of bright stars stand out from the sky.
        self.shining = (peak > 300.0 * sigma) & np.isfinite(stack.rows + stack.columns)

    def _choose(self, bright: NDArray[np.bool_], saturated: float) -> None:
        """Choose the stars that each node's response is learnt from."""
        rows = _nearest(self.node_rows, self.stack.rows)
        columns = _nearest(self.node_columns, self.stack.columns)
        self.learn = self.inside & bright & (self.expected < saturated)
        self.used = np.zeros((len(self.node_rows), len(self.node_columns)), dtype="i8")
        for m, n in np.ndindex(*self.used.shape):
            (own,) = np.nonzero(self.learn & (rows == m) & (columns == n))
            self.learn[own[np.argsort(-self.expected[own], kind="stable")][MOST_STARS:]] = False
            self.used[m, n] = min(len(own), MOST_STARS)

    def round(self, model_error: float, learn: bool) -> None:
        """Solve for the fluxes, and then for the response."""
        self.model_error = model_error
        self.peak = maximum_filter(self.model, 2 * REACH - 1)
        row0, column0 = self.stack.origin
        k = self.shining & (self.fluxes > 0)
        self.rings[:] = 0.0
        add_rings(
            self.rings, self.stack.rows[k] - row0, self.stack.columns[k] - column0, self.fluxes[k], RINGS
        )
        self.wing_image = np.tensordot(self.wings, self.rings, 1)
        self.wing_error = np.tensordot(WING_ERROR * model_error * TYPICAL_WINGS, self.rings, 1)
        tiles: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for r, c in _corners(self.image.shape):
            row, column = self._middle((r, c))
            node = (_nearest(self.node_rows, row).item(), _nearest(self.node_columns, column).item())
            tiles.setdefault(node, []).append((r, c))
        changes: dict[tuple[int, int], NDArray[np.float64]] = {}
        for node, own in sorted(tiles.items()):
            size = self.unknowns + len(self.wings) + 2 * self._slopes(node)
            normal, right = np.zeros((size, size) if learn else (0, 0)), np.zeros(size)
            for tile in own:
                self._tile(tile)
                if learn:
                    self._learn(tile, node, normal, right)
            if learn and self.used[node] >= MIN_STARS:
                changes[node] = self._solve(node, normal, right)
        if changes:
            # Nodes with too few stars change as the others do, and the wings are one for all.
            values = [change[: self.unknowns + len(self.wings)] for change in changes.values()]
            usual = np.median(values, axis=0)
            self.wings += usual[self.unknowns :]
            for node in tiles:
                self._change(node, changes.get(node, usual))
        # The catalogue's zero point need not be that of the images.
        self.expected = self.catalog * np.median(self.fluxes[self.learn] / self.catalog[self.learn])

    def _slopes(self, node: tuple[int, int]) -> int:
        """Number of coefficients of a node that have slopes over the CCD."""
        return self.sloping if self.used[node] >= MIN_SLOPES else 0

    def _middle(self, tile: tuple[int, int]) -> tuple[float, float]:
        """Full frame image place of the middle of a tile."""
        middle = [
            first + 0.5 * (corner + min(corner + TILE, size)) - 0.5
            for first, corner, size in zip(self.stack.origin, tile, self.image.shape, strict=True)
        ]
        return middle[0], middle[1]

    def _variance(self, box: tuple[slice, slice]) -> NDArray[np.float64]:
        """Of the residuals: noise, and the error of the model, also in the wings of a bright star nearby."""
        error = self.model_error * np.maximum(self.model[box], FAR * self.peak[box])
        return self.noise[box] + error**2 + self.wing_error[box] ** 2

    def _weight(self, box: tuple[slice, slice]) -> NDArray[np.float64]:
        return self.robust[box] / self._variance(box)

    def _near(self, r0: int, r1: int, c0: int, c1: int) -> NDArray[np.intp]:
        """Stars that reach into a part of the image."""
        rows, columns = self.stack.rows - self.stack.origin[0], self.stack.columns - self.stack.origin[1]
        return np.flatnonzero(
            (rows > r0 - REACH) & (rows < r1 + REACH) & (columns > c0 - REACH) & (columns < c1 + REACH)
        )

    def _tile(self, tile: tuple[int, int]) -> None:
        """Solve for the fluxes and the background plane of a tile."""
        row0, column0 = self.stack.origin
        r0, c0 = max(tile[0] - MARGIN, 0), max(tile[1] - MARGIN, 0)
        r1 = min(tile[0] + TILE + MARGIN, self.image.shape[0])
        c1 = min(tile[1] + TILE + MARGIN, self.image.shape[1])
        near = self._near(r0, r1, c0, c1)
        patches, corners = star_patches(
            self.coefficients, self.node_rows, self.node_columns, SCALE,
            self.stack.rows[near], self.stack.columns[near], self.stack.jitter[near],
        )  # fmt: skip
        corners -= [r0 + row0, c0 + column0]
        box = np.s_[r0:r1, c0:c1]
        image = self.image[box] - self.wing_image[box]
        free, expected = self.free[near], self.expected[near]
        fixed = np.zeros(image.shape)
        draw_patches(patches[~free], corners[~free], expected[~free], fixed)
        y, x = np.mgrid[-1 : 1 : (r1 - r0) * 1j, -1 : 1 : (c1 - c0) * 1j]
        plane = np.stack([np.ones_like(y), y, x])
        matrix, vector = flux_equations(patches[free], corners[free], plane, image - fixed, self._weight(box))
        # A background whose ends differ by far more than 100 e-/s is not one.
        precision = (FLUX_ERROR * expected[free]) ** -2.0
        matrix[np.diag_indices_from(matrix)] += np.concatenate([precision, [1e-12, 1e-4, 1e-4]])
        vector[: len(precision)] += precision * expected[free]
        solution = cho_solve(cho_factor(matrix, lower=True), vector)
        flux = np.array(expected)
        flux[free] = solution[: len(precision)]
        model = fixed
        draw_patches(patches[free], corners[free], flux[free], model)
        residual = image - model - np.tensordot(solution[len(precision) :], plane, 1)
        self._keep(tile, (r0, c0), near, flux, model, residual)

    def _keep(
        self,
        tile: tuple[int, int],
        corner: tuple[int, int],
        near: NDArray[np.intp],
        flux: NDArray[np.float64],
        model: NDArray[np.float64],
        residual: NDArray[np.float64],
    ) -> None:
        """Note a tile's own pixels and stars, without its margin, which begins at `corner`."""
        own = np.s_[tile[0] : tile[0] + TILE, tile[1] : tile[1] + TILE]
        rows, columns = self.image[own].shape
        first = tile[0] - corner[0], tile[1] - corner[1]
        inner = np.s_[first[0] : first[0] + rows, first[1] : first[1] + columns]
        self.residual[own], self.model[own] = residual[inner], np.maximum(model[inner], 0.0)
        z = np.abs(self.residual[own]) / np.sqrt(self._variance(own))
        used = np.isfinite(self.noise[own]) & (z <= CLIP[1])
        self.robust[own] = np.where(used, CLIP[0] / np.maximum(z, CLIP[0]), 0.0)
        y = np.rint(self.stack.rows[near] - self.stack.origin[0])
        x = np.rint(self.stack.columns[near] - self.stack.origin[1])
        mine = (y >= tile[0]) & (y < tile[0] + TILE) & (x >= tile[1]) & (x < tile[1] + TILE)
        self.fluxes[near[mine]] = flux[mine]

    def _learn(
        self,
        tile: tuple[int, int],
        node: tuple[int, int],
        normal: NDArray[np.float64],
        right: NDArray[np.float64],
    ) -> None:
        """Add a tile's equations for the change of the response."""
        own = np.s_[tile[0] : tile[0] + TILE, tile[1] : tile[1] + TILE]
        residual, weight = np.ascontiguousarray(self.residual[own]), np.ascontiguousarray(self._weight(own))
        near = self._near(tile[0], tile[0] + TILE, tile[1], tile[1] + TILE)
        stars = near[self.learn[near] & (self.fluxes[near] > 0)]
        if not len(stars) or not weight.any():
            return
        place = self.stack.rows[stars], self.stack.columns[stars]
        images = blend_all(self.coefficients, self.node_rows, self.node_columns, SCALE, *place)
        n, k = self.unknowns + len(self.wings), len(stars)
        y, x = np.mgrid[-1 : 1 : residual.shape[0] * 1j, -1 : 1 : residual.shape[1] * 1j]
        plane = np.stack([np.ones(y.shape), y, x])
        own_normal, mixed, own_fluxes = np.zeros((n, n)), np.zeros((k + 3, n)), np.zeros((k + 3, k + 3))
        own_right = np.zeros(n + k + 3)
        table = np.column_stack([*place, self.fluxes[stars], self.stack.jitter[stars]])
        first = tile[0] + self.stack.origin[0], tile[1] + self.stack.origin[1]
        rings = np.ascontiguousarray(self.rings[:, *own])
        add_equations(
            own_normal,
            mixed,
            own_fluxes,
            own_right,
            residual,
            weight,
            table,
            images,
            self.index,
            rings,
            plane,
            *first,
        )
        # The fluxes and the background change with the response: without them, the two converge slowly.
        precision = (FLUX_ERROR * self.expected[stars]) ** -2.0
        own_fluxes[np.diag_indices(k + 3)] += [*precision, 1e-12, 1e-4, 1e-4]
        own_right[n : n + k] -= precision * (self.fluxes[stars] - self.expected[stars])
        eliminated = cho_solve(cho_factor(own_fluxes, lower=True), np.column_stack([mixed, own_right[n:]]))
        own_right = own_right[:n] - mixed.T @ eliminated[:, n]
        # Of the sum only the lower triangle is there.
        own_normal += np.tril(own_normal, -1).T
        own_normal -= mixed.T @ eliminated[:, :n]
        row, column = self._middle(tile)
        offset = (row - self.node_rows[node[0]]) / SCALE, (column - self.node_columns[node[1]]) / SCALE
        size = self._slopes(node)
        right[:n] += own_right
        normal[:n, :n] += own_normal
        for k, u in enumerate(offset if size else ()):
            rows = np.s_[n + k * size : n + (k + 1) * size]
            right[rows] += u * own_right[:size]
            normal[rows, :n] += u * own_normal[:size]
            for m, v in enumerate(offset[: k + 1]):
                normal[rows, n + m * size : n + (m + 1) * size] += u * v * own_normal[:size, :size]

    def _solve(
        self, node: tuple[int, int], normal: NDArray[np.float64], right: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The change of a node's value and slopes, one behind the other.

        The pixels of a star add up to the same light wherever it is in its pixel. Images in which stars do
        not move cannot tell that: a response that is larger at one place in the pixel goes with smaller
        fluxes there.
        """
        n = self.unknowns + len(self.wings)
        # For a ring, 1e-4 of the light in a pixel is far above all.
        precision = np.full(len(normal), CHANGE**-2.0)
        precision[self.unknowns : n] = 1e8
        if self.usual is not None:
            far = np.s_[self.sloping : self.unknowns]
            i, j = self.places[far].T
            weight = (ALIKE * self._profile(self.usual)[i, j]) ** -2.0
            precision[far] += weight
            right[far] += weight * (self.usual - self.coefficients[node][0])[i, j]
        normal[np.diag_indices_from(normal)] += precision
        phase = (self.places[:, 0] % KNOTS) * KNOTS + self.places[:, 1] % KNOTS
        for k, (first, size) in enumerate(self._parts(node)):
            for p in range(KNOTS**2):
                own = np.flatnonzero(phase[:size] == p)
                condition = np.zeros(len(normal))
                condition[first + own] = 1.0
                i, j = self.places[phase == p].T
                lacking = -self.coefficients[node][k][i, j].sum()
                if k == 0:
                    condition[self.unknowns : n] = VOLUMES
                    lacking += self.inside_share
                (where,) = np.nonzero(condition)
                normal[np.ix_(where, where)] += FIRM * np.outer(condition[where], condition[where])
                right[where] += FIRM * lacking * condition[where]
        return cho_solve(cho_factor(normal, lower=True, overwrite_a=True, check_finite=False), right)

    def compare_nodes(self) -> None:
        """From now on, a node's response far from the star is the median of all nodes, but for a share."""
        if self.used.size > 1:
            self.usual = np.median(self.coefficients[:, :, 0], axis=(0, 1))

    @staticmethod
    def _profile(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of coefficients over circles, shape (S, S)."""
        distance = np.hypot(*np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1])
        ring = np.rint(distance / 2).astype("i8").ravel()
        mean = np.bincount(ring, coefficients.ravel()) / np.bincount(ring)
        return np.maximum(mean, 1e-6)[ring].reshape(distance.shape)

    def _parts(self, node: tuple[int, int]) -> list[tuple[int, int]]:
        """First unknown and number of those of a node's value and, with enough stars, of its slopes."""
        n, size = self.unknowns + len(self.wings), self._slopes(node)
        return [(0, self.unknowns), *((n + k * size, size) for k in range(2) if size)]

    def _change(self, node: tuple[int, int], change: NDArray[np.float64]) -> None:
        """Apply a change, and make the whole light 1 everywhere again."""
        for k, (first, size) in enumerate(self._parts(node)):
            i, j = self.places[:size].T
            self.coefficients[node][k][i, j] += change[first : first + size]
        value = self.coefficients[node][0]
        for k in (1, 2):
            self.coefficients[node][k] -= value * (self.coefficients[node][k].sum() / value.sum())
        value *= self.inside_share * KNOTS**2 / value.sum()

    @property
    def inside_share(self) -> float:
        """Share of the light that is not in the wings beyond the table."""
        return float(1.0 - self.wings @ VOLUMES)


def _corners(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First pixels of the tiles of an image."""
    return [(r, c) for r in range(0, shape[0], TILE) for c in range(0, shape[1], TILE)]


def _nearest(nodes: NDArray[np.float64], x: float | NDArray[np.float64]) -> NDArray[np.int64]:
    return np.abs(np.asarray(x, dtype="f8")[..., None] - nodes).argmin(axis=-1)


def fit_stack(
    stack: Stack,
    expected: NDArray[np.float64],
    nodes: tuple[NDArray[np.float64], NDArray[np.float64]],
    start: NDArray[np.float64],
    saturated: float,
    rounds: tuple[float, ...] = MODEL_ERROR,
) -> PRFFit:
    """Fit the response to one stack.

    Parameters
    ----------
    stack : Stack
    expected : ndarray, shape (K,)
        Fluxes of the stars by their catalog magnitudes, e-/s.
    nodes : (ndarray, ndarray)
        Rows and columns of the nodes.
    start : ndarray, shape (M, N, 3, S, S)
        A first guess.
    saturated : float
        Stars of a larger flux are not used for the response, e-/s.
    rounds : tuple of float
        Error of the model in units of itself in each round.

    Returns
    -------
    PRFFit

    Raises
    ------
    InputError
        If there are too few stars to learn from.
    """
    fit = _Fit(stack, expected, nodes, start, saturated)
    if fit.used.max() < MIN_STARS:
        raise InputError(
            f"{int(fit.used.sum())} stars are bright enough for the pixel response, {MIN_STARS} are needed "
            f"in one of {fit.used.size} regions"
        )
    for k, model_error in enumerate(rounds):
        if k == len(rounds) - TOGETHER:
            fit.compare_nodes()
        fit.round(model_error, True)
    fit.round(rounds[-1], False)
    y = np.rint(stack.rows[fit.learn] - stack.origin[0]).astype("i8")
    x = np.rint(stack.columns[fit.learn] - stack.origin[1]).astype("i8")
    share = np.abs(fit.residual[y, x]) / (0.4 * fit.fluxes[fit.learn])
    return PRFFit(
        fit.coefficients,
        np.where(fit.inside, fit.fluxes, np.nan),
        fit.residual,
        fit.wings,
        fit.inside_share,
        fit.used,
        float(1.4826 * np.nanmedian(share)),
    )
