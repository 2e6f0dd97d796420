"""The light curves of a work list, of a folder or of a file, by star, CCD and cadence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput, TasocError
from ..core.input_files import WAY_OUT
from ..core.names import parse_lightcurve_name
from ..core.status import STATUS
from ..products.fits_read import FITSReader, is_integer, is_number
from ..products.lightcurve import STAR_CARDS, below
from ..products.packed import PACK_FOLDER, PackReader, split_name
from ..worklist.todo_file import TODO_NAME
from .results import read_run

__all__ = ["KEY", "CurveSource", "open_source"]

#: What a light curve is of: light curves of two sources that have the same are compared.
KEY = ("starid", "sector", "camera", "ccd", "cadence")
ENTRY_DTYPE = np.dtype([(name, "i8") for name in KEY] + [("status", "i4"), ("tmag", "f8"), ("file", "O")])
_LIST = re.compile(r"todo(?:-([a-z][a-z0-9_]*))?\.sqlite", re.ASCII)
_FILE = re.compile(r"[^.].*_lc\.fits(\.gz)?")


@dataclass(frozen=True)
class CurveSource:
    """Stars and the files of their light curves."""

    path: Path  #: The work list, or the folder or file of light curves
    folder: Path  #: Files are named relative to it
    has_status: bool  #: Whether it is a work list, which also has stars without a light curve
    entries: NDArray[np.void]  #: Of ENTRY_DTYPE, each `KEY` once, sorted; 'file' is '' where there is none
    repeated: int  #: Light curves that are left out, as there is a later one of the same star and cadence
    unreadable: tuple[str, ...]  #: Errors of files whose star is not known

    def file(self, entry: np.void) -> Path:
        """Path of a light curve, for `report.results.read_curve`.

        Raises
        ------
        InputError
            If its name would leave the folder.
        """
        return below(self.folder.absolute(), str(entry["file"]))


def open_source(path: str | os.PathLike[str]) -> CurveSource:
    """Find the light curves of a work list, of a folder, or a single one.

    Parameters
    ----------
    path : path-like
        A folder with ``todo.sqlite``; a work list ``todo.sqlite`` or ``todo-METHOD.sqlite``; a folder with
        files ``*_lc.fits`` or ``*_lc.fits.gz`` or packs, in it or below; or such a file. Files may be of
        this program or of the mission.

    Raises
    ------
    MissingInput
        If there is no light curve, or no such file or folder.
    InputError
        If the work list cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise MissingInput(f"{path}: no such file or folder; name a work list, or light curves")
    if path.is_dir() and (path / TODO_NAME).exists():
        path = path / TODO_NAME
    if path.suffix != ".sqlite":
        return _from_files(path)
    match = _LIST.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path}: a work list is named {TODO_NAME} or todo-METHOD.sqlite; name one")
    run = read_run(path.parent, method=match[1] or "")
    entries = np.empty(len(run.stars), ENTRY_DTYPE)
    for name in (*KEY, "status", "tmag"):
        entries[name] = run.stars[name]
    entries["file"] = run.stars["lightcurve"]
    entries, repeated = _once(entries)
    return CurveSource(path, run.output, True, entries, repeated, ())


def _from_files(path: Path) -> CurveSource:
    """The light curves of a folder, or one of a file."""
    folder = path if path.is_dir() else path.parent
    rows: list[tuple[Any, ...]] = []
    errors: list[str] = []
    for found in _names(folder, errors) if path.is_dir() else [path.name]:
        name = split_name(found)[1]
        key = parse_lightcurve_name(name)
        if key is None or key["starid"] >= 2**63:
            try:
                key = _read_key(folder / name)
            except TasocError as error:
                errors.append(str(error))
                continue
        rows.append((*(key[part] for part in KEY), STATUS.UNKNOWN, np.nan, found))
    if not rows and not errors:
        raise MissingInput(
            f"{path}: neither {TODO_NAME} nor light curves (*_lc.fits, *_lc.fits.gz); name their folder"
        )
    entries, repeated = _once(np.array(rows, ENTRY_DTYPE))
    return CurveSource(path, folder, False, entries, repeated, tuple(errors))


def _names(folder: Path, errors: list[str]) -> Iterator[str]:
    """Names of light curves in and below a folder, in order; errors of packs are added to a list."""

    def fail(error: OSError) -> None:
        raise error

    for pack in sorted((folder / PACK_FOLDER).glob("*.hdf5")):
        try:
            with PackReader(pack) as reader:
                yield from (f"{PACK_FOLDER}/{pack.name}#{name}" for name in reader.names)
        except TasocError as error:
            errors.append(str(error))
    for place, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        within = Path(place).relative_to(folder)
        yield from ((within / name).as_posix() for name in sorted(names) if _FILE.fullmatch(name))


def _read_key(path: Path) -> dict[str, int]:
    """What a light curve is of by its headers, where its name does not say so."""
    with FITSReader(path) as reader:
        primary = reader.hdu()
        key: dict[str, Any] = {name: primary.values.get(card) for name, card in STAR_CARDS.items()}
        step = reader.hdu(reader.end(primary)).values.get("TIMEDEL")
        if not all(is_integer(value) and 0 <= value < 2**63 for value in key.values()):
            raise InputError(f"{path}: no TICID, SECTOR, CAMERA and CCD in its header; {WAY_OUT}")
        if not is_number(step) or not 1e-5 < step < 1:
            raise InputError(f"{path}: TIMEDEL is {step!r} in its header; {WAY_OUT}")
    return {**key, "cadence": round(step * 86400)}


def _once(entries: NDArray[np.void]) -> tuple[NDArray[np.void], int]:
    """Entries sorted by their keys, of several of one key the last, and how many were left out."""
    order = np.lexsort([entries[name] for name in reversed(KEY)])
    entries = entries[order]
    keys = [entries[name] for name in KEY]
    last = np.ones(len(entries), bool)
    last[:-1] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return entries[last], int((~last).sum())
