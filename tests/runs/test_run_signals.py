"""The run when it is told to end: nothing is lost, and the exit status says whether to start it again."""

import os
import signal
import subprocess
import time

import pytest
from mpi_launch import environment, launch, mpiexec
from run_program import PROGRAM, content, make_input, wait_for_results

from tasoc_mpi.core.locks import holder

STARS = 120


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize(
    ("number", "exit_status"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_run_with_its_results(tmp_path, ranks, number, exit_status):
    folder = tmp_path / "input"
    make_input(folder, STARS)
    command = [*mpiexec(ranks), *PROGRAM, str(folder), "--batch", "4"]
    variables = {**environment(), "RUN_PROGRAM_SECONDS": "0.2"}
    with subprocess.Popen(
        command, env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as job:
        rank_0 = None
        while rank_0 is None:
            assert job.poll() is None, job.stderr.read()
            name = holder(folder / "output" / "results" / "s001-1-1.log")
            rank_0 = int(name.split()[1]) if name and "process" in name.split()[:1] else None
            time.sleep(0.05)
        wait_for_results(folder, 4, job)
        os.kill(rank_0, number)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == exit_status, errors
    assert f"told to end by {number.name}" in errors
    found = content(folder)
    done = [row for row in found["todolist"] if row[9] is not None]
    assert 0 < len(done) < STARS
    # What is listed is there, and nothing else.
    assert {row[1] for row in found["diagnostics"] if row[1]} == set(found["files"])
    assert launch(PROGRAM, str(folder), ranks=ranks).returncode == 0
    make_input(tmp_path / "other", STARS)
    assert launch(PROGRAM, str(tmp_path / "other")).returncode == 0
    assert content(folder) == content(tmp_path / "other")


def test_a_second_interrupt_ends_the_run_at_once(tmp_path):
    folder = tmp_path / "input"
    make_input(folder, STARS)
    begun = tmp_path / "begun"
    variables = {**os.environ, "RUN_PROGRAM_SECONDS": "30", "RUN_PROGRAM_BEGUN": str(begun)}
    with subprocess.Popen(
        [*PROGRAM, str(folder)], env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as job:
        while not begun.exists():
            assert job.poll() is None
            time.sleep(0.02)
        job.send_signal(signal.SIGINT)
        while "the run ends with" not in job.stderr.readline():
            assert job.poll() is None
        # A second signal within 0.4 s is taken for the first, sent to a process and to its group.
        time.sleep(0.5)
        assert job.poll() is None
        job.send_signal(signal.SIGINT)
        _, errors = job.communicate(timeout=25)
    assert job.returncode == 130
    assert "interrupted" in errors
