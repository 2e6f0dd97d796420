"""The work of one rank: photometry of the stars of a batch, one after the other, and its report."""

from __future__ import annotations

import errno
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, TasocError
from ..products.packed import pack_writer
from ..protocol import (
    DIAGNOSTICS,
    RESULT_DTYPE,
    ProtocolError,
    Results,
    Tag,
    pack_results,
    unpack_stop,
    unpack_tasks,
)
from ..status import STATUS
from ..transport import receive

__all__ = ["Job", "compute", "work"]


#: What the output folder's file system says when nothing more can be written.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

#: `photometry(method=..., starid=..., ...)` returns an object with `result`, `save_lightcurve()` and
#: `close()`.
Photometry = Callable[..., Any]


@dataclass(frozen=True)
class Job:
    """What is the same for all stars of a run; see `BasePhotometry` for the meaning.

    Where `packed`, light curves go to a pack of this process; else each is a file of its own.
    """

    input_folder: str
    output_folder: str
    version: int = 6
    plot: bool = False
    cache: str = "basic"
    packed: bool = False


def compute(job: Job, photometry: Photometry, tasks: NDArray[np.void], waited: float = 0.0) -> Results:
    """Photometry of the stars of one batch.

    Parameters
    ----------
    job : Job
        What is the same for all stars.
    photometry : callable
        `tasoc_mpi.photometry.tessphot`.
    tasks : ndarray of TASK_DTYPE
        The stars.
    waited : float, optional
        Seconds that were spent in waiting for this batch: reported with its first star.

    Returns
    -------
    Results
        One for each star, in the same order. A star whose photometry raises is an ERROR; its light curve is
        saved only if it is OK or a WARNING.
    """
    numbers = np.zeros(len(tasks), dtype=RESULT_DTYPE)
    numbers["priority"] = tasks["priority"]
    paths: list[str | None] = []
    methods: list[str | None] = []
    errors: list[str | None] = []
    skips: list[int] = []
    for row, task in zip(numbers, tasks, strict=True):
        start = time.perf_counter()
        path, method, messages, skip = _one_star(row, task, job, photometry)
        row["elaptime"] = time.perf_counter() - start
        row["skip_count"] = len(skip)
        paths.append(path)
        methods.append(method)
        errors.append("\n".join(messages) or None)
        skips.extend(skip)
    numbers["worker_wait_time"][:1] = waited
    if job.packed:
        # Whoever hears of a light curve finds it.
        pack_writer(job.output_folder).flush()
    return Results(numbers, paths, methods, errors, np.array(skips, dtype=np.int64))


def _one_star(
    row: np.void, task: np.void, job: Job, photometry: Photometry
) -> tuple[str | None, str, list[str], list[int]]:
    """Fill one result's numbers; return its light curve, method, messages and skip list."""
    method = task["method"].decode() or None
    pho = None
    row["status"] = STATUS.ERROR
    for name in DIAGNOSTICS:
        row[name] = np.nan
    try:
        pho = photometry(
            method=method,
            starid=int(task["starid"]),
            input_folder=job.input_folder,
            output_folder=job.output_folder,
            datasource=task["datasource"].decode(),
            sector=int(task["sector"]),
            camera=int(task["camera"]),
            ccd=int(task["ccd"]),
            cadence=int(task["cadence"]),
            plot=job.plot,
            cache=job.cache,
            version=job.version,
        )
        result = pho.result
        status = STATUS(result.status)
        path = None
        if status.has_lightcurve:
            # Where the run looks for it again does not depend on where the output folder is today.
            keep = {"writer": pack_writer(job.output_folder)} if job.packed else {}
            saved = pho.save_lightcurve(**keep)
            path = os.path.relpath(saved, job.output_folder)
        for name in DIAGNOSTICS:
            row[name] = getattr(result, name)
        row["status"] = status
        return path, result.method_used or method or "", list(result.errors), _skip_list(result, task)
    except TasocError as error:
        # These are written for the user: the place in the program adds nothing.
        return None, method or "", [f"{type(error).__name__}: {error}"], []
    except OSError as error:
        if error.errno in _NO_ROOM:
            # Not this star's fault, and it would be every other star's.
            raise InputError(f"{job.output_folder}: {error.strerror}; make room and run again") from error
        return None, method or "", [traceback.format_exc().rstrip()], []
    except Exception:  # noqa: BLE001 - the star's boundary: whatever happens to one star is that star's ERROR
        return None, method or "", [traceback.format_exc().rstrip()], []
    finally:
        if pho is not None:
            pho.close()


def _skip_list(result: Any, task: np.void) -> list[int]:
    """The other stars of the skip list, each once, in order."""
    return sorted({int(starid) for starid in result.skip_targets} - {int(task["starid"])})


def work(comm: Any, compute_batch: Callable[[NDArray[np.void], float], Results]) -> int:
    """Ask rank 0 for batches and answer with results until it says stop.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator of all ranks.
    compute_batch : callable
        Takes tasks and the seconds spent in waiting for them, returns results.

    Returns
    -------
    int
        The exit status that rank 0 decided on.

    Raises
    ------
    ProtocolError
        If a message is not what it should be.
    """
    from mpi4py import MPI

    results = Results.empty()
    while True:
        comm.Send([pack_results(results), MPI.BYTE], 0, Tag.RESULTS)
        start = time.perf_counter()
        received = receive(comm, 0)
        assert received is not None
        _, tag, message = received
        if tag == Tag.STOP:
            return unpack_stop(message)
        if tag != Tag.TASKS:
            raise ProtocolError(f"rank {comm.Get_rank()} got a message with the unknown tag {tag}")
        results = compute_batch(unpack_tasks(message), time.perf_counter() - start)
