"""The cards of a frame's header that a cube needs, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.input_files import WAY_OUT
from ..products.ffi import FFIInfo, scan_ffi
from ..products.frame_wcs import wcs_problem
from ..products.processing import Processing, processing

__all__ = ["BTC_PIXEL", "FrameFacts", "frame_facts"]

#: 0-based full frame image (column, row) of the place the barycentric correction is for, if a header does
#: not say it (BTC_PIX1, BTC_PIX2, 1-based).
BTC_PIXEL = (1067.0, 1023.0)
#: TJD of 2014 and 2069: TESS was launched in 2018.
_TIMES = (0.0, 20000.0)
#: The light time from the barycentre of the solar system to TESS is less than this (days).
_LARGEST_TIMECORR = 0.006
#: Columns and rows of a CCD are less than this.
_LARGEST_PLACE = 4096


@dataclass(frozen=True)
class FrameFacts:
    """A frame's header."""

    info: FFIInfo  #: The facts for reading the pixels; without headers, of which 11,700 are 250 MB
    settings: dict[str, Any]  #: Values that all frames of a CCD must share
    #: Start, end, barycentric correction (days; NaN where it cannot be true), cadence number (NaN where there
    #: is none) and quality.
    numbers: tuple[float, ...]
    processing: Processing  #: See `products.processing`
    wcs_cards: dict[str, Any]  #: Of the file's own pixels
    wcs_text: str  #: Cards for 1-based full frame image pixels; empty without a reference pixel
    #: 0-based full frame image (column, row) of the place the barycentric correction is for.
    btc_pixel: tuple[float, float]


def frame_facts(frame: Path | FFIInfo) -> FrameFacts:
    """Read the header of a frame, unless that was done before.

    Raises
    ------
    InputError
        If the file is damaged, or a number that is needed is missing; one line names the file.
    """
    info = frame if isinstance(frame, FFIInfo) else scan_ffi(frame)
    settings = _settings(info)
    return FrameFacts(
        info=dataclasses.replace(info, header={}, cards={}),
        settings=settings,
        numbers=_numbers(info),
        processing=processing(info.header),
        wcs_cards=info.wcs_cards,
        wcs_text="" if wcs_problem(info.wcs_cards) else info.wcs_string(),
        btc_pixel=_btc_pixel(info),
    )


def _flag(header: Mapping[str, Any], key: str) -> bool | None:
    """A logical card; None where the header does not have it."""
    value = header.get(key)
    return None if value is None else bool(value)


def _settings(info: FFIInfo) -> dict[str, Any]:
    """What has to be the same in all frames."""
    header = info.header
    return {
        "SECTOR": info.sector,
        "CAMERA": info.camera,
        "CCD": info.ccd,
        "CADENCE": info.cadence,
        "DATA_REL": info.integer("DATA_REL"),
        "PROCVER": str(header.get("PROCVER") or ""),
        "NUM_FRM": info.integer("NUM_FRM"),
        "NREADOUT": info.integer("NREADOUT"),
        "CRMITEN": _flag(header, "CRMITEN"),
        "CRBLKSZ": info.integer("CRBLKSZ") if header.get("CRBLKSZ") is not None else 0,
        "CRSPOC": _flag(header, "CRSPOC"),
        "PIXEL_OFFSET_ROW": info.row_offset,
        "PIXEL_OFFSET_COLUMN": info.column_offset,
        "SIMULATD": _flag(header, "SIMDATA") is True,
        "BACKAPP": bool(header.get("BACKAPP")),
    }


def _numbers(info: FFIInfo) -> tuple[float, ...]:
    """Start, end, barycentric correction (days), cadence number and quality."""
    start, stop = (info.number(key) for key in ("TSTART", "TSTOP"))
    if not start < stop:
        raise InputError(f"{info.label}: TSTOP {stop:.10g} is not after TSTART {start:.10g}; {WAY_OUT}")
    for key, value in (("TSTART", start), ("TSTOP", stop)):
        if not _TIMES[0] < value < _TIMES[1]:
            raise InputError(f"{info.label}: {key} {value:.6g} is no time at which TESS observed; {WAY_OUT}")
    given = info.header.get("BARYCORR")
    timecorr = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else np.nan
    if not abs(timecorr) < _LARGEST_TIMECORR:
        timecorr = np.nan
    has_index = info.header.get("FFIINDEX") is not None
    index = float(info.integer("FFIINDEX")) if has_index else np.nan
    return start, stop, timecorr, index, float(info.integer("DQUALITY"))


def _btc_pixel(info: FFIInfo) -> tuple[float, float]:
    places = [info.header.get(key) for key in ("BTC_PIX1", "BTC_PIX2")]
    known = [float(place) - 1 for place in places if isinstance(place, int | float)]
    if len(known) == 2 and all(0 <= place < _LARGEST_PLACE for place in known):
        return known[0], known[1]
    return BTC_PIXEL
