"""The outcome of the photometry of one star, and the log messages on the way."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from ..core.diagnostics import Diagnostics
from ..core.status import STATUS

__all__ = ["MessageCollector", "PhotometryResult"]


@dataclass(kw_only=True)
class PhotometryResult(Diagnostics):
    """The outcome of one star, as it goes to the work list.

    Attributes
    ----------
    status : STATUS
    lightcurve : str or None
        Path of the light curve relative to the output folder.
    method_used : str
    errors : list of str
        Messages of level WARNING and above.
    skip_targets : list of int
        Stars that need no light curve of their own.

    Examples
    --------
    >>> result = PhotometryResult(method_used="aperture", mask_size=9)
    >>> result.status.name, result.mask_size, result.rms_hour
    ('UNKNOWN', 9, nan)
    """

    status: STATUS = STATUS.UNKNOWN
    lightcurve: str | None = None
    method_used: str = ""
    errors: list[str] = field(default_factory=list)
    skip_targets: list[int] = field(default_factory=list)


class MessageCollector(logging.Handler):
    """Collects the messages of one star, from level WARNING on."""

    def __init__(self) -> None:
        # Not as Handler does it: that makes a lock, and keeps each handler in a list of the module, behind
        # another lock, which takes longer than all messages of a star. A list of lines needs neither.
        logging.Filterer.__init__(self)
        self.level, self.lock = logging.WARNING, None
        self.lines: list[str] = []

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep one message. `Handler.handle` would take the lock: from Python 3.13 on there has to be one."""
        self.lines.append(record.getMessage())
        return True
