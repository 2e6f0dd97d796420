"""Which output folder belongs to a work list.

Every output folder has its own logs. `todo.sqlite` names the one whose results were published last; the
small file ``todo.output`` beside it names the one in which a run was started last.
``OUTPUT/results/photometry`` names the method that computed all stars of a folder; a folder without it holds
the results of the methods in the work list.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..core.atomic import open_regular, write_whole
from ..core.errors import InputError, MissingInput
from ..core.settings import output_folder

__all__ = [
    "check_output",
    "check_there",
    "claim_output",
    "find_output",
    "note_output",
    "output_method",
    "output_name",
]

_LONGEST = 4096


def _note(todo: Path) -> Path:
    return todo.with_suffix(".output")


def output_name(todo: Path, output: Path) -> str | bytes:
    """An output folder as a work list names it: relative below its own folder, so that both can be moved.

    A name that is not UTF-8 is given as bytes.
    """
    source, output = todo.parent.resolve(), output.resolve()
    name = os.fspath(output.relative_to(source) if output.is_relative_to(source) else output)
    encoded = os.fsencode(name)
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        return encoded


def check_there(output: str | os.PathLike[str]) -> None:
    """Raise MissingInput where the output folder of a run that has been is not there."""
    if not os.path.isdir(output):
        raise MissingInput(f"{os.fspath(output)}: no such folder; name the --output of the run")


def note_output(todo: Path, output: Path) -> None:
    """Note that a run of this work list writes to a folder.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    name = output_name(todo, output)
    # The bytes of the file system, which the locale may not be able to decode.
    data = (name if isinstance(name, bytes) else name.encode("utf-8")) + b"\n"
    if _read(todo) == data:
        return
    try:
        write_whole(_note(todo), data)
    except OSError as error:
        raise InputError(
            f"{_note(todo)}: cannot be written ({error.strerror}); change the permissions of its folder"
        ) from None


def _read(todo: Path) -> bytes | None:
    path = _note(todo)
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as file:
            return file.read(_LONGEST + 2)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); remove it") from None


def find_output(todo: Path, published: Path | None = None, method: str = "") -> Path:
    """The output folder of a work list, for programs to which none is named.

    Parameters
    ----------
    todo : Path
        The work list.
    published : Path, optional
        The folder that `todo.sqlite` names.
    method : str, optional
        The method whose list it is, where one computed all stars.

    Returns
    -------
    Path
        The folder in which a run was started last; else `published`; else what `core.settings.output_folder`
        gives: ``TESSPHOT_OUTPUT``, or ``output`` beside the work list.

    Raises
    ------
    InputError
        If ``todo.output`` is damaged.
    """
    data = _read(todo)
    if data is not None:
        name = data.removesuffix(b"\n")
        if not name or len(name) > _LONGEST or b"\0" in name:
            raise InputError(f"{_note(todo)}: names no folder; remove it, or run again")
        return todo.parent / os.fsdecode(name)
    return published or output_folder(None, todo.parent / "output", method)


def _method_note(output: Path) -> Path:
    return output / "results" / "photometry"


def output_method(output: Path) -> str:
    """The method whose results an output folder holds; '' for those of the work list's own methods.

    Raises
    ------
    InputError
        If the file that says so is damaged.
    """
    path = _method_note(output)
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as file:
            name = file.read(100)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); choose another --output") from None
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
    path = _method_note(output)
    if method and not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, f"{method}\n".encode("ascii"))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); change the permissions of its folder"
            ) from None
