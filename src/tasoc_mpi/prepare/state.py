"""What an unfinished cube has got so far, so that a killed program continues where it stopped.

A fixed layout, mapped into memory: what was written is in the file when the process is gone. Records
carry a checksum, as the machine may have stopped in the middle of one.
"""

from __future__ import annotations

import fcntl
import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["FITTED", "LEFT_OUT", "State", "exclusive", "publish"]

_MAGIC = b"tasoc-mpi prepare 1"
#: A frame's background was fitted; a frame that has none.
FITTED, LEFT_OUT = 1, 2


class State:
    """The state file of one cube.

    Parameters
    ----------
    path : Path
        Made anew if it is not there or belongs to other frames.
    key : str
        What the frames' backgrounds depend on, as 64 hexadecimal digits.
    frames, rows : int
    mesh_shape : (int, int)
    nodes : int
        Number of nodes of the radial profile.
    parameters : int
        Number of parameters of a movement kernel.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        frames: int,
        rows: int,
        mesh_shape: tuple[int, int],
        nodes: int,
        parameters: int,
    ) -> None:
        background = [
            ("crc", "<u4"),
            ("kind", "<u4"),
            ("levels", "<f4", mesh_shape),
            ("radial", "<f4", (nodes,)),
        ]
        movement = [("crc", "<u4"), ("values", "<f8", (parameters,))]
        dtype = np.dtype(
            [
                ("magic", "S32"),
                ("key", "S64"),
                ("cube_key", "S64"),
                ("frames", background, (frames,)),
                ("movement", movement, (frames,)),
                ("rows", "u1", (rows,)),
            ]
        )
        self.path = path
        self.continued = self._belongs(dtype.itemsize, key)
        if not self.continued:
            with open(path, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, dtype.itemsize)
        self._map = np.memmap(path, dtype, "r+", shape=(1,))
        self._data = self._map[0]
        if not self.continued:
            self._data["key"] = key.encode()
            self._data["magic"] = _MAGIC
            self.flush()

    def _belongs(self, size: int, key: str) -> bool:
        try:
            with open(self.path, "rb") as file:
                head = file.read(96)
                return (
                    os.fstat(file.fileno()).st_size == size
                    and head[:32].rstrip(b"\0") == _MAGIC
                    and head[32:].rstrip(b"\0") == key.encode()
                )
        except FileNotFoundError:
            return False

    def flush(self) -> None:
        """Have everything on the disk."""
        self._map.flush()

    def backgrounds_done(self) -> NDArray[np.bool_]:
        """Frames whose background is known, shape (T,)."""
        return np.array(
            [_crc(record) == record["crc"] and record["kind"] > 0 for record in self._data["frames"]]
        )

    def set_background(
        self,
        frame: int,
        kind: int,
        levels: NDArray[np.float32] | None = None,
        radial: NDArray[np.float32] | None = None,
    ) -> None:
        """Note the background of a frame; NaN if none is given."""
        record = self._data["frames"][frame]
        record["crc"] = 0
        record["kind"] = kind
        record["levels"] = np.nan if levels is None else levels
        record["radial"] = np.nan if radial is None else radial
        record["crc"] = _crc(record)

    def backgrounds(self) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]:
        """Kinds (T,), box levels (M, N, T) and radial profiles (K, T) of all frames."""
        frames = self._data["frames"]
        return (
            frames["kind"].copy(),
            np.ascontiguousarray(np.moveaxis(frames["levels"], 0, -1)),
            np.ascontiguousarray(frames["radial"].T),
        )

    def movements_done(self) -> NDArray[np.bool_]:
        """Frames whose movement kernel is known, shape (T,)."""
        return np.array(
            [_crc(record) == record["crc"] and record["crc"] > 0 for record in self._data["movement"]]
        )

    def set_movement(self, frame: int, values: NDArray[np.float64]) -> None:
        """Note the movement kernel of a frame."""
        record = self._data["movement"][frame]
        record["crc"] = 0
        record["values"] = values
        record["crc"] = _crc(record)

    def movements(self) -> NDArray[np.float64]:
        """Movement kernels of all frames, shape (T, n)."""
        return self._data["movement"]["values"].copy()

    @property
    def cube_key(self) -> str:
        """What the rows of the cube were made from; empty if none were."""
        return bytes(self._data["cube_key"]).decode("ascii", "replace")

    def begin_rows(self, cube_key: str) -> None:
        """Start with the cube's rows anew."""
        self._data["rows"][:] = 0
        self._data["cube_key"] = cube_key.encode()
        self.flush()

    @property
    def rows_done(self) -> NDArray[np.bool_]:
        """Rows of the cube that are written and on the disk."""
        return self._data["rows"] == 1

    def set_rows(self, first: int, last: int) -> None:
        """Note that rows are written and on the disk."""
        self._data["rows"][first:last] = 1
        self.flush()


def _crc(record: np.void) -> int:
    # Never 0, the checksum of a record that was not written.
    return zlib.crc32(record.tobytes()[4:]) or 1


def publish(part: Path, path: Path) -> None:
    """Give a whole file its name, all of it on the disk."""
    for place, mode in ((part, os.O_RDWR), (path.parent, os.O_RDONLY)):
        if place is not part:
            os.replace(part, path)
        descriptor = os.open(place, mode)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; InputError names who else holds it.

    The file is removed at the end. Whoever opened it before that and waited gets a file that is no longer
    there, notices, and makes his own.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "unknown"
            os.close(descriptor)
            raise InputError(f"{path}: another prepare ({holder}) is making this cube; wait for it") from None
        try:
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
