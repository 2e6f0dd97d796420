"""Rank 0 hands out batches of stars to the workers and collects their results."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.messages import (
    ProtocolError,
    Tag,
    Usage,
    pack_number,
    pack_tasks,
    unpack_failure,
    unpack_usage,
)
from ..core.mpi import Mailbox
from ..core.progress import Progress
from ..core.status import FAILED
from ..core.tables import counted
from ..worklist.failures import cause_line
from ..worklist.run_record import RunRecord
from .queue import BatchSize, Queue
from .run_results import RunResults
from .signals import Stop

__all__ = ["AddResults", "Computer", "Messages", "RunTotals", "Workers", "schedule"]

#: Messages of results, as workers send them.
Messages = Sequence[bytes | bytearray]
#: Takes messages of results, and the rank that each is from.
AddResults = Callable[[Messages, Sequence[int]], None]


class Computer(Protocol):
    """What computes stars: `Workers`, or a process of this rank."""

    def compute(self, queue: Queue, add_results: AddResults, tick: Callable[[], None]) -> None:
        """Compute all stars of a queue: call `add_results` with messages of results, and `tick` often."""

    def dismiss(self) -> None:
        """Let processes that compute end, while the results are published: no other queue follows."""


@dataclass
class RunTotals:
    """Sums over the stars that a run has computed.

    Attributes
    ----------
    computed : int
        Number of stars.
    seconds : float
        Time from the first star handed out to the end.
    elapsed, waited : float
        Seconds of photometry, and seconds that workers waited for stars.
    """

    computed: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    waited: float = 0.0

    def add(self, heads: NDArray[np.void]) -> None:
        """Count results (array of HEAD_DTYPE)."""
        self.computed += len(heads)
        self.elapsed += float(heads["elaptime"].sum())
        self.waited += float(heads["worker_wait_time"].sum())


def schedule(
    results: RunResults,
    chosen: NDArray[np.bool_],
    computer: Computer,
    size: BatchSize,
    announce: Callable[[NDArray[np.void]], Progress],
    stop: Stop,
    max_errors: int = 0,
    record: RunRecord | None = None,
) -> RunTotals:
    """Compute the chosen stars that have no result, in rounds, until the skip rule asks for no other one.

    Parameters
    ----------
    results : RunResults
    chosen : ndarray of bool
        Rows that may be computed.
    computer : Computer
    size : BatchSize
        Learns from the results how many stars to hand out at once.
    announce : callable
        Called with the rows to be computed before the first is handed out; returns what shows the progress.
    stop : Stop
        Ends the run early, with all results written, when it is requested.
    max_errors : int, optional
        The run ends when so many stars have ended with an error or were aborted; 0: never.
    record : RunRecord, optional
        Has begun when `announce` returns; gets the time that each rank has computed and waited.

    Returns
    -------
    RunTotals
        All results are in the logs.
    """
    worklist = results.worklist
    totals = RunTotals()
    start = time.monotonic()
    progress: Progress | None = None

    def add_results(messages: Messages, ranks: Sequence[int]) -> None:
        assert progress is not None
        bundle, index = results.add(messages)
        heads = bundle.heads
        if record is not None:
            record.add(bundle, ranks)
        size.learn_stars(heads["elaptime"], worklist.in_file[index])
        totals.add(heads)
        failed = np.flatnonzero(np.isin(heads["status"], FAILED))
        progress.update(len(heads), len(failed), float(heads["elaptime"].sum()))
        if len(failed) and max_errors and progress.errors >= max_errors:
            starid = worklist.rows["starid"][index[failed[-1]]]
            error = cause_line(bundle.strings(failed[-1:])[2][0])
            stop.request(f"{counted(progress.errors, 'star')} failed, the last one TIC {starid}: {error}", 1)

    while True:
        # The star that skipped another one may itself be skipped by a later result: the next round computes
        # the other one.
        results.skipped_so_far[:] = results.last.skipped_by() >= 0
        wanted = chosen & ~results.skipped_so_far & ~results.last.done
        if stop or not wanted.any():
            break
        if progress is None:
            progress = announce(worklist.rows[wanted])
        else:
            progress.total = progress.done + int(wanted.sum())
        queue = Queue(worklist.rows, np.flatnonzero(wanted), size, worklist.tile)
        try:
            computer.compute(queue, add_results, functools.partial(_tick, results, queue, progress, record))
        finally:
            # Some 100 bytes a star.
            del queue
            results.flush()
    computer.dismiss()
    if progress is not None:
        _finish(progress, stop)
    if record is not None:
        record.end_computing()
    totals.seconds = time.monotonic() - start
    return totals


def _finish(progress: Progress, stop: Stop) -> None:
    """Show the last line of the progress."""
    if not stop:
        # The others were skipped.
        progress.total, progress.work_left = progress.done, 0.0
    progress.finish()


def _tick(results: RunResults, queue: Queue, progress: Progress, record: RunRecord | None) -> None:
    """Write results that have waited, leave out stars that are skipped now, and show the progress."""
    if len(skipped := results.tick()):
        queue.leave_out(skipped)
    progress.work_left = queue.seconds
    progress.show()
    if record is not None:
        record.refresh(progress.seconds_left)


@dataclass
class Workers:
    """The workers as rank 0 sees them.

    A worker has up to two batches: one that it computes and one that waits, so that the worker does not wait
    itself. The first two are sent without a request and are there when the worker has started.

    Attributes
    ----------
    mailbox : Mailbox
        Receives and sends messages.
    stop : Stop
        No batch is sent after it was requested.
    node : list of int
        Number of each rank's node.
    stop_timeout : float
        Seconds that workers may go on computing after a stop was requested.
    count : int
        Number of workers.
    batches : list of list of float
        For each rank the expected seconds of its batches, of which it computes the first.
    computed : list of int
        For each rank the number of batches that it has computed, and whose results it will send when they are
        on the disk.
    outstanding : int
        Number of batches without results.
    usage : list of Usage
        What each rank has said that it uses.
    """

    mailbox: Mailbox
    stop: Stop
    node: list[int]
    stop_timeout: float = 10.0
    count: int = field(init=False)
    batches: list[list[float]] = field(init=False)
    computed: list[int] = field(init=False)
    outstanding: int = 0
    usage: list[Usage] = field(init=False)
    #: After this time workers that have not answered to a stop are left.
    _deadline: float = 0.0
    #: Expected seconds of all batches that workers have, and of those that they compute.
    _seconds: float = 0.0
    _seconds_begun: float = 0.0

    BATCHES = 2
    #: Seconds beyond `stop_timeout` that a worker needs to give up its star and answer.
    ANSWER = 10.0
    #: Most messages that are answered before the next look at the clock.
    AT_ONCE = 64
    #: Rank 0 sends a worker its next batch before it opens the results. Results are opened INBOX messages at
    #: once, which is quicker than one by one: when no worker waits, and after INBOX_SECONDS; while workers
    #: wait, after INBOX_PATIENCE or when there are INBOX_BYTES.
    INBOX = 64
    INBOX_SECONDS = 0.01
    INBOX_PATIENCE = 0.5
    INBOX_BYTES = 128 << 20

    def __post_init__(self) -> None:
        self.batches = [[] for _ in self.node]
        self.computed = [0] * len(self.node)
        self.usage = [Usage() for _ in self.node]
        self.count = len(self.node) - 1

    def compute(self, queue: Queue, add_results: AddResults, tick: Callable[[], None]) -> None:
        """Have all stars of a queue computed.

        After a stop was requested, workers answer with what they have computed within `stop_timeout`. If one
        does not answer, `outstanding` is not 0 at the end.

        Raises
        ------
        ProtocolError
            If a message is damaged or was not expected.
        TasocError
            If a worker cannot go on.
        """
        for _ in range(self.BATCHES):
            for rank in range(1, len(self.node)):
                self._send_batch(rank, queue)
        inbox: deque[tuple[bytes | bytearray, int]] = deque()
        oldest, size = 0.0, 0
        while (len(queue) and not self.stop) or self.outstanding:
            if self.stop and self._stop_is_over():
                break
            begin = time.perf_counter()
            received = self.mailbox.receive(self.AT_ONCE, self.INBOX_SECONDS if inbox else 0.2)
            oldest = oldest if inbox else time.perf_counter()
            for rank, tag, message in received:
                if tag == Tag.USAGE:
                    self.usage[rank] = unpack_usage(message)
                    continue
                self._end_batch(rank, tag, message)
                self._send_batch(rank, queue)
                if tag == Tag.RESULTS:
                    inbox.append((message, rank))
                    size += len(message)
            now = time.perf_counter()
            if received:
                seconds = (now - begin - self.mailbox.waited) / len(received)
                queue.size.learn_message(seconds, len(received))
            nobody_waits = len(received) < self.AT_ONCE
            patience = self.INBOX_SECONDS if nobody_waits else self.INBOX_PATIENCE
            due = now - oldest >= patience or (nobody_waits and len(inbox) >= self.INBOX)
            while inbox and (due or size > self.INBOX_BYTES):
                some = [inbox.popleft() for _ in range(min(self.INBOX, len(inbox)))]
                messages, ranks = zip(*some, strict=True)
                size -= sum(map(len, messages))
                add_results(messages, ranks)
                due = False
            tick()
        if inbox:
            add_results(*zip(*inbox, strict=True))

    def _stop_is_over(self) -> bool:
        """Send the request to stop to all workers once; whether the time for their answers is over."""
        now = time.monotonic()
        if not self._deadline:
            self._deadline = now + self.stop_timeout + self.ANSWER
            for rank in range(1, len(self.node)):
                self.mailbox.send(rank, Tag.FINISH, pack_number(round(1000 * self.stop_timeout)))
        return now > self._deadline

    def _end_batch(self, rank: int, tag: int, message: bytes | bytearray) -> None:
        """Note that a worker has finished a batch, and begins the next one if it has one."""
        if tag == Tag.FAILED:
            raise unpack_failure(message, f"rank {rank}: ")
        if tag in (Tag.RESULTS, Tag.GIVEN_UP) and self.computed[rank]:
            # It has the next batch already.
            self.computed[rank] -= 1
            self.outstanding -= 1
            return
        batches = self.batches[rank]
        if tag not in (Tag.RESULTS, Tag.GIVEN_UP, Tag.COMPUTED) or not batches:
            raise ProtocolError(f"rank {rank} sent a message with the tag {tag}, which nobody has asked for")
        if tag == Tag.COMPUTED:
            self.computed[rank] += 1
        else:
            self.outstanding -= 1
        seconds = batches.pop(0)
        self._seconds -= seconds
        self._seconds_begun += (batches[0] if batches else 0.0) - seconds

    def _send_batch(self, rank: int, queue: Queue) -> None:
        """Send a worker its next batch, if there is one and the worker has less than its share."""
        left = queue.seconds
        if not left or self.stop:
            return
        batches = self.batches[rank]
        # On average a batch that is being computed is half done.
        deficit = (left + self._seconds - 0.5 * self._seconds_begun) / self.count - sum(batches)
        if batches and deficit <= 0:
            return
        tasks, seconds = queue.take(self.node[rank], deficit)
        if len(tasks):
            self.mailbox.send(rank, Tag.TASKS, pack_tasks(tasks))
            self._seconds_begun += 0.0 if batches else seconds
            self._seconds += seconds
            self.outstanding += 1
            batches.append(seconds)

    def dismiss(self) -> None:
        """Let the compute processes of all workers end."""
        for rank in range(1, len(self.node)):
            self.mailbox.send(rank, Tag.DISMISS, b"")

    def send_stop(self, exit_status: int) -> None:
        """End all workers; none may have a batch."""
        for rank in range(1, len(self.node)):
            self.mailbox.send(rank, Tag.STOP, pack_number(exit_status))
        self.mailbox.wait()
