"""The download of all files of a list: how much it is, several transfers at once, and what became of them."""

from __future__ import annotations

import logging
import queue
import shlex
import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import TasocError, one_line
from ..core.locks import exclusive
from ..core.progress import Progress
from ..core.tables import counted
from .remote_file import RemoteFile
from .transfer import fetch, is_whole, part_path
from .transfer_state import STATE_NAME, TransferState
from .web import TryAgain, open_session

if TYPE_CHECKING:
    from requests import Session

__all__ = [
    "LIST_FORMS",
    "Outcome",
    "arrived_parts",
    "check_disk",
    "download",
    "failure_lines",
    "list_lines",
    "missing_files",
]

logger = logging.getLogger(__name__)

LIST_FORMS = ("aria2", "curl", "urls")

#: Failures to reach a server one after the other, without a file in between, after which the rest is left.
_GIVE_UP = 3
#: Seconds that transfers get to end when the program is interrupted; what has arrived stays in any case.
_END = 2.0
_MB = 1_000_000


@dataclass
class Outcome:
    """What became of the files of a download."""

    whole: int = 0  #: Files that arrived
    size: int = 0  #: Bytes of them that arrived now
    failed: list[tuple[RemoteFile, str]] = field(default_factory=list)  #: With the reasons
    left: int = 0  #: Files that were not tried, as the server was not reached


def list_lines(files: Iterable[RemoteFile], form: str) -> list[str]:
    """The lines of a list for a host that has a network, to be used in the input folder there.

    Parameters
    ----------
    files : iterable of RemoteFile
    form : str
        ``aria2`` (for ``aria2c -i``), ``curl`` (a shell script) or ``urls``.

    Examples
    --------
    >>> file = RemoteFile("spice", "https://archive.stsci.edu/missions/tess/models/a.bsp", "spice/a.bsp")
    >>> list_lines([file], "aria2")
    ['https://archive.stsci.edu/missions/tess/models/a.bsp', '  out=spice/a.bsp']
    """
    if form == "aria2":
        return [line for file in files for line in (file.url, f"  out={file.path}")]
    if form == "curl":
        curl = "curl -f -L -C - --retry 8 --create-dirs"
        return [f"{curl} -o {shlex.quote(file.path)} {shlex.quote(file.url)}" for file in files]
    return [file.url for file in files]


def missing_files(
    folder: Path, files: Sequence[RemoteFile], state: TransferState, compare: bool = True
) -> tuple[list[RemoteFile], list[tuple[RemoteFile, str]]]:
    """The files that are not in the input folder yet, and those in whose place there is something else.

    Returns
    -------
    missing : list of RemoteFile
    failed : list of (RemoteFile, str)
        With the reasons.
    """
    missing, failed = [], []
    for file in files:
        try:
            if not is_whole(folder, file, state, compare):
                missing.append(file)
        except TasocError as error:
            failed.append((file, one_line(error)))
    return missing, failed


def check_disk(folder: Path, needed: int) -> tuple[int, bool]:
    """Bytes that are free where a folder is or will be, and whether they are enough.

    Examples
    --------
    >>> check_disk(Path("nowhere"), 1 << 60)[1]
    False
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return free, needed <= free


def arrived_parts(folder: Path, files: Iterable[RemoteFile]) -> int:
    """Bytes of unfinished files that are in the input folder."""
    total = 0
    for file in files:
        part = part_path(folder / file.path)
        if part.is_file():
            total += part.stat().st_size
    return total


def download(folder: Path, files: Sequence[RemoteFile], total: int, jobs: int) -> Outcome:
    """Fetch files, several at once.

    Parameters
    ----------
    folder : Path
        The input folder; it is made if it is not there.
    files : sequence of RemoteFile
    total : int
        Bytes of them that are expected, for the time left; -1 if that is not known.
    jobs : int
        Transfers at once.

    Returns
    -------
    Outcome

    Raises
    ------
    InputError
        If another download works on this folder.
    OSError
        If a file cannot be written, as when the disk is full. What has arrived stays for the next start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / STATE_NAME):
        state = TransferState(folder)
        state.begin()
        try:
            missing, failed = missing_files(folder, files, state)
            outcome = Outcome(failed=failed)
            if missing:
                _Transfers(folder, missing, state, jobs).run(outcome, total)
        finally:
            state.close()
    return outcome


class _Transfers:
    """Threads that take one file after the other; the main thread counts and shows what they report."""

    def __init__(self, folder: Path, files: Sequence[RemoteFile], state: TransferState, jobs: int) -> None:
        self._folder, self._files, self._state = folder, files, state
        self._stop = threading.Event()
        self._waiting: queue.SimpleQueue[RemoteFile] = queue.SimpleQueue()
        for file in files:
            self._waiting.put(file)
        #: Bytes, or a file with what went wrong (None: nothing).
        self._reports: queue.SimpleQueue[int | tuple[RemoteFile, Exception | None]] = queue.SimpleQueue()
        # They end with the program: one that waits for a server must not keep it.
        count = min(jobs, len(files))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    def run(self, outcome: Outcome, total: int) -> None:
        for thread in self._threads:
            thread.start()
        try:
            self._count(outcome, total)
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(_END)

    def _count(self, outcome: Outcome, total: int) -> None:
        shown = Progress(max(total // _MB, 1), "MB")
        arrived, megabytes, ended, unreached = 0, 0, 0, 0
        while ended < len(self._files):
            report = self._reports.get()
            if isinstance(report, int):
                arrived += report
                more = max(arrived, 0) // _MB - megabytes
                if more > 0:
                    megabytes += more
                    # The expected size is one of a sample where the archive does not tell.
                    shown.total = max(shown.total, megabytes)
                    shown.title = f"{ended}/{len(self._files)} files"
                    shown.update(more)
                continue
            file, error = report
            ended += 1
            if error is None:
                outcome.whole, unreached = outcome.whole + 1, 0
                continue
            if isinstance(error, OSError) and not isinstance(error, TasocError):
                shown.erase()
                raise error
            outcome.failed.append((file, one_line(error)))
            logger.debug("%s: %s", file.url, error)
            unreached = unreached + 1 if isinstance(error, TryAgain) else 0
            if unreached >= _GIVE_UP * len(self._threads):
                outcome.left = len(self._files) - ended
                break
        outcome.size = max(arrived, 0)
        shown.erase()

    def _work(self) -> None:
        """The loop of a thread."""
        session: Session = open_session()
        with session:
            while not self._stop.is_set():
                try:
                    file = self._waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    fetch(session, self._folder, file, self._state, self._stop, self._reports.put)
                except KeyboardInterrupt:
                    return
                except Exception as error:  # noqa: BLE001  the main thread raises or counts it
                    self._reports.put((file, error))
                else:
                    self._reports.put((file, None))


def failure_lines(failed: Sequence[tuple[RemoteFile, str]]) -> list[str]:
    """What went wrong, each reason once with its number of files and the first of them."""
    groups: dict[str, list[RemoteFile]] = {}
    for file, reason in failed:
        short = reason.replace(file.url, "").replace(file.path, file.name).lstrip(": ")
        groups.setdefault(short.replace(file.name, "*"), []).append(file)
    return [
        f"{counted(len(files), 'file')}: {reason} ({'such as ' * (len(files) > 1)}{files[0].path})"
        for reason, files in groups.items()
    ]
