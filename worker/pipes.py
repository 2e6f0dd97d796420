"""What the two processes of a worker say to each other: frames of bytes over pipes.

The watching process sends `JOB` once, then `TASKS`; the computing one says `READY` when it can compute, and
answers with `RESULTS` as stars are done, some of a batch at a time. The arrays in them are those of
`tasoc_mpi.core.messages`.
"""

from __future__ import annotations

import os
import select
import struct
from enum import IntEnum

from ..core.messages import ProtocolError

__all__ = ["Frames", "Kind", "frame", "read_frame", "readable", "write_all"]

_HEADER = struct.Struct("<qqq")
_MAGIC = 0x7A50C_F4A3


class Kind(IntEnum):
    """What a frame holds."""

    JOB = 1
    """To the computing process: what is the same for all stars, as JSON."""
    TASKS = 2
    """To the computing process: a batch, as `pack_tasks` packs it."""
    READY = 3
    """To the watching process: everything is imported. Empty."""
    RESULTS = 4
    """To the watching process: the next stars of the oldest batch, as `pack_results` packs them."""
    FATAL = 5
    """To the watching process: why the whole run has to end, as JSON."""


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    """A frame as bytes."""
    return _HEADER.pack(_MAGIC, kind, len(payload)) + payload


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take in what was read."""
        self._buffer += data

    def pop(self) -> tuple[Kind, bytes] | None:
        """The next frame, or None if it is not whole yet.

        Raises
        ------
        ProtocolError
            If the stream is not made of frames.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        kind, size = _parse(self._buffer)
        end = _HEADER.size + size
        if len(self._buffer) < end:
            return None
        payload = bytes(memoryview(self._buffer)[_HEADER.size : end])
        del self._buffer[:end]
        return kind, payload


def _parse(header: bytes | bytearray) -> tuple[Kind, int]:
    magic, kind, size = _HEADER.unpack_from(header)
    if magic != _MAGIC or kind not in Kind.__members__.values() or size < 0:
        raise ProtocolError("the processes of a worker do not understand each other; is it one version?")
    return Kind(kind), size


def read_frame(fd: int) -> tuple[Kind, bytes] | None:
    """The next frame of a pipe, waiting for it; None at the pipe's end.

    Raises
    ------
    ProtocolError
        If the stream is not made of frames.
    """
    header = _read(fd, _HEADER.size)
    if header is None:
        return None
    kind, size = _parse(header)
    payload = _read(fd, size)
    return None if payload is None else (kind, payload)


def _read(fd: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, waiting for the reader; raises BrokenPipeError if there is none."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def readable(fd: int) -> bool:
    """Whether something (or the end) can be read at once."""
    return bool(select.select([fd], [], [], 0)[0])
