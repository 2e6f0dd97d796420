"""The image of the stars and the masks of the frames: the part of a checkpoint file that all ranks write."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .file_writing import write_at, writing

__all__ = ["SharedImages"]

#: Places in the file that processes write to begin at a multiple of this.
_PAGE = 65536


@dataclass(frozen=True)
class SharedImages:
    """The part of a checkpoint file that all ranks write."""

    path: Path
    frames: int
    rows: int
    columns: int
    #: First byte of the image of the stars, float32, rows x columns. The masks follow it, a bit a pixel.
    stars_at: int

    @classmethod
    def behind(cls, path: Path, head: int, frames: int, rows: int, columns: int) -> SharedImages:
        """The images behind a head of so many bytes."""
        return cls(path, frames, rows, columns, -(-head // _PAGE) * _PAGE)

    @property
    def masks_at(self) -> int:
        """First byte of the masks."""
        return self.stars_at + -(-4 * self.rows * self.columns // _PAGE) * _PAGE

    @property
    def _width(self) -> int:
        """Bytes of a row of a mask."""
        return -(-self.columns // 8)

    @property
    def end(self) -> int:
        """Size of the file."""
        return self.masks_at + self.frames * self.rows * self._width

    def read_stars(self) -> NDArray[np.float32]:
        """The image of the stars, shape (R, C)."""
        count = self.rows * self.columns
        image = np.fromfile(self.path, "<f4", count=count, offset=self.stars_at)
        return image.reshape(self.rows, self.columns)

    def star_row(self, row: int) -> bytes:
        """The bytes of a row of the image of the stars."""
        return self._read(self.stars_at + row * 4 * self.columns, 4 * self.columns)

    def write_stars(self, first: int, rows: NDArray[np.float32]) -> None:
        """Write rows of the image of the stars, from row `first` on."""
        self._write(self.stars_at + 4 * first * self.columns, rows.astype("<f4", copy=False))

    def write_mask(self, t: int, mask: NDArray[np.bool_]) -> int:
        """Write the mask of a frame, shape (R, C); return its checksum."""
        bits = np.packbits(mask, axis=1)
        self._write(self._mask_at(t), bits)
        return zlib.crc32(bits.tobytes())

    def read_mask(self, t: int, first: int, last: int) -> NDArray[np.uint8]:
        """Rows `first` to `last` of the mask of a frame, 0 or 1."""
        data = self._read(self._mask_at(t) + first * self._width, (last - first) * self._width)
        bits = np.frombuffer(data, "u1").reshape(last - first, self._width)
        return np.unpackbits(bits, axis=1, count=self.columns)

    def mask_checksum(self, t: int) -> int:
        """Checksum of the mask of a frame as it is in the file."""
        return zlib.crc32(self._read(self._mask_at(t), self.rows * self._width))

    def _mask_at(self, t: int) -> int:
        return self.masks_at + t * self.rows * self._width

    def _read(self, place: int, size: int) -> bytes:
        with open(self.path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), size, place)

    def _write(self, place: int, data: NDArray[Any]) -> None:
        """Write and sync: other ranks, perhaps on other nodes, read it in the next step."""
        with writing(self.path):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                write_at(descriptor, place, data)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
