"""Writing into unfinished files: at a place, and with errors that name the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.disk_space import reserve
from ..core.errors import InputError

__all__ = ["reserve_space", "write_at", "writing"]

#: Bytes.
_WRITTEN_AT_ONCE = 1 << 24
_REPAIR = "see to its folder's permissions and disk"


def write_at(descriptor: int, place: int, data: NDArray[Any]) -> None:
    """Write an array at a place of a file."""
    view = np.ascontiguousarray(data).reshape(-1).view("u1").data
    while view:
        # The file is locked for the time of a call: other ranks have their turn in between.
        written = os.pwrite(descriptor, view[:_WRITTEN_AT_ONCE], place)
        place += written
        view = view[written:]


def reserve_space(path: Path, first: int, last: int) -> None:
    """Reserve the disk space of bytes `first` to `last` of a file; OSError if there is too little.

    So a full disk is found before the work on the pixels begins, where the file system can reserve space.
    """
    with open(path, "r+b") as file:
        reserve(file.fileno(), first, last - first)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the system into an InputError that names the file, the reason and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        way_out = "make room" if full else "remove what is in its place" if path.is_dir() else _REPAIR
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); {way_out} and start again, what was done is kept"
        ) from None
