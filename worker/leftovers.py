"""Unfinished files that a computing process leaves when it ends within a star.

Whole ones that no result lists are removed when the results are published: it may be the good file of an
earlier run that lies there, until its successor is listed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .compute import Job

__all__ = ["remove_parts"]


def remove_parts(job: Job, pid: int, tasks: Iterable[np.void]) -> None:
    """Delete the unfinished files of a process that has ended.

    Parameters
    ----------
    job : Job
    pid : int
        The process; the names of its unfinished files end with it.
    tasks : iterable of TASK_DTYPE
        The stars that it may have been writing.
    """
    tasks = list(tasks)
    # Its stars are neighbours: a few folders hold all of them.
    for folder in {_folder(job, task) for task in tasks}:
        names = [_name(job, task) for task in tasks if _folder(job, task) == folder]
        pattern = re.compile(rf"\.(?:{'|'.join(names)})\.{pid}\.part")
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if pattern.fullmatch(entry.name):
                    os.unlink(entry.path)


def _folder(job: Job, task: np.void) -> Path:
    return Path(job.output_folder) / f"c{task['cadence']:04d}" / f"{task['starid']:011d}"[:5]


def _name(job: Job, task: np.void) -> str:
    """Pattern of the star's file name, see `products.lightcurve.lightcurve_name`; not its data release."""
    return (
        rf"tess{task['starid']:011d}-s{task['sector']:03d}-{task['camera']}-{task['ccd']}"
        rf"-c{task['cadence']:04d}-dr\d+-v{job.version:02d}-tasoc_lc\.fits\.gz"
    )
