"""Systematics of the instrument in time: focus, pointing, scattered light, sensitivity, spikes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

__all__ = ["WIDEST", "Systematics", "make_systematics", "scattered_pattern"]

#: Relative change of the PRF's width after each data download, and the days in which it decays: the
#: electronics that send the data warm the cameras.
WARMING, WARMING_DAYS = 0.015, 1.8
#: Relative change of the PRF's width within an orbit by slower changes of the temperature.
BREATHING = 0.006
#: The PRF is not wider than by this.
WIDEST = 0.03
#: Drift of the pointing within an orbit, and at most between momentum dumps, pixels.
DRIFT, SAWTOOTH = 0.06, 0.03
#: Scattered light that the background does not contain, e-/s a pixel at perigee; it decays in these days.
SCATTERED, SCATTERED_DAYS = 1.5, 0.8
#: Relative change of the sensitivity, and its time, as a share of the second orbit.
STEP, STEP_AT = -0.002, 0.37
#: How often the pointing is off for a moment, by how much at most (pixels), and for how long (days).
SPIKES, SPIKE_SIZE, SPIKE_DAYS = 14, 0.25, 1800.0 / 86400.0
#: Light that the background does not contain changes over this many pixels: the boxes of the background are
#: larger.
PATTERN = 24.0
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

    def mean(self, samples: NDArray[np.int64]) -> Systematics:
        """Means over the samples of each exposure, of which the numbers have shape (T, S)."""
        return Systematics(*(getattr(self, f.name)[samples].mean(axis=1) for f in fields(self)))


def scattered_pattern(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Brightness of the scattered light that the background does not contain, relative to `scattered`.

    Parameters
    ----------
    rows, columns : ndarray, shape (R,), (C,)
        Full frame image pixels, 0-based.

    Returns
    -------
    ndarray of float32, shape (R, C)
        From -1 to 1: waves of `PATTERN` pixels, strongest in a patch of the CCD.
    """
    y, x = (rows[:, None] - 1023.5) / 1024.0, (columns[None, :] - 1067.5) / 1024.0
    patch = 0.3 + 0.7 * np.exp(-((x - 0.5) ** 2 + (y + 0.3) ** 2) / (2 * 0.55**2))
    waves = np.cos(2 * np.pi * rows[:, None] / PATTERN) * np.cos(2 * np.pi * columns[None, :] / PATTERN)
    return (patch * waves).astype("f4")


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
    orbit = number.astype(int)
    per_orbit = rng.uniform(0.7, 1.3, (2, int(orbit.max()) + 1))
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
    for hit in rng.choice(len(time), min(SPIKES, len(time) // 20), replace=False):
        near = np.abs(time - time[hit]) < 0.5 * SPIKE_DAYS
        shift[near] += rng.uniform(-SPIKE_SIZE, SPIKE_SIZE, 2)
    return shift
