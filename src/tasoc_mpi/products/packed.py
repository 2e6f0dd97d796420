"""Packed light curves: the files of many stars in one HDF5 file a process, whole after a kill at any moment.

A million small files are slow to make and to copy on a parallel file system. A pack holds the same bytes:

- `data`, uint8: the compressed FITS files, one behind the other.
- `index`, a table: for each of them its place in `data`, size, CRC-32, and the path that it has as a file.

Datasets only grow, data before index, and the file is in HDF5's single-writer/multiple-reader mode, which
keeps what is on disk consistent at all times. What `PackWriter.flush` has returned for is there for readers
after the writer was killed. A pack is written by one process and never opened again for writing.

A packed light curve is listed as `packed/NAME.hdf5#PATH`. A pack may also hold what is not listed: stars that
were skipped later, or were written again to another pack. Only what the work list names counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import itertools
import os
import re
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from ..core.errors import InputError, MissingInput, TasocError, one_line

__all__ = [
    "PACK_FOLDER",
    "PackReader",
    "PackWriter",
    "pack_writer",
    "remove_unlisted_packs",
    "split_name",
]

#: Folder of packs below the output folder.
PACK_FOLDER = "packed"

_FORMAT_VERSION = 1

_INDEX_DTYPE = np.dtype([("offset", "<u8"), ("size", "<u8"), ("crc32", "<u4"), ("name", "S100")])

#: Some light curves of a sector at 1800 s, one at 200 s: little of the last chunk is wasted, and a chunk that
#: is written again because it has grown is cheap.
_DATA_CHUNK = 1 << 18
_INDEX_CHUNK = 256
#: Bytes of light curves that are held in memory until the next flush.
_MOST_HELD = 1 << 22

_LISTED = re.compile(r"(?P<pack>.*\.hdf5)#(?P<name>[^#]+)")


def split_name(listed: str) -> tuple[str, str]:
    """The pack and the file path of a listed light curve; the pack of a file of its own is ''.

    Examples
    --------
    >>> split_name("packed/lightcurves-node1-42-0.hdf5#c1800/00471/x.fits.gz")
    ('packed/lightcurves-node1-42-0.hdf5', 'c1800/00471/x.fits.gz')
    >>> split_name("c1800/00471/x.fits.gz")
    ('', 'c1800/00471/x.fits.gz')
    """
    match = _LISTED.fullmatch(listed) if "#" in listed else None
    return (match["pack"], match["name"]) if match else ("", listed)


class PackWriter:
    """Writes light curves to a pack of this process, which is made when the first one comes.

    Parameters
    ----------
    output : path-like
        The output folder.
    """

    def __init__(self, output: str | os.PathLike[str]) -> None:
        self.output = Path(output)
        self._name = ""
        self._file: Any = None
        self._data: Any = None
        self._index: Any = None
        self._pid = 0
        self._end = 0
        self._synced = True
        self._waiting: list[tuple[int, int, int, bytes]] = []
        #: The bytes that are not written yet are the first of this memory, which is used again and again: new
        #: memory would cost as much time as the copy.
        self._memory = np.empty(0, dtype=np.uint8)
        self._held = 0
        self._failure: str | None = None

    def __call__(self, name: str, data: bytes) -> str:
        """Add a light curve; it is durable after the next `flush`.

        Parameters
        ----------
        name : str
            The path that it has as a file, relative to the output folder.
        data : bytes
            The compressed FITS file.

        Returns
        -------
        str
            The name to be listed.

        Raises
        ------
        OSError
            If what was added cannot be written, which may only be seen at the next `flush`. Then nothing
            since the last one counts.
        ValueError
            If the name is too long.
        """
        encoded = name.encode()
        if len(encoded) > _INDEX_DTYPE["name"].itemsize:
            raise ValueError(f"{name}: too long a name for a pack")
        self._check()
        if self._file is None or self._pid != os.getpid():
            with self._noting_failure():
                self._create()
        if self._held + len(data) > len(self._memory):
            with self._noting_failure():
                self._write()
            if len(data) > len(self._memory):
                self._memory = np.empty(max(len(data), _MOST_HELD), dtype=np.uint8)
        self._memory[self._held : self._held + len(data)] = np.frombuffer(data, dtype=np.uint8)
        self._held += len(data)
        self._waiting.append((self._end, len(data), isal_zlib.crc32(data), encoded))
        self._end += len(data)
        return f"{self._name}#{name}"

    def _write(self) -> None:
        """Write the light curves that are held in memory: each by itself would take HDF5 0.3 ms."""
        if self._held:
            self._data.resize((self._end,))
            self._data[self._end - self._held :] = self._memory[: self._held]
            self._held = 0

    def _create(self) -> None:
        """Start a pack under a name that no other has."""
        import h5py

        # Of the process that this one was forked from.
        self._let_go()
        folder = self.output / PACK_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        # A process number comes again, after a restart or on another host of the same name.
        host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:40]
        for number in itertools.count():
            self._name = f"{PACK_FOLDER}/lightcurves-{host}-{os.getpid()}-{number}.hdf5"
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.output / self._name, os.O_CREAT | os.O_EXCL, 0o666))
                break
        # No cache of chunks: what cannot be written is then an error of the call that writes it (when HDF5
        # closes a dataset, such errors are lost), and bytes are written once.
        file = h5py.File(self.output / self._name, "w", libver="latest", locking="best-effort", rdcc_nbytes=0)
        file.attrs["FORMAT"] = "TASOC packed light curves"
        file.attrs["FORMAT_VERSION"] = _FORMAT_VERSION
        self._data = file.create_dataset(
            "data", (0,), "u1", maxshape=(None,), chunks=(_DATA_CHUNK,), fill_time="never"
        )
        self._index = file.create_dataset(
            "index", (0,), _INDEX_DTYPE, maxshape=(None,), chunks=(_INDEX_CHUNK,)
        )
        file.swmr_mode = True
        self._file, self._pid, self._end, self._waiting, self._held = file, os.getpid(), 0, [], 0

    @contextlib.contextmanager
    def _noting_failure(self) -> Any:
        """After a failure nothing is added, and the file stays as the last flush left it."""
        self._check()
        try:
            yield
        except (OSError, RuntimeError) as error:
            # HDF5 says why in its text only.
            number = re.search(r"errno = (\d+)", str(error))
            code = getattr(error, "errno", None) or (int(number[1]) if number else errno.EIO)
            self._failure = os.strerror(code)
            self._let_go()
            raise OSError(code, self._failure, str(self.output / self._name)) from error

    def _let_go(self) -> None:
        """Turn what HDF5 still wants to write, at the latest when the process ends, away from the file."""
        if self._file is not None:
            nowhere = os.memfd_create("pack")
            os.dup2(nowhere, self._file.id.get_vfd_handle())
            os.close(nowhere)

    def _check(self) -> None:
        if self._failure is not None:
            raise InputError(
                f"{self.output / self._name}: {self._failure}; see to its file system and run again"
            )

    def flush(self, sync: bool = True) -> None:
        """Make everything that was added durable: to be called before it is reported.

        Parameters
        ----------
        sync : bool, optional
            Whether to wait for the disk. Without, what was added outlives this process, but not its host.

        Raises
        ------
        InputError
            If something since the last call could not be written.
        """
        self._check()
        if self._file is None or self._pid != os.getpid():
            return
        try:
            with self._noting_failure():
                if self._waiting:
                    self._write()
                    self._data.flush()
                    # Only now: whoever finds a row in the index finds its data.
                    start = len(self._index)
                    self._index.resize((start + len(self._waiting),))
                    self._index[start:] = np.array(self._waiting, dtype=_INDEX_DTYPE)
                    self._index.flush()
                    self._synced = False
                if sync and not self._synced:
                    os.fsync(self._file.id.get_vfd_handle())
                    self._synced = True
        except OSError:
            self._check()
        self._waiting = []

    def close(self) -> None:
        """Flush, and let go of the file.

        Raises
        ------
        InputError
            As `flush`.
        """
        if self._file is not None and self._pid == os.getpid():
            self.flush()
            self._file.close()
        self._file = self._data = self._index = None


@functools.cache
def pack_writer(output: str) -> PackWriter:
    """The writer of this process for an output folder, always the same."""
    return PackWriter(output)


class PackReader:
    """The light curves of a pack, also of one that is being written or whose writer was killed.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    names : list of str
        Paths that the light curves have as files, in the order in which they were written.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is not a pack, or of a version that is not known.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not os.path.lexists(self.path):
            raise MissingInput(
                f"{path}: no such pack of light curves; name their folder, or compute them again"
            )
        # Not needed by who only asks for names: rank 0 starts without it.
        from .hdf5_read import HDF5Reader

        self._reader = HDF5Reader(
            path, "a pack of light curves", "compute them again with --overwrite", _open
        )
        try:
            version = self._reader.attribute("", "FORMAT_VERSION")
            index = self._reader.dataset("index", "V", (None,))
            if version != _FORMAT_VERSION or index.dtype != _INDEX_DTYPE:
                raise InputError(
                    f"{path}: a pack of another version ({version}); use the tasoc-mpi that wrote it, or "
                    "compute them again with --overwrite"
                )
            self._data = self._reader.dataset("data", "u", (None,))
            with self._reader.guard():
                self._index = index[:]
        except TasocError:
            self.close()
            raise
        # A table that was growing when its writer died may end with rows that were never filled.
        self._index = self._index[self._index["size"] > 0]
        self.names = [name.decode("utf-8", "replace") for name in self._index["name"].tolist()]
        # A star that was written twice: both are the same, the later one is as good.
        self._rows = {name: row for row, name in enumerate(self.names)}

    def __enter__(self) -> PackReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def holds(self, name: str, data: bytes) -> bool:
        """Whether these are the bytes of a light curve's file."""
        if name not in self._rows:
            return False
        row = self._index[self._rows[name]]
        return bool(len(data) == row["size"] and isal_zlib.crc32(data) == row["crc32"])

    def read(self, name: str) -> bytes:
        """The bytes of a light curve's file.

        Raises
        ------
        MissingInput
            If the pack does not hold it.
        InputError
            If its bytes are not those that were written.
        """
        if name not in self._rows:
            raise MissingInput(f"{self.path}: holds no {name}; compute it again with --overwrite")
        offset, size = self._index[self._rows[name]].tolist()[:2]
        data, reason = b"", "its checksum differs"
        try:
            data = self._data[offset : offset + size].tobytes()
        except (OSError, RuntimeError) as error:
            reason = one_line(error)
        if not self.holds(name, data):
            raise InputError(f"{self.path}: {name} is damaged ({reason}); compute it again with --overwrite")
        return data


