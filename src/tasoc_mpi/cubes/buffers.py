"""How much memory there is for the pixels of the frames, and large arrays that are used again."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..core.resources import available_memory

__all__ = ["Space", "free_memory"]


def free_memory() -> float:
    """Bytes of memory that are free or can be freed, whatever system this is."""
    available = available_memory()
    if available is None:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return float(available)


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
