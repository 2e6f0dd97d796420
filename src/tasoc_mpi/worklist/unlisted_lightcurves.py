"""Light curves on disk that are not listed: which of them this work list's runs made, and their removal."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import stat
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.distinct import distinct
from ..core.errors import TasocError
from ..core.names import (
    is_lightcurve_name,
    lightcurve_name,
    parse_lightcurve_name,
    unfinished_lightcurve_name,
)
from ..products.lightcurve import below
from ..products.packed import PACK_FOLDER, PackReader, remove_unlisted_packs, split_name
from .schema import has_corrections
from .work_list import WorkList

__all__ = ["LightcurveNames", "is_listed_name", "remove_packs", "remove_unlisted"]

_PACK = re.compile(rf"{PACK_FOLDER}/[^/\0]+\.hdf5")
#: More than there are million TIC numbers in 63 bits.
_MILLIONS = 10**13
_KEYS = ("sector", "camera", "ccd", "cadence")
#: Folders whose listed light curves are looked up at once: each look takes the locks of the work list.
_AT_ONCE = 256


def is_listed_name(name: object) -> bool:
    """Whether a value of `diagnostics.lightcurve` is one that the program gives: of a file, or in a pack."""
    if not isinstance(name, str):
        return False
    pack, path = split_name(name)
    return is_lightcurve_name(path) and bool(not pack or _PACK.fullmatch(pack))


class LightcurveNames:
    """The names that light curves of a work list's stars get.

    Parameters
    ----------
    worklist : WorkList
    versions : collection of int
        Versions that light curves of the list have had.
    """

    def __init__(self, worklist: WorkList, versions: Collection[int]) -> None:
        self.worklist, self.versions = worklist, versions

    def find(self, path: str) -> NDArray[np.int64]:
        """Rows whose light curve may have this path below the output folder; most often none or one."""
        found = parse_lightcurve_name(path)
        if found is None or found["version"] not in self.versions or found["starid"] >= 1 << 63:
            return np.zeros(0, np.int64)
        rows = self.worklist.rows
        index = self.worklist.star_index.find(found["starid"])
        return index[[all(rows[key][i] == found[key] for key in _KEYS) for i in index.tolist()]]


def remove_unlisted(
    output: Path,
    names: LightcurveNames,
    conn: sqlite3.Connection,
    final: NDArray[np.bool_],
    idle: NDArray[np.bool_],
) -> int:
    """Delete light curves that no result lists.

    Deleted are regular files, whole or temporary, in the folders in which light curves are, whose name is
    exactly one that a row of this work list gets. No link is followed, neither to a file nor to a folder.

    Parameters
    ----------
    output : Path
        The output folder.
    names : LightcurveNames
        Of the work list.
    conn : sqlite3.Connection
        The published work list.
    final : ndarray of bool
        Rows whose files go if they are not listed.
    idle : ndarray of bool
        Rows of CCDs of which no run is under way: only their files are looked at.

    Returns
    -------
    int
        How many files were deleted.

    Raises
    ------
    OSError
        If a folder cannot be read or written.
    """
    removed = 0
    with _Packs(conn, output) as packs, _Folders(output) as opened:
        folders = _folders(names.worklist.rows[idle])
        for start in range(0, len(folders), _AT_ONCE):
            some = folders[start : start + _AT_ONCE]
            listed = _listed_below(conn, some[0], some[-1])
            for folder in some:
                if (descriptor := opened.open(folder)) is not None:
                    removed += _clean_folder(descriptor, folder, names, listed, final, idle, packs)
    return removed


def _clean_folder(
    descriptor: int,
    folder: str,
    names: LightcurveNames,
    listed: set[str],
    final: NDArray[np.bool_],
    idle: NDArray[np.bool_],
    packs: _Packs,
) -> int:
    """The same for one folder."""
    removed = 0
    for entry in os.listdir(descriptor):
        unfinished = unfinished_lightcurve_name(entry)
        path = f"{folder}/{unfinished[0] if unfinished else entry}"
        if not unfinished and path in listed:
            continue
        index = names.find(path)
        if not len(index) or not idle[index].all() or not _is_regular(entry, descriptor):
            continue
        if unfinished or (final[index].all() and not packs.hold(names.worklist.priority[index], path)):
            os.unlink(entry, dir_fd=descriptor)
            removed += 1
    return removed


def _folders(rows: NDArray[np.void]) -> list[str]:
    """Folders below the output folder in which the light curves of rows are."""
    key = distinct(rows["cadence"].astype(np.int64) * _MILLIONS + rows["starid"] // 1_000_000)
    found = {
        lightcurve_name(number % _MILLIONS * 1_000_000, 1, 1, 1, number // _MILLIONS, 1, 1).rpartition("/")[0]
        for number in key.tolist()
    }
    return sorted(found)


class _Folders:
    """Opens folders below the output folder, one after the other; those that the next one is in stay open.

    Parameters
    ----------
    output : Path
    """

    def __init__(self, output: Path) -> None:
        self._names: list[str] = []
        self._descriptors = [descriptor] if (descriptor := _open(os.fspath(output))) is not None else []

    def __enter__(self) -> _Folders:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)

    def open(self, folder: str) -> int | None:
        """Descriptor of a folder, open until the next one; None where it is not there, or a link is."""
        names = folder.split("/")
        while self._names != names[: len(self._names)]:
            self._names.pop()
            os.close(self._descriptors.pop())
        for name in names[len(self._names) :]:
            descriptor = _open(name, self._descriptors[-1]) if self._descriptors else None
            if descriptor is None:
                return None
            self._names.append(name)
            self._descriptors.append(descriptor)
        return self._descriptors[-1]


def _open(name: str, above: int | None = None) -> int | None:
    """Descriptor of a folder, by its name in another one; None where it is not there, or a link is."""
    more = 0 if above is None else os.O_NOFOLLOW
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | more, dir_fd=above)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return None


def _is_regular(name: str, folder: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _listed_below(conn: sqlite3.Connection, first: str, last: str) -> set[str]:
    """Listed light curves that are files of the folders from one to another, by name."""
    query = "SELECT lightcurve FROM diagnostics WHERE lightcurve >= ? AND lightcurve < ?"
    return {name for (name,) in conn.execute(query, (f"{first}/", f"{last}0"))}


def remove_packs(
    output: Path, names: LightcurveNames, conn: sqlite3.Connection, final: NDArray[np.bool_]
) -> None:
    """Delete packs of this work list of which nothing is listed; arguments as of `remove_unlisted`."""
    if not (output / PACK_FOLDER).is_dir() or (output / PACK_FOLDER).is_symlink():
        return
    listed = {
        name
        for table in _tables(conn)
        for (name,) in conn.execute(
            f"SELECT DISTINCT substr(lightcurve, 1, instr(lightcurve, '.hdf5#') + 4) FROM {table}"
            " WHERE instr(lightcurve, '.hdf5#') > 0"
        )
    }

    def is_ours(name: str) -> bool:
        index = names.find(name)
        return len(index) > 0 and bool(final[index].all())

    remove_unlisted_packs(output, listed, is_ours)


def _tables(conn: sqlite3.Connection) -> list[str]:
    """The tables that list light curves."""
    return ["diagnostics", *(["diagnostics_corr"] if has_corrections(conn) else [])]


class _Packs:
    """Tells files that were unpacked from the packs in which they are listed: these have the same bytes."""

    def __init__(self, conn: sqlite3.Connection, output: Path) -> None:
        self._conn, self._output = conn, output
        self._readers: dict[str, PackReader | None] = {}

    def __enter__(self) -> _Packs:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in filter(None, self._readers.values()):
            reader.close()

    def hold(self, priorities: NDArray[np.int64], path: str) -> bool:
        """Whether a row lists these bytes in a pack; also true if the pack cannot be read."""
        found = [
            row[0]
            for table in _tables(self._conn)
            for priority in priorities.tolist()
            for row in self._conn.execute(f"SELECT lightcurve FROM {table} WHERE priority = ?", (priority,))
        ]
        listed = [split_name(name) for name in found if isinstance(name, str)]
        return any(self._holds(pack, path) for pack, name in listed if pack and name == path)

    def _holds(self, pack: str, path: str) -> bool:
        try:
            file = below(self._output, pack)
            if (self._output / path).stat().st_mtime > file.stat().st_mtime:
                return True
            if pack not in self._readers:
                self._readers[pack] = None
                self._readers[pack] = PackReader(file)
        except (TasocError, FileNotFoundError):
            return True
        reader = self._readers[pack]
        return reader is None or reader.holds(path, (self._output / path).read_bytes())
