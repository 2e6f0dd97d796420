"""Unfinished files that a compute process leaves when it ends within a star.

Whole ones that no result lists are removed when the results are published: it may be the good file of an
earlier run that lies there, until its successor is listed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..core.names import lightcurve_name, parse_lightcurve_name, unfinished_lightcurve_name
from .compute import Job

__all__ = ["remove_parts"]

_KEYS = ["starid", "sector", "camera", "ccd", "cadence"]


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
    keys = {task[_KEYS].item() for task in tasks}
    folders = {
        os.path.dirname(lightcurve_name(starid, sector, camera, ccd, cadence, 1, 1))
        for starid, sector, camera, ccd, cadence in keys
    }
    for folder in folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(Path(job.output_folder) / folder) as entries:
            for entry in entries:
                name, writer = unfinished_lightcurve_name(entry.name) or ("", -1)
                found = parse_lightcurve_name(f"{folder}/{name}")
                if writer == pid and found and tuple(found[key] for key in _KEYS) in keys:
                    os.unlink(entry.path)
