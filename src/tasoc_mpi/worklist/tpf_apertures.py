"""Target pixel files by the thousand: their headers and apertures, read by several processes."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from ..products.tpf import TPF, read_tpf

__all__ = ["read_stamps"]

#: Files for which another process is worth starting: half a second of reading.
_FILES_A_PROCESS = 40
_CHUNK = 10


def read_stamps(paths: Sequence[Path], processes: int | None = None) -> Iterator[TPF]:
    """Read headers and apertures of target pixel files.

    Parameters
    ----------
    paths : sequence of Path
    processes : int, optional
        Default: as many as there are cores for this program, fewer for few files.

    Yields
    ------
    TPF
        In the order of the files; without table and header cards.

    Raises
    ------
    MissingInput, InputError
        See `products.tpf.read_tpf`.
    """
    if processes is None:
        processes = min(len(os.sched_getaffinity(0)), len(paths) // _FILES_A_PROCESS)
    if processes < 2:
        yield from map(_stamp, paths)
        return
    with warnings.catch_warnings():
        # Newer Pythons warn of threads (of linear algebra, which are idle) that a fork does not copy.
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
            yield from pool.map(_stamp, paths, chunksize=_CHUNK)


def _stamp(path: Path) -> TPF:
    return replace(read_tpf(path, rows=False), header={}, table_header={}, wcs_header={})
