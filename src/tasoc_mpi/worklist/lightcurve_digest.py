"""A digest of each light curve, from the numbers that its photometry reported.

They are in the log of results and in the table `diagnostics`. Two computations of a star give two digests, as
the second one replaces the file of the first.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGESTED", "digest_of_one", "lightcurve_digest"]

#: The numbers of a result that the digest is made of.
DIGESTED = ("elaptime", "worker_wait_time", "mean_flux", "variance", "variability", "rms_hour", "ptp")
#: An odd number without a pattern for each of them: powers of the multiplier of SplitMix64.
_FACTORS = [pow(0xBF58476D1CE4E5B9, k, 2**64) for k in range(1, len(DIGESTED) + 1)]


def lightcurve_digest(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole numbers of 48 bits.

    Parameters
    ----------
    numbers : ndarray, shape (N, len(DIGESTED))
        NaN where unknown.

    Returns
    -------
    ndarray, shape (N,)

    Examples
    --------
    >>> one, other, again = lightcurve_digest(np.array([[1.0] * 7, [1.0] * 6 + [2.0], [1.0] * 7])).tolist()
    >>> one != other, one == again, one < 2**48
    (True, True, True)
    """
    # One pattern of bits for all NaN, and for both zeros.
    bits = np.ascontiguousarray(np.where(np.isnan(numbers), np.inf, numbers) + 0.0).view(np.uint64)
    # Products and sums modulo 2**64, of which the upper bits depend on all bits.
    total = (bits * np.array(_FACTORS, np.uint64)).sum(axis=1)
    total = (total ^ (total >> np.uint64(32))) * np.uint64(_FACTORS[0])
    return (total >> np.uint64(16)).astype(np.float64)


def digest_of_one(numbers: Sequence[float | None]) -> float:
    """`lightcurve_digest` of one light curve, in less time than that takes for it; None where unknown.

    Examples
    --------
    >>> digest_of_one([0.5] * 6 + [None]) == lightcurve_digest(np.array([[0.5] * 6 + [np.nan]])).item()
    True
    """
    known = [math.inf if number is None or number != number else number + 0.0 for number in numbers]
    bits = struct.unpack(f"{len(known)}Q", struct.pack(f"{len(known)}d", *known))
    total = sum(map(operator.mul, bits, _FACTORS)) % 2**64
    return float((total ^ (total >> 32)) * _FACTORS[0] % 2**64 >> 16)
