"""The work of one rank: batches from rank 0 to a compute process, and results back."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.messages import (
    ProtocolError,
    Results,
    Tag,
    Usage,
    pack_results,
    pack_usage,
    unpack_number,
    unpack_tasks,
)
from ..core.mpi import receive
from ..core.resources import private_memory
from ..products.durable import make_durable
from ..products.packed import pack_writer
from ..products.replacements import replacements
from ..products.swaps import swaps
from .compute import Job, Photometry, compute_star, flush_lightcurves, join_results
from .first_star import Preparation

if TYPE_CHECKING:
    from .supervisor import Supervisor

__all__ = ["InProcess", "work"]

#: Seconds between looks for a message of rank 0 while a batch is computed. The next batch is at hand by then;
#: what comes is the one after it, or nothing.
_LOOK = 0.05
#: Batches that are computed and not on the disk at most. Their results are lost with the node.
_MOST_SYNCING = 16


class InProcess:
    """Computes batches in this process, without protection: for a debugger, and for tests of the scheduler.

    Parameters
    ----------
    job : Job
    photometry : callable
    """

    def __init__(self, job: Job, photometry: Photometry) -> None:
        # A pack is of one run; this process may have seen others.
        pack_writer.cache_clear()
        replacements.cache_clear()
        swaps.cache_clear()
        self._job = job
        self._photometry = photometry
        self._preparation = Preparation(job.method_name, photometry)
        self._batches: deque[NDArray[np.void]] = deque()
        # When the last batch was finished; while there are batches, how long the oldest was waited for.
        self._idle_since = time.perf_counter()
        self._waited = 0.0

    @property
    def held(self) -> int:
        """Number of batches that are not computed."""
        return len(self._batches)

    @property
    def syncing(self) -> int:
        """None: `poll` returns when its batch is on the disk."""
        return 0

    @property
    def usage(self) -> Usage:
        """What this process uses now; compiling is not known apart."""
        return Usage(private_memory())

    def submit(self, tasks: NDArray[np.void]) -> None:
        """Put a batch behind the others."""
        if not self._batches:
            self._waited = time.perf_counter() - self._idle_since
        self._batches.append(tasks)

    def poll(self, timeout: float) -> Results | None:
        """Compute the oldest batch, however long it takes."""
        if not self._batches:
            time.sleep(timeout)
            return None
        self._preparation.before(self._batches[0])
        stars = enumerate(self._batches[0])
        results = join_results(
            [compute_star(self._job, self._photometry, task, 0.0 if i else self._waited) for i, task in stars]
        )
        flush_lightcurves(self._job)
        make_durable(self._job.output_folder, [name for name in results.lightcurve if name])
        self._batches.popleft()
        self._waited, self._idle_since = 0.0, time.perf_counter()
        return results

    def dismiss(self) -> None:
        """Nothing: this process has other work."""

    def finish(self, seconds: float) -> None:
        """Nothing: a star that is computed in this process cannot be given up."""


def work(comm: Any, computer: Supervisor | InProcess) -> int:
    """Take batches from rank 0 and answer with results until it sends STOP.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator of all ranks.
    computer : Supervisor or InProcess
        Computes the batches. One is given to it while it computes the one before.

    Returns
    -------
    int
        The exit status that rank 0 decided on.

    Raises
    ------
    ProtocolError
        If a message is damaged or has an unknown tag.
    """
    from mpi4py import MPI

    sent = Usage()
    # Batches of which rank 0 knows that they are computed, and has no results yet.
    announced = 0
    while True:
        received = receive(comm, 0, timeout=0 if computer.held else None)
        if received is not None:
            _, tag, message = received
            if tag == Tag.STOP:
                return unpack_number(message)
            if tag == Tag.FINISH:
                computer.finish(unpack_number(message) / 1000)
            elif tag == Tag.DISMISS:
                computer.dismiss()
            elif tag == Tag.TASKS:
                computer.submit(unpack_tasks(message))
            else:
                raise ProtocolError(f"rank {comm.Get_rank()} got a message with the unknown tag {tag}")
        if not computer.held:
            continue
        computed = computer.syncing
        if (results := computer.poll(_LOOK)) is not None:
            if (usage := computer.usage).has_grown(sent):
                sent = usage
                comm.Send([pack_usage(usage), MPI.BYTE], 0, Tag.USAGE)
            if len(results):
                comm.Send([pack_results(results), MPI.BYTE], 0, Tag.RESULTS)
            else:
                comm.Send([b"", MPI.BYTE], 0, Tag.GIVEN_UP)
            announced = max(0, announced - 1)
        # A disk that takes longer than a look is not waited for.
        while announced < min(computed, computer.syncing, _MOST_SYNCING):
            comm.Send([b"", MPI.BYTE], 0, Tag.COMPUTED)
            announced += 1
