"""The errors a user can cause: each is one line that names the file or star and the way out."""

__all__ = ["InputError", "MissingInput", "TasocError", "UsageError", "one_line"]

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

    What is not printable becomes a question mark; of a long text the beginning and the end are kept.
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    return line
