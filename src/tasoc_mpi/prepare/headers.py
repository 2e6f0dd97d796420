"""What the header of a frame says, as far as a cube needs it, in a form that can be sent to other ranks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..products.ffi import FFIInfo, scan_ffi
from ..products.fitsread import Extension
from ..products.tica import TicaPixels
from .times import cadence_number

__all__ = ["BTC_PIXEL", "FrameFacts", "frame_facts", "pack_info", "sendable", "unpack_info"]

#: 0-based full frame image (column, row) of the place the barycentric correction is for, if a header does
#: not say it (BTC_PIX1, BTC_PIX2, 1-based).
BTC_PIXEL = (1067.0, 1023.0)


@dataclass(frozen=True)
class FrameFacts:
    """A frame's header.

    Attributes
    ----------
    info : FFIInfo
        What is needed to read the pixels. 11,700 whole headers are 250 MB.
    settings : dict
        What has to be the same in all frames.
    numbers : tuple of float
        Start, end, barycentric correction (days), cadence number and quality.
    wcs_cards : dict
        Of the file's own pixels.
    wcs_text : str
        In full frame image pixels; empty without a reference pixel.
    btc_pixel : (float, float)
        0-based full frame image (column, row) of the place the barycentric correction is for.
    """

    info: FFIInfo
    settings: dict[str, Any]
    numbers: tuple[float, ...]
    wcs_cards: dict[str, Any]
    wcs_text: str
    btc_pixel: tuple[float, float]

    def pack(self) -> list[Any]:
        """The same in what JSON knows."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return [pack_info(self.info), *values[1:]]

    @classmethod
    def unpack(cls, path: str, values: list[Any]) -> FrameFacts:
        """What was packed, of the file at `path`."""
        info, settings, numbers, cards, text, (column, row) = values
        return cls(unpack_info(path, info), settings, tuple(numbers), cards, text, (column, row))


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
        numbers=_numbers(info, settings["CADENCE"]),
        wcs_cards=info.wcs_cards,
        wcs_text=info.wcs_string() if _has_crpix(info) else "",
        btc_pixel=_btc_pixel(info),
    )


def sendable(info: FFIInfo) -> bool:
    """Whether other ranks can read the frame's pixels: they are in a file of its own."""
    return info.pixels is None or isinstance(info.pixels, TicaPixels)


def pack_info(info: FFIInfo) -> list[Any]:
    """What is needed to read a frame's pixels, beside its path, in what JSON knows."""
    image = dataclasses.astuple(info.image)
    error = None if info.error is None else dataclasses.astuple(info.error)
    pixels = dataclasses.astuple(info.pixels) if isinstance(info.pixels, TicaPixels) else None
    place = (info.shape, info.row_offset, info.column_offset, info.file_offset)
    return [(info.sector, info.camera, info.ccd), place, image, error, pixels, info.spacecraft_times]


def unpack_info(path: str, values: list[Any]) -> FFIInfo:
    """What was packed, of the file at `path`."""
    (sector, camera, ccd), place, image, error, pixels, spacecraft_times = values
    shape, row_offset, column_offset, file_offset = place
    return FFIInfo(
        path=Path(path),
        sector=sector,
        camera=camera,
        ccd=ccd,
        header={},
        cards={},
        shape=tuple(shape),
        row_offset=row_offset,
        column_offset=column_offset,
        file_offset=tuple(file_offset),
        image=_extension(image),
        error=None if error is None else _extension(error),
        pixels=None if pixels is None else TicaPixels(*pixels),
        spacecraft_times=spacecraft_times,
    )


def _extension(values: list[Any]) -> Extension:
    start, dtype, (rows, columns) = values
    return Extension(start, dtype, (rows, columns))


def _settings(info: FFIInfo) -> dict[str, Any]:
    """What has to be the same in all frames."""
    header = info.header
    return {
        "SECTOR": info.sector,
        "CAMERA": info.camera,
        "CCD": info.ccd,
        "CADENCE": info.cadence,
        "DATA_REL": round(info.number("DATA_REL")),
        "PROCVER": str(header.get("PROCVER") or ""),
        "NUM_FRM": round(info.number("NUM_FRM")),
        "NREADOUT": round(info.number("NREADOUT")),
        "CRMITEN": bool(header.get("CRMITEN")),
        "CRBLKSZ": round(info.number("CRBLKSZ")) if header.get("CRBLKSZ") is not None else 0,
        "CRSPOC": bool(header.get("CRSPOC")),
        "PIXEL_OFFSET_ROW": info.row_offset,
        "PIXEL_OFFSET_COLUMN": info.column_offset,
        "BACKAPP": bool(header.get("BACKAPP")),
    }


def _numbers(info: FFIInfo, cadence: int) -> tuple[float, ...]:
    """Start, end, barycentric correction (days), cadence number and quality."""
    start, stop, timecorr = (info.number(key) for key in ("TSTART", "TSTOP", "BARYCORR"))
    quality = info.number("DQUALITY")
    try:
        cadenceno = cadence_number(
            info.header.get("FFIINDEX"), (start + stop) / 2 - timecorr, cadence, info.sector
        )
    except InputError as error:
        raise InputError(f"{info.path}: {error}; fetch it again, or remove it") from None
    return start, stop, timecorr, cadenceno, quality


def _has_crpix(info: FFIInfo) -> bool:
    return all(isinstance(info.header.get(key), int | float) for key in ("CRPIX1", "CRPIX2"))


def _btc_pixel(info: FFIInfo) -> tuple[float, float]:
    column, row = (info.header.get(key) for key in ("BTC_PIX1", "BTC_PIX2"))
    if isinstance(column, int | float) and isinstance(row, int | float):
        return float(column) - 1, float(row) - 1
    return BTC_PIXEL
