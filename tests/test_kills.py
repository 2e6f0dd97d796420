"""Computing processes that are killed from outside, by a person or the kernel: the stars they were at."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import faulty
import numpy as np
import pytest
from run_program import content, make_input
from test_faults import PROGRAM, break_off, mpiexec, victims
from test_worker import supervisor, tasks, wait

from tasoc_mpi.errors import TasocError
from tasoc_mpi.products.recorder import Recorder, recorder_folder

pytestmark = [
    pytest.mark.timeout(100),
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc"),
]

STARS = 120


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stars_at_hand(output: Path, pid: int) -> set[int]:
    """The star that a computing process is at work on, as its recorder says."""
    found = set()
    for recorder in recorder_folder(output).glob("*"):
        with contextlib.suppress(OSError, ValueError):
            if str(recorder) in Path(f"/proc/{pid}/maps").read_text():
                found.add(Recorder(recorder).read()[0])
    return found - {-1}


# --- The two processes of a worker


def kill_at(computer, starid: int, before: int = 0) -> int:
    """Kill the computing process, another one than `before`, when it is at work on a star; its number."""
    deadline = time.monotonic() + 20
    while computer._process.pid == before or computer._recorder.read()[0] != starid - 900:
        assert computer.poll(0.01) is None
        assert time.monotonic() < deadline
    pid = computer._process.pid
    kill(pid)
    return pid


def test_once_on_several_stars_is_nobodys_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_STARS", "slow:1001,1002,1003")
    batch = tasks(*range(1000, 1006))
    with supervisor(tmp_path) as computer:
        computer.submit(batch)
        killed = {kill_at(computer, starid) for starid in (1001, 1002, 1003)}
        results = wait(computer)
    assert len(killed) == 3
    np.testing.assert_array_equal(results.numbers["priority"], batch["priority"])
    assert 4 not in results.numbers["status"]


def test_twice_on_one_star_is_its_abort_and_no_other_s(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_STARS", "slow:1002")
    batch, later = tasks(*range(1000, 1006)), tasks(1010, 1011)
    with supervisor(tmp_path) as computer:
        computer.submit(batch)
        computer.submit(later)
        kill_at(computer, 1002, kill_at(computer, 1002))
        results, others = wait(computer), wait(computer)
    status = dict(zip(results.numbers["priority"].tolist(), results.numbers["status"].tolist(), strict=True))
    assert [priority for priority, number in status.items() if number == 4] == [102]
    (text,) = [text for text in results.errors if text and "its process was ended" in text]
    assert text.startswith("TIC 1002: its process was ended, for the second time: SIGKILL")
    np.testing.assert_array_equal(others.numbers["priority"], later["priority"])
    assert 4 not in others.numbers["status"]


def test_between_stars_does_not_matter_until_it_happens_again_and_again(tmp_path):
    with supervisor(tmp_path) as computer:
        for starid in (1000, 1001):
            computer.submit(tasks(starid))
            wait(computer)
            kill(computer._process.pid)
        computer.submit(tasks(1002))
        assert wait(computer).numbers["priority"].tolist() == [102]
        with pytest.raises(TasocError, match=r"ended 3 times without a star \(SIGKILL"):
            kill_and_go_on(computer, 3)


def kill_and_go_on(computer, times: int) -> None:
    """Hand over stars to processes that are killed before they are ready."""
    for starid in range(1003, 1003 + times):
        kill(computer._process.pid)
        computer.submit(tasks(starid))
        while computer._process.poll() is None:
            time.sleep(0.01)
        computer.poll(0.3)


# --- A whole run


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("blank") / "input"
    make_input(folder, STARS)
    return folder


@pytest.fixture(scope="module")
def expected(blank, tmp_path_factory) -> dict:
    folder = Path(shutil.copytree(blank, tmp_path_factory.mktemp("expected") / "input"))
    assert faulty.call(["--quiet", "run", str(folder)]) == 0
    return content(folder)


@contextlib.contextmanager
def running(folder: Path, *options: str, **variables: str):
    """A run on three ranks; its exit status has to be 0."""
    command = [*mpiexec(3), *PROGRAM, str(folder), *options]
    with subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as job:
        try:
            yield job
            _, said = job.communicate(timeout=60)
        except BaseException:
            break_off(job)
            raise
    assert job.returncode == 0, said


@pytest.mark.slow
def test_a_star_that_is_killed_twice_in_a_run_is_an_abort_until_it_is_asked_for(blank, expected, tmp_path):
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    # A star that nobody claims, and that claims nobody.
    claimed = {row[0] for row in expected["skipped"]} | {row[1] for row in expected["skipped"]}
    claimed |= {row[0] for row in expected["claims"]}
    row = next(row for row in expected["todolist"] if row[9] == 1 and row[0] not in claimed)
    priority, starid = row[0], row[1]
    killed: list[int] = []
    with running(folder, "--batch", "4", FAULTY_STARS=f"slow:{starid}") as job:
        while job.poll() is None and len(killed) < 2:
            children = [pid for pid in victims(job.pid)["child"] if pid not in killed]
            for pid in children:
                if stars_at_hand(folder / "output", pid) == {priority}:
                    kill(pid)
                    killed.append(pid)
            time.sleep(0.02)
    assert len(killed) == 2
    found = content(folder)
    changed = [row for row in found["todolist"] if row not in expected["todolist"]]
    assert [(row[0], row[9]) for row in changed] == [(priority, 4)]
    (text,) = [row[-1] for row in found["diagnostics"] if row[0] == priority]
    assert "for the second time: SIGKILL" in text
    assert {name: found[name] for name in ("skipped", "claims")} == {
        name: expected[name] for name in ("skipped", "claims")
    }
    with running(folder):
        pass
    assert content(folder) == found
    with running(folder, "--overwrite", "--starid", str(starid)):
        pass
    assert content(folder) == expected


@pytest.mark.slow
def test_computing_processes_that_are_killed_at_random_change_nothing(blank, expected, tmp_path):
    """Each when it has gone on to other stars than the one that its predecessor was killed at."""
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    rng = random.Random(4)
    kills = 0
    with running(folder, "--batch", "4", FAULTY_SECONDS="0.06") as job:
        seen: dict[int, set[int]] = {}
        while job.poll() is None:
            for pid in victims(job.pid)["child"]:
                stars = seen.setdefault(pid, set())
                stars.update(stars_at_hand(folder / "output", pid))
                # What was computed and not passed on comes first, and then the star at hand.
                if len(stars) > 6 and rng.random() < 0.3:
                    kill(pid)
                    stars.clear()
                    kills += 1
            time.sleep(0.01)
    assert kills >= 3
    assert content(folder) == expected
