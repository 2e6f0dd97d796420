"""The state of a download: which files are whole, and of which version of a file a part is there."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.atomic import open_regular, write_whole
from ..core.errors import InputError
from ..core.input_files import InputFile

__all__ = ["STATE_NAME", "FileState", "TransferState"]

#: In the input folder.
STATE_NAME = "download.state"
#: Files of a sector at 200 s: 190,000, with 200 bytes each.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class FileState:
    """What is known of a file."""

    path: str  #: Below the input folder
    whole: bool  #: Whether it is complete, and its content was compared; else a part of it may be there
    size: int | None  #: Of the whole file, bytes
    version: str  #: What the server calls this version of the file (ETag or Last-Modified); may be empty


class TransferState:
    """The states of all files: a text file, a line of JSON for each change; the last line of a file counts.

    Lines that cannot be read, such as the last one of a program that was killed, say nothing: their files are
    compared or fetched once more.

    Parameters
    ----------
    folder : Path
        The input folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATE_NAME
        self._lock = threading.Lock()
        self._known: dict[str, FileState] = {}
        self._descriptor: int | None = None
        if self._path.exists() or self._path.is_symlink():
            with InputFile(self._path, _MOST_BYTES, unpack=False) as file:
                for line in file.read().split(b"\n"):
                    state = _parse(line)
                    if state is not None:
                        self._known[state.path] = state

    def get(self, path: str) -> FileState | None:
        """What is known of a file."""
        return self._known.get(path)

    def begin(self) -> None:
        """Write the file anew, a line a file, and open it for further lines.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        try:
            write_whole(self._path, b"".join(_line(state) for state in self._known.values()))
            self._descriptor = open_regular(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror}); make room") from None

    def put(self, state: FileState) -> None:
        """Take down the state of a file; any thread may do so."""
        assert self._descriptor is not None
        with self._lock:
            self._known[state.path] = state
            os.write(self._descriptor, _line(state))

    def close(self) -> None:
        """Wait until the lines are on the disk."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _line(state: FileState) -> bytes:
    return json.dumps(asdict(state)).encode() + b"\n"


def _parse(line: bytes) -> FileState | None:
    try:
        state = FileState(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    kinds = (str, bool, int | None, str)
    values = (state.path, state.whole, state.size, state.version)
    return state if all(map(isinstance, values, kinds)) else None
