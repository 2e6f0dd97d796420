"""The messages of scheduler and workers: dtypes, tags, and the layout in bytes.

Rank 0 sends `TASKS`, and at the end `STOP`; a worker answers every batch with `RESULTS`. When the run is to
end early, `FINISH` comes before: results are then of the stars that were computed in time, or the answer is
`GIVEN_UP`. A worker that cannot go on sends the reason with `FAILED`. Every other message is one block of
bytes that starts with counts of its content, so that one that was cut or belongs to another version is
recognised. Nothing is pickled. `USAGE` may come before any `RESULTS`.
"""

from __future__ import annotations

import functools
import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .diagnostics import DIAGNOSTICS
from .errors import TasocError

__all__ = [
    "DIAGNOSTICS",
    "HEAD_DTYPE",
    "LAYOUT",
    "RESULT_DTYPE",
    "TASK_DTYPE",
    "Bundle",
    "ProtocolError",
    "Results",
    "Tag",
    "Usage",
    "pack_failure",
    "pack_number",
    "pack_results",
    "pack_tasks",
    "pack_usage",
    "split_numbers",
    "unpack_failure",
    "unpack_many",
    "unpack_number",
    "unpack_results",
    "unpack_tasks",
    "unpack_usage",
]


class Tag(IntEnum):
    """MPI tags."""

    RESULTS = 1
    """Worker to rank 0: results of one batch."""
    TASKS = 2
    """Rank 0 to worker: the next batch."""
    STOP = 3
    """Rank 0 to worker: nothing is left; carries the exit status."""
    FAILED = 4
    """Worker to rank 0: it cannot go on, and why."""
    FINISH = 5
    """Rank 0 to worker: the run is to end; carries the seconds after which stars in hand are given up."""
    GIVEN_UP = 6
    """Worker to rank 0: of one batch nothing was computed after `FINISH`. Empty."""
    USAGE = 7
    """Worker to rank 0: what it has used so far, where that has grown."""
    COMPUTED = 8
    """Worker to rank 0: one batch is computed; its results follow when they are on the disk. Empty."""
    DISMISS = 9
    """Rank 0 to worker: no batch follows; the compute process can end. Empty."""


class Usage(NamedTuple):
    """What a worker has used since its start."""

    #: The largest of the private memory of its processes that was seen, bytes; NaN where it is not known.
    memory: float = math.nan
    compiling: float = 0.0  #: Seconds in which its compute process compiled kernels

    def has_grown(self, sent: Usage) -> bool:
        """Whether it differs from what was sent last by more than 5% of the memory or 0.1 s."""
        more = math.isfinite(self.memory) and not self.memory <= 1.05 * sent.memory
        return more or self.compiling > sent.compiling + 0.1


class ProtocolError(TasocError):
    """A message that is damaged, of another version, or out of place."""


#: One star to be computed. `priority` names its row of the work list; a method of b'' is not chosen yet.
TASK_DTYPE = np.dtype(
    [
        ("priority", "i8"),
        ("starid", "i8"),
        ("sector", "i4"),
        ("camera", "i4"),
        ("ccd", "i4"),
        ("cadence", "i4"),
        ("datasource", "S24"),
        ("method", "S16"),
        ("tmag", "f8"),
    ]
)

#: The part that rank 0 reads when a result comes in: the star, seconds spent on it and in waiting for it, its
#: status, and the lengths beside the numbers (count of the skip list; bytes of the strings, -1 for none).
HEAD_DTYPE = np.dtype(
    [
        ("priority", "i8"),
        ("elaptime", "f8"),
        ("worker_wait_time", "f8"),
        ("status", "i8"),
        ("skip_count", "i4"),
        ("lightcurve_size", "i4"),
        ("method_used_size", "i4"),
        ("errors_size", "i4"),
    ]
)

#: All numbers of one result: its head, then the diagnostics.
RESULT_DTYPE = np.dtype([*HEAD_DTYPE.descr, *((name, "f8") for name in DIAGNOSTICS)])

