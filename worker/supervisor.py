"""The supervisor process of a worker: keeps a compute process at work, and outlives any star.

A star may crash its process, use up its memory or never return. Then only the compute process ends; the
rest of its batches goes to a new one. A star during which a process ended by its own doing is retried once,
alone in a process that gets no other star, and is an ABORT if that one ends, too. A process that is ended
from outside says nothing about a star. One over its time limit is an ABORT at once.

This process imports neither photometry nor HDF5, so that it stays small and nothing in it can crash.
"""

from __future__ import annotations

import contextlib
import logging
import math
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.distinct import distinct
from ..core.errors import InputError, TasocError
from ..core.messages import (
    ProtocolError,
    Results,
    Tag,
    Usage,
    pack_tasks,
    unpack_failure,
    unpack_results,
)
from ..core.names import cube_name
from ..core.resources import private_memory
from .compute import Job, aborted, join_results
from .compute_options import ComputeOptions, pack_options, unpack_answer
from .copies import Copies, remove_stale
from .leftovers import remove_parts
from .process_exit import ProcessExit, explain_exit, oom_kills
from .process_start import ComputeProcess
from .recorder import Reading, Recorder
from .syncing import Syncing

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

#: Seconds between looks at a compute process that sends nothing.
_LOOK = 0.25
#: Seconds between looks at its memory.
_WEIGH = 0.1
#: Of the time between two looks, the most that counts against a star: this process may have been copying a
#: cube, or the whole job was suspended.
_LONGEST_LOOK = 2.0
#: Seconds in which a compute process has to be ready: thousands of them read the same libraries.
_START_SECONDS = 600.0
#: Seconds in which one that is idle, or has closed its pipe, has to end.
_CLOSE_SECONDS = 20.0
#: Compute processes that end by themselves this often without a star, one after the other, never work.
_MOST_IDLE_EXITS = 3
#: So many that are ended from outside, without a result between them: their cause goes on.
_MOST_OUTSIDE_EXITS = 20


@dataclass
class _Batch:
    """A batch: the stars without a result, and the results so far."""

    pending: NDArray[np.void]
    results: list[Results] = field(default_factory=list)


