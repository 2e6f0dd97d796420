"""The time scale of TESS: days of TDB, counted from `BTJD_ZERO`."""

from __future__ import annotations

__all__ = ["BTJD_ZERO", "DAY"]

#: BJD of BTJD 0 (at the spacecraft: JD of TJD 0), days.
BTJD_ZERO = 2457000.0
#: Seconds of a day.
DAY = 86400.0
