"""The TASOC pipeline's own HDF5 files: one file a CCD, one compressed dataset a frame.

Groups `images`, `images_err`, `backgrounds` and `pixel_flags` hold the frames as `0000`, `0001`, ...;
the background is already taken out of the images. World coordinates are counted in pixels of the full
frame image, also here, where the arrays begin at its column 44.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .cube import SERIES, read_attributes
from .fits_read import card_value
from .frame_wcs import FrameWCS
from .hdf5_read import HDF5Reader

__all__ = ["GROUPS", "FrameReader", "TasocFile", "open_tasoc"]

#: The groups of frames, and the type of their pixels.
GROUPS: dict[str, type[np.generic]] = {
    "images": np.float32,
    "images_err": np.float32,
    "pixel_flags": np.uint8,
    "backgrounds": np.float32,
}
#: Rows and columns of the frames at most.
_MAX_SIDE = 2136
#: Attributes that old files do not have, or that are empty because the frames did not have the card.
_MISSING = {
    **dict.fromkeys(("DATA_REL", "NUM_FRM", "NREADOUT", "CRBLKSZ"), 0),
    **dict.fromkeys(("CRMITEN", "CRSPOC")),
    "PROCVER": "",
    "TIME_OFFSET_CORRECTED": False,
}
_CARD = 80
#: Days. TJD 20000 is in 2069; the light time from the barycentre to TESS is less than nine minutes.
_LARGEST = {"time": 20000.0, "timecorr": 0.1, "time_start": 20000.0, "time_stop": 20000.0}
#: What the file should be, and the way out where it is not.
_MESSAGES = ("a file of the TASOC pipeline", "fetch it again, or make it again")


@dataclass(frozen=True)
class TasocFile:
    """Everything of a file but its frames."""

    path: Path
    attributes: Mapping[str, Any]  #: Those of `images`, all that a cube needs
    shape: tuple[int, int, int]  #: Rows, columns, frames
    numbers: tuple[int, ...]  #: Which of the file's frames these are
    chunk_rows: int  #: Rows of a compressed piece of a frame
    series: Mapping[str, NDArray[Any]]  #: The datasets of `cube.SERIES`, shape (T,) each
    sumimage: NDArray[np.float32]  #: Shape (R, C)
    backgrounds_pixels_used: NDArray[np.uint8]  #: Shape (R, C)
    frames: tuple[str, ...]  #: File names of the full frame images; empty strings where they are not known
    wcs: FrameWCS
    #: Values of the cards of the headers; None for frames without one.
    wcs_cards: tuple[Mapping[str, Any] | None, ...]
    wcs_headers: tuple[str, ...]
    ref_frame: int | None  #: None where one header was stored for all frames
    movement_kernel: NDArray[np.float64] | None  #: Shape (T, n)
    warpmode: str


def open_tasoc(path: str | os.PathLike[str]) -> TasocFile:
    """Read everything but the frames.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    TasocFile

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is not a file of the TASOC pipeline, is truncated, or frames are missing in it.
    """
    path = Path(path)
    with HDF5Reader(path, *_MESSAGES) as reader:
        if not isinstance(reader.find("images"), h5py.Group):
            raise reader.fail("an HDF5 file, but not one of the TASOC pipeline, or it is truncated")
        n_time = len(reader.read("time", "f8", (None,)))
        shape, chunk_rows = _frames(reader, n_time)
        series = {name: reader.read(name, dtype, (n_time,), finite=True) for name, dtype in SERIES.items()}
        for name, largest in _LARGEST.items():
            if (np.abs(series[name]) > largest).any():
                raise reader.fail(f"{name} has values over {largest:g} d")
        headers, ref_frame = _headers(reader, n_time)
        movement, warpmode = _movement(reader, n_time)
        attributes = read_attributes(reader, shape, _MISSING)
        sumimage = reader.read("sumimage", "f4", shape)
        used = reader.read("backgrounds_pixels_used", "u1", shape)
        frames = _names(reader, n_time)
    cards = [_cards(text) if text else None for text in headers]
    return TasocFile(
        path=path,
        attributes=attributes,
        shape=(*shape, n_time),
        numbers=tuple(range(n_time)),
        chunk_rows=chunk_rows,
        series=series,
        sumimage=sumimage,
        backgrounds_pixels_used=used,
        frames=frames,
        wcs=FrameWCS.from_headers(cards),
        wcs_cards=tuple(cards),
        wcs_headers=tuple(headers),
        ref_frame=ref_frame,
        movement_kernel=movement,
        warpmode=warpmode,
    )


def _frames(reader: HDF5Reader, n_time: int) -> tuple[tuple[int, int], int]:
    """Rows and columns of the frames, and the rows of their pieces; InputError if one is missing."""
    if n_time == 0:
        raise reader.fail("no frames in it")
    shape: tuple[int, ...] = ()
    for name, dtype in GROUPS.items():
        there = set(reader.names(name))
        missing = {f"{t:04d}" for t in range(n_time)} - there
        if missing or len(there) != n_time:
            lost = f", {min(missing)} is missing" if missing else ""
            raise reader.fail(f"{len(there)} frames in {name}, but {n_time} times{lost}: unfinished")
        first = reader.dataset(f"{name}/0000", "fiub")
        if first.dtype.newbyteorder("=") != dtype:
            raise reader.fail(f"{name} is of type {first.dtype}, not {np.dtype(dtype)}")
        shape = shape or first.shape
        if len(shape) != 2 or 0 in shape or max(shape) > _MAX_SIDE:
            raise reader.fail(f"frames of shape {shape}")
        if first.shape != shape:
            raise reader.fail(f"frame 0000 of {name} has shape {first.shape}, not {shape}")
    chunks = reader.dataset("images/0000").chunks
    return (shape[0], shape[1]), chunks[0] if chunks else 1


def _headers(reader: HDF5Reader, n_time: int) -> tuple[list[str], int | None]:
    """The header of every frame's WCS, and the reference frame."""
    if isinstance(reader.find("wcs"), h5py.Dataset):
        return [_text(reader, "wcs")] * n_time, None
    headers = [_text(reader, f"wcs/{t:04d}") for t in range(n_time)]
    ref_frame = reader.integer("wcs", "ref_frame")
    if not 0 <= ref_frame < n_time:
        raise reader.fail(f"reference frame {ref_frame} of {n_time} frames")
    return headers, ref_frame


