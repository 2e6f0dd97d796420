"""How much memory is left."""

from __future__ import annotations

from pathlib import Path

__all__ = ["available_memory"]


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that may still be used on this node without swapping, or None where nothing says so.

    The least of what the kernel finds available and of what is left within the limits of this process's
    control groups (version 2), in which a batch system puts a job. Cached pages of files count as available.
    """
    found = []
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        group = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return min(found, default=None)
    paths = [line[3:].strip("/") for line in group if line.startswith("0::")]
    for path in paths:
        folder = cgroups / path
        for parent in (folder, *folder.parents):
            if (left := _left(parent)) is not None:
                found.append(left)
            if parent == cgroups:
                break
    return min(found, default=None)


def _left(group: Path) -> int | None:
    """Bytes left within one control group; None if it has no limit."""
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    used = sum(int(stat.get(name, 0)) for name in ("anon", "shmem", "kernel"))
    return max(int(limit) - used, 0)
