"""Deleting light curves that no result lists."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["empty_trash", "inside_folder", "sweep", "sweep_packs"]

_LIGHTCURVE = re.compile(
    r"\.?tess(?P<starid>\d{11})-s(?P<sector>\d{3,4})-(?P<camera>\d)-(?P<ccd>\d)-c(?P<cadence>\d{4})-dr\d+"
    r"-v(?P<version>\d+)-tasoc_lc\.fits\.gz.*"
)
_KEYS = ("starid", "sector", "camera", "ccd", "cadence")
#: What separates the file of many light curves from the name of one of them.
_PACK = ".hdf5#"


def inside_folder(output: Path, name: str) -> Path:
    """Path of a listed light curve; raises InputError for a name that would leave the output folder."""
    path = os.path.normpath(output / name)
    if os.path.isabs(name) or not path.startswith(f"{output}{os.sep}"):
        raise InputError(f"{name}: not the name of a light curve below {output}; the work list is damaged")
    return Path(path)


def empty_trash(conn: sqlite3.Connection, path: Path, output: Path, transaction: Callable[..., Any]) -> None:
    """Delete the files of light curves that are no longer listed.

    Those in packs stay there unlisted; what was unpacked of them to the same folder is deleted.
    """
    names = conn.execute("SELECT lightcurve FROM photometry_trash").fetchall()
    for (name,) in names:
        inside_folder(output, _file_of(name)).unlink(missing_ok=True)
    if names:
        with transaction(conn, path):
            conn.execute("DELETE FROM photometry_trash")


def _file_of(listed: str) -> str:
    """The path that a listed light curve has as a file, in a pack or not."""
    return listed.rpartition(_PACK)[2]


class _Ours:
    """Tells the names of light curves that a work list's stars get."""

    def __init__(self, rows: NDArray[np.void], version: int) -> None:
        self.rows, self.version = rows, version
        self._order = np.argsort(rows["starid"], kind="stable").astype(np.int32)
        self._sorted = rows["starid"][self._order]

    def priorities(self, name: str) -> list[int]:
        """Priorities of the rows whose light curve has this file name (without its folder)."""
        match = _LIGHTCURVE.fullmatch(name)
        if not match or int(match["version"]) != self.version:
            return []
        starid = int(match["starid"])
        first = np.searchsorted(self._sorted, starid, "left")
        last = np.searchsorted(self._sorted, starid, "right")
        found = self.rows[self._order[first:last]]
        wanted = [int(match[key]) for key in _KEYS]
        return [int(row["priority"]) for row in found if [int(row[key]) for key in _KEYS] == wanted]

    def __call__(self, name: str) -> bool:
        return bool(self.priorities(os.path.basename(name)))


def sweep(conn: sqlite3.Connection, rows: NDArray[np.void], output: Path, version: int) -> None:
    """Delete light curves, whole or temporary, that a killed run wrote and that no result lists.

    Most of them would be written again, but not those of stars that meanwhile are skipped by others. Only
    names that this work list's stars get are touched.
    """
    ours = _Ours(rows, version)
    folders = np.unique(rows["cadence"].astype(np.int64) * 100_000 + rows["starid"] // 1_000_000)
    for cadence, first in zip((folders // 100_000).tolist(), (folders % 100_000).tolist(), strict=True):
        folder = f"c{cadence:04d}/{first:05d}"
        with contextlib.suppress(FileNotFoundError), os.scandir(output / folder) as entries:
            for entry in entries:
                priorities = ours.priorities(entry.name)
                if priorities and not _is_listed(conn, priorities, f"{folder}/{entry.name}"):
                    os.unlink(entry.path)


def _is_listed(conn: sqlite3.Connection, priorities: list[int], name: str) -> bool:
    for priority in priorities:
        found = conn.execute("SELECT lightcurve FROM diagnostics WHERE priority = ?", (priority,)).fetchone()
        if found and found[0] and os.path.normpath(_file_of(found[0])) == name:
            return True
    return False


def sweep_packs(conn: sqlite3.Connection, rows: NDArray[np.void], output: Path, version: int) -> None:
    """Delete packs of this work list's light curves of which nothing is listed; no worker may be writing."""
    if not (output / "packed").is_dir():
        return
    # Needs HDF5, which rank 0 otherwise does without.
    from ..products.packed import remove_unlisted_packs

    names = conn.execute(
        f"SELECT DISTINCT substr(lightcurve, 1, instr(lightcurve, '{_PACK}') + 4) FROM diagnostics"
        f" WHERE instr(lightcurve, '{_PACK}') > 0"
    )
    remove_unlisted_packs(output, {name for (name,) in names}, _Ours(rows, version))
