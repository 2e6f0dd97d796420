"""The class of a method: one of the program's, or a user's own from a module or a file."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import InputError, MissingInput, UsageError, one_line
from ..core.methods import METHODS, choose_method
from .base import BasePhotometry

__all__ = ["photometry_class"]


def photometry_class(method: str | type) -> type[BasePhotometry]:
    """The class of a method.

    Parameters
    ----------
    method : str or type
        A name of `core.methods.METHODS`, ``MODULE:CLASS``, ``FILE.py:CLASS``, or the class itself.

    Raises
    ------
    UsageError, InputError
        If there is no such method, or only its name; if a user's class cannot be imported, or is no subclass
        of `BasePhotometry` with a `do_photometry`.

    Examples
    --------
    >>> photometry_class("aperture").__name__
    'AperturePhotometry'
    >>> photometry_class(int)
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.InputError: method int: no subclass of tasoc_mpi.BasePhotometry
    """
    if not isinstance(method, str):
        return _checked(method, getattr(method, "__name__", one_line(repr(method))[:60]))
    if method not in METHODS and ":" not in method:
        raise UsageError(
            f"method {one_line(repr(method))}: one of {', '.join(METHODS)}, MODULE:CLASS or FILE.py:CLASS"
        )
    return _load(method)


@functools.lru_cache(maxsize=32)
def _load(method: str) -> type[BasePhotometry]:
    if method in METHODS:
        own, _, name = METHODS[method].partition(":")
        return _checked(getattr(importlib.import_module(f".{own}", __package__), name), method)
    home, _, name = choose_method(method).source.rpartition(":")
    module = _import(home)
    if not hasattr(module, name):
        there = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, BasePhotometry) and value is not BasePhotometry
        ]
        raise InputError(
            f"{home}: no class {name} in it" + (f"; it has {', '.join(there[:5])}" if there else "")
        )
    return _checked(getattr(module, name), method)


def _checked(found: Any, name: str) -> type[BasePhotometry]:
    """The class if it is one of a method."""
    if not isinstance(found, type) or not issubclass(found, BasePhotometry) or found is BasePhotometry:
        raise InputError(f"method {name}: no subclass of tasoc_mpi.BasePhotometry")
    if found.do_photometry is BasePhotometry.do_photometry:
        raise InputError(f"method {name}: has no do_photometry; write one (docs/own_method.md)")
    return found


def _import(home: str) -> ModuleType:
    """A user's module; whatever it raises becomes one line."""
    path = Path(home) if home.endswith(".py") else None
    if path is not None and not path.is_file():
        raise MissingInput(f"{home}: no such file; name the one with the class of the method")
    try:
        return importlib.import_module(home) if path is None else _import_file(path)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge of a user's code
        if isinstance(error, ModuleNotFoundError) and path is None and home.startswith(f"{error.name}"):
            raise MissingInput(
                f"{home}: no module {error.name}; install it, set PYTHONPATH to its folder, or name its file"
                " (FILE.py:CLASS)"
            ) from None
        raise InputError(f"{home}: cannot be imported ({_reason(error, home)}); mend it") from None


def _import_file(path: Path) -> ModuleType:
    """A module from a file, which may import its neighbours, as a program that Python runs may."""
    # Behind all others, so that a neighbour hides no other module.
    if (folder := str(path.parent)) not in sys.path:
        sys.path.append(folder)
    name = f"tasoc_mpi_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a file of Python")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look for the module of a class there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reason(error: BaseException, home: str) -> str:
    """Kind and text of an error, and the line of the user's file from which it came."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):
        return one_line(text)
    stem = Path(home).name if home.endswith(".py") else f"{home.rpartition('.')[2]}.py"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).name == stem
    ]
    return one_line(f"{text}, line {lines[-1]}" if lines else text)
