"""Making the sources of a run's stars from the files of the input folder, and keeping the last few."""

from __future__ import annotations

import functools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..core.names import catalog_name, cube_name
from ..core.quality import TESSQualityFlags
from ..models.barycentre import ephemeris
from ..products.cube import Cube, open_cube
from ..products.star_catalog import StarCatalog, catalog_from_tpf, open_catalog
from ..products.tpf import TPF, read_tpf
from ..products.tpf_files import TPFInfo, find_tpfs, read_tpf_list
from .sources import FACTS, PixelBackground, Source

__all__ = ["clear_sources", "kept_ffi", "load_ffi", "load_tpf", "read_cubes_from", "use_tpf_list"]

logger = logging.getLogger(__name__)

#: CCDs and target pixel files whose common facts are kept in memory: those that a worker's batches
#: alternate between, and no more (a CCD's are 10 to 60 MB).
_KEEP = 4

#: A folder in which a target pixel file is missing is looked through again after so many times the seconds
#: that it took: a work list of many missing files costs at most a twentieth more.
_LOOK_AGAIN = 20

_kept: OrderedDict[tuple[Any, ...], Source] = OrderedDict()


def clear_sources() -> None:
    """Forget every CCD and target pixel file that is kept in memory."""
    _kept.clear()
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


def _stamp_of(path: Path) -> int | None:
    """Modification time: a file that was made anew is read anew."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        # Who opens it says what is wrong.
        return None


def read_cubes_from(where: Callable[[Path], Path] | None) -> None:
    """Read cubes from elsewhere, from copies on a disk of this node for instance.

    Parameters
    ----------
    where : callable or None
        Gives the path of the file that is read for a cube; it must hold the same bytes. None: the cube's own.
    """
    global _where
    clear_sources()
    _where = where


_where: Callable[[Path], Path] | None = None


@functools.lru_cache(maxsize=_KEEP)
def _cube(path: Path, modified: int | None) -> Cube:
    """A cube, shared by a CCD's source and those of its target pixel files."""
    return open_cube(path if _where is None else _where(path))


def kept_ffi(folder: Path, sector: int, camera: int, ccd: int, cache: str = "basic") -> Source | None:
    """What `load_ffi` would give, if it is in memory."""
    path, catalog = folder / cube_name(sector, camera, ccd), folder / catalog_name(sector, camera, ccd)
    return _kept.get((path, _stamp_of(path), _stamp_of(catalog), cache))


@functools.lru_cache(maxsize=_KEEP)
def _catalog(path: Path, modified: int | None) -> StarCatalog:
    """A catalog, shared likewise."""
    return open_catalog(path)


def load_ffi(folder: Path, sector: int, camera: int, ccd: int, cache: str = "basic") -> Source:
    """The pixels of one CCD.

    Parameters
    ----------
    folder : Path
        The input folder.
    sector, camera, ccd : int
    cache : {'none', 'basic', 'full'}
        With ``'full'`` the whole cube is read into memory.

    Raises
    ------
    MissingInput
        If the cube or the catalog is not there.
    InputError
        If one of them cannot be used, or does not fit into memory.
    """
    path, catalog = folder / cube_name(sector, camera, ccd), folder / catalog_name(sector, camera, ccd)
    key = (path, _stamp_of(path), _stamp_of(catalog), cache)
    return _keep(key, functools.partial(_make_ffi, path, catalog, cache), cache)


