"""The log of a CCD's results, to which a run appends messages as they come.

``OUTPUT/results/sSSS-C-D.log`` is a header and records behind it, which are only appended:

- `RESULTS`: a message of results (see `messages`) as it came from a worker. The last result of a star counts.
- `RESET`: stars (by priority) that are to be computed again, and the version of their light curves. Until its
  new result comes, the old one of each stays valid.

Each record has a checksum. The next run cuts off an incomplete record that a kill or a loss of power leaves
at the end. Of a log that is damaged before its end the records before the damage count: the next run keeps
the file as ``....log.damaged`` and goes on with a copy of these records.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import open_regular, write_whole
from ..core.errors import InputError
from ..core.messages import LAYOUT, Bundle, ProtocolError, unpack_many
from ..core.status import ENDS
from .work_list import CCD, WorkList, ccd_name

__all__ = ["LogReader", "LogWriter", "Reset", "ResultGroup", "damaged_path", "log_path", "reset_payload"]

logger = logging.getLogger(__name__)

RESULTS, RESET = 1, 2

_MAGIC = b"\x9etasoclg"
_FORMAT = 1
#: Magic, format, layout of messages, version of light curves, CCD, digest of the rows, CRC-32 of these.
_HEADER = struct.Struct("<8sIqiiii32sI")
#: Begins every record, so that records behind a damaged one are recognised.
_MARK = b"\xb5rec"
#: Mark, kind, time (Unix), size of the payload, CRC-32 of all of this and the payload.
_RECORD = struct.Struct("<4sIdII")
#: Version of the light curves, then the priorities.
_VERSION = struct.Struct("<q")

#: Largest record (bytes): one with a larger size is damaged.
_LARGEST = 1 << 27
#: Messages and bytes that are read at once.
_MESSAGES, _BYTES = 500, 16 << 20


def log_path(output: Path, ccd: CCD) -> Path:
    """The log of a CCD in an output folder."""
    return output / "results" / f"{ccd_name(ccd)}.log"


def damaged_path(path: Path) -> Path:
    """Where a log is kept that was damaged before its end."""
    return path.with_name(f"{path.name}.damaged")


def pack_record(kind: int, when: float, payload: bytes | bytearray | memoryview) -> bytes:
    """One record as bytes, without its payload, which follows it."""
    start = _RECORD.pack(_MARK, kind, when, len(payload), 0)
    return start[:-4] + struct.pack("<I", zlib.crc32(payload, zlib.crc32(start[:-4])))


def reset_payload(version: int, priorities: NDArray[np.int64]) -> bytes:
    """The content of a `RESET`."""
    return _VERSION.pack(version) + np.ascontiguousarray(priorities, "<i8").tobytes()


@dataclass(frozen=True)
class ResultGroup:
    """Results of some records: their rows of the work list, what they hold, and when each message came."""

    index: NDArray[np.int64]
    bundle: Bundle
    times: NDArray[np.float64]


@dataclass(frozen=True)
class Reset:
    """Rows of the work list that are to be computed again, and the version that they get."""

    index: NDArray[np.int64]
    version: int


class LogReader:
    """Reads the log of a CCD, also while a run appends to it.

    Parameters
    ----------
    path : Path
        The log.
    worklist : WorkList
        The work list whose results it has to hold.
    ccd : (int, int, int)
    stop : int, optional
        Read nothing behind this byte.

    Attributes
    ----------
    version : int
        Of the light curves, after what has been read.
    versions : set of int
        All that there have been.
    end : int
        Byte behind the last record that was read; 0 where there is no log.
    damage : int or None
        Where records begin that cannot be read although others follow them.

    Raises
    ------
    InputError
        If it is no log, of another version of the program, or of another work list.
    """

    def __init__(self, path: Path, worklist: WorkList, ccd: CCD, stop: int | None = None) -> None:
        self.path, self.worklist, self.ccd = path, worklist, ccd
        self.end = 0
        self.damage: int | None = None
        self.version = -1
        self.versions: set[int] = set()
        self._stop = stop
        self._number = worklist.ccds.index(ccd)
        with self._open() as file:
            if file is not None:
                self._read_header(file.read(_HEADER.size))

    @property
    def exists(self) -> bool:
        """Whether there is a log."""
        return self.end > 0

    @contextlib.contextmanager
    def _open(self) -> Iterator[BinaryIO | None]:
        """The file, or None where there is none; nothing but a regular file is opened."""
        descriptor = _open_log(self.path, os.O_RDONLY)
        if descriptor is None:
            yield None
            return
        with os.fdopen(descriptor, "rb", buffering=1 << 20) as file:
            yield file

    def _read_header(self, data: bytes) -> None:
        whole = len(data) == _HEADER.size and data.startswith(_MAGIC)
        if not whole or zlib.crc32(data[:-4]) != _HEADER.unpack(data)[-1]:
            raise InputError(
                f"{self.path}: not a log of results, or damaged in its first {_HEADER.size} bytes; move it"
                " away, and its stars are computed again"
            )
        _, form, layout, version, *ccd, digest, _ = _HEADER.unpack(data)
        if (form, layout) != (_FORMAT, LAYOUT):
            raise InputError(
                f"{self.path}: of another version of tasoc-mpi; use the one that wrote it, or name another"
                " --output"
            )
        if tuple(ccd) != self.ccd or digest != self.worklist.fingerprint(self.ccd):
            raise InputError(
                f"{self.path}: holds results of another work list than {self.worklist.path}; name another"
                f" --output, or move {self.path.parent} away"
            )
        self.version = version
        self.versions = {version}
        self.end = _HEADER.size

    def read(self) -> Iterator[ResultGroup | Reset]:
        """What has been appended since the last call, in order.

        Yields
        ------
        ResultGroup or Reset
        """
        with self._open() as file:
            if file is None:
                return
            if not self.exists:
                self._read_header(file.read(_HEADER.size))
            batch: list[tuple[bytes, float, int]] = []
            for kind, when, payload, end in self._records(file):
                if kind == RESULTS:
                    batch.append((payload, when, end))
                    if len(batch) < _MESSAGES and end - self.end < _BYTES:
                        continue
                yield from self._groups(batch)
                batch = []
                if self.damage is not None:
                    return
                if kind == RESET:
                    reset = self._reset(payload)
                    if reset is None:
                        self._note_damage(self.end)
                        return
                    yield reset
                    self.end = end
            yield from self._groups(batch)

    def _records(self, file: BinaryIO) -> Iterator[tuple[int, float, bytes, int]]:
        """Kind, time, payload and end of each whole record."""
        position = self.end
        file.seek(position)
        size = os.fstat(file.fileno()).st_size
        if self._stop is not None:
            size = min(size, self._stop)
        while position + _RECORD.size <= size:
            start = file.read(_RECORD.size)
            if len(start) < _RECORD.size:
                # Its writer has just cut what it could not write.
                return
            mark, kind, when, length, crc = _RECORD.unpack(start)
            end = position + _RECORD.size + length
            if mark != _MARK or kind not in (RESULTS, RESET) or length > _LARGEST or end > size:
                break
            payload = file.read(length)
            if zlib.crc32(payload, zlib.crc32(start[:-4])) != crc:
                break
            yield kind, when, payload, end
            position = end
        if self.damage is None and position < size and self._whole_record_behind(file, position, size):
            self._note_damage(position)

    def _whole_record_behind(self, file: BinaryIO, position: int, size: int) -> bool:
        """Whether a record that can be read follows one that cannot: then it is no torn end."""
        file.seek(position)
        data = file.read(min(size - position, _LARGEST))
        at = data.find(_MARK, 1)
        while at >= 0:
            if at + _RECORD.size <= len(data):
                _, _, _, length, crc = _RECORD.unpack_from(data, at)
                payload = data[at + _RECORD.size : at + _RECORD.size + length]
                if len(payload) == length and crc == zlib.crc32(
                    payload, zlib.crc32(data[at : at + _RECORD.size - 4])
                ):
                    return True
            at = data.find(_MARK, at + 1)
        return False

    def _note_damage(self, position: int) -> None:
        self.damage = position
        logger.warning(
            "%s: damaged at byte %d; what is behind it does not count, and its stars are computed again",
            self.path,
            position,
        )

    def _groups(self, batch: list[tuple[bytes, float, int]]) -> Iterator[ResultGroup]:
        """Messages with their times and ends as one group; up to one that is not of this CCD's results."""
        group = self._group(batch) if batch else None
        if group is not None:
            yield group
            self.end = batch[-1][2]
        elif len(batch) == 1:
            self._note_damage(self.end)
        else:
            for one in batch:
                if self.damage is None:
                    yield from self._groups([one])

    def _group(self, batch: list[tuple[bytes, float, int]]) -> ResultGroup | None:
        try:
            bundle = unpack_many([message for message, _, _ in batch])
        except ProtocolError:
            return None
        heads = bundle.heads
        index = self._find(heads["priority"])
        seconds = heads["elaptime"], heads["worker_wait_time"]
        if index is None or not np.isin(heads["status"], ENDS).all() or not np.isfinite(seconds).all():
            return None
        return ResultGroup(index, bundle, np.array([when for _, when, _ in batch]))

    def _reset(self, payload: bytes) -> Reset | None:
        if len(payload) < _VERSION.size or len(payload) % 8:
            return None
        (version,) = _VERSION.unpack_from(payload)
        index = self._find(np.frombuffer(payload, "<i8", offset=_VERSION.size))
        if index is None or not 0 <= version <= 99:
            return None
        self.version = version
        self.versions.add(version)
        return Reset(index, version)

    def _find(self, priorities: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Rows of priorities; None if one is not of this CCD."""
        index = self.worklist.find(priorities)
        if (index < 0).any() or (self.worklist.ccd_of[index] != self._number).any():
            return None
        return index


def _open_log(path: Path, flags: int) -> int | None:
    """Descriptor of a log, None where there is none.

    Raises
    ------
    InputError
        If it, or its folder, is a link, or it is no regular file, or cannot be opened.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path.parent).st_mode):
            raise InputError(f"{path.parent}: not a folder (a link?); move it away")
        return open_regular(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be opened ({error.strerror}); change its permissions, or move it away"
        ) from None


