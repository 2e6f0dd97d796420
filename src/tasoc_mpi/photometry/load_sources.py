"""The sources of a run's stars: made from the files of the input folder, the last few kept in memory."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError, MissingInput, UsageError
from ..core.input_files import modification_time
from ..core.names import catalog_name, cube_name
from ..core.whole import known_whole, whole
from ..products.cube import Cube, open_cube
from ..products.star_catalog import StarCatalog, catalog_from_tpf, open_catalog
from ..products.tpf import TPF, read_tpf, tpf_place
from ..products.tpf_files import find_tpfs, read_tpf_list, tpf_pattern
from .sources import CubeSource, Source, TPFSource

__all__ = [
    "clear_sources",
    "keep_ffi",
    "kept_ffi",
    "load_ffi",
    "load_source",
    "load_tpf",
    "read_cubes_from",
    "trust",
    "use_tpf_list",
]

logger = logging.getLogger(__name__)

#: CCDs and target pixel files whose common facts are kept in memory: those that a worker's batches
#: alternate between, and no more (a CCD's are 10 to 60 MB).
_KEEP = 4

#: A folder in which a target pixel file is missing is looked through again after so many times the seconds
#: that it took: a work list of many missing files costs at most a twentieth more.
_LOOK_AGAIN = 20

_kept: OrderedDict[tuple[Any, ...], Source] = OrderedDict()
#: The source of the present batch by the arguments of `load_ffi`, if it is in memory; see `trust`.
_trusted: dict[tuple[str, int, int, int, str], Source] = {}


def clear_sources() -> None:
    """Forget every CCD and target pixel file that is kept in memory."""
    _kept.clear()
    _trusted.clear()
    _cube.cache_clear()
    _catalog.cache_clear()
    _found.clear()


def _keep(key: tuple[Any, ...], make: Callable[[], Source], cache: str) -> Source:
    if cache == "none":
        clear_sources()
        return make()
    if key not in _kept:
        while len(_kept) >= _KEEP:
            _kept.popitem(last=False)
        _kept[key] = make()
    _kept.move_to_end(key)
    return _kept[key]


def read_cubes_from(where: Callable[[Path], Path] | None) -> None:
    """Read cubes from the paths that `where` returns for them (copies on this node); None: their own."""
    global _where
    clear_sources()
    _where = where


_where: Callable[[Path], Path] | None = None


@functools.lru_cache(maxsize=_KEEP)
def _cube(path: Path, modified: int | None) -> Cube:
    """A cube, shared by a CCD's source and those of its target pixel files."""
    return open_cube(path if _where is None else _where(path))


@functools.lru_cache(maxsize=_KEEP)
def _catalog(path: Path, modified: int | None) -> StarCatalog:
    """A catalog, shared likewise."""
    return open_catalog(path)


def keep_ffi(folder: Path, source: CubeSource) -> None:
    """Keep a source in memory as the one that `load_ffi` finds for its CCD in a folder.

    Parameters
    ----------
    folder : Path
        Has the cube; a catalog need not be there.
    source : CubeSource
    """
    ccd = (source.sector, source.camera, source.ccd)
    path, catalog = _ccd_files(folder, *ccd)
    _keep((path, modification_time(path), modification_time(catalog), "basic"), lambda: source, "basic")


@functools.lru_cache(maxsize=_KEEP)
def _ccd_files(folder: str | Path, sector: int, camera: int, ccd: int) -> tuple[Path, Path]:
    """The cube and the catalog of a CCD, the same paths at every call."""
    folder = Path(folder)
    return folder / cube_name(sector, camera, ccd), folder / catalog_name(sector, camera, ccd)


def kept_ffi(folder: Path, sector: int, camera: int, ccd: int, cache: str = "basic") -> CubeSource | None:
    """The source that `load_ffi` would return, if it is in memory."""
    path, catalog = _ccd_files(folder, sector, camera, ccd)
    source = _kept.get((path, modification_time(path), modification_time(catalog), cache))
    return source if isinstance(source, CubeSource) else None


