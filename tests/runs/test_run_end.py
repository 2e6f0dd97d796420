"""A run that is told to end while a star takes for ever: stars in hand are given up, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import faulty
import mpi_launch
import pytest
from job_processes import job_processes
from run_program import content, wait_for_results

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"),
]

STARS = 120
HANGING = 1032
#: Alone, and under every MPI.
LAUNCHERS = [None, *mpi_launch.launchers()]


@contextlib.contextmanager
def hanging(folder: Path, log: Path, launcher: str | None, seconds: float):
    """A run whose last star hangs; the job, and the process that receives signals."""
    settings = log / "settings.ini"
    settings.write_text(f"[run]\nstop_timeout = {seconds}\n")
    variables = mpi_launch.environment(launcher) if launcher else dict(os.environ)
    variables.update(FAULTY_STARS=f"hang:{HANGING}", FAULTY_LOG=str(log), TESSPHOT_SETTINGS=str(settings))
    job = subprocess.Popen(
        [*mpi_launch.mpiexec(3 if launcher else 1, launcher), *faulty.PROGRAM, str(folder), "--batch", "4"],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not any(path.read_text().split()[-1:] == [str(HANGING)] for path in log.glob("[0-9]*")):
            assert job.poll() is None, job.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # Under MPI, the others go on meanwhile.
        wait_for_results(folder, STARS // 2 if launcher else 4, job)
        yield job, (job_processes(job.pid)["rank 0"][0] if launcher else job.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.communicate(timeout=20)


@pytest.fixture
def places(blank, tmp_path) -> tuple[Path, Path]:
    (tmp_path / "log").mkdir()
    return Path(shutil.copytree(blank, tmp_path / "input")), tmp_path / "log"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_star_in_hand_is_given_up_and_computed_next_time(places, undisturbed, launcher, number):
    folder, log = places
    with hanging(folder, log, launcher, 2.0) as (job, receiver):
        start = time.monotonic()
        os.kill(receiver, number)
        _, errors = job.communicate(timeout=60)
        seconds = time.monotonic() - start
    assert job.returncode == 75, errors
    assert 1.5 < seconds < 30
    assert f"{number.name}: the run ends with what is computed within 2 s" in errors
    assert f"TIC {HANGING}: given up after" in errors
    found = content(folder)
    status = {row[1]: row[9] for row in found["todolist"]}
    assert status[HANGING] is None
    assert 4 not in status.values()
    # What was computed is there, and its light curves: alone, what came before the star that hangs.
    assert sum(value is not None for value in status.values()) >= (STARS / 2 if launcher else 4)
    # So are those of the tenth of a second before, which were not reported yet.
    assert {row[1] for row in found["diagnostics"] if row[1]} <= set(found["files"])
    assert faulty.call(["--quiet", "run", str(folder)]) == 0
    assert content(folder) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize(("number", "exit_status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_the_second_signal_ends_the_run_at_once(places, undisturbed, launcher, number, exit_status):
    folder, log = places
    with hanging(folder, log, launcher, 100.0) as (job, receiver):
        everything = [pid for pids in job_processes(job.pid).values() for pid in pids]
        os.kill(receiver, number)
        # The same one, sent to a process and its group.
        os.kill(receiver, number)
        while "the run ends with" not in job.stderr.readline():
            assert job.poll() is None
        time.sleep(1.0)
        assert job.poll() is None
        start = time.monotonic()
        os.kill(receiver, number)
        _, errors = job.communicate(timeout=60)
        assert time.monotonic() - start < 30
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in everything):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert job.returncode == exit_status, errors
    assert "interrupted" in errors
    assert faulty.call(["--quiet", "run", str(folder)]) == 0
    assert content(folder) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS[1:])
def test_signals_to_mpiexec_reach_rank_0(places, launcher):
    """As a batch system sends them: SLURM's warning before its SIGTERM."""
    folder, log = places
    with hanging(folder, log, launcher, 2.0) as (job, _):
        job.send_signal(signal.SIGUSR1)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 75, errors
    assert "SIGUSR1: the run ends" in errors


@pytest.mark.slow
def test_a_rank_that_does_not_answer_is_left(places, undisturbed):
    """Its supervisor process stands still; the others' results are written, and the run ends."""
    if len(LAUNCHERS) < 2:
        pytest.skip("no mpiexec here (pip install tasoc-mpi[mpich])")
    folder, log = places
    with hanging(folder, log, LAUNCHERS[1], 1.0) as (job, receiver):
        for pid in job_processes(job.pid)["worker"]:
            os.kill(pid, signal.SIGSTOP)
        os.kill(receiver, signal.SIGTERM)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 75, errors
    assert "batch(es) were not answered; run again" in errors
    assert sum(row[9] is not None for row in content(folder)["todolist"]) >= STARS / 2
    assert faulty.call(["--quiet", "run", str(folder)]) == 0
    assert content(folder) == undisturbed
