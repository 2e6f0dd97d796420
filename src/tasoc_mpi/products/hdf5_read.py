"""HDF5 files opened for reading: their objects and attributes, each checked before it is used.

Every reader of an HDF5 file goes through `HDF5Reader`. Links out of the file are refused, and so are datasets
whose values lie elsewhere: a file must not make the program read another one. Sizes are compared with
the file's before memory is taken.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..core.errors import InputError, one_line
from ..core.input_files import InputFile

__all__ = ["HDF5Reader"]

#: What the library raises for a damaged file.
_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)
#: The filters of HDF5 make data smaller by no more than this; datasets up to so many bytes are not checked.
_MAX_PACKING, _SMALL = 1032, 1 << 20
#: Characters of a text that a message shows.
_SHOWN = 200
#: Bytes at each end of a file in which heaps are looked for: the pixels of cubes lie between.
_ENDS = 16 << 20
_PIECE = 1 << 18
#: Signature, version and reserved bytes of a global heap collection (HDF5 File Format Specification, III.E).
_HEAP = b"GCOL\x01\0\0\0"
#: Quicker than to find it in a bytearray.
_HEAPS = re.compile(re.escape(_HEAP))


def _heaps_are_whole(path: Path) -> bool:
    """Whether the texts of variable length can be walked through: the library runs for ever where not."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        ends = ((0, _ENDS), (max(size - _ENDS, _ENDS), size))
        return all(_heap_is_whole(file, at, stop) for start, stop in ends for at in _heaps(file, start, stop))


def _heaps(file: FileIO, start: int, stop: int) -> Iterator[int]:
    """Where heaps begin between two places of a file."""
    # Small pieces stay in the processor's cache: to read them takes a third of the time of a large one.
    piece = bytearray(_PIECE)
    while start < stop:
        file.seek(start)
        count = min(file.readinto(piece), stop - start)
        for found in _HEAPS.finditer(piece, 0, count):
            yield start + found.start()
        if count < _PIECE:
            return
        # A heap may begin at the end of a piece.
        start += count - len(_HEAP) + 1


