"""Ranks that share the work on a CCD: rank 0 hands out pieces, and computes some itself.

What all ranks have to know (the frames, the step to be done) is a dataclass of numbers, strings and arrays,
sent as JSON and bytes. Pieces are numbers `first` to `last`, of rows or frames. Large results are written
to their place in a file by the rank that has them; rank 0 gets a few bytes a piece.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core import errors
from ..core.errors import TasocError
from ..core.mpi import Mailbox, nodes, receive
from ..core.resources import free_memory

__all__ = ["Known", "Step", "Team", "pack", "serve", "unpack"]

logger = logging.getLogger(__name__)

_FRAMES, _STEP, _PIECE, _RESULT, _FAILED, _QUIT = range(1, 7)
#: Seconds between looks at what the disk has finished.
_PAUSE = 0.005

#: A rank without a piece for so many seconds has time for other things.
_IDLE = 0.02

#: A dataclass whose fields are what JSON knows, and arrays; those with the metadata ``local`` are not sent.
Known = Any


class Step(Protocol):
    """What is to be done with every piece."""

    def compute(
        self, frames: Any, first: int, last: int, poll: Callable[[], None]
    ) -> bytes | Future[bytes]: ...


class Team:
    """Rank 0's view of all ranks; of itself alone without a communicator.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        The others are in `serve`.
    """

    def __init__(self, comm: Any = None) -> None:
        self.size = 1 if comm is None else comm.Get_size()
        self._mail = None if comm is None else Mailbox(comm)
        self._frames: Any = None
        #: Number of ranks on every rank's node, and the bytes of memory that are free there.
        self.on_node, self.free = [1], [free_memory()]
        if comm is not None:
            node = nodes(comm)
            self.on_node = [node.count(n) for n in node]
            free = np.empty(self.size)
            comm.Gather(np.array([free_memory()]), free, 0)
            self.free = free.tolist()

    def memory(self, limit: float | None) -> float:
        """Bytes for each rank: its part of `limit` (bytes for a node), or of half of what is free there."""
        if limit is not None:
            return limit / max(self.on_node)
        return min(0.5 * free / count for free, count in zip(self.free, self.on_node, strict=True))

    def begin(self, frames: Known) -> None:
        """Say which frames the next steps are about."""
        self._frames = frames
        self._tell(_FRAMES, frames)

    def _tell(self, tag: int, known: Known) -> None:
        if self._mail is not None:
            message = pack(known)
            for rank in range(1, self.size):
                self._mail.send(rank, tag, message)

    def share(
        self,
        step: Step,
        pieces: Sequence[tuple[int, int]],
        done: Callable[[int, int, bytes], None],
        ahead: int = 1,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Have all pieces of a step computed.

        Parameters
        ----------
        step : Step
        pieces : sequence of (int, int)
            First and last of each, half open.
        done : callable
            Called in this process with (first, last, result), in the order in which results come.
        ahead : int
            Pieces that a rank has beside the one that it computes, so that it need not wait for rank 0, which
            looks for messages between two pieces, and whenever `Step.compute` calls `poll`. The last pieces
            go to whoever is free.
        meanwhile : callable, optional
            Called once in this process, when the others have got their first pieces.

        Raises
        ------
        TasocError, OSError
            The first one of any rank, after what was handed out is finished.
        """
        _Sharing(self, step, pieces, done, ahead).run(meanwhile)

    def quit(self, exit_status: int) -> None:
        """Let the others go; they return this."""
        if self._mail is not None:
            for rank in range(1, self.size):
                self._mail.send(rank, _QUIT, json.dumps({"status": exit_status}).encode())
            self._mail.wait()


