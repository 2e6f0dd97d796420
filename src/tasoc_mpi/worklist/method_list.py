"""The results of a method that computes all stars of a run, apart from those of the work list's own methods.

A method has its own output folder, and its own published list `todo-METHOD.sqlite` beside `todo.sqlite`, with
the same rows. `OUTPUT/results/photometry` names the method whose results a folder holds; a folder without it
holds those of the work list's own methods.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from ..core.atomic import write_whole
from ..core.errors import InputError, MissingInput
from ..core.methods import method_file
from .publish import publish
from .work_list import load_worklist

__all__ = ["check_output", "claim_output", "find_list", "output_method", "refresh_list"]

_LONGEST = 100


def _note(output: Path) -> Path:
    return output / "results" / "photometry"


def output_method(output: Path) -> str:
    """The method whose results an output folder holds; '' for those of the work list's own methods.

    Raises
    ------
    InputError
        If the file that says so is damaged.
    """
    path = _note(output)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); choose another --output") from None
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        name = os.read(descriptor, _LONGEST) if regular else b""
    finally:
        os.close(descriptor)
    if not (name.endswith(b"\n") and name[:-1].isascii() and name[:-1].decode("ascii").isidentifier()):
        raise InputError(f"{path}: names no method; choose another --output")
    return name[:-1].decode("ascii")


def check_output(output: Path, method: str) -> None:
    """Check that an output folder holds no results of another method.

    Parameters
    ----------
    output : Path
    method : str
        Name of the method that computes all stars; '' where the work list chooses.

    Raises
    ------
    InputError
        If it does.
    """
    found = output_method(output)
    if found != method and (found or any((output / "results").glob("*.log"))):
        holds = f"of --photometry {found}" if found else "of the methods in the work list"
        raise InputError(f"{output}: holds the light curves {holds}; choose another --output")


def claim_output(output: Path, method: str) -> None:
    """Note that an output folder holds the results of a method; raises InputError as `check_output`."""
    check_output(output, method)
    path = _note(output)
    if method and not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, f"{method}\n".encode("ascii"))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); change the permissions of its folder"
            ) from None


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
