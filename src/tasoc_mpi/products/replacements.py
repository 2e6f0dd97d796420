"""New bytes for files that are there: many are on the disk before they take the places of the old ones.

A file that is renamed before its bytes are on the disk can be empty after a loss of power, and the old one is
gone then. To wait for the disk at each of millions of files would take most of the time, so one call waits
for all that were written since the last one.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from ..core.atomic import remove_quietly, write_beside
from ..core.errors import InputError, system_error
from .durable import make_durable
from .lightcurve import below

__all__ = ["Replacements", "replacements"]


class Replacements:
    """Writes files below a folder; they take the places of the old ones at the next `flush`.

    Parameters
    ----------
    output : path-like
        The output folder.
    """

    def __init__(self, output: str | os.PathLike[str]) -> None:
        self.output = Path(output)
        self._waiting: list[tuple[str, str]] = []

    def __call__(self, name: str, data: bytes) -> str:
        """Write new bytes for a file.

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
            If they cannot be written; the file stays as it is.
        """
        path = os.fspath(below(self.output, name))
        self._waiting.append((write_beside(path, data), path))
        return name

    def flush(self) -> None:
        """Put the files into their places. That their names are on the disk is for `make_durable`.

        Raises
        ------
        InputError
            If the disk cannot take them; each file is then the old one or the new one.
        """
        waiting, self._waiting = self._waiting, []
        try:
            root = os.path.join(os.path.normpath(self.output), "")
            make_durable(self.output, [temporary.removeprefix(root) for temporary, _ in waiting])
            for temporary, path in waiting:
                os.replace(temporary, path)
        except BaseException as error:
            for temporary, _ in waiting:
                remove_quietly(temporary)
            if isinstance(error, OSError) and not isinstance(error, InputError):
                raise InputError(system_error(error)) from error
            raise


@functools.cache
def replacements(output: str) -> Replacements:
    """The writer of this process for an output folder, always the same."""
    return Replacements(output)
