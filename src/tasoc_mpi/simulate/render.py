"""From fluxes to pixels: sky, full wells and bleeding, noise, cosmic rays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FULL_WELL", "add_cosmics", "add_noise", "add_sky", "bleed"]

#: A pixel holds no more than this, e-/s (200,000 electrons in a read of 2 s).
FULL_WELL = 1.0e5
#: Cosmic rays that the mitigation on board lets through: hits a pixel and second.
COSMIC_RATE = 1e-5 / 1800.0
#: Their mean charge a pixel, electrons, of which the exposure time makes e-/s.
COSMIC_CHARGE = 4.0e4


def add_sky(images: NDArray[np.float32], patterns: NDArray[np.float32], levels: NDArray[np.float64]) -> None:
    """Add the sky to images.

    Parameters
    ----------
    images : ndarray of float32, shape (..., R, C)
        Changed in place.
    patterns : ndarray of float32, shape (K, R, C)
    levels : ndarray, shape (..., K)
        e-/s.
    """
    sky = np.zeros(images.shape)
    for k, pattern in enumerate(patterns):
        sky += levels[..., k, None, None] * pattern
    images += sky


def bleed(images: NDArray[np.float32], full_well: float) -> float:
    """Spread charge above the full well along the columns, half of it up and half of it down.

    Parameters
    ----------
    images : ndarray of float32, shape (..., R, C)
        Changed in place.
    full_well : float
        e-/s.

    Returns
    -------
    float
        Charge that left the images at their lower and upper edges, e-/s.
    """
    full = (images > full_well).any(axis=-2)
    if not full.any():
        return 0.0
    # Few columns are full: they are taken out, row by row.
    rows = np.moveaxis(images, -2, 0)
    light = rows[:, full]
    well = np.float64(full_well)
    excess = np.maximum(light - well, 0.0)
    light[excess > 0.0] = well
    lost = _pour(light, excess, well) + _pour(light[::-1], excess[::-1], well)
    rows[:, full] = light
    return lost


def _pour(light: NDArray[np.float32], excess: NDArray[np.float64], well: np.float64) -> float:
    """Let half of the excess flow towards the last row; returns what leaves it. Both are of shape (R, N)."""
    (sources,) = np.nonzero(excess.any(axis=1))
    carried = np.zeros(light.shape[1])
    for r in range(sources[0], len(light)):
        carried += 0.5 * excess[r]
        taken = np.minimum(carried, np.maximum(well - light[r], 0.0))
        light[r] += taken
        carried -= taken
        if r >= sources[-1] and not carried.any():
            break
    return float(carried.sum())


def add_noise(
    image: NDArray[np.float32],
    rng: np.random.Generator | None,
    exposure: float,
    reads: int,
    read_noise: float,
) -> NDArray[np.float32]:
    """Add photon and read noise.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        Expected e-/s; changed in place.
    rng : numpy.random.Generator or None
        None leaves the image as it is.
    exposure : float
        Seconds of light.
    reads : int
        Number of reads that were added up.
    read_noise : float
        Electrons a read.

    Returns
    -------
    ndarray of float32, shape (R, C)
        Standard deviation, e-/s: with thousands of electrons a pixel, Poisson noise is normal.
    """
    light = np.maximum(image.astype("f8"), 0.0)
    sigma = np.sqrt(light / exposure + reads * read_noise**2 / exposure**2)
    if rng is not None:
        image += sigma * rng.standard_normal(image.shape, dtype=np.float32)
    return sigma.astype("f4")


def add_cosmics(image: NDArray[np.float32], rng: np.random.Generator, seconds: float, exposure: float) -> int:
    """Add tracks of cosmic rays, one to five pixels long.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        Changed in place.
    rng : numpy.random.Generator
    seconds : float
        Length of the exposure with all its reads.
    exposure : float
        Seconds of light, of which e-/s are made.

    Returns
    -------
    int
        Number of hits.
    """
    n = int(rng.poisson(COSMIC_RATE * seconds * image.size))
    rows, columns = rng.integers(0, image.shape[0], n), rng.integers(0, image.shape[1], n)
    lengths, angles = rng.geometric(0.5, n).clip(1, 5), rng.uniform(0, 2 * np.pi, n)
    charges = rng.exponential(COSMIC_CHARGE, n) / exposure
    for i in range(n):
        steps = np.arange(lengths[i])
        r = np.rint(rows[i] + steps * np.sin(angles[i])).astype(int)
        c = np.rint(columns[i] + steps * np.cos(angles[i])).astype(int)
        hit = (r >= 0) & (r < image.shape[0]) & (c >= 0) & (c < image.shape[1])
        image[r[hit], c[hit]] += charges[i]
    return n
