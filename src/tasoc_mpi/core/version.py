"""The version of the program, and the name under which it signs its files."""

from __future__ import annotations

import functools

__all__ = ["creator", "program_version"]


@functools.cache
def program_version() -> str:
    """The version of the installed package."""
    from importlib.metadata import version

    return version("tasoc-mpi")


def creator() -> str:
    """What files have as their CREATOR: the program and its version.

    Examples
    --------
    >>> creator().split()[0]
    'tasoc-mpi'
    """
    return f"tasoc-mpi {program_version()}"
