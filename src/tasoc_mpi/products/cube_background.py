"""The background of a cube: its model, or its pixels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..kernels import background_model as kernel

__all__ = ["BackgroundModel", "StoredBackground"]


@dataclass(frozen=True)
class BackgroundModel:
    """The smooth background of every frame: a B-spline mesh plus a radial profile.

    Attributes
    ----------
    mesh : ndarray of float32, shape (M, N, T)
        Cubic B-spline coefficients, e-/s; NaN for a frame without a background.
    box : int
        Side of a mesh box, pixels.
    radial : ndarray of float32, shape (K, T)
        Values at nodes in distance from the camera centre, linear between them; K = 0 for none.
    radial_first, radial_step : float
        Distance of the first node and between nodes, pixels.
    centre : (float, float)
        Full frame image (row, column) of the camera centre.
    origin : (int, int)
        Full frame image (row, column) of the first pixel.
    """

    mesh: NDArray[np.float32]
    box: int
    radial: NDArray[np.float32]
    radial_first: float
    radial_step: float
    centre: tuple[float, float]
    origin: tuple[int, int]

    def _radii(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.hypot(
            rows + (self.origin[0] - self.centre[0]), columns + (self.origin[1] - self.centre[1])
        ).astype("f8")

    def frame(self, shape: tuple[int, int], t: int) -> NDArray[np.float32]:
        """The model of frame `t` in all pixels, shape (rows, columns)."""
        return kernel.model_frame(
            (int(shape[0]), int(shape[1])),
            (float(self.origin[0]), float(self.origin[1])),
            (float(self.centre[0]), float(self.centre[1])),
            self.box,
            np.ascontiguousarray(self.mesh[:, :, t]),
            np.ascontiguousarray(self.radial[:, t]),
            self.radial_first,
            self.radial_step,
        )

    def stamp(self, row_min: int, row_max: int, col_min: int, col_max: int) -> NDArray[np.float32]:
        """The model in a stamp of array pixels (half open), shape (rows, columns, T)."""
        rows, columns = np.mgrid[row_min:row_max, col_min:col_max].astype("i8")
        values = kernel.model_pixels(
            rows.ravel(),
            columns.ravel(),
            self._radii(rows.ravel(), columns.ravel()),
            self.box,
            self.mesh,
            self.radial,
            self.radial_first,
            self.radial_step,
        )
        return values.reshape(*rows.shape, -1)

    def total(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum of the model over pixels of the arrays, in every frame, shape (T,), e-/s."""
        weights = kernel.mesh_weights(rows, columns, self.box, self.mesh.shape[:2])
        used = np.nonzero(weights)
        total = weights[used] @ self.mesh[used].astype("f8")
        if len(self.radial):
            w = kernel.radial_weights(
                self._radii(rows, columns), self.radial_first, self.radial_step, len(self.radial)
            )
            (used_radial,) = np.nonzero(w)
            total = total + w[used_radial] @ self.radial[used_radial].astype("f8")
        return total


@dataclass(frozen=True)
class StoredBackground:
    """A background that is stored pixel by pixel, shape (R, C, T), e-/s; mapped when first used."""

    path: Path
    offset: int
    shape: tuple[int, int, int]

    @functools.cached_property
    def pixels(self) -> NDArray[np.float32]:
        """All of it; mapped, read-only."""
        return np.asarray(np.memmap(self.path, np.float32, "r", self.offset, self.shape))

    def frame(self, shape: tuple[int, int], t: int) -> NDArray[np.float32]:
        """Frame `t`, the first pixels in both directions, shape (rows, columns)."""
        return np.array(self.pixels[: shape[0], : shape[1], t])

    def stamp(self, row_min: int, row_max: int, col_min: int, col_max: int) -> NDArray[np.float32]:
        """In a stamp of array pixels (half open), shape (rows, columns, T)."""
        return np.array(self.pixels[row_min:row_max, col_min:col_max])

    def total(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum over pixels of the arrays, in every frame, shape (T,), e-/s."""
        return self.pixels[rows, columns].sum(axis=0, dtype="f8")
