"""The frames of one CCD as a series: their headers read, checked against each other, and as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT, warn_each
from ..core.times import DAY
from ..models.barycentre import earth_position, light_time
from ..products.ffi import FFIInfo, name_time
from ..products.frame_wcs import FrameWCS, wcs_problem
from ..products.processing import file_rank
from .consistency import (
    majority,
    one_a_cadence,
    repaired_timecorr,
    times_that_do_not_fit,
    wcs_problems,
)
from .frame_headers import FrameFacts, frame_facts
from .frame_times import cadence_number, correct_times

__all__ = [
    "FrameSeries",
    "drop_unusable",
    "excluded_from",
    "read_series",
    "reference_frame",
]

#: Seconds that exposures of frames of one cadence may differ.
_EXPOSURE = 5.0
#: Science column from which on CCD output D reads.
_OUTPUT_D = 1536


@dataclass(frozen=True)
class FrameSeries:
    """T frames of one CCD in order of time."""

    infos: tuple[FFIInfo, ...]  #: Their files. Headers are reduced to what is needed to read pixels.
    attributes: Mapping[str, Any]  #: The attributes of the cube's `images`
    background_applied: bool  #: The background is already taken out of the frames
    #: time_start, time, time_stop, timecorr: shape (T,), BJD - 2457000 at the CCD's centre and its
    #: barycentric correction, days; corrected for the known errors of early data releases.
    time_start: NDArray[np.float64]
    time: NDArray[np.float64]
    time_stop: NDArray[np.float64]
    timecorr: NDArray[np.float64]
    cadenceno: NDArray[np.int32]  #: Shape (T,)
    quality: NDArray[np.int32]  #: Shape (T,)
    #: Shape (T,): first column (of the arrays) whose pixels are left out by hand in a frame; the number of
    #: columns where none are.
    excluded: NDArray[np.int32]
    wcs: FrameWCS
    wcs_headers: tuple[
        str, ...
    ]  #: Cards for 1-based full frame image pixels; empty where the WCS cannot be used
    btc_pixel: tuple[float, float]  #: 0-based full frame image (column, row) of the place `timecorr` is for
    #: Frames of cadences that are there more than once, and the ones that are taken instead.
    left_out: tuple[tuple[FFIInfo, FFIInfo], ...] = ()

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
    """Read the headers of all frames of a CCD, take one frame a cadence, and check them against each other.

    Parameters
    ----------
    paths : sequence of Path or FFIInfo
        In order of their names; headers that were read already are not read again.
    facts : iterable of FrameFacts, optional
        Their headers, read by other ranks.

    Returns
    -------
    FrameSeries
        In order of time.

    Raises
    ------
    InputError
        If a file is damaged, is of another CCD, size, region or setting than most, or its times are not where
        its neighbours have them; if no frame has a usable WCS. One line names the file.
    """
    found = list(facts if facts is not None else map(frame_facts, paths))
    _check_regions(found)
    infos = [frame.info for frame in found]
    cards = [frame.wcs_cards for frame in found]
    wcs = FrameWCS.from_headers(cards, infos[0].file_offset)
    origin = (infos[0].row_offset, infos[0].column_offset)
    drop_unusable(wcs, cards, infos[0].shape, origin, [info.label for info in infos])
    if not wcs.good.any():
        raise InputError(
            f"{infos[0].label}: neither it nor another of the {len(infos)} frames of sector "
            f"{infos[0].sector} camera {infos[0].camera} CCD {infos[0].ccd} has a WCS that can be used; "
            "fetch the files again"
        )
    btc = majority([frame.btc_pixel for frame in found])
    start, stop, timecorr = _times(found, wcs, btc)
    mid = (start + stop) / 2 - timecorr
    cadence = majority([frame.settings["CADENCE"] for frame in found])
    _check_clocks(found, mid, cadence)

    def rank(t: int) -> tuple:
        return (wcs.good[t], found[t].processing, *file_rank(infos[t].path.with_name(infos[t].name)))

    chosen, others = one_a_cadence(mid, cadence, rank)
    left_out = tuple((infos[t], infos[best]) for t, best in sorted(others.items()))
    warn_each(
        [
            f"{one.label}: left out, {best.label} is of the same cadence and newer, or its copy"
            for one, best in left_out
        ]
    )
    _check_settings([found[t] for t in chosen])
    return _series(
        [found[t] for t in chosen],
        (start[chosen], stop[chosen], timecorr[chosen], mid[chosen]),
        wcs.take(chosen),
        btc,
        left_out,
    )


def _series(
    found: list[FrameFacts],
    times: tuple[NDArray[np.float64], ...],
    wcs: FrameWCS,
    btc: tuple[float, float],
    left_out: tuple[tuple[FFIInfo, FFIInfo], ...],
) -> FrameSeries:
    """Arrays of all frames; `times` are start, stop, correction and middle at the spacecraft."""
    info, settings = found[0].info, found[0].settings
    start, stop, timecorr, spacecraft = times
    cadenceno = _cadence_numbers(found, spacecraft)
    mid = (start + stop) / 2
    excluded = excluded_from(info.camera, info.ccd, cadenceno, start, mid, info)
    try:
        start, mid, stop, corrected = correct_times(
            start, mid, stop, settings["DATA_REL"], settings["PROCVER"], info.camera, info.ccd
        )
    except InputError as error:
        raise InputError(f"{info.label}: {error}; leave out the frames of this CCD") from None
    attributes = {key: value for key, value in settings.items() if key != "BACKAPP"}
    attributes["TIME_OFFSET_CORRECTED"] = corrected
    texts = [frame.wcs_text for frame in found]
    return FrameSeries(
        infos=tuple(frame.info for frame in found),
        attributes=attributes,
        background_applied=settings["BACKAPP"],
        time_start=start,
        time=mid,
        time_stop=stop,
        timecorr=timecorr,
        cadenceno=cadenceno,
        quality=np.array([frame.numbers[4] for frame in found]).astype("i4"),
        excluded=excluded,
        wcs=wcs,
        wcs_headers=tuple(text if good else "" for text, good in zip(texts, wcs.good, strict=True)),
        btc_pixel=btc,
        left_out=left_out,
    )


def drop_unusable(
    wcs: FrameWCS,
    cards: Sequence[Mapping[str, Any] | None],
    shape: tuple[int, int],
    origin: tuple[int, int],
    names: Sequence[str],
) -> None:
    """Treat frames whose WCS cannot be used like ones that have none; the log says which and why.

    Parameters
    ----------
    wcs : FrameWCS
        Of T frames; changed.
    cards : sequence of mapping or None
        The headers that it was made from.
    shape : (int, int)
        Rows and columns of the frames.
    origin : (int, int)
        0-based full frame image (row, column) of the first pixel.
    names : sequence of str
        Of the frames, for messages.
    """
    lines = []
    for t, problem in enumerate(wcs_problems(wcs, shape, origin)):
        header = cards[t]
        if not wcs.good[t] and header is not None:
            problem = wcs_problem(header)
        if problem:
            wcs.forget(t)
            lines.append(f"{names[t]}: its WCS is not used: {problem}")
    warn_each(lines)


def _times(
    found: Sequence[FrameFacts], wcs: FrameWCS, btc: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Start, stop and barycentric correction of the frames, the last repaired where that can be done."""
    start, stop, given, *_ = np.array([frame.numbers for frame in found]).T
    exposure = (stop - start) * DAY
    odd = np.flatnonzero(np.abs(exposure - np.median(exposure)) > _EXPOSURE)
    if len(odd):
        raise InputError(
            f"{found[odd[0]].info.label}: {exposure[odd[0]]:.1f} s from TSTART to TSTOP, but "
            f"{np.median(exposure):.1f} s in other frames{_more(len(odd))}; {WAY_OUT}"
        )
    good = np.flatnonzero(wcs.good)
    ra, dec = wcs.sky(np.array([btc[0]]), np.array([btc[1]]), int(good[len(good) // 2]))[0].tolist()
    if found[0].info.spacecraft_times:
        timecorr = light_time(earth_position((start + stop) / 2), ra, dec)
        return start + timecorr, stop + timecorr, timecorr
    timecorr = repaired_timecorr((start + stop) / 2, given, ra, dec)
    warn_each(
        [
            f"{found[t].info.label}: its BARYCORR is missing or cannot be true; it is computed from the "
            "Earth's position and the frames around it"
            for t in np.flatnonzero(timecorr != given).tolist()
        ]
    )
    return start, stop, timecorr


def _more(count: int) -> str:
    """Words for all but the first of some frames."""
    return f" (and {count - 1} more frames)" if count > 1 else ""


def _check_clocks(found: Sequence[FrameFacts], mid: NDArray[np.float64], cadence: int) -> None:
    """InputError if the time of a frame is not where its number, or else its name, has it."""
    index = np.array([frame.numbers[3] for frame in found]) * cadence / DAY
    stamps = np.array([name_time(frame.info.name) for frame in found])
    wrong = np.flatnonzero(times_that_do_not_fit(mid, [index, stamps], cadence))
    if not len(wrong):
        return
    t = int(wrong[0])
    number = found[t].numbers[3]
    by = f"FFIINDEX {number:.0f}" if np.isfinite(number) else "the time in its name"
    raise InputError(
        f"{found[t].info.label}: its times (TSTART {found[t].numbers[0]:.6f}) and {by} do not fit together, "
        f"compared with the frames around it{_more(len(wrong))}; {WAY_OUT}"
    )


def _cadence_numbers(found: Sequence[FrameFacts], spacecraft: NDArray[np.float64]) -> NDArray[np.int32]:
    """Numbers of the cadences, which are larger for every later frame."""
    numbers: list[int] = []
    for frame, mid in zip(found, spacecraft.tolist(), strict=True):
        index, info = frame.numbers[3], frame.info
        try:
            number = cadence_number(
                None if np.isnan(index) else index, mid, frame.settings["CADENCE"], info.sector
            )
        except InputError as error:
            raise InputError(f"{info.label}: {error}; {WAY_OUT}") from None
        if numbers and number <= numbers[-1]:
            raise InputError(
                f"{info.label}: cadence {number} by its FFIINDEX, but it is later than "
                f"{found[len(numbers) - 1].info.name} with {numbers[-1]}; remove the one that is wrong"
            )
        numbers.append(number)
    return np.array(numbers, dtype="i4")


def _check_settings(found: Sequence[FrameFacts]) -> None:
    """InputError if a frame has other settings than most."""
    for key in found[0].settings:
        usual = majority([frame.settings[key] for frame in found])
        for frame in found:
            if frame.settings[key] != usual:
                like = next(other for other in found if other.settings[key] == usual)
                raise InputError(
                    f"{frame.info.label}: {key} is {_word(frame.settings[key])}, but {_word(usual)} in "
                    f"{like.info.name}; "
                    "frames of one CCD must have the same settings: remove the ones that do not belong here"
                )


def _word(value: object) -> object:
    return "missing" if value is None or value == "" else value


def _check_regions(found: Sequence[FrameFacts]) -> None:
    """InputError if a frame shows another part of the CCD, or is another kind of file, than most."""

    def region(info: FFIInfo) -> tuple[Any, ...]:
        return info.shape, info.file_offset, info.image.shape, info.spacecraft_times

    usual = majority([region(frame.info) for frame in found])
    like = next(frame.info for frame in found if region(frame.info) == usual)
    for info in (frame.info for frame in found):
        if info.spacecraft_times != like.spacecraft_times:
            raise InputError(
                f"{info.label}: frames of TICA and of the mission, like {like.name}, cannot be mixed in a "
                "cube; remove either"
            )
        if region(info) != usual:
            raise InputError(
                f"{info.label}: {info.image.shape[0]} x {info.image.shape[1]} pixels from (column, row) "
                f"{info.file_offset} on, unlike {like.name}; remove the ones that do not belong here"
            )


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

    Examples
    --------
    >>> good = np.array([True, False, True])
    >>> reference_frame(np.array([1.0, 2.0, 2.5]), good, np.array([True, True, True]), 2.1)
    2
    """
    if reference_time is None:
        reference_time = (time[0] + time[-1]) / 2
    usable = quality_good & wcs_good
    if not usable.any():
        usable = wcs_good
    distance = np.where(usable, np.abs(time - reference_time), np.inf)
    return int(np.argmin(distance))
