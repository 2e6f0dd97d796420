"""Runs whose processes are killed from outside, by a person or a batch system: no star is lost by it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from faulty import PROGRAM
from job_processes import job_processes
from mpi_launch import environment, mpiexec
from run_program import content, reported

pytestmark = [
    pytest.mark.timeout(100),
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc"),
]

STARS = 120


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def star_at_hand(log: Path, pid: int) -> int | None:
    """The star that a compute process has begun last."""
    with contextlib.suppress(FileNotFoundError):
        if stars := (log / str(pid)).read_text().split():
            return int(stars[-1])
    return None


def folders(blank: Path, tmp_path: Path) -> tuple[Path, Path]:
    """An input folder, and one for the processes' logs."""
    log = tmp_path / "log"
    log.mkdir()
    return Path(shutil.copytree(blank, tmp_path / "input")), log


@contextlib.contextmanager
def running(folder: Path, *options: str, **variables: str):
    """A run on three ranks; its exit status has to be 0."""
    command = [*mpiexec(3), *PROGRAM, str(folder), *options]
    with subprocess.Popen(
        command,
        env={**environment(), **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as job:
        try:
            yield job
            _, said = job.communicate(timeout=60)
        except BaseException:
            job.kill()
            raise
    assert job.returncode == 0, said


@pytest.mark.slow
def test_kills_of_whichever_process_has_a_star_do_not_cost_it(blank, undisturbed, tmp_path):
    folder, log = folders(blank, tmp_path)
    starid = next(row[1] for row in undisturbed["todolist"] if row[9] == 1)
    killed: list[int] = []
    with running(folder, "--batch", "4", FAULTY_STARS=f"slow:{starid}", FAULTY_LOG=str(log)) as job:
        while job.poll() is None and len(killed) < 4:
            children = [pid for pid in job_processes(job.pid)["child"] if pid not in killed]
            for pid in children:
                if star_at_hand(log, pid) == starid:
                    kill(pid)
                    killed.append(pid)
            time.sleep(0.02)
    assert len(killed) == 4
    assert content(folder) == undisturbed


@pytest.mark.slow
def test_computing_processes_that_are_killed_at_random_change_nothing(blank, undisturbed, tmp_path):
    folder, log = folders(blank, tmp_path)
    rng = random.Random(4)
    kills, begun = 0, rng.randint(5, 15)
    with running(folder, "--batch", "4", FAULTY_SECONDS="0.06", FAULTY_LOG=str(log)) as job:
        while job.poll() is None:
            if sum(len(path.read_text().split()) for path in log.iterdir()) >= begun:
                if (children := job_processes(job.pid)["child"]) and reported(folder) < STARS:
                    kill(rng.choice(children))
                    kills += 1
                begun += rng.randint(5, 15)
            time.sleep(0.01)
    assert kills >= 5
    assert content(folder) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_kills_of_everything_at_one_star_cost_nothing(blank, undisturbed, tmp_path):
    """As by a batch system, or of a node."""
    folder, log = folders(blank, tmp_path)
    starid = next(row[1] for row in undisturbed["todolist"] if row[9] == 1)
    for _ in range(20):
        job = subprocess.Popen(
            [*mpiexec(2), *PROGRAM, str(folder), "--batch", "4"],
            env={**environment(), "FAULTY_STARS": f"hang:{starid}", "FAULTY_LOG": str(log)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            found: list[int] = []
            while not any(star_at_hand(log, pid) == starid for pid in found):
                assert job.poll() is None
                time.sleep(0.02)
                found = job_processes(job.pid)["child"]
        finally:
            everything = [pid for pids in job_processes(job.pid).values() for pid in pids]
            # All of them before any can act on the end of another.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in everything:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            job.wait(60)
        # The star at hand is among those that are left.
        assert reported(folder) < STARS
    with running(folder):
        pass
    assert content(folder) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_at_random_moments_of_random_processes(blank, tmp_path):
    """The short version of ``benchmarks/kills.py``, which does it to the demo, a hundred times."""
    spec = importlib.util.spec_from_file_location(
        "kills", Path(__file__).parents[2] / "benchmarks" / "kills.py"
    )
    kills = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kills)
    command = [*PROGRAM, str(blank), "--batch", "4"]
    undisturbed = kills.Trial(command, blank / "todo.sqlite", tmp_path / "undisturbed")
    slowly = {"FAULTY_SECONDS": "0.1"}
    trial = kills.Trial([*mpiexec(3), *command], blank / "todo.sqlite", tmp_path / "disturbed", slowly)
    trial.expected = undisturbed.finish()
    assert len(trial.expected["todolist"]) == STARS
    count = trial.disturb(15, random.Random(2), (0.5, 3.0), say=False)
    assert sum(count.values()) == 15
    assert sum(number > 0 for number in count.values()) >= 3
    # Runs were under way, and stars were left.
    assert trial.broken_off >= 3
    trial.finish()
    trial.check()
    # And the comparison finds what differs.
    next(trial.output.rglob("*.fits.gz")).write_bytes(b"")
    with pytest.raises(SystemExit, match="0 stars lost"):
        trial.check()
