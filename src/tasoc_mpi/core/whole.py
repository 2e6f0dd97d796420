"""Whole numbers that users give to functions."""

from __future__ import annotations

import math
import numbers
from typing import Any

from .errors import UsageError, one_line

__all__ = ["known_whole", "whole"]

#: Characters of a wrong value that a message shows.
_SHOWN = 60


def whole(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """A whole number; `int` would cut off decimals.

    Parameters
    ----------
    value : int, float without decimals, or digits
        Tables and files of text have numbers in these forms.
    name : str
        Of the argument, for the message.
    least, most : int, optional
        Smallest and largest value.

    Raises
    ------
    UsageError
        If it is none.

    Examples
    --------
    >>> whole(4, "camera"), whole(4.0, "camera"), whole("4", "camera")
    (4, 4, 4)
    >>> whole(4.5, "camera")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.UsageError: camera 4.5: a whole number is needed
    """
    if type(value) is not int and not _is_whole(value):
        raise UsageError(f"{name} {one_line(repr(value))[:_SHOWN]}: a whole number is needed")
    number = int(value)
    if (least is not None and number < least) or (most is not None and number > most):
        words = f"from {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{name} {number}: a whole number {words} is needed")
    return number


def _is_whole(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdecimal() and len(value) < 20
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return isinstance(value, numbers.Integral) or (math.isfinite(value) and value % 1 == 0)


def known_whole(value: Any, name: str) -> int | None:
    """As `whole`; None stays None."""
    return None if value is None else whole(value, name)