def _heap_is_whole(file: FileIO, start: int, stop: int) -> bool:
    """Walk through one heap: each object is an index, a count, a size and as many bytes, in steps of 8."""
    file.seek(start)
    (size,) = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))
    file.seek(start)
    data = file.read(min(size, stop - start))
    at = 16
    # One that is cut off by what is looked at is not for us to judge.
    while at + 16 <= len(data):
        index, _, length = struct.unpack_from("<HH4xQ", data, at)
        if index == 0:
            # The rest is free, and its size counts from here.
            return 16 <= length <= size - at
        at += 16 + -(-length // 8) * 8
    return True


class HDF5Reader:
    """An HDF5 file open for reading; its errors are one line with the file and the way out.

    Parameters
    ----------
    path : path-like
    what : str
        What the file should be: "a cube".
    way_out : str
        What to do if it is not.
    opener : callable, optional
        Opens the file, in place of `h5py.File`. Texts of variable length are not checked then, and must not
        be read: the bytes of a pack can be anything, also those that a heap of texts begins with.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is no regular file, or not HDF5.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        what: str,
        way_out: str,
        opener: Callable[[Path], h5py.File] | None = None,
    ) -> None:
        self.path, self.what, self.way_out = Path(path), what, way_out
        InputFile(path).close()
        if opener is None and not _heaps_are_whole(self.path):
            raise self.fail(f"cannot be read as {what} (a heap of texts is damaged)")
        #: Objects that were found, by name.
        self._found: dict[str, h5py.Group | h5py.Dataset] = {}
        with self.guard():
            self.file = opener(self.path) if opener else h5py.File(path, "r")

    def __enter__(self) -> HDF5Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._found.clear()
        self.file.close()

    def fail(self, problem: str, other_way_out: str = "") -> InputError:
        """An error that says what is wrong with the file."""
        way_out = f"{self.way_out}, or {other_way_out}" if other_way_out else self.way_out
        return InputError(f"{self.path}: {one_line(problem)}; {way_out}")

    def is_format(self, name: str) -> bool:
        """Whether the file says that it is of a format of this program."""
        return self.has_attribute("", "FORMAT") and self.attribute("", "FORMAT") == name

    def check_version(self, kind: str, known: int) -> None:
        """Raise InputError if the file is of another version of its format than this program reads."""
        version = self.integer("", "FORMAT_VERSION")
        if version != known:
            raise self.fail(
                f"{kind} format {version}, this program reads {known}", "use the program that wrote it"
            )

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn errors of the HDF5 library into one line; only for calls of the library."""
        try:
            yield
        except InputError:
            raise
        except _ERRORS as error:
            reason = one_line(str(error)).strip("'\"")
            raise self.fail(f"cannot be read as {self.what} ({reason})") from None

    def find(self, name: str) -> h5py.Group | h5py.Dataset | None:
        """An object by its path, or None; InputError if a link is on the way."""
        if name in self._found:
            return self._found[name]
        with self.guard():
            item: Any = self.file
            for part in name.split("/"):
                if not isinstance(item, h5py.Group):
                    return None
                link = item.get(part, getlink=True)
                if link is None:
                    return None
                if not isinstance(link, h5py.HardLink):
                    raise self.fail(f"{name} is a link, which is not followed")
                item = item[part]
            self._found[name] = item
            return item

    def names(self, name: str) -> list[str]:
        """Names of the objects of a group."""
        item = self.find(name)
        if not isinstance(item, h5py.Group):
            raise self.fail(f"no group {name}")
        with self.guard():
            return list(item)

    def dataset(
        self, name: str, kinds: str = "fiub", shape: tuple[int | None, ...] | None = None
    ) -> h5py.Dataset:
        """A dataset whose values are in the file.

        Parameters
        ----------
        name : str
        kinds : str
            Kinds of numpy types that it may have; 'O' for texts.
        shape : tuple of int or None, optional
            Its shape; None for a side of any length.
        """
        item = self.find(name)
        if not isinstance(item, h5py.Dataset):
            raise self.fail(f"no dataset {name}")
        with self.guard():
            kind, there, stored = item.dtype.kind, item.shape, item.id.get_storage_size()
            elsewhere = item.is_virtual or bool(item.external)
            text = h5py.check_string_dtype(item.dtype) is not None
        if elsewhere:
            raise self.fail(f"the values of {name} lie in another file, which is not opened")
        if kind not in kinds or (kind == "O" and not text):
            raise self.fail(f"{name} is of type {item.dtype}")
        if there is None or (
            shape is not None
            and (
                len(there) != len(shape) or any(n not in (None, m) for n, m in zip(shape, there, strict=True))
            )
        ):
            wanted = "" if shape is None else f" and not {tuple('any' if n is None else n for n in shape)}"
            raise self.fail(f"{name} has shape {there}{wanted}")
        if item.nbytes > max(_SMALL, _MAX_PACKING * stored):
            raise self.fail(f"{name} has {item.nbytes / 1e9:.3g} GB, but {stored} bytes are stored")
        return item

    def read(
        self,
        name: str,
        dtype: DTypeLike,
        shape: tuple[int | None, ...] | None = None,
        finite: bool = False,
    ) -> NDArray[Any]:
        """The values of a dataset of numbers.

        Parameters
        ----------
        name : str
        dtype : dtype-like
            What they become. Floats do not become integers, and integers have to fit.
        shape : tuple of int or None, optional
            See `dataset`.
        finite : bool
            Whether all of them have to be finite.
        """
        target = np.dtype(dtype)
        dataset = self.dataset(name, "fiub" if target.kind == "f" else "iub", shape)
        with self.guard():
            values = np.asarray(dataset[()])
        if target.kind in "iu" and values.size and values.dtype.kind in "iu":
            limits = np.iinfo(target)
            if int(values.min()) < limits.min or int(values.max()) > limits.max:
                raise self.fail(f"{name} has numbers beyond those of {target}")
        with np.errstate(over="ignore"):
            # Beyond the range of float32 is infinite.
            values = values.astype(target)
        if finite and not np.isfinite(values).all():
            raise self.fail(f"{name} has values that are not finite")
        return values

    def texts(
        self, name: str, shape: tuple[int | None, ...] | None = None, part: slice | None = None
    ) -> list[str]:
        """The texts of a dataset of one axis, of a part of it, or the one of a scalar."""
        dataset = self.dataset(name, "OS", shape)
        with self.guard():
            values = np.asarray(dataset[() if part is None else part]).reshape(-1).tolist()
        return [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values
        ]

    def attributes(self, item: str) -> list[str]:
        """Names of the attributes of an object."""
        with self.guard():
            return list(self._attributes(item))

    def has_attribute(self, item: str, key: str) -> bool:
        """Whether an object (the file for an empty name) has an attribute."""
        with self.guard():
            return key in self._attributes(item)

    def attribute(self, item: str, key: str) -> Any:
        """An attribute as int, float, bool, str or None (empty).

        Parameters
        ----------
        item : str
            Name of the object; empty for the file.
        key : str
        """
        with self.guard():
            attributes = self._attributes(item)
            if key not in attributes:
                raise self.fail(f"no attribute {key}" + (f" of {item}" if item else ""))
            value = attributes[key]
        if isinstance(value, h5py.Empty):
            return None
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, bool | int | float | str):
            raise self.fail(f"attribute {key} of {item or 'the file'} is no single value")
        return value

    def integer(self, item: str, key: str, least: int = -(2**31), most: int = 2**31 - 1) -> int:
        """An attribute that is an integer within limits."""
        value = self.attribute(item, key)
        whole = isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer())
        if not whole or not least <= value <= most:
            raise self.fail(f"attribute {key} of {item or 'the file'} is {str(value)[:_SHOWN]}")
        return int(value)

    def number(self, item: str, key: str) -> float:
        """An attribute that is a finite number."""
        value = self.attribute(item, key)
        if not isinstance(value, int | float) or not abs(value) < 1e300:
            raise self.fail(f"attribute {key} of {item or 'the file'} is {str(value)[:_SHOWN]}")
        return float(value)

    def numbers(self, item: str, key: str, count: int) -> list[float]:
        """An attribute of several finite numbers."""
        with self.guard():
            value = np.asarray(self._attributes(item)[key])
        if value.shape != (count,) or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
            raise self.fail(f"attribute {key} of {item or 'the file'} is not {count} numbers")
        return [float(x) for x in value]

    def _attributes(self, item: str) -> Any:
        found = self.find(item) if item else self.file
        if found is None:
            raise self.fail(f"no {item}")
        return found.attrs
