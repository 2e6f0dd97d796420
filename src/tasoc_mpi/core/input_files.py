"""Input files: found in a folder and its sub-folders, and opened, plain or packed with gzip.

Every file that a user can put into a folder is opened here. Only regular files are: opening a FIFO waits for
its other end, and a device or socket has no end. Errors are one line with the file and the way out.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from isal import igzip, igzip_lib

from .errors import InputError, MissingInput

__all__ = ["WAY_OUT", "InputFile", "check_folder", "files_below", "modification_time", "warn_each"]

logger = logging.getLogger(__name__)

#: The way out for a damaged file.
WAY_OUT = "fetch it again, or remove it"
#: The first bytes of a gzip file.
_GZIP = b"\x1f\x8b"
#: Deflate makes data smaller by no more than this.
_MAX_PACKING = 1032
#: One call of the system reads at most 2 GB.
_READ_AT_ONCE = 1 << 30
#: Files of many that the log names.
_NAMED = 5
#: Errors of reading: of the system, and of damaged gzip files.
_ERRORS: tuple[Any, ...] = (OSError, EOFError, igzip_lib.IsalError)
#: Folders of light curves and of pictures, with the folder that they are in.
_OUTPUT_FOLDERS = re.compile(r"c\d{4}/\d{5}|plots/\d{11}-s\d{3,4}-\d-\d-c\d{4}")
#: Kinds of files that are not read, by the test of their mode.
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class InputFile(io.RawIOBase):
    """A regular file open for reading; gzip is told by its first bytes and unpacked on the way.

    Parameters
    ----------
    path : path-like
    most : int, optional
        Bytes of content at most; a file that has more cannot be used. Default: no limit.
    unpack : bool, optional
        Unpack gzip. Without, the content is the bytes of the file.

    Attributes
    ----------
    path : Path
    packed : bool
        It is a gzip file.
    size : int
        Bytes of content of a plain file; the most that there can be of a packed one.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is no regular file, or cannot be opened; from all methods that read, if it cannot be read or
        unpacked.

    Examples
    --------
    >>> import gzip, tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(gzip.compress(b"SIMPLE  = T"))
    ...     file.flush()
    ...     with InputFile(file.name) as content:
    ...         content.packed, content.read_at(0, 6)
    (True, b'SIMPLE')
    """

    #: Python closes an object whose file could not be opened, too.
    _raw: Any = None

    def __init__(self, path: str | os.PathLike[str], most: int | None = None, unpack: bool = True) -> None:
        super().__init__()
        self.path = path if isinstance(path, Path) else Path(path)
        self._most = most
        descriptor = _open(self.path)
        self._raw = os.fdopen(descriptor, "rb", buffering=0)
        self._stream: Any = self._raw
        self.packed = False
        try:
            self.size = os.fstat(descriptor).st_size
            self.packed = unpack and os.pread(descriptor, len(_GZIP), 0) == _GZIP
        except OSError as error:
            self._raw.close()
            raise _unreadable(self.path, error) from None
        if self.packed:
            self._stream = igzip.GzipFile(fileobj=self._raw)
            self.size *= _MAX_PACKING

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is; backwards in a packed file means to unpack it from its beginning."""
        return True

    def fileno(self) -> int:
        """The descriptor of a plain file."""
        if self.packed:
            raise io.UnsupportedOperation("the descriptor of a packed file has other bytes")
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int:
        """Read up to the size of a buffer; 0 at the end of the file."""
        try:
            count: int = self._stream.readinto(buffer)
            if self._most is not None and self._stream.tell() > self._most:
                raise InputError(
                    f"{self.path}: more than {self._most / 1e6:.0f} MB, too much for such a file; {WAY_OUT}"
                )
        except _ERRORS as error:
            raise self._damaged(error) from None
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; beyond the end of a packed file is its end."""
        if self.packed and whence == os.SEEK_END:
            raise io.UnsupportedOperation("the end of a packed file is not known")
        try:
            place: int = self._stream.seek(offset, whence)
        except _ERRORS as error:
            raise self._damaged(error) from None
        return place

    def tell(self) -> int:
        """Bytes before the place that is read next."""
        place: int = self._stream.tell()
        return place

    def read_at(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on, or fewer at the end of the file."""
        size = max(0, min(size, self.size - start))
        if size == 0:
            return b""
        if self.packed:
            self.seek(start)
        parts: list[bytes] = []
        while size > 0:
            try:
                if self.packed:
                    part = self._stream.read(min(size, _READ_AT_ONCE))
                else:
                    part = os.pread(self._raw.fileno(), min(size, _READ_AT_ONCE), start)
            except _ERRORS as error:
                raise self._damaged(error) from None
            if not part:
                break
            parts.append(part)
            start += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file."""
        if not self.closed and self._raw is not None:
            self._raw.close()
        super().close()

    def _damaged(self, error: Exception) -> InputError:
        if isinstance(error, OSError) and error.errno is not None:
            return _unreadable(self.path, error)
        reason = " ".join(str(error).split())
        return InputError(f"{self.path}: cannot be unpacked ({reason}); {WAY_OUT}")


def _open(path: Path) -> int:
    """Descriptor of a regular file."""
    if "\0" in os.fspath(path):
        raise InputError(f"{os.fspath(path)!r}: not the name of a file; name another one")
    try:
        # Looked at before it is opened: that alone can change what a device does.
        _check_kind(path, os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink():
            raise MissingInput(
                f"{path}: a link to {os.readlink(path)}, which is not there; restore it, or remove the link"
            ) from None
        raise MissingInput(f"{path}: no such file; fetch it again, or name another one") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        _check_kind(path, os.fstat(descriptor).st_mode)
    except InputError:
        os.close(descriptor)
        raise
    return descriptor


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
        raise InputError(f"{path}: {kind}, not a file with data; remove it, or name another one")


def _unreadable(path: Path, error: OSError) -> InputError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return InputError(f"{path}: cannot be read ({error.strerror}); change its permissions")
    return InputError(f"{path}: cannot be read ({error.strerror}); look after its disk, or {WAY_OUT}")


def modification_time(path: Path) -> int | None:
    """Modification time in ns: a file that was made anew is read anew; None where there is no such file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        # Opening it raises the error that names the reason.
        return None


