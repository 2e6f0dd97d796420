"""Standard streams that are closed, full or without a reader: the program computes all the same."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
import time
from collections.abc import Iterable
from typing import Any

__all__ = ["STDOUT", "print_report", "secure_streams", "silence_stdout", "write_error"]

#: The name that standard output has in errors.
STDOUT = "standard output"
#: Seconds that a message waits for a reader that has stopped reading; so much is lost to computing each time.
_PATIENCE = 1.0
#: A pipe that can be written takes so many bytes without waiting (PIPE_BUF).
_PIECE = 4096
_ERRORS = "tasoc_mpi.names"


def secure_streams() -> None:
    """Make the standard streams safe to write to; to be called before a file is opened.

    Descriptors 0, 1 and 2 that are closed are given to /dev/null: a data file that took the place of standard
    error would get its messages. Messages on standard error are dropped where they cannot be written. Names
    of files that are not text in the locale are written as they are.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    codecs.register_error(_ERRORS, _as_it_is)
    if _is_plain(sys.stdout, 1):
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout, line_buffering=os.isatty(1))
    if _is_plain(sys.stderr, 2):
        sys.stderr = _text(_Forgiving(), sys.stderr, line_buffering=True)


def _as_it_is(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes that a file name was made of; what the encoding has not, escaped."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def _is_plain(stream: Any, fd: int) -> bool:
    """Whether a stream is the one that Python opened, and not a notebook's or a test's."""
    if stream is None:
        return True
    try:
        return type(stream) is io.TextIOWrapper and stream.fileno() == fd
    except (OSError, ValueError):
        return False


def _text(raw: io.RawIOBase, before: Any, line_buffering: bool) -> io.TextIOWrapper:
    encoding = "utf-8" if before is None else before.encoding
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors=_ERRORS, line_buffering=line_buffering)


class _Output(io.FileIO):
    """Standard output; its errors have a name."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, STDOUT) from None


class _Forgiving(io.RawIOBase):
    """Standard error; bytes that it does not take are dropped."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(2)

    def fileno(self) -> int:
        return 2

    def write(self, data: Any) -> int:
        write_error(bytes(data))
        return len(data)


_stalled = False


def write_error(data: bytes) -> None:
    """Write to standard error without a buffer, and for no longer than a second; never raises OSError."""
    global _stalled
    deadline = time.monotonic() + (0.0 if _stalled else _PATIENCE)
    with contextlib.suppress(OSError):
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            while piece:
                _stalled = not select.select([], [2], [], max(0.0, deadline - time.monotonic()))[1]
                if _stalled:
                    return
                piece = piece[os.write(2, piece) :]


def print_report(lines: Iterable[str]) -> str | None:
    """Print lines on standard output, which may be full or without a reader, and flush it.

    Returns
    -------
    str or None
        Why they could not be printed; nothing more is written to it then.
    """
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except OSError as error:
        silence_stdout()
        return error.strerror
    return None


def silence_stdout() -> None:
    """Drop all output, the buffered one too: Python would report an error of standard output when it ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
