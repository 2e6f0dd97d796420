"""The frames of one CCD as a series: their headers read, checked against each other, and as arrays."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..barycentre import earth_position, light_time
from ..errors import InputError
from ..products.ffi import FFIInfo
from ..products.framewcs import FrameWCS
from .headers import FrameFacts, frame_facts
from .times import correct_times

__all__ = [
    "FrameSeries",
    "excluded_from",
    "invertible",
    "read_series",
    "reference_frame",
]

logger = logging.getLogger(__name__)

#: A WCS can be inverted if it brings a pixel back to its place within this (pixels).
_ROUND_TRIP = 1e-3
#: Science column from which on CCD output D reads.
_OUTPUT_D = 1536


@dataclass(frozen=True)
class FrameSeries:
    """T frames of one CCD in order of time.

    Attributes
    ----------
    infos : tuple of FFIInfo
        Their files. Headers are reduced to what is needed to read pixels.
    attributes : mapping
        The attributes of the cube's `images`.
    background_applied : bool
        The background is already taken out of the frames.
    time_start, time, time_stop, timecorr : ndarray of float64, shape (T,)
        BJD - 2457000 at the CCD's centre and its barycentric correction, days; corrected for the known
        errors of early data releases.
    cadenceno, quality : ndarray of int32, shape (T,)
    excluded : ndarray of int32, shape (T,)
        First column (of the arrays) whose pixels are left out by hand in a frame; the number of columns
        where none are.
    wcs : FrameWCS
    wcs_headers : tuple of str
        In full frame image pixels; empty where the WCS cannot be used.
    btc_pixel : (float, float)
        0-based full frame image (column, row) of the place `timecorr` is for.
    """

    infos: tuple[FFIInfo, ...]
    attributes: Mapping[str, Any]
    background_applied: bool
    time_start: NDArray[np.float64]
    time: NDArray[np.float64]
    time_stop: NDArray[np.float64]
    timecorr: NDArray[np.float64]
    cadenceno: NDArray[np.int32]
    quality: NDArray[np.int32]
    excluded: NDArray[np.int32]
    wcs: FrameWCS
    wcs_headers: tuple[str, ...]
    btc_pixel: tuple[float, float]

    def __len__(self) -> int:
        return len(self.infos)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.infos[0].shape

    @property
    def origin(self) -> tuple[int, int]:
        """0-based full frame image (row, column) of the first pixel."""
        return self.infos[0].row_offset, self.infos[0].column_offset


def read_series(paths: Sequence[Path | FFIInfo], facts: Iterable[FrameFacts] | None = None) -> FrameSeries:
    """Read and check the headers of all frames of a CCD.

    Parameters
    ----------
    paths : sequence of Path or FFIInfo
        In order of time; headers that were read already are not read again.
    facts : iterable of FrameFacts, optional
        What their headers say, read by someone else.

    Returns
    -------
    FrameSeries

    Raises
    ------
    InputError
        If a file is damaged, is of another CCD, size, region or setting than the first, or is not later
        than the one before; if no frame has a usable WCS. One line names the file.
    """
    found: list[FrameFacts] = []
    for frame in facts if facts is not None else map(frame_facts, paths):
        info = frame.info
        if found:
            _check(info, frame.settings, found[0])
            if not frame.numbers[0] > found[-1].numbers[0]:
                raise InputError(
                    f"{info.path.with_name(info.name)}: not later than {found[-1].info.name}, the frame "
                    "before it; remove the one that does not belong here"
                )
        found.append(frame)
    return _series(
        [frame.info for frame in found],
        found[0].settings,
        np.array([frame.numbers for frame in found]),
        [frame.wcs_cards for frame in found],
        [frame.wcs_text for frame in found],
        found[0].btc_pixel,
    )


def _series(
    infos: list[FFIInfo],
    settings: dict[str, Any],
    numbers: NDArray[np.float64],
    wcs_cards: list[dict[str, Any]],
    headers: list[str],
    btc: tuple[float, float],
) -> FrameSeries:
    """Arrays of all frames from what was read of each."""
    info = infos[0]
    start, stop, timecorr, cadenceno, quality = numbers.T
    try:
        wcs = FrameWCS.from_headers(wcs_cards, info.file_offset)
        if info.spacecraft_times:
            timecorr = _light_times((start + stop) / 2, wcs, btc)
            start, stop = start + timecorr, stop + timecorr
        mid = (start + stop) / 2
        excluded = excluded_from(info.camera, info.ccd, cadenceno.astype("i4"), start, mid, info)
        start, mid, stop, corrected = correct_times(
            start, mid, stop, settings["DATA_REL"], settings["PROCVER"], info.camera, info.ccd
        )
    except InputError as error:
        raise InputError(f"{info.path}: {error}; leave out the frames of this CCD") from None
    wcs = _only(wcs, invertible(wcs, info.shape, (info.row_offset, info.column_offset)))
    bad = np.flatnonzero(~wcs.good)
    if len(bad) == len(infos):
        raise InputError(
            f"{info.path.parent}: none of the {len(infos)} frames of sector {info.sector} "
            f"camera {info.camera} CCD {info.ccd} has a WCS that can be inverted; fetch the files again"
        )
    if len(bad):
        logger.warning(
            "%s and %d more frames have no WCS that can be inverted", infos[bad[0]].path.name, len(bad) - 1
        )
    attributes = {key: value for key, value in settings.items() if key != "BACKAPP"}
    attributes["TIME_OFFSET_CORRECTED"] = corrected
    return FrameSeries(
        infos=tuple(infos),
        attributes=attributes,
        background_applied=settings["BACKAPP"],
        time_start=start,
        time=mid,
        time_stop=stop,
        timecorr=timecorr.copy(),
        cadenceno=cadenceno.astype("i4"),
        quality=quality.astype("i4"),
        excluded=excluded,
        wcs=wcs,
        wcs_headers=tuple(text if good else "" for text, good in zip(headers, wcs.good, strict=True)),
        btc_pixel=btc,
    )


def _light_times(time: NDArray[np.float64], wcs: FrameWCS, btc: tuple[float, float]) -> NDArray[np.float64]:
    """Barycentric correction of times at the spacecraft for the CCD's centre, with the Earth's place."""
    good = np.flatnonzero(wcs.good)
    if not len(good):
        return np.zeros_like(time)
    frame = int(good[len(good) // 2])
    ra, dec = wcs.sky(np.array([btc[0]]), np.array([btc[1]]), frame)[0]
    return light_time(earth_position(time), float(ra), float(dec))


def _check(info: FFIInfo, settings: dict[str, Any], first: FrameFacts) -> None:
    """InputError if a frame does not go with the first one."""
    for key, value in settings.items():
        if value != first.settings[key]:
            raise InputError(
                f"{info.path}: {key} is {value}, but {first.settings[key]} in {first.info.path.name}; "
                "frames of one CCD must have the same settings: remove the ones that do not belong here"
            )
    same = (info.shape, info.file_offset) == (first.info.shape, first.info.file_offset)
    if not same or info.image.shape != first.info.image.shape:
        raise InputError(
            f"{info.path}: {info.image.shape[0]} x {info.image.shape[1]} pixels from (column, row) "
            f"{info.file_offset} on, unlike {first.info.path.name}; remove the ones that do not belong here"
        )


def _only(wcs: FrameWCS, good: NDArray[np.bool_]) -> FrameWCS:
    return FrameWCS(wcs.crval, wcs.cd, wcs.crpix, wcs.sip_a, wcs.sip_b, good)


def invertible(wcs: FrameWCS, shape: tuple[int, int], origin: tuple[int, int]) -> NDArray[np.bool_]:
    """Frames whose WCS takes the corners and the middle of the pixels to the sky and back.

    Parameters
    ----------
    wcs : FrameWCS
    shape : (int, int)
        Rows and columns.
    origin : (int, int)
        0-based full frame image (row, column) of the first pixel.

    Returns
    -------
    ndarray of bool, shape (T,)
    """
    good = wcs.good.copy()
    height, width = shape[0] - 1, shape[1] - 1
    row = origin[0] + np.array([0, 0, height, height, height / 2])
    column = origin[1] + np.array([0, width, 0, width, width / 2])
    place = np.stack([column, row], axis=-1)
    for t in np.flatnonzero(good):
        sky = wcs.sky(column, row, int(t))
        back = wcs.stars(sky[:, 0], sky[:, 1], int(t))
        good[t] = np.all(np.abs(back - place) < _ROUND_TRIP)
    return good


def excluded_from(
    camera: int,
    ccd: int,
    cadenceno: NDArray[np.int32],
    time_start: NDArray[np.float64],
    time: NDArray[np.float64],
    info: FFIInfo,
) -> NDArray[np.int32]:
    """Where pixels are left out by hand: Mars and the Earth shone into camera 1.

    Parameters
    ----------
    camera, ccd : int
    cadenceno : ndarray of int, shape (T,)
    time_start, time : ndarray, shape (T,)
        Start and mid times as the headers have them, BJD - 2457000.
    info : FFIInfo
        Any of the frames.

    Returns
    -------
    ndarray of int32, shape (T,)
        First column of the arrays whose pixels are left out; the number of columns where none are.
    """
    columns = info.shape[1]
    first = np.full(len(time), columns, dtype="i4")
    if camera == 1 and ccd == 4:
        mars = (cadenceno <= 4724) | (time_start <= 1325.881282301840)
        # Science columns: the pixels of CCD output D.
        first[mars] = np.clip(_OUTPUT_D + 44 - info.column_offset, 0, columns)
    if camera == 1:
        earth = (cadenceno >= 11354) & (cadenceno <= 11366)
        earth |= (time >= 1464.0158778) & (time <= 1464.265871)
        first[earth] = 0
    return first


def reference_frame(
    time: NDArray[np.float64],
    quality_good: NDArray[np.bool_],
    wcs_good: NDArray[np.bool_],
    reference_time: float | None,
) -> int:
    """The frame whose WCS stands for the sector.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Mid times, BJD - 2457000.
    quality_good, wcs_good : ndarray of bool, shape (T,)
    reference_time : float or None
        On the same scale; None for the middle of the series.

    Returns
    -------
    int
        The frame of good quality and WCS that is closest to `reference_time`; of good WCS, where there is
        none of good quality.
    """
    if reference_time is None:
        reference_time = (time[0] + time[-1]) / 2
    usable = quality_good & wcs_good
    if not usable.any():
        usable = wcs_good
    distance = np.where(usable, np.abs(time - reference_time), np.inf)
    return int(np.argmin(distance))
