"""The results of a method that computes all stars of a run, apart from those of the work list's own methods.

A method has its own output folder, and its own published list `todo-METHOD.sqlite` beside `todo.sqlite`, with
the same rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.errors import InputError, MissingInput
from ..core.methods import method_file
from .publish import publish
from .work_list import load_worklist

__all__ = ["find_list", "refresh_list"]


def find_list(todo: Path, method: str) -> Path:
    """The list with the published results of a method.

    Parameters
    ----------
    todo : Path
        The work list.
    method : str
        Name of the method; '' for the work list itself.

    Raises
    ------
    MissingInput
        If nothing was computed with this method yet.
    """
    path = method_file(todo, method)
    if method and not path.exists():
        raise MissingInput(
            f"{path}: no results of the method {method} yet; compute them with `tasoc-mpi run --photometry`"
        )
    return path


def refresh_list(todo: Path, method: str, output: Path) -> Path:
    """Bring the rows of a method's list up to date with the work list, if they are not; returns its path.

    Raises
    ------
    MissingInput, InputError
        As `publish`.
    """
    path = method_file(todo, method)
    if path.exists():
        try:
            own = load_worklist(path)
        except InputError:
            # Damaged: it can be made anew at any time.
            own = None
        if own is not None:
            rows = load_worklist(todo)
            # Unknown magnitudes are NaN, which is not equal to itself: compare bytes.
            if own.rows.tobytes() == rows.rows.tobytes() and np.array_equal(own.tile, rows.tile):
                return path
    publish(path, output, rows=todo)
    return path
