"""How far a long loop is, on standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["progress"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds between reports to a terminal, and to a log file.
_EVERY_TERMINAL, _EVERY_LOG = 0.2, 30.0


def progress(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """Iterate, and say on standard error how many items a second are done and how long the rest takes.

    On a terminal one line is rewritten; else a line of the log every 30 seconds. Nothing is said if
    messages of level INFO are not wanted.

    Parameters
    ----------
    items : iterable
    total : int
        Number of items.
    what, unit : str
        ``"{what}: 12/100 {unit}, 6.0 {unit}/s, 15 s left"``.
    """
    if not logger.isEnabledFor(logging.INFO):
        yield from items
        return
    terminal = sys.stderr.isatty()
    every = _EVERY_TERMINAL if terminal else _EVERY_LOG
    start = last = time.monotonic()
    try:
        for n, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= every or (terminal and n == total):
                last = now
                rate = n / max(now - start, 1e-9)
                text = (
                    f"{what}: {n}/{total} {unit}, {rate:.1f} {unit}/s, {_duration((total - n) / rate)} left"
                )
                if terminal:
                    sys.stderr.write(f"\r{text:<78}")
                    sys.stderr.flush()
                else:
                    logger.info("%s", text)
    finally:
        if terminal and last > start:
            sys.stderr.write("\r" + " " * 78 + "\r")
            sys.stderr.flush()


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
