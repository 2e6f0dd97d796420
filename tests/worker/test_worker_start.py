"""What a worker's time goes to beside its stars: its start, and waiting for work."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from faulty import PROGRAM
from mpi_launch import launch
from run_program import make_input
from todo_rows import load_todo

from tasoc_mpi.core.messages import TASK_DTYPE
from tasoc_mpi.worker.child_options import ChildOptions
from tasoc_mpi.worker.compute import Job
from tasoc_mpi.worker.supervisor import Supervisor


def first_star(folder: Path, output: Path, task: np.ndarray) -> float:
    """Seconds from the start of a worker's computing process to its first star's result."""
    start = time.perf_counter()
    options = ChildOptions(target_timeout=300.0)
    with Supervisor(Job(str(folder), str(output)), options) as computer:
        computer.submit(task)
        results = computer.poll(200.0)
        seconds = time.perf_counter() - start
    assert results is not None
    assert results.numbers["status"][0] in (1, 3), results.errors
    return seconds


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


@pytest.mark.timeout(100)
def test_workers_have_their_next_batch_at_hand(tmp_path):
    """Three ranks on any number of cores, with stars that sleep: waiting is below 2% of the work."""
    folder = tmp_path / "input"
    make_input(folder, 240)
    launch(PROGRAM, str(folder), ranks=3, seconds=80, FAULTY_SECONDS="0.04").check_returncode()
    summary = json.loads((folder / "output" / "summary.json").read_text())
    assert summary["mean_elaptime"] > 0.04
    assert summary["mean_worker_waittime"] < 0.02 * summary["mean_elaptime"]
