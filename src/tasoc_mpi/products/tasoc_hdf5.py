"""The TASOC pipeline's own HDF5 files: one file a CCD, one compressed dataset a frame.

Groups `images`, `images_err`, `backgrounds` and `pixel_flags` hold the frames as `0000`, `0001`, ...;
the background is already taken out of the images. World coordinates are counted in pixels of the full
frame image, also here, where the arrays begin at its column 44.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingInput
from .cube import ATTRIBUTES
from .fitsread import card_value
from .framewcs import FrameWCS

__all__ = ["GROUPS", "TasocFile", "frame_reader", "is_tasoc", "open_tasoc"]

#: The groups of frames, and the type of their pixels.
GROUPS: dict[str, type[np.generic]] = {
    "images": np.float32,
    "images_err": np.float32,
    "pixel_flags": np.uint8,
    "backgrounds": np.float32,
}
_SERIES = ("time", "timecorr", "time_start", "time_stop", "cadenceno", "quality")
_CARD = 80
_WAY_OUT = "fetch it again, or make it again"


@dataclass(frozen=True)
class TasocFile:
    """Everything of a file but its frames.

    Attributes
    ----------
    path : Path
    attributes : mapping
        Those of `images`, all that a cube needs.
    shape : (int, int, int)
        Rows, columns, frames.
    chunk_rows : int
        Rows of a compressed piece of a frame.
    time, timecorr, time_start, time_stop : ndarray, shape (T,)
    cadenceno, quality : ndarray of int32, shape (T,)
    sumimage : ndarray of float32, shape (R, C)
    backgrounds_pixels_used : ndarray of uint8, shape (R, C)
    frames : tuple of str
        File names of the full frame images; empty strings where they are not known.
    wcs : FrameWCS
    wcs_cards : tuple of mapping or None
        Values of the cards of the headers; None for frames without one.
    wcs_headers : tuple of str
    ref_frame : int or None
        None where one header was stored for all frames.
    movement_kernel : ndarray, shape (T, n), or None
    warpmode : str
    """

    path: Path
    attributes: Mapping[str, Any]
    shape: tuple[int, int, int]
    chunk_rows: int
    time: NDArray[np.float64]
    timecorr: NDArray[np.float64]
    time_start: NDArray[np.float64]
    time_stop: NDArray[np.float64]
    cadenceno: NDArray[np.int32]
    quality: NDArray[np.int32]
    sumimage: NDArray[np.float32]
    backgrounds_pixels_used: NDArray[np.uint8]
    frames: tuple[str, ...]
    wcs: FrameWCS
    wcs_cards: tuple[Mapping[str, Any] | None, ...]
    wcs_headers: tuple[str, ...]
    ref_frame: int | None
    movement_kernel: NDArray[np.float64] | None
    warpmode: str


def is_tasoc(path: str | os.PathLike[str]) -> bool:
    """Whether an HDF5 file has a group of images, as TASOC's have."""
    try:
        with h5py.File(path, "r") as file:
            return isinstance(file.get("images"), h5py.Group)
    except (OSError, RuntimeError):
        return False


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The file; errors of the HDF5 library are told in one line that names it."""
    if not path.is_file():
        raise MissingInput(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (InputError, MemoryError):
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split()).strip("'\"")
        raise InputError(
            f"{path}: cannot be read as a file of the TASOC pipeline ({reason}); {_WAY_OUT}"
        ) from None


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
    with _opened(path) as file:
        if not isinstance(file.get("images"), h5py.Group):
            raise InputError(f"{path}: no group of images, as files of the TASOC pipeline have; {_WAY_OUT}")
        series = {name: file[name][()] for name in _SERIES}
        n_time = len(series["time"])
        shape, chunk_rows = _frames(path, file, n_time)
        for name in _SERIES:
            if series[name].shape != (n_time,):
                raise InputError(
                    f"{path}: {name} has {series[name].shape} values of {n_time} frames; {_WAY_OUT}"
                )
        headers, ref_frame = _headers(path, file["wcs"], n_time)
        movement, warpmode = _movement(path, file.get("movement_kernel"), n_time)
        attributes = _attributes(path, file["images"])
        maps = {name: file[name][()] for name in ("sumimage", "backgrounds_pixels_used")}
        for name, image in maps.items():
            if image.shape != shape:
                raise InputError(f"{path}: {name} is no image of {shape[0]} x {shape[1]} pixels; {_WAY_OUT}")
        names = _names(file.get("imagespaths"), n_time)
    cards = [_cards(text) if text else None for text in headers]
    return TasocFile(
        path=path,
        attributes=attributes,
        shape=(*shape, n_time),
        chunk_rows=chunk_rows,
        **{name: series[name].astype("f8") for name in _SERIES[:4]},
        **{name: series[name].astype("i4") for name in _SERIES[4:]},
        sumimage=maps["sumimage"].astype("f4"),
        backgrounds_pixels_used=maps["backgrounds_pixels_used"].astype("u1"),
        frames=names,
        wcs=FrameWCS.from_headers(cards),
        wcs_cards=tuple(cards),
        wcs_headers=tuple(headers),
        ref_frame=ref_frame,
        movement_kernel=movement,
        warpmode=warpmode,
    )


def _frames(path: Path, file: h5py.File, n_time: int) -> tuple[tuple[int, int], int]:
    """Rows and columns of the frames, and the rows of their pieces; InputError if one is missing."""
    if n_time == 0:
        raise InputError(f"{path}: no frames in it; {_WAY_OUT}")
    for name, dtype in GROUPS.items():
        group = file.get(name)
        if not isinstance(group, h5py.Group):
            raise InputError(f"{path}: no group {name}; {_WAY_OUT}")
        missing = {f"{t:04d}" for t in range(n_time)} - set(group)
        if missing or len(group) != n_time:
            lost = f", {min(missing)} is missing" if missing else ""
            raise InputError(
                f"{path}: {len(group)} frames in {name}, but {n_time} times{lost}: unfinished; {_WAY_OUT}"
            )
        if group["0000"].dtype.newbyteorder("=") != dtype:
            raise InputError(
                f"{path}: {name} is of type {group['0000'].dtype}, not {np.dtype(dtype)}; {_WAY_OUT}"
            )
    first = file["images/0000"]
    if first.ndim != 2:
        raise InputError(f"{path}: frames of {first.ndim} dimensions; {_WAY_OUT}")
    return first.shape, first.chunks[0] if first.chunks else 1


def _attributes(path: Path, images: h5py.Group) -> dict[str, Any]:
    found: dict[str, Any] = {"TIME_OFFSET_CORRECTED": False}
    for key in ATTRIBUTES:
        if key in images.attrs:
            value = images.attrs[key]
            value = value.item() if isinstance(value, np.generic | np.ndarray) else value
            value = value.decode() if isinstance(value, bytes) else value
            # Cards that the frames did not have are stored as an empty value.
            found[key] = {"PROCVER": "", "CRBLKSZ": 0}.get(key, 0) if isinstance(value, h5py.Empty) else value
        elif key not in found:
            raise InputError(f"{path}: images has no attribute {key}; {_WAY_OUT}")
    return found


def _headers(path: Path, wcs: h5py.Group | h5py.Dataset, n_time: int) -> tuple[list[str], int | None]:
    """The header of every frame's WCS, and the reference frame."""
    if isinstance(wcs, h5py.Dataset):
        return [_text(wcs)] * n_time, None
    headers = [_text(wcs[f"{t:04d}"]) for t in range(n_time)]
    ref_frame = int(wcs.attrs["ref_frame"])
    if not 0 <= ref_frame < n_time:
        raise InputError(f"{path}: reference frame {ref_frame} of {n_time} frames; {_WAY_OUT}")
    return headers, ref_frame


