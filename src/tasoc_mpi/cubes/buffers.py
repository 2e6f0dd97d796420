"""Large arrays that are used again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Buffers"]


class Buffers:
    """Memory for large arrays that are needed again and again.

    The system clears memory before a process gets it, which takes as long as copying frames into it.
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
