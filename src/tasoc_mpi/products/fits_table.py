"""Binary tables of FITS files as arrays, by their bytes: only columns of numbers, flags and words.

Sizes are compared with the file's before memory is taken, and nothing of a header is believed that others
of its cards contradict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT
from .fits_read import HDU, FITSReader, is_integer

__all__ = ["Column", "read_series", "read_table", "table_columns"]

#: numpy's types by the codes of columns that are read; bytes of a value of those that are not.
_TYPES = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_OTHERS = {"C": 8, "M": 16, "P": 8, "Q": 16}
_FORMAT = re.compile(r"(\d{0,9})([LXBIJKAEDCM]|[PQ](?=[LXBIJKAEDCM])).*")
_SIDES = re.compile(r"\((\d{1,9}(?:,\d{1,9})*)\)")
#: Columns of a table at most (FITS standard 4.0, section 7.3.1).
_MAX_FIELDS = 999
#: Bytes of a table that are in memory at once.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Column:
    """A column of plain values of a binary table."""

    number: int  #: Its number in the header, from 1
    code: str  #: FITS code of its values
    dtype: str
    shape: tuple[int, ...]  #: Of the values of a row
    offset: int  #: First byte of the values in a row


def table_columns(reader: FITSReader, hdu: HDU) -> dict[str, Column]:
    """The columns of plain numbers, flags and words of a binary table, by their names.

    Parameters
    ----------
    reader : FITSReader
        The file.
    hdu : HDU
        The table.

    Returns
    -------
    dict of str to Column

    Raises
    ------
    InputError
        If it is no such table, or the file cannot have all of it.
    """
    values = hdu.values
    sizes = [values.get(key) for key in ("NAXIS1", "NAXIS2", "PCOUNT")]
    kind = values.get("XTENSION"), values.get("NAXIS"), values.get("BITPIX"), values.get("GCOUNT", 1)
    if kind != ("BINTABLE", 2, 8, 1) or not all(is_integer(n) and 0 <= n < 2**48 for n in sizes):
        raise InputError(f"{reader.path}: no binary table where it should be; {WAY_OUT}")
    count = values.get("TFIELDS")
    if not is_integer(count) or not 0 <= count <= _MAX_FIELDS:
        raise InputError(f"{reader.path}: {count} columns (TFIELDS) in its table; {WAY_OUT}")
    found: dict[str, Column] = {}
    place = 0
    for number in range(1, count + 1):
        text = values.get(f"TFORM{number}")
        match = _FORMAT.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise InputError(f"{reader.path}: TFORM{number} is {text!r} in its table; {WAY_OUT}")
        repeat, code = int(match[1] or 1), match[2]
        name = values.get(f"TTYPE{number}")
        scaled = values.get(f"TSCAL{number}", 1) != 1 or values.get(f"TZERO{number}", 0) != 0
        if isinstance(name, str) and not scaled and repeat and (code in _TYPES or code == "A"):
            dtype = f"S{repeat}" if code == "A" else _TYPES[code]
            shape = () if code == "A" else _shape(values.get(f"TDIM{number}"), repeat)
            found.setdefault(name.strip(), Column(number, code, dtype, shape, place))
        size = 1 if code == "A" else _OTHERS.get(code) or np.dtype(_TYPES.get(code, "u1")).itemsize
        # Bits fill whole bytes.
        place += -(-repeat // 8) if code == "X" else size * repeat
    if place != values["NAXIS1"]:
        raise InputError(
            f"{reader.path}: the columns of its table take {place} bytes, rows have {values['NAXIS1']}; "
            f"{WAY_OUT}"
        )
    reader.check_size(hdu.start + values["NAXIS1"] * values["NAXIS2"])
    return found


def _shape(sides: Any, repeat: int) -> tuple[int, ...]:
    """Shape of the values of a row; flat where TDIM says something else than there is."""
    match = _SIDES.fullmatch(sides.replace(" ", "")) if isinstance(sides, str) else None
    if match:
        shape = tuple(int(side) for side in reversed(match[1].split(",")))
        if int(np.prod(shape, dtype=object)) == repeat:
            return shape
    return () if repeat == 1 else (repeat,)


def _chosen(
    reader: FITSReader, hdu: HDU, wanted: Collection[str] | None
) -> tuple[dict[str, Column], np.dtype[np.void], int]:
    """The wanted columns, the type of a row that has them alone, and the number of rows."""
    columns = table_columns(reader, hdu)
    missing = set(wanted or ()) - set(columns)
    if missing:
        raise InputError(f"{reader.path}: no column {min(missing)} of plain values in its table; {WAY_OUT}")
    chosen = {name: column for name, column in columns.items() if wanted is None or name in wanted}
    width = hdu.values["NAXIS1"]
    row = np.dtype(
        {
            "names": list(chosen),
            "formats": [(column.dtype, column.shape) for column in chosen.values()],
            "offsets": [column.offset for column in chosen.values()],
            "itemsize": max(width, 1),
        }
    )
    return chosen, row, hdu.values["NAXIS2"] if width else 0


def read_table(
    reader: FITSReader, hdu: HDU, wanted: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Columns of a binary table.

    Parameters
    ----------
    reader : FITSReader
        The file.
    hdu : HDU
        The table.
    wanted : collection of str, optional
        Names of the columns. Default: all that hold plain numbers, flags or words.

    Returns
    -------
    dict
        Name to array of shape (rows, ...), in the byte order of the machine; flags are bool, words bytes.

    Raises
    ------
    InputError
        If it is no such table, the file has not all of it, or a wanted column is missing or of another kind.
    """
    chosen, row, rows = _chosen(reader, hdu, wanted)
    table = np.frombuffer(reader.read(hdu.start, rows * row.itemsize), row, rows)
    return {
        name: np.array(table[name] == b"T")
        if column.code == "L"
        else table[name].astype(table[name].dtype.newbyteorder("="))
        for name, column in chosen.items()
    }


