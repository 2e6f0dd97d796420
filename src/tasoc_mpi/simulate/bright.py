"""Bright stars at given places: their signals, and wings of the response that reach hundreds of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError

if TYPE_CHECKING:
    from .stars import Stars, Variability

__all__ = [
    "SIGNALS",
    "WINGS_TMAG",
    "WING_CORE",
    "WING_SHARE",
    "BrightStar",
    "add_signals",
    "add_wings",
    "check_bright_star",
    "parse_bright_star",
    "wing_shares",
]

#: Signals of a bright star; the first is none.
SIGNALS = ("constant", "solar-like", "delta-scuti", "transit", "eclipse")
#: The kind of variability (`stars.KINDS`) that describes each signal in the truth.
_KINDS = {"constant": 0, "solar-like": 2, "delta-scuti": 1, "transit": 3, "eclipse": 4}
#: Stars brighter than this have wings where there are bright stars (TESS magnitude).
WINGS_TMAG = 9.0
#: Share of the light in the wings, and the radius inside of which they are flat, pixels.
WING_SHARE, WING_CORE = 0.03, 4.0
#: Wings are drawn until they fall below this, e-/s a pixel.
WING_LIMIT = 0.02


@dataclass(frozen=True)
class BrightStar:
    """A star at a given place.

    Attributes
    ----------
    row, column : float
        In the reference frame, 0-based full frame image pixels.
    tmag : float
        TESS magnitude.
    signal : str
        One of `SIGNALS`.
    size : float
        Amplitude of the strongest wave, or depth of the transit or the eclipse, relative to the mean flux.
    """

    row: float
    column: float
    tmag: float
    signal: str = "constant"
    size: float = 1e-3


def parse_bright_star(text: str) -> BrightStar:
    """The bright star of an option, ROW,COLUMN,TMAG[,SIGNAL[,SIZE]].

    Raises
    ------
    UsageError
        If it is none.

    Examples
    --------
    >>> parse_bright_star("1024,1000.5,2.5,transit,0.0005")
    BrightStar(row=1024.0, column=1000.5, tmag=2.5, signal='transit', size=0.0005)
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        if not 3 <= len(parts) <= 5:
            raise ValueError
        numbers = [float(part) for part in parts[:3] + parts[4:]]
    except ValueError:
        raise UsageError(f"--bright-star {text}: write ROW,COLUMN,TMAG[,SIGNAL[,SIZE]]") from None
    star = BrightStar(*numbers[:3], *parts[3:4], *numbers[3:])
    check_bright_star(star)
    return star


def check_bright_star(star: BrightStar) -> None:
    """Raise UsageError for a star that cannot be drawn."""
    text = f"--bright-star {star.row:g},{star.column:g},{star.tmag:g},{star.signal},{star.size:g}"
    if star.signal not in SIGNALS:
        raise UsageError(f"{text}: the signal is one of {', '.join(SIGNALS)}")
    if not -2.0 <= star.tmag <= 15.0:
        raise UsageError(f"{text}: the magnitude is a number from -2 to 15")
    if not 0.0 < star.size < 1.0:
        raise UsageError(f"{text}: the size is a number between 0 and 1")
    if not (math.isfinite(star.row) and math.isfinite(star.column)):
        raise UsageError(f"{text}: row and column are numbers")


def wing_shares(stars: tuple[BrightStar, ...], tmag: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the light of each star that is in its wings: none in a simulation without bright stars.

    Examples
    --------
    >>> wing_shares((BrightStar(10, 50, 3.0),), np.array([3.0, 12.0])).tolist()
    [0.03, 0.0]
    """
    return np.where(tmag < WINGS_TMAG, WING_SHARE, 0.0) if stars else np.zeros(len(tmag))


@numba.njit(cache=True)
def add_wings(image, origin, rows, columns, fluxes):
    """Add the wings of stars to an image: F b / (2 pi (b^2 + r^2)^(3/2)) with b = `WING_CORE`.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        Changed in place.
    origin : (int, int)
        Full frame image (row, column) of the image's first pixel.
    rows, columns : ndarray, shape (N,)
        Full frame image positions, 0-based.
    fluxes : ndarray, shape (N,)
        Light in the wings, e-/s.
    """
    n_rows, n_columns = image.shape
    for k in range(rows.shape[0]):
        y, x = rows[k] - origin[0], columns[k] - origin[1]
        if not (math.isfinite(y) and math.isfinite(x) and fluxes[k] > 0.0):
            continue
        scale = fluxes[k] * WING_CORE / (2.0 * math.pi)
        reach = math.ceil((scale / WING_LIMIT) ** (1.0 / 3.0))
        for r in range(max(math.floor(y) - reach, 0), min(math.floor(y) + reach + 1, n_rows)):
            for c in range(max(math.floor(x) - reach, 0), min(math.floor(x) + reach + 1, n_columns)):
                square = WING_CORE * WING_CORE + (r - y) ** 2 + (c - x) ** 2
                image[r, c] += scale / (square * math.sqrt(square))


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
    frequency: NDArray[np.float64], amplitude: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, Any]:
    phase = rng.uniform(0, 2 * np.pi, len(frequency))
    period = 1.0 / frequency[np.argmax(amplitude)]
    return {"frequency": frequency, "amplitude": amplitude, "phase": phase, "period": period}


def _appended(variability: Variability, place: int, kind: int, numbers: dict[str, Any]) -> Variability:
    """The variability with one more star."""
    modes = variability.frequency.shape[1]
    values = {
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
