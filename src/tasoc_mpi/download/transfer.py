"""The transfer of one file: begun, continued where it stopped, compared, and given its name."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.atomic import open_regular, rename_whole
from ..core.errors import InputError, one_line
from .remote_file import RemoteFile
from .transfer_state import FileState, TransferState
from .verify import check_file
from .web import Refused, TryAgain, ask, content_length, persist

if TYPE_CHECKING:
    from requests import Response, Session

__all__ = ["fetch", "is_whole", "part_path"]

#: Bytes that are received at once, and lost where an answer stops coming before them.
_AT_ONCE = 1 << 16
#: `bytes 100-199/200` or `bytes */200`.
_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18})", re.ASCII)
#: A whole file whose content is wrong is fetched this often before it counts as failed.
_TIMES = 3


def part_path(target: Path) -> Path:
    """The file that holds the bytes that have arrived."""
    return target.with_name(f"{target.name}.part")


def is_whole(folder: Path, file: RemoteFile, state: TransferState, compare: bool = True) -> bool:
    """Whether a file is there already.

    Parameters
    ----------
    folder : Path
        The input folder.
    file : RemoteFile
    state : TransferState
    compare : bool
        Whether to read files that this program did not fetch, and to take down those that are whole.

    Raises
    ------
    InputError
        If there is something else in its place, which is not this program's to remove.
    """
    target = folder / file.path
    try:
        found = target.lstat()
    except FileNotFoundError:
        return False
    known = state.get(file.path)
    if known is not None and known.whole and known.size == found.st_size:
        # Its own file: one that the archive has replaced since is fetched again.
        return file.size in (None, found.st_size)
    if file.size not in (None, found.st_size):
        raise InputError(f"{target}: {found.st_size} bytes, but {file.size} in the archive; remove it")
    if compare:
        check_file(target, file)
        state.put(FileState(file.path, True, found.st_size, ""))
    return True


def fetch(
    session: Session,
    folder: Path,
    file: RemoteFile,
    state: TransferState,
    stop: threading.Event,
    arrived: Callable[[int], None],
) -> None:
    """Transfer a file.

    Parameters
    ----------
    session : requests.Session
    folder : Path
        The input folder.
    file : RemoteFile
    state : TransferState
    stop : threading.Event
        Ends the transfer; what has arrived stays for the next one.
    arrived : callable
        Is told of bytes that have arrived; of negative numbers where some have to be fetched once more.

    Raises
    ------
    InputError
        If the server refuses it, or its content is wrong each time.
    TryAgain
        If the server did not give it in all the retries of the settings.
    OSError
        If it cannot be written.
    KeyboardInterrupt
        If `stop` is set.
    """
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    for time in range(_TIMES):
        transfer = _Transfer(session, target, file, state, stop, arrived)
        persist(transfer.run, stop, transfer.progressed)
        try:
            check_file(transfer.part, file)
        except InputError as error:
            arrived(-transfer.size)
            transfer.part.unlink()
            if time == _TIMES - 1:
                reason = str(error).removeprefix(f"{transfer.part}: ").partition(";")[0]
                raise InputError(
                    f"{file.url}: {reason}, {_TIMES} times; the archive's own file is damaged"
                ) from None
        else:
            rename_whole(transfer.part, target)
            state.put(FileState(file.path, True, transfer.size, transfer.version))
            return


class _Transfer:
    """One file on its way, in any number of tries.

    Attributes
    ----------
    part : Path
    size : int
        Bytes that have arrived.
    version : str
        What the server calls the version that they are of.
    """

    def __init__(
        self,
        session: Session,
        target: Path,
        file: RemoteFile,
        state: TransferState,
        stop: threading.Event,
        arrived: Callable[[int], None],
    ) -> None:
        self.part, self.size, self.version = part_path(target), 0, ""
        self._session, self._file, self._state, self._stop = session, file, state, stop
        self._arrived = arrived
        self._farthest = 0
        self._total: int | None = None
        self._further = False
        known = state.get(file.path)
        if self.part.is_symlink() or not self.part.is_file():
            return
        if known is not None and not known.whole and (known.version or known.size is not None):
            self.size, self.version = self.part.stat().st_size, known.version
            self._total = known.size
            arrived(self.size)

    def progressed(self) -> bool:
        """Whether the last try has brought bytes that no other had."""
        return self._further

    def run(self) -> None:
        """One try; returns when all bytes have arrived."""
        self._further = False
        headers: dict[str, str] = {}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self.version:
                headers["If-Range"] = self.version
        with ask(self._session, self._file.url, headers) as response:
            total = self._begin(response)
            if total == 0:
                raise TryAgain("the answer is empty")
            if self.size == total:
                return
            self._receive(response)
        if total is not None and self.size != total:
            raise TryAgain(f"the answer was cut short, {self.size} of {total} bytes")

    def _begin(self, response: Response) -> int | None:
        """The size of the whole file, None if the server does not tell; drops bytes of another version."""
        packed = response.headers.get("Content-Encoding", "identity")
        # Some servers tell so of files that are packed anyway.
        if packed != "identity" and not self._file.name.endswith(".gz"):
            raise Refused(
                f"{self._file.url}: the server packs it (Content-Encoding {one_line(packed)[:20]}), so that "
                "its bytes cannot be counted; name a mirror in the settings"
            )
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code == 416:
            if match and int(match[2]) == self.size:
                return self.size
            self._drop()
            raise TryAgain("the server has fewer bytes than have arrived")
        if response.status_code == 206:
            if match is None or match[1] is None or int(match[1]) != self.size:
                self._drop()
                raise TryAgain("the server answered with other bytes than those that were asked for")
            if self._total not in (None, int(match[2])):
                self._drop()
                raise TryAgain("the server has another version of the file by now")
            return int(match[2])
        # The whole file: the server knows no ranges, or has another version by now.
        self._drop()
        self._total = content_length(response)
        # Weak validators do not promise the same bytes.
        tag = response.headers.get("ETag", "")
        self.version = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        self._state.put(FileState(self._file.path, False, self._total, self.version))
        return self._total

    def _drop(self) -> None:
        self._arrived(-self.size)
        self.size = 0

    def _receive(self, response: Response) -> None:
        flags = os.O_WRONLY | os.O_CREAT | (0 if self.size else os.O_TRUNC)
        descriptor = open_regular(self.part, flags)
        try:
            os.lseek(descriptor, self.size, os.SEEK_SET)
            # As they are on the server, whatever it says of their encoding.
            for block in response.raw.stream(_AT_ONCE, decode_content=False):
                if self._stop.is_set():
                    raise KeyboardInterrupt
                view = memoryview(block)
                while view:
                    written = self._write(descriptor, view)
                    view = view[written:]
                    self.size += written
                    self._arrived(written)
                if self.size > self._farthest:
                    self._farthest, self._further = self.size, True
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, data: memoryview) -> int:
        """As `os.write`, with an error that names the file."""
        try:
            return os.write(descriptor, data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.part)) from None