def trust(folder: str | Path, source: CubeSource | None, cache: str = "basic") -> None:
    """Let `load_ffi` return a source of `kept_ffi` without a look at its files; until the next call.

    So the files are looked at once for all stars of a batch.
    """
    _trusted.clear()
    if source is not None:
        _trusted[str(folder), source.sector, source.camera, source.ccd, cache] = source


def load_ffi(folder: str | Path, sector: int, camera: int, ccd: int, cache: str = "basic") -> Source:
    """The pixels of one CCD; the whole cube is read into memory with the cache ``'full'``.

    Raises
    ------
    MissingInput
        If the cube or the catalog is not there.
    InputError
        If one of them cannot be used, or does not fit into memory.
    """
    if (trusted := _trusted.get((str(folder), sector, camera, ccd, cache))) is not None:
        return trusted
    path, catalog = _ccd_files(folder, sector, camera, ccd)
    opened = modification_time(path), modification_time(catalog)

    def make() -> Source:
        return CubeSource(path, _cube(path, opened[0]), _catalog(catalog, opened[1]), cache == "full")

    return _keep((path, *opened, cache), make, cache)


@dataclass
class _TPFs:
    """The target pixel files of a folder when it was searched last."""

    #: (sector, cadence, path below the folder) of every star's.
    files: dict[int, list[tuple[int, int, str]]]
    #: Time (`time.monotonic`) from which on the folder may be searched again.
    again: float


_found: dict[Path, _TPFs] = {}


def use_tpf_list(folder: Path, output: Path) -> None:
    """Take the target pixel files of an input folder from the list of rank 0, if there is one.

    Thousands of processes then need not search the folder. A file that is not in the list, or no longer in
    its place, is searched for.
    """
    if folder in _found:
        return
    files = read_tpf_list(output)
    if files is not None:
        _found[folder] = _TPFs(_by_star(files), time.monotonic())


def _by_star(files: Iterable[tuple[str, int, int, int]]) -> dict[int, list[tuple[int, int, str]]]:
    """Files by their TIC numbers; they are given as `read_tpf_list` returns them."""
    found: dict[int, list[tuple[int, int, str]]] = {}
    for name, starid, sector, cadence in files:
        found.setdefault(starid, []).append((sector, cadence, name))
    return found


def _tpfs(folder: Path) -> _TPFs:
    """Look through a folder."""
    start = time.monotonic()
    infos = find_tpfs(folder)
    files = _by_star((os.path.relpath(i.path, folder), i.starid, i.sector, i.cadence) for i in infos)
    now = time.monotonic()
    return _TPFs(files, now + _LOOK_AGAIN * (now - start))


def _find_tpf(folder: Path, starid: int, sector: int | None, cadence: int | None) -> Path:
    if folder.is_file():
        return folder
    if folder not in _found:
        _found[folder] = _tpfs(folder)
    found = _of_star(folder, starid, sector, cadence)
    if not (found and found[0][2].exists()) and time.monotonic() >= _found[folder].again:
        # It may have come, or been moved, since.
        _found[folder] = _tpfs(folder)
        found = _of_star(folder, starid, sector, cadence)
    which = "" if sector is None else f" in sector {sector}"
    if not found:
        raise MissingInput(
            f"{folder}: no target pixel file of TIC {starid}{which} ({tpf_pattern(starid, sector)}); put it "
            "there, in any sub-folder"
        )
    if len(found) > 1:
        ways = "; ".join(f"sector {s}, {c} s" for s, c, _ in sorted(found))
        raise InputError(
            f"TIC {starid} has several target pixel files ({ways}); name the sector and the cadence"
        )
    return found[0][2]


def _of_star(
    folder: Path, starid: int, sector: int | None, cadence: int | None
) -> list[tuple[int, int, Path]]:
    return [
        (s, c, folder / name)
        for s, c, name in _found[folder].files.get(starid, [])
        if sector in (None, s) and cadence in (None, c)
    ]