class Supervisor:
    """A compute process and its batches.

    Parameters
    ----------
    job : Job
        The settings that all stars share.
    options : ComputeOptions
    """

    def __init__(self, job: Job, options: ComputeOptions) -> None:
        self.job = job
        self.options = options
        self._batches: deque[_Batch] = deque()
        self._syncing = Syncing(job.output_folder)
        self._process: ComputeProcess | None = None
        try:
            self._recorder = Recorder.create()
        except OSError as error:
            raise InputError(
                f"no memory can be shared with the compute process ({error}); set TMPDIR to a folder that "
                "can be written"
            ) from None
        self._copies = Copies(Path(options.copies)) if options.copies else None
        if self._copies is not None:
            remove_stale(self._copies.folder)
        #: Priority of the star that is to be retried alone.
        self._retry: int | None = None
        self._idle_exits = self._outside_exits = 0
        self._oom_kills: dict[str, int] = {}
        self._looked = 0.0
        #: The recorder's sequence number when the process was started, and of the star that is timed.
        self._unready = self._timed = 0
        self._spent = 0.0
        self._deadline: float | None = None
        self._memory, self._weighed = math.nan, 0.0

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def held(self) -> int:
        """Number of batches whose results `poll` has not returned."""
        return len(self._batches) + self._syncing.count

    @property
    def syncing(self) -> int:
        """Of these, the number of those that are computed, but not on the disk yet."""
        return self._syncing.count

    @property
    def pid(self) -> int | None:
        """Number of the compute process, if it is there."""
        return None if self._process is None else self._process.popen.pid

    @property
    def usage(self) -> Usage:
        """What this rank has used so far."""
        return Usage(self._memory, self._recorder.compiling)

    def start(self) -> None:
        """Start the compute process, if it is not there, and give it the options if it has none."""
        if self._process is None:
            self._begin(fork=False)
        assert self._process is not None
        if not self._process.has_options:
            self._process.send(pack_options(self.job, self.options))
            self._process.has_options = True

    def fork(self) -> None:
        """Start the compute process early: it imports its modules while this one starts MPI.

        It shares what this process has imported. `start` gives it the options.
        """
        self._begin(fork=True)

    def _begin(self, fork: bool) -> None:
        self._oom_kills = oom_kills()
        self._recorder.idle()
        self._unready = self._recorder.read().sequence
        self._process = ComputeProcess(self.job, self.options, self._recorder.fd, fork)
        self._looked = time.monotonic()

    def submit(self, tasks: NDArray[np.void]) -> None:
        """Add a batch; the next one may come while this one is computed.

        Raises
        ------
        InputError
            If its cube is to be copied and does not fit, or nothing can be written to the output folder.
        """
        self._batches.append(_Batch(np.array(tasks)))
        self._copy_cubes()
        if self._process is None:
            self._continue()
        elif self._retry is None:
            self._process.send(pack_tasks(self._batches[-1].pending))

    def _continue(self) -> None:
        """Start a process for the pending stars, or for the one of them that is to be retried alone."""
        if not self._batches:
            return
        self.start()
        assert self._process is not None
        batch, index = self._find(self._retry)
        if batch is not None:
            self._process.send(pack_tasks(batch.pending[index : index + 1]))
            return
        for batch in self._batches:
            if len(batch.pending):
                self._process.send(pack_tasks(batch.pending))

    def _copy_cubes(self) -> None:
        if self._copies is None:
            return
        names = {
            cube_name(*ccd)
            for batch in self._batches
            for ccd in distinct(batch.pending[["sector", "camera", "ccd"]]).tolist()
        }
        cubes = tuple(Path(self.job.input_folder) / name for name in sorted(names))
        self._copies.release(keep=cubes)
        for cube in cubes:
            self._copies.provide(cube)

    def poll(self, timeout: float) -> Results | None:
        """Results of the oldest batch as soon as they are on the disk, or None after `timeout` seconds.

        Raises
        ------
        TasocError
            If the run cannot go on: nothing more can be written, or no compute process stays alive.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._receive(max(0.0, min(_LOOK, deadline - time.monotonic())))
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._give_up()
            while self._batches and not len(self._batches[0].pending):
                self._syncing.add(join_results(self._batches.popleft().results))
            if (results := self._syncing.take()) is not None:
                return results
            if time.monotonic() >= deadline:
                return None

    def finish(self, seconds: float) -> None:
        """Give up stars that are not computed after some seconds: batches end with the results so far."""
        self._deadline = time.monotonic() + seconds

    def _give_up(self) -> None:
        batch, index = self._find(self._recorder.read().priority)
        if self._process is not None and any(len(batch.pending) for batch in self._batches):
            if batch is not None:
                logger.warning(
                    "TIC %d: given up after %.3g s, as the run is to end; the next run computes it",
                    batch.pending[index]["starid"],
                    self._spent,
                )
            self._end()
        for batch in self._batches:
            batch.pending = batch.pending[:0]

    def _receive(self, timeout: float) -> None:
        """Take in an answer of the compute process, or look after it."""
        if self._process is None:
            wait([self._syncing.ready], timeout)
        elif self._process.answers in wait([self._process.answers, self._syncing.ready], timeout):
            try:
                message = self._process.answers.recv_bytes()
            except (OSError, EOFError):
                # Its own exit status is to be seen, not that of a kill in the middle of it.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.popen.wait(_CLOSE_SECONDS)
                self._replace()
            else:
                if self._take(message):
                    # The damage that the star may have done to its process is to hurt no other star.
                    self._end()
                    self._continue()
        elif self._process.popen.poll() is not None:
            self._replace()
        self._watch()

    def _take(self, message: bytes) -> bool:
        """Take in an answer; whether it is of the star that was retried."""
        tag, payload = unpack_answer(message)
        if tag == Tag.FAILED:
            raise unpack_failure(payload)
        if tag != Tag.RESULTS:
            raise ProtocolError(f"the compute process sent a message with the unknown tag {tag}")
        results = unpack_results(payload)
        batch, index = self._find(self._retry)
        if batch is None:
            batch, index = next((batch for batch in self._batches if len(batch.pending)), None), 0
        there = slice(index, index + len(results))
        if batch is None or not np.array_equal(batch.pending["priority"][there], results.numbers["priority"]):
            raise ProtocolError("the compute process sent results of other stars than it was given")
        batch.pending = np.delete(batch.pending, there)
        batch.results.append(results)
        self._idle_exits = self._outside_exits = 0
        retried, self._retry = self._retry is not None, None
        return retried

    def _watch(self) -> None:
        """End the compute process if its star, or its start, takes too long."""
        if self._process is None:
            return
        now = time.monotonic()
        if now - self._weighed > _WEIGH:
            self._weighed = now
            memory = private_memory(self._process.popen.pid) + private_memory()
            self._memory = float(np.fmax(self._memory, memory))
        since, self._looked = min(now - self._looked, _LONGEST_LOOK), now
        reading = self._recorder.read()
        if reading.sequence == self._unready:
            if now - self._process.begun > _START_SECONDS:
                self._replace(f"not ready after {_START_SECONDS:.0f} s")
        elif reading.sequence != self._timed:
            self._timed, self._spent = reading.sequence, 0.0
        else:
            self._spent += since
            limit = self.options.target_timeout + reading.grace
            if reading.priority >= 0 and self._spent > limit:
                self._replace(f"no result after {limit:g} s; see --target-timeout", reading)

    def _replace(self, overdue: str | None = None, seen: Reading | None = None) -> None:
        """Find out why the compute process ended, or end it, and start another one.

        Parameters
        ----------
        overdue : str, optional
            Why it is to be ended.
        seen : Reading, optional
            The star that takes too long; if it is done by the time its process is ended, it counts.
        """
        assert self._process is not None
        pid, code = self._process.popen.pid, self._end()
        reading = self._recorder.read()
        if overdue is not None:
            end = ProcessExit(overdue, own=True)
        else:
            counts = oom_kills()
            rose = any(counts.get(name, 0) > count for name, count in self._oom_kills.items())
            end = explain_exit(code, rose)
        batch, index = self._find(reading.priority)
        if seen is not None and reading.sequence != seen.sequence:
            batch = None
        remove_parts(self.job, pid, [task for other in self._batches for task in other.pending])
        if batch is None or not end.own:
            self._count(end, batch, index)
        elif overdue is not None or self._retry == reading.priority:
            again = "" if overdue is not None else " again when it ran alone"
            self._abort(batch, index, f"its process was ended{again}: {end.reason}")
        else:
            self._retry = reading.priority
        self._continue()

    def _count(self, end: ProcessExit, batch: _Batch | None, index: int) -> None:
        """Count an end that is no star's doing; raises TasocError when there are too many in a row."""
        if end.own:
            self._idle_exits += 1
            if self._idle_exits >= _MOST_IDLE_EXITS:
                raise TasocError(
                    f"the compute process ended {self._idle_exits} times without a star ({end.reason}); "
                    "see its messages above, and --memory-limit"
                )
            return
        self._outside_exits += 1
        if self._outside_exits >= _MOST_OUTSIDE_EXITS:
            where = "" if batch is None else f", the last time at TIC {batch.pending[index]['starid']}"
            raise TasocError(
                f"the compute process was ended {self._outside_exits} times without a result "
                f"({end.reason}{where}); find out what ends it (limits of the batch system?) and run again"
            )

    def _abort(self, batch: _Batch, index: int, reason: str) -> None:
        task, self._retry = batch.pending[index], None
        batch.results.append(
            aborted(task, self.job.method_of(task), f"TIC {task['starid']}: {reason}", self._spent)
        )
        batch.pending = np.delete(batch.pending, index)
        self._idle_exits = self._outside_exits = 0

    def _find(self, priority: int | None) -> tuple[_Batch | None, int]:
        """The batch in which a star is pending, and its index there; None if there is none."""
        for batch in self._batches if priority is not None else ():
            (index,) = np.flatnonzero(batch.pending["priority"] == priority)[:1].tolist() or [-1]
            if index >= 0:
                return batch, index
        return None, -1

    def _end(self) -> int:
        """End the compute process and take in the answers that it sent before; returns its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        code = process.kill()
        with process.answers, contextlib.suppress(OSError, EOFError):
            while process.answers.poll():
                self._take(process.answers.recv_bytes())
        return code

    def dismiss(self) -> None:
        """Let the compute process end, without waiting for it: no batch follows. `close` does the rest."""
        if self._process is not None:
            self._process.send(None)

    def close(self) -> None:
        """End the compute process; leave nothing behind."""
        try:
            if self._process is not None:
                process, self._process = self._process, None
                process.send(None)
                reading = self._recorder.read()
                if reading.sequence != self._unready and reading.priority < 0:
                    # Idle: the end of its pipe ends it.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.popen.wait(_CLOSE_SECONDS)
                process.kill()
                process.answers.close()
        finally:
            self._syncing.close()
            self._recorder.close()
            if self._copies is not None:
                self._copies.release()
