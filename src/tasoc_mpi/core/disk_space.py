"""Disk space for a file, taken before the file is written."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable

__all__ = ["reserve"]


def reserve(descriptor: int, first: int, size: int) -> None:
    """Take the disk space of a range of bytes of an open file, where its file system can do so.

    Where it cannot, as on some network file systems, nothing happens: ``os.posix_fallocate`` would write
    to every block of the range, which takes as long as to write the whole range twice.

    Parameters
    ----------
    descriptor : int
        Of the file, open for writing.
    first : int
        First byte of the range.
    size : int
        Bytes.

    Raises
    ------
    OSError
        If there is not enough space.
    """
    allocate = _fallocate()
    while allocate is not None and allocate(descriptor, 0, first, size):
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EOPNOTSUPP):
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """The system's call, with 64-bit offsets; Python has none for it."""
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return function
