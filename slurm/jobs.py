"""What SLURM says: its commands, the jobs that were submitted for a folder, and where they are now."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.atomic import write_whole
from ..core.errors import InputError, MissingInput
from ..core.tables import text_table

__all__ = [
    "JOBS_NAME",
    "Job",
    "QueueRow",
    "active",
    "command",
    "max_array_size",
    "queue_lines",
    "queue_table",
    "read_jobs",
    "write_jobs",
]

#: Holds the jobs of the last submission, in the input folder.
JOBS_NAME = "slurm-jobs.json"

#: SLURM's own default.
_MAX_ARRAY_SIZE = 1001
#: A controller that is busy answers late (seconds); SLURM's own commands give up after some tens of seconds.
_TIMEOUT = 120
_ACTIVE = {
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "CONFIGURING",
    "COMPLETING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "RESIZING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
    "PREEMPTED",
}


@dataclass(frozen=True)
class Job:
    """A job that was submitted.

    Attributes
    ----------
    step : str
        One of `STEPS`.
    job : int
        Its number; that of the array where it is one.
    ccds : tuple of (int, int, int)
        Sector, camera and CCD of each task; empty where it is no array.
    """

    step: str
    job: int
    ccds: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class QueueRow:
    """A task as the queue knows it.

    Attributes
    ----------
    step : str
    job : str
        As SLURM's commands name it: ``12`` or ``12_3``.
    ccd : (int, int, int) or None
    state : str
        SLURM's word; GONE if the queue has forgotten it (it ended, minutes or more ago).
    used, left : str
        Time since the start, and until the time limit.
    node, reason : str
        Where it runs; why it waits or ended.
    """

    step: str
    job: str
    ccd: tuple[int, int, int] | None
    state: str
    used: str = ""
    left: str = ""
    node: str = ""
    reason: str = ""


def command(*words: str) -> str:
    """Output of one of SLURM's commands.

    Raises
    ------
    MissingInput
        If the command is not on this machine.
    InputError
        If it fails: the line is its own.
    """
    program = shutil.which(words[0])
    if program is None:
        raise MissingInput(f"{words[0]}: not found; submit where SLURM's commands are (a login node)")
    # As SLURM understands times everywhere.
    environment = {**os.environ, "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [program, *words[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{words[0]}: no answer from SLURM in {_TIMEOUT} s; try again later") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = (
            re.sub(rf"^{words[0]}: (error: )?", "", lines[-1]) if lines else f"exit status {done.returncode}"
        )
        raise InputError(f"{words[0]}: {reason}")
    return done.stdout


def max_array_size() -> int:
    """Number of tasks that an array may have here."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", command("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(match[1])) if match else _MAX_ARRAY_SIZE


def write_jobs(folder: Path, jobs: Sequence[Job]) -> None:
    """Keep what was submitted; the file appears whole or not at all."""
    text = json.dumps({"jobs": [asdict(job) for job in jobs]}, indent=1) + "\n"
    try:
        write_whole(folder / JOBS_NAME, text.encode())
    except OSError as error:
        raise InputError(f"{folder / JOBS_NAME}: cannot be written ({error.strerror})") from None


def read_jobs(folder: Path) -> list[Job]:
    """What was submitted last; empty if nothing was.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = folder / JOBS_NAME
    try:
        found = json.loads(path.read_text("utf-8"))["jobs"]
        jobs = [
            Job(job["step"], job["job"], tuple((int(s), int(c), int(d)) for s, c, d in job["ccds"]))
            for job in found
        ]
        if not all(isinstance(job.step, str) and isinstance(job.job, int) for job in jobs):
            raise TypeError("not a job")
        return jobs
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a list of jobs ({error}); remove it") from None


def queue_table(folder: str | os.PathLike[str]) -> list[QueueRow] | None:
    """Where the tasks are that were submitted last for a folder.

    Returns
    -------
    list of QueueRow, or None
        In order of the steps; None if nothing was submitted.

    Raises
    ------
    MissingInput, InputError
        If SLURM's commands are not here or fail.
    """
    jobs = read_jobs(Path(folder))
    return _table(jobs) if jobs else None


def _table(jobs: Sequence[Job]) -> list[QueueRow]:
    numbers = ",".join(str(job.job) for job in jobs)
    try:
        text = command("squeue", "-h", "-r", "-t", "all", "-j", numbers, "-o", "%F|%K|%T|%M|%L|%N|%r")
    except InputError as error:
        if "Invalid job id" not in str(error):
            raise
        text = ""
    states: dict[tuple[int, int], list[str]] = {}
    for line in text.splitlines():
        number, task, *rest = line.split("|")
        if number.isdecimal() and len(rest) == 5:
            states[int(number), int(task) if task.isdecimal() else -1] = rest
    rows = []
    for job in jobs:
        if not job.ccds:
            rows.append(QueueRow(job.step, str(job.job), None, *states.get((job.job, -1), ["GONE"])))
        for index, ccd in enumerate(job.ccds):
            found = states.get((job.job, index), ["GONE"])
            rows.append(QueueRow(job.step, f"{job.job}_{index}", ccd, *found))
    return rows


def active(folder: Path) -> list[str]:
    """Names of the tasks of the last submission that wait or run."""
    return [row.job for row in queue_table(folder) or () if row.state in _ACTIVE]


def queue_lines(
    folder: str | os.PathLike[str], counts: Mapping[tuple[int, int, int], tuple[int, int]] | None = None
) -> Iterator[str]:
    """The queue's view beside the work list's, as a table; nothing if nothing was submitted.

    Parameters
    ----------
    folder : path-like
        The input folder.
    counts : mapping, optional
        Stars that are done and all stars, by (sector, camera, CCD).
    """
    try:
        rows = queue_table(folder)
    except (InputError, MissingInput) as error:
        yield f"queue: unknown ({error})"
        yield ""
        return
    if rows is None:
        return
    cells = [("queue", "CCD", "job", "state", "time", "left", "node", "stars", "reason")]
    for row in rows:
        ccd, stars = "", ""
        if row.ccd:
            ccd = "s{:03d}-{}-{}".format(*row.ccd)
            if row.step == "run" and counts and row.ccd in counts:
                stars = "{}/{}".format(*counts[row.ccd])
        reason = "" if row.reason == "None" else row.reason
        cells.append((row.step, ccd, row.job, row.state, row.used, row.left, row.node, stars, reason))
    yield from text_table(cells, left=len(cells[0]))
    yield ""
