"""How far a run is, on one line."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from ..core.mpi import is_terminal

__all__ = ["Progress", "duration"]

#: A terminal's line is redrawn this often (seconds); a log file gets a line this often.
_TTY_SECONDS = 0.2
_LOG_SECONDS = 10.0
_LAUNCHER_SECONDS = 0.1
_BAR = 24


def duration(seconds: float) -> str:
    """Seconds as ``12 s``, ``3:07`` or ``2:03:04``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """A bar on a terminal, a line now and then elsewhere.

    Parameters
    ----------
    total : int
        Number of stars; may grow.
    stream : file, optional
        Default: standard error.
    quiet : bool, optional
        Show nothing.

    Attributes
    ----------
    ahead : float
        Seconds that one worker would take for the stars that are not handed out yet.
    """

    def __init__(self, total: int, stream: TextIO | None = None, quiet: bool = False) -> None:
        self.total = total
        self.done = 0
        self.errors = 0
        self.ahead = 0.0
        self._worked = 0.0
        self.stream = sys.stderr if stream is None else stream
        self.quiet = quiet
        self._tty = is_terminal(self.stream)
        self._start = time.monotonic()
        self._shown = self._start if not self._tty else 0.0

    def update(self, done: int, errors: int, seconds: float) -> None:
        """Count stars that were computed, those of them that failed, and the seconds that they took."""
        self.done += done
        self.errors += errors
        self._worked += seconds
        self.show()

    def line(self) -> str:
        """The line as it is now."""
        seconds = time.monotonic() - self._start
        rate = self.done / seconds if seconds > 0 else 0.0
        # Not by counting stars: those of target pixel files take fifty times as long as the others.
        left = duration(seconds * self.ahead / self._worked) if self._worked > 0 else "?"
        text = f"{self.done}/{self.total} stars  {rate:.3g} stars/s  {left} left  {self.errors} errors"
        if not self._tty:
            return text
        filled = _BAR * self.done // max(self.total, 1)
        return f"[{'#' * filled}{'.' * (_BAR - filled)}] {text}"

    def show(self, force: bool = False) -> None:
        """Write the line if it is time for it."""
        now = time.monotonic()
        if self.quiet or (not force and now - self._shown < (_TTY_SECONDS if self._tty else _LOG_SECONDS)):
            return
        self._shown = now
        self.stream.write(f"\r{self.line()}\x1b[K" if self._tty else f"{self.line()}\n")
        self.stream.flush()

    def finish(self) -> None:
        """Write the last line."""
        self.show(force=True)
        if self._tty and not self.quiet:
            self.stream.write("\n")
            self.stream.flush()
            if not self.stream.isatty():
                # An mpiexec passes on two streams in no order: what is printed next would come before.
                time.sleep(_LAUNCHER_SECONDS)
