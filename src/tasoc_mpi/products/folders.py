"""Looking for input files, which may be in any sub-folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["files_below"]


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and of its sub-folders, linked ones too, each folder once."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in names:
            yield Path(root, name)
