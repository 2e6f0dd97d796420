"""How much memory there is for the pixels of the frames."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory"]


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