def read_series(
    reader: FITSReader,
    hdu: HDU,
    wanted: Mapping[str, str],
    keep: Callable[[NDArray[np.void]], NDArray[np.bool_]],
) -> dict[str, NDArray[Any]]:
    """Columns of numbers of a binary table, without some rows.

    The table is read a megabyte at a time, into memory that stays in a processor's cache until its columns
    are taken out. Unpacked as a whole, it would take as much memory as the columns; mapped, it would not be
    faster, and the process would crash if the file became shorter meanwhile.

    Parameters
    ----------
    reader, hdu
        As `read_table`.
    wanted : mapping
        Name of a column to the type that its values are to have.
    keep : callable
        Of some rows, as a structured array with the wanted columns, tells which are to be kept.

    Returns
    -------
    dict
        Name to array of shape (rows that were kept, values in a row), C-contiguous.

    Raises
    ------
    InputError
        As `read_table`; also if a wanted column holds flags or words.
    """
    columns, row, rows = _chosen(reader, hdu, wanted)
    for name, column in columns.items():
        if column.code in "LA":
            raise InputError(f"{reader.path}: column {name} of its table holds no numbers; {WAY_OUT}")
    # Room for all rows; what is not used of it takes no memory.
    found = {
        name: np.empty((rows, int(np.prod(columns[name].shape))), dtype) for name, dtype in wanted.items()
    }
    # Columns of images are taken out by a kernel, a 32-bit word at a time. Pages and summaries, which only
    # read tables, start without numba.
    images = {
        name: columns[name].offset // 4
        for name, array in found.items()
        if array.shape[1] > 1
        and (columns[name].dtype, array.dtype) == (">f4", np.float32)
        and columns[name].offset % 4 == row.itemsize % 4 == 0
    }
    buffer = bytearray(max(1, min(rows, _CHUNK // row.itemsize)) * row.itemsize)
    words = np.frombuffer(buffer, np.uint32) if images else None
    if images:
        from ..kernels.fits_words import load_column
    done = kept = 0
    while done < rows:
        count = min(rows - done, len(buffer) // row.itemsize)
        reader.readinto(hdu.start + done * row.itemsize, memoryview(buffer)[: count * row.itemsize])
        done += count
        chunk = np.frombuffer(buffer, row, count)
        chosen = keep(chunk)
        for name, place in images.items():
            load_column(words, row.itemsize // 4, place, chosen, found[name].view(np.uint32), kept)
        if not chosen.all():
            chunk = chunk[chosen]
        for name, array in found.items():
            if name not in images:
                array[kept : kept + len(chunk)] = chunk[name].reshape(len(chunk), array.shape[1])
        kept += len(chunk)
    return {name: array[:kept] for name, array in found.items()}
