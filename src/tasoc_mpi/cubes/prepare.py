"""From the full frame images of a folder to the cube of every CCD."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput, TasocError
from ..core.locks import exclusive, lock_path
from ..core.names import catalog_name, cube_name, is_chosen
from ..core.quality import TESSQualityFlags
from ..core.ranks import Ranks
from ..core.tables import counted, size_text
from ..core.times import BTJD_ZERO
from ..models.motion import WARPMODES
from ..products.cube import open_cube
from ..products.ffi import FFIInfo, find_ffis, parse_ffi_name
from ..products.frame_wcs import FrameWCS
from ..products.star_catalog import catalog_settings
from ..products.tpf_files import TPFInfo, find_tpfs
from .background import background_model, window_length
from .checkpoint import FITTED, Checkpoint
from .frame_pixels import Frames
from .frame_series import FrameSeries, read_series, reference_frame
from .frame_table import write_log
from .options import MOVEMENT_KERNELS, PrepareOptions
from .partial_cube import CubeContent, allocate_content, begin_rows, end_cube, file_digests, series_digest
from .pipeline import (
    fit_backgrounds,
    flag_frames,
    make_stars,
    measure_movements,
    read_headers,
    reserve,
    rows_at_once,
    write_rows,
)
from .regions import check_finished
from .sky_geometry import SkyGeometry
from .star_image import chosen_frames
from .tpf_quality import tpf_quality

__all__ = [
    "MOVEMENT_KERNELS",
    "CubeSummary",
    "PrepareOptions",
    "finished",
    "make_cube",
    "make_each",
    "making",
    "memory_bytes",
    "prepare_ccd",
    "prepare_folder",
    "tess_positions",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class CubeSummary:
    """The result of one CCD."""

    path: Path  #: The cube
    shape: tuple[int, int, int]  #: Rows, columns, frames
    made: bool  #: False where the cube was there already
    seconds: float


def prepare_folder(
    folder: str | os.PathLike[str], options: PrepareOptions | None = None, ranks: Ranks | None = None
) -> list[CubeSummary]:
    """Make the cubes of all CCDs whose full frame images are in a folder.

    Parameters
    ----------
    folder : path-like
        Holds the frames in any sub-folder; gets the cubes.
    options : PrepareOptions, optional
    ranks : Ranks, optional
        Ranks that share the work. Default: this process alone.

    Returns
    -------
    list of CubeSummary

    Raises
    ------
    MissingInput
        If there is no such folder, or no frame in it.
    UsageError
        If an option has an impossible value.
    InputError
        If the frames of a CCD cannot be used. Where there are several CCDs the others are made first.
    """
    options = options or PrepareOptions()
    options.check()
    folder = Path(folder)
    found = {
        key: paths
        for key, paths in find_ffis(folder).items()
        if is_chosen(key, options.sector, options.camera, options.ccd)
    }
    if not found:
        chosen = any((options.sector, options.camera, options.ccd))
        raise MissingInput(
            f"{folder}: no full frame images {'of the chosen CCDs ' * chosen}(tess*_ffic.fits, "
            "hlsp_tica_tess_ffi_*_img.fits, or .gz) in it or its sub-folders; `tasoc-mpi download` fetches "
            "them"
        )
    tpfs = find_tpfs(folder)

    def make(paths: Sequence[Path]) -> CubeSummary:
        return prepare_ccd(paths, folder, options, tpfs, ranks, log=True)

    return make_each(list(found.values()), make, folder, "CCDs could not be prepared")


def make_each(
    items: Sequence[T], make: Callable[[T], CubeSummary], folder: Path, failure: str
) -> list[CubeSummary]:
    """Make the cube of every item; where there are several, a failure does not stop the others.

    Parameters
    ----------
    items : sequence
    make : callable
        Makes the cube of one.
    folder : Path
        For the message.
    failure : str
        Continues "3 of 5".

    Raises
    ------
    InputError
        After the last item, if any failed. The error of a single item is raised as it is.
    """
    summaries = []
    for item in items:
        try:
            summaries.append(make(item))
        except TasocError as error:
            if len(items) == 1:
                raise
            logger.error("%s", error)
    if failed := len(items) - len(summaries):
        raise InputError(f"{folder}: {failed} of {len(items)} {failure}; see above")
    return summaries


def prepare_ccd(
    paths: Sequence[Path | FFIInfo],
    folder: Path,
    options: PrepareOptions,
    tpfs: Sequence[TPFInfo] = (),
    ranks: Ranks | None = None,
    log: bool = False,
) -> CubeSummary:
    """Make the cube of one CCD, or go on where an interrupted attempt stopped.

    Parameters
    ----------
    paths : sequence of Path or FFIInfo
        Its frames in order of time; their headers, where these were read already.
    folder : Path
        Gets the cube.
    options : PrepareOptions
    tpfs : sequence of TPFInfo
        Target pixel files whose quality flags the frames take over; those of other CCDs are not used.
    ranks : Ranks, optional
        Ranks that share the work. Default: this process alone.
    log : bool
        Also write a table of the decisions about every frame (`frame_table`).

    Returns
    -------
    CubeSummary

    Raises
    ------
    InputError
        If the frames cannot be used, the disk is too small, another process makes the same cube, or the cube
        that is there has other pixels than the frames.
    """
    with making(folder / cube_name(*_ccd_of(paths[0])), options) as there:
        if there:
            check_finished(there.path, paths[0])
            return there
        return make_cube(paths, folder, options, tpfs, ranks, log)


@contextmanager
def making(path: Path, options: PrepareOptions) -> Iterator[CubeSummary | None]:
    """Lock a cube for the process that makes it.

    Yields
    ------
    CubeSummary or None
        The cube, if it is there already and is not to be made anew.

    Raises
    ------
    InputError
        If another process makes the same cube, the folder has no locks, or the cube cannot be used.
    """
    there = path.exists() and not options.overwrite
    if there and not os.access(path.parent, os.W_OK):
        # No process can make cubes in a folder that cannot be written to, nor lock one.
        yield finished(path)
        return
    with exclusive(path):
        try:
            yield finished(path) if path.exists() and not options.overwrite else None
        finally:
            # Still locked: a process that waits for the lock finds the file gone and makes a new one.
            lock_path(path).unlink(missing_ok=True)


def make_cube(
    paths: Sequence[Path | FFIInfo],
    folder: Path,
    options: PrepareOptions,
    tpfs: Sequence[TPFInfo],
    ranks: Ranks | None = None,
    log: bool = False,
) -> CubeSummary:
    """The work of `prepare_ccd`, for a caller that holds the lock."""
    start = time.monotonic()
    key = _ccd_of(paths[0])
    path = folder / cube_name(*key)
    label = f"sector {key[0]} camera {key[1]} CCD {key[2]}"
    ranks = ranks or Ranks()
    series = read_series(paths, read_headers(ranks, paths, label))
    exposed = (series.time_start - series.timecorr, series.time_stop - series.timecorr)
    quality = series.quality | tpf_quality(tpfs, key, *exposed)
    _make(path, series, quality, options, ranks, label, log)
    shape = (*series.shape, len(series))
    seconds = time.monotonic() - start
    frames = counted(shape[2], "frame")
    logger.info("%s: %s of %d x %d pixels in %s, %.1f s", label, frames, *shape[:2], path, seconds)
    return CubeSummary(path, shape, True, seconds)


def _ccd_of(frame: Path | FFIInfo) -> tuple[int, int, int]:
    """Sector, camera and CCD of a frame."""
    if isinstance(frame, FFIInfo):
        return frame.sector, frame.camera, frame.ccd
    name = parse_ffi_name(frame)
    if name is None:
        raise InputError(f"{frame}: not named like a full frame image")
    return name[:3]


def finished(path: Path) -> CubeSummary:
    """The cube that is there already; InputError if it cannot be used."""
    try:
        shape = open_cube(path).shape
    except InputError as error:
        raise InputError(f"{error} (--overwrite makes it anew)") from None
    logger.info("%s: finished before; --overwrite makes it anew", path)
    return CubeSummary(path, shape, False, 0.0)


def _make(
    path: Path,
    series: FrameSeries,
    quality: NDArray[np.int32],
    options: PrepareOptions,
    ranks: Ranks,
    label: str,
    log: bool,
) -> None:
    """Run all steps, and write the file around the pixels."""
    part, state_path = (path.with_name(path.name + suffix) for suffix in (".part", ".state"))
    frames = Frames.of(series)
    memory = memory_bytes(options, ranks)
    most = rows_at_once(series, memory, options.backgrounds)
    _check_disk(part, series, options, label)
    # Errors in the files beside the frames are found before the work begins.
    reference_time = _reference_time(path.parent, series)
    positions, source = _ephemeris(path.parent, series, quality, reference_time, options)
    digests = file_digests(series)
    good = TESSQualityFlags.filter(quality)
    chosen, enough = chosen_frames(good, series.excluded, series.shape[1])
    checkpoint = _open_checkpoint(state_path, series, frames.geometry, len(chosen), options)
    stars = make_stars(ranks, frames, chosen, enough, digests, checkpoint, memory, label)
    fit_backgrounds(ranks, frames, digests, stars, checkpoint, label)
    verdicts, levels, radial = checkpoint.backgrounds()
    there = verdicts == FITTED
    if not np.any(series.wcs.good & there):
        state_path.unlink()
        sources = {info.path for info in series.infos}
        where = sources.pop() if len(sources) == 1 else path.parent
        raise InputError(
            f"{where}: none of the {len(series)} frames of {label} has a background and a WCS; "
            "are these calibrated full frame images?"
        )
    starless = stars[1]
    # Fits without the stars are so good that an average over time would only blur how the sky changes.
    window = 1 if starless or series.background_applied else window_length(series.attributes["CADENCE"])
    model = background_model(frames.geometry, levels, radial, window, starless)
    ref_frame = reference_frame(series.time, good, series.wcs.good & there, reference_time)
    kind, movement = options.movement_kernel, None
    if kind:
        movement = measure_movements(ranks, frames, digests, model, there, ref_frame, kind, checkpoint, label)
    content = CubeContent(
        series, quality, model, ref_frame, positions, source, movement, kind, options.backgrounds
    )
    flagged = flag_frames(ranks, frames, digests, model, stars, checkpoint, label)

    def allocate(path: Path) -> None:
        allocate_content(content, path)
        reserve(ranks, path)

    offsets = begin_rows(part, content.digest(), content.pixels, allocate, checkpoint)
    if not np.any(good & there):
        logger.warning("%s: no frame of good quality; the sum image is the mean of all", label)
        good = there
    excluded = np.where(there, series.excluded, 0).astype("i4")
    write_rows(
        ranks, frames, model, excluded, good & there, flagged > 0, part, offsets, checkpoint, most, label
    )
    if log:
        write_log(path, content, verdicts, flagged)
    end_cube(part, path)
    state_path.unlink()


def _open_checkpoint(
    path: Path, series: FrameSeries, geometry: SkyGeometry, samples: int, options: PrepareOptions
) -> Checkpoint:
    parameters = 0
    if options.movement_kernel:
        parameters = WARPMODES[options.movement_kernel]
    checkpoint = Checkpoint(
        path,
        series_digest(series, samples, options.movement_kernel),
        len(series),
        series.shape[0],
        geometry.mesh_shape,
        len(geometry.nodes),
        parameters,
        columns=series.shape[1],
        samples=samples,
    )
    if checkpoint.continued:
        logger.info("%s: continuing an interrupted prepare", path)
    return checkpoint


def _ephemeris(
    folder: Path,
    series: FrameSeries,
    quality: NDArray[np.int32],
    reference_time: float | None,
    options: PrepareOptions,
) -> tuple[NDArray[np.float64], str]:
    """Positions of TESS, for a reference frame that may yet turn out to have no pixels."""
    frame = reference_frame(series.time, TESSQualityFlags.filter(quality), series.wcs.good, reference_time)
    return tess_positions(
        folder, series.time, series.timecorr, series.wcs, frame, series.btc_pixel, options.spice
    )


def tess_positions(
    folder: Path,
    time: NDArray[np.float64],
    timecorr: NDArray[np.float64],
    wcs: FrameWCS,
    frame: int,
    pixel: tuple[float, float],
    spice: Path | None,
) -> tuple[NDArray[np.float64], str]:
    """Positions of TESS and their source, from `spice`, or the folder's own kernels, or `timecorr`.

    `timecorr` is the barycentric correction in `time` (days) at a pixel (column, row; 0-based) of a frame.
    """
    from ..models.barycentre import ephemeris

    ra, dec = wcs.sky(np.array([pixel[0]]), np.array([pixel[1]]), frame)[0]
    if spice is None and (folder / "spice").is_dir():
        spice = folder / "spice"
    return ephemeris(time - timecorr, timecorr, float(ra), float(dec), spice)


def _reference_time(folder: Path, series: FrameSeries) -> float | None:
    """Of the CCD's catalog on the frames' scale; None where there is no catalog yet."""
    name = catalog_name(*(series.attributes[key] for key in ("SECTOR", "CAMERA", "CCD")))
    if not (folder / name).exists():
        return None
    return catalog_settings(folder / name).reference_time - BTJD_ZERO


def _check_disk(part: Path, series: FrameSeries, options: PrepareOptions, label: str) -> None:
    """Log how much disk is needed; InputError if it is not free."""
    needed = (13 if options.backgrounds else 9) * series.shape[0] * series.shape[1] * len(series)
    there = part.stat().st_blocks * 512 if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    logger.info(
        "%s: %s; the cube needs %s of the %s that are free",
        label,
        counted(len(series), "frame"),
        size_text(needed),
        size_text(free),
    )
    if needed - there > free:
        raise InputError(
            f"{part.parent}: {label} needs {size_text(needed)} of disk and only {size_text(free)} are free; "
            "make room"
        )


def memory_bytes(options: PrepareOptions, ranks: Ranks | None = None) -> float:
    """Bytes that each rank may use; without `ranks`, this process."""
    return (ranks or Ranks()).memory(None if options.memory is None else options.memory * 1e9)
