"""Cadence numbers of frames without one, and the errors of the times of early data releases."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.times import DAY

__all__ = ["cadence_number", "correct_times", "time_offset"]

#: Mid time at the spacecraft (TJD) and number of a cadence of sector 1, and the cadence's length.
_REFERENCE_TIME = (1325.317007851970 + 1325.337841177751) / 2 - 3.9072474e-03
_REFERENCE_CADENCE = 4697
_REFERENCE_STEP = 1800.0
#: FFIINDEX is in the headers from this sector on.
_FIRST_SECTOR_WITH_INDEX = 6

#: Releases that are wrong in part, with the processing versions that are.
_WRONG_VERSIONS = {
    27: ("spoc-4.0.14-20200108", "spoc-4.0.15-20200114", "spoc-4.0.17-20200130"),
    29: ("spoc-4.0.17-20200130", "spoc-4.0.20-20200220", "spoc-4.0.21-20200227"),
}
#: Lower numbers are none of the mission's releases (TICA's frames have none).
_FIRST_RELEASE = 1
#: All earlier releases are wrong.
_LAST_WRONG_RELEASE = 26
#: Seconds to add to start, mid and end times of wrong releases.
_OFFSET = np.array([-2.000 + 0.031, -2.000 + 0.021, -2.000 + 0.011])
#: The cameras and CCDs are read out one after the other: seconds to add to times of full frame images.
_CAMERA_OFFSET = {1: 0.0, 2: 1.5, 3: 0.5, 4: 1.0}
_CCD_OFFSET = {1: 0.0, 2: 0.02, 3: 0.04, 4: 0.06}
#: The stagger is missing up to this release.
_LAST_RELEASE_WITHOUT_STAGGER = 27


def cadence_number(index: Any, mid_time: float, cadence: int, sector: int) -> int:
    """Number of a frame's cadence.

    Parameters
    ----------
    index : object
        The header's FFIINDEX; None where it is missing.
    mid_time : float
        Mid time at the spacecraft (barycentric less its correction), JD - 2457000.
    cadence : int
        Seconds.
    sector : int

    Returns
    -------
    int
        FFIINDEX. Before sector 6, where it is missing, linear in the time.

    Raises
    ------
    InputError
        If it is missing from sector 6 on, or is not a number.

    Examples
    --------
    >>> cadence_number(None, 1325.3232, 1800, 1)
    4697
    """
    if index is not None:
        if isinstance(index, bool) or not isinstance(index, int | float) or not np.isfinite(index):
            raise InputError(f"FFIINDEX = {index!r} is not a number")
        return int(index)
    if sector >= _FIRST_SECTOR_WITH_INDEX or cadence != _REFERENCE_STEP:
        raise InputError("no FFIINDEX, which only frames of 1800 s before sector 6 may lack")
    return _REFERENCE_CADENCE + round((mid_time - _REFERENCE_TIME) * DAY / _REFERENCE_STEP)


def time_offset(data_rel: int, procver: str | None, camera: int, ccd: int) -> NDArray[np.float64] | None:
    """Seconds to add to the start, mid and end times of full frame images.

    Parameters
    ----------
    data_rel : int
        Data release.
    procver : str or None
        Processing version.
    camera, ccd : int

    Returns
    -------
    ndarray, shape (3,), or None
        None for releases whose times are right.

    Raises
    ------
    InputError
        For releases 27 and 29 without a processing version: both right and wrong ones exist.
    """
    if data_rel < _FIRST_RELEASE:
        return None
    if data_rel > _LAST_WRONG_RELEASE:
        if data_rel not in _WRONG_VERSIONS:
            return None
        if not procver:
            raise InputError(f"data release {data_rel} without PROCVER: its times can be right or 2 s off")
        if procver not in _WRONG_VERSIONS[data_rel]:
            return None
    stagger = 0.0
    if data_rel <= _LAST_RELEASE_WITHOUT_STAGGER:
        stagger = _CAMERA_OFFSET[camera] + _CCD_OFFSET[ccd]
    return _OFFSET + stagger


def correct_times(
    start: NDArray[np.float64],
    mid: NDArray[np.float64],
    stop: NDArray[np.float64],
    data_rel: int,
    procver: str | None,
    camera: int,
    ccd: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], bool]:
    """Times of full frame images without the known errors of early data releases.

    The offsets are those of the data release notes: all times are 2.000 s late, and start, mid and end
    also 0.031, 0.021, 0.011 s early; releases without the read-out stagger get it too.

    Parameters
    ----------
    start, mid, stop : ndarray, shape (T,)
        Days.
    data_rel, procver, camera, ccd
        See `time_offset`.

    Returns
    -------
    start, mid, stop : ndarray, shape (T,)
    corrected : bool
        False where nothing had to be done.

    Raises
    ------
    InputError
        See `time_offset`.
    """
    offset = time_offset(data_rel, procver, camera, ccd)
    if offset is None:
        return start, mid, stop, False
    days = offset / DAY
    return start + days[0], mid + days[1], stop + days[2], True
