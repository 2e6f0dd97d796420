"""What the run does when it is told to end: by the batch system, by an operator, by a user at the keyboard.

Rank 0 decides alone. It hands out nothing more, collects what the workers have in hand, writes it and ends
with an exit status that says whether to start the run again. The other ranks leave the signals to it:
launchers and batch systems send them to every rank, and a rank that ended by itself would take the results
in its hand along.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

__all__ = ["INTERRUPTED", "REQUEUE", "Stop", "leave_to_rank_0", "listen"]

#: Exit status of a run that was told to end and wants to be started again: EX_TEMPFAIL of sysexits.h.
REQUEUE = 75
#: Exit status after an interrupt from the keyboard, as shells give it.
INTERRUPTED = 130

#: The batch system's end of time, and the warning that it can be asked to send before.
_BATCH_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@dataclass
class Stop:
    """Whether, and why, the run is to end early.

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
        """Ask for the end; the first to ask gives the reason."""
        if not self:
            self.reason, self.exit_status = reason, exit_status


@contextmanager
def listen(stop: Stop) -> Iterator[None]:
    """Turn signals into a request to stop; a second interrupt from the keyboard ends the run at once.

    Raises
    ------
    KeyboardInterrupt
        At the second SIGINT, wherever the program is.
    """

    def told(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and stop.exit_status == INTERRUPTED:
            raise KeyboardInterrupt
        name = signal.Signals(number).name
        stop.request(f"told to end by {name}", INTERRUPTED if number == signal.SIGINT else REQUEUE)
        if number == signal.SIGINT:
            # An interrupt after a batch system's signal still makes the next interrupt the last.
            stop.exit_status = INTERRUPTED
        text = f"tasoc-mpi run: {name}: collecting what is being computed, then the run ends\n"
        # Unbuffered: a buffered stream must not be entered twice.
        os.write(2, text.encode())

    before = {number: signal.signal(number, told) for number in (*_BATCH_SIGNALS, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_rank_0() -> None:
    """Let the signals pass that rank 0 acts on. Programs started from here have their defaults again."""

    def nothing(_: int, __: FrameType | None) -> None:
        pass

    for number in (*_BATCH_SIGNALS, signal.SIGINT):
        signal.signal(number, nothing)
