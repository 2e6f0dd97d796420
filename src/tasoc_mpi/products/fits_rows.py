"""FITS files read once from the beginning to the end, packed or not, and tables some rows at a time.

The pixels of a target pixel file are turned from (time, pixel) to (pixel, time). With the file mapped, or
unpacked as a whole, it takes as much memory as what is kept of it, and more; here it takes a megabyte.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT, InputFile

__all__ = ["Stream", "column_formats", "data_size", "read_columns"]

_BLOCK = 2880
#: Of one header; TESS has 7.
_MAX_BLOCKS = 200
#: Bytes of a table that are in memory at once: they stay in a processor's cache while they are turned.
_CHUNK = 1 << 20

#: Of the codes of table columns: bytes of a value, and numpy's name where it is a number.
_CODES = {
    "L": (1, ""),
    "A": (1, ""),
    "C": (8, ""),
    "M": (16, ""),
    "P": (8, ""),
    "Q": (16, ""),
    "B": (1, "u1"),
    "I": (2, ">i2"),
    "J": (4, ">i4"),
    "K": (8, ">i8"),
    "E": (4, ">f4"),
    "D": (8, ">f8"),
}


class Stream:
    """The bytes of a FITS file, in their order; gzip (whatever the name says) is unpacked on the way.

    Parameters
    ----------
    path : Path

    Raises
    ------
    MissingInput, InputError
        See `core.input_files.InputFile`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = InputFile(path)
        self._position = 0

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def truncated(self) -> InputError:
        """The error of a file that has not what its headers say."""
        return InputError(f"{self.path}: truncated or corrupt; {WAY_OUT}")

    def check(self, size: int) -> None:
        """InputError if there cannot be `size` bytes more."""
        if self._position + size > self._file.size:
            raise self.truncated()

    def readinto(self, buffer: memoryview) -> None:
        """Fill a buffer; InputError if the file ends before."""
        filled = 0
        while filled < len(buffer):
            count = self._file.readinto(buffer[filled:])
            if not count:
                raise self.truncated()
            filled += count
        self._position += filled

    def read(self, size: int) -> bytearray:
        """The next bytes; InputError if the file ends before."""
        self.check(size)
        data = bytearray(size)
        self.readinto(memoryview(data))
        return data

    def skip(self, size: int) -> None:
        """Leave bytes out; InputError if the file ends before."""
        self.check(size)
        if self._file.packed:
            buffer = memoryview(bytearray(min(size, _CHUNK)))
            while size > 0:
                self.readinto(buffer[: min(size, _CHUNK)])
                size -= min(size, _CHUNK)
        else:
            self._file.seek(size, os.SEEK_CUR)
            self._position += size

    def to_next(self) -> None:
        """Leave out what fills the last block; it may be missing at the end of a file."""
        rest = -self._position % _BLOCK
        self._position += len(self._file.read(rest))

    def header(self) -> Any | None:
        """The next header (astropy.io.fits.Header), or None at the end of the file.

        Raises
        ------
        ValueError
            If what follows is no header.
        """
        from astropy.io import fits

        text = b""
        for _ in range(_MAX_BLOCKS):
            block = self._file.read(_BLOCK)
            self._position += len(block)
            if not block and not text:
                return None
            if len(block) < _BLOCK:
                raise self.truncated()
            text += block
            if not text.startswith((b"SIMPLE  =", b"XTENSION=")):
                break
            if any(block[i : i + 80].rstrip() == b"END" for i in range(0, _BLOCK, 80)):
                return fits.Header.fromstring(text)
        raise ValueError("a header is damaged")


def data_size(header: Mapping[str, Any]) -> int:
    """Bytes of the data behind a header, without those that fill the last block."""
    axes = [int(header[f"NAXIS{i}"]) for i in range(1, int(header["NAXIS"]) + 1)]
    extra, groups = int(header.get("PCOUNT", 0)), int(header.get("GCOUNT", 1))
    if min([*axes, extra, groups]) < 0:
        raise ValueError("a negative size")
    return abs(int(header["BITPIX"])) // 8 * groups * (extra + math.prod(axes)) if axes else 0


