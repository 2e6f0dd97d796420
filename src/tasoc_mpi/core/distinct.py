"""The different values of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["distinct"]


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The different values of an array without NaN, in order.

    As of `numpy.unique`, which imports `numpy.ma` to ask for masked values: 15 ms of the start of rank 0.

    Parameters
    ----------
    values : ndarray, shape (N,)

    Returns
    -------
    ndarray, shape (M,)

    Examples
    --------
    >>> distinct(np.array([3, 1, 3, 2])).tolist()
    [1, 2, 3]
    >>> distinct(np.zeros(0)).tolist()
    []
    """
    ordered = np.sort(values)
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]
