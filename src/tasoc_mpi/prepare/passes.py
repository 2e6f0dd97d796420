"""The two passes over the frames of a CCD: their backgrounds, then the rows of the cube.

Both can be interrupted at any point: what is done is noted in the state file, after it is on the disk.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..kernels import blocks
from ..products.cube import BackgroundModel
from ..products.ffi import read_rows
from .background import BOX, FLUX_CUTOFF, SkyGeometry, fit_background, usable_pixels
from .frames import FrameSeries
from .progress import progress
from .shenanigans import HALO, flag_shenanigans, sample_frames
from .starlight import star_image
from .state import FITTED, LEFT_OUT, State

__all__ = ["CubeFile", "fit_backgrounds", "measure_movements", "rows_at_once", "write_rows"]

logger = logging.getLogger(__name__)

#: Frames that are put in their place at once: 16 float32 are one line of the processor's cache.
_CHUNK = 16
#: Seconds between two times that the state is put on the disk.
_SYNC_EVERY = 5.0
#: Blocks larger than this (bytes) gain nothing, unless reading a part of a file costs as much as all of it.
_LARGEST_BLOCK = 1 << 30
#: Fewer rows than this make little sense beside the rows that a block needs on both sides.
_FEWEST_ROWS = 4


@dataclass(frozen=True)
class CubeFile:
    """Where the pixels go.

    Attributes
    ----------
    path : Path
        The unfinished cube.
    offsets : dict of int
        First byte of images, images_err, pixel_flags, sumimage, backgrounds_pixels_used and, if the
        background is to be stored as pixels too, backgrounds.
    """

    path: Path
    offsets: dict[str, int]


def fit_backgrounds(
    series: FrameSeries, geometry: SkyGeometry, good: NDArray[np.bool_], state: State, name: str
) -> None:
    """First pass: fit the background of every frame that has none in the state.

    Parameters
    ----------
    series : FrameSeries
    geometry : SkyGeometry
    good : ndarray of bool, shape (T,)
        Frames of good quality: the light of the stars is taken from some of them.
    state : State
        Takes the backgrounds.
    name : str
        Of the CCD, for the progress.
    """
    todo = np.flatnonzero(~state.backgrounds_done())
    stars = None if series.background_applied or not len(todo) else star_image(series, geometry, good)
    synced = time.monotonic()
    for t in progress(todo.tolist(), len(todo), f"{name}: background", "frames"):
        image, _ = read_rows(series.infos[t], 0, series.shape[0], errors=False)
        if not np.any(np.isfinite(image) & (image != 0)):
            logger.warning("%s: nothing but NaN or zero; the frame is left out", series.infos[t].path.name)
            state.set_background(t, LEFT_OUT)
        elif series.background_applied:
            zeros = np.zeros(geometry.mesh_shape, "f4"), np.zeros(len(geometry.nodes), "f4")
            state.set_background(t, FITTED, *zeros)
        else:
            usable = usable_pixels(image, int(series.excluded[t]))
            fitted = fit_background(image if stars is None else image - stars, usable, geometry)
            if fitted is None:
                if series.excluded[t] > 0:
                    logger.warning(
                        "%s: not enough usable pixels for its background; the frame is left out",
                        series.infos[t].path.name,
                    )
                state.set_background(t, LEFT_OUT)
            else:
                state.set_background(t, FITTED, *fitted)
        if time.monotonic() - synced > _SYNC_EVERY:
            state.flush()
            synced = time.monotonic()
    state.flush()


def measure_movements(
    series: FrameSeries,
    background: BackgroundModel,
    usable: NDArray[np.bool_],
    ref_frame: int,
    warpmode: str,
    state: State,
    name: str,
) -> NDArray[np.float64]:
    """Image movement kernels of all frames, shape (T, n); NaN where there is none.

    Parameters
    ----------
    usable : ndarray of bool, shape (T,)
        Frames with pixels; the others have no kernel.
    """
    from ..motion import ImageMovementKernel

    def image(t: int) -> NDArray[np.float32]:
        flux, _ = read_rows(series.infos[t], 0, series.shape[0], errors=False)
        flux -= background.frame(series.shape, t)
        flux[:, series.excluded[t] :] = np.nan
        return flux

    row, column = series.origin
    kernel = ImageMovementKernel(
        warpmode=warpmode, image_ref=image(ref_frame), origin=(float(column), float(row))
    )
    todo = np.flatnonzero(~state.movements_done())
    none = np.full(kernel.n_params, np.nan)
    for t in progress(todo.tolist(), len(todo), f"{name}: movement", "frames"):
        state.set_movement(t, kernel.calc_kernel(image(t)) if usable[t] else none)
    state.flush()
    return state.movements()


def write_rows(
    series: FrameSeries,
    background: BackgroundModel,
    excluded: NDArray[np.int32],
    good: NDArray[np.bool_],
    cube: CubeFile,
    state: State,
    most: int,
    name: str,
) -> None:
    """Second pass: the rows of the cube that are not in the state, block by block.

    Parameters
    ----------
    background : BackgroundModel
        Averaged in time.
    excluded : ndarray of int32, shape (T,)
        First column left out by hand; 0 for frames that are left out.
    good : ndarray of bool, shape (T,)
        Frames whose mean is the sum image.
    cube : CubeFile
    state : State
    most : int
        Rows of a block, from `rows_at_once`.
    name : str
        Of the CCD, for messages.
    """
    work = list(_blocks(~state.rows_done, most))
    chunks = -(-len(series) // _CHUNK)
    sample = sample_frames(good)
    steps = iter(progress(range(len(work) * chunks), len(work) * chunks, f"{name}: cube", "pieces"))
    descriptor = os.open(cube.path, os.O_RDWR)
    pending: Future[None] | None = None
    try:
        with ThreadPoolExecutor(1) as pool:
            for first, last in work:
                block = _read_block(series, first, last, "backgrounds" in cube.offsets, steps)
                _finish_block(block, series, background, excluded, good, sample)
                if pending is not None:
                    pending.result()
                _write_block(descriptor, cube, block)
                # The disk works while the next block is computed.
                pending = pool.submit(_sync, descriptor, state, first, last)
                del block
            if pending is not None:
                pending.result()
    finally:
        os.close(descriptor)


def _sync(descriptor: int, state: State, first: int, last: int) -> None:
    os.fdatasync(descriptor)
    state.set_rows(first, last)


@dataclass
class _Block:
    """Some rows of the cube, with more rows on both sides in `images`, `flags` and `sumimage`."""

    first: int
    last: int
    #: Row of the cube of the first row of `images`.
    row0: int
    images: NDArray[np.float32]
    errors: NDArray[np.float32]
    flags: NDArray[np.uint8]
    #: Of size zero if it is not to be stored.
    backgrounds: NDArray[np.float32]
    sumimage: NDArray[np.float32]
    used: NDArray[np.uint8]

    @property
    def inner(self) -> slice:
        """The rows themselves, without the ones on both sides."""
        return slice(self.first - self.row0, self.last - self.row0)


def rows_at_once(series: FrameSeries, memory: float, backgrounds: bool = False) -> int:
    """Rows of a block that fit into the memory (bytes); UsageError where too few do."""
    rows, columns = series.shape
    a_row = columns * len(series)
    compressed = series.infos[0].path.suffix == ".gz"
    # Bytes of a value on the sides of a block, and in it; frames on their way into it.
    sides = 9 if backgrounds else 5
    inner = sides + 4
    pieces = 2 * _CHUNK * columns * 4
    limit = memory if compressed else min(memory, max(_LARGEST_BLOCK, 4.0 * HALO * inner * a_row))
    most = int((limit - 2 * HALO * (sides * a_row + pieces)) // (inner * a_row + pieces))
    if most < _FEWEST_ROWS and rows > most:
        needed = (2 * HALO + _FEWEST_ROWS) * (inner * a_row + pieces) / 1e9
        raise UsageError(
            f"--memory {memory / 1e9:.2f} is too little for {len(series)} frames of {columns} columns: "
            f"at least {needed:.2f} GB are needed"
        )
    return min(most, rows)


def _blocks(todo: NDArray[np.bool_], most: int) -> Iterator[tuple[int, int]]:
    """Runs of rows to be done, cut into equal pieces of at most so many rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], todo.astype("i1"), [0]])))
    for first, last in edges.reshape(-1, 2):
        pieces = -(-(last - first) // most)
        places = np.linspace(first, last, pieces + 1).round().astype(int)
        yield from zip(places[:-1].tolist(), places[1:].tolist(), strict=True)


def _read_block(
    series: FrameSeries, first: int, last: int, backgrounds: bool, steps: Iterator[Any]
) -> _Block:
    """Rows of all frames, time last."""
    rows, columns = series.shape
    row0, row1 = max(0, first - HALO), min(rows, last + HALO)
    n_time = len(series)
    block = _Block(
        first=first,
        last=last,
        row0=row0,
        images=np.empty((row1 - row0, columns, n_time), dtype="f4"),
        errors=np.empty((last - first, columns, n_time), dtype="f4"),
        flags=np.empty((row1 - row0, columns, n_time), dtype="u1"),
        backgrounds=np.empty((row1 - row0, columns, n_time) if backgrounds else (0, 0, 0), dtype="f4"),
        sumimage=np.empty((row1 - row0, columns), dtype="f4"),
        used=np.empty((row1 - row0, columns), dtype="u1"),
    )
    flux = np.empty((_CHUNK, row1 - row0, columns), dtype="f4")
    error = np.empty((_CHUNK, last - first, columns), dtype="f4")
    for t0 in range(0, n_time, _CHUNK):
        t1 = min(t0 + _CHUNK, n_time)
        for k, info in enumerate(series.infos[t0:t1]):
            f, e = read_rows(info, row0, row1)
            assert e is not None
            flux[k] = f
            error[k] = e[first - row0 : last - row0]
        blocks.scatter(flux[: t1 - t0], block.images, t0)
        blocks.scatter(error[: t1 - t0], block.errors, t0)
        next(steps, None)
    return block


def _finish_block(
    block: _Block,
    series: FrameSeries,
    background: BackgroundModel,
    excluded: NDArray[np.int32],
    good: NDArray[np.bool_],
    sample: NDArray[np.int64],
) -> None:
    """Take the background out, and make flags and sum image."""
    blocks.subtract(
        block.images,
        block.flags,
        block.backgrounds,
        excluded,
        FLUX_CUTOFF,
        block.row0,
        (float(background.origin[0]), float(background.origin[1])),
        (float(background.centre[0]), float(background.centre[1])),
        BOX,
        background.mesh,
        background.radial,
        background.radial_first,
        background.radial_step,
    )
    block.sumimage, used = blocks.means(block.images, block.flags, good)
    block.used = (2 * used > len(series)).astype("u1")
    inner = block.inner
    flag_shenanigans(block.images, block.sumimage, block.flags, (inner.start, inner.stop), block.row0, sample)


def _write_block(descriptor: int, cube: CubeFile, block: _Block) -> None:
    inner = block.inner
    pieces: dict[str, NDArray[Any]] = {
        "images": block.images[inner],
        "images_err": block.errors,
        "pixel_flags": block.flags[inner],
        "sumimage": block.sumimage[inner],
        "backgrounds_pixels_used": block.used[inner],
        "backgrounds": block.backgrounds[inner],
    }
    for name, offset in cube.offsets.items():
        rows = pieces[name]
        _write_at(descriptor, offset + block.first * (rows.nbytes // len(rows)), rows)


def _write_at(descriptor: int, place: int, data: NDArray[Any]) -> None:
    view = np.ascontiguousarray(data).view("u1").ravel().data
    while view:
        # One call writes at most 2 GB.
        written = os.pwrite(descriptor, view[: 1 << 30], place)
        place += written
        view = view[written:]
