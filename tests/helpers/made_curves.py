"""Light curves of an area of a CCD made directly, without images: noise, variable stars, systematics.

A star's aperture loses light when the focus or the pointing changes. How much depends on the place on the CCD
(smoothly), on the magnitude (the size of the mask) and on the place within the pixel (by lot).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasoc_mpi.simulate.systematics import make_systematics

ORBIT = 13.7
ZERO_POINT = 20.451


@dataclass
class Area:
    """N stars in T frames.

    `quiet` and `flux` have the same noise and the same variations of the stars, without and with
    systematics; relative flux. `own` are these variations, `sigma` the noise of a frame.
    """

    time: np.ndarray
    cadence: int
    tmag: np.ndarray
    row: np.ndarray
    column: np.ndarray
    sigma: np.ndarray
    variable: np.ndarray
    own: np.ndarray
    quiet: np.ndarray
    flux: np.ndarray


def frame_times(cadence: int, gap: float = 1.0) -> np.ndarray:
    """Days since the beginning of the sector."""
    time = (np.arange(int(2 * ORBIT * 86400 / cadence)) + 0.5) * cadence / 86400
    return time[np.abs(time - ORBIT) > gap / 2]


def make_area(
    stars: int = 600, cadence: int = 1800, seed: int = 1, strength: float = 1.0, tmag=(7.0, 15.0), share=0.2
) -> Area:
    """Draw the stars, their variations and the systematics."""
    rng = np.random.default_rng([seed, 14])
    time = frame_times(cadence)
    # More faint stars than bright ones, as on the sky, but with bright ones enough for statistics.
    tmag = np.sort(tmag[0] + (tmag[1] - tmag[0]) * rng.uniform(size=stars) ** 0.6)
    row, column = rng.uniform(0, 2048, stars), rng.uniform(44, 2092, stars)
    flux = 10 ** (-0.4 * (tmag - ZERO_POINT))
    pixels = np.clip(np.round(60 - 4 * (tmag - 6)), 6, 60)
    exposure = 0.8 * 0.99 * cadence
    sigma = np.sqrt(flux / exposure + pixels * (100 / exposure + 100 / (exposure * 2))) / flux
    sigma = np.hypot(sigma, 4e-5)
    systematics = make_systematics(time, ORBIT, rng, strength)
    y, x = (row - 1024) / 1024, (column - 1068) / 1024
    # Light outside of the mask: more for small masks and far from the middle of the camera.
    loss = (0.15 + 0.04 * (tmag - 10)).clip(0.03) * (1 + 0.35 * x + 0.25 * y + 0.2 * x * y)
    loss = loss * np.exp(0.2 * rng.standard_normal(stars))
    slope = 0.02 * np.stack([x + 0.5, y - 0.3], axis=1) + 0.015 * rng.standard_normal((stars, 2))
    slope *= (1 + 0.15 * (tmag - 10)).clip(0.3)[:, None]
    bend = 0.1 * (1 + 0.5 * rng.standard_normal((stars, 1)))
    shift = systematics.shift
    trend = -loss[:, None] * systematics.focus + slope @ shift.T - bend * (shift**2).sum(axis=1)
    patch = np.exp(-((x - 0.5) ** 2 + (y + 0.3) ** 2) / (2 * 0.55**2))
    light = (0.3 + patch) * pixels / flux * np.exp(0.2 * rng.standard_normal(stars))
    trend = (1 + trend) * systematics.sensitivity + light[:, None] * systematics.scattered
    own = np.zeros((stars, len(time)))
    variable = rng.uniform(size=stars) < share
    for i in np.flatnonzero(variable):
        own[i] = _variation(rng, time)
    noise = sigma[:, None] * rng.standard_normal((stars, len(time)))
    quiet = 1 + own + noise
    return Area(time, cadence, tmag, row, column, sigma, variable, own, quiet, (1 + own) * trend + noise)


def _variation(rng, time):
    """A rotating star, a giant, a pulsator or an eclipsing binary."""
    kind = rng.integers(4)
    size = 10 ** rng.uniform(-3.3, -1.5)
    if kind == 0:
        period = 10 ** rng.uniform(0, 1.4)
        phase = 2 * np.pi * (time / period + rng.uniform())
        return size * (np.sin(phase) + 0.4 * np.sin(2 * phase + rng.uniform(0, 6)))
    if kind == 1:
        return 0.1 * size * _waves(rng, time, rng.uniform(0.3, 4, 15))
    if kind == 2:
        return 0.3 * size * _waves(rng, time, rng.uniform(1.2, 20, 4))
    period = 10 ** rng.uniform(-0.2, 0.9)
    phase = (time / period + rng.uniform() + 0.5) % 1 - 0.5
    return -5 * size * np.exp(-0.5 * (phase * period / 0.08) ** 2)


def _waves(rng, time, frequencies):
    waves = [rng.standard_normal() * np.sin(2 * np.pi * (time * f + rng.uniform())) for f in frequencies]
    return np.sum(waves, axis=0)
