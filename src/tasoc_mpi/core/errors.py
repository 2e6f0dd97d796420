"""The errors a user can cause: each is one line that names the file or star and the way out."""

from __future__ import annotations

import errno
import os

__all__ = ["InputError", "MissingInput", "TasocError", "UsageError", "one_line", "system_error"]

#: Characters of a message at most: a damaged file can hold words of any length.
_LONGEST = 1000


class TasocError(Exception):
    """Base of the errors with a message for the user; a command ends with exit status 1."""

    exit_status = 1


class InputError(TasocError, ValueError):
    """A file or a star that cannot be used as it is."""


class MissingInput(TasocError, FileNotFoundError):
    """A file or a folder that is not there."""


class UsageError(TasocError, ValueError):
    """Options that contradict each other or have impossible values; exit status 2."""

    exit_status = 2


def one_line(text: object) -> str:
    """A text that may be from a damaged file, for a message: one line that moves no cursor.

    Characters that are not printable become question marks; a long text keeps its beginning and its end.

    Examples
    --------
    >>> one_line("a\x1b[31m\\nb")
    'a?[31m b'
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    return line


def system_error(error: OSError, path: object = None) -> str:
    """A message for an error of the system: the file, what is wrong, the way out.

    Parameters
    ----------
    error : OSError
    path : path-like, optional
        The file, where the error does not name it.

    Examples
    --------
    >>> system_error(OSError(errno.ENOSPC, "No space left on device"), "a.fits")
    'a.fits: No space left on device; make room and run again'
    """
    if error.errno is None:
        # Of ours, or of a library: its words are all that there is.
        return one_line(error)
    given = error.filename or path or ""
    name = os.fsdecode(given) if isinstance(given, bytes) else str(given)
    folder, file = os.path.split(name)
    if file.startswith(".") and file.endswith((".part", ".tmp")):
        # A file that would have got its name when it was whole.
        name = folder or "."
    place = f"{name}: " if name else ""
    if error.errno == errno.ENOSPC and _has_too_many_files(name):
        return one_line(
            f"{place}its disk has room for bytes, but for no more files; remove files and run again"
        )
    if error.errno == errno.EFBIG:
        return one_line(f"{place}{error.strerror}; raise the limit of files (`ulimit -f`) and run again")
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return one_line(f"{place}{error.strerror}; take another name")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return one_line(f"{place}{error.strerror}; make room and run again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return one_line(f"{place}{error.strerror}; change its permissions, or take another folder")
    return one_line(f"{place}{error.strerror or error}; look after the disk, and run again")


def _has_too_many_files(name: str) -> bool:
    """Whether the file system of a file has free bytes, but no inodes."""
    path = os.path.abspath(name)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    try:
        state = os.statvfs(path)
    except OSError:
        return False
    # Some file systems count no inodes.
    return state.f_files > 0 and state.f_favail == 0 and state.f_bavail > 0
