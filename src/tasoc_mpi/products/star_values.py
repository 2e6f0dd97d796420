"""Which values a star's columns can have: the same limits for tables, headers and catalog files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError

__all__ = ["LARGEST_STARID", "LIMITS", "Limits", "check_stars", "impossible"]

#: TIC numbers have up to 10 digits. Every integer up to this one is exact as a float64, which is how tables
#: with empty cells keep them.
LARGEST_STARID = 2**53 - 1


@dataclass(frozen=True)
class Limits:
    """Smallest and largest value of a column, and its meaning for messages."""

    low: float
    high: float
    meaning: str


#: Limits of the columns of `products.star_catalog.STAR_DTYPE`, except `starid`.
LIMITS = {
    "ra": Limits(-360.0, 360.0, "a right ascension in degrees (-360 to 360)"),
    "decl": Limits(-90.0, 90.0, "a declination in degrees (-90 to 90)"),
    # Barnard's star, the fastest, moves by 10,400 mas/yr.
    "pm_ra": Limits(-11e3, 11e3, "a proper motion in mas/yr (-11000 to 11000)"),
    "pm_decl": Limits(-11e3, 11e3, "a proper motion in mas/yr (-11000 to 11000)"),
    # From brighter than Sirius to fainter than TESS and Gaia see.
    "tmag": Limits(-10.0, 40.0, "a TESS magnitude (-10 to 40)"),
    # The hottest white dwarfs have 250,000 K.
    "teff": Limits(1.0, 1e6, "a temperature in K (1 to 1000000)"),
}
LIMITS |= {"ra_J2000": LIMITS["ra"], "decl_J2000": LIMITS["decl"]}


def impossible(name: str, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a column has values that it cannot have; NaN stands for unknown and is possible.

    Parameters
    ----------
    name : str
        A name of `LIMITS`.
    values : ndarray of float64, shape (N,)

    Returns
    -------
    ndarray of bool, shape (N,)

    Examples
    --------
    >>> impossible("tmag", np.array([10.5, -26.7, np.nan]))
    array([False,  True, False])
    """
    limits = LIMITS[name]
    return (values < limits.low) | (values > limits.high)


def check_stars(path: object, stars: NDArray[np.void], way_out: str) -> None:
    """Refuse stars with values that they cannot have.

    Parameters
    ----------
    path : object
        Of their file, for the message.
    stars : ndarray of `products.star_catalog.STAR_DTYPE`
    way_out : str
        How to mend the file, for the message.

    Raises
    ------
    InputError
        Names the first such star and the value.
    """
    starids = stars["starid"]
    wrong = (starids < 1) | (starids > LARGEST_STARID)
    if wrong.any():
        raise InputError(
            f"{path}: a star has the number {starids[wrong][0]}, which is none of the TIC; {way_out}"
        )
    for name, limits in LIMITS.items():
        wrong = impossible(name, stars[name])
        if wrong.any():
            i = int(np.argmax(wrong))
            value = f"{name} of TIC {starids[i]} is {stars[name][i]:g}"
            raise InputError(f"{path}: {value} and not {limits.meaning}; {way_out}")
