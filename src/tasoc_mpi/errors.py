"""The errors a user can cause: each is one line that names the file or star and the way out."""

__all__ = ["InputError", "MissingInput", "TasocError", "UsageError"]


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
