"""Stars that a user chooses by a file of their TIC numbers."""

from __future__ import annotations

import os

from ..core.errors import InputError, MissingInput
from ..core.input_files import InputFile
from ..products.star_values import LARGEST_STARID

__all__ = ["read_starids"]

#: Bytes of a file of numbers at most: some ten million stars.
_MOST_BYTES = 1 << 28


def read_starids(path: str | os.PathLike[str]) -> list[int]:
    """The TIC numbers in a text file: the first word of each line, which may be followed by other columns.

    Empty lines and what follows a ``#`` are left out; a first line of column names is, too.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If a line does not begin with a TIC number, or there is none.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("TIC,Tmag\\n25155310,9.8  # WASP-126\\n\\n38846515\\n")
    ...     file.flush()
    ...     read_starids(file.name)
    [25155310, 38846515]
    """
    try:
        with InputFile(path, _MOST_BYTES) as file:
            text = file.read().decode("utf-8-sig")
    except MissingInput:
        raise MissingInput(f"{path}: no such file; --starid-file names it") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; write it with one TIC number a line") from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        word = words[0]
        if word.isascii() and word.isdecimal() and len(word) <= 16 and int(word) <= LARGEST_STARID:
            found.append(int(word))
        # Names of columns do not begin as numbers do.
        elif found or number > 1 or word[0] in "+-.0123456789":
            raise InputError(f"{path}, line {number}: {word[:40]!r} is not a TIC number; correct it")
    if not found:
        raise InputError(f"{path}: no TIC number in it; write one a line")
    return found
