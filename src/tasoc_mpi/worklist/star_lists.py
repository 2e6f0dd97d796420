"""Lists of single stars: those to leave out of the work list, and those with a method of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..core.input_files import InputFile
from ..core.methods import METHODS
from ..products.star_values import LARGEST_STARID

__all__ = ["Rule", "read_rules"]

#: Numbers of sectors have four digits in the names of files.
_LAST_SECTOR = 9999
_LAST_RELEASE = 9999
#: A rule for every star of a sector has 100 MB.
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class Rule:
    """A line of a file of exclusions or methods."""

    starid: int
    sector: int | None  #: None for all
    datasource: str  #: ``*`` for all
    method: str = ""  #: Empty for an exclusion
    data_release: int | None = None  #: Of the pixels; None for all

    def fits(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which rows of the work list, with their data releases in `data_rel`, the rule names."""
        fits = rows["starid"] == self.starid
        if self.sector is not None:
            fits &= rows["sector"] == self.sector
        if self.datasource != "*":
            fits &= rows["datasource"] == self.datasource
        if self.data_release is not None:
            fits &= rows["data_rel"] == self.data_release
        return fits


def read_rules(path: str | os.PathLike[str] | None, methods: bool) -> list[Rule]:
    """Read a file of exclusions or of methods.

    Parameters
    ----------
    path : path-like or None
        None for the packaged file.
    methods : bool
        Whether it is a file of methods; else of exclusions.

    Returns
    -------
    list of Rule
        In order of the lines.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is no text, or a line is not of the form that the packaged files explain; the line is named.
    """
    if path is None:
        name = "todo-methods.txt" if methods else "todo-exclude.txt"
        text = (resources.files("tasoc_mpi.data") / name).read_text("utf-8")
    else:
        try:
            with InputFile(path, _MOST_BYTES) as file:
                text = file.read().decode("utf-8-sig")
        except MissingInput:
            option = "--methods" if methods else "--exclude"
            raise MissingInput(f"{path}: no such file; {option} names it") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: not a text file; write it with one rule a line") from None
    rules = []
    for number, line in enumerate(re.split(r"\r\n?|\n", text), 1):
        words = line.split("#", 1)[0].split()
        if words:
            rules.append(_rule(f"{path}, line {number}", words, methods))
    return rules


def _rule(where: str, words: Sequence[str], methods: bool) -> Rule:
    form = "STARID SECTOR DATASOURCE METHOD" if methods else "STARID SECTOR DATASOURCE"
    if len(words) < len(form.split()):
        count = "1 word" if len(words) == 1 else f"{len(words)} words"
        raise InputError(f"{where}: {count}, expected {form}, separated by blanks")
    starid = _number(where, words[0], LARGEST_STARID, "STARID is a TIC number")
    sector = None
    if words[1] != "*":
        sector = _number(where, words[1], _LAST_SECTOR, f"SECTOR is * or a number up to {_LAST_SECTOR}")
    kind, separator, primary = words[2].partition(":")
    if kind == "tpf" and separator:
        _number(where, primary, LARGEST_STARID, "the STARID of a datasource tpf:STARID is a TIC number")
    elif words[2] not in ("ffi", "tpf", "*"):
        raise InputError(f"{where}: datasource {words[2][:40]!r}, expected ffi, tpf, tpf:STARID or *")
    if methods:
        # The TASOC pipeline reads them in letters of any case.
        if (method := words[3].lower()) not in METHODS:
            raise InputError(f"{where}: method {words[3][:40]!r}, expected one of {', '.join(METHODS)}")
        return Rule(starid, sector, words[2], method)
    release = None
    if len(words) > 3 and words[3] != "*":
        release = _number(where, words[3], _LAST_RELEASE, "DATA_RELEASE is * or a number")
    return Rule(starid, sector, words[2], data_release=release)


def _number(where: str, word: str, largest: int, meaning: str) -> int:
    """A positive integer of decimal digits."""
    if word.isascii() and word.isdecimal() and len(word) <= len(str(largest)) and 1 <= int(word) <= largest:
        return int(word)
    raise InputError(f"{where}: {meaning}, and not {word[:40]!r}; correct it")
