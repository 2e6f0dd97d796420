"""The watching process of a worker: keeps a computing process at work, and outlives whatever a star does.

A star may crash its process, use up its memory or never return. Then only the computing process ends; what
is left of its batches goes to a new one. A star during which a process ended by its own doing is a suspect:
it is computed once more in a process that gets no other star, and is an ABORT if that one ends, too. A
process that is ended from outside says nothing about a star. One over its time limit is an ABORT at once.

This process imports neither photometry nor HDF5, so that it stays small and nothing in it can crash.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, TasocError
from ..core.messages import ProtocolError, Results, pack_tasks, unpack_results
from ..core.names import cube_name
from ..products.durable import make_durable
from .child_options import ChildOptions, child_environment
from .compute import Job, aborted, join_results
from .copies import Copies, remove_stale
from .deaths import Death, cause_of_death, oom_kills
from .leftovers import remove_parts
from .pipes import Frames, Kind, frame
from .recorder import Reading, Recorder

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

#: Seconds between looks at a computing process that says nothing.
_LOOK = 0.25
#: Of the time between two looks, what counts against a star: this process may have been copying a cube, or
#: the whole job was suspended.
_LONGEST_LOOK = 2.0
#: Seconds in which a computing process has to be ready: thousands of them read the same libraries.
_START_SECONDS = 600.0
#: Seconds in which an idle one has to close its files.
_CLOSE_SECONDS = 20.0
#: Seconds that a killed process gets to be gone. One that waits for a file system that does not answer cannot
#: be ended by anything.
_END_SECONDS = 30.0
#: Computing processes that end of themselves this often without a star, one after the other, will never do.
_IDLE_DEATHS = 3
#: So many that are ended from outside, without a result between them: whoever does it will go on.
_OUTSIDE_DEATHS = 20


@dataclass
class _Batch:
    """A batch at hand: the stars without a result, and the results so far."""

    left: NDArray[np.void]
    parts: list[Results] = field(default_factory=list)


class Supervisor:
    """A computing process and the batches that it has.

    Parameters
    ----------
    job : Job
        What is the same for all stars.
    options : ChildOptions
    """

    def __init__(self, job: Job, options: ChildOptions) -> None:
        self.job = job
        self.options = options
        self._batches: deque[_Batch] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._to_child = self._from_child = -1
        self._outgoing = bytearray()
        self._frames = Frames()
        self._ready = False
        try:
            self._recorder = Recorder.create()
        except OSError as error:
            raise InputError(
                f"no memory can be shared with the computing process ({error}); set TMPDIR to a folder that "
                "can be written"
            ) from None
        self._copies = Copies(Path(options.copies)) if options.copies else None
        if self._copies is not None:
            remove_stale(self._copies.folder)
        #: Priority of the suspect that is to be computed alone, and whether that has just been done.
        self._alone: int | None = None
        self._retiring = False
        self._idle_deaths = self._outside_deaths = 0
        self._oom_kills: dict[str, int] = {}
        self._begun = self._looked = 0.0
        self._watched = 0
        self._spent = 0.0
        self._deadline: float | None = None

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def held(self) -> int:
        """Number of batches that are not finished."""
        return len(self._batches)

    def start(self) -> None:
        """Start the computing process, if it is not there: it takes a second to import what it needs."""
        if self._process is not None:
            return
        their_in, self._to_child = os.pipe()
        self._from_child, their_out = os.pipe()
        self._oom_kills = oom_kills()
        fds = (their_in, their_out, self._recorder.fd)
        try:
            # Not in this process's group: a launcher that kills a rank kills its group, and the terminal's
            # Ctrl-C goes to it; how a run ends is decided by rank 0.
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "tasoc_mpi.worker.child"),
                    *(*map(str, fds), str(os.getpid()), self.options.photometry),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                env=child_environment(self.options),
                process_group=0,
            )
        finally:
            os.close(their_in)
            os.close(their_out)
        os.set_blocking(self._to_child, False)
        self._ready = False
        self._frames = Frames()
        self._outgoing.clear()
        self._begun = self._looked = time.monotonic()
        self._post(Kind.JOB, json.dumps({"job": asdict(self.job), "options": asdict(self.options)}).encode())

    def submit(self, tasks: NDArray[np.void]) -> None:
        """Hand over a batch; the next one may come while this one is computed.

        Raises
        ------
        InputError
            If its cube is to be copied and does not fit, or nothing can be written to the output folder.
        """
        self._batches.append(_Batch(np.array(tasks)))
        self._copy_cubes()
        if self._process is None:
            self._go_on()
        elif self._alone is None and not self._retiring:
            self._post(Kind.TASKS, pack_tasks(self._batches[-1].left))

    def _go_on(self) -> None:
        """Start a process for the batches that are at hand, or for a suspect among their stars."""
        if not self._batches:
            return
        self.start()
        batch, index = self._find(self._alone)
        if batch is not None:
            self._post(Kind.TASKS, pack_tasks(batch.left[index : index + 1]))
            return
        for batch in self._batches:
            if len(batch.left):
                self._post(Kind.TASKS, pack_tasks(batch.left))

    def _copy_cubes(self) -> None:
        if self._copies is None:
            return
        names = {
            cube_name(*ccd)
            for batch in self._batches
            for ccd in np.unique(batch.left[["sector", "camera", "ccd"]]).tolist()
        }
        cubes = tuple(Path(self.job.input_folder) / name for name in sorted(names))
        self._copies.release(keep=cubes)
        for cube in cubes:
            self._copies.provide(cube)

    def _post(self, kind: Kind, payload: bytes) -> None:
        self._outgoing += frame(kind, payload)
        self._pump()

    def _pump(self) -> None:
        """Write as much as the pipe takes: the computing process may be busy for long."""
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self._to_child, self._outgoing)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            # It has ended; `poll` finds out why.
            self._outgoing.clear()

    def poll(self, timeout: float) -> Results | None:
        """Results of the oldest batch as soon as it is finished, or None after `timeout` seconds.

        Raises
        ------
        TasocError
            If the run cannot go on: nothing more can be written, or no computing process stays alive.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._listen(max(0.0, min(_LOOK, deadline - time.monotonic())))
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._give_up()
            if self._batches and not len(self._batches[0].left):
                results = join_results(self._batches.popleft().parts)
                # The next batch is being computed meanwhile.
                make_durable(self.job.output_folder, [name for name in results.lightcurve if name])
                return results
            if time.monotonic() >= deadline:
                return None

    def finish(self, seconds: float) -> None:
        """Give up what is not computed after some seconds: batches end with the results that there are."""
        self._deadline = time.monotonic() + seconds

    def _give_up(self) -> None:
        batch, index = self._find(self._recorder.read().priority)
        if self._process is not None and any(len(batch.left) for batch in self._batches):
            if batch is not None:
                logger.warning(
                    "TIC %d: given up after %.3g s, as the run is to end; the next run computes it",
                    batch.left[index]["starid"],
                    self._spent,
                )
            self._end()
        for batch in self._batches:
            batch.left = batch.left[:0]

    def _listen(self, timeout: float) -> None:
        if self._process is None:
            time.sleep(timeout)
            return
        writers = [self._to_child] if self._outgoing else []
        can_read, can_write, _ = select.select([self._from_child], writers, [], timeout)
        if can_write:
            self._pump()
        if can_read and (data := os.read(self._from_child, 1 << 20)):
            self._frames.feed(data)
            self._take_frames()
        elif can_read or self._process.poll() is not None:
            self._replace()
            return
        if self._retiring:
            self._end()
            self._go_on()
        else:
            self._watch()

    def _take_frames(self) -> None:
        while (found := self._frames.pop()) is not None:
            kind, payload = found
            if kind == Kind.READY:
                self._ready = True
            elif kind == Kind.FATAL:
                fatal = json.loads(payload)
                error = TasocError(fatal["message"])
                error.exit_status = fatal["exit_status"]
                raise error
            elif kind == Kind.RESULTS:
                self._take_results(unpack_results(payload))
            else:
                raise ProtocolError(f"the computing process sent {kind.name}")

    def _take_results(self, results: Results) -> None:
        batch, index = self._find(self._alone)
        if batch is None:
            batch, index = next((batch for batch in self._batches if len(batch.left)), None), 0
        there = slice(index, index + len(results))
        if batch is None or not np.array_equal(batch.left["priority"][there], results.numbers["priority"]):
            raise ProtocolError("the computing process sent results of other stars than it was given")
        batch.left = np.delete(batch.left, there)
        batch.parts.append(results)
        self._idle_deaths = self._outside_deaths = 0
        if self._alone is not None:
            # What it may have done to its process is to hurt no other star.
            self._alone, self._retiring = None, True

    def _watch(self) -> None:
        """End the computing process if its star, or its start, takes too long."""
        now = time.monotonic()
        since, self._looked = min(now - self._looked, _LONGEST_LOOK), now
        if not self._ready:
            if now - self._begun > _START_SECONDS:
                self._replace(f"not ready after {_START_SECONDS:.0f} s")
            return
        reading = self._recorder.read()
        if reading.sequence != self._watched:
            self._watched, self._spent = reading.sequence, 0.0
            return
        self._spent += since
        limit = self.options.target_timeout + reading.grace
        if reading.priority >= 0 and self._spent > limit:
            self._replace(f"no result after {limit:g} s; see --target-timeout", reading)

    def _replace(self, overdue: str | None = None, seen: Reading | None = None) -> None:
        """Find out why the computing process ended, or end it, and start another one.

        Parameters
        ----------
        overdue : str, optional
            Why it is to be ended.
        seen : Reading, optional
            The star that takes too long; if it is done by the time its process is ended, it counts.
        """
        assert self._process is not None
        pid, code = self._process.pid, self._end()
        reading = self._recorder.read()
        if overdue is not None:
            death = Death(overdue, own=True)
        else:
            counts = oom_kills()
            rose = any(counts.get(name, 0) > count for name, count in self._oom_kills.items())
            death = cause_of_death(code, rose)
        batch, index = self._find(reading.priority)
        if seen is not None and reading.sequence != seen.sequence:
            batch = None
        remove_parts(self.job, pid, [task for other in self._batches for task in other.left])
        if batch is None or not death.own:
            self._count(death, batch, index)
        elif overdue is not None or self._alone == reading.priority:
            again = "" if overdue is not None else " again when it ran alone"
            self._abort(batch, index, f"its process was ended{again}: {death.reason}")
        else:
            self._alone = reading.priority
        self._watched, self._spent = 0, 0.0
        self._go_on()

    def _count(self, death: Death, batch: _Batch | None, index: int) -> None:
        """Count an end that is no star's doing; raises TasocError when there are too many in a row."""
        if death.own:
            self._idle_deaths += 1
            if self._idle_deaths >= _IDLE_DEATHS:
                raise TasocError(
                    f"the computing process ended {self._idle_deaths} times without a star ({death.reason}); "
                    "see what it said above, and --memory-limit"
                )
            return
        self._outside_deaths += 1
        if self._outside_deaths >= _OUTSIDE_DEATHS:
            where = "" if batch is None else f", the last time at TIC {batch.left[index]['starid']}"
            raise TasocError(
                f"the computing process was ended {self._outside_deaths} times without a result "
                f"({death.reason}{where}); find out what ends it (limits of the batch system?) and run again"
            )

    def _abort(self, batch: _Batch, index: int, reason: str) -> None:
        task, self._alone = batch.left[index], None
        batch.parts.append(aborted(task, f"TIC {task['starid']}: {reason}", self._spent))
        batch.left = np.delete(batch.left, index)
        self._idle_deaths = self._outside_deaths = 0

    def _find(self, priority: int | None) -> tuple[_Batch | None, int]:
        """The batch that still has a star, and where in it; None if no batch has."""
        for batch in self._batches if priority is not None else ():
            (index,) = np.flatnonzero(batch.left["priority"] == priority)[:1].tolist() or [-1]
            if index >= 0:
                return batch, index
        return None, -1

    def _end(self) -> int:
        """End the computing process; take in what it said before. Returns its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        process.kill()
        code = -signal.SIGKILL
        try:
            code = process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("process %d cannot be ended; is a file system not answering?", process.pid)
        try:
            os.set_blocking(self._from_child, False)
            with contextlib.suppress(BlockingIOError):
                while data := os.read(self._from_child, 1 << 20):
                    self._frames.feed(data)
            self._take_frames()
        finally:
            os.close(self._from_child)
            os.close(self._to_child)
            self._from_child = self._to_child = -1
            self._retiring = False
        return code

    def close(self) -> None:
        """End the computing process; leave nothing behind."""
        try:
            if self._process is not None:
                # What it says now is of no use to anyone.
                self._batches.clear()
                process, self._process = self._process, None
                os.close(self._to_child)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if self._ready and self._recorder.read().priority < 0:
                        # Idle: the end of its pipe ends it.
                        process.wait(_CLOSE_SECONDS)
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_END_SECONDS)
                os.close(self._from_child)
        finally:
            self._recorder.close()
            if self._copies is not None:
                self._copies.release()