def column_formats(header: Mapping[str, Any]) -> dict[str, tuple[int, str, int, int]]:
    """The columns of a binary table.

    Parameters
    ----------
    header : mapping

    Returns
    -------
    dict
        Name in capitals to (number from 1, numpy type or '' for what is no number, values in a row, place
        in a row).

    Raises
    ------
    ValueError, LookupError
        If the header is not that of such a table.
    """
    if str(header["XTENSION"]).strip() != "BINTABLE":
        raise ValueError("the first extension is not a table")
    found: dict[str, tuple[int, str, int, int]] = {}
    place = 0
    for number in range(1, int(header["TFIELDS"]) + 1):
        match = re.match(r"(\d*)([A-Z])", str(header[f"TFORM{number}"]).strip())
        if match is None or (match[2] not in _CODES and match[2] != "X"):
            raise ValueError(f"TFORM{number} = {header[f'TFORM{number}']!r}")
        repeat = int(match[1] or 1)
        size, dtype = _CODES.get(match[2], (0, ""))
        scaled = header.get(f"TSCAL{number}", 1) != 1 or header.get(f"TZERO{number}", 0) != 0
        name = str(header.get(f"TTYPE{number}", "")).strip().upper()
        found.setdefault(name, (number, "" if scaled else dtype, repeat, place))
        # Bits fill whole bytes.
        place += -(-repeat // 8) if match[2] == "X" else size * repeat
    if place != int(header["NAXIS1"]):
        raise ValueError(f"the columns take {place} bytes, rows have {header['NAXIS1']}")
    return found


def read_columns(
    stream: Stream,
    header: Mapping[str, Any],
    wanted: Mapping[str, str],
    keep: Callable[[NDArray[Any]], NDArray[np.bool_]],
) -> dict[str, NDArray[Any]]:
    """Columns of the table that follows, turned so that each of a row's values is one run of bytes.

    Parameters
    ----------
    stream : Stream
        At the table's data; left behind them.
    header : mapping
        The table's.
    wanted : mapping
        Name of a column to the type that its values are to have.
    keep : callable
        Tells of some rows, as a structured array with the wanted columns, which are to be kept.

    Returns
    -------
    dict
        Name to array of shape (values in a row, rows that were kept), C-contiguous.

    Raises
    ------
    InputError
        If the file ends before.
    ValueError, LookupError
        If there is no such column, or it holds no plain numbers.
    """
    formats = column_formats(header)
    for name in wanted:
        if not formats[name][1]:
            raise ValueError(f"{name} does not hold plain numbers")
    width, rows, total = int(header["NAXIS1"]), int(header["NAXIS2"]), data_size(header)
    stream.check(total)
    row = np.dtype(
        {
            "names": list(wanted),
            "formats": [(formats[name][1], (formats[name][2],)) for name in wanted],
            "offsets": [formats[name][3] for name in wanted],
            "itemsize": width,
        }
    )
    # Room for all rows, closed up at the end.
    found = {name: np.empty((formats[name][2], rows), dtype) for name, dtype in wanted.items()}
    buffer = bytearray(max(1, min(rows, _CHUNK // max(width, 1))) * width)
    done = kept = 0
    while done < rows and width:
        count = min(rows - done, len(buffer) // width)
        stream.readinto(memoryview(buffer)[: count * width])
        done += count
        chunk = np.frombuffer(buffer, row, count)
        chosen = keep(chunk)
        if not chosen.all():
            chunk = chunk[chosen]
        for name, array in found.items():
            array[:, kept : kept + len(chunk)] = chunk[name].T
        kept += len(chunk)
    stream.skip(total - width * rows)
    return {name: _close_up(array, kept) for name, array in found.items()}


def _close_up(array: NDArray[Any], kept: int) -> NDArray[Any]:
    """The first columns of a C-contiguous array, C-contiguous, in the same memory."""
    if kept == array.shape[1]:
        return array
    flat = array.reshape(-1)
    for i in range(1, len(array)):
        flat[i * kept : (i + 1) * kept] = flat[i * array.shape[1] : i * array.shape[1] + kept]
    return flat[: len(array) * kept].reshape(len(array), kept)
