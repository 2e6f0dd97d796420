"""What the effective response of one epoch is learnt from, and what is learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PRFFit", "Stack", "make_nodes"]

#: Side of the region that a node's response is learnt from, pixels.
REGION = 256


@dataclass(frozen=True)
class Stack:
    """A mean of frames.

    Attributes
    ----------
    image, variance : ndarray, shape (R, C)
        e-/s and its square; NaN where no frame has a value or that are to be left out.
    origin : (int, int)
        0-based full frame image (row, column) of the first pixel.
    rows, columns : ndarray, shape (K,)
        Mean place of each star, 0-based full frame image pixels.
    jitter : ndarray, shape (K, 2)
        Variance of the stars' places in (row, column) between the frames, pixels squared.
    """

    image: NDArray[np.float64]
    variance: NDArray[np.float64]
    origin: tuple[int, int]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    jitter: NDArray[np.float64]


@dataclass(frozen=True)
class PRFFit:
    """The response in one stack.

    Attributes
    ----------
    coefficients : ndarray, shape (M, N, 3, S, S)
    fluxes : ndarray, shape (K,)
        Of the stars, e-/s; NaN for those outside of the image.
    residual : ndarray, shape (R, C)
        Image less model, e-/s.
    wings : ndarray, shape (len(RINGS) - 2,)
        Response at the inner ones of `RINGS`, beyond that of the coefficients.
    inside : float
        Share of the light without the wings, to which the coefficients are normalised.
    used : ndarray of int64, shape (M, N)
        Number of stars that each node's response was learnt from.
    scatter : float
        Robust standard deviation of the residuals in these stars' central pixels over their largest values.
    """

    coefficients: NDArray[np.float64]
    fluxes: NDArray[np.float64]
    residual: NDArray[np.float64]
    wings: NDArray[np.float64]
    inside: float
    used: NDArray[np.int64]
    scatter: float


def make_nodes(first: int, size: int) -> NDArray[np.float64]:
    """Places of the nodes along a side of `size` pixels from `first` on: the middles of equal regions."""
    count = max(1, round(size / REGION))
    return first + (np.arange(count) + 0.5) * size / count - 0.5
