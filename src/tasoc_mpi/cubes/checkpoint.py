"""The checkpoint of an unfinished cube: results so far, with which a killed program continues.

A fixed layout: a head that is mapped into memory and written by rank 0 alone, then the image of the
stars and the frames' flags, which all ranks write at their places. Data that a process has written stays in
the file when the process is killed. A record carries a checksum (CRC-32), as the machine may have stopped in
the middle of it, and a digest, a number that identifies its input: a record of other input counts as missing.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..core.input_files import InputFile
from .file_writing import writing
from .shared_images import SharedImages

__all__ = ["FITTED", "LEFT_OUT", "NO_SKY", "Checkpoint"]

logger = logging.getLogger(__name__)

_MAGIC = b"tasoc-mpi prepare 3"
#: A frame's background was fitted; a frame without pixels; one whose pixels do not show enough of the sky.
FITTED, LEFT_OUT, NO_SKY = 1, 2, 3
#: Bytes that are read at once.
_READ_AT_ONCE = 1 << 24
#: First byte and size of the flags that the HDF5 library sets in a file that it opens for writing.
_FLAGS = (20, 4)
#: Of pixels, in a cube.
_MOST_DATASETS = 8


class Checkpoint:
    """The checkpoint file of one cube.

    Parameters
    ----------
    path : Path
        Made anew if it is not there or belongs to other frames.
    digest : str
        SHA-256 of the input on which all of the file depends, as 64 hexadecimal digits.
    frames, rows : int
    mesh_shape : (int, int)
    nodes : int
        Number of nodes of the radial profile.
    parameters : int
        Number of parameters of a movement kernel.
    columns : int
        Number of columns; 0 where there is no need for images.
    samples : int
        Number of frames that the image of the stars is made of.

    Attributes
    ----------
    continued : bool
        Whether the file was there.
    images : SharedImages
        The image of the stars, and the masks of the frames.
    """

    def __init__(
        self,
        path: Path,
        digest: str,
        frames: int,
        rows: int,
        mesh_shape: tuple[int, int],
        nodes: int,
        parameters: int,
        columns: int = 0,
        samples: int = 0,
    ) -> None:
        background = [("levels", "<f4", mesh_shape), ("radial", "<f4", (nodes,))]
        dtype = np.dtype(
            [
                ("magic", "S32"),
                ("digest", "S64"),
                ("cube_digest", "S64"),
                ("stars_digest", "<u4"),
                ("samples", _record(background), (samples,)),
                ("frames", _record(background), (frames,)),
                ("flags", _record([("count", "<u4"), ("mask", "<u4")]), (frames,)),
                ("movement", _record([("values", "<f8", (parameters,))]), (frames,)),
                ("stars_rows", "u1", (rows,)),
                ("stars_checksums", "<u4", (rows,)),
                ("rows", "u1", (rows,)),
                ("places", "<i8", (_MOST_DATASETS, 2)),
                ("part_checksum", "<u4"),
                ("rows_checksum", "<u4"),
            ]
        )
        self.path = path
        self.images = SharedImages.behind(path, dtype.itemsize, frames, rows, columns)
        self.continued = self._belongs(self.images.end, digest)
        if not self.continued:
            self._begin()
        self._map = np.memmap(path, dtype, "r+", shape=(1,))
        self._data = self._map[0]
        if not self.continued:
            self._data["digest"] = digest.encode()
            self._data["magic"] = _MAGIC
            self.flush()

    def _begin(self) -> None:
        """An empty file."""
        try:
            with writing(self.path), open(self.path, "wb") as file:
                # Flags are of few frames: their places are taken from the disk when they are written.
                os.posix_fallocate(file.fileno(), 0, self.images.masks_at)
                os.ftruncate(file.fileno(), self.images.end)
        except InputError:
            self.path.unlink(missing_ok=True)
            raise

    def _belongs(self, size: int, digest: str) -> bool:
        """Whether the file is there and of the same frames; the log says why not."""
        try:
            with InputFile(self.path, unpack=False) as file:
                head, there = file.read_at(0, 96), file.size
                if head[:32].rstrip(b"\0") != _MAGIC:
                    reason = "damaged, or of another version"
                elif head[32:].rstrip(b"\0") != digest.encode():
                    reason = "of other frames or options"
                elif there != size:
                    reason = "damaged"
                else:
                    return True
        except MissingInput:
            return False
        logger.warning("%s: %s; it is begun anew", self.path, reason)
        return False

    def flush(self) -> None:
        """Have everything on the disk."""
        self._map.flush()

    def done(self, kind: str, digests: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which records of a kind ('samples', 'frames', 'flags', 'movement') have these digests."""
        records = self._data[kind]
        return np.array(
            [
                bool(record["digest"] == digest and _checksum(record) == record["checksum"])
                for record, digest in zip(records, digests, strict=True)
            ],
            dtype=bool,
        )

    def _set(self, kind: str, index: int, digest: int, **values: Any) -> None:
        record = self._data[kind][index]
        record["checksum"] = 0
        record["digest"] = digest
        for name, value in values.items():
            record[name] = value
        record["checksum"] = _checksum(record)

    def set_background(
        self,
        kind: str,
        index: int,
        digest: int,
        verdict: int,
        levels: NDArray[np.float32] | None = None,
        radial: NDArray[np.float32] | None = None,
    ) -> None:
        """Note the background of a frame ('frames' or 'samples'); NaN if none is given."""
        levels_or_nan = np.nan if levels is None else levels
        radial_or_nan = np.nan if radial is None else radial
        self._set(kind, index, digest, verdict=verdict, levels=levels_or_nan, radial=radial_or_nan)

    def backgrounds(
        self, kind: str = "frames"
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]:
        """Verdicts (T,), box levels (M, N, T) and radial profiles (K, T) of all frames."""
        records = self._data[kind]
        return (
            records["verdict"].copy(),
            np.ascontiguousarray(np.moveaxis(records["levels"], 0, -1)),
            np.ascontiguousarray(records["radial"].T),
        )

    def stars_done(self, digest: int) -> NDArray[np.bool_]:
        """Rows of the image of the stars that are there, shape (R,); none if it was made from other input."""
        rows, checksums = self._data["stars_rows"], self._data["stars_checksums"]
        if self._data["stars_digest"] != digest:
            rows[:] = 0
            self._data["stars_digest"] = digest
        for row in np.flatnonzero(rows).tolist():
            rows[row] = rows[row] == 1 and zlib.crc32(self.images.star_row(row)) == checksums[row]
        return rows == 1

    def set_stars(self, first: int, last: int, checksums: Sequence[int] | NDArray[np.uint32]) -> None:
        """Note that rows of the image of the stars are in the file, and the checksum of each."""
        self._data["stars_checksums"][first:last] = checksums
        self._data["stars_rows"][first:last] = 1

    def set_flags(self, frame: int, digest: int, count: int, mask: int) -> None:
        """Note how many pixels of a frame are flagged, and the checksum of its flags in the file."""
        self._set("flags", frame, digest, count=count, mask=mask)

    def flagged(self) -> NDArray[np.uint32]:
        """Number of flagged pixels of every frame, shape (T,)."""
        return self._data["flags"]["count"].copy()

    def damaged_flags(self) -> list[int]:
        """Frames whose flags in the file are not those that were noted; they are to be made again."""
        records = self._data["flags"]
        found = [
            t
            for t in np.flatnonzero(records["count"]).tolist()
            if self.images.mask_checksum(t) != records[t]["mask"]
        ]
        records["checksum"][found] = 0
        return found

    def set_movement(self, frame: int, digest: int, values: NDArray[np.float64]) -> None:
        """Note the movement kernel of a frame."""
        self._set("movement", frame, digest, values=values)

    def movements(self) -> NDArray[np.float64]:
        """Movement kernels of all frames, shape (T, n)."""
        return self._data["movement"]["values"].copy()

    @property
    def cube_digest(self) -> str:
        """What the rows of the cube were made from; empty if none were, or their notes are damaged."""
        if self._rows_checksum() != self._data["rows_checksum"]:
            return ""
        return bytes(self._data["cube_digest"]).decode("ascii", "replace")

    def begin_rows(self, cube_digest: str, part: Path, places: Mapping[str, tuple[int, int]]) -> None:
        """Start with the cube's rows anew.

        Parameters
        ----------
        cube_digest : str
            SHA-256 of the content of the cube without its pixels.
        part : Path
            The unfinished cube, complete but for its pixels.
        places : mapping
            Name of a dataset of pixels to its first byte in that file and its size.
        """
        self._data["rows"][:] = 0
        self._data["cube_digest"] = cube_digest.encode()
        self._data["places"] = 0
        self._data["places"][: len(places)] = list(places.values())
        self._data["part_checksum"] = _checksum_without(part, [_FLAGS, *places.values()])
        self._data["rows_checksum"] = self._rows_checksum()
        self.flush()

    def continued_rows(self, cube_digest: str, part: Path, names: Sequence[str]) -> dict[str, int] | None:
        """First bytes of the datasets of pixels in the unfinished cube; None if there is no such thing.

        That is: if its content is another, or if anything but its pixels has changed.
        """
        if self.cube_digest != cube_digest or not part.exists():
            return None
        places = self._data["places"][: len(names)].tolist()
        if _checksum_without(part, [_FLAGS, *places]) != self._data["part_checksum"]:
            return None
        return {name: place for name, (place, _) in zip(names, places, strict=True)}

    def _rows_checksum(self) -> int:
        parts = (self._data[name] for name in ("cube_digest", "rows", "places", "part_checksum"))
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part if isinstance(part, bytes) else part.tobytes(), checksum)
        return checksum

    @property
    def rows_done(self) -> NDArray[np.bool_]:
        """Rows of the cube that are written and on the disk."""
        return self._data["rows"] == 1

    def set_rows(self, first: int, last: int) -> None:
        """Note that rows are written and on the disk."""
        self._data["rows"][first:last] = 1
        self._data["rows_checksum"] = self._rows_checksum()
        self.flush()


def _checksum_without(path: Path, places: Sequence[Sequence[int]]) -> int:
    """Checksum of a file without the given parts (first byte, size)."""
    checksum, start = 0, 0
    with InputFile(path, unpack=False) as file:
        for first, size in [*sorted(map(tuple, places)), (file.size, 0)]:
            while start < first:
                data = file.read_at(start, min(first - start, _READ_AT_ONCE))
                if not data:
                    break
                checksum = zlib.crc32(data, checksum)
                start += len(data)
            start = max(start, first + size)
        return zlib.crc32(str(file.size).encode(), checksum)


def _record(fields: list[tuple[Any, ...]]) -> np.dtype[np.void]:
    return np.dtype([("checksum", "<u4"), ("digest", "<u4"), ("verdict", "<u4"), *fields])


def _checksum(record: np.void) -> int:
    # Never 0, the checksum of a record that was not written.
    return zlib.crc32(record.tobytes()[4:]) or 1
