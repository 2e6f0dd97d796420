"""How much memory a computing process may have."""

from __future__ import annotations

from ..core.resources import available_memory

__all__ = ["limit_memory", "memory_share"]

#: A computing process needs some 300 MB for itself (libraries, compiled kernels, what a CCD's stars share).
_LEAST = 1 << 30
#: Of a node's memory: the rest is for the watching processes, MPI and the system.
_PART = 0.9


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
