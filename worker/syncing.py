"""Waits until light curves are on the disk, in a thread, while the next stars are computed."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from multiprocessing.connection import Pipe
from queue import Empty, SimpleQueue

from ..core.messages import Results
from ..products.durable import make_durable

__all__ = ["Syncing"]


class Syncing:
    """Results whose light curves are not on the disk yet.

    The file system is synced for all that has come meanwhile: a slow disk, or one that others write to, makes
    fewer and larger steps and no process wait.

    Parameters
    ----------
    output : str
        The output folder.

    Attributes
    ----------
    count : int
        Number of results that were added and not taken.
    ready : multiprocessing.connection.Connection
        Can be read when there may be something to take.
    """

    def __init__(self, output: str) -> None:
        self.count = 0
        self.ready, self._wake = Pipe(duplex=False)
        self._output = output
        self._waiting: SimpleQueue[Results | None] = SimpleQueue()
        self._synced: deque[Results] = deque()
        self._failed: Exception | None = None
        self._thread: threading.Thread | None = None

    def add(self, results: Results) -> None:
        """Have the light curves of some stars synced."""
        self.count += 1
        self._waiting.put(results)
        if self._thread is None:
            self._thread = threading.Thread(target=self._sync, daemon=True)
            self._thread.start()

    def take(self) -> Results | None:
        """The oldest results whose light curves are on the disk, in the order in which they were added.

        Raises
        ------
        InputError
            If the disk cannot take them.
        """
        while self.ready.poll():
            self.ready.recv_bytes()
        if self._synced:
            self.count -= 1
            return self._synced.popleft()
        if self._failed is not None:
            raise self._failed
        return None

    def close(self) -> None:
        """End the thread when it has synced what it has begun."""
        self.ready.close()
        if self._thread is None:
            self._wake.close()
        else:
            self._waiting.put(None)

    def _sync(self) -> None:
        # The reader may be closed already.
        with self._wake, contextlib.suppress(BrokenPipeError):
            while some := self._next():
                try:
                    make_durable(self._output, [name for one in some for name in one.lightcurve if name])
                    self._synced.extend(some)
                except Exception as error:  # noqa: BLE001 - it is raised in the other thread
                    self._failed = error
                self._wake.send_bytes(b"1")

    def _next(self) -> list[Results]:
        """All results that wait, at least one; none at the end."""
        found = [self._waiting.get()]
        with contextlib.suppress(Empty):
            while True:
                found.append(self._waiting.get_nowait())
        return [] if None in found else [one for one in found if one is not None]
