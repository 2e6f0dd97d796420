"""Flight recorders: which star a process was on when it, its rank or its node died.

A recorder is a file of a few bytes that is mapped by a worker's two processes: the one that computes writes
the star it begins, the one that watches reads it. It costs no call of the system, and what was written stays
when processes are killed. At an orderly end, and when only the other processes of the job went, the file is
removed; so one that is left names a star during which all of the worker died at once.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import time
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["SUSPECT_DTYPE", "Recorder", "clear_recorders", "read_recorders", "recorder_folder"]

#: A file. `priority` is -1 between stars; `started` is the time in seconds since 1970; `grace` are seconds
#: that the star may take beyond its limit (because kernels are compiled).
_RECORD = np.dtype([("magic", "<i8"), ("priority", "<i8"), ("started", "<f8"), ("grace", "<f8")])
_MAGIC = 0x7A50C_4EC0

#: A star that recorders name: its priority, when it was last begun, and how many of them name it.
SUSPECT_DTYPE = np.dtype([("priority", "i8"), ("started", "f8"), ("count", "i8")])


def recorder_folder(output: str | os.PathLike[str], todo: str = "todo") -> Path:
    """Where the recorders of a run are: those of each work list (named by its file's stem) by themselves."""
    return Path(output) / ".recorders" / todo


class Recorder:
    """A mapped file that names the star at hand.

    Parameters
    ----------
    path : Path
        The file; see `create`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), _RECORD.itemsize)
        record = np.frombuffer(self._map, _RECORD)
        self._priority, self._started = record["priority"], record["started"]
        self._grace = record["grace"]

    @classmethod
    def create(cls, folder: Path, rank: int) -> Recorder:
        """A new recorder, named after this host, process and rank; the folder is made.

        Raises
        ------
        OSError
            If the file cannot be made, or there is no room for it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{socket.gethostname()}-{os.getpid()}-{rank}-{time.time_ns()}"
        record = np.zeros(1, _RECORD)
        record["magic"], record["priority"] = _MAGIC, -1
        # Exclusively; written and not only sized, so that no later write finds the disk full.
        with open(path, "xb") as file:
            file.write(record.tobytes())
        return cls(path)

    def begin(self, priority: int) -> None:
        """Name the star that is begun now."""
        self._grace[0] = 0.0
        self._started[0] = time.time()
        self._priority[0] = priority

    def grant(self, seconds: float) -> None:
        """Let the star at hand take so much longer."""
        self._grace[0] += seconds

    def idle(self) -> None:
        """Name no star."""
        self._priority[0] = -1

    def read(self) -> tuple[int, float, float]:
        """The star's priority (-1 for none), when it was begun, and its seconds of grace."""
        return int(self._priority[0]), float(self._started[0]), float(self._grace[0])

    def remove(self) -> None:
        """Delete the file; what is mapped stays usable."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def read_recorders(folder: Path) -> NDArray[np.void]:
    """The stars that the recorders in a folder name.

    To be called where no worker of the same work list is at work on a star: by rank 0, under its lock, before
    it hands out the first one. A star with a `count` of 2 or more took its worker down twice: it is an ABORT.
    Recorders stay until `clear_recorders`, which rank 0 calls at the clean end of a run; so they add up over
    runs that died.

    Parameters
    ----------
    folder : Path
        See `recorder_folder`; need not be there.

    Returns
    -------
    ndarray of SUSPECT_DTYPE
        Ordered by priority, one element a star.
    """
    named: dict[int, list[float]] = {}
    for path in _files(folder):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            # Its owner has just come to an orderly end.
            continue
        if len(data) != _RECORD.itemsize:
            continue
        record = np.frombuffer(data, _RECORD)[0]
        if record["magic"] == _MAGIC and record["priority"] >= 0:
            named.setdefault(int(record["priority"]), []).append(float(record["started"]))
    found = np.zeros(len(named), SUSPECT_DTYPE)
    for row, (priority, started) in zip(found, sorted(named.items()), strict=True):
        row["priority"], row["started"], row["count"] = priority, max(started), len(started)
    return found


def clear_recorders(folder: Path) -> None:
    """Delete the recorders in a folder, and the folder: nobody is under suspicion any more."""
    for path in _files(folder):
        path.unlink(missing_ok=True)
    for empty in (folder, folder.parent):
        # Another work list's may be there, or a worker that is about to end has just made its own.
        with contextlib.suppress(OSError):
            empty.rmdir()


def _files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(cast(str, entry.path)) for entry in entries if entry.is_file()]
    except FileNotFoundError:
        return []
