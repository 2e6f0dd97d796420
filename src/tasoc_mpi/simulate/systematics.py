"""Systematics of the instrument in time: focus, pointing, scattered light, sensitivity, spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Systematics", "make_systematics"]

#: Relative change of the PRF's width after each data download, and the days in which it decays: the
#: electronics that send the data warm the cameras.
WARMING, WARMING_DAYS = 0.015, 1.8
#: Relative change of the PRF's width within an orbit by slower changes of the temperature.
BREATHING = 0.006
#: Drift of the pointing within an orbit, and at most between momentum dumps, pixels.
DRIFT, SAWTOOTH = 0.06, 0.03
#: Scattered light that the background does not contain, e-/s a pixel at perigee; it decays in these days.
SCATTERED, SCATTERED_DAYS = 1.5, 0.8
#: Relative change of the sensitivity, and its time, as a share of the second orbit.
STEP, STEP_AT = -0.002, 0.37
#: Exposures in which the pointing is off for a moment, and by how much at most, pixels.
SPIKES, SPIKE_SIZE = 14, 0.25
#: Between momentum dumps, days.
DUMP_SPACING = 2.5


@dataclass(frozen=True)
class Systematics:
    """Changes of the instrument in T exposures.

    Attributes
    ----------
    focus : ndarray, shape (T,)
        Relative change of the PRF's width.
    shift : ndarray, shape (T, 2)
        Displacement of all stars that the world coordinates do not contain, (column, row), pixels.
    scattered : ndarray, shape (T,)
        Light that the background does not contain, e-/s a pixel where it is brightest.
    sensitivity : ndarray, shape (T,)
        Factor of the light of all stars.
    """

    focus: NDArray[np.float64]
    shift: NDArray[np.float64]
    scattered: NDArray[np.float64]
    sensitivity: NDArray[np.float64]


def make_systematics(
    time: NDArray[np.float64], orbit_days: float, rng: np.random.Generator, strength: float = 1.0
) -> Systematics:
    """Draw the systematics of a sector.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Days since the beginning of the sector, which begins with a perigee, increasing.
    orbit_days : float
        Length of an orbit.
    rng : numpy.random.Generator
        Draws signs, phases and the exposures of the spikes.
    strength : float, optional
        Factor of all changes.

    Returns
    -------
    Systematics

    Examples
    --------
    >>> found = make_systematics(np.linspace(0, 27, 100), 13.7, np.random.default_rng(1))
    >>> found.focus.shape, bool(found.focus[0] > 0.01), float(found.sensitivity.min())
    ((100,), True, 0.998)
    """
    number, since = np.divmod(time, orbit_days)
    phase = since / orbit_days
    per_orbit = rng.uniform(0.7, 1.3, (2, int(number.max()) + 1))
    orbit = number.astype(int)
    warming = WARMING * per_orbit[0, orbit] * np.exp(-since / WARMING_DAYS)
    breathing = BREATHING * per_orbit[1, orbit] * np.sin(2 * np.pi * (phase - rng.uniform()))
    shift = _pointing(time, orbit, phase, rng)
    distance = np.minimum(since, orbit_days - since)
    scattered = SCATTERED * np.exp(-distance / SCATTERED_DAYS) * (1 + 0.3 * np.sin(2 * np.pi * time))
    sensitivity = np.where(time > orbit_days * (1 + STEP_AT), 1.0 + STEP * strength, 1.0)
    return Systematics(
        focus=strength * (warming + breathing),
        shift=strength * shift,
        scattered=strength * scattered,
        sensitivity=sensitivity,
    )


def _pointing(
    time: NDArray[np.float64], orbit: NDArray[np.int64], phase: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Drifts within orbits, a sawtooth between momentum dumps, and spikes, shape (T, 2)."""
    shift = np.empty((len(time), 2))
    for axis in range(2):
        ends = rng.uniform(-DRIFT, DRIFT, (3, int(orbit.max()) + 1))[:, orbit]
        drift = ends[0] + ends[1] * phase + ends[2] * (phase**2 - phase)
        sizes = rng.uniform(-SAWTOOTH, SAWTOOTH, int(time.max() / DUMP_SPACING) + 2)
        dump, rest = np.divmod(time, DUMP_SPACING)
        shift[:, axis] = drift + sizes[dump.astype(int)] * (rest / DUMP_SPACING - 0.5)
    hit = rng.choice(len(time), min(SPIKES, len(time) // 20), replace=False)
    shift[hit] += rng.uniform(-SPIKE_SIZE, SPIKE_SIZE, (len(hit), 2))
    return shift
