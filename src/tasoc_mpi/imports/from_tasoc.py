"""From a file of the TASOC pipeline to a cube: the same values, transposed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..core.atomic import rename_whole
from ..core.errors import InputError, UsageError
from ..core.input_files import warn_each
from ..core.progress import progress
from ..core.quality import TESSQualityFlags
from ..cubes.checkpoint import Checkpoint
from ..cubes.consistency import one_a_cadence
from ..cubes.file_writing import reserve_space, write_at
from ..cubes.frame_headers import BTC_PIXEL
from ..cubes.frame_series import drop_unusable, reference_frame
from ..cubes.partial_cube import begin_rows, end_cube
from ..cubes.prepare import PrepareOptions, memory_bytes, tess_positions
from ..kernels import blocks
from ..models.motion import WARPMODES
from ..products.cube import allocate_cube, describe_cube, write_wcs
from ..products.frame_wcs import FrameWCS
from ..products.processing import file_rank
from ..products.tasoc_hdf5 import GROUPS, FrameReader, TasocFile, open_tasoc

__all__ = ["import_tasoc", "scan_tasoc"]

#: Bytes of a pixel that are put in their place at once: a line of the processor's cache.
_LINE = 64
#: Blocks larger than this (bytes) gain nothing.
_LARGEST_BLOCK = 1 << 27


def scan_tasoc(path: Path) -> tuple[tuple[int, int, int], TasocFile]:
    """(sector, camera, ccd) of a file, and what is in it but its frames."""
    info = open_tasoc(path)
    sector, camera, ccd = (int(info.attributes[key]) for key in ("SECTOR", "CAMERA", "CCD"))
    return (sector, camera, ccd), _one_a_cadence(info)


def _one_a_cadence(info: TasocFile) -> TasocFile:
    """The file with one frame a cadence, in order of time."""

    def rank(t: int) -> tuple[Any, ...]:
        return bool(info.wcs.good[t]), *file_rank(Path(info.frames[t])), t

    cadence = max(float(info.attributes["CADENCE"]), 1.0)
    chosen, others = one_a_cadence(info.series["time"] - info.series["timecorr"], cadence, rank)
    if chosen == list(range(info.shape[2])):
        return info
    names = [name or f"frame {t}" for t, name in enumerate(info.frames)]
    warn_each(
        [
            f"{info.path}: {names[t]} is left out, {names[best]} is of the same cadence and newer, or a copy"
            for t, best in sorted(others.items())
        ]
    )
    ref = info.ref_frame
    return replace(
        info,
        shape=(*info.shape[:2], len(chosen)),
        numbers=tuple(chosen),
        series={name: values[chosen] for name, values in info.series.items()},
        frames=tuple(info.frames[t] for t in chosen),
        wcs_cards=tuple(info.wcs_cards[t] for t in chosen),
        wcs_headers=tuple(info.wcs_headers[t] for t in chosen),
        wcs=info.wcs.take(chosen),
        ref_frame=None if ref is None else chosen.index(others.get(ref, ref)),
        movement_kernel=None if info.movement_kernel is None else info.movement_kernel[chosen],
    )


def import_tasoc(info: TasocFile, path: Path, options: PrepareOptions, label: str) -> None:
    """Make the cube `path` of a file's frames, or go on where an interrupted attempt stopped.

    Pixel values, flags, times, sum image and movement kernels are those of the file bit for bit, and so
    are its backgrounds, which are stored as pixels. What the file does not have is computed: the
    ephemeris.

    Raises
    ------
    InputError
        If the file is damaged or has no usable WCS, or the disk is full.
    UsageError
        If the memory is too little for a row of pieces.
    """
    part, state_path = (path.with_name(path.name + suffix) for suffix in (".part", ".state"))
    rows_at_once = _rows_at_once(info, memory_bytes(options))
    wcs, headers, ref_frame = _wcs(info)
    digest = _digest(info, options)
    checkpoint = Checkpoint(state_path, digest, info.shape[2], info.shape[0], (1, 1), 0, 0)
    if _whole(part, checkpoint, digest):
        rename_whole(part, path)
    else:
        allocate = functools.partial(_allocate, info, wcs, headers, ref_frame, options)
        offsets = begin_rows(part, digest, list(GROUPS), allocate, checkpoint)
        with contextlib.closing(FrameReader(info)) as reader:
            _copy(reader, part, offsets, checkpoint, rows_at_once, label)
        end_cube(part, path)
    del checkpoint
    state_path.unlink()


def _rows_at_once(info: TasocFile, memory: float) -> int:
    """Rows of a block: whole pieces of the file, so that each is unpacked once."""
    # One block is filled while the one before is written; frames on their way come on top.
    a_row = 4 * info.shape[1] * (2 * info.shape[2] + _LINE // 4)
    most = int(min(memory, _LARGEST_BLOCK) // (a_row * info.chunk_rows)) * info.chunk_rows
    if most == 0 and memory < a_row * info.chunk_rows:
        needed = a_row * info.chunk_rows / 1e9
        raise UsageError(f"--memory {memory / 1e9:.2f} is too little: at least {needed:.2f} GB are needed")
    return max(most, info.chunk_rows)


def _wcs(info: TasocFile) -> tuple[FrameWCS, list[str], int]:
    """World coordinates that can be used, their headers, and the reference frame."""
    origin = (int(info.attributes["PIXEL_OFFSET_ROW"]), int(info.attributes["PIXEL_OFFSET_COLUMN"]))
    wcs, good = info.wcs, info.wcs.good
    names = [f"{info.path} ({name or f'frame {t}'})" for t, name in enumerate(info.frames)]
    drop_unusable(wcs, info.wcs_cards, info.shape[:2], origin, names)
    if not good.any():
        raise InputError(f"{info.path}: no frame in it has a WCS that can be used; make it again")
    headers = [text if ok else "" for text, ok in zip(info.wcs_headers, good, strict=True)]
    ref_frame = info.ref_frame
    if ref_frame is None:
        quality = TESSQualityFlags.filter(info.series["quality"])
        ref_frame = reference_frame(info.series["time"], quality, good, None)
    elif not good[ref_frame]:
        raise InputError(f"{info.path}: its reference frame {ref_frame} has no usable WCS; make it again")
    return wcs, headers, ref_frame


def _digest(info: TasocFile, options: PrepareOptions) -> str:
    stat = info.path.stat()
    words = [str(info.path.resolve()), stat.st_size, stat.st_mtime_ns, info.shape, str(options.spice)]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _whole(part: Path, checkpoint: Checkpoint, digest: str) -> bool:
    """Whether an interrupted attempt had only the file's name left to give."""
    if checkpoint.cube_digest != digest or not checkpoint.rows_done.all() or not part.exists():
        return False
    try:
        with h5py.File(part, "r") as file:
            return bool(file.attrs["COMPLETE"])
    except (OSError, KeyError):
        return False


