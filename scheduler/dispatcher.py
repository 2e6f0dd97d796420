"""The program of rank 0: hand out stars, collect results, apply the skip rule."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.messages import ProtocolError, Tag, pack_finish, pack_stop, pack_tasks, unpack_failure
from ..core.mpi import Mailbox
from ..core.status import STATUS
from .queue import BatchSize, Queue
from .result_store import Store
from .run_progress import Progress
from .signals import Stop

__all__ = ["Crew", "Outcome", "schedule"]

#: What workers send.
Messages = Sequence[bytes | bytearray]
#: Computes a queue: calls the first function with messages of results as they come, the second often.
Drain = Callable[[Queue, Callable[[Messages], None], Callable[[], None]], None]


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
    """

    computed: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    waited: float = 0.0


def schedule(
    store: Store,
    chosen: NDArray[np.bool_],
    drain: Drain,
    size: BatchSize,
    announce: Callable[[NDArray[np.void]], Progress],
    stop: Stop,
    max_errors: int = 0,
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
    announce : callable
        Told the rows to be computed before the first is handed out; returns what shows the progress.
    stop : Stop
        Ends the run early, with all results written, when something has asked for it.
    max_errors : int, optional
        So many stars may end with an error or be aborted before the run ends; 0: any number.

    Returns
    -------
    Outcome
        What was done. All results are in the logs.
    """
    outcome = Outcome()
    start = time.monotonic()
    progress: Progress | None = None
    queue: Queue | None = None

    def take_in(messages: Messages) -> None:
        assert progress is not None
        bundle, index = store.add(messages)
        heads = bundle.heads
        size.learn(heads["elaptime"], store.list.in_file[index])
        outcome.computed += len(heads)
        seconds = float(heads["elaptime"].sum())
        outcome.elapsed += seconds
        outcome.waited += float(heads["worker_wait_time"].sum())
        failed = (heads["status"] == STATUS.ERROR) | (heads["status"] == STATUS.ABORT)
        errors = int(np.count_nonzero(failed))
        progress.update(len(heads), errors, seconds)
        if errors and max_errors and progress.errors >= max_errors and not stop:
            last = np.flatnonzero(failed)[-1:]
            starid = store.rows["starid"][index[last[0]]]
            stop.request(_too_many(starid, bundle.strings(last)[2][0], progress.errors), 1)

    def tick() -> None:
        assert progress is not None
        assert queue is not None
        if len(rows := store.tick()):
            queue.leave_out(rows)
        progress.ahead = queue.seconds
        progress.show()

    while True:
        # A star left out because another one claims it, whose claim then falls, shows up here in a later
        # round.
        skipped = store.state.skipped_by() >= 0
        wanted = chosen & ~skipped & ~store.state.done
        if stop or not wanted.any():
            break
        if progress is None:
            progress = announce(store.rows[wanted])
        else:
            progress.total = progress.done + int(wanted.sum())
        store.left_out[:] = skipped
        try:
            queue = Queue(store.rows, np.flatnonzero(wanted), size, store.list.tile)
            drain(queue, take_in, tick)
        finally:
            # Some 100 bytes a star.
            queue = None
            store.flush()
    if progress is not None:
        progress.finish()
    outcome.seconds = time.monotonic() - start
    return outcome


def _too_many(starid: int, errors: str | None, count: int) -> str:
    """Why the run ends, with the last star that failed."""
    lines = (errors or "no message").strip().splitlines()
    return f"{count} star(s) have failed, the last one TIC {starid}: {lines[-1][:200]}"


@dataclass
class Crew:
    """The workers as rank 0 sees them.

    A worker holds up to two batches: one that it computes and one that waits for it, so that it does not wait
    itself. The first ones are sent without being asked for: they are there when a worker has started.

    Attributes
    ----------
    mail : Mailbox
        Where their messages come from and go to.
    stopping : Stop
        Nothing more is handed out after something has asked for the end.
    node : list of int
        Number of each rank's node.
    patience : float
        Seconds that stars in hand get when something has asked for the end.
    workers : int
        Number of ranks that compute.
    held : list of list of float
        The batches that each rank has, of which it computes the first: seconds that they are thought to take.
    outstanding : int
        Number of batches that workers have.
    """

    mail: Mailbox
    stopping: Stop
    node: list[int]
    patience: float = 10.0
    workers: int = field(init=False)
    held: list[list[float]] = field(init=False)
    outstanding: int = 0
    #: When workers that have not answered by then, after something has asked for the end, are given up.
    _deadline: float = 0.0
    #: Seconds that all of them are thought to take, and those of them that are being computed.
    _seconds: float = 0.0
    _begun: float = 0.0

    BATCHES = 2
    #: Beyond `patience`, seconds in which a worker has given up its star and answered.
    ANSWER = 10.0
    #: Most messages that are answered at once.
    AT_ONCE = 64
    #: Workers get their answers first: they may be waiting. What they sent is opened when nobody waits, or
    #: when it has lain for so many seconds, or is more than so many bytes; so many messages together, or what
    #: comes in so many seconds, because that is quicker than one by one.
    INBOX_PATIENCE = 0.5
    INBOX_BYTES = 128 << 20
    INBOX = 64
    INBOX_SECONDS = 0.01

    def __post_init__(self) -> None:
        self.held = [[] for _ in self.node]
        self.workers = len(self.node) - 1

    def drain(self, queue: Queue, take_in: Callable[[Messages], None], tick: Callable[[], None]) -> None:
        """Have all stars of a queue computed.

        When something has asked for the end, workers answer with what they have computed by `patience`. One
        that does not answer is left: `outstanding` is not 0 then.

        Raises
        ------
        ProtocolError
            If a message is not what it should be.
        TasocError
            If a worker cannot go on.
        """
        for _ in range(self.BATCHES):
            for rank in range(1, len(self.node)):
                self._provide(rank, queue)
        inbox: deque[bytes | bytearray] = deque()
        oldest, lying = 0.0, 0
        while (len(queue) and not self.stopping) or self.outstanding:
            if self.stopping and self._given_up():
                break
            begin = time.perf_counter()
            received = self.mail.receive(self.AT_ONCE, self.INBOX_SECONDS if inbox else 0.2)
            oldest = oldest if inbox else time.perf_counter()
            for rank, tag, message in received:
                self._note(rank, tag, message)
                self._provide(rank, queue)
                if tag == Tag.RESULTS:
                    inbox.append(message)
                    lying += len(message)
            now = time.perf_counter()
            if received:
                queue.size.charge((now - begin - self.mail.waited) / len(received), len(received))
            nobody_waits = len(received) < self.AT_ONCE
            patience = self.INBOX_SECONDS if nobody_waits else self.INBOX_PATIENCE
            due = now - oldest >= patience or (nobody_waits and len(inbox) >= self.INBOX)
            while inbox and (due or lying > self.INBOX_BYTES):
                messages = [inbox.popleft() for _ in range(min(self.INBOX, len(inbox)))]
                lying -= sum(map(len, messages))
                take_in(messages)
                due = False
            tick()
        if inbox:
            take_in(list(inbox))

    def _given_up(self) -> bool:
        """Tell the workers once that the run is to end; whether their time to answer is over."""
        now = time.monotonic()
        if not self._deadline:
            self._deadline = now + self.patience + self.ANSWER
            for rank in range(1, len(self.node)):
                self.mail.send(rank, Tag.FINISH, pack_finish(self.patience))
        return now > self._deadline

    def _note(self, rank: int, tag: int, message: bytes | bytearray) -> None:
        """Note that a worker has finished a batch, and begun the next if it has one."""
        if tag == Tag.FAILED:
            raise unpack_failure(rank, message)
        held = self.held[rank]
        if tag not in (Tag.RESULTS, Tag.GIVEN_UP) or not held:
            raise ProtocolError(f"rank {rank} sent a message with the tag {tag}, which nobody has asked for")
        seconds = held.pop(0)
        self.outstanding -= 1
        self._seconds -= seconds
        self._begun += (held[0] if held else 0.0) - seconds

    def _provide(self, rank: int, queue: Queue) -> None:
        """Give a worker a batch more, if there is one and it has not enough to the end."""
        left = queue.seconds
        if not left or self.stopping.exit_status:
            return
        held = self.held[rank]
        # Batches that are being computed are half done on average.
        behind = (left + self._seconds - 0.5 * self._begun) / self.workers - sum(held)
        if held and behind <= 0:
            return
        tasks, seconds = queue.take(self.node[rank], behind)
        if len(tasks):
            self.mail.send(rank, Tag.TASKS, pack_tasks(tasks))
            self._begun += 0.0 if held else seconds
            self._seconds += seconds
            self.outstanding += 1
            held.append(seconds)

    def stop(self, exit_status: int) -> None:
        """Send all workers home; none may have a batch in hand."""
        for rank in range(1, len(self.node)):
            self.mail.send(rank, Tag.STOP, pack_stop(exit_status))
        self.mail.wait()