_STRINGS = ("lightcurve", "method_used", "errors")

#: First bytes of every message: a magic number and three counts. It changes with the layout, of which the
#: diagnostics are a part: the last term is 0 for those of the first version.
LAYOUT = 0x7A50C_0003 + (((zlib.crc32(" ".join(DIAGNOSTICS).encode()) ^ 0xA1E1F4A5) & 0x7FFFFFF) << 36)


@dataclass(frozen=True)
class Results:
    """Results of several stars.

    Parameters
    ----------
    numbers : ndarray of RESULT_DTYPE
        Sizes and counts are filled by `pack_results`; only `skip_count` must be right before.
    lightcurve : sequence of (str or None)
        Path of the light curve below the output folder.
    method_used : sequence of (str or None)
        Name of the photometry method.
    errors : sequence of (str or None)
        Messages, one a line.
    skips : ndarray of int64
        TIC ids of all skip lists, one list behind the other, `skip_count` of them a star.
    """

    numbers: NDArray[np.void]
    lightcurve: Sequence[str | None]
    method_used: Sequence[str | None]
    errors: Sequence[str | None]
    skips: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def empty(cls) -> Results:
        """No results."""
        return cls(np.zeros(0, RESULT_DTYPE), (), (), (), np.zeros(0, np.int64))


_HEADER = struct.Struct("<4q")


def _header(first: int, second: int = 0, third: int = 0) -> bytes:
    return _HEADER.pack(LAYOUT, first, second, third)


def _read_header(buffer: memoryview, what: str) -> tuple[int, int, int]:
    if len(buffer) < 32:
        raise ProtocolError(f"a message of {what} has only {len(buffer)} bytes")
    magic, first, second, third = _HEADER.unpack_from(buffer)
    if magic != LAYOUT or first < 0 or second < 0 or third < 0:
        raise ProtocolError(
            f"a message of {what} is of another version; run the same tasoc-mpi on every rank"
        )
    return first, second, third


def _check_size(buffer: memoryview, size: int, what: str) -> None:
    if len(buffer) != size:
        raise ProtocolError(f"a message of {what} has {len(buffer)} bytes instead of {size}")


def pack_tasks(tasks: NDArray[np.void]) -> bytes:
    """A batch (array of TASK_DTYPE) as bytes."""
    if tasks.dtype != TASK_DTYPE:
        raise TypeError(f"tasks of the dtype {tasks.dtype}")
    return _header(len(tasks)) + tasks.tobytes()


def unpack_tasks(message: bytes | bytearray | memoryview) -> NDArray[np.void]:
    """The batch that `pack_tasks` packed.

    Raises
    ------
    ProtocolError
        If the message is not one, or of the wrong size.
    """
    buffer = memoryview(message)
    count, _, _ = _read_header(buffer, "tasks")
    _check_size(buffer, 32 + count * TASK_DTYPE.itemsize, "tasks")
    return np.frombuffer(buffer[32:], dtype=TASK_DTYPE)


def pack_number(number: int) -> bytes:
    """The payload of STOP (the exit status) and of FINISH (milliseconds).

    Examples
    --------
    >>> unpack_number(pack_number(75))
    75
    """
    return _header(number)


def unpack_number(message: bytes | bytearray | memoryview) -> int:
    """The number that `pack_number` packed; raises ProtocolError as `unpack_tasks`."""
    buffer = memoryview(message)
    _check_size(buffer, 32, "stop")
    return _read_header(buffer, "stop")[0]


_USAGE = struct.Struct("<2d")


def pack_usage(usage: Usage) -> bytes:
    """What a worker has used.

    Examples
    --------
    >>> unpack_usage(pack_usage(Usage(3e8, 1.5)))
    Usage(memory=300000000.0, compiling=1.5)
    """
    return _header(1) + _USAGE.pack(*usage)


def unpack_usage(message: bytes | bytearray | memoryview) -> Usage:
    """The usage that `pack_usage` packed; raises ProtocolError as `unpack_tasks`."""
    buffer = memoryview(message)
    _check_size(buffer, 32 + _USAGE.size, "usage")
    _read_header(buffer, "usage")
    return Usage(*_USAGE.unpack_from(buffer, 32))


