"""The methods of photometry and of the correction: the only list of their names, and how a user names one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError, one_line

__all__ = [
    "CORRECTION_METHODS",
    "METHODS",
    "ChosenMethod",
    "choose_method",
    "method_file",
    "method_name",
]

#: Class of each method as MODULE:CLASS below `tasoc_mpi.photometry`.
METHODS = {
    "aperture": "aperture:AperturePhotometry",
    "psf": "psf_fit:PSFPhotometry",
    "linpsf": "linpsf:LinPSFPhotometry",
    "halo": "halo:HaloPhotometry",
}

#: How the coefficients of a correction are found, the default first: with a prior from neighbouring stars and
#: beside slow variations of the star itself, or by least squares with the number of vectors by BIC.
CORRECTION_METHODS = ("map", "cbv")

#: The name of a method is part of names of files and folders.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True)
class ChosenMethod:
    """The method that computes all stars of a run, whatever the work list says."""

    name: str  #: In light curves, results, and names of files and folders; '' where the work list chooses
    #: What computes: a name of `METHODS`, ``MODULE:CLASS``, or ``FILE.py:CLASS`` with an absolute path; ''
    #: where only the name is known.
    source: str

    @property
    def is_users(self) -> bool:
        """Whether it is a class of the user's own."""
        return ":" in self.source


def method_name(class_name: str) -> str:
    """The name of a class's method.

    >>> method_name("AperturePhotometry"), method_name("Box")
    ('aperture', 'box')
    """
    return class_name.removesuffix("Photometry").lower()


def choose_method(text: str | None, computes: bool = False) -> ChosenMethod:
    """The method that a user names with ``--photometry``.

    Parameters
    ----------
    text : str or None
        A name of `METHODS`, ``MODULE:CLASS`` or ``FILE.py:CLASS``; None where the work list chooses.
    computes : bool, optional
        Whether it has to be one that can compute. Else the name alone of a user's method is enough.

    Returns
    -------
    ChosenMethod

    Raises
    ------
    UsageError
        If it cannot be such a method. A user's class is not imported here.

    Examples
    --------
    >>> choose_method("linpsf").name, choose_method("my_package.methods:BoxPhotometry").name
    ('linpsf', 'box')
    """
    if not text:
        return ChosenMethod("", "")
    if not isinstance(text, str):
        raise UsageError(
            f"method {one_line(repr(text))[:100]}: name it as a text, FILE.py:CLASS or MODULE:CLASS for one"
            " of your own"
        )
    shown = one_line(text)[:100]
    home, colon, class_name = text.rpartition(":")
    if not colon:
        return _named(text, shown, computes)
    if not home or not class_name.isidentifier():
        raise UsageError(f"method {shown}: must be a method's name, MODULE:CLASS or FILE.py:CLASS")
    name = method_name(class_name)
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"method {shown}: the name of the class, which is the method's, needs letters, digits and _, at"
            " most 32, the first a letter; rename it"
        )
    if name in METHODS:
        raise UsageError(f"method {shown}: a method of the program is called {name}; rename the class")
    if home.endswith(".py"):
        home = os.path.abspath(home)
    elif not _MODULE.fullmatch(home):
        raise UsageError(f"method {shown}: {home[:60]!r} is no name of a module, and no file *.py")
    return ChosenMethod(name, f"{home}:{class_name}")


def _named(text: str, shown: str, computes: bool) -> ChosenMethod:
    """A method by its name alone."""
    if text in METHODS:
        return ChosenMethod(text, text)
    if computes or not _NAME.fullmatch(text):
        raise UsageError(f"method {shown}: must be {', '.join(METHODS)}, MODULE:CLASS or FILE.py:CLASS")
    return ChosenMethod(text, "")


def method_file(path: Path, method: str) -> Path:
    """A file or folder of a method: that of the work list's own methods with the method's name at its end.

    >>> method_file(Path("sector1/todo.sqlite"), "linpsf").as_posix()
    'sector1/todo-linpsf.sqlite'
    >>> method_file(Path("sector1/output"), "").as_posix()
    'sector1/output'
    """
    return path.with_name(f"{path.stem}-{method}{path.suffix}") if method and path.name else path
