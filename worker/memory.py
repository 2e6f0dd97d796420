"""How much memory a node has for this program."""

from __future__ import annotations

from pathlib import Path

__all__ = ["available_memory", "limit_memory", "memory_share"]

#: A computing process needs some 300 MB for itself (libraries, compiled kernels, what a CCD's stars share).
_LEAST = 1 << 30
#: Of a node's memory: the rest is for the watching processes, MPI and the system.
_PART = 0.9


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


def memory_share(ranks: int) -> int | None:
    """Bytes for one of `ranks` computing processes of this node, or None where its memory is not known."""
    available = available_memory()
    return None if available is None else max(int(_PART * available / max(ranks, 1)), _LEAST)


def limit_memory(limit: int) -> None:
    """Let this process allocate no more than `limit` bytes: what goes beyond raises MemoryError.

    The limit is that of private writable memory (RLIMIT_DATA). Cubes are mapped, shared and read-only; they
    do not count, as they would in the limit of the address space.
    """
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )
