"""The jobs that were submitted for a folder, and their states in the queue."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.atomic import write_whole
from ..core.errors import InputError, MissingInput
from ..core.tables import text_table
from .batch_system import BatchSystem, TaskState
from .site import Site
from .slurm import Slurm

__all__ = [
    "JOBS_NAME",
    "SYSTEMS",
    "QueueRow",
    "SubmittedJob",
    "active",
    "find_system",
    "queue_lines",
    "queue_table",
    "read_jobs",
    "write_jobs",
]

#: Holds the jobs of the last submission, in the input folder.
JOBS_NAME = "slurm-jobs.json"

#: The batch systems, by their name in a site file (`system`).
SYSTEMS: Mapping[str, BatchSystem] = {"slurm": Slurm()}

_GONE = TaskState(False, "GONE")


@dataclass(frozen=True)
class SubmittedJob:
    """A job that was submitted."""

    step: str  #: One of `STEPS`
    job: int  #: Its number; that of the array where it is one
    #: Sector, camera and CCD of each task; empty where it is no array.
    ccds: tuple[tuple[int, int, int], ...] = ()
    system: str = "slurm"  #: Name of the batch system


@dataclass(frozen=True)
class QueueRow:
    """A task that was submitted."""

    step: str
    job: str  #: As the batch system's commands name it: ``12`` or ``12_3``
    ccd: tuple[int, int, int] | None
    now: TaskState  #: Its state; GONE if the queue has forgotten it (it ended, minutes or more ago)


def find_system(site: Site) -> BatchSystem:
    """The batch system of a site; raises InputError if its name is not known."""
    if site.system not in SYSTEMS:
        raise InputError(f"{site.path}: `system` is {site.system!r}; must be one of {', '.join(SYSTEMS)}")
    return SYSTEMS[site.system]


def write_jobs(folder: Path, jobs: Sequence[SubmittedJob]) -> None:
    """Write the file of submitted jobs; it appears whole or not at all."""
    text = json.dumps({"jobs": [asdict(job) for job in jobs]}, indent=1) + "\n"
    try:
        write_whole(folder / JOBS_NAME, text.encode())
    except OSError as error:
        raise InputError(f"{folder / JOBS_NAME}: cannot be written ({error.strerror})") from None


def read_jobs(folder: Path) -> list[SubmittedJob]:
    """The jobs of the last submission; empty if there was none.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = folder / JOBS_NAME
    try:
        found = json.loads(path.read_text("utf-8"))["jobs"]
        jobs = [
            SubmittedJob(
                job["step"],
                job["job"],
                tuple((int(s), int(c), int(d)) for s, c, d in job["ccds"]),
                job.get("system", "slurm"),
            )
            for job in found
        ]
        if not all(
            isinstance(job.step, str) and isinstance(job.job, int) and job.system in SYSTEMS for job in jobs
        ):
            raise TypeError("not a job")
        return jobs
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a list of jobs ({error}); remove it") from None


def queue_table(folder: str | os.PathLike[str]) -> list[QueueRow] | None:
    """The tasks that were submitted last for a folder, in order of the steps; None if there are none.

    Raises
    ------
    MissingInput, InputError
        If the batch system's commands are not here or fail.
    """
    jobs = read_jobs(Path(folder))
    if not jobs:
        return None
    states = SYSTEMS[jobs[0].system].queue([job.job for job in jobs])
    rows = []
    for job in jobs:
        if not job.ccds:
            rows.append(QueueRow(job.step, str(job.job), None, states.get((job.job, -1), _GONE)))
        for index, ccd in enumerate(job.ccds):
            rows.append(QueueRow(job.step, f"{job.job}_{index}", ccd, states.get((job.job, index), _GONE)))
    return rows


def active(folder: Path) -> list[str]:
    """Names of the tasks of the last submission that wait or run."""
    return [row.job for row in queue_table(folder) or () if row.now.active]


def queue_lines(
    folder: str | os.PathLike[str], counts: Mapping[tuple[int, int, int], tuple[int, int]] | None = None
) -> Iterator[str]:
    """The queue's view beside the work list's, as a table; nothing if nothing was submitted.

    Parameters
    ----------
    folder : path-like
        The input folder.
    counts : mapping, optional
        Rows that are done and all rows, by (sector, camera, CCD).
    """
    try:
        rows = queue_table(folder)
    except (InputError, MissingInput) as error:
        yield f"queue: unknown ({error})"
        yield ""
        return
    if rows is None:
        return
    cells = [("queue", "CCD", "job", "state", "time", "left", "node", "rows", "reason")]
    for row in rows:
        ccd, stars = "", ""
        if row.ccd:
            ccd = "s{:03d}-{}-{}".format(*row.ccd)
            if row.step == "run" and counts and row.ccd in counts:
                stars = "{}/{}".format(*counts[row.ccd])
        now = row.now
        reason = "" if now.reason == "None" else now.reason
        cells.append((row.step, ccd, row.job, now.state, now.used, now.left, now.node, stars, reason))
    yield from text_table(cells, left=len(cells[0]))
    yield ""
