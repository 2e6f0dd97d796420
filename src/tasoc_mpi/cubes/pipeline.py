"""The steps over the frames of a CCD, led by rank 0: stars, backgrounds, flags, the rows of the cube.

All can be interrupted at any point: a result is noted in the checkpoint file after it is on the disk.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from ..core.progress import progress
from ..core.ranks import Ranks
from ..kernels.background_model import BackgroundModel
from ..products.ffi import FFIInfo
from .background import background_model, starless_model
from .checkpoint import FITTED, LEFT_OUT, NO_SKY, Checkpoint
from .frame_headers import FrameFacts, frame_facts
from .frame_pixels import Frames
from .frame_series import FrameSeries
from .star_image import FEWEST_FRAMES
from .tasks import (
    CHUNK,
    FitStep,
    FlagsStep,
    HeadersStep,
    LoadStep,
    MovementStep,
    ReserveStep,
    RowsStep,
    StarsStep,
)

__all__ = [
    "fit_backgrounds",
    "flag_frames",
    "make_stars",
    "measure_movements",
    "read_headers",
    "reserve",
    "rows_at_once",
    "write_rows",
]

logger = logging.getLogger(__name__)

#: Seconds between two times that the checkpoint is put on the disk.
_SYNC_EVERY = 5.0
#: Blocks larger than this (bytes) gain nothing, unless reading a part of a file costs as much as all of it.
_LARGEST_BLOCK = 1 << 30
#: The same for the frames that the image of the stars is made of: they stay in the processor's cache.
_LARGEST_STARS = 1 << 24
#: Bytes of a file that a rank takes from the disk at once: in memory that takes as long as writing a third.
_RESERVED_AT_ONCE = 1 << 26
#: Headers that a rank reads at once.
_HEADERS = 8
#: Blocks for each rank: the disk writes one while the next one is computed, and few frames stay in the
#: processor's cache.
_BLOCKS = 32
#: Reading fewer rows than this from many files takes longer than it should.
_FEWEST_ROWS = 32


def _share(
    ranks: Ranks,
    step: Any,
    pieces: Sequence[tuple[int, int]],
    note: Callable[[int, int, Any], None],
    checkpoint: Checkpoint,
    label: str,
    unit: str,
) -> None:
    """Compute a step on all ranks, show its progress, and sync the checkpoint every 5 s and at the end."""
    steps = iter(progress(range(len(pieces)), len(pieces), label, unit))
    next(steps, None)
    synced = time.monotonic()

    def done(first: int, last: int, result: Any) -> None:
        nonlocal synced
        note(first, last, result)
        next(steps, None)
        if time.monotonic() - synced > _SYNC_EVERY:
            checkpoint.flush()
            synced = time.monotonic()

    try:
        ranks.share(step, pieces, done)
    finally:
        checkpoint.flush()


def _of_frames(todo: Iterable[int]) -> list[tuple[int, int]]:
    return [(int(t), int(t) + 1) for t in todo]


def read_headers(ranks: Ranks, paths: Sequence[Path | FFIInfo], name: str) -> Iterator[FrameFacts]:
    """The headers of all frames in order, those that were not read yet by all ranks.

    Parameters
    ----------
    ranks : Ranks
    paths : sequence of Path or FFIInfo
    name : str
        Of the CCD, for the progress.

    Raises
    ------
    InputError
        See `frame_headers.frame_facts`.
    """
    # Rank 0 needs kernels for the headers, too: all ranks load theirs at the same time.
    ranks.share(LoadStep(), [(rank, rank + 1) for rank in range(ranks.size)], lambda *_: None)
    unread = [path for path in paths if isinstance(path, Path)]
    if ranks.size == 1 or len(unread) < len(paths):
        yield from map(frame_facts, progress(paths, len(paths), f"{name}: headers", "frames"))
        return
    found: dict[int, list[FrameFacts]] = {}
    pieces = [(t, min(t + _HEADERS, len(unread))) for t in range(0, len(unread), _HEADERS)]
    steps = iter(progress(pieces, len(pieces), f"{name}: headers", "pieces"))

    def note(first: int, last: int, result: list[FrameFacts]) -> None:
        found[first] = result
        next(steps, None)

    ranks.share(HeadersStep(unread), pieces, note)
    for first, _ in pieces:
        yield from found.pop(first)


def _digest(*parts: Any) -> int:
    """A number that identifies the input of a result."""
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(
            part.tobytes() if isinstance(part, np.ndarray) else str(part).encode(), checksum
        )
    return checksum


def make_stars(
    ranks: Ranks,
    frames: Frames,
    chosen: NDArray[np.int64],
    enough: bool,
    file_digests: NDArray[np.uint32],
    checkpoint: Checkpoint,
    memory: float,
    name: str,
) -> tuple[int, bool]:
    """The image of the stars, in the checkpoint file.

    Parameters
    ----------
    ranks : Ranks
    frames : Frames
    chosen : ndarray of int64
        Frames that it is made of (`star_image.chosen_frames`).
    enough : bool
        Whether there were enough good ones.
    file_digests : ndarray of uint32, shape (T,)
        Identify the frames' files (`partial_cube.file_digests`).
    checkpoint : Checkpoint
    memory : float
        Bytes that a rank may use.
    name : str
        Of the CCD, for the progress.

    Returns
    -------
    digest : int
        Identifies the image by its input.
    enough : bool
        Whether backgrounds are to be fitted to frames less this image.
    """
    index = {int(t): k for k, t in enumerate(chosen)}

    def note(first: int, last: int, fit: Any) -> None:
        checkpoint.set_background("samples", index[first], int(file_digests[first]), *fit[:3])

    todo = chosen[~checkpoint.done("samples", file_digests[chosen])]
    _share(ranks, FitStep(frames, None), _of_frames(todo), note, checkpoint, f"{name}: stars", "frames")
    verdicts, levels, radial = checkpoint.backgrounds("samples")
    used = verdicts == FITTED
    digest = _digest(file_digests[chosen], chosen, "stars")
    if not used.any():
        return digest, False
    model = background_model(frames.geometry, levels[:, :, used], radial[:, used])
    step = StarsStep(frames, checkpoint.images, chosen[used], model)
    limit = _LARGEST_BLOCK if frames.compressed else _LARGEST_STARS
    # Frames, one that is read, and the image.
    most = int(min(memory, limit) // (4 * frames.shape[1] * (int(used.sum()) + 2)))
    pieces = list(_pieces(~checkpoint.stars_done(digest), max(most, 1), ranks.size, _fewest_rows(frames)))

    _share(ranks, step, pieces, checkpoint.set_stars, checkpoint, f"{name}: stars", "pieces")
    return digest, bool(enough and used.sum() >= FEWEST_FRAMES)


def fit_backgrounds(
    ranks: Ranks,
    frames: Frames,
    file_digests: NDArray[np.uint32],
    stars: tuple[int, bool],
    checkpoint: Checkpoint,
    name: str,
) -> None:
    """Fit the background of every frame that has none in the checkpoint; most get their flags with it.

    Parameters
    ----------
    stars : (int, bool)
        From `make_stars`.

    Others as there.
    """
    image = stars[0] if stars[1] else None
    digests = np.array(
        [_digest(*of_frame, image) for of_frame in zip(file_digests, frames.excluded, strict=True)],
        dtype="u4",
    )

    def note(first: int, last: int, fit: Any) -> None:
        verdict, path = fit[0], frames.infos[first].path.name
        if verdict == LEFT_OUT:
            logger.warning("%s: nothing but NaN or zero; the frame is left out", path)
        elif verdict == NO_SKY and frames.excluded[first] > 0:
            logger.warning("%s: not enough usable pixels for its background; the frame is left out", path)
        *background, flags = fit
        checkpoint.set_background("frames", first, int(digests[first]), *background)
        if flags is not None:
            model = starless_model(frames.geometry, *background[1:])
            digest = _flags_digests(file_digests[first:last], model, frames, stars)[0]
            checkpoint.set_flags(first, int(digest), *flags)

    step = FitStep(frames, checkpoint.images if stars[1] else None)
    todo = np.flatnonzero(~checkpoint.done("frames", digests))
    _share(ranks, step, _of_frames(todo), note, checkpoint, f"{name}: backgrounds", "frames")


def _model_digests(
    file_digests: NDArray[np.uint32], model: BackgroundModel, *others: Any
) -> NDArray[np.uint32]:
    """Identify the frames less their backgrounds."""
    return np.array(
        [
            _digest(file, model.mesh[:, :, t].copy(), model.radial[:, t].copy(), *others)
            for t, file in enumerate(file_digests)
        ],
        dtype="u4",
    )


def _flags_digests(
    file_digests: NDArray[np.uint32], model: BackgroundModel, frames: Frames, stars: tuple[int, bool]
) -> NDArray[np.uint32]:
    """Identify what the flags of frames depend on."""
    return _model_digests(file_digests, model, frames.excluded, stars)


def flag_frames(
    ranks: Ranks,
    frames: Frames,
    file_digests: NDArray[np.uint32],
    model: BackgroundModel,
    stars: tuple[int, bool],
    checkpoint: Checkpoint,
    name: str,
) -> NDArray[np.uint32]:
    """Flag the background shenanigans; return the number of flagged pixels in every frame, shape (T,).

    Frames that were flagged together with the fit of their background (`tasks.FitStep`) are not read again.

    Parameters are those of `make_stars` and `fit_backgrounds`.
    """
    digests = _flags_digests(file_digests, model, frames, stars)
    there = checkpoint.done("flags", digests)
    there[checkpoint.damaged_flags()] = False

    def note(first: int, last: int, flags: tuple[int, int]) -> None:
        checkpoint.set_flags(first, int(digests[first]), *flags)

    todo = _of_frames(np.flatnonzero(~there))
    step = FlagsStep(frames, checkpoint.images, model)
    _share(ranks, step, todo, note, checkpoint, f"{name}: flags", "frames")
    return checkpoint.flagged()


def measure_movements(
    ranks: Ranks,
    frames: Frames,
    file_digests: NDArray[np.uint32],
    model: BackgroundModel,
    usable: NDArray[np.bool_],
    ref_frame: int,
    warpmode: str,
    checkpoint: Checkpoint,
    name: str,
) -> NDArray[np.float64]:
    """Image movement kernels of all frames, shape (T, n); NaN where there is none.

    Parameters
    ----------
    usable : ndarray of bool, shape (T,)
        Frames with pixels; the others have no kernel.
    """
    digests = _model_digests(file_digests, model, file_digests[ref_frame], ref_frame, warpmode)

    def note(first: int, last: int, kernel: NDArray[np.float64]) -> None:
        checkpoint.set_movement(first, int(digests[first]), kernel)

    step = MovementStep(frames, warpmode, ref_frame, usable, model)
    todo = np.flatnonzero(~checkpoint.done("movement", digests))
    _share(ranks, step, _of_frames(todo), note, checkpoint, f"{name}: movement", "frames")
    return checkpoint.movements()


def reserve(ranks: Ranks, part: Path) -> None:
    """Take the room for an unfinished cube from the disk; OSError if there is none."""
    size = part.stat().st_size
    pieces = [(first, min(first + _RESERVED_AT_ONCE, size)) for first in range(0, size, _RESERVED_AT_ONCE)]
    ranks.share(ReserveStep(part), pieces, lambda *_: None)


def write_rows(
    ranks: Ranks,
    frames: Frames,
    model: BackgroundModel,
    excluded: NDArray[np.int32],
    good: NDArray[np.bool_],
    flagged: NDArray[np.bool_],
    part: Path,
    offsets: dict[str, int],
    checkpoint: Checkpoint,
    most: int,
    name: str,
) -> None:
    """The rows of the cube that are not in the checkpoint, block by block.

    Parameters
    ----------
    model : BackgroundModel
        Averaged in time.
    excluded : ndarray of int32, shape (T,)
        First column left out by hand; 0 for frames that are left out.
    good : ndarray of bool, shape (T,)
        Frames whose mean is the sum image.
    flagged : ndarray of bool, shape (T,)
        Frames with background shenanigans.
    part : Path
        The unfinished cube.
    offsets : dict of int
        See `RowsStep`.
    checkpoint : Checkpoint
    most : int
        Rows of a block, from `rows_at_once`.
    name : str
        Of the CCD, for messages.
    """
    step = RowsStep(frames, checkpoint.images, part, offsets, model, excluded, good, flagged)
    pieces = list(_pieces(~checkpoint.rows_done, most, ranks.size, _fewest_rows(frames)))

    def note(first: int, last: int, _: None) -> None:
        checkpoint.set_rows(first, last)

    _share(ranks, step, pieces, note, checkpoint, f"{name}: cube", "blocks")


def _fewest_rows(frames: Frames) -> int:
    """Blocks are not cut finer than this, only because there are many ranks, or to share them evenly."""
    # For every block a compressed file is unpacked from its start.
    return frames.shape[0] if frames.compressed else _FEWEST_ROWS


def rows_at_once(series: FrameSeries, memory: float, backgrounds: bool = False) -> int:
    """Rows of a block that fit into a rank's memory (bytes); UsageError where not even one does."""
    rows, columns = series.shape
    compressed = any(info.compressed for info in series.infos)
    limit = memory if compressed else min(memory, _LARGEST_BLOCK)
    # Values of the cube; frames on their way into it, flux and error.
    a_row = columns * ((13 if backgrounds else 9) * len(series) + 2 * 4 * (CHUNK + 2))
    most = int(limit // a_row)
    if most == 0:
        if memory < a_row:
            raise UsageError(
                f"--memory: {memory / 1e9:.4f} GB for a process are too little for {len(series)} frames of "
                f"{columns} columns: at least {a_row / 1e9:.4f} GB are needed"
            )
        most = 1
    return min(most, rows)


def _pieces(todo: NDArray[np.bool_], most: int, size: int, fewest: int) -> Iterable[tuple[int, int]]:
    """Runs of rows to be done, cut into equal pieces of at most `most` rows, as many for each rank.

    Several for each, if they have `fewest` rows.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], todo.astype("i1"), [0]])))
    for first, last in edges.reshape(-1, 2):
        pieces = max(-(-(last - first) // most), min(_BLOCKS * size, (last - first) // fewest))
        pieces = min(-(-pieces // size) * size, last - first)
        places = np.linspace(first, last, pieces + 1).round().astype(int)
        yield from zip(places[:-1].tolist(), places[1:].tolist(), strict=True)
