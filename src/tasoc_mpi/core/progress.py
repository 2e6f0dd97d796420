"""How far a loop or a run is: one line that a terminal rewrites, or a line of the log every ten seconds."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .mpi import is_terminal
from .tables import counted

__all__ = ["Progress", "duration", "progress"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds between lines on a terminal, and in a log.
_TERMINAL_SECONDS, _LOG_SECONDS = 0.2, 10.0
#: An mpiexec passes on two streams in no order: what is printed next would come before the last line.
_LAUNCHER_SECONDS = 0.1
#: Characters of a bar, and of one that is too short to be shown.
_BAR, _LEAST_BAR = 24, 6
#: By what factor the rest may differ in speed without a remark.
_OTHER = 1.2


def _columns() -> int:
    """Characters in a line of the terminal of standard error; 80 where it is not known (under mpiexec)."""
    with contextlib.suppress(OSError, ValueError):
        if columns := os.get_terminal_size(sys.stderr.fileno()).columns:
            return columns
    return shutil.get_terminal_size().columns


def duration(seconds: float) -> str:
    """A time span as text.

    >>> duration(12), duration(187), duration(7384)
    ('12 s', '3:07', '2:03:04')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{seconds:02d}" if minutes else f"{seconds} s"
    return f"{hours}:{minutes:02d}:{seconds:02d}"


class Progress:
    """Counts what is done and shows it on standard error, unless messages of level INFO are switched off.

    Parameters
    ----------
    total : int
        Number of items; may grow.
    unit : str, optional
        What is counted.
    title : str, optional
        Begins the line.

    Attributes
    ----------
    work, work_left : float
        What is done and what is left in a unit of work, from which the time left is computed; by default the
        number of items.
    """

    def __init__(self, total: int, unit: str = "stars", title: str = "") -> None:
        self.total, self.unit, self.title = total, unit, title
        self.done = self.errors = 0
        self.work = 0.0
        self.work_left: float | None = None
        self._shown_at_all = False
        self._terminal = is_terminal(sys.stderr)
        self._start = time.monotonic()
        self._shown = self._start

    def update(self, done: int = 1, errors: int = 0, work: float | None = None) -> None:
        """Count items that are done, those of them that failed, and the work that they were."""
        self.done += done
        self.errors += errors
        self.work += done if work is None else work
        self.show()

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end; None as long as nothing is done."""
        left = self.total - self.done if self.work_left is None else self.work_left
        return (time.monotonic() - self._start) * left / self.work if self.work > 0 else None

    def line(self) -> str:
        """The line as it is now."""
        seconds = time.monotonic() - self._start
        rate = self.done / seconds if seconds > 0 else 0.0
        left = self.seconds_left
        text = f"{self.done}/{self.total} {self.unit}  {rate:.3g} {self.unit}/s  "
        text += f"{'?' if left is None else duration(left)} left"
        if left is not None and self.done and self.work_left is not None:
            # The time left then is not what this rate would need.
            by_number = seconds * (self.total - self.done) / self.done
            text += " (the rest is slower)" if left > _OTHER * by_number else ""
            text += " (the rest is faster)" if left * _OTHER < by_number else ""
        text = f"{self.title}: {text}" if self.title else text
        text += f"  {counted(self.errors, 'error')}" if self.errors else ""
        if not self._terminal:
            return text
        # A line that is longer than the terminal is wide could not be written over.
        columns = _columns() - 1
        bar = min(_BAR, columns - len(text) - 3)
        if bar < _LEAST_BAR:
            return text[:columns]
        filled = bar * self.done // max(self.total, 1)
        return f"[{'#' * filled}{'.' * (bar - filled)}] {text}"

    def show(self, force: bool = False) -> None:
        """Write the line if it is time for it."""
        now = time.monotonic()
        due = now - self._shown >= (_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS)
        if not (due or force) or not logger.isEnabledFor(logging.INFO):
            return
        self._shown, self._shown_at_all = now, True
        if self._terminal:
            sys.stderr.write(f"\r{self.line()}\x1b[K")
            sys.stderr.flush()
        else:
            logger.info("%s", self.line())

    def finish(self) -> None:
        """Write the last line."""
        self.show(force=True)
        self._end_line("\n")

    def erase(self) -> None:
        """Remove the line from a terminal."""
        self._end_line("\r\x1b[K")

    def _end_line(self, end: str) -> None:
        if self._terminal and self._shown_at_all:
            sys.stderr.write(end)
            sys.stderr.flush()
            if not sys.stderr.isatty():
                time.sleep(_LAUNCHER_SECONDS)


def progress(items: Iterable[T], total: int, title: str, unit: str) -> Iterator[T]:
    """Iterate, and show how many items a second are done and how long the rest takes.

    Parameters
    ----------
    items : iterable
    total : int
        Number of items.
    title, unit : str
        ``"{title}: 12/100 {unit}  6 {unit}/s  15 s left"``.
    """
    shown = Progress(total, unit, title)
    try:
        for item in items:
            yield item
            shown.update()
    finally:
        shown.erase()
