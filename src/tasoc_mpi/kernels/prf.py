"""An analytic pixel response function: two concentric Gaussians, integrated over the pixels.

Used by the simulator, and by the point spread function where no measured one is given. The core and
the wings both widen with the distance from the camera centre, where the optics are best.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .jit import helper, kernel

__all__ = [
    "CORE_SIGMA",
    "CORE_WEIGHT",
    "WING_SIGMA",
    "WING_WEIGHT",
    "add_stars",
    "add_wings",
    "prf_image",
    "prf_radius",
    "sigma_scale",
]

#: Standard deviation of the core, pixels, and its share of the light.
CORE_SIGMA = 0.70
CORE_WEIGHT = 0.85
#: The same of the wings.
WING_SIGMA = 1.60
WING_WEIGHT = 0.15
#: Far wings, which bright stars have, are flat inside of this radius, pixels, and are drawn until they fall
#: below this, e-/s a pixel.
FAR_CORE, FAR_LIMIT = 4.0, 0.02
#: Both widths grow by this share at `GROWTH_RADIUS` pixels from the camera centre, quadratically.
SIGMA_GROWTH = 0.20
GROWTH_RADIUS = 3000.0
#: Longest side of the patch that a star is drawn in, pixels.
_MAX_SIDE = 129


def sigma_scale(
    rows: NDArray[np.float64], columns: NDArray[np.float64], centre: tuple[float, float]
) -> NDArray[np.float64]:
    """Factor by which the widths are larger than at the camera centre.

    Parameters
    ----------
    rows, columns : ndarray, shape (N,)
        Full frame image positions, 0-based.
    centre : (float, float)
        0-based full frame image (row, column) of the camera centre.

    Returns
    -------
    ndarray, shape (N,)
    """
    radius2 = (np.asarray(rows) - centre[0]) ** 2 + (np.asarray(columns) - centre[1]) ** 2
    return 1.0 + SIGMA_GROWTH * radius2 / GROWTH_RADIUS**2


def prf_radius(
    fluxes: NDArray[np.float64], scales: NDArray[np.float64], limit: float = 0.002
) -> NDArray[np.int64]:
    """Distance in pixels beyond which a star gives less than `limit` e-/s a pixel.

    Parameters
    ----------
    fluxes : ndarray, shape (N,)
        e-/s.
    scales : ndarray, shape (N,)
        From `sigma_scale`.
    limit : float
        e-/s a pixel.

    Returns
    -------
    ndarray of int64, shape (N,)
        At least 4, at most 64.
    """
    sigma = WING_SIGMA * np.asarray(scales)
    peak = np.asarray(fluxes) * WING_WEIGHT / (2 * math.pi * sigma**2)
    radius = sigma * np.sqrt(2 * np.log(np.maximum(peak / limit, 1.0)))
    return np.clip(np.ceil(radius), 4, _MAX_SIDE // 2).astype("i8")


@helper
def _profile(first, n, position, sigma, out):
    """Share of a Gaussian in each of `n` pixels from the pixel `first` on, along one axis."""
    scale = 1.0 / (sigma * math.sqrt(2.0))
    low = math.erf((first - 0.5 - position) * scale)
    for i in range(n):
        high = math.erf((first + i + 0.5 - position) * scale)
        out[i] = 0.5 * (high - low)
        low = high


@kernel
def add_stars(image, origin, rows, columns, fluxes, scales, radii):
    """Add stars to an image.

    Parameters
    ----------
    image : ndarray of float32 or float64, shape (R, C)
        Changed in place.
    origin : (float, float)
        0-based full frame image (row, column) of the image's first pixel.
    rows, columns : ndarray, shape (N,)
        Full frame image positions, 0-based; a star at NaN is left out.
    fluxes : ndarray, shape (N,)
        e-/s.
    scales : ndarray, shape (N,)
        Factor of the widths, from `sigma_scale`.
    radii : ndarray of int64, shape (N,)
        A star is drawn in the pixels up to this distance from its own, in row and in column; at most 64.
    """
    core_y = np.empty(_MAX_SIDE)
    core_x = np.empty(_MAX_SIDE)
    wing_y = np.empty(_MAX_SIDE)
    wing_x = np.empty(_MAX_SIDE)
    for k in range(rows.shape[0]):
        y = rows[k] - origin[0]
        x = columns[k] - origin[1]
        if not (math.isfinite(y) and math.isfinite(x)):
            continue
        radius = min(radii[k], _MAX_SIDE // 2)
        r0 = max(math.floor(y + 0.5) - radius, 0)
        r1 = min(math.floor(y + 0.5) + radius + 1, image.shape[0])
        c0 = max(math.floor(x + 0.5) - radius, 0)
        c1 = min(math.floor(x + 0.5) + radius + 1, image.shape[1])
        if r1 <= r0 or c1 <= c0:
            continue
        _profile(r0, r1 - r0, y, CORE_SIGMA * scales[k], core_y)
        _profile(c0, c1 - c0, x, CORE_SIGMA * scales[k], core_x)
        _profile(r0, r1 - r0, y, WING_SIGMA * scales[k], wing_y)
        _profile(c0, c1 - c0, x, WING_SIGMA * scales[k], wing_x)
        for r in range(r0, r1):
            core = fluxes[k] * CORE_WEIGHT * core_y[r - r0]
            wing = fluxes[k] * WING_WEIGHT * wing_y[r - r0]
            for c in range(c0, c1):
                image[r, c] += core * core_x[c - c0] + wing * wing_x[c - c0]


@kernel
def prf_image(shape, origin, rows, columns, fluxes, scales, radius):
    """Image of stars.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    origin : (float, float)
        0-based full frame image (row, column) of the image's first pixel.
    rows, columns, fluxes, scales : ndarray, shape (N,)
        As in `add_stars`.
    radius : int
        Of every star, pixels.

    Returns
    -------
    ndarray of float64, shape `shape`
        e-/s.
    """
    image = np.zeros(shape)
    radii = np.full(rows.shape[0], radius)
    add_stars(image, origin, rows, columns, fluxes, scales, radii)
    return image


def add_wings(
    image: NDArray[np.float32],
    origin: tuple[float, float],
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    fluxes: NDArray[np.float64],
) -> None:
    """Add the wings of stars to an image: F b / (2 pi (b^2 + r^2)^(3/2)) with b = `FAR_CORE`.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        Changed in place.
    origin : (int, int)
        0-based full frame image (row, column) of the image's first pixel.
    rows, columns : ndarray, shape (N,)
        Full frame image positions, 0-based.
    fluxes : ndarray, shape (N,)
        Light in the wings, e-/s.
    """
    for y, x, flux in zip(
        (rows - origin[0]).tolist(), (columns - origin[1]).tolist(), fluxes.tolist(), strict=True
    ):
        if not (math.isfinite(y) and math.isfinite(x) and flux > 0.0):
            continue
        scale = flux * FAR_CORE / (2.0 * math.pi)
        reach = math.ceil((scale / FAR_LIMIT) ** (1.0 / 3.0))
        r, c = (
            np.arange(max(math.floor(place) - reach, 0), min(math.floor(place) + reach + 1, size))
            for place, size in zip((y, x), image.shape, strict=True)
        )
        square = (FAR_CORE * FAR_CORE + (r - y) ** 2)[:, None] + (c - x) ** 2
        image[np.ix_(r, c)] += scale / (square * np.sqrt(square))
