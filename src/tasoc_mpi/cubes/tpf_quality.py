"""Quality flags that the frames take over from target pixel files of their CCD."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..core.errors import TasocError
from ..core.quality import TESSQualityFlags, exposures_reached
from ..core.times import DAY
from ..products.tpf import TPF, read_tpf, tpf_ccd
from ..products.tpf_files import TPFInfo

__all__ = ["flags_inside", "tpf_quality"]

logger = logging.getLogger(__name__)

#: The spacecraft's flags are the same in all files of a CCD; several show which are of one target.
_MOST_TPFS = 5


def flags_inside(
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
    time: NDArray[np.float64],
    length: float,
    quality: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """All flags of the cadences that reach into each exposure.

    Parameters
    ----------
    start, stop : ndarray, shape (T,)
        Of the exposures, increasing, days.
    time : ndarray, shape (N,)
        Mid times of the cadences on the same scale.
    length : float
        Of a cadence, days.
    quality : ndarray of int32, shape (N,)

    Returns
    -------
    flags : ndarray of int32, shape (T,)
    covered : ndarray of bool, shape (T,)
        Whether any cadence reaches into the exposure.
    """
    flags, covered = np.zeros(len(start), dtype="i4"), np.zeros(len(start), dtype=bool)
    first, last = exposures_reached(start, stop, time, length)
    for k in range(int(np.max(last - first, initial=0))):
        reached = first + k < last
        np.bitwise_or.at(flags, first[reached] + k, quality[reached].astype("i4"))
        covered[first[reached] + k] = True
    return flags, covered


def tpf_quality(
    tpfs: Iterable[TPFInfo],
    key: tuple[int, int, int],
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Flags of the frames from the first five target pixel files of their CCD that can be read.

    A flag of the spacecraft is taken over from any file; scattered light, which later data releases set for
    each target by itself, where all files that cover the frame have it.

    Parameters
    ----------
    tpfs : iterable of TPFInfo
        Also of other CCDs. The headers are read one by one: a sector has twenty thousand files.
    key : (int, int, int)
        Sector, camera and CCD of the frames.
    start, stop : ndarray, shape (T,)
        Of the exposures at the spacecraft (barycentric less the correction), days.

    Returns
    -------
    ndarray of int32, shape (T,)
    """
    relevant = np.int32(TESSQualityFlags.FFI_RELEVANT_BITMASK)
    if_common = np.int32(TESSQualityFlags.FFI_RELEVANT_IF_COMMON_BITMASK)
    flags = np.zeros(len(start), dtype="i4")
    common, ever_covered = np.full(len(start), if_common), np.zeros(len(start), dtype=bool)
    for tpf in itertools.islice(_readable(tpfs, key), _MOST_TPFS):
        own, covered = flags_inside(start, stop, tpf.time - tpf.timecorr, tpf.cadence / DAY, tpf.quality)
        flags |= own & relevant
        common[covered] &= own[covered]
        ever_covered |= covered
    return flags | np.where(ever_covered, common, 0).astype("i4")


def _readable(tpfs: Iterable[TPFInfo], key: tuple[int, int, int]) -> Iterator[TPF]:
    """The target pixel files of a CCD that can be read, without their pixels."""
    for info in tpfs:
        try:
            if info.sector == key[0] and tpf_ccd(info.path) == key[1:]:
                yield read_tpf(info.path, pixels=False)
        except TasocError as error:
            logger.warning("%s: its quality flags are not used", error)
