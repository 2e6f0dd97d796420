"""The memory and disk that a run needs, and the lines of a dry run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.distinct import distinct
from ..core.errors import InputError
from ..core.names import cube_name
from ..core.resources import available_memory
from ..core.tables import counted, size_text
from ..worklist.work_list import ccd_name
from .queue import BatchSize, Queue
from .run_results import RunResults
from .run_time import RunTime

__all__ = ["Requirement", "check_requirements", "disk_free", "plan", "plan_values", "requirements"]

#: Bytes of memory: rank 0 by itself and for each row of its list, a worker beside the pixels that it shares.
_RANK_0, _ROW, _WORKER = 80e6, 350, 250e6
#: Bytes on disk of a star: of its light curve's headers and stamps, of each cadence, in `todo.sqlite`.
_LIGHTCURVE, _CADENCE, _RESULT = 15e3, 55, 600
_SECTOR_SECONDS = 27.4 * 86400
#: Estimates are not far from the truth, but a run is refused only if it needs much more than there is.
_CERTAIN = 2.0


@dataclass(frozen=True)
class Requirement:
    """Memory or disk that a run needs.

    Attributes
    ----------
    what : str
        What needs it.
    needed, free : float
        Bytes.
    advice : str
        Where it is not free.
    """

    what: str
    needed: float
    free: float
    advice: str

    def __str__(self) -> str:
        return f"{self.what}: some {size_text(self.needed)} needed, {size_text(self.free)} free"


def disk_free(folder: Path) -> float:
    """Bytes that are free on the disk of a folder, which need not be there yet."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def requirements(
    results: RunResults, wanted: NDArray[np.bool_], output: Path, node: list[int]
) -> list[Requirement]:
    """Estimate the memory and disk that a run needs.

    Parameters
    ----------
    results : RunResults
    wanted : ndarray of bool
        Rows that would be computed.
    output : Path
        Folder of the light curves.
    node : list of int
        Number of each rank's node, rank 0's first.
    """
    worklist = results.worklist
    cadence = np.maximum(worklist.rows["cadence"][wanted], 1)
    workers_here = max(1, node.count(node[0]) - (len(node) > 1))
    # Nothing is refused if the system does not know its memory.
    memory = available_memory()
    return [
        Requirement(
            "memory of the ranks of this node",
            _RANK_0 + _ROW * len(worklist.rows) + workers_here * _WORKER,
            np.inf if memory is None else memory,
            "start fewer",
        ),
        Requirement(
            f"light curves in {output}",
            float(np.sum(_LIGHTCURVE + _CADENCE * _SECTOR_SECONDS / cadence)),
            disk_free(output),
            "make room, choose another --output or fewer stars",
        ),
        Requirement(
            f"results in {worklist.path}",
            _RESULT * float(np.count_nonzero(wanted)),
            disk_free(worklist.path.parent),
            "make room",
        ),
    ]


def check_requirements(needs: list[Requirement]) -> None:
    """Raise InputError if a run surely needs more than there is."""
    for one in needs:
        if one.needed > _CERTAIN * one.free:
            raise InputError(f"{one}; {one.advice}")


def plan_values(
    results: RunResults,
    wanted: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    source: Path,
    node: list[int],
    needs: list[Requirement],
    run_time: RunTime,
) -> dict[str, Any]:
    """The plan of a run as values, for programs; parameters as of `plan` and `requirements`."""
    worklist = results.worklist
    ccds = []
    for number, ccd in enumerate(worklist.ccds):
        here = wanted & (worklist.ccd_of == number)
        if here.any():
            cube = source / cube_name(*ccd)
            ccds.append(
                {
                    **dict(zip(("sector", "camera", "ccd"), ccd, strict=True)),
                    "rows": np.count_nonzero(here),
                    "from_target_pixel_files": np.count_nonzero(here & worklist.in_file),
                    "cube_bytes": cube.stat().st_size if cube.is_file() else None,
                }
            )
    return {
        "rows": len(wanted),
        "chosen": np.count_nonzero(chosen),
        "to_compute": np.count_nonzero(wanted),
        "stars_to_compute": len(distinct(worklist.rows["starid"][wanted])),
        "workers": max(1, len(node) - 1),
        "nodes": len(set(node[1:] or node)),
        "ccds": ccds,
        "time": run_time.values(),
        "needs": [{"what": one.what, "bytes": one.needed, "free": one.free} for one in needs],
    }


def plan(
    results: RunResults, wanted: NDArray[np.bool_], source: Path, node: list[int], run_time: RunTime
) -> Iterator[str]:
    """The CCDs with their cubes, and the CCD on which each node begins, in lines for the user.

    Parameters
    ----------
    results : RunResults
    wanted : ndarray of bool
        Rows that would be computed.
    source : Path
        Folder of the cubes.
    node : list of int
        Number of each rank's node.
    run_time : RunTime
    """
    worklist = results.worklist
    stars = np.bincount(worklist.ccd_of[wanted], minlength=len(worklist.ccds)).tolist()
    of_files = np.bincount(worklist.ccd_of[wanted & worklist.in_file], minlength=len(worklist.ccds)).tolist()
    for ccd, count, files in zip(worklist.ccds, stars, of_files, strict=True):
        if count:
            cube = source / cube_name(*ccd)
            # Target pixel files are read without one, too.
            without = "no cube" if files == count else "no cube: errors"
            size = f"cube {size_text(cube.stat().st_size)}" if cube.is_file() else without
            yield f"  {ccd_name(ccd)}  {counted(count, 'row'):>14} ({files} from target pixel files), {size}"
    workers = max(1, len(node) - 1)
    queue = Queue(worklist.rows, np.flatnonzero(wanted), BatchSize(workers), worklist.tile)
    names = sorted(set(node[1:] or node))
    yield f"{counted(workers, 'worker')} on {counted(len(names), 'node')}"
    yield from run_time.lines()
    for name in names[:32]:
        tasks, _ = queue.take(name)
        if len(tasks):
            ccd = tuple(tasks[0][["sector", "camera", "ccd"]].item())
            here = counted(max(1, node[1:].count(name)), "worker")
            yield f"  node {name}: {here}, from {ccd_name(ccd)} on"
    if len(names) > 32:
        yield f"  and {len(names) - 32} more nodes"
