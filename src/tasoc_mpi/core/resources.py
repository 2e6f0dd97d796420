"""Memory: how much is left on this node, a process's share of it, and its limit; threads of BLAS."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import UsageError

__all__ = [
    "available_memory",
    "check_gigabytes",
    "control_groups",
    "free_memory",
    "limit_memory",
    "memory_share",
    "one_blas_thread",
    "private_memory",
    "process_age",
]

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
#: A compute process needs some 300 MB for itself: libraries, compiled kernels, data that stars share.
_LEAST = 1 << 30
#: Of a node's memory: the rest is for the supervisor processes, MPI and the system.
_PART = 0.9


def control_groups(proc: Path = _PROC, root: Path = _GROUPS) -> Iterator[tuple[int, Path]]:
    """The control groups that count this process's memory, from its own to the outermost visible one.

    Yields
    ------
    version : int
        1 or 2.
    folder : Path
        Need not be there.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        tops = []
        if controllers == "":
            # Version 2, alone or beside version 1.
            tops = [(2, root), (2, root / "unified")]
        elif "memory" in controllers.split(","):
            tops = [(1, root / "memory")]
        for version, top in tops:
            folder = top / name.strip("/")
            yield version, folder
            while folder != top:
                folder = folder.parent
                yield version, folder


def available_memory(proc: Path = _PROC, root: Path = _GROUPS) -> int | None:
    """Bytes that may still be used on this node without swapping, or None where nothing says so.

    The least of the memory that the kernel finds available and of the rest within the limits of this
    process's control groups (version 2), in which a batch system puts a job. Cached pages of files count as
    available.

    Examples
    --------
    >>> available_memory(Path("not-linux")) is None
    True
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    groups = [folder for version, folder in control_groups(proc, root) if version == 2]
    found += [left for folder in groups if (left := _left(folder)) is not None]
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


def free_memory() -> float:
    """Bytes as of `available_memory`; where nothing says so, those of the pages that are free.

    Examples
    --------
    >>> free_memory() > 0
    True
    """
    available = available_memory()
    if available is None:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return float(available)


def memory_share(ranks: int) -> int | None:
    """Bytes for each of `ranks` compute processes of this node, or None where its memory is not known.

    Examples
    --------
    >>> memory_share(1_000_000) == 1 << 30
    True
    """
    available = available_memory()
    return None if available is None else max(int(_PART * available / max(ranks, 1)), _LEAST)


def check_gigabytes(memory: float | None) -> None:
    """Raise UsageError for a --memory that is none.

    Examples
    --------
    >>> check_gigabytes(float("nan"))
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.UsageError: --memory nan: give gigabytes, more than 0
    """
    if memory is not None and not 0 < memory < 1e6:
        raise UsageError(f"--memory {memory}: give gigabytes, more than 0")


def private_memory(pid: int | None = None, proc: Path = _PROC) -> float:
    """Bytes of a process's memory that it shares with no file and no other process; NaN where not known.

    Pages of mapped cubes do not count: the kernel drops them when memory is short.

    Parameters
    ----------
    pid : int, optional
        Default: this process.

    Examples
    --------
    >>> private_memory() > 0
    True
    """
    try:
        words = (proc / str(pid or "self") / "statm").read_text().split()
        return float((int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError):
        # Not Linux, or the process has just ended.
        return math.nan


def process_age(proc: Path = _PROC) -> float:
    """Seconds since this process was started; 0 where nothing says so.

    Examples
    --------
    >>> process_age() > 0
    True
    """
    try:
        # The name of the program, in brackets, may have spaces.
        ticks = int((proc / "self" / "stat").read_text().rpartition(")")[2].split()[19])
        up = float((proc / "uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(up - ticks / os.sysconf("SC_CLK_TCK"), 0.0)


def limit_memory(limit: int) -> None:
    """Let this process allocate no more than `limit` bytes: a larger request raises MemoryError.

    The limit is that of private writable memory (RLIMIT_DATA). Cubes are mapped, shared and read-only; they
    do not count, as they would in the limit of the address space.
    """
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )


def one_blas_thread() -> Any:
    """A context in which linear algebra has one thread.

    The last bits of its results depend on the number of threads. One thread a rank is also the fastest:
    threads of ranks that share cores wait for each other.
    """
    libraries = _threads().select(user_api="blas")
    # To ask for the number is cheap, to set it is not.
    if all(library.num_threads == 1 for library in libraries.lib_controllers):
        return contextlib.nullcontext()
    return libraries.limit(limits=1)


@functools.cache
def _threads() -> Any:
    import scipy.linalg  # noqa: F401  its library has to be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
