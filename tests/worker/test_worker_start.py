"""The time that a worker needs beside its stars: its start, and waiting for batches."""

from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from faulty import PROGRAM
from mpi_launch import launch
from run_program import make_input
from todo_rows import load_todo

from tasoc_mpi.core.messages import TASK_DTYPE
from tasoc_mpi.worker.compute import Job
from tasoc_mpi.worker.compute_options import ComputeOptions
from tasoc_mpi.worker.supervisor import Supervisor


def first_star(folder: Path, output: Path, task: np.ndarray) -> float:
    """Processor seconds of a worker's compute process that ends after its first star's result."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    options = ComputeOptions(target_timeout=300.0)
    with Supervisor(Job(str(folder), str(output)), options) as computer:
        computer.submit(task)
        results = computer.poll(200.0)
    assert results is not None
    assert results.numbers["status"][0] in (1, 3), results.errors
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.timeout(250)
@pytest.mark.parametrize("datasource", ["ffi", "tpf"])
def test_the_first_star_comes_within_seconds(simulated, tmp_path, datasource):
    """With kernels that were compiled before: imports, what a CCD's stars share, a star and its file."""
    todo = load_todo(simulated.folder / "todo.sqlite")
    row = todo[todo["datasource"] == datasource][:1]
    task = np.zeros(1, TASK_DTYPE)
    for name in TASK_DTYPE.names:
        if name in row.dtype.names:
            task[name] = row[name].astype("S") if task.dtype[name].kind == "S" else row[name]
    task["method"] = b""
    # Compiles what is not compiled yet.
    first_star(simulated.folder, tmp_path / "before", task)
    assert min(first_star(simulated.folder, tmp_path / str(i), task) for i in range(2)) < 5


@pytest.mark.timeout(250)
def test_workers_have_their_next_batch_at_hand(tmp_path):
    """Three ranks on any number of cores, with stars that sleep: a batch of half a second is read at once.

    The median, because a busy machine may stop a process for longer than that between two of its lines.
    """
    folder = tmp_path / "input"
    make_input(folder, 240)
    launch(PROGRAM, str(folder), ranks=3, seconds=200, FAULTY_SECONDS="0.04").check_returncode()
    assert json.loads((folder / "output" / "summary.json").read_text())["mean_elaptime"] > 0.04
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as todo:
        query = "SELECT worker_wait_time FROM diagnostics WHERE worker_wait_time > 0"
        waits = [seconds for (seconds,) in todo.execute(query)]
    assert len(waits) >= 8
    assert np.median(waits) < 0.005