@functools.lru_cache(maxsize=_KEEP)
def _ccd_of(path: Path, modified: int | None) -> tuple[int, int, int]:
    """Sector, camera and CCD of a target pixel file."""
    return tpf_place(path)


def load_tpf(
    folder: Path, starid: int, sector: int | None = None, cadence: int | None = None, cache: str = "basic"
) -> Source:
    """The pixels of the target pixel file of a star.

    Without a catalog of its CCD the star's own header is the catalog, and without a cube there are no
    pixel flags; both are logged.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If there are several, or the file cannot be used.
    """
    path = _find_tpf(folder, starid, sector, cadence)
    modified = modification_time(path)
    ccd = _ccd_of(path, modified)
    # A catalog or cube that comes later is used from then on.
    if folder.is_file():
        # Target pixel files may be in a sub-folder.
        above = [folder.parent, folder.absolute().parent.parent]
        folder = next((place for place in above if (place / catalog_name(*ccd)).exists()), above[0])
    beside = (folder / catalog_name(*ccd), folder / cube_name(*ccd))
    key = (path, modified, *map(modification_time, beside))
    if key not in _kept:
        # Its pixels are copied, some 50 MB, and the stars of a file come one after the other.
        for other in [other for other, source in _kept.items() if source.is_tpf]:
            del _kept[other]
    return _keep(key, functools.partial(_make_tpf, folder, path), cache)


def _make_tpf(folder: Path, path: Path) -> Source:
    # Files that were looked for have the star's name; one that was named may have any.
    tpf = read_tpf(path, any_name=True)
    name = folder / catalog_name(tpf.sector, tpf.camera, tpf.ccd)
    try:
        catalog = _catalog(name, modification_time(name))
    except MissingInput as error:
        logger.info("%s; TIC %d is taken from the header of its target pixel file", error, tpf.starid)
        catalog = catalog_from_tpf(tpf)
    return TPFSource(tpf, catalog, _cube_of(folder, tpf))


def _cube_of(folder: Path, tpf: TPF) -> Cube | None:
    """The cube of a target pixel file's CCD, where there is one that covers its pixels."""
    path = folder / cube_name(tpf.sector, tpf.camera, tpf.ccd)
    try:
        cube = _cube(path, modification_time(path))
    except MissingInput:
        logger.info("%s: no such cube; %s is processed without pixel flags", path, tpf.path.name)
        return None
    row, column = tpf.row_offset - cube.row_offset, tpf.column_offset - cube.column_offset
    n_rows, n_columns = tpf.images.shape[:2]
    if row < 0 or column < 0 or row + n_rows > cube.shape[0] or column + n_columns > cube.shape[1]:
        logger.info("%s does not cover %s, which is processed without pixel flags", path, tpf.path.name)
        return None
    return cube


def load_source(
    folder: str | Path,
    starid: int,
    datasource: str,
    sector: int | None,
    camera: int | None,
    ccd: int | None,
    cadence: int | None,
    cache: str,
) -> Source:
    """The source of a star's pixels; arguments and errors as of `BasePhotometry`."""
    if datasource == "ffi":
        if sector is None or camera is None or ccd is None:
            raise UsageError(f"TIC {starid}: datasource 'ffi' needs the sector, the camera and the ccd")
        ccd_of = (whole(sector, "sector"), whole(camera, "camera"), whole(ccd, "ccd"))
        return load_ffi(folder, *ccd_of, cache)
    kind, _, owner = str(datasource).partition(":")
    if kind != "tpf" or (owner and not owner.isdecimal()) or str(datasource).endswith(":"):
        raise UsageError(f"TIC {starid}: datasource {datasource!r}: ffi, tpf or tpf:STARID")
    sector, cadence = known_whole(sector, "sector"), known_whole(cadence, "cadence")
    return load_tpf(Path(folder), int(owner or starid), sector, cadence, cache)