def _make_ffi(path: Path, catalog_path: Path, cache: str) -> Source:
    cube = _cube(path, _stamp_of(path))
    catalog = _catalog(catalog_path, _stamp_of(catalog_path))
    images, errors = cube.images, cube.images_err
    if cache == "full":
        images, errors = _in_memory(path, images), _in_memory(path, errors)
    places = cube.wcs.stars(catalog.stars["ra"], catalog.stars["decl"], cube.ref_frame)
    columns = np.arange(cube.shape[1]) + cube.column_offset + 1
    collected = np.ones(cube.shape[:2], dtype=np.int32)
    collected |= np.where(cube.backgrounds_pixels_used, 4, 0).astype("i4")
    # The four outputs of a CCD: 512 columns each, the first science column is 45 (1-based).
    collected |= (32 << np.clip((columns - 45) // 512, 0, 3)).astype("i4")[None, :]
    spacecraft = np.stack([cube.time_start - cube.timecorr, cube.time_stop - cube.timecorr], axis=-1)
    return Source(
        path=path,
        sector=int(cube.attributes["SECTOR"]),
        camera=int(cube.attributes["CAMERA"]),
        ccd=int(cube.attributes["CCD"]),
        cadence=int(cube.attributes["CADENCE"]),
        header=cube.attributes,
        facts=_known_facts(cube.attributes),
        images=images,
        images_err=errors,
        background=cube.background,
        sumimage=cube.sumimage,
        collected=collected,
        origin=(cube.row_offset, cube.column_offset),
        time=cube.time,
        timecorr=cube.timecorr,
        own_star=None,
        cadenceno=cube.cadenceno,
        quality=cube.quality,
        positions=cube.ephemeris,
        ephemeris=cube.ephemeris_source,
        catalog=catalog,
        neighbours_known=not catalog.only_targets,
        places=places,
        wcs=cube.wcs,
        ref_frame=cube.ref_frame,
        wcs_header=cube.ref_header,
        movement=cube,
        pixel_flags=cube.pixel_flags,
        flags_origin=(cube.row_offset, cube.column_offset),
        flag_spans=spacecraft,
    )


def _known_facts(header: Mapping[str, Any]) -> dict[str, Any]:
    """`FACTS` of a header or a cube's attributes; None for unknown ones, which are 0 or '' in cubes."""
    facts = {key: header.get(key) for key in FACTS}
    never_zero = ("PROCVER", "DATA_REL", "CRBLKSZ", "NUM_FRM", "NREADOUT")
    return {
        key: value
        if isinstance(value, bool | int | float | str) and (value or key not in never_zero)
        else None
        for key, value in facts.items()
    }


def _in_memory(path: Path, array: NDArray[np.float32]) -> NDArray[np.float32]:
    try:
        copy = np.array(array)
    except MemoryError:
        raise InputError(
            f"{path}: {array.nbytes / 1e9:.1f} GB do not fit into memory; use --cache basic"
        ) from None
    copy.setflags(write=False)
    return copy


@dataclass
class _TPFs:
    """The target pixel files of a folder as they were found last.

    Attributes
    ----------
    files : dict
        (sector, cadence, path) of every star's.
    again : float
        From when on (of `time.monotonic`) it may be looked for what is missing.
    """

    files: dict[int, list[tuple[int, int, Path]]]
    again: float


_found: dict[Path, _TPFs] = {}


def use_tpf_list(folder: Path, output: Path) -> None:
    """Take the target pixel files of a folder from the list that rank 0 has made, if there is one.

    Thousands of processes then need not search the folder. A file that is not in the list, or no longer in
    its place, is searched for.

    Parameters
    ----------
    folder, output : Path
        Input and output folder of the run.
    """
    if folder in _found:
        return
    infos = read_tpf_list(folder, output)
    if infos is not None:
        _found[folder] = _TPFs(_by_star(infos), time.monotonic())


def _by_star(infos: Iterable[TPFInfo]) -> dict[int, list[tuple[int, int, Path]]]:
    files: dict[int, list[tuple[int, int, Path]]] = {}
    for info in infos:
        files.setdefault(info.starid, []).append((info.sector, info.cadence, info.path))
    return files


def _tpfs(folder: Path) -> _TPFs:
    """Look through a folder."""
    start = time.monotonic()
    files = _by_star(find_tpfs(folder))
    now = time.monotonic()
    return _TPFs(files, now + _LOOK_AGAIN * (now - start))


def _find_tpf(folder: Path, starid: int, sector: int | None, cadence: int | None) -> Path:
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
            f"{folder}: no target pixel file of TIC {starid}{which}; put it there, in any sub-folder"
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
        (s, c, path)
        for s, c, path in _found[folder].files.get(starid, [])
        if sector in (None, s) and cadence in (None, c)
    ]


@functools.lru_cache(maxsize=_KEEP)
def _ccd_of(path: Path, modified: int | None) -> tuple[int, int, int]:
    """Sector, camera and CCD of a target pixel file."""
    tpf = read_tpf(path, pixels=False, rows=False)
    return tpf.sector, tpf.camera, tpf.ccd


def load_tpf(
    folder: Path, starid: int, sector: int | None = None, cadence: int | None = None, cache: str = "basic"
) -> Source:
    """The pixels of the target pixel file of a star.

    Without a catalog of its CCD the star's own header is the catalog, and without a cube there are no
    pixel flags; both are logged.

    Parameters
    ----------
    folder : Path
        The input folder; the file may be in any sub-folder.
    starid : int
    sector, cadence : int, optional
        Needed where the star has several files.
    cache : {'none', 'basic', 'full'}

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If there are several, or the file cannot be used.
    """
    path = _find_tpf(folder, starid, sector, cadence)
    modified = _stamp_of(path)
    ccd = _ccd_of(path, modified)
    # A catalog or cube that comes later is used from then on.
    beside = (folder / catalog_name(*ccd), folder / cube_name(*ccd))
    key = (path, modified, *map(_stamp_of, beside))
    if key not in _kept:
        # Its pixels are copied, some 50 MB, and the stars of a file come one after the other.
        for other in [other for other, source in _kept.items() if isinstance(source.movement, TPF)]:
            del _kept[other]
    return _keep(key, functools.partial(_make_tpf, folder, path), cache)


def _make_tpf(folder: Path, path: Path) -> Source:
    tpf = read_tpf(path)
    ccd = (tpf.sector, tpf.camera, tpf.ccd)
    if not tpf.wcs.good[0]:
        raise InputError(f"{path}: its world coordinates cannot be inverted; no star can be placed on it")
    try:
        catalog_path = folder / catalog_name(*ccd)
        catalog = _catalog(catalog_path, _stamp_of(catalog_path))
    except MissingInput as error:
        logger.info("%s; TIC %d is taken from the header of its target pixel file", error, tpf.starid)
        catalog = catalog_from_tpf(tpf)
    flags, flags_origin, spans = _flags_of(folder, tpf)
    i = catalog.index(tpf.starid)
    ra, dec = catalog.stars["ra"][i], catalog.stars["decl"][i]
    timecorr = tpf.timecorr.astype("f8")
    positions, how = ephemeris(tpf.time - timecorr, timecorr, ra, dec)
    good = TESSQualityFlags.filter(tpf.quality)
    if not good.any():
        logger.warning("%s: no cadence of good quality; the sum image is the mean of all", path)
        good = np.ones_like(good)
    sumimage = _mean(tpf.images, good)
    return Source(
        path=path,
        sector=tpf.sector,
        camera=tpf.camera,
        ccd=tpf.ccd,
        cadence=tpf.cadence,
        header=tpf.header,
        facts=_known_facts({key: tpf.header.get(key, tpf.table_header.get(key)) for key in FACTS}),
        images=tpf.images,
        images_err=tpf.images_err,
        background=PixelBackground(tpf.backgrounds),
        sumimage=sumimage,
        # Which pixels SPOC used for its own flux and positions is not what we use.
        collected=(tpf.aperture & ~(2 | 8)).astype(np.int32),
        origin=(tpf.row_offset, tpf.column_offset),
        time=tpf.time,
        timecorr=timecorr,
        own_star=tpf.starid,
        cadenceno=tpf.cadenceno,
        quality=tpf.quality,
        positions=positions,
        ephemeris=how,
        catalog=catalog,
        neighbours_known=not catalog.only_targets,
        places=tpf.wcs.stars(catalog.stars["ra"], catalog.stars["decl"], 0),
        wcs=tpf.wcs,
        ref_frame=0,
        wcs_header=_ccd_header(tpf),
        movement=tpf,
        pixel_flags=flags,
        flags_origin=flags_origin,
        flag_spans=spans,
    )


def _ccd_header(tpf: TPF) -> str:
    """The world coordinates of a target pixel file, counted in full frame image pixels."""
    header = tpf.wcs_header.copy()
    header["CRPIX1"] += tpf.column_offset
    header["CRPIX2"] += tpf.row_offset
    return header.tostring()


def _flags_of(
    folder: Path, tpf: TPF
) -> tuple[NDArray[np.uint8] | None, tuple[int, int], NDArray[np.float64] | None]:
    """Pixel flags of a target pixel file's CCD, where there is a cube that covers it."""
    path = folder / cube_name(tpf.sector, tpf.camera, tpf.ccd)
    try:
        cube = _cube(path, _stamp_of(path))
    except MissingInput:
        logger.info("%s: no such cube; %s is processed without pixel flags", path, tpf.path.name)
        return None, (0, 0), None
    row, column = tpf.row_offset - cube.row_offset, tpf.column_offset - cube.column_offset
    n_rows, n_columns = tpf.images.shape[:2]
    if row < 0 or column < 0 or row + n_rows > cube.shape[0] or column + n_columns > cube.shape[1]:
        logger.info("%s does not cover %s, which is processed without pixel flags", path, tpf.path.name)
        return None, (0, 0), None
    spans = np.stack([cube.time_start - cube.timecorr, cube.time_stop - cube.timecorr], axis=-1)
    return cube.pixel_flags, (cube.row_offset, cube.column_offset), spans


def _mean(images: NDArray[np.float32], used: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean over the used frames without the NaN ones, NaN where there are only such; shape (R, C)."""
    mean = np.empty(images.shape[:2], dtype="f4")
    # A row at a time: all at once is three copies of the pixels.
    for row, out in zip(images, mean, strict=True):
        row = row[:, used]
        finite = np.isfinite(row)
        count = finite.sum(axis=-1)
        total = np.where(finite, row, 0).sum(axis=-1, dtype="f8")
        out[:] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean
