"""The steps of a sector as jobs that wait for each other: which there are, and their submission."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.atomic import write_whole
from ..core.errors import InputError, MissingInput, TasocError
from ..core.methods import method_file
from ..core.names import cube_name, find_cubes
from ..products.ffi import find_ffis
from ..products.tpf import group_tpfs
from ..products.tpf_files import find_tpfs
from ..worklist.ccd_status import WorkListStatus
from ..worklist.output_folder import find_output
from ..worklist.todo_file import TODO_NAME
from ..worklist.work_list import CCD, load_worklist
from .batch_system import BatchSystem
from .jobs import SubmittedJob, active, find_system, read_jobs, write_jobs
from .scripts import SCRIPT_FOLDER, render
from .site import STEPS, Site

__all__ = ["Planned", "array_size", "plan", "scripts", "submission_lines", "submission_values", "submit"]

#: Steps that wait for the end of another one and not for its success: results can always be published, and
#: light curves without a correction reported.
_EVEN_FAILED = {"publish": "run", "report": "correct"}


@dataclass(frozen=True)
class Planned:
    """One job to submit."""

    step: str
    ccds: tuple[CCD, ...]  #: Its tasks; empty where it is no array
    name: str  #: Of its script
    text: str  #: The script


def plan(
    folder: Path,
    only: Sequence[str] = (),
    resume: bool = False,
    output: Path | None = None,
    method: str = "",
    correct: bool = False,
) -> dict[str, tuple[CCD, ...]]:
    """The steps to submit, each with the CCDs of its tasks (none where it is not an array).

    Parameters
    ----------
    folder : Path
        Input folder.
    only : sequence of str, optional
        Names of steps. Default: all.
    resume : bool, optional
        Leave out what is finished.
    output : Path, optional
        Folder of the light curves. Default: that of the last run.
    method : str, optional
        Name of the method that computes all stars. Default: the work list chooses.
    correct : bool, optional
        Whether the light curves are to be corrected, too.

    Returns
    -------
    dict
        In order of the steps; empty if all is finished.

    Raises
    ------
    MissingInput, InputError
        If there is nothing to work on, or a file of it cannot be read.
    """
    frames = find_ffis(folder)
    prepare = [ccd for ccd in frames if not (resume and (folder / cube_name(*ccd)).exists())]
    summaries, published = _summaries(folder, output, method)
    if (folder / TODO_NAME).exists() and not prepare:
        ccds = list(summaries)
    else:
        ccds = sorted({*frames, *find_cubes(folder), *group_tpfs(find_tpfs(folder)), *summaries})
    if not ccds:
        raise MissingInput(
            f"{folder}: no full frame images, cubes or target pixel files in it or its sub-folders; "
            "copy them there"
        )
    run = [ccd for ccd in ccds if not (resume and summaries.get(ccd, False))]
    publish = bool(run or not published or not resume)
    tasks = {"prepare": prepare, "run": run}
    # What is corrected already takes `correct` no time.
    report = publish or correct
    wanted = {"prepare": prepare, "todo": run, "run": run, "publish": publish, "report": report}
    wanted |= {"cbv": correct, "correct": correct}
    steps = [step for step in STEPS if wanted[step] and (not only or step in only)]
    if (
        "todo" in steps
        and not (folder / TODO_NAME).exists()
        and frames
        and not any(folder.glob("catalog_sector*.sqlite"))
    ):
        make = f"tasoc-mpi catalog {shlex.quote(str(folder))}"
        raise MissingInput(f"{folder}: no catalog of stars; make it first, with `{make}`")
    return {step: tuple(tasks.get(step, ())) for step in steps}


def _summaries(folder: Path, output: Path | None, method: str) -> tuple[dict[CCD, bool], bool]:
    """Whether each CCD of the work list is finished, and whether all results are published."""
    todo = folder / TODO_NAME
    if not todo.exists():
        return {}, False
    listed = method_file(todo, method)
    if not listed.exists():
        # Nothing was computed with this method yet.
        return dict.fromkeys(load_worklist(todo).ccds, False), False
    worklist = load_worklist(listed)
    output = output or find_output(listed, worklist.output, method)
    status = WorkListStatus(worklist, output)
    decision = status.update()
    published = worklist.output is not None and worklist.output.resolve() == output.resolve()
    published &= bool((decision.status == worklist.status).all())
    return {one.ccd: one.finished for one in status.ccds(decision)}, published


def scripts(
    site: Site,
    folder: Path,
    output: Path,
    version: int,
    steps: dict[str, tuple[CCD, ...]],
    largest: int,
    photometry: str = "",
) -> list[Planned]:
    """The scripts of the planned steps; arrays of more than `largest` tasks are split."""
    planned = []
    for step, ccds in steps.items():
        parts = [ccds[start : start + largest] for start in range(0, len(ccds), largest)] or [()]
        for number, part in enumerate(parts):
            name = f"{step}.sh" if len(parts) == 1 else f"{step}-{number + 1}.sh"
            planned.append(
                Planned(step, part, name, render(site, step, folder, output, version, part, photometry))
            )
    return planned


def submission_lines(planned: Sequence[Planned], jobs: Sequence[SubmittedJob]) -> Iterator[str]:
    """A submission for the user: the jobs, or the scripts of a dry run, which has none."""
    for item in () if jobs else planned:
        yield f"# {'-' * 20} {item.name} {'-' * 20}\n{item.text}\n"
    for job in jobs:
        yield f"{job.step}: job {job.job}" + (f", {len(job.ccds)} task(s)" if job.ccds else "")


def submission_values(planned: Sequence[Planned], jobs: Sequence[SubmittedJob]) -> dict[str, Any]:
    """A submission for programs: the scripts, and the numbers of the jobs; none of a dry run."""
    return {
        "scripts": [
            {"step": one.step, "name": one.name, "ccds": one.ccds, "text": one.text} for one in planned
        ],
        "jobs": [{"step": one.step, "job": one.job, "ccds": one.ccds} for one in jobs],
    }


def submit(site: Site, folder: Path, planned: Sequence[Planned]) -> list[SubmittedJob]:
    """Submit all scripts, or none.

    The batch system first checks each of them. The first ones are then held until the last one is submitted
    and the numbers are written to the input folder.

    Returns
    -------
    list of SubmittedJob

    Raises
    ------
    MissingInput, InputError
        If the batch system is not here, refuses one, or still has tasks of an earlier submission.
    """
    system = find_system(site)
    busy = active(folder)
    if busy:
        names = f"{busy[0]} and {len(busy) - 1} more" if len(busy) > 1 else busy[0]
        numbers = sorted({int(name.partition("_")[0]) for name in busy})
        raise InputError(
            f"{folder}: job {names} of an earlier submission is still in the queue; wait, or "
            f"`{' '.join(system.cancel_command(numbers))}`"
        )
    before = read_jobs(folder)
    paths = _write_scripts(folder, planned)
    for item, path in zip(planned, paths, strict=True):
        with _refusals(site, system, item):
            system.check(path)
    jobs: list[SubmittedJob] = []
    try:
        for item, path in zip(planned, paths, strict=True):
            earlier = [job for job in jobs if job.step != item.step]
            after = [job.job for job in earlier if job.step == earlier[-1].step]
            with _refusals(site, system, item):
                even_failed = bool(earlier) and _EVEN_FAILED.get(item.step) == earlier[-1].step
                number = system.submit(path, after, even_failed)
            jobs.append(SubmittedJob(item.step, number, item.ccds, site.system))
        write_jobs(folder, jobs)
        system.release([job.job for job in jobs if job.step == jobs[0].step])
    except BaseException:
        if jobs:
            with contextlib.suppress(TasocError):
                system.cancel([job.job for job in jobs])
            write_jobs(folder, before)
        raise
    return jobs


@contextlib.contextmanager
def _refusals(site: Site, system: BatchSystem, item: Planned) -> Iterator[None]:
    """Name the site file and the step where the batch system refuses a script."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{site.path}: {system.title} refuses the {item.step} step ({error}); nothing is submitted"
        ) from None


def _write_scripts(folder: Path, planned: Sequence[Planned]) -> list[Path]:
    place = folder / SCRIPT_FOLDER
    paths = []
    try:
        place.mkdir(exist_ok=True)
        for item in planned:
            paths.append(place / item.name)
            write_whole(paths[-1], item.text.encode())
    except OSError as error:
        raise InputError(f"{place}: cannot be written ({error.strerror}); change its permissions") from None
    return paths


def array_size(site: Site, dry: bool) -> int:
    """Most tasks of an array here; where no batch system can be asked, SLURM's default (for a dry run)."""
    system = find_system(site)
    try:
        return system.max_array_size()
    except (MissingInput, InputError):
        if not dry:
            raise
        return 1001
