"""Tables of text: columns of one width, and "-" for a number that is not known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["counted", "json_text", "json_values", "number", "size_text", "text_table"]


def number(value: float, digits: int = 0) -> str:
    """A number with a fixed count of decimals; "-" where it is not finite, which means not known.

    >>> number(3.14159, 2), number(float("nan"))
    ('3.14', '-')
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def counted(count: int, noun: str) -> str:
    """A number of things in words.

    >>> counted(1, "file"), counted(1282, "frame")
    ('1 file', '1,282 frames')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size_text(size: float) -> str:
    """A number of bytes in words.

    >>> size_text(512), size_text(9_437_184), size_text(49.1e9)
    ('512 B', '9.44 MB', '49.1 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def text_table(rows: Sequence[Sequence[object]], indent: str = "", left: int = 0) -> list[str]:
    """Lines of a table, two spaces between columns.

    Parameters
    ----------
    rows : sequence of sequence
        Cells, the heads among them; all rows of one length. A cell that is no str is turned into one.
    indent : str
        What each line begins with.
    left : int
        So many columns, from the first, are flush left; the others are flush right.

    >>> print("\\n".join(text_table([("star", "ms"), ("TIC 7", 12), ("TIC 12", 3)], left=1)))
    star    ms
    TIC 7   12
    TIC 12   3
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = ["<" if column < left else ">" for column in range(len(widths))]
    line = indent + "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return [line.format(*row).rstrip() for row in cells]


def json_text(value: Any, indent: int | None = 2) -> str:
    """What a command prints with ``--json``: what is not known (NaN) is null.

    Parameters
    ----------
    value : object
        Mappings, lists, numbers and words.
    indent : int or None, optional
        Spaces; None: all on one line.

    >>> print(json_text({"stars": 3, "noise": float("nan")}))
    {
      "stars": 3,
      "noise": null
    }
    """
    return json.dumps(json_values(value), indent=indent, default=str)


def json_values(value: Any) -> Any:
    """Values as JSON has them: numbers that are not known (NaN) are None."""
    if isinstance(value, Mapping):
        return {str(key): json_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
