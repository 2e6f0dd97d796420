"""Which of several files of the same data is the newest processing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Processing", "file_rank", "processing"]

#: Data release, numbers of the processing version, date of the file; later processings compare as larger.
Processing = tuple[int, tuple[int, ...], str]

_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ][\d:.]*)?", re.ASCII)


def processing(header: Mapping[str, Any]) -> Processing:
    """What a primary header says of the processing (DATA_REL, PROCVER, DATE); unknown is older than known.

    Examples
    --------
    >>> processing({"DATA_REL": 43, "PROCVER": "spoc-4.0.10", "DATE": "2021-01-01"})
    (43, (4, 0, 10), '2021-01-01')
    >>> processing({})
    (-1, (), '')
    """
    release, date = header.get("DATA_REL"), header.get("DATE")
    known = isinstance(release, int) and not isinstance(release, bool)
    numbers = tuple(int(number) for number in re.findall(r"[0-9]{1,18}", str(header.get("PROCVER") or "")))
    dated = isinstance(date, str) and _DATE.fullmatch(date)
    return release if known else -1, numbers, date if dated else ""  # type: ignore[return-value]


def file_rank(path: Path) -> tuple[str, bool, int, str]:
    """Order of files of one processing; the largest is taken.

    The later time stamp or version in the name, then a plain file rather than a packed one, then the one that
    lies less deep, then the one whose path sorts first.

    Examples
    --------
    >>> file_rank(Path("a/x.fits")) > file_rank(Path("a/x.fits.gz")) > file_rank(Path("a/b/x.fits.gz"))
    True
    """
    packed = path.name.endswith(".gz")
    name = path.name.removesuffix(".gz")
    # Complement of every character: what sorts first is to be the largest.
    text = "".join(chr(0x10FFFF - ord(character)) for character in str(path))
    return name, not packed, -len(path.parts), text
