"""Light curves that take the places of listed ones: the disk is waited for in threads.

A file that is renamed before its bytes are on the disk can be empty after a loss of power, and the listed one
is gone then. To wait at each file would double the time of a star.
"""

from __future__ import annotations

import errno
import functools
import os
from typing import TYPE_CHECKING

from ..core.atomic import remove_quietly, sync, write_beside
from ..core.errors import InputError, system_error
from .lightcurve import keep_new_lightcurve

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Swaps", "swaps"]

#: Files that are waited for at once: the file system writes its journal for all of them together.
_AT_ONCE = 8


class Swaps:
    """Writes light curves below a folder; each is in its place after the next `flush`.

    Parameters
    ----------
    output : str
        The output folder.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._threads: ThreadPoolExecutor | None = None
        self._waiting: dict[str, Future[None]] = {}

    def __call__(self, name: str, data: bytes) -> str:
        """Write a light curve.

        Parameters
        ----------
        name : str
            Its path below the output folder.
        data : bytes

        Returns
        -------
        str
            The name to be listed: the same.

        Raises
        ------
        OSError
            If it cannot be written; a file in its place stays as it is.
        """
        path = f"{self._output}{os.sep}{name}"
        if path in self._waiting:
            self.flush()
        if not os.path.lexists(path):
            keep_new_lightcurve(path, data)
            return name
        if os.path.isdir(path) and not os.path.islink(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        temporary = write_beside(path, data)
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(_AT_ONCE, "swaps")
        self._waiting[path] = self._threads.submit(_swap, temporary, path)
        return name

    def flush(self) -> None:
        """Return when all files are in their places. That their names are on the disk is for `make_durable`.

        Raises
        ------
        InputError
            If the disk cannot take them; each file is then the old one or the new one.
        """
        waiting, self._waiting = self._waiting, {}
        errors = [error for swap in waiting.values() if (error := swap.exception())]
        for error in errors:
            if isinstance(error, OSError):
                raise InputError(system_error(error)) from error
            raise error


def _swap(temporary: str, path: str) -> None:
    """Give a file its name when its bytes are on the disk; nothing of it is left where they cannot be."""
    try:
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        remove_quietly(temporary)
        raise


@functools.cache
def swaps(output: str) -> Swaps:
    """The writer of this process for an output folder, always the same."""
    return Swaps(output)
