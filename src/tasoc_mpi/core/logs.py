"""Log messages: short ones on standard error, and with time and rank in the file of ``--log-file``."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from .errors import InputError
from .launcher import RANK_VARIABLES

__all__ = ["FILE_ONLY", "logs", "rank_name", "terminal_level", "to_file"]

#: Attribute of records that standard error does not show, because the program writes them there itself.
FILE_ONLY = {"file_only": True}
_LIBRARIES = ("numba", "h5py", "matplotlib")


class _Terminal(logging.StreamHandler[TextIO]):
    """Standard error."""

    def handle(self, record: logging.LogRecord) -> bool:
        return not getattr(record, "file_only", False) and bool(super().handle(record))


def rank_name() -> str:
    """The rank of this process as the launcher tells it; '0' for a process by itself.

    Examples
    --------
    >>> rank_name().isdecimal()
    True
    """
    return next((os.environ[name] for name in RANK_VARIABLES if os.environ.get(name, "").isdecimal()), "0")


@contextlib.contextmanager
def logs(level: int, path: str | os.PathLike[str] | None = None, rank: str | None = None) -> Iterator[None]:
    """Send the log of this process to standard error, and to a file.

    A program that has set up logging already, and calls this one, keeps its own in place of standard error.

    Parameters
    ----------
    level : int
        The least level that standard error shows.
    path : path-like, optional
        File to which all ranks append lines with UTC, rank, level and message, from level INFO on or from
        `level` on where that is lower.
    rank : str, optional
        What the file calls this process. Default: `rank_name`.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    root = logging.getLogger()
    handlers: list[logging.Handler] = []
    before = root.level
    if not root.handlers:
        terminal = _Terminal(sys.stderr)
        terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        terminal.setLevel(level)
        handlers.append(terminal)
        root.setLevel(level)
    if path:
        handlers.append(_open_file(path, rank_name() if rank is None else rank, min(level, logging.INFO)))
        root.setLevel(min(root.level, handlers[-1].level))
    for handler in handlers:
        root.addHandler(handler)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _open_file(path: str | os.PathLike[str], rank: str, level: int) -> logging.Handler:
    try:
        file = logging.FileHandler(Path(path), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another --log-file") from None
    form = f"%(asctime)s.%(msecs)03dZ rank {rank} %(levelname)s: %(message)s"
    formatter = logging.Formatter(form, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    file.setFormatter(formatter)
    file.setLevel(level)
    return file


def terminal_level() -> int:
    """The least level of messages that standard error shows."""
    root = logging.getLogger()
    own = [handler.level for handler in root.handlers if isinstance(handler, _Terminal)]
    return min(own, default=root.getEffectiveLevel())


def to_file(level: int, text: str) -> None:
    """Write a message, which standard error has already, to the file of ``--log-file`` alone."""
    # Without handlers, where the file could not be opened, Python's last resort is standard error.
    if logging.getLogger().handlers:
        logging.getLogger(__name__).log(level, "%s", text, extra=FILE_ONLY)