def pack_failure(error: TasocError) -> bytes:
    """Why a worker cannot go on."""
    return json.dumps({"message": str(error), "exit_status": error.exit_status}).encode()


def unpack_failure(message: bytes | bytearray | memoryview, sender: str = "") -> TasocError:
    """The error that `pack_failure` packed, with its exit status; `sender` goes before its message.

    Examples
    --------
    >>> str(unpack_failure(pack_failure(TasocError("no room on the disk")), "rank 3: "))
    'rank 3: no room on the disk'
    """
    try:
        found = json.loads(bytes(message))
        error = TasocError(f"{sender}{found['message']}")
        error.exit_status = int(found["exit_status"])
    except (ValueError, LookupError, TypeError):
        return ProtocolError(f"{sender}cannot go on, and its reason cannot be read")
    return error


def pack_results(results: Results) -> bytes:
    """Results as bytes. Characters that UTF-8 cannot hold (lone surrogates) are escaped."""
    numbers = np.array(results.numbers, dtype=RESULT_DTYPE)
    parts: list[bytes] = []
    for name in _STRINGS:
        encoded = [
            None if text is None else text.encode("utf-8", "backslashreplace")
            for text in getattr(results, name)
        ]
        numbers[f"{name}_size"] = [-1 if text is None else len(text) for text in encoded]
        parts.extend(text for text in encoded if text)
    text = b"".join(parts)
    skips = np.ascontiguousarray(results.skips, dtype="<i8")
    if numbers["skip_count"].sum() != len(skips):
        raise ProtocolError(f"results of {len(numbers)} stars with {len(skips)} stars to skip: counts differ")
    heads, diagnostics = split_numbers(numbers)
    header = _header(len(numbers), len(text), len(skips))
    return b"".join((header, heads, skips.tobytes(), text, diagnostics))


def split_numbers(numbers: NDArray[np.void]) -> tuple[bytes, bytes]:
    """Heads and diagnostics of results (array of RESULT_DTYPE), as a message has them."""
    columns = np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), RESULT_DTYPE.itemsize)
    return columns[:, : HEAD_DTYPE.itemsize].tobytes(), columns[:, HEAD_DTYPE.itemsize :].tobytes()


def unpack_results(message: bytes | bytearray | memoryview) -> Results:
    """The results that `pack_results` packed.

    Raises
    ------
    ProtocolError
        If the message is not one, or its sizes do not add up.
    """
    bundle = unpack_many([message])
    lightcurve, method_used, errors = bundle.strings(np.arange(len(bundle.numbers)))
    return Results(bundle.numbers, lightcurve, method_used, errors, bundle.skips)


