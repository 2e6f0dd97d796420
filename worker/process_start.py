"""Starts a compute process: in an interpreter of its own, or forked from the supervisor process.

Forked, it need not import again what both use. That is for the start of a worker alone: later the supervisor
process has threads and MPI, which do not outlive a fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue

from ..core.launcher import leave_launcher
from .compute import Job
from .compute_options import ComputeOptions, compute_command, compute_environment, compute_words

__all__ = ["ComputeProcess", "can_fork"]

logger = logging.getLogger(__name__)

#: Seconds that a killed process gets to end. One that waits for a file system that does not answer cannot
#: be ended by anything.
_END_SECONDS = 30.0
#: Seconds between two looks at a process that is waited for.
_LOOK = 0.002


def can_fork() -> bool:
    """Whether this process can be forked: it has no threads, and has not started MPI."""
    return hasattr(os, "fork") and threading.active_count() == 1 and "mpi4py.MPI" not in sys.modules


class ComputeProcess:
    """A compute process that runs, and the two pipes to it.

    Parameters
    ----------
    job : Job
    options : ComputeOptions
    recorder : int
        Descriptor of the memory to which it writes the star in hand.
    fork : bool
        Whether it is forked from this process; see `can_fork`.

    Attributes
    ----------
    popen : subprocess.Popen
    answers : multiprocessing.connection.Connection
        Gives its messages.
    begun : float
        When it was started, on the monotonic clock.
    has_options : bool
        Whether they were sent to it.
    """

    def __init__(self, job: Job, options: ComputeOptions, recorder: int, fork: bool) -> None:
        theirs, batches = Pipe(duplex=False)
        self.answers, their_answers = Pipe(duplex=False)
        descriptors = (theirs.fileno(), their_answers.fileno(), recorder)
        words = compute_words(descriptors, job, options)
        self.popen: _Forked | subprocess.Popen[bytes]
        with theirs, their_answers:
            # Not in this process's group: a launcher that kills a rank kills its group, and the terminal's
            # Ctrl-C goes to it; rank 0 decides how a run ends.
            if fork:
                self.popen = _Forked(lambda: _compute(words), descriptors)
            else:
                self.popen = subprocess.Popen(
                    compute_command(words),
                    stdin=subprocess.DEVNULL,
                    pass_fds=descriptors,
                    env=compute_environment(options),
                    process_group=0,
                )
        self.has_options = False
        self.begun = time.monotonic()
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        # A pipe holds 64 kB, and its reader may compute a star for minutes: another thread waits for it.
        threading.Thread(target=_send_all, args=(batches, self._queue), daemon=True).start()

    def send(self, message: bytes | None) -> None:
        """Send a batch as soon as the pipe takes it; None closes the pipe behind the batches before."""
        self._queue.put(message)

    def kill(self) -> int:
        """End it; returns its exit code."""
        self.popen.kill()
        self.send(None)
        try:
            return self.popen.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("process %d cannot be ended; is a file system not answering?", self.popen.pid)
            return -signal.SIGKILL


def _compute(words: list[str]) -> None:
    """Be a compute process."""
    from .compute_process import main

    main(words)


def _send_all(pipe: Connection, queue: SimpleQueue[bytes | None]) -> None:
    # Where the process has ended, the supervisor finds out why.
    with pipe, contextlib.suppress(OSError):
        while (message := queue.get()) is not None:
            pipe.send_bytes(message)


class _Forked:
    """A forked process, with what the supervisor process uses of `subprocess.Popen`.

    Parameters
    ----------
    run : callable
        What the process does; it ends when that returns.
    keep : sequence of int
        Descriptors that it keeps, apart from standard output and error.

    Attributes
    ----------
    pid : int
    """

    def __init__(self, run: Callable[[], object], keep: Sequence[int]) -> None:
        self._status: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be_child(run, keep)

    def poll(self) -> int | None:
        """Its exit code, negative that of a signal; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, timeout: float) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("compute process", timeout)
            time.sleep(_LOOK)
        return status

    def kill(self) -> None:
        """End it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _be_child(run: Callable[[], object], keep: Sequence[int]) -> None:
    """Run in the new process; does not return."""
    status = 1
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        last = 2
        for descriptor in (*sorted(keep), os.sysconf("SC_OPEN_MAX")):
            os.closerange(last + 1, descriptor)
            last = descriptor
        # It opens its own log.
        logging.getLogger().handlers.clear()
        leave_launcher(os.environ)
        run()
        status = 0
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
    finally:
        # Nothing that its parent has begun is to be ended here.
        os._exit(status)
