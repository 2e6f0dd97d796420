"""The program of rank 0: hand out stars, collect results, apply the skip rule."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..protocol import ProtocolError, Results, Tag, pack_stop, pack_tasks, unpack_results
from ..status import STATUS
from ..transport import receive
from .progress import Progress
from .queue import BatchSize, Queue, tasks_of
from .signals import Stop
from .store import Store

__all__ = ["Crew", "Outcome", "schedule"]

#: Computes a queue: calls the first function with results as they come, the second often.
Drain = Callable[[Queue, Callable[[Results], None], Callable[[], None]], None]


@dataclass
class Outcome:
    """What a run did.

    Attributes
    ----------
    computed : int
        Stars that were computed in this run.
    seconds : float
        Time from the first star handed out to the end.
    elapsed, waited : float
        Summed over stars: seconds of photometry, and seconds that workers waited for them.
    changed : bool
        Whether the work list is not what it was before.
    """

    computed: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    waited: float = 0.0
    changed: bool = False


def schedule(
    store: Store,
    chosen: NDArray[np.bool_],
    drain: Drain,
    size: BatchSize,
    output: Path,
    announce: Callable[[NDArray[np.void]], Progress],
    stop: Stop,
) -> Outcome:
    """Compute what is to be computed of the chosen rows, until nothing is left that the skip rule wants.

    Parameters
    ----------
    store : Store
        The work list.
    chosen : ndarray of bool
        Which rows may be computed.
    drain : callable
        Has a queue computed: `Crew.drain`, or in this process.
    size : BatchSize
        Learns from the results how many stars to hand out at once.
    output : Path
        Folder of the light curves.
    announce : callable
        Told the rows to be computed before the first is handed out; returns what shows the progress.
    stop : Stop
        Ends the run early, with all results written, when something has asked for it.

    Returns
    -------
    Outcome
        What was done. The work list and the files are final.
    """
    outcome = Outcome()
    start = time.monotonic()
    progress: Progress | None = None

    def take_in(results: Results) -> None:
        assert progress is not None
        store.add(results)
        size.learn(results.numbers["elaptime"])
        outcome.computed += len(results)
        outcome.elapsed += float(results.numbers["elaptime"].sum())
        outcome.waited += float(results.numbers["worker_wait_time"].sum())
        progress.update(
            len(results), int(np.isin(results.numbers["status"], (STATUS.ERROR, STATUS.ABORT)).sum())
        )

    def tick() -> None:
        assert progress is not None
        store.tick()
        progress.show()

    while True:
        # A star left out because another one claims it, whose claim then falls, shows up here in a later
        # round.
        skipped_by = store.decide()
        wanted = chosen & (skipped_by < 0) & ~store.listed
        if stop or not wanted.any():
            break
        if progress is None:
            progress = announce(store.rows[wanted])
        else:
            progress.total += int(wanted.sum())
        try:
            drain(Queue(tasks_of(store.rows[wanted]), size), take_in, tick)
        except KeyboardInterrupt:
            store.flush()
            raise
        store.flush()
    outcome.changed = store.publish(skipped_by, output) or outcome.computed > 0
    store.end()
    if progress is not None:
        progress.finish()
    outcome.seconds = time.monotonic() - start
    return outcome


@dataclass
class Crew:
    """The workers as rank 0 sees them.

    A worker that has reported holds up to two batches: one that it computes and one that waits for it, so
    that it does not wait itself.

    Attributes
    ----------
    comm : mpi4py.MPI.Comm
        The communicator of all ranks.
    stopping : Stop
        Nothing more is handed out after something has asked for the end.
    held : dict of int to int
        Number of batches that each worker has; a worker that has not said yet that it is there is missing.
    """

    comm: Any
    stopping: Stop
    held: dict[int, int] = field(default_factory=dict)
    _sent: list[tuple[Any, bytes]] = field(default_factory=list)

    BATCHES = 2

    @property
    def workers(self) -> int:
        """Number of ranks that compute."""
        return self.comm.Get_size() - 1

    def drain(self, queue: Queue, take_in: Callable[[Results], None], tick: Callable[[], None]) -> None:
        """Have all stars of a queue computed.

        Raises
        ------
        ProtocolError
            If a message is not what it should be.
        """
        for rank in self.held:
            self._provide(rank, queue)
        while (len(queue) and not self.stopping) or any(self.held.values()):
            received = receive(self.comm, timeout=0.2)
            tick()
            if received is None:
                continue
            rank, results = self._open(*received)
            # The worker first: it may be waiting.
            self._provide(rank, queue)
            take_in(results)

    def _open(self, rank: int, tag: int, message: bytearray) -> tuple[int, Results]:
        """Results from a message; notes that the worker has one batch less, or is there."""
        if tag != Tag.RESULTS:
            raise ProtocolError(f"rank {rank} sent a message with the unknown tag {tag}")
        self.held[rank] = self.held[rank] - 1 if rank in self.held else 0
        return rank, unpack_results(message)

    def _provide(self, rank: int, queue: Queue) -> None:
        while self.held[rank] < self.BATCHES and len(queue) and not self.stopping:
            self._send(rank, Tag.TASKS, pack_tasks(queue.take()))
            self.held[rank] += 1

    def _send(self, rank: int, tag: int, message: bytes) -> None:
        """Send without waiting until the worker, which may be computing, receives."""
        from mpi4py import MPI

        self._sent = [pair for pair in self._sent if not pair[0].Test()]
        self._sent.append((self.comm.Isend([message, MPI.BYTE], rank, tag), message))

    def stop(self, exit_status: int) -> None:
        """Send all workers home; none may have a batch in hand."""
        while len(self.held) < self.workers:
            received = receive(self.comm)
            assert received is not None
            self._open(*received)
        for rank in self.held:
            self._send(rank, Tag.STOP, pack_stop(exit_status))
        for request, _ in self._sent:
            request.Wait()
