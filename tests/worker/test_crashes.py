"""Which star is to blame when a compute process ends: by its own doing or not, for memory or for time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervised import supervisor, tasks, wait

from tasoc_mpi.core.errors import TasocError
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.worker.process_exit import explain_exit, oom_kills

pytestmark = pytest.mark.timeout(300)

HELPERS = str(Path(__file__).parents[1] / "helpers")

OWN = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL")
OUTSIDE = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGXCPU", "SIGUSR1")


# --- Causes


@pytest.mark.parametrize("name", OWN)
def test_signals_for_what_a_process_does_itself(name):
    death = explain_exit(-signal.Signals[name], memory_ran_out=False)
    assert death.own
    assert name in death.reason


@pytest.mark.parametrize("name", OUTSIDE)
def test_signals_from_outside_condemn_nobody(name):
    death = explain_exit(-signal.Signals[name], memory_ran_out=False)
    assert not death.own
    assert death.reason == f"{name}, from outside"


@given(st.integers(0, 255))
def test_whoever_exits_does_so_itself(status):
    assert explain_exit(status, memory_ran_out=False) == (f"exit status {status}", True)


def test_a_kill_counts_where_memory_ran_out():
    death = explain_exit(-signal.SIGKILL, memory_ran_out=True)
    assert death.own
    assert "memory ran out" in death.reason
    # Not any other signal.
    assert not explain_exit(-signal.SIGTERM, memory_ran_out=True).own
    assert not explain_exit(-200, memory_ran_out=True).own


def test_kills_for_want_of_memory_are_counted_by_the_node_and_its_control_groups(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "vmstat").write_text("nr_free_pages 5\noom_kill 2\n")
    assert list(oom_kills(proc, groups).values()) == [2]
    # Version 2: the job's group, and one above it.
    job = groups / "slurm" / "job"
    job.mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/slurm/job\n")
    (job / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 4\noom_kill 3\n")
    (groups / "slurm" / "memory.events").write_text("max 0\noom 0\noom_kill 5\noom_group_kill 0\n")
    assert sorted(oom_kills(proc, groups).values()) == [2, 3, 5]
    # Version 1, whose files are in a tree of their own.
    (proc / "self" / "cgroup").write_text("9:name=systemd:/\n5:cpu,memory:/slurm/uid:0\n0::/\n")
    job = groups / "memory" / "slurm" / "uid:0"
    job.mkdir(parents=True)
    (job / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 11\n")
    (groups / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 13\n")
    assert sorted(oom_kills(proc, groups).values()) == [2, 11, 13]
    # A container may see no more than its own root.
    (proc / "self" / "cgroup").write_text("5:memory:/docker/abc\n")
    assert sorted(oom_kills(proc, groups).values()) == [2, 13]
    assert oom_kills(tmp_path / "nothing", groups) == {}


# --- A worker's two processes


def statuses(results) -> dict[int, int]:
    """By TIC number."""
    numbers = results.numbers
    return dict(zip((numbers["priority"] + 900).tolist(), numbers["status"].tolist(), strict=True))


def aborts(*batches) -> dict[int, str]:
    """Those that are ABORT, and why."""
    return {
        int(number["priority"]) + 900: text
        for results in batches
        for number, text in zip(results.numbers, results.errors, strict=True)
        if number["status"] == 4
    }


def logged_faults(folder: Path, monkeypatch, faults: str) -> Path:
    """Set the stars that fail (see `faulty`); the folder in which processes log what they begin."""
    log = folder / "log"
    log.mkdir()
    monkeypatch.setenv("FAULTY_STARS", faults)
    monkeypatch.setenv("FAULTY_LOG", str(log))
    return log


def begun(log: Path) -> list[list[str]]:
    """The stars that each process has begun."""
    files = sorted(log.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [path.read_text().split() for path in files]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("segfault", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("leave", "exit status 3"),
        ("write_and_crash", "SIGSEGV"),
    ],
)
def test_a_star_that_ends_its_process_does_so_alone_before_it_is_condemned(
    tmp_path, monkeypatch, fault, reason
):
    log = logged_faults(tmp_path, monkeypatch, f"{fault}:1002")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        computer.submit(tasks(1010, 1011))
        first, second = wait(computer), wait(computer)
    assert sorted(statuses(first)) == list(range(1000, 1006))
    assert sorted(statuses(second)) == [1010, 1011]
    assert list(aborts(first, second)) == [1002]
    assert aborts(first)[1002].startswith(
        "TIC 1002: its process was ended again when it ran alone: " + reason
    )
    assert ["1002"] in begun(log)
    assert not list((tmp_path / "output").rglob(".*1002*"))


def test_a_method_that_exits_or_interrupts_fails_for_its_star(tmp_path, monkeypatch):
    """These are no exceptions for Python, and the process goes on."""
    log = logged_faults(tmp_path, monkeypatch, "exit:1001 interrupt:1003")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(*range(1000, 1005)))
        results = wait(computer)
    reasons = dict(zip(statuses(results), results.errors, strict=True))
    for star, reason in ((1001, "SystemExit: no good"), (1003, "KeyboardInterrupt")):
        assert reasons[star].endswith(reason)
        assert statuses(results)[star] == STATUS.ERROR
    assert len(begun(log)) == 1


def test_a_crash_that_does_not_come_again_costs_a_process_and_no_star(tmp_path, monkeypatch):
    log = logged_faults(tmp_path, monkeypatch, "once:1001,1004")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        results = wait(computer)
    assert sorted(statuses(results)) == list(range(1000, 1006))
    assert aborts(results) == {}
    # Nobody else in the process of a suspect.
    assert [stars for stars in begun(log) if stars[0] in ("1001", "1004")] == [
        ["1001"],
        ["1004"],
    ]


def test_neighbours_of_a_star_that_spoils_its_process_are_innocent(tmp_path, monkeypatch):
    """It ends well, and the process at a later star."""
    monkeypatch.setenv("FAULTY_STARS", "corrupt:1001 slow:1003,1004")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        results = wait(computer, 150)
    assert sorted(statuses(results)) == list(range(1000, 1006))
    assert aborts(results) == {}


def test_memory_that_runs_out_is_the_star_s_doing(tmp_path, monkeypatch):
    """A control group of its own, in which the kernel really kills."""
    with control_group(300 << 20) as (group, above):
        monkeypatch.setenv("FAULTY_STARS", "exhaust:1002")
        monkeypatch.setenv("FAULTY_GROUP", str(group))
        before = oom_kills()
        with supervisor(tmp_path) as computer:
            computer.submit(tasks(*range(1000, 1006)))
            results = wait(computer, 150)
        assert oom_kills() != before, above
    assert list(aborts(results)) == [1002]
    assert "SIGKILL (by the kernel: memory ran out" in aborts(results)[1002]


@contextlib.contextmanager
def control_group(limit: int):
    """A new control group below this process's; skips where none can be made."""
    name = next(
        (
            line.split(":", 2)
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if ":memory:" in line
        ),
        None,
    )
    folder = Path("/sys/fs/cgroup", "memory", name[2].strip("/")) if name else Path("/sys/fs/cgroup")
    group = folder / f"tasoc-mpi-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if name else "memory.max")).write_text(str(limit))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control groups can be made here ({error})")
    try:
        yield group, folder
    finally:
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                group.rmdir()
            time.sleep(0.05)


