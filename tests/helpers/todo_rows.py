"""The rows of a work list, and the results in its logs, for tests."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import numpy as np

from tasoc_mpi.worklist.last_results import LastResults
from tasoc_mpi.worklist.result_log import LogReader, log_path
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.work_list import WorkList, load_worklist

#: A row with its status, where NULL is UNKNOWN.
LOADED_DTYPE = np.dtype([*((name, TODO_DTYPE[name]) for name in TODO_DTYPE.names), ("status", "i4")])


def load_todo(path: str | os.PathLike[str]) -> np.ndarray:
    """The rows with their published statuses; an area of NULL is 0."""
    worklist = load_worklist(path)
    found = np.zeros(len(worklist.rows), LOADED_DTYPE)
    for name in worklist.rows.dtype.names:
        found[name] = worklist.rows[name].astype(LOADED_DTYPE[name])
    found["status"] = worklist.status
    with contextlib.closing(sqlite3.connect(path)) as conn:
        areas = conn.execute("SELECT COALESCE(cbv_area, 0) FROM todolist ORDER BY priority").fetchall()
    found["cbv_area"] = [area for (area,) in areas]
    return found


def read_logs(worklist: WorkList, output: Path) -> LastResults:
    """The results in the logs of an output folder."""
    last = LastResults(worklist)
    for ccd in worklist.ccds:
        last.read(LogReader(log_path(output, ccd), worklist, ccd))
    return last
