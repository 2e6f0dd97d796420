"""Quality flags that the frames take over from target pixel files of their CCD."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import TasocError
from ..products.tpf import TPFInfo, read_tpf
from ..quality import TESSQualityFlags

__all__ = ["flags_inside", "tpf_quality"]

logger = logging.getLogger(__name__)

#: The spacecraft's flags are the same in all files of a CCD; more than one only for those that are damaged.
_MOST_TPFS = 5


def flags_inside(
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
    time: NDArray[np.float64],
    quality: NDArray[np.int32],
) -> NDArray[np.int32]:
    """All FFI-relevant flags of the cadences whose middle is inside an exposure.

    Parameters
    ----------
    start, stop : ndarray, shape (T,)
        Of the exposures, increasing, days.
    time : ndarray, shape (N,)
        Mid times of the cadences on the same scale.
    quality : ndarray of int32, shape (N,)

    Returns
    -------
    ndarray of int32, shape (T,)
    """
    flags = np.zeros(len(start), dtype="i4")
    frame = np.searchsorted(start, time, side="right") - 1
    inside = (frame >= 0) & (time < stop[np.maximum(frame, 0)])
    relevant = (quality & TESSQualityFlags.FFI_RELEVANT_BITMASK).astype("i4")
    np.bitwise_or.at(flags, frame[inside], relevant[inside])
    return flags


def tpf_quality(
    tpfs: Sequence[TPFInfo], start: NDArray[np.float64], stop: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Flags of the frames from the first five target pixel files of their CCD that can be read.

    Parameters
    ----------
    tpfs : sequence of TPFInfo
        Files of the frames' sector, camera and CCD.
    start, stop : ndarray, shape (T,)
        Of the exposures at the spacecraft (barycentric less the correction), days.

    Returns
    -------
    ndarray of int32, shape (T,)
    """
    flags = np.zeros(len(start), dtype="i4")
    read = 0
    for info in tpfs:
        try:
            tpf = read_tpf(info.path, pixels=False)
        except TasocError as error:
            logger.warning("%s: its quality flags are not used", error)
            continue
        flags |= flags_inside(start, stop, tpf.time - tpf.timecorr, tpf.quality)
        read += 1
        if read == _MOST_TPFS:
            break
    return flags
