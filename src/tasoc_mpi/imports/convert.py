"""Cubes from what other people made of the frames: the TASOC pipeline's files, MAST's cubes, cut-outs."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.input_files import InputFile, check_folder
from ..core.names import cube_name
from ..cubes.background import usable_pixels
from ..cubes.mesh import box_levels
from ..cubes.prepare import (
    CubeSummary,
    PrepareOptions,
    make_cube,
    make_each,
    making,
    memory_bytes,
    prepare_ccd,
)
from ..cubes.regions import Region, region_of, region_text
from ..products.cube import open_cube
from ..products.ffi import FFIInfo, read_rows
from ..products.fits_read import FITSReader
from ..products.mast_cube import is_mast_cube, mast_ccd, scan_mast_cube
from ..products.tesscut import is_cutout, scan_cutout
from ..products.tpf_files import TPFInfo, find_tpfs
from .from_mast import mast_frames
from .from_tasoc import import_tasoc, scan_tasoc

__all__ = ["import_file", "import_files"]

logger = logging.getLogger(__name__)

#: What an HDF5 file begins with, where it has no user block.
_HDF5 = b"\x89HDF\r\n\x1a\n"
#: A quarter of the memory is for frames that are read ahead from a cube of MAST's, the rest for the blocks
#: that they are put into.
_READ_AHEAD = 0.25
#: In fewer pixels than this nothing can be told apart from the stars.
_FEWEST_PIXELS = 25
#: What is taken for the sky must not be this many times brighter than the darkest pixels (percent).
_LARGEST_RATIO, _DARK = 2.0, 10.0


def import_files(
    folder: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    options: PrepareOptions | None = None,
) -> list[CubeSummary]:
    """Make cubes of files of other programs.

    Parameters
    ----------
    folder : path-like
        Gets the cubes.
    files : sequence of path-like
        HDF5 files of the TASOC pipeline, cubes of MAST (`tess-sSSSS-C-D-cube.fits`) and cut-outs of TESSCut,
        told apart by what is in them.
    options : PrepareOptions, optional
        `sector`, `camera` and `ccd` have no meaning here.

    Returns
    -------
    list of CubeSummary

    Raises
    ------
    MissingInput
        If a file or the folder is not there.
    InputError
        If a file cannot be used, or is of other pixels of a CCD than the cube that is there. Where there are
        several the others are imported first.
    """
    options = options or PrepareOptions()
    options.check()
    folder = Path(folder)
    check_folder(folder, "the target pixel files and gets the cubes")
    tpfs = find_tpfs(folder)
    made: dict[Path, Path] = {}

    def make(file: str | os.PathLike[str]) -> CubeSummary:
        summary = import_file(folder, Path(file), options, tpfs, made)
        made.setdefault(summary.path, Path(file))
        return summary

    return make_each(files, make, folder, "files could not be imported")


def import_file(
    folder: Path,
    file: Path,
    options: PrepareOptions,
    tpfs: Sequence[TPFInfo] = (),
    made: Mapping[Path, Path] | None = None,
) -> CubeSummary:
    """Make the cube of one file, or go on where an interrupted attempt stopped.

    Parameters
    ----------
    folder : Path
        Gets the cube.
    file : Path
    options : PrepareOptions
    tpfs : sequence of TPFInfo
        Target pixel files whose quality flags frames take over (not those of TASOC's files, which have them).
    made : mapping of Path to Path, optional
        Cubes that are known to be of other files, for messages.

    Returns
    -------
    CubeSummary

    Raises
    ------
    MissingInput, InputError
        See `import_files`.
    """
    with InputFile(file) as stream:
        begin, packed = stream.read_at(0, len(_HDF5)), stream.packed
    made = made or {}
    if begin == _HDF5 and not packed:
        return _tasoc(folder, file, options, made)
    if not begin.startswith(b"SIMPLE"):
        raise InputError(f"{file}: neither HDF5 nor FITS; see tasoc-mpi import --help, or fetch it again")
    with FITSReader(file) as reader:
        primary = reader.hdu()
        extension = reader.hdu(primary.start)
    if is_cutout(extension):
        infos = _cutout(file)
        path = folder / cube_name(infos[0].sector, infos[0].camera, infos[0].ccd)
        _check_region(path, file, region_of(infos[0]), made)
        return prepare_ccd(infos, folder, options, tpfs)
    if is_mast_cube(extension):
        if packed:
            raise InputError(f"{file}: a packed cube cannot be read by parts; unpack it (gunzip)")
        return _mast(folder, file, options, tpfs, made)
    raise InputError(
        f"{file}: neither a cube of MAST's nor a cut-out of TESSCut (ORIGIN {primary.values.get('ORIGIN')}); "
        "frames go into the input folder as they are, for tasoc-mpi prepare"
    )


def _check_region(path: Path, file: Path, region: Region, made: Mapping[Path, Path]) -> None:
    """Refuse a file of other pixels than those of the cube that is there."""
    if not path.exists():
        return
    try:
        cube = open_cube(path)
    except InputError:
        # Named, or made anew, by what comes next.
        return
    there = region_of(cube)
    if there != region:
        other = f"{made[path]} (in {path})" if path in made else str(path)
        raise InputError(
            f"{file}: {region_text(region)} of the CCD of which {other} has {region_text(there)}; "
            f"import it into another folder, or remove {path.name}"
        )


def _mast(
    folder: Path, file: Path, options: PrepareOptions, tpfs: Sequence[TPFInfo], made: Mapping[Path, Path]
) -> CubeSummary:
    """The cube of a cube of MAST's."""
    path = folder / cube_name(*mast_ccd(file))
    if path.exists():
        _check_region(path, file, region_of(scan_mast_cube(file)[0]), made)
    memory = memory_bytes(options)
    rest = replace(options, memory=(1 - _READ_AHEAD) * memory / 1e9)
    with making(path, options) as there:
        if there:
            return there
        with mast_frames(file, folder, _READ_AHEAD * memory) as infos:
            return make_cube(infos, folder, rest, tpfs)


def _cutout(file: Path) -> tuple[FFIInfo, ...]:
    """The frames of a cut-out; where it shows nothing but stars, their background is not to be subtracted."""
    infos = scan_cutout(file)
    rows, columns = infos[0].shape
    if rows * columns < _FEWEST_PIXELS:
        side = math.isqrt(_FEWEST_PIXELS)
        raise InputError(
            f"{file}: {rows} x {columns} pixels, where stars cannot be told from the sky; cut out at least "
            f"{side} x {side}"
        )
    image, _ = read_rows(infos[len(infos) // 2], 0, rows, errors=False)
    usable = usable_pixels(image)
    levels = box_levels(np.where(usable, image, np.float32(np.nan)))
    dark = np.percentile(image[usable], _DARK) if usable.any() else np.nan
    if np.nanmax(levels, initial=-np.inf) <= _LARGEST_RATIO * dark:
        return infos
    logger.warning(
        "%s: the stars in it leave no sky to be seen; its background stays in the pixels. "
        "A larger cut-out would show it",
        file,
    )
    return tuple(replace(info, header={**info.header, "BACKAPP": True}) for info in infos)


def _tasoc(folder: Path, file: Path, options: PrepareOptions, made: Mapping[Path, Path]) -> CubeSummary:
    """The cube of a file of the TASOC pipeline."""
    start = time.monotonic()
    key, info = scan_tasoc(file)
    path = folder / cube_name(*key)
    if path.exists() and path.samefile(file):
        raise InputError(
            f"{file}: has the name that its cube gets in {folder}; move it elsewhere and import it from there"
        )
    offsets = (int(info.attributes[f"PIXEL_OFFSET_{axis}"]) for axis in ("ROW", "COLUMN"))
    _check_region(path, file, (*offsets, *info.shape[:2]), made)  # type: ignore[arg-type]
    label = f"sector {key[0]} camera {key[1]} CCD {key[2]}"
    with making(path, options) as there:
        if there:
            return there
        import_tasoc(info, path, options, label)
    seconds = time.monotonic() - start
    logger.info(
        "%s: %d frames of %d x %d pixels from %s in %s, %.1f s",
        label,
        info.shape[2],
        *info.shape[:2],
        file,
        path,
        seconds,
    )
    return CubeSummary(path, info.shape, True, seconds)
