"""The signals of bright stars at given places: oscillations, pulsations, transits and eclipses."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bright import BrightStar
from .stars import Stars, Variability

__all__ = ["add_signals"]

#: The kind of variability (`stars.KINDS`) that describes each signal in the truth.
_KINDS = {"constant": 0, "solar-like": 2, "delta-scuti": 1, "transit": 3, "eclipse": 4}


def add_signals(
    variability: Variability,
    bright: tuple[BrightStar, ...],
    stars: Stars,
    start: float,
    days: float,
    rng: np.random.Generator,
) -> Variability:
    """The variability with the signals of the bright stars, in place of those drawn by lot.

    Parameters
    ----------
    variability : Variability
    bright : tuple of BrightStar
    stars : Stars
        The stars of the scene, the bright ones among them.
    start, days : float
        Beginning (TJD) and length of the observation.
    rng : numpy.random.Generator
    """
    places = np.array([_place(star, stars) for star in bright], dtype="i8")
    kept = ~np.isin(variability.star, places)
    out = replace(variability, **{f.name: getattr(variability, f.name)[kept] for f in fields(variability)})
    for star, place in zip(bright, places, strict=True):
        if star.signal != "constant":
            out = _appended(out, int(place), _KINDS[star.signal], _signal(star, start, days, rng))
    return out


def _place(star: BrightStar, stars: Stars) -> int:
    """Index of a bright star in the stars of the scene."""
    return int(np.flatnonzero((stars.row == star.row) & (stars.column == star.column))[0])


def _signal(star: BrightStar, start: float, days: float, rng: np.random.Generator) -> dict[str, Any]:
    """Numbers of a signal by the names of `Variability`; what is not there is NaN or zero."""
    if star.signal == "solar-like":
        # Modes around 6 cycles per day with the envelope of a red giant's oscillations.
        frequency = 6.0 + 0.55 * (np.arange(8) - 3.5) + rng.uniform(-0.05, 0.05, 8)
        amplitude = star.size * np.exp(-0.5 * ((np.arange(8) - 3.0) / 2.0) ** 2)
        return _waves(frequency, amplitude, rng)
    if star.signal == "delta-scuti":
        frequency = rng.uniform([8.0, 10.5, 13.0, 16.0], [10.0, 12.5, 15.0, 19.0])
        return _waves(frequency, star.size * 0.6 ** np.arange(4), rng)
    period = rng.uniform(0.13, 0.19) * max(days, 1.0)
    shape = {
        "period": period,
        "epoch": start + rng.uniform(0.25, 0.75) * period,
        "duration": min(rng.uniform(0.25, 0.35), 0.3 * period),
        "depth": star.size,
    }
    return shape | ({"depth2": 0.4 * star.size} if star.signal == "eclipse" else {})


def _waves(
    frequency: NDArray[np.floating], amplitude: NDArray[np.floating], rng: np.random.Generator
) -> dict[str, Any]:
    phase = rng.uniform(0, 2 * np.pi, len(frequency))
    period = 1.0 / frequency[np.argmax(amplitude)]
    return {"frequency": frequency, "amplitude": amplitude, "phase": phase, "period": period}


def _appended(variability: Variability, place: int, kind: int, numbers: dict[str, Any]) -> Variability:
    """The variability with one more star."""
    modes = variability.frequency.shape[1]
    values: dict[str, Any] = {
        "star": np.append(variability.star, np.int64(place)),
        "kind": np.append(variability.kind, np.int64(kind)),
    }
    for name in ("period", "epoch", "duration"):
        values[name] = np.append(getattr(variability, name), numbers.get(name, np.nan))
    for name in ("depth", "depth2"):
        values[name] = np.append(getattr(variability, name), numbers.get(name, 0.0))
    for name in ("frequency", "amplitude", "phase"):
        waves = np.zeros(modes)
        given = numbers.get(name, ())
        waves[: len(given)] = given
        values[name] = np.vstack([getattr(variability, name), waves])
    return replace(variability, **values)
