"""Asking the kernel for the pixels of the stars to come, while those at hand are computed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .load_sources import kept_ffi
from .sources import Source
from .stamp import default_size

__all__ = ["ask_ahead", "pixel_runs"]

#: Bytes that are asked for at most: stars of a tile need much less, and what comes too early is lost again.
_MOST = 1 << 30


def ask_ahead(folder: Path, tasks: NDArray[np.void], cache: str = "basic") -> int:
    """Have the pixels in the first stamps of some stars read into the page cache, without waiting for them.

    Parameters
    ----------
    folder : Path
        The input folder.
    tasks : ndarray of TASK_DTYPE
        The stars, of one CCD. Those of a CCD that is not in memory, or of target pixel files, are left out.
    cache : str
        As of `load_ffi`.

    Returns
    -------
    int
        Bytes asked for.
    """
    stars = tasks[tasks["datasource"] == b"ffi"]
    if not len(stars):
        return 0
    sector, camera, ccd = stars[0][["sector", "camera", "ccd"]].tolist()
    source = kept_ffi(folder, sector, camera, ccd, cache)
    if source is None:
        return 0
    known = source.catalog.stars["starid"]
    index = np.minimum(np.searchsorted(known, stars["starid"]), len(known) - 1)
    index = index[known[index] == stars["starid"]].tolist()
    asked, cube = 0, source.cube
    fd = os.open(cube.path, os.O_RDONLY)
    try:
        for first, count in pixel_runs(source, index):
            for name, array in (("images", source.images), ("images_err", source.images_err)):
                size = array.itemsize * array.shape[2]
                os.posix_fadvise(fd, cube.offsets[name] + first * size, count * size, os.POSIX_FADV_WILLNEED)
                asked += count * size
            if asked > _MOST:
                break
    finally:
        os.close(fd)
    return asked


def pixel_runs(source: Source, index: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring pixels in the stamps of catalog stars.

    Parameters
    ----------
    source : Source
    index : list of int
        Of the stars in its catalog.

    Yields
    ------
    tuple of (int, int)
        The first pixel's place in the arrays (row * columns + column) and the number of pixels, in the order
        in which they lie in the file.
    """
    shape = source.images.shape[:2]
    wanted = np.zeros(shape, dtype=bool)
    for i in index:
        height, width = default_size(source.catalog.stars["tmag"][i])
        column, row = source.star_positions[i] - source.origin[::-1]
        if np.isfinite(column) and np.isfinite(row):
            r, c = round(row), round(column)
            rows = slice(max(r - height // 2, 0), max(r + height // 2 + 1, 0))
            wanted[rows, max(c - width // 2, 0) : max(c + width // 2 + 1, 0)] = True
    for row in np.flatnonzero(wanted.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(wanted[row], prepend=False, append=False)).tolist()
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            yield row * shape[1] + start, stop - start