def warn_each(lines: Sequence[str]) -> None:
    """Warn of files, a line each; of many the first few, and their number."""
    for line in lines[:_NAMED]:
        logger.warning("%s", line)
    if len(lines) > _NAMED:
        logger.warning("and %d more like these, %d in all", len(lines) - _NAMED, len(lines))


def check_folder(folder: Path, holds: str) -> None:
    """Raise MissingInput unless there is such a folder; `holds` names the files that are looked for.

    Examples
    --------
    >>> check_folder(Path("nowhere"), "the data")
    Traceback (most recent call last):
    tasoc_mpi.core.errors.MissingInput: nowhere: no such folder; name the one that holds the data
    """
    if not folder.is_dir():
        raise MissingInput(f"{folder}: no such folder; name the one that holds {holds}")


def _is_output(folder: str, name: str) -> bool:
    """Whether a sub-folder is one that a run makes for light curves, or for the pictures of a star."""
    return _OUTPUT_FOLDERS.fullmatch(f"{folder}/{name}") is not None


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files of a folder and of its sub-folders, linked ones too, each folder once.

    Hidden folders (``.ipynb_checkpoints``) are left out, as are folders of light curves and of their pictures
    (``c1800/00012``, ``plots/...``), of which an output folder below has a million files, and pipes, sockets
    and devices. Links to files that are not there are given: to open one raises MissingInput.

    Raises
    ------
    InputError
        If the folder cannot be read. Of sub-folders that cannot, the log has the name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.fits", ".hidden", "a.fits"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in files_below(Path(folder))]
    ['.hidden', 'a.fits', 'b.fits']
    """
    seen: set[tuple[int, int]] = set()
    folders = [folder]
    while folders:
        current = folders.pop()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if current == folder:
                raise InputError(
                    f"{folder}: cannot be read ({error.strerror}); change its permissions"
                ) from None
            logger.warning("%s: cannot be read (%s); what is in it is left out", current, error.strerror)
            continue
        inner = []
        for entry in entries:
            try:
                if entry.is_dir():
                    if not (entry.name.startswith(".") or _is_output(current.name, entry.name)):
                        inner.append(Path(entry.path))
                elif entry.is_file() or not os.path.exists(entry.path):
                    yield Path(entry.path)
            except OSError as error:
                logger.warning("%s: cannot be read (%s); it is left out", entry.path, error.strerror)
        folders += reversed(inner)