@dataclass(frozen=True)
class Bundle:
    """The results of many messages, with their strings not yet made."""

    heads: NDArray[np.void]  #: Of HEAD_DTYPE, of all messages, one behind the other
    skips: NDArray[np.int64]  #: All skip lists, one behind the other
    ends: NDArray[np.int64]  #: Where each message's results end in `heads`
    messages: list[memoryview]  #: The messages
    #: text_at, diagnostics_at: where the strings and the diagnostics of each message begin in it.
    text_at: list[int]
    diagnostics_at: list[int]

    @functools.cached_property
    def numbers(self) -> NDArray[np.void]:
        """All numbers, of RESULT_DTYPE."""
        numbers = np.empty(len(self.heads), RESULT_DTYPE)
        columns = numbers.view(np.uint8).reshape(len(numbers), RESULT_DTYPE.itemsize)
        columns[:, : HEAD_DTYPE.itemsize] = self.heads.view(np.uint8).reshape(
            len(numbers), HEAD_DTYPE.itemsize
        )
        parts = [m[at:] for m, at in zip(self.messages, self.diagnostics_at, strict=True)]
        columns[:, HEAD_DTYPE.itemsize :] = np.frombuffer(_join(parts), np.uint8).reshape(
            len(numbers), RESULT_DTYPE.itemsize - HEAD_DTYPE.itemsize
        )
        return numbers

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each message's results begin in `heads`."""
        return np.append(0, self.ends)[:-1]

    @property
    def message(self) -> NDArray[np.int64]:
        """Which message each result is from, shape (n,)."""
        return np.repeat(np.arange(len(self.ends)), self.ends - self.starts)

    def strings(self, chosen: NDArray[np.int64]) -> tuple[list[str | None], ...]:
        """Light curves, methods and errors of the chosen results."""
        # Within a message the strings of one kind lie one behind the other, kind after kind.
        before = _before(_lengths(self.heads))[:, 1:]
        starts, message = self.starts, self.message
        in_message = before[self.ends] - before[starts]
        kind_at = np.array(self.text_at)[:, None] + np.cumsum(in_message, axis=1) - in_message
        at = (before[:-1] - before[starts][message] + kind_at[message])[chosen]
        where = message[chosen].tolist()
        return tuple(
            [
                None if n < 0 else str(self.messages[m][a : a + n], "utf-8", "replace")
                for m, a, n in zip(
                    where, at[:, k].tolist(), self.heads[f"{name}_size"][chosen].tolist(), strict=True
                )
            ]
            for k, name in enumerate(_STRINGS)
        )


def _lengths(heads: NDArray[np.void]) -> NDArray[np.int32]:
    """Counts of the skip lists and sizes of the strings, shape (n, 4): the last fields of `HEAD_DTYPE`."""
    words = heads.view("i4").reshape(len(heads), HEAD_DTYPE.itemsize // 4)
    return words[:, -len(_STRINGS) - 1 :]


def _before(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Sums of the lengths before each result, and last of all of them, shape (n + 1, 4)."""
    before = np.zeros((len(lengths) + 1, lengths.shape[1]), np.int64)
    np.cumsum(np.maximum(lengths, 0), axis=0, out=before[1:])
    return before


def _join(parts: list[memoryview]) -> bytes | memoryview:
    """Parts of messages one behind the other. As bytes: joining structured arrays is slow."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def unpack_many(messages: Sequence[bytes | bytearray | memoryview]) -> Bundle:
    """The results of many messages at once; for many small ones far quicker than one by one.

    Raises
    ------
    ProtocolError
        As `unpack_results`.
    """
    heads: list[memoryview] = []
    skips: list[memoryview] = []
    buffers: list[memoryview] = []
    texts: list[int] = []
    diagnostics: list[int] = []
    told: list[tuple[int, int, int]] = []
    size, more = HEAD_DTYPE.itemsize, RESULT_DTYPE.itemsize - HEAD_DTYPE.itemsize
    for message in messages:
        buffer = memoryview(message)
        count, text_size, skip_count = counts = _read_header(buffer, "results")
        skips_at = 32 + count * size
        text_at = skips_at + 8 * skip_count
        diagnostics_at = text_at + text_size
        if len(buffer) != diagnostics_at + count * more:
            _check_size(buffer, diagnostics_at + count * more, "results")
        heads.append(buffer[32:skips_at])
        if skip_count:
            skips.append(buffer[skips_at:text_at])
        buffers.append(buffer)
        texts.append(text_at)
        diagnostics.append(diagnostics_at)
        told.append(counts)
    every = np.frombuffer(_join(heads), HEAD_DTYPE)
    counts_told, text_told, skips_told = np.array(told, np.int64).reshape(-1, 3).T
    ends = np.cumsum(counts_told)
    lengths = _lengths(every)
    before = _before(lengths)
    found = before[ends] - before[ends - counts_told]
    skip, text = found[:, 0], found[:, 1:].sum(axis=1)
    if (lengths[:, 0] < 0).any() or (text != text_told).any() or (skip != skips_told).any():
        raise ProtocolError("a message of results has lengths that do not add up")
    return Bundle(every, np.frombuffer(_join(skips), "<i8"), ends, buffers, texts, diagnostics)
