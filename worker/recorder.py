"""The star that the compute process is at: it tells the supervisor process through shared memory.

The memory has no name in any file system: it ends with the two processes. Writing to it costs no system call.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import NamedTuple

import numpy as np

__all__ = ["Reading", "Recorder"]

_RECORD = np.dtype([("sequence", "<i8"), ("priority", "<i8"), ("grace", "<f8"), ("compiling", "<f8")])
#: A writer that was killed within a change leaves an odd sequence number for ever.
_READS = 1000


class Reading(NamedTuple):
    """The record at one moment.

    Attributes
    ----------
    sequence : int
        Another one for every star, and for the same star tried again; odd while the rest is being changed.
    priority : int
        The star's, -1 between stars.
    grace : float
        Seconds that it may take beyond its limit, to compile kernels.
    """

    sequence: int
    priority: int
    grace: float


class Recorder:
    """Shared memory that names a star; one process writes, one reads.

    Parameters
    ----------
    fd : int
        Descriptor of the memory: that of `create`, or the one inherited from the process that created it.
        Belongs to the recorder from now on.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        record = np.frombuffer(mmap.mmap(fd, _RECORD.itemsize), _RECORD)
        names = record.dtype.names or ()
        self._sequence, self._priority, self._grace, self._compiling = (record[name] for name in names)

    @classmethod
    def create(cls) -> Recorder:
        """New memory, between stars; raises OSError if there is none, nor a folder for temporary files."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("tasoc-mpi-recorder")
        else:
            # Not Linux: a file that has lost its name.
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, _RECORD.itemsize)
        recorder = cls(fd)
        recorder.idle()
        return recorder

    def begin(self, priority: int) -> None:
        """Name the star that is begun now."""
        self._sequence[0] |= 1
        self._grace[0] = 0.0
        self._priority[0] = priority
        self._sequence[0] += 1

    def extend(self, seconds: float) -> None:
        """Let this star take so much longer."""
        self._grace[0] += seconds

    def compiled(self, seconds: float) -> None:
        """Add to the seconds in which kernels were compiled, by all processes that wrote here."""
        self._compiling[0] += seconds

    @property
    def compiling(self) -> float:
        """Seconds in which kernels were compiled."""
        return float(self._compiling[0])

    def idle(self) -> None:
        """Name no star."""
        self.begin(-1)

    def read(self) -> Reading:
        """The record; a writer that died within a change was between stars."""
        for _ in range(_READS):
            before = int(self._sequence[0])
            reading = Reading(before, int(self._priority[0]), float(self._grace[0]))
            if not before & 1 and before == self._sequence[0]:
                return reading
        return Reading(before, -1, 0.0)

    def close(self) -> None:
        """Close the descriptor; the mapped memory stays usable."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