def _allocate(
    info: TasocFile, wcs: FrameWCS, headers: list[str], ref_frame: int, options: PrepareOptions, part: Path
) -> None:
    """Make an unfinished cube in which only the pixels are missing."""
    if info.movement_kernel is not None and WARPMODES.get(info.warpmode) != info.movement_kernel.shape[1]:
        raise InputError(
            f"{info.path}: movement kernels of kind {info.warpmode!r} with {info.movement_kernel.shape[1]} "
            "parameters are not known; make it again"
        )
    time, timecorr = info.series["time"], info.series["timecorr"]
    positions, source = tess_positions(part.parent, time, timecorr, wcs, ref_frame, BTC_PIXEL, options.spice)
    allocate_cube(part, info.shape, info.attributes, backgrounds=True)
    reserve_space(part, 0, part.stat().st_size)
    with h5py.File(part, "r+") as file:
        for name, values in info.series.items():
            file.create_dataset(name, data=values)
        file.create_dataset("sumimage", data=info.sumimage)
        file.create_dataset("backgrounds_pixels_used", data=info.backgrounds_pixels_used)
        file.create_dataset("ephemeris", data=positions)
        file["ephemeris"].attrs["source"] = source
        names = np.array(info.frames, dtype=object)
        file.create_dataset("frames", data=names, dtype=h5py.string_dtype())
        write_wcs(file, wcs, headers, ref_frame)
        if info.movement_kernel is not None:
            file.create_dataset("movement_kernel", data=info.movement_kernel)
            file["movement_kernel"].attrs["warpmode"] = info.warpmode
        describe_cube(file)


def _copy(
    reader: FrameReader,
    part: Path,
    offsets: dict[str, int],
    checkpoint: Checkpoint,
    rows_at_once: int,
    label: str,
) -> None:
    """Transpose block by block: the disk writes one while the next is read."""
    n_rows, columns, n_time = reader.info.shape
    steps = list(range(0, n_rows, rows_at_once))
    todo = [first for first in steps if not checkpoint.rows_done[first : first + rows_at_once].all()]
    # Memory that was used before is faster than new memory, which the system has to clear first. One buffer
    # is filled while the other one is written.
    size = 4 * min(rows_at_once, n_rows) * columns * n_time
    buffers = itertools.cycle([np.empty(size, dtype="u1"), np.empty(size, dtype="u1")])
    frames = np.empty(_LINE * min(rows_at_once, n_rows) * columns, dtype="u1")
    descriptor = os.open(part, os.O_RDWR)
    try:
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(lambda: None)
            for first in progress(todo, len(todo), f"{label}: pixels", "blocks"):
                last = min(first + rows_at_once, n_rows)
                for name, pixels in _transposed(reader, first, last, buffers, frames):
                    pending.result()
                    place = offsets[name] + first * columns * n_time * pixels.itemsize
                    pending = pool.submit(write_at, descriptor, place, pixels)
                pending.result()
                pending = pool.submit(_sync, descriptor, checkpoint, first, last)
            pending.result()
    finally:
        os.close(descriptor)


def _transposed(
    reader: FrameReader,
    first: int,
    last: int,
    buffers: Iterator[NDArray[np.uint8]],
    frames: NDArray[np.uint8],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Rows of all frames, time last, kind by kind; `buffers` take them, and `frames` those on their way."""
    _, columns, n_time = reader.info.shape
    for name, dtype in GROUPS.items():
        out = _shaped(next(buffers), dtype, (last - first, columns, n_time))
        step = min(_LINE // out.itemsize, n_time)
        some = _shaped(frames, dtype, (step, last - first, columns))
        for t0 in range(0, n_time, step):
            t1 = min(t0 + step, n_time)
            for t in range(t0, t1):
                reader.read_frame(name, t, first, last, some[t - t0])
            blocks.scatter(some[: t1 - t0], out, t0)
        yield name, out


def _shaped(buffer: NDArray[np.uint8], dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """The beginning of a buffer as an array."""
    return buffer.view(dtype)[: math.prod(shape)].reshape(shape)


def _sync(descriptor: int, checkpoint: Checkpoint, first: int, last: int) -> None:
    os.fdatasync(descriptor)
    checkpoint.set_rows(first, last)
