"""From a cube of MAST's to ours, by the same steps as from frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..core.disk_space import reserve
from ..core.errors import InputError
from ..core.progress import progress
from ..cubes.file_writing import write_at
from ..products.ffi import FFIInfo
from ..products.mast_cube import MastPixels, frame_block, scan_mast_cube

__all__ = ["mast_frames"]

#: Blocks of rows that are read at once are no smaller than this (bytes).
_SMALLEST_BLOCK = 1 << 22


@contextmanager
def mast_frames(file: Path, folder: Path, memory: float) -> Iterator[tuple[FFIInfo, ...]]:
    """The frames of a cube, so that one frame can be read as fast as from a file of its own.

    In the cube a frame's pixels lie far apart, and reading one of them costs as much as reading all. Where
    they do not fit into the memory together, the fluxes are written frame by frame to a file in `folder` that
    has no name and is gone when it is not needed any more, however the program ends. The cube is read
    once from its beginning to its end for that.

    Parameters
    ----------
    file : Path
        The cube.
    folder : Path
        Has room for half of the cube's size.
    memory : float
        Bytes that may be used.

    Yields
    ------
    tuple of FFIInfo
        To be used within the context.

    Raises
    ------
    MissingInput, InputError
        See `scan_mast_cube`; if the disk is full.
    """
    infos = scan_mast_cube(file, memory)
    rows, columns = infos[0].shape
    if 4.0 * rows * columns * len(infos) <= memory:
        yield infos
        return
    with tempfile.TemporaryFile(dir=folder, prefix=".frames") as spool:
        try:
            _write_frames(infos, spool.fileno(), memory)
        except OSError as error:
            raise InputError(
                f"{folder}: the frames of {file} cannot be written ({error}); make room"
            ) from None
        yield tuple(replace(info, pixels=_spooled(info, spool.fileno())) for info in infos)


def _spooled(info: FFIInfo, spool: int) -> MastPixels:
    assert isinstance(info.pixels, MastPixels)
    return replace(info.pixels, spool=spool)


def _write_frames(infos: Sequence[FFIInfo], spool: int, memory: float) -> None:
    """Write the fluxes as (frame, row, column)."""
    rows, columns = infos[0].shape
    reserve(spool, 0, 4 * rows * columns * len(infos))
    step = max(1, int(max(memory, _SMALLEST_BLOCK) // (4 * columns * len(infos))))
    starts = range(0, rows, step)
    for first in progress(starts, len(starts), f"{infos[0].path.name}: frames", "blocks"):
        last = min(first + step, rows)
        block = frame_block(infos[0], first, last)
        for t, frame in enumerate(block):
            write_at(spool, 4 * columns * (t * rows + first), frame)
