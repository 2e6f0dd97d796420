"""Reading the pixels of a batch into the page cache while the batch before it is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .load_sources import kept_ffi, trust
from .sources import CubeSource, Source
from .stamp import default_size

__all__ = ["expect", "pixel_runs", "prefetch"]

#: Largest number of bytes; stars of a tile need much less, and pages that are read too early are lost.
_MOST_BYTES = 1 << 30


def prefetch(folder: Path, tasks: NDArray[np.void], cache: str = "basic") -> int:
    """Start reading the first stamps of stars into the page cache.

    Parameters
    ----------
    folder : Path
        The input folder.
    tasks : ndarray of TASK_DTYPE
        Stars of one CCD. Nothing is read for target pixel files, or for a CCD that is not in memory.
    cache : str
        As of `load_ffi`.

    Returns
    -------
    int
        Number of bytes.
    """
    source, index = _known_stars(folder, tasks, cache)
    if source is None:
        return 0
    asked, cube = 0, source.cube
    fd = os.open(cube.path, os.O_RDONLY)
    try:
        for first, count in pixel_runs(source, index):
            for name, array in (("images", source.images), ("images_err", source.images_err)):
                size = array.itemsize * array.shape[2]
                os.posix_fadvise(fd, cube.offsets[name] + first * size, count * size, os.POSIX_FADV_WILLNEED)
                asked += count * size
            if asked > _MOST_BYTES:
                break
    finally:
        os.close(fd)
    return asked


def expect(folder: Path, tasks: NDArray[np.void], cache: str = "basic") -> None:
    """Tell the source of a CCD which stars come next; see `Source.expect`. Arguments as of `prefetch`.

    Until the next call, changes of its files are not noticed.
    """
    source, index = _known_stars(folder, tasks, cache)
    trust(folder, source, cache)
    if source is not None:
        source.expect(index)


def _known_stars(folder: Path, tasks: NDArray[np.void], cache: str) -> tuple[CubeSource | None, list[int]]:
    """The source of a CCD that is in memory, and the places of stars in its catalog."""
    stars = tasks[tasks["datasource"] == b"ffi"]
    if not len(stars):
        return None, []
    sector, camera, ccd = stars[0][["sector", "camera", "ccd"]].tolist()
    source = kept_ffi(folder, sector, camera, ccd, cache)
    if source is None:
        return None, []
    known = source.catalog.starids
    index = np.minimum(np.searchsorted(known, stars["starid"]), len(known) - 1)
    return source, index[known[index] == stars["starid"]].tolist()


def pixel_runs(source: Source, index: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring pixels in the stamps of catalog stars, in the order of the file.

    Yields
    ------
    (int, int)
        Position of the first pixel in the arrays (row * columns + column), and number of pixels.
    """
    shape = source.images.shape[:2]
    wanted = np.zeros(shape, dtype=bool)
    tmags = source.catalog.stars["tmag"][index].tolist()
    places = (source.star_positions[index] - source.origin[::-1]).tolist()
    for tmag, (x, y) in zip(tmags, places, strict=True):
        if math.isfinite(x) and math.isfinite(y):
            height, width = default_size(tmag)
            r, c = round(y), round(x)
            rows = slice(max(r - height // 2, 0), max(r + height // 2 + 1, 0))
            wanted[rows, max(c - width // 2, 0) : max(c + width // 2 + 1, 0)] = True
    (used,) = np.nonzero(wanted.any(axis=1))
    # Runs end with the rows: each has a pixel more that is not wanted.
    padded = np.pad(wanted[used], ((0, 0), (0, 1))).ravel()
    (edges,) = np.nonzero(np.diff(padded, prepend=False, append=False))
    line, column = np.divmod(edges, shape[1] + 1)
    places = (used[line] * shape[1] + column).tolist()
    yield from ((start, stop - start) for start, stop in zip(places[::2], places[1::2], strict=True))