def _open(path: Path) -> Any:
    """Open a pack for reading; raises OSError or RuntimeError."""
    import h5py

    try:
        return h5py.File(path, "r", libver="latest", locking="best-effort")
    except (OSError, RuntimeError) as error:
        # What HDF5 says of a file whose writer is at work or was killed.
        if "already open for" not in str(error):
            raise
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    # What is damaged is read again and again, after pauses that double from 1 ns on: 100 times by default,
    # which never ends. This often is a second. h5py has no function for it.
    if library := _hdf5_library():
        library.H5Pset_metadata_read_attempts(ctypes.c_int64(access.id), 29)
    flags = h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ
    return h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=access))


@functools.cache
def _hdf5_library() -> ctypes.CDLL | None:
    """The library that h5py uses, if it is found."""
    try:
        mapped = Path("/proc/self/maps").read_text().split()
    except OSError:
        return None
    names = {
        word
        for word in mapped
        if re.fullmatch(r"libhdf5(_serial|_mpi|_openmpi|_mpich)?[-.].*", word.rpartition("/")[2])
    }
    return ctypes.CDLL(min(names)) if names else None


def remove_unlisted_packs(
    output: Path, listed: Collection[str], is_ours: Callable[[str], bool]
) -> list[Path]:
    """Delete packs of which nothing is listed.

    Only to be called while no process writes light curves of this work list. An output folder can be that of
    several work lists: a pack is touched only if it holds something and all of it `is_ours`; a link, and a
    pack that cannot be read, is left alone.

    Parameters
    ----------
    output : Path
        The output folder.
    listed : collection of str
        Packs (as `split_name` gives them) of which the work list names light curves.
    is_ours : callable
        Whether a light curve's file path is one that this work list's stars get.

    Returns
    -------
    list of Path
        What was deleted.
    """
    removed = []
    for path in sorted((output / PACK_FOLDER).glob("*.hdf5")):
        if f"{PACK_FOLDER}/{path.name}" in listed or path.is_symlink():
            continue
        try:
            with PackReader(path) as reader:
                names = reader.names
        except TasocError:
            continue
        if names and all(map(is_ours, names)):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed
