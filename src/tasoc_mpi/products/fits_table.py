"""Binary tables of FITS files as arrays, by their bytes: only columns of numbers, flags and words.

Sizes are compared with the file's before memory is taken, and nothing of a header is believed that others
of its cards contradict.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT
from .fits_read import Reader, is_integer

__all__ = ["read_table"]

#: numpy's types by the codes of columns that are read; bytes of a value of those that are not.
_TYPES = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_OTHERS = {"C": 8, "M": 16, "P": 8, "Q": 16}
_FORMAT = re.compile(r"(\d{0,9})([LXBIJKAEDCM]|[PQ](?=[LXBIJKAEDCM])).*")
_SIDES = re.compile(r"\((\d{1,9}(?:,\d{1,9})*)\)")
#: Columns of a table at most (FITS standard 4.0, section 7.3.1).
_MAX_FIELDS = 999


def read_table(
    reader: Reader, header: Mapping[str, Any], start: int, wanted: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Columns of a binary table.

    Parameters
    ----------
    reader : Reader
        The file.
    header : mapping
        Values of the table's header.
    start : int
        Where its data begin.
    wanted : collection of str, optional
        Names of the columns. Default: all that hold plain numbers, flags or words.

    Returns
    -------
    dict
        Name to array of shape (rows, ...), in the byte order of the machine; flags are bool, words bytes.
        Leaves `reader.position` at the next header.

    Raises
    ------
    InputError
        If it is no such table, the file has not all of it, or a wanted column is missing or of another kind.
    """
    width, rows, extra = _sizes(reader, header)
    fields = _fields(reader, header, width)
    missing = set(wanted or ()) - set(fields)
    if missing:
        raise InputError(f"{reader.path}: no column {min(missing)} of plain values in its table; {WAY_OUT}")
    reader.check_size(start + width * rows)
    chosen = [name for name in fields if wanted is None or name in wanted]
    row = np.dtype(
        {
            "names": chosen,
            "formats": [(fields[name][0], fields[name][1]) for name in chosen],
            "offsets": [fields[name][2] for name in chosen],
            "itemsize": max(width, 1),
        }
    )
    table = np.frombuffer(reader.read(start, width * rows), row, rows if width else 0)
    reader.position = start + -(-(width * rows + extra) // 2880) * 2880
    return {name: _native(table[name], fields[name][3]) for name in chosen}


def _sizes(reader: Reader, header: Mapping[str, Any]) -> tuple[int, int, int]:
    """Bytes of a row, rows, and bytes behind them."""
    sizes = [header.get(key) for key in ("NAXIS1", "NAXIS2", "PCOUNT")]
    kind = header.get("XTENSION"), header.get("NAXIS"), header.get("BITPIX"), header.get("GCOUNT", 1)
    if kind != ("BINTABLE", 2, 8, 1) or not all(is_integer(n) and 0 <= n < 2**48 for n in sizes):
        raise InputError(f"{reader.path}: no binary table where it should be; {WAY_OUT}")
    return sizes[0], sizes[1], sizes[2]  # type: ignore[return-value]


def _fields(
    reader: Reader, header: Mapping[str, Any], width: int
) -> dict[str, tuple[str, tuple[int, ...], int, str]]:
    """Name to (type, shape, place in a row, code) of the columns with plain values."""
    count = header.get("TFIELDS")
    if not is_integer(count) or not 0 <= count <= _MAX_FIELDS:
        raise InputError(f"{reader.path}: {count} columns (TFIELDS) in its table; {WAY_OUT}")
    found: dict[str, tuple[str, tuple[int, ...], int, str]] = {}
    place = 0
    for number in range(1, count + 1):
        text = header.get(f"TFORM{number}")
        match = _FORMAT.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise InputError(f"{reader.path}: TFORM{number} is {text!r} in its table; {WAY_OUT}")
        repeat, code = int(match[1] or 1), match[2]
        name = header.get(f"TTYPE{number}")
        scaled = header.get(f"TSCAL{number}", 1) != 1 or header.get(f"TZERO{number}", 0) != 0
        if isinstance(name, str) and not scaled and repeat and (code in _TYPES or code == "A"):
            kind = f"S{repeat}" if code == "A" else _TYPES[code]
            shape = () if code == "A" else _shape(header.get(f"TDIM{number}"), repeat)
            found.setdefault(name.strip(), (kind, shape, place, code))
        size = 1 if code == "A" else _OTHERS.get(code) or np.dtype(_TYPES.get(code, "u1")).itemsize
        # Bits fill whole bytes.
        place += -(-repeat // 8) if code == "X" else size * repeat
    if place != width:
        raise InputError(
            f"{reader.path}: the columns of its table take {place} bytes, rows have {width}; {WAY_OUT}"
        )
    return found


def _shape(sides: Any, repeat: int) -> tuple[int, ...]:
    """Shape of the values of a row; flat where TDIM says something else than there is."""
    match = _SIDES.fullmatch(sides.replace(" ", "")) if isinstance(sides, str) else None
    if match:
        shape = tuple(int(side) for side in reversed(match[1].split(",")))
        if int(np.prod(shape, dtype=object)) == repeat:
            return shape
    return () if repeat == 1 else (repeat,)


def _native(values: NDArray[Any], code: str) -> NDArray[Any]:
    """Values in the byte order of the machine, flags as bool."""
    if code == "L":
        return np.array(values == b"T")
    return values.astype(values.dtype.newbyteorder("="))