def kill_at(computer, starid: int, before: int = 0) -> int:
    """Kill the compute process, another one than `before`, when it is at work on a star; its number."""
    deadline = time.monotonic() + 60
    while computer.pid in (None, before) or computer._recorder.read().priority != starid - 900:
        assert computer.poll(0.01) is None
        assert time.monotonic() < deadline
    pid = computer.pid
    os.kill(pid, signal.SIGKILL)
    return pid


def test_kills_from_outside_condemn_nobody(tmp_path, monkeypatch):
    """However often they come at the same star."""
    monkeypatch.setenv("FAULTY_STARS", "held:1001,1002")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        computer.submit(tasks(1010, 1011))
        pid = 0
        for starid in (1001, 1002, 1002, 1002, 1002):
            pid = kill_at(computer, starid, pid)
            (tmp_path / "release-1001").touch()
        (tmp_path / "release-1002").touch()
        first, second = wait(computer), wait(computer)
    assert sorted(statuses(first)) == list(range(1000, 1006))
    assert sorted(statuses(second)) == [1010, 1011]
    assert aborts(first, second) == {}


def test_a_kill_from_outside_of_a_suspect_is_no_proof(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_STARS", "once:1002 held:1002")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        # The process that crashes, not the one that comes after it.
        pid = computer.pid
        for _ in range(3):
            pid = kill_at(computer, 1002, pid)
        (tmp_path / "release-1002").touch()
        results = wait(computer)
    assert sorted(statuses(results)) == list(range(1000, 1006))
    assert aborts(results) == {}


def test_a_star_whose_process_is_killed_for_ever_ends_the_run_and_is_not_condemned(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_STARS", "killed:1002")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(1000, 1001))
        wait(computer)
        computer.submit(tasks(1002, 1003))
        line = (
            r"the compute process was ended 20 times without a result "
            r"\(SIGKILL, from outside, the last time at TIC 1002\); find out what ends it"
        )
        with pytest.raises(TasocError, match=line):
            wait(computer, 280)


def test_a_star_that_is_done_while_its_process_is_ended_counts(tmp_path, monkeypatch):
    """The next star, which is at hand by then, is not blamed for the time that this one took."""
    monkeypatch.setenv("FAULTY_STARS", "slow:1001")
    with supervisor(tmp_path, target_timeout=30.0) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        deadline = time.monotonic() + 60
        while computer._recorder.read().priority != 101:
            assert computer.poll(0.01) is None
            assert time.monotonic() < deadline
        overdue = computer._recorder.read()
        # Its result comes while the supervisor process makes up its mind.
        while computer._recorder.read().sequence == overdue.sequence:
            time.sleep(0.001)
        time.sleep(0.2)
        computer._replace("no result after 0.5 s", overdue)
        results = wait(computer)
    assert sorted(statuses(results)) == list(range(1000, 1006))
    assert aborts(results) == {}


def test_a_star_that_takes_too_long_is_the_only_one_that_is_condemned(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_STARS", "hang:1002 slow:1003 stuck:1004")
    with supervisor(tmp_path, target_timeout=4.0) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        results = wait(computer, 150)
    assert sorted(statuses(results)) == list(range(1000, 1006))
    assert {starid: text[:50] for starid, text in aborts(results).items()} == {
        starid: f"TIC {starid}: its process was ended: no result after 4"[:50] for starid in (1002, 1004)
    }


def test_stars_in_hand_are_given_up_when_the_run_is_to_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FAULTY_STARS", "hang:1002")
    # Results are passed on when they are a tenth of a second old.
    monkeypatch.setenv("FAULTY_SECONDS", "0.15")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        computer.submit(tasks(1010, 1011))
        deadline = time.monotonic() + 60
        while computer._recorder.read().priority != 102:
            assert computer.poll(0.01) is None
            assert time.monotonic() < deadline
        start = time.monotonic()
        computer.finish(1.0)
        first, second = wait(computer), wait(computer)
        assert 0.9 < time.monotonic() - start < 20
        assert computer.held == 0
    # What was computed counts, and nothing is said of the others.
    assert sorted(statuses(first)) == [1000, 1001]
    assert len(second) == 0
    assert "TIC 1002: given up after" in caplog.text


def test_a_run_that_ends_waits_for_nothing_that_is_done(tmp_path):
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(*range(1000, 1006)))
        computer.finish(30.0)
        start = time.monotonic()
        assert len(wait(computer)) == 6
        assert time.monotonic() - start < 20


def test_what_a_dead_process_left_of_a_file_is_removed_and_nothing_else(tmp_path, monkeypatch):
    """Another process may be writing the same star, and a light curve of an earlier run stays."""
    monkeypatch.setenv("FAULTY_STARS", "once:1003")
    folder = tmp_path / "output" / "c1800" / "00000"
    folder.mkdir(parents=True)
    name = "tess00000001003-s001-1-1-c1800-dr01-v06-tasoc_lc.fits.gz"
    code = "import faulty; faulty._once = faulty._leave_part; photometry = faulty.photometry"
    (tmp_path / "leaving.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    other = folder / f".{name}.1.part"
    other.write_text("of another process")
    (folder / name).write_text("of an earlier run")
    with supervisor(tmp_path, photometry="leaving:photometry") as computer:
        computer.submit(tasks(1001, 1003))
        results = wait(computer)
    assert aborts(results) == {}
    assert sorted(path.name for path in folder.glob(".*")) == [other.name]
    assert (folder / name).read_text() != "of an earlier run"


def test_a_process_that_is_killed_before_it_is_ready_is_started_again(tmp_path):
    """Kills from outside are no reason to give up after three of them."""
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(1000, 1001))
        for _ in range(6):
            os.kill(computer.pid, signal.SIGKILL)
            pid = computer.pid
            while computer.pid == pid:
                computer.poll(0.01)
        np.testing.assert_array_equal(wait(computer).numbers["priority"], [100, 101])


def test_processes_end_with_a_supervisor_that_is_interrupted(tmp_path):
    code = (
        f"import sys, time; sys.path.insert(0, {HELPERS!r})\n"
        "from pathlib import Path; from supervised import supervisor, tasks\n"
        f"with supervisor(Path({str(tmp_path)!r})) as computer:\n"
        "    computer.submit(tasks(1000))\n"
        "    while computer._recorder.read().priority < 0: computer.poll(0.01)\n"
        "    print(computer.pid, time.monotonic(), flush=True)\n"
        "    raise KeyboardInterrupt\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FAULTY_STARS": "stuck:1000"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    pid, interrupted = done.stdout.split()
    # Nothing waits for the star.
    assert time.monotonic() - float(interrupted) < 15
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
