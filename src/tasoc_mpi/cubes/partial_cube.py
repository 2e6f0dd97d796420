"""The unfinished cube: all but its pixels is written at once, and found again after an interruption."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..core.atomic import rename_whole
from ..core.errors import InputError, TasocError
from ..kernels.background_model import BackgroundModel
from ..products.cube import allocate_cube, describe_cube, finish_cube, write_background, write_wcs
from .background import ALGORITHM
from .checkpoint import Checkpoint
from .file_writing import writing
from .frame_series import FrameSeries

__all__ = [
    "CubeContent",
    "allocate_content",
    "begin_rows",
    "end_cube",
    "file_digests",
    "frames_digest",
    "series_digest",
]

_PIXELS = ("images", "images_err", "pixel_flags", "sumimage", "backgrounds_pixels_used")
#: Changes whenever the same frames would give other backgrounds or other cubes.
_VERSION = 6


@dataclass(frozen=True)
class CubeContent:
    """Everything of a cube but its pixels."""

    series: FrameSeries
    quality: NDArray[np.int32]  #: Shape (T,): with the flags of target pixel files
    model: BackgroundModel  #: Averaged in time
    ref_frame: int
    ephemeris: NDArray[np.float64]  #: Shape (T, 3): light-days
    ephemeris_source: str
    movement: NDArray[np.float64] | None  #: Shape (T, n): movement kernels of the kind `warpmode`
    warpmode: str | None
    backgrounds: bool  #: The background is to be stored as pixels too

    @property
    def pixels(self) -> tuple[str, ...]:
        """Datasets that are written as bytes at their place in the file, without the HDF5 library, which can
        leave an unreadable file behind when it is killed."""
        return (*_PIXELS, "backgrounds") if self.backgrounds else _PIXELS

    @property
    def arrays(self) -> dict[str, NDArray]:
        """Datasets, by name."""
        s = self.series
        return {
            "time": s.time,
            "timecorr": s.timecorr,
            "time_start": s.time_start,
            "time_stop": s.time_stop,
            "cadenceno": s.cadenceno,
            "quality": self.quality,
            "ephemeris": self.ephemeris,
        }

    def digest(self) -> str:
        """SHA-256 of all of it and of the frames' files, hexadecimal."""
        digest = hashlib.sha256(frames_digest(self.series).encode())
        for array in (*self.arrays.values(), self.model.mesh, self.model.radial, self.movement):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        settings = dict(self.series.attributes)
        words = [settings, self.ref_frame, self.ephemeris_source, self.warpmode, self.series.wcs_headers]
        words.append(self.backgrounds)
        digest.update(json.dumps(words, sort_keys=True).encode())
        return digest.hexdigest()


def file_digests(series: FrameSeries) -> NDArray[np.uint32]:
    """Numbers that identify the files of the frames, shape (T,), by name, size and time of change."""
    numbers = []
    for info in series.infos:
        stat = info.path.stat()
        numbers.append(zlib.crc32(f"{info.name} {stat.st_size} {stat.st_mtime_ns}".encode()))
    return np.array(numbers, dtype="u4")


def frames_digest(series: FrameSeries) -> str:
    """SHA-256 of all that the pixels of a cube depend on: files, region and this program's algorithm."""
    words = [file_digests(series).tolist(), series.excluded.tolist(), series_digest(series, 0, None)]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def series_digest(series: FrameSeries, samples: int, movement: str | None) -> str:
    """SHA-256 of all that a checkpoint depends on as a whole: names of the frames, region and options."""
    words = [
        _VERSION,
        ALGORITHM,
        [info.name for info in series.infos],
        series.shape,
        series.origin,
        series.background_applied,
        samples,
        movement,
    ]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def begin_rows(
    part: Path, digest: str, names: Sequence[str], allocate: Callable[[Path], None], checkpoint: Checkpoint
) -> dict[str, int]:
    """The first bytes of the datasets of pixels (`names`) in an unfinished cube, continued or new.

    A cube is continued if `digest`, of all of it but its pixels, is that of the checkpoint; otherwise
    `allocate` makes one in which only the pixels are missing. InputError if there is no room on the disk.
    """
    offsets = checkpoint.continued_rows(digest, part, names)
    if offsets is not None:
        return offsets
    # Also where it was killed while the file was begun, or while it was finished.
    with writing(part):
        part.unlink(missing_ok=True)
    try:
        allocate(part)
        with h5py.File(part, "r") as file:
            datasets = {name: file[name].id for name in names}
            places = {name: (one.get_offset(), one.get_storage_size()) for name, one in datasets.items()}
    except OSError as error:
        part.unlink(missing_ok=True)
        if isinstance(error, TasocError):
            raise
        # Messages of the HDF5 library have several lines.
        reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())[:160]
        raise InputError(
            f"{part}: cannot be written ({reason}); make room and start again, what was done is kept"
        ) from None
    checkpoint.begin_rows(digest, part, places)
    return {name: place for name, (place, _) in places.items()}


def allocate_content(content: CubeContent, part: Path) -> None:
    """Make an unfinished cube in which only the pixels are missing; their room is not reserved yet."""
    series = content.series
    allocate_cube(part, (*series.shape, len(series)), series.attributes, content.backgrounds)
    with h5py.File(part, "r+") as file:
        for name, array in content.arrays.items():
            file.create_dataset(name, data=array)
        file["ephemeris"].attrs["source"] = content.ephemeris_source
        names = np.array([info.name for info in series.infos], dtype=object)
        file.create_dataset("frames", data=names, dtype=h5py.string_dtype())
        file.create_dataset("sumimage", data=np.full(series.shape, np.nan, dtype="f4"))
        file.create_dataset("backgrounds_pixels_used", data=np.zeros(series.shape, dtype="u1"))
        write_wcs(file, series.wcs, list(series.wcs_headers), content.ref_frame)
        write_background(file, content.model)
        if content.movement is not None:
            file.create_dataset("movement_kernel", data=content.movement)
            file["movement_kernel"].attrs["warpmode"] = content.warpmode
        describe_cube(file)


def end_cube(part: Path, path: Path) -> None:
    """Mark a cube whose pixels are all there as whole, and give it its name."""
    with h5py.File(part, "r+") as file:
        finish_cube(file)
    rename_whole(part, path)
