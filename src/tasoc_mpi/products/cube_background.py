"""A background that is given as pixels; see `kernels.background_model` for a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PixelBackground"]


@dataclass(frozen=True)
class PixelBackground:
    """A background that is given pixel by pixel, shape (R, C, T), e-/s."""

    pixels: NDArray[np.float32]

    def frame(self, shape: tuple[int, int], t: int) -> NDArray[np.float32]:
        """Frame `t`, the first pixels in both directions, shape (rows, columns)."""
        return np.array(self.pixels[: shape[0], : shape[1], t])

    def stamp(self, row_min: int, row_max: int, col_min: int, col_max: int) -> NDArray[np.float32]:
        """In a stamp of array pixels (half open), shape (rows, columns, T)."""
        return np.array(self.pixels[row_min:row_max, col_min:col_max], order="C")

    def total(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum over pixels of the arrays, in every frame, shape (T,), e-/s."""
        return self.pixels[rows, columns].sum(axis=0, dtype="f8")
