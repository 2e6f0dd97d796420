"""Messages between ranks: MPI where it started the program, and waiting that leaves the core to others."""

from __future__ import annotations

import os
import time
from typing import Any

__all__ = ["receive", "world"]

#: Set by the launchers for every rank: MPICH, Intel MPI and `srun --mpi=pmi2` (PMI), `srun --mpi=pmix` and
#: PRRTE (PMIX), Open MPI, MVAPICH, Cray (PALS, ALPS).
_LAUNCHERS = (
    "PMI_SIZE",
    "PMI_RANK",
    "PMIX_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "PALS_RANKID",
    "ALPS_APP_PE",
)

#: Waiting ranks look for a message this often at first, and at last (seconds). An MPI's own receive may spin
#: on its core (MPICH does), which on a laptop takes it from a rank that computes. The last one is the longest
#: that a message can lie unread: little beside a batch's half second, and 500 looks a second cost nothing.
_FIRST_PAUSE = 50e-6
_LAST_PAUSE = 2e-3


def world() -> Any | None:
    """The communicator of all ranks, or None for a single process.

    MPI is imported only where a launcher's environment variables show that it started this process: elsewhere
    initialising MPI can fail (on a login node without its network, or with no MPI library at all) and nothing
    needs it.
    """
    if not any(name in os.environ for name in _LAUNCHERS):
        return None
    import mpi4py

    # One thread calls MPI; asking for more makes every call take locks.
    mpi4py.rc.threads = False
    from mpi4py import MPI

    return MPI.COMM_WORLD if MPI.COMM_WORLD.Get_size() > 1 else None


def receive(
    comm: Any, source: int | None = None, timeout: float | None = None
) -> tuple[int, int, bytearray] | None:
    """The next message, waiting for it without keeping the core busy.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator.
    source : int, optional
        Rank to listen to. Default: any.
    timeout : float, optional
        Seconds to wait; 0 looks once. Default: as long as it takes.

    Returns
    -------
    tuple of (source, tag, message), or None
        None if nothing came in time.
    """
    from mpi4py import MPI

    status = MPI.Status()
    source = MPI.ANY_SOURCE if source is None else source
    deadline = None if timeout is None else time.perf_counter() + timeout
    pause = _FIRST_PAUSE
    while not comm.Iprobe(source, MPI.ANY_TAG, status):
        if deadline is not None and time.perf_counter() >= deadline:
            return None
        time.sleep(pause)
        pause = min(_LAST_PAUSE, 1.5 * pause)
    message = bytearray(status.Get_count(MPI.BYTE))
    comm.Recv([message, MPI.BYTE], status.Get_source(), status.Get_tag())
    return status.Get_source(), status.Get_tag(), message
