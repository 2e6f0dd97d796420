"""The processes of a running job, by what they are; reads Linux's /proc."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tasoc_mpi.worker.compute_process import PROCESS_NAME

#: Variables of MPICH and Open MPI.
_RANK = (b"PMI_RANK=", b"OMPI_COMM_WORLD_RANK=")


def _processes() -> dict[int, tuple[int, str]]:
    """Parent and name of every process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(entry.name)] = (parent, (entry / "comm").read_text(errors="replace").strip())
    return found


def _below(pid: int, known: dict[int, tuple[int, str]]) -> list[int]:
    """All processes that a process started, and theirs."""
    direct = [child for child, (parent, _) in known.items() if parent == pid]
    return direct + [more for child in direct for more in _below(child, known)]


def job_processes(job: int) -> dict[str, list[int]]:
    """Numbers of the processes of a job: of ``mpiexec``, ``rank 0``, each ``worker`` and its ``child``."""
    known = _processes()
    found: dict[str, list[int]] = {"mpiexec": [job], "rank 0": [], "worker": [], "child": []}
    for pid in _below(job, known):
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            ranks = {text.partition(b"=")[2] for text in environment if text.startswith(_RANK)}
            if known[pid][1] == PROCESS_NAME:
                found["child"].append(pid)
            elif ranks:
                found["rank 0" if ranks == {b"0"} else "worker"].append(pid)
    return found
