"""How much memory there is for the pixels of the frames, and large arrays that are used again."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Space", "available_memory"]


def available_memory() -> float:
    """Bytes of memory that are free or can be freed, within the limit of this process's control group."""
    available = float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        available = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        group = Path("/proc/self/cgroup").read_text("ascii").rpartition("::")[2].strip()
        limit = Path(f"/sys/fs/cgroup{group}/memory.max").read_text("ascii").strip()
        if limit != "max":
            available = min(available, float(limit))
    except (OSError, StopIteration, ValueError):
        # Not Linux, or another kind of control groups: what is free is known all the same.
        pass
    return available


class Space:
    """Memory for large arrays that are needed again and again.

    The system clears memory before a process gets it, which takes as long as much of what is done with it.
    """

    def __init__(self) -> None:
        self._parts: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of any content; the one of this name that was given before must no longer be in use."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        part = self._parts.get(name)
        if part is None or part.size < size:
            # Both at once would be more than was asked for.
            part = None
            self._parts.pop(name, None)
            part = self._parts[name] = np.empty(size, dtype="u1")
        return part[:size].view(dtype).reshape(shape)
