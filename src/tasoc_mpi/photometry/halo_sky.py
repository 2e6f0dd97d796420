"""The light of a bright star in the background, which takes a part of its variations away.

The background of a frame follows its pixels without the constant image of the stars. Over tens of pixels
around a very bright star the changes of its wings are as smooth as the sky, and are subtracted with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..products.cube import BackgroundModel, PixelBackground

__all__ = ["star_in_background"]

#: Distances from the star at which the sky is without it, pixels: more than the boxes of the background.
DISTANCES = (96.0, 160.0)
#: Directions, and the fewest points that determine a surface of each degree.
_DIRECTIONS = 8
_FEWEST = {2: 10, 1: 5}


def star_in_background(
    background: BackgroundModel | PixelBackground,
    shape: tuple[int, int],
    place: tuple[float, float],
    rows: slice,
    columns: slice,
    good: NDArray[np.bool_],
) -> NDArray[np.float32] | None:
    """Changes of the background around a star that those far from it do not explain.

    A polynomial surface through the background at `DISTANCES` from the star is the sky of each frame. The
    mean over time is subtracted.

    Parameters
    ----------
    background : BackgroundModel or PixelBackground
    shape : (int, int)
        Rows and columns that there are.
    place : (float, float)
        0-based (row, column) of the star in them.
    rows, columns : slice
        The stamp in them.
    good : ndarray of bool, shape (T,)
        Frames that count for the mean.

    Returns
    -------
    ndarray of float32, shape (rows, columns, T), or None
        e-/s. None if there are too few pixels around the star to know the sky.
    """
    angles = 2.0 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    points = np.array([(d * np.sin(a), d * np.cos(a)) for d in DISTANCES for a in angles])
    at = np.rint(points + place).astype("i8")
    there = ((at >= 0) & (at < shape)).all(axis=1)
    points, at = points[there], at[there]
    degree = next((degree for degree, fewest in _FEWEST.items() if len(points) >= fewest), 0)
    if not degree:
        return None
    sky = np.concatenate([background.stamp(r, r + 1, c, c + 1)[0] for r, c in at.tolist()]).astype("f8")
    terms = _terms(points[:, 0], points[:, 1], degree)
    if np.linalg.matrix_rank(terms) < terms.shape[1]:
        return None
    near = background.stamp(rows.start, rows.stop, columns.start, columns.stop).astype("f4")
    y, x = np.indices(near.shape[:2])
    inside = _terms((y + rows.start - place[0]).ravel(), (x + columns.start - place[1]).ravel(), degree)
    flat = near.reshape(-1, near.shape[2])
    # Sums over few terms in a fixed order.
    coefficients = (np.linalg.pinv(terms)[:, :, None] * sky).sum(axis=1).astype("f4")
    for share, series in zip(inside.T.astype("f4"), coefficients, strict=True):
        flat -= share[:, None] * series
    flat -= flat[:, good].mean(axis=1, keepdims=True)
    return near


def _terms(y: NDArray[np.float64], x: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Terms of a polynomial at points, in units of the larger distance."""
    y, x = y / DISTANCES[-1], x / DISTANCES[-1]
    return np.stack([y**i * x**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=-1)
