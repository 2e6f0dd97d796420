"""Ranks that compute together: every rank computes an equal share of the pieces of each step.

Rank 0 sends a step and the list of its pieces to all ranks. Rank r of n computes pieces r, r + n, r + 2 n and
so on, and sends each result back; rank 0 receives results between its own pieces. Messages are pickles.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from .errors import TasocError
from .locks import use_folder
from .mpi import Mailbox, abort, check_first, nodes, receive, world
from .resources import free_memory, one_blas_thread
from .settings import load_settings

__all__ = ["Ranks", "Step", "run_on_ranks", "serve"]

#: From rank 0: a step and its pieces; the end of the step; the end of the program.
_STEP, _STOP, _QUIT = 1, 2, 3
#: To rank 0: the result of a piece; an error; the end of a rank's share.
_RESULT, _FAILED, _FINISHED = 4, 5, 6


class Step(Protocol):
    """A computation on frames or rows, cut into pieces that do not depend on each other."""

    def compute(self, first: int, last: int) -> Any:
        """Compute frames or rows `first` to `last`.

        A result that is a Future is complete once the next piece has been computed, or when it is asked for.
        """


def _results(step: Step, pieces: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, Any]]:
    """First, last and result of every piece."""
    pending: list[tuple[int, int, Future[Any]]] = []
    for first, last in pieces:
        # The bits must not depend on how many threads a rank has.
        with one_blas_thread():
            result = step.compute(first, last)
        yield from ((a, b, future.result()) for a, b, future in pending)
        pending.clear()
        if isinstance(result, Future):
            pending.append((first, last, result))
        else:
            yield first, last, result
    yield from ((a, b, future.result()) for a, b, future in pending)


class Ranks:
    """All ranks as rank 0 sees them; without a communicator, this process alone.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        The other ranks are in `serve`.

    Attributes
    ----------
    size : int
    on_node : list of int
        Number of ranks on the node of each rank.
    free : list of float
        Bytes of memory that are free there.
    """

    def __init__(self, comm: Any = None) -> None:
        self.size = 1 if comm is None else comm.Get_size()
        self._mail = None if comm is None else Mailbox(comm)
        self.on_node: list[int] = [1]
        self.free: list[float] = [free_memory()]
        if comm is not None:
            node = nodes(comm)
            self.on_node = [node.count(n) for n in node]
            self.free = comm.gather(free_memory())

    def memory(self, limit: float | None) -> float:
        """Bytes for each rank: its part of `limit` (bytes for a node), or of half of the free memory."""
        if limit is not None:
            return limit / max(self.on_node)
        return min(0.5 * free / count for free, count in zip(self.free, self.on_node, strict=True))

    def _send(self, tag: int, content: Any = None) -> None:
        """Send an object to all other ranks."""
        if self._mail is not None:
            message = pickle.dumps(content)
            for rank in range(1, self.size):
                self._mail.send(rank, tag, message)

    def share(
        self, step: Step, pieces: Sequence[tuple[int, int]], note: Callable[[int, int, Any], None]
    ) -> None:
        """Compute all pieces of a step.

        Parameters
        ----------
        step : Step
        pieces : sequence of (int, int)
            First and last of each, half open.
        note : callable
            Called in this process with (first, last, result), in the order in which results come.

        Raises
        ------
        TasocError, OSError
            The first one of any rank. All ranks then stop after the piece that they compute.
        """
        if not pieces:
            return
        self._send(_STEP, (step, pieces))
        own: Iterator[tuple[int, int, Any]] | None = _results(step, pieces[:: self.size])
        busy = self.size - 1
        failed: Exception | None = None
        while own or busy:
            try:
                if own and (result := next(own, None)):
                    note(*result)
                else:
                    own = None
                for tag, content in self._receive(busy, None if own is None else 0.0):
                    if tag == _FINISHED:
                        busy -= 1
                    elif tag == _FAILED:
                        raise content
                    else:
                        note(*content)
            except (TasocError, OSError) as error:
                if failed is None:
                    self._send(_STOP)
                failed, own = failed or error, None
        if failed is not None:
            raise failed

    def _receive(self, busy: int, timeout: float | None) -> Iterator[tuple[int, Any]]:
        """Tag and content of the messages that have come; waits for the first one."""
        while self._mail is not None and busy:
            messages = self._mail.receive(1, timeout)
            if not messages:
                return
            ((_, tag, message),) = messages
            # From a rank of this program.
            yield tag, pickle.loads(message)
            busy -= tag == _FINISHED
            timeout = 0.0

    def quit(self, exit_status: int) -> None:
        """End `serve` on all other ranks, which returns `exit_status`."""
        self._send(_QUIT, exit_status)
        if self._mail is not None:
            self._mail.wait()


def run_on_ranks(command: str, lock_folder: str | None, work: Callable[[Ranks], object]) -> int:
    """Run a command in this process, or as one of several ranks.

    Parameters
    ----------
    command : str
        Its name.
    lock_folder : str or None
        The folder of locks, see `core.locks.use_folder`.
    work : callable
        Called on rank 0 with the ranks that share the work.

    Returns
    -------
    int
        The exit status of this rank.

    Raises
    ------
    TasocError, OSError
        On rank 0, those of `work`, after the other ranks were told to end.
    """

    def check() -> None:
        load_settings()
        use_folder(lock_folder)

    comm = world()
    status, _ = check_first(comm, check)
    if status:
        return status
    if comm is None:
        work(Ranks())
        return 0
    try:
        if comm.Get_rank() > 0:
            return serve(comm)
        ranks = Ranks(comm)
        try:
            work(ranks)
        except (TasocError, OSError) as error:
            # This rank alone reports it.
            ranks.quit(getattr(error, "exit_status", 1))
            failed = error
        else:
            ranks.quit(0)
            return 0
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        abort(comm, command, error)
    raise failed


def serve(comm: Any) -> int:
    """Compute the shares of a rank other than 0 until `Ranks.quit`.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm

    Returns
    -------
    int
        The exit status.
    """
    nodes(comm)
    comm.gather(free_memory())
    mail = Mailbox(comm)
    while True:
        message = receive(comm, 0)
        assert message is not None
        _, tag, content = message
        if tag == _QUIT:
            mail.wait()
            return int(pickle.loads(content))
        if tag == _STEP:
            step, pieces = pickle.loads(content)
            try:
                for result in _results(step, pieces[comm.Get_rank() :: comm.Get_size()]):
                    mail.send(0, _RESULT, pickle.dumps(result))
                    # During a step rank 0 sends nothing but the order to stop.
                    if receive(comm, 0, 0.0):
                        break
            except (TasocError, OSError) as error:
                mail.send(0, _FAILED, pickle.dumps(error))
            mail.send(0, _FINISHED, pickle.dumps(None))
