"""Signals that end a run early: of the batch system, of an operator, of a user at the keyboard.

Rank 0 acts on them: it hands out nothing more, collects the stars that the workers finish within some
seconds, writes their results and ends with the exit status REQUEUE or INTERRUPTED. The other
ranks ignore them: launchers and batch systems send them to every rank, and a rank that ended would lose its
results.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ..core.streams import write_error

__all__ = ["INTERRUPTED", "REQUEUE", "EndedAtOnce", "Stop", "listen"]

#: Exit status of a run that a batch system has ended and is to start again: EX_TEMPFAIL of sysexits.h.
REQUEUE = 75
#: Exit status after an interrupt from the keyboard, as shells give it.
INTERRUPTED = 130

#: The batch system's end of time, and the warning that it can be requested to send before.
_BATCH_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
#: Signals that come within so many seconds are one: launchers and timeout(1) send each of them to a process
#: and to its group.
_ONE_SIGNAL = 0.4


class EndedAtOnce(KeyboardInterrupt):
    """The second signal that asks for the end."""

    def __init__(self, exit_status: int) -> None:
        super().__init__()
        self.exit_status = exit_status


@dataclass
class Stop:
    """The request to end a run early, and its reason.

    Attributes
    ----------
    reason : str
        Empty as long as the run may go on; else one line for the user.
    exit_status : int
        Of the program; 0 as long as the run may go on.
    """

    reason: str = ""
    exit_status: int = 0

    def __bool__(self) -> bool:
        return bool(self.exit_status)

    def request(self, reason: str, exit_status: int) -> None:
        """Request the end; the first request gives the reason."""
        if not self:
            self.reason, self.exit_status = reason, exit_status


@contextmanager
def listen(command: str, stop: Stop, stop_timeout: float | None) -> Iterator[None]:
    """Turn signals into a request to stop; the second SIGTERM or interrupt ends the run at once.

    A batch system's warning, SIGUSR1, is no first SIGTERM: SIGTERM follows it when the time is over.

    Parameters
    ----------
    command : str
        Its name, for the message.
    stop : Stop
    stop_timeout : float or None
        Seconds in which workers finish stars, for the message; None where the first signal ends it at once.

    Raises
    ------
    EndedAtOnce
        At the second SIGTERM or SIGINT, wherever the program is; without `stop_timeout` at the first one.
    """
    requested: list[float] = []

    def handle(number: int, _: FrameType | None) -> None:
        exit_status = INTERRUPTED if number == signal.SIGINT else REQUEUE
        if stop_timeout is None:
            raise EndedAtOnce(exit_status)
        name = signal.Signals(number).name
        now = time.monotonic()
        if number != signal.SIGUSR1:
            if requested and now - requested[0] > _ONE_SIGNAL:
                raise EndedAtOnce(exit_status)
            requested.append(now)
        known = bool(stop)
        stop.request(f"told to end by {name}", exit_status)
        if number == signal.SIGINT:
            # Also after a batch system's signal.
            stop.exit_status = INTERRUPTED
        if not known:
            text = (
                f"tasoc-mpi {command}: {name}: the run ends with what is computed within {stop_timeout:g} s\n"
            )
            # Unbuffered: a buffered stream must not be entered twice.
            write_error(text.encode())

    before = {number: signal.signal(number, handle) for number in (*_BATCH_SIGNALS, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