def _text(dataset: h5py.Dataset) -> str:
    """The string of a dataset, scalar or of one element."""
    value = np.asarray(dataset[()]).ravel()
    text = value[0] if len(value) else ""
    return text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)


def _cards(text: str) -> dict[str, Any]:
    """Values of the cards of a header, with or without line breaks."""
    lines = text.splitlines() if "\n" in text else [text[i : i + _CARD] for i in range(0, len(text), _CARD)]
    return {line[:8].rstrip(): card_value(line[10:]) for line in lines if line[8:10] == "= "}


def _movement(path: Path, dataset: Any, n_time: int) -> tuple[NDArray[np.float64] | None, str]:
    """Image movement kernels and their kind."""
    if dataset is None:
        return None, "wcs"
    warpmode = dataset.attrs["warpmode"]
    warpmode = warpmode.decode() if isinstance(warpmode, bytes) else str(warpmode)
    if warpmode == "wcs":
        return None, "wcs"
    if isinstance(dataset, h5py.Group):
        values = np.stack([dataset[f"{t:04d}"][()] for t in range(n_time)])
    else:
        values = dataset[()]
    if values.ndim != 2 or len(values) != n_time:
        raise InputError(f"{path}: movement_kernel has shape {values.shape} for {n_time} frames; {_WAY_OUT}")
    return values.astype("f8"), warpmode


def _names(dataset: Any, n_time: int) -> tuple[str, ...]:
    """File names without their folders."""
    if dataset is None or dataset.shape != (n_time,):
        return ("",) * n_time
    return tuple(Path(name).name for name in dataset.asstr()[()])


@contextmanager
def frame_reader(info: TasocFile) -> Iterator[FrameReader]:
    """Open the file for reading frames; damages are an InputError."""
    with _opened(info.path) as file:
        yield FrameReader(info, file)


@dataclass(frozen=True)
class FrameReader:
    """A file open for reading frames; made by `frame_reader`."""

    info: TasocFile
    file: h5py.File

    def read(self, name: str, frame: int, first: int, last: int, out: NDArray[Any]) -> None:
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
        dataset = self.file[name][f"{frame:04d}"]
        if dataset.shape != self.info.shape[:2]:
            raise InputError(
                f"{self.info.path}: frame {frame:04d} of {name} has shape {dataset.shape}; {_WAY_OUT}"
            )
        dataset.read_direct(out, np.s_[first:last])
