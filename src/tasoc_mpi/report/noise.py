"""The noise that a light curve has at least: photons of the star and of the sky, and the read-out.

In `seconds` of observation TESS reads a pixel every 2 s and collects light for 1.98 s of them. On board the
cosmic ray mitigation drops the highest and the lowest of ten reads of a pixel: 720 of the 900 reads of a
full frame image of 1800 s are kept, and 1,440 reads or t = 2,851.2 s of light in an hour. A star of F e-/s in
the mask, a sky of S e-/s a pixel, N pixels and R = 10 electrons of noise a read then have, relative to F,

    sigma = sqrt(F t + N S t + N R**2 n) / (F t),    n kept reads, t = 1.98 s n.

That is the noise of the mean over these seconds, without anything of the background's subtraction, of the
spacecraft's motion, of cosmic rays or of the star itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.settings import mag2flux
from ..simulate.mission_cards import FRAME_TIME, INT_TIME, READ_NOISE

__all__ = [
    "FRAME_TIME",
    "HOUR",
    "INT_TIME",
    "KEPT",
    "READ_NOISE",
    "NoiseParts",
    "expected_noise",
    "mixture_sigma",
    "noise_parts",
]

HOUR = 3600.0
#: Share of the reads that the cosmic ray mitigation keeps.
KEPT = 0.8
#: Upper quartile of the normal distribution of sigma 1: one over 1.4826.
_QUARTILE = 1 / 1.4826


@dataclass(frozen=True)
class NoiseParts:
    """Parts of the noise relative to the star's flux; they add in quadrature."""

    star: NDArray[np.float64]
    sky: NDArray[np.float64]
    read: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """All of it."""
        return np.sqrt(self.star**2 + self.sky**2 + self.read**2)


def noise_parts(
    flux: ArrayLike,
    mask_size: ArrayLike,
    sky: ArrayLike,
    seconds: float = HOUR,
    read_noise: float = READ_NOISE,
    kept: float = KEPT,
) -> NoiseParts:
    """Photon, sky and read noise of the mean flux over some time, relative to the flux.

    Parameters
    ----------
    flux : array_like
        All light of stars in the mask, e-/s; NaN out where it is not positive.
    mask_size : array_like
        Pixels.
    sky : array_like
        Background, e-/s a pixel.
    seconds : float
        Time on the clock.
    read_noise : float
        Electrons a read.
    kept : float
        Share of the reads that is kept; 1 without cosmic ray mitigation (20 s target pixel files).

    Examples
    --------
    >>> parts = noise_parts(1000.0, mask_size=9, sky=100.0)
    >>> [round(1e6 * float(part)) for part in (parts.star, parts.sky, parts.read, parts.total)]
    [592, 562, 399, 909]
    """
    flux = np.asarray(flux, dtype="f8")
    flux = np.where(flux > 0, flux, np.nan)
    pixels, sky = np.asarray(mask_size, dtype="f8"), np.maximum(np.asarray(sky, dtype="f8"), 0.0)
    reads = kept * seconds / FRAME_TIME
    light = INT_TIME * reads
    # A flux or sky that cannot be (of a damaged light curve) has no noise either.
    with np.errstate(all="ignore"):
        return NoiseParts(
            star=np.sqrt(flux * light) / (flux * light),
            sky=np.sqrt(pixels * sky * light) / (flux * light),
            read=np.sqrt(pixels * reads) * read_noise / (flux * light),
        )


def expected_noise(
    tmag: ArrayLike, mask_size: ArrayLike, sky: ArrayLike, **options: Any
) -> NDArray[np.float64]:
    """The noise of a star of a magnitude that is alone and whole in its mask, relative to its flux.

    Parameters
    ----------
    tmag : array_like
        TESS magnitude.
    mask_size, sky
        As `noise_parts`, and so are the `options` seconds, read_noise and kept.

    Examples
    --------
    >>> noise = expected_noise([8.0, 13.0], mask_size=[40, 9], sky=100.0)
    >>> [round(1e6 * float(x)) for x in noise]
    [62, 942]
    """
    return noise_parts(mag2flux(np.asarray(tmag, dtype="f8")), mask_size, sky, **options).total  # type: ignore[arg-type]


def mixture_sigma(sigmas: ArrayLike) -> float:
    """Robust standard deviation (1.4826 times the median absolute deviation) of a mixture of normal noises.

    It is smaller than the root of the mean variance: where the variance is ten times larger for a tenth of
    the time, the root grows by 38% and this by 8%.

    Parameters
    ----------
    sigmas : array_like
        Standard deviation of each value; not finite ones do not count.

    Returns
    -------
    float
        NaN where there is none.

    Examples
    --------
    >>> round(mixture_sigma([2.0, 2.0]), 3), round(mixture_sigma(9 * [1.0] + [10**0.5]), 3)
    (2.0, 1.084)
    """
    from scipy.optimize import brentq
    from scipy.special import erf

    every = np.asarray(sigmas, dtype="f8")
    known = every[np.isfinite(every)]
    if not known.size:
        return float("nan")
    low, high = float(known.min()), float(known.max())
    if low == high:
        return low
    # Half of the values are within the median of the absolute ones: 0.6745 sigma, were it one sigma.
    half = float(erf(_QUARTILE / np.sqrt(2)))
    return float(brentq(lambda x: np.mean(erf(_QUARTILE * x / (np.sqrt(2) * known))) - half, low, high))
