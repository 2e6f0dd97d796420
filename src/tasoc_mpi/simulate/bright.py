"""Bright stars at given places, and wings of the response that reach hundreds of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError

__all__ = [
    "SIGNALS",
    "WINGS_TMAG",
    "WING_SHARE",
    "BrightStar",
    "check_bright_star",
    "parse_bright_star",
    "wing_shares",
]

#: Signals of a bright star; the first is none.
SIGNALS = ("constant", "solar-like", "delta-scuti", "transit", "eclipse")
#: Stars brighter than this have wings where there are bright stars (TESS magnitude).
WINGS_TMAG = 9.0
#: Share of the light in the wings.
WING_SHARE = 0.03


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
    row, column, tmag, *size = numbers
    star = BrightStar(row, column, tmag, *parts[3:4], *size)  # type: ignore[arg-type]
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
