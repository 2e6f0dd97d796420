"""A digest of each light curve, from the numbers that its photometry reported.

They are in the log of results and in the table `diagnostics`. Two computations of a star give two digests, as
the second one replaces the file of the first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGESTED", "lightcurve_digest"]

#: The numbers of a result that the digest is made of.
DIGESTED = ("elaptime", "worker_wait_time", "mean_flux", "variance", "variability", "rms_hour", "ptp")
#: An odd number without a pattern for each of them: powers of the multiplier of SplitMix64.
_FACTORS = np.array([pow(0xBF58476D1CE4E5B9, k, 2**64) for k in range(1, len(DIGESTED) + 1)], np.uint64)


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
    total = (bits * _FACTORS).sum(axis=1)
    total = (total ^ (total >> np.uint64(32))) * _FACTORS[0]
    return (total >> np.uint64(16)).astype(np.float64)
