"""From fluxes to pixels: sky, full wells and bleeding, noise, cosmic rays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..kernels.jit import kernel

__all__ = ["FULL_WELL", "add_cosmics", "add_noise", "add_sky", "add_sky_series", "bleed"]

#: A pixel holds no more than this, e-/s (200,000 electrons in a read of 2 s).
FULL_WELL = 1.0e5
#: Cosmic rays that the mitigation on board lets through: hits a pixel and second.
COSMIC_RATE = 1e-5 / 1800.0
#: Their mean charge a pixel, electrons, of which the exposure time makes e-/s.
COSMIC_CHARGE = 4.0e4


@kernel
def add_sky(image, patterns, levels):
    """Add the sky to an image.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        Changed in place.
    patterns : ndarray of float32, shape (K, R, C)
    levels : ndarray, shape (K,)
        e-/s.
    """
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            value = 0.0
            for k in range(patterns.shape[0]):
                value += levels[k] * patterns[k, r, c]
            image[r, c] += value


@kernel
def bleed(image, full_well):
    """Spread charge above the full well along the columns, half of it up and half of it down.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        Changed in place.
    full_well : float
        e-/s.

    Returns
    -------
    float
        Charge that left the image at its lower and upper edge, e-/s.
    """
    n_rows, n_columns = image.shape
    lost = 0.0
    excess = np.empty(n_rows)
    full = np.empty(n_columns, dtype=np.bool_)
    for c in range(n_columns):
        full[c] = False
    for r in range(n_rows):
        for c in range(n_columns):
            full[c] |= image[r, c] > full_well
    for c in range(n_columns):
        if not full[c]:
            continue
        for r in range(n_rows):
            excess[r] = max(image[r, c] - full_well, 0.0)
            if excess[r] > 0.0:
                image[r, c] = full_well
        for direction in (1, -1):
            carried = 0.0
            for i in range(n_rows):
                r = i if direction == 1 else n_rows - 1 - i
                carried += 0.5 * excess[r]
                taken = min(carried, max(full_well - image[r, c], 0.0))
                image[r, c] += taken
                carried -= taken
            lost += carried
    return lost


@kernel
def _add_noise(image, error, normal, exposure, read_variance):
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            sigma = math.sqrt(max(image[r, c], 0.0) / exposure + read_variance)
            error[r, c] = sigma
            image[r, c] += sigma * normal[r, c]


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
    error = np.empty_like(image)
    normal = np.zeros_like(image) if rng is None else rng.standard_normal(image.shape, dtype=np.float32)
    _add_noise(image, error, normal, exposure, reads * read_noise**2 / exposure**2)
    return error


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


@kernel
def add_sky_series(images, patterns, levels, full_well):
    """Sky and bleeding in a series of small images.

    Parameters
    ----------
    images : ndarray of float32, shape (T, R, C)
        Stars; changed in place.
    patterns : ndarray of float32, shape (K, R, C)
    levels : ndarray, shape (T, K)
        e-/s.
    full_well : float
        e-/s.
    """
    for t in range(images.shape[0]):
        add_sky(images[t], patterns, levels[t])
        bleed(images[t], full_well)
