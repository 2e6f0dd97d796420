"""A supervisor with its compute process, for tests of the worker: stars of `faulty`, no MPI."""

from __future__ import annotations

from pathlib import Path

import faulty
import numpy as np

from tasoc_mpi.core.messages import TASK_DTYPE, Results
from tasoc_mpi.worker.compute import Job
from tasoc_mpi.worker.compute_options import ComputeOptions
from tasoc_mpi.worker.supervisor import Supervisor


def tasks(*starids: int) -> np.ndarray:
    """A batch of stars of one CCD."""
    rows = np.zeros(len(starids), TASK_DTYPE)
    rows["starid"], rows["priority"] = starids, np.array(starids) - 900
    rows["sector"] = rows["camera"] = rows["ccd"] = 1
    rows["cadence"], rows["datasource"] = 1800, b"ffi"
    return rows


def supervisor(folder: Path, **options) -> Supervisor:
    """A supervisor whose light curves go to `folder / "output"`."""
    job = Job(str(folder), str(folder / "output"))
    chosen = {"target_timeout": 30.0, "photometry": faulty.NAME, **options}
    return Supervisor(job, ComputeOptions(**chosen))


def wait(computer, seconds: float = 90) -> Results:
    """The results of the next batch."""
    results = computer.poll(seconds)
    assert results is not None
    return results
