"""A download from its beginning to its end: the list, how much it is, the transfers, the failures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..core.streams import print_report
from ..core.tables import counted
from .listing import find_files, with_sizes
from .remote_file import Choice, RemoteFile
from .transfer_state import TransferState
from .transfers import arrived_parts, check_disk, download, failure_lines, list_lines, missing_files
from .web import open_session

if TYPE_CHECKING:
    from requests import Session

__all__ = ["fetch_sector"]

logger = logging.getLogger(__name__)


def fetch_sector(
    folder: Path,
    kinds: Sequence[str],
    choice: Choice,
    source: str,
    strips: Sequence[tuple[float, float]] | None,
    jobs: int,
    form: str | None = None,
    dry_run: bool = False,
) -> int:
    """Fetch the files of a sector that are not in the input folder yet.

    Parameters
    ----------
    folder : Path
        The input folder.
    kinds, choice, source, strips
        As `listing.find_files`.
    jobs : int
        Transfers at once.
    form : str, optional
        Of `transfers.LIST_FORMS`: only print a list of the missing files in this form.
    dry_run : bool
        Only print how much is missing.

    Returns
    -------
    int
        Exit status: 1 if a file failed.

    Raises
    ------
    InputError, MissingInput
        If a list of an archive is not there, or the disk has too little room.
    OSError
        If a file cannot be written.
    """
    with open_session() as session:
        files = find_files(session, kinds, choice, source, strips)
        if form is not None:
            missing, failed = missing_files(folder, files, TransferState(folder), compare=False)
            _report(failed)
            if reason := print_report(list_lines(missing, form)):
                raise OSError(reason)
            return 0
        total = _plan(session, folder, files)
    return 0 if dry_run else _fetch(folder, files, total, jobs)


def _plan(session: Session, folder: Path, files: Sequence[RemoteFile]) -> int:
    """Print how much is missing, and whether the disk has it; returns the bytes, -1 if they are not known."""
    missing, _ = missing_files(folder, files, TransferState(folder), compare=False)
    there = len(files) - len(missing)
    total = 0
    for kind, (count, size, exact) in with_sizes(session, missing).items():
        shown = "size unknown" if size < 0 else f"{'' if exact else 'about '}{_bytes(size)}"
        print(f"{kind}: {counted(count, 'file')}, {shown}")
        total = -1 if size < 0 or total < 0 else total + size
    parts = arrived_parts(folder, missing)
    needed = max(total - parts, 0)
    free, enough = check_disk(folder, needed)
    said = "an unknown number of bytes" if total < 0 else _bytes(needed)
    print(
        f"{len(missing)} of {counted(len(files), 'file')} to fetch, {said}"
        f"{f' ({_bytes(parts)} of them have arrived)' if parts else ''}; {there} are there; "
        f"{folder}: {_bytes(free)} free",
        flush=True,
    )
    if not enough:
        raise InputError(f"{folder}: {_bytes(needed)} are needed, {_bytes(free)} are free; make room")
    return total


def _bytes(size: int) -> str:
    """A number of bytes with a unit."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 999.5 * scale else f"{size / scale:.0f} {unit}"
    return f"{size} bytes"


def _fetch(folder: Path, files: Sequence[RemoteFile], total: int, jobs: int) -> int:
    outcome = download(folder, files, total, jobs)
    print(
        f"{counted(outcome.whole, 'file')} fetched, {_bytes(outcome.size)}; {len(outcome.failed)} failed",
        flush=True,
    )
    _report(outcome.failed)
    if outcome.left:
        text = "the server is not reached: %s not tried; run the same command again later"
        logger.error(text, counted(outcome.left, "file"))
    return 1 if outcome.failed else 0


def _report(failed: Sequence[tuple[RemoteFile, str]]) -> None:
    for line in failure_lines(failed):
        logger.error("%s", line)