class _Sharing:
    """One step, seen from rank 0."""

    def __init__(
        self,
        team: Team,
        step: Step,
        pieces: Sequence[tuple[int, int]],
        done: Callable[[int, int, bytes], None],
        ahead: int,
    ) -> None:
        self.step, self.done, self.most = step, done, 1 + ahead
        self.frames, self.mail = team._frames, team._mail
        self.waiting = deque(pieces)
        self.held = dict.fromkeys(range(1, team.size), 0)
        self.own: deque[tuple[int, int, Future[bytes]]] = deque()
        self.failed: Exception | None = None
        if self.waiting:
            team._tell(_STEP, step)

    def run(self, meanwhile: Callable[[], None] | None) -> None:
        """Until all is done."""
        self.exchange()
        if meanwhile is not None:
            try:
                meanwhile()
            except (TasocError, OSError) as error:
                self.fail(error)
        while self.waiting or self.own or any(self.held.values()):
            self.exchange()
            if self.waiting:
                try:
                    self.compute(*self.waiting.popleft())
                except (TasocError, OSError) as error:
                    self.fail(error)
            else:
                time.sleep(0 if self.collect() else _PAUSE)
        if self.failed is not None:
            raise self.failed

    def compute(self, first: int, last: int) -> None:
        result = self.step.compute(self.frames, first, last, self.exchange)
        if isinstance(result, Future):
            self.own.append((first, last, result))
        else:
            self.done(first, last, result)

    def collect(self) -> bool:
        """Note own results that are there now."""
        found = False
        while self.own and self.own[0][2].done():
            first, last, result = self.own.popleft()
            found = True
            try:
                self.done(first, last, result.result())
            except (TasocError, OSError) as error:
                self.fail(error)
        return found

    def fail(self, error: Exception) -> None:
        self.failed = self.failed or error
        self.waiting.clear()

    def exchange(self) -> None:
        """Hand out pieces and take in results, without waiting for any."""
        self.collect()
        if self.mail is None:
            return
        while True:
            for n in range(self.most):
                for rank, held in self.held.items():
                    # What one has ahead of the last pieces, others would wait for.
                    if held == n and len(self.waiting) > n * (1 + len(self.held)):
                        piece = np.array(self.waiting.popleft(), dtype="<i8")
                        self.mail.send(rank, _PIECE, piece.tobytes())
                        self.held[rank] += 1
            messages = self.mail.receive(len(self.held) * self.most, 0.0)
            if not messages:
                return
            for source, tag, message in messages:
                self.held[source] -= 1
                if tag == _FAILED:
                    words = json.loads(message)
                    self.fail(getattr(errors, words["kind"], OSError)(words["text"]))
                else:
                    first, last = np.frombuffer(message, "<i8", 2).tolist()
                    self.done(first, last, bytes(message[16:]))


def serve(comm: Any, kinds: Mapping[str, type], warm_up: Callable[[], None] | None = None) -> int:
    """What every rank but 0 does, until it is told to go.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    kinds : mapping
        Names of the dataclasses that can come.
    warm_up : callable, optional
        Called once, when there is nothing to do after the first piece: rank 0 is thinking about the headers.

    Returns
    -------
    int
        The exit status.
    """
    nodes(comm)
    comm.Gather(np.array([free_memory()]), None, 0)
    mail = Mailbox(comm)
    to_warm_up: list[Callable[[], None]] = []
    frames: Any = None
    step: Any = None
    pieces: deque[tuple[int, int]] = deque()
    pending: deque[tuple[int, int, Future[bytes]]] = deque()

    def answer(first: int, last: int, get: Callable[[], bytes | Future[bytes]]) -> None:
        try:
            result = get()
        except (TasocError, OSError) as error:
            words = {"kind": type(error).__name__, "text": str(error)}
            mail.send(0, _FAILED, json.dumps(words).encode())
            return
        if isinstance(result, Future):
            pending.append((first, last, result))
        else:
            mail.send(0, _RESULT, np.array([first, last], dtype="<i8").tobytes() + result)

    def collect() -> None:
        while pending and pending[0][2].done():
            first, last, future = pending.popleft()
            answer(first, last, future.result)

    while True:
        timeout = 0.0 if pieces else _PAUSE if pending else _IDLE if to_warm_up else None
        message = receive(comm, 0, timeout)
        if message is not None:
            _, tag, content = message
            if tag == _FRAMES:
                frames = unpack(content, kinds)
            elif tag == _STEP:
                step = unpack(content, kinds)
            elif tag == _PIECE:
                first, last = np.frombuffer(content, "<i8").tolist()
                pieces.append((first, last))
            else:
                mail.wait()
                return int(json.loads(content)["status"])
            continue
        collect()
        if to_warm_up and not pieces:
            to_warm_up.pop()()
        if pieces:
            first, last = pieces.popleft()
            if warm_up is not None:
                to_warm_up.append(warm_up)
                warm_up = None
            answer(first, last, functools.partial(step.compute, frames, first, last, collect))


def pack(known: Known) -> bytes:
    """A dataclass as bytes: eight for the length of the JSON, this, and the arrays."""
    values: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for item in dataclasses.fields(known):
        value = getattr(known, item.name)
        if item.metadata.get("local"):
            continue
        if isinstance(value, np.ndarray):
            arrays[item.name] = np.ascontiguousarray(value)
        else:
            values[item.name] = value
    head = {
        "kind": type(known).__name__,
        "values": values,
        "arrays": [[name, array.dtype.str, array.shape] for name, array in arrays.items()],
    }
    text = json.dumps(head).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in arrays.values())])


def unpack(message: bytes | bytearray, kinds: Mapping[str, type]) -> Known:
    """What was packed."""
    place = 8 + int.from_bytes(message[:8], "little")
    head = json.loads(message[8:place])
    values = dict(head["values"])
    for name, dtype, shape in head["arrays"]:
        count = int(np.prod(shape, dtype="i8"))
        # A copy begins where its values can be read at once.
        values[name] = np.frombuffer(message, dtype, count, place).reshape(shape).copy()
        place += values[name].nbytes
    return kinds[head["kind"]](**values)