class LogWriter:
    """Appends to the log of a CCD; to be used by the holder of its lock.

    Parameters
    ----------
    reader : LogReader
        Has read the log to its end. What is behind that is cut off.
    version : int
        Of the light curves, where there is no log yet.

    Raises
    ------
    InputError
        If it cannot be written.
    """

    def __init__(self, reader: LogReader, version: int) -> None:
        self.path = reader.path
        with self._explained():
            if not reader.exists:
                self.path.parent.mkdir(exist_ok=True)
                write_whole(self.path, new_header(reader.worklist, reader.ccd, version))
                reader.end = _HEADER.size
                reader.version = version
            elif reader.damage is not None:
                self._keep_damaged(reader.end)
                reader.damage = None
        self.version = reader.version
        descriptor = _open_log(self.path, os.O_RDWR)
        if descriptor is None:
            raise InputError(f"{self.path}: has just been removed; run again")
        self._descriptor = descriptor
        self._end = reader.end
        with self._explained():
            if (size := os.fstat(descriptor).st_size) > self._end:
                logger.info("%s: cut by %d bytes that were not whole", self.path, size - self._end)
                self._cut()

    def _keep_damaged(self, end: int) -> None:
        """Go on with a copy of what is before the damage."""
        with open(self.path, "rb") as file:
            whole = file.read(end)
        kept = damaged_path(self.path)
        kept.unlink(missing_ok=True)
        os.link(self.path, kept, follow_symlinks=False)
        write_whole(self.path, whole)
        logger.warning("%s: kept, for you to look at; while it is there no light curve is removed", kept)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror}); make room, or change its permissions,"
                " and run again: results are kept"
            ) from None

    def append(self, records: Sequence[tuple[float, bytes | bytearray]], kind: int = RESULTS) -> None:
        """Append payloads, each with its time; they are durable after the next `sync`.

        Raises
        ------
        InputError
            If they cannot be written, or the log is no longer where it was; then nothing of them is there.
        """
        self._check_place()
        data = bytearray()
        for when, payload in records:
            data += pack_record(kind, when, payload)
            data += payload
        with self._explained():
            try:
                view, at = memoryview(data), self._end
                while view:
                    count = os.pwrite(self._descriptor, view, at)
                    view, at = view[count:], at + count
            except OSError:
                with contextlib.suppress(OSError):
                    self._cut()
                raise
        self._end += len(data)

    def _check_place(self) -> None:
        """Raise InputError where the log, or a folder above it, has been moved: light curves are there."""
        try:
            here = os.path.samestat(os.lstat(self.path), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            here = False
        if not here:
            raise InputError(f"{self.path}: has been moved or replaced meanwhile; put it back, and run again")

    def reset(self, priorities: NDArray[np.int64], version: int) -> None:
        """Note, durably, that stars are to be computed again."""
        self.append([(time.time(), reset_payload(version, priorities))], RESET)
        self.sync()
        self.version = version

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        with self._explained():
            os.fdatasync(self._descriptor)

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self._end)
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def new_header(worklist: WorkList, ccd: CCD, version: int) -> bytes:
    """The first bytes of a log."""
    data = _HEADER.pack(_MAGIC, _FORMAT, LAYOUT, version, *ccd, worklist.fingerprint(ccd), 0)
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))
