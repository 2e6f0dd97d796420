"""The status of one star's photometry."""

import enum

__all__ = ["ENDS", "FAILED", "STATUS"]


class STATUS(enum.IntEnum):
    """Status of the photometry of one star, as kept in the work list (`todo.sqlite`).

    A row of the work list that was never tried has no status (NULL).

    Examples
    --------
    >>> STATUS.WARNING.has_lightcurve, STATUS.SKIPPED.has_lightcurve
    (True, False)
    >>> STATUS(2).name
    'ERROR'
    """

    UNKNOWN = 0
    """Not tried yet."""
    OK = 1
    """A light curve was made and nothing unusual was seen."""
    ERROR = 2
    """The photometry failed; the diagnostics name the reason. There is no light curve."""
    WARNING = 3
    """A light curve was made, but something about it is unusual; the diagnostics name it."""
    ABORT = 4
    """The calculation was ended from outside (it took too long, or it took its process down)."""
    SKIPPED = 5
    """Another star's mask holds this star, and its light curve is published instead."""
    STARTED = 6
    """Handed to a worker, which has not answered yet."""

    @property
    def has_lightcurve(self) -> bool:
        """Whether a star of this status has a light curve of its own."""
        return self in (STATUS.OK, STATUS.WARNING)


#: The statuses of results. A star is SKIPPED by the results of others, and the rest mean that there is none.
ENDS = (STATUS.OK, STATUS.ERROR, STATUS.WARNING, STATUS.ABORT)
#: Those of them without a light curve.
FAILED = (STATUS.ERROR, STATUS.ABORT)
