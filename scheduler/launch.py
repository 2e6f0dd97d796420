"""Starts the scheduler: as rank 0 of several ranks, or in one process with what computes the stars."""

from __future__ import annotations

import argparse
import contextlib
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..core.errors import TasocError
from ..core.messages import pack_results
from ..core.mpi import Mailbox, abort, places
from ..core.settings import load_settings
from ..worklist.rank_times import Ranks
from .dispatcher import AddResults, Computer, Workers
from .queue import Queue
from .signals import Stop, listen

__all__ = ["Program", "run_alone", "run_rank_0"]

#: The work of rank 0: options, what computes stars, the request to end, and the ranks; returns the
#: exit status.
Program = Callable[[argparse.Namespace, Computer, Stop, Ranks], int]

#: Batches that the compute process has: one that it computes, and one that waits.
_BATCHES = 2


def run_alone(
    command: str,
    args: argparse.Namespace,
    program: Program,
    open_computer: Callable[[], AbstractContextManager[Any]],
) -> int:
    """Schedule and compute in turn, without MPI.

    Parameters
    ----------
    command, args : str, argparse.Namespace
        Its name and options.
    program : Program
        The work of rank 0.
    open_computer : callable
        Starts what computes batches (see `worker.rank.Computer`); called when there is a star to compute.

    Returns
    -------
    int
        Exit status.
    """
    stop, stop_timeout = Stop(), load_settings().getfloat("run", "stop_timeout")
    # A dry run shows the plan of so many ranks.
    ranks = Ranks([0] * (args.ranks or 1), [socket.gethostname()] * (args.ranks or 1))
    with listen(command, stop, None if args.dry_run else stop_timeout), contextlib.ExitStack() as stack:
        return program(args, _Alone(stack, open_computer, stop, stop_timeout, ranks), stop, ranks)


@dataclass
class _Alone:
    """Computes stars in a process of this rank, which is started for the first queue.

    Attributes
    ----------
    stack : contextlib.ExitStack
        Ends the process.
    open_computer, stop, ranks : callable, Stop, Ranks
        As of `run_alone`.
    stop_timeout : float
        Seconds that it may go on computing after a stop was requested.
    """

    stack: contextlib.ExitStack
    open_computer: Callable[[], AbstractContextManager[Any]]
    stop: Stop
    stop_timeout: float
    ranks: Ranks
    _computer: Any = None

    def compute(self, queue: Queue, add_results: AddResults, tick: Callable[[], None]) -> None:
        """Compute all stars of a queue."""
        if self._computer is None:
            self._computer = self.stack.enter_context(self.open_computer())
        computer, stop, finishing = self._computer, self.stop, False
        while (len(queue) and not stop) or computer.held:
            if stop and not finishing:
                computer.finish(self.stop_timeout)
                finishing = True
            while len(queue) and not stop and computer.held - computer.syncing < _BATCHES:
                tasks, _ = queue.take()
                if len(tasks):
                    computer.submit(tasks)
            results = computer.poll(0.2) if computer.held else None
            self.ranks.usage[0] = computer.usage
            if results is not None and len(results):
                add_results([pack_results(results)], [0])
            tick()

    def dismiss(self) -> None:
        """Let the process end."""
        if self._computer is not None:
            self._computer.dismiss()


def run_rank_0(command: str, args: argparse.Namespace, program: Program, comm: Any) -> int:
    """Schedule for the workers of the other ranks; ends them all after an error while they compute."""
    node, hosts = places(comm)
    workers = Workers(Mailbox(comm), Stop(), node)
    ranks = Ranks(node, hosts, workers.usage)
    try:
        try:
            workers.stop_timeout = load_settings().getfloat("run", "stop_timeout")
            with listen(command, workers.stop, None if args.dry_run else workers.stop_timeout):
                exit_status = program(args, workers, workers.stop, ranks)
        except (TasocError, OSError) as error:
            if workers.outstanding:
                # Workers may be busy for long, or gone.
                raise
            # This rank alone reports it.
            workers.send_stop(getattr(error, "exit_status", 1))
            failed = error
        else:
            if workers.outstanding:
                # A rank that does not answer any more would not receive the end either.
                silent = TasocError(f"{workers.outstanding} batch(es) were not answered; run again")
                silent.exit_status = exit_status
                raise silent
            workers.send_stop(exit_status)
            return exit_status
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        abort(comm, command, error)
    raise failed