def _text(reader: HDF5Reader, name: str) -> str:
    """The string of a dataset, scalar or of one element."""
    return next(iter(reader.texts(name)), "")


def _cards(text: str) -> dict[str, Any]:
    """Values of the cards of a header, with or without line breaks."""
    lines = text.splitlines() if "\n" in text else [text[i : i + _CARD] for i in range(0, len(text), _CARD)]
    return {line[:8].rstrip(): card_value(line[10:]) for line in lines if line[8:10] == "= "}


def _movement(reader: HDF5Reader, n_time: int) -> tuple[NDArray[np.float64] | None, str]:
    """Image movement kernels and their kind."""
    found = reader.find("movement_kernel")
    if found is None:
        return None, "wcs"
    warpmode = str(reader.attribute("movement_kernel", "warpmode"))
    if warpmode == "wcs":
        return None, "wcs"
    if isinstance(found, h5py.Dataset):
        return reader.read("movement_kernel", "f8", (n_time, None)), warpmode
    first = reader.read("movement_kernel/0000", "f8", (None,))
    rows = [reader.read(f"movement_kernel/{t:04d}", "f8", first.shape) for t in range(n_time)]
    return np.stack(rows), warpmode


def _names(reader: HDF5Reader, n_time: int) -> tuple[str, ...]:
    """File names without their folders."""
    if reader.find("imagespaths") is None:
        return ("",) * n_time
    return tuple(Path(name).name for name in reader.texts("imagespaths", (n_time,)))


class FrameReader(HDF5Reader):
    """A file open for reading frames."""

    def __init__(self, info: TasocFile) -> None:
        super().__init__(info.path, *_MESSAGES)
        self.info = info

    def read_frame(self, name: str, frame: int, first: int, last: int, out: NDArray[Any]) -> None:
        """Read some rows of a frame.

        Parameters
        ----------
        name : str
            One of `GROUPS`.
        frame : int
        first, last : int
            Rows, half open.
        out : ndarray, shape (last - first, C)
            Gets the pixels, C-contiguous.
        """
        number = self.info.numbers[frame]
        dataset = self.dataset(f"{name}/{number:04d}", "fiub", self.info.shape[:2])
        if dataset.dtype.kind != out.dtype.kind:
            raise self.fail(f"frame {number:04d} of {name} is of type {dataset.dtype}")
        with self.guard():
            dataset.read_direct(out, np.s_[first:last])
