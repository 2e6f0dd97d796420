"""What a run would do and need, before anything is computed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.names import cube_name
from ..core.resources import available_memory
from .queue import BatchSize, Queue
from .result_store import Store

__all__ = ["Needs", "check_needs", "needs_of", "plan", "wanted_of"]

#: Bytes of memory: rank 0 by itself and for each row of its list, a worker beside the pixels that it shares.
_RANK_0 = 80e6
_ROW = 350
_WORKER = 250e6
#: Bytes on disk of a star: of its light curve's headers and stamps, of each cadence, in `todo.sqlite`.
_LIGHTCURVE = 15e3
_CADENCE = 55
_RESULT = 600
_SECTOR_SECONDS = 27.4 * 86400
#: Estimates are not far from the truth, but a run is refused only if it needs much more than there is.
_CERTAIN = 2.0


@dataclass(frozen=True)
class Needs:
    """What a run needs and what there is, in bytes.

    Attributes
    ----------
    rank_0, worker : float
        Memory of rank 0, and of each worker.
    local : float
        Memory of all ranks on rank 0's node.
    lightcurves, todo : float
        Disk for the light curves, and for the work list to grow.
    memory_free, output_free, todo_free : float
        On rank 0's node, and on the disks.
    """

    rank_0: float
    worker: float
    local: float
    lightcurves: float
    todo: float
    memory_free: float
    output_free: float
    todo_free: float


def _disk_free(folder: Path) -> float:
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def needs_of(store: Store, wanted: NDArray[np.bool_], output: Path, node: list[int]) -> Needs:
    """Estimate what a run needs.

    Parameters
    ----------
    store : Store
        The work list.
    wanted : ndarray of bool
        Rows that would be computed.
    output : Path
        Where light curves go.
    node : list of int
        Number of each rank's node.
    """
    cadence = np.maximum(store.rows["cadence"][wanted], 1)
    rank_0 = _RANK_0 + _ROW * len(store.rows)
    memory = available_memory()
    here = max(1, node.count(node[0]) - (len(node) > 1))
    return Needs(
        rank_0=rank_0,
        worker=_WORKER,
        local=rank_0 + here * _WORKER,
        lightcurves=float(np.sum(_LIGHTCURVE + _CADENCE * _SECTOR_SECONDS / cadence)),
        todo=_RESULT * float(np.count_nonzero(wanted)),
        # Where the system does not say, nothing is refused.
        memory_free=float("inf") if memory is None else float(memory),
        output_free=_disk_free(output),
        todo_free=_disk_free(store.path.parent),
    )


def check_needs(needs: Needs, output: Path, todo: Path) -> None:
    """Refuse what certainly does not fit.

    Raises
    ------
    InputError
        Naming what is too small.
    """
    same = output.exists() and output.stat().st_dev == todo.stat().st_dev
    disk = needs.lightcurves + (needs.todo if same else 0.0)
    if disk > _CERTAIN * needs.output_free:
        raise InputError(
            f"{output}: the light curves need some {_bytes(disk)}, {_bytes(needs.output_free)} are free; make"
            " room, choose another --output or fewer stars"
        )
    if needs.todo > _CERTAIN * needs.todo_free:
        raise InputError(
            f"{todo}: will grow by some {_bytes(needs.todo)}, {_bytes(needs.todo_free)} are free; make room"
        )
    if needs.local > _CERTAIN * needs.memory_free:
        raise InputError(
            f"the ranks of this node need some {_bytes(needs.local)} of memory, {_bytes(needs.memory_free)}"
            " are free; start fewer"
        )


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError


def wanted_of(store: Store, chosen: NDArray[np.bool_], overwrite: bool) -> NDArray[np.bool_]:
    """Which of the chosen rows a run would compute."""
    if overwrite:
        return chosen.copy()
    return chosen & (store.state.skipped_by() < 0) & ~store.state.done


def plan(
    store: Store, chosen: NDArray[np.bool_], source: Path, output: Path, node: list[int], overwrite: bool
) -> Iterator[str]:
    """What a run would do, in lines for the user.

    Parameters
    ----------
    store : Store
        The work list.
    chosen : ndarray of bool
        Rows that fulfil the filters.
    source, output : Path
        Folders of cubes and of light curves.
    node : list of int
        Number of each rank's node.
    overwrite : bool
        Whether what is done is computed again.
    """
    wanted = wanted_of(store, chosen, overwrite)
    yield f"{wanted.sum()} of {len(wanted)} stars would be computed ({chosen.sum()} fulfil the filters)"
    yield from _places(store, wanted, source)
    yield from _ranks(store, wanted, node)
    needs = needs_of(store, wanted, output, node)
    yield (
        f"memory: rank 0 {_bytes(needs.rank_0)}, each worker {_bytes(needs.worker)} beside the pages of cubes"
        f" that a node shares; on this node {_bytes(needs.local)} of {_bytes(needs.memory_free)} free"
    )
    yield f"disk: {output} {_bytes(needs.lightcurves)} of {_bytes(needs.output_free)} free"
    yield f"disk: {store.path} {_bytes(needs.todo)} more of {_bytes(needs.todo_free)} free"


def _places(store: Store, wanted: NDArray[np.bool_], source: Path) -> Iterator[str]:
    """The CCDs with their cubes."""
    rows = store.rows[wanted]
    places, which = np.unique(rows[["sector", "camera", "ccd"]], return_inverse=True)
    files = np.bincount(which, rows["datasource"] != b"ffi", len(places)).astype(int)
    counts = np.bincount(which, minlength=len(places))
    for (sector, camera, ccd), stars, tpf in zip(
        places.tolist(), counts.tolist(), files.tolist(), strict=True
    ):
        cube = source / cube_name(sector, camera, ccd)
        size = f"cube {_bytes(cube.stat().st_size)}" if cube.is_file() else "no cube: errors"
        yield f"  s{sector:03d}-{camera}-{ccd}  {stars:9d} stars ({tpf} from target pixel files), {size}"


def _ranks(store: Store, wanted: NDArray[np.bool_], node: list[int]) -> Iterator[str]:
    """On which CCD each node begins."""
    workers = max(1, len(node) - 1)
    queue = Queue(store.rows, np.flatnonzero(wanted), BatchSize(workers), store.list.tile)
    names = sorted(set(node[1:] or node))
    yield f"{workers} worker(s) on {len(names)} node(s)"
    for name in names[:32]:
        tasks, _ = queue.take(name)
        count = max(1, node[1:].count(name))
        if len(tasks):
            first = tasks[0]
            place = f"s{first['sector']:03d}-{first['camera']}-{first['ccd']}"
            yield f"  node {name}: {count} worker(s), from {place} on"
    if len(names) > 32:
        yield f"  and {len(names) - 32} more nodes"
