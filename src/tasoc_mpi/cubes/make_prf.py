"""The effective pixel responses of the CCDs of a folder, from their cubes and catalogs.

The frames of a CCD are divided into epochs of some days, and the response is learnt from the mean image of
each. An epoch is a piece of work: its result is a file of its own, until all of them are there and become the
CCD's file. Each is computed from the cube and the catalog alone, so that the result does not depend on who
computed the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from ..core.errors import InputError, MissingInput
from ..core.locks import exclusive
from ..core.names import (
    CCDKey,
    Choice,
    catalog_name,
    cube_name,
    find_cubes,
    is_chosen,
    prf_name,
    prf_parts_name,
)
from ..core.quality import TESSQualityFlags
from ..core.ranks import Ranks
from ..core.resources import one_blas_thread
from ..core.settings import load_settings, mag2flux
from ..core.tables import counted
from ..kernels.stack_frames import stack_frames
from ..models.effective_prf import start_prf
from ..models.fit_prf import REACH, fit_stack
from ..models.prf_stack import Stack, make_nodes
from ..products.cube import Cube, open_cube
from ..products.prf_file import EffectivePRF, join_epochs, read_prf, write_prf
from ..products.star_catalog import open_catalog
from .prf_focus import cube_motion, measure_broadening

__all__ = ["EpochStep", "divide_frames", "make_prfs"]

logger = logging.getLogger(__name__)

#: Days without frames that end a segment, and the usual length of an epoch: an orbit. Within it the focus is
#: a number a frame (`prf_focus`); the responses of shorter epochs differ by their errors, which makes trends.
GAP, LONGEST = 0.5, 14.0
#: Fewest frames of an epoch.
FEWEST = 8


@dataclass(frozen=True)
class EpochStep:
    """The work on one CCD; a piece is a range of epochs.

    Attributes
    ----------
    folder : str
        With the cube and the catalog.
    sector, camera, ccd : int
    """

    folder: str
    sector: int
    camera: int
    ccd: int

    def compute(self, first: int, last: int) -> None:
        """Fit epochs, each into its own file."""
        folder, key = Path(self.folder), (self.sector, self.camera, self.ccd)
        cube = open_cube(folder / cube_name(*key))
        for epoch in range(first, last):
            write_prf(_part(folder, key, epoch), _fit_epoch(folder, key, cube, epoch))


def make_prfs(
    folder: Path,
    ranks: Ranks,
    sector: Choice = None,
    camera: Choice = None,
    ccd: Choice = None,
    overwrite: bool = False,
) -> list[Path]:
    """Make the effective responses of CCDs; to be called on rank 0.

    Parameters
    ----------
    folder : Path
        With cubes and catalogs.
    ranks : Ranks
        Those that share the work.
    sector, camera, ccd : int or collection of int, optional
        Only these.
    overwrite : bool
        Make finished ones anew.

    Returns
    -------
    list of Path
        The files, also those that had been there.

    Raises
    ------
    MissingInput
        If there is no such cube, or a catalog is missing.
    InputError
        If no CCD has enough stars, or a file cannot be used.
    """
    wanted = [key for key in find_cubes(folder) if is_chosen(key, sector, camera, ccd)]
    if not wanted:
        raise MissingInput(f"{folder}: no cube of a chosen CCD in it; `tasoc-mpi prepare` makes them")
    made, failed = [], []
    for key in wanted:
        path = folder / prf_name(*key)
        if path.exists() and not overwrite:
            read_prf(path)
            logger.info("%s: there already; --overwrite makes it anew", path)
            made.append(path)
            continue
        try:
            with exclusive(path):
                _make(folder, key, ranks)
        except InputError as error:
            failed.append(error)
            logger.warning("%s", error)
            continue
        made.append(path)
    if failed and not made:
        raise failed[-1]
    return made


def _make(folder: Path, key: CCDKey, ranks: Ranks) -> None:
    """Make the response of one CCD."""
    cube = open_cube(folder / cube_name(*key))
    count = len(divide_frames(cube)[0])
    parts = [_part(folder, key, epoch) for epoch in range(count)]
    parts[0].parent.mkdir(exist_ok=True)
    pieces = [(epoch, epoch + 1) for epoch in range(count) if not _is_current(folder, key, parts[epoch])]
    step = EpochStep(str(folder), *key)
    try:
        ranks.share(step, pieces, lambda first, last, result: None)
    except InputError:
        # There will be no response: epochs that are left look like one that is only unfinished.
        _remove(parts)
        raise
    prf = _add_focus(folder, key, cube, join_epochs([read_prf(part) for part in parts]))
    path = folder / prf_name(*key)
    write_prf(path, prf)
    _remove(parts)
    logger.info(
        "%s: %s, %d x %d nodes, %d to %d stars a node, %.2f%% of the light beyond the table",
        path, counted(count, "epoch"), *prf.stars.shape[1:], prf.stars.min(), prf.stars.max(),
        100 * (1 - prf.inside.mean()),
    )  # fmt: skip


def _add_focus(folder: Path, key: CCDKey, cube: Cube, prf: EffectivePRF) -> EffectivePRF:
    """Measure the focus in every frame."""
    # Also of those too few to be an epoch: they take the nearest one's response.
    frames = np.flatnonzero(_good_frames(cube))
    catalog = open_catalog(folder / catalog_name(*key))
    limit = load_settings().getfloat("k2p2", "saturation_flux")
    with one_blas_thread():
        broadening = measure_broadening(cube, catalog, prf, frames, limit)
    return dataclasses.replace(prf, frame_times=cube.time[frames], broadening=broadening)


def _part(folder: Path, key: CCDKey, epoch: int) -> Path:
    """The file of one epoch."""
    return folder / prf_parts_name(*key) / f"epoch{epoch:02d}.hdf5"


def _remove(parts: list[Path]) -> None:
    """Remove the files of epochs and their folder."""
    for part in parts:
        part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        # Something else lies in it: it stays.
        parts[0].parent.rmdir()


def _is_current(folder: Path, key: CCDKey, part: Path) -> bool:
    """Whether an epoch is there, and newer than what it is made from."""
    sources = folder / cube_name(*key), folder / catalog_name(*key)
    return part.exists() and part.stat().st_mtime_ns > max(source.stat().st_mtime_ns for source in sources)


def divide_frames(cube: Cube) -> tuple[list[NDArray[np.int64]], NDArray[np.int64], NDArray[np.float64]]:
    """Divide the good frames of a cube into epochs.

    Returns
    -------
    epochs : list of ndarray of int64
        Indices of the frames of each.
    segments : ndarray of int64, shape (E,)
        Number of the segment of each.
    spans : ndarray, shape (G, 2)
        First and last time of each segment, BJD - 2457000.

    Raises
    ------
    InputError
        If there are too few frames.
    """
    (chosen,) = np.nonzero(_good_frames(cube))
    if len(chosen) < FEWEST:
        raise InputError(
            f"{cube.path}: {len(chosen)} frames of good quality, the pixel response needs {FEWEST}"
        )
    epochs: list[NDArray[np.int64]] = []
    segments: list[int] = []
    spans: list[tuple[float, float]] = []
    for part in np.split(chosen, np.flatnonzero(np.diff(cube.time[chosen]) > GAP) + 1):
        if len(part) < FEWEST:
            continue
        time = cube.time[part]
        number = max(1, min(round((time[-1] - time[0]) / LONGEST), len(part) // FEWEST))
        epochs += np.array_split(part, number)
        segments += [len(spans)] * number
        spans.append((time[0], time[-1]))
    if not epochs:
        raise InputError(f"{cube.path}: no {FEWEST} frames without a gap, which the pixel response needs")
    return epochs, np.array(segments), np.array(spans)


def _good_frames(cube: Cube) -> NDArray[np.bool_]:
    """Frames of good quality whose times and world coordinates are known."""
    good: NDArray[np.bool_] = TESSQualityFlags.filter(cube.quality) & np.isfinite(cube.time)
    if cube.warpmode == "wcs":
        good &= cube.wcs.good
    return good


def _fit_epoch(folder: Path, key: CCDKey, cube: Cube, epoch: int) -> EffectivePRF:
    """The response in one epoch, a file's worth."""
    epochs, segments, spans = divide_frames(cube)
    chosen = epochs[epoch]
    catalog = open_catalog(folder / catalog_name(*key))
    image, variance = stack_frames(cube.images, chosen)
    limit = load_settings().getfloat("k2p2", "saturation_flux")
    # Charge bleeds from saturated pixels into those beside them.
    image[binary_dilation(image >= limit)] = np.nan
    n_rows, n_columns, _ = cube.shape
    row0, column0 = cube.row_offset, cube.column_offset
    place = cube.wcs.stars(catalog.stars["ra"], catalog.stars["decl"], cube.ref_frame)
    reach = (
        np.isfinite(catalog.stars["tmag"])
        & (np.abs(place[:, 1] - row0 - n_rows / 2) < n_rows / 2 + REACH)
        & (np.abs(place[:, 0] - column0 - n_columns / 2) < n_columns / 2 + REACH)
    )
    place, tmag = place[reach], catalog.stars["tmag"][reach]
    shift, jitter = _motion(cube, chosen, place)
    stack = Stack(
        image, variance, (row0, column0), place[:, 1] + shift[:, 1], place[:, 0] + shift[:, 0], jitter
    )
    nodes = make_nodes(row0, n_rows), make_nodes(column0, n_columns)
    expected = np.asarray(mag2flux(tmag))
    try:
        # A quarter of a star's light, and more, is in its central pixel.
        fit = fit_stack(stack, expected, nodes, start_prf(*key, *nodes), 2.0 * limit)
    except InputError as error:
        raise InputError(
            f"{cube.path}: {error}; PSF photometry takes MAST's PRF files or the analytic model instead"
        ) from None
    return EffectivePRF(
        *key,
        *nodes,
        coefficients=fit.coefficients[None],
        epochs=np.array([cube.time[chosen].mean()]),
        segments=segments[epoch : epoch + 1],
        spans=spans,
        inside=np.array([fit.inside]),
        wings=fit.wings[None],
        stars=fit.used[None],
        scatter=np.array([fit.scatter]),
    )


def _motion(
    cube: Cube, chosen: NDArray[np.int64], place: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean motion of stars in some frames, (column, row), and its variance, (row, column).

    Measured at 5 x 5 places; between them it is smooth (a shift, a roll, aberration).
    """
    kernel = cube_motion(cube)
    middle = np.array([cube.column_offset, cube.row_offset]) + np.array(cube.shape[1::-1]) / 2
    half = np.array(cube.shape[1::-1]) / 2
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 2), axis=-1).reshape(-1, 2)
    times = cube.time[chosen]
    moved = np.stack([kernel.jitter(times, *(middle + half * xy)) for xy in grid])
    measured = np.concatenate([moved.mean(axis=1), moved.var(axis=1)[:, ::-1]], axis=1)
    terms, *_ = np.linalg.lstsq(_quadratic(grid), measured, rcond=None)
    values = _quadratic((place - middle) / half) @ terms
    return values[:, :2], np.clip(values[:, 2:], 0.0, None)


def _quadratic(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = xy.T
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
