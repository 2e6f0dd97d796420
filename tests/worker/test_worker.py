"""What a worker is made of: its two processes, what they say to each other, memory, recorders."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import faulty
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervised import supervisor, tasks, wait

from tasoc_mpi.core.errors import TasocError
from tasoc_mpi.core.messages import ProtocolError, Tag, pack_results
from tasoc_mpi.core.resources import available_memory, memory_share
from tasoc_mpi.worker.compute import Job, aborted, join_results
from tasoc_mpi.worker.compute_options import pack_answer, unpack_answer
from tasoc_mpi.worker.rank import InProcess
from tasoc_mpi.worker.recorder import Reading, Recorder

# --- Answers


@given(st.sampled_from(list(Tag)), st.binary(max_size=50))
def test_an_answer_keeps_its_tag_and_its_payload(tag, payload):
    assert unpack_answer(pack_answer(tag, payload)) == (tag, payload)


def test_results_and_failures_alone_are_answers(tmp_path):
    with supervisor(tmp_path) as computer:
        with pytest.raises(ProtocolError, match="unknown tag"):
            computer._take(b"Traceback (most recent call last)")
        with pytest.raises(ProtocolError, match="results of other stars"):
            computer._take(pack_answer(Tag.RESULTS, pack_results(aborted(tasks(1)[0], "", "", 0.0))))


# --- The supervisor and its compute process


def test_results_are_those_of_one_process(tmp_path):
    batches = [tasks(1000, 1001, 1002), tasks(1003), tasks(*range(1010, 1040))]
    here = InProcess(Job(str(tmp_path), str(tmp_path / "output")), faulty.photometry)
    with supervisor(tmp_path) as there:
        for batch in batches[:2]:
            there.submit(batch)
        assert there.held == 2
        for number, batch in enumerate(batches):
            here.submit(batch)
            expected, found = wait(here), wait(there)
            if number == 0:
                there.submit(batches[2])
            for name in found.numbers.dtype.names:
                if name not in ("elaptime", "worker_wait_time") and not name.endswith("_size"):
                    np.testing.assert_array_equal(found.numbers[name], expected.numbers[name], name)
            np.testing.assert_array_equal(found.skips, expected.skips)
            assert found.lightcurve == expected.lightcurve
            assert [e and e.splitlines()[-1] for e in found.errors] == [
                e and e.splitlines()[-1] for e in expected.errors
            ]
        assert there.held == 0
        assert there.poll(0) is None


def test_a_dismissed_compute_process_ends_by_itself(tmp_path):
    """The supervisor does not wait for it, and closes what is left later."""
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(1000))
        wait(computer)
        computer.dismiss()
        process, deadline = computer._process.popen, time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() == 0
        computer.dismiss()


def test_a_batch_of_many_large_messages_does_not_block_the_pipes(tmp_path):
    """More than a pipe holds, in both directions at once."""
    with supervisor(tmp_path) as computer:
        first, second = tasks(*range(10000, 13000)), tasks(*range(20000, 23000))
        computer.submit(first)
        computer.submit(second)
        for batch in (first, second):
            np.testing.assert_array_equal(wait(computer).numbers["priority"], batch["priority"])


def test_waiting_for_a_batch_is_reported_with_its_first_star(tmp_path):
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(1000))
        wait(computer)
        time.sleep(0.3)
        computer.submit(tasks(1001, 1002))
        waited = wait(computer).numbers["worker_wait_time"]
        assert 0.25 < waited[0] < 30
        assert waited[1] == 0


def test_a_process_that_cannot_start_ends_the_run(tmp_path, capfd):
    with supervisor(tmp_path, photometry="faulty:nothing") as computer:
        computer.submit(tasks(1000))
        with pytest.raises(TasocError, match=r"ended 3 times without a star \(exit status 1\)"):
            wait(computer)
    assert "has no attribute 'nothing'" in capfd.readouterr().err


def test_a_full_disk_ends_the_run_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("RUN_PROGRAM_FULL", "1001")
    with supervisor(tmp_path) as computer:
        computer.submit(tasks(1000, 1001, 1002))
        with pytest.raises(TasocError, match="No space left on device; make room and run again"):
            wait(computer)


def test_a_killed_idle_process_is_nobodys_fault(tmp_path):
    with supervisor(tmp_path) as computer:
        for starid in (1000, 1001, 1002, 1003):
            computer.submit(tasks(starid))
            assert wait(computer).numbers["status"][0] != 4
            os.kill(computer.pid, signal.SIGKILL)
            computer.poll(0.3)


HELPERS = str(Path(__file__).parents[1] / "helpers")

PARENT = """
import os, sys, time
sys.path.insert(0, {helpers!r})
from pathlib import Path
from supervised import supervisor, tasks
folder = Path({folder!r})
(folder / "sector001_camera1_ccd1.hdf5").write_text("cube")
(folder / "scratch").mkdir()
computer = supervisor(folder, copies={copies!r})
computer.submit(tasks(1000, 1001))
while computer._recorder.read().priority < 0:
    computer.poll(0.01)
print(computer.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("fault", "copied"), [("hang", True), ("stuck", False)])
def test_the_computing_process_ends_with_its_supervisor(tmp_path, fault, copied):
    """Also in the middle of a star, even one that never returns to Python; copies of cubes go, too."""
    scratch = tmp_path / "scratch"
    program = PARENT.format(
        helpers=HELPERS,
        folder=str(tmp_path),
        copies=str(scratch) if copied else "",
    )
    environment = {**os.environ, "FAULTY_STARS": f"{fault}:1000"}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        assert len(list(scratch.glob("*.hdf5"))) == copied
        parent.kill()
    deadline = time.monotonic() + 30
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(scratch.iterdir()) == []


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_the_supervisor_is_small():
    code = "import sys, tasoc_mpi.worker.rank, tasoc_mpi.worker.supervisor; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    heavy = {"numba", "astropy", "h5py", "scipy", "matplotlib", "tasoc_mpi.photometry", "tasoc_mpi.scheduler"}
    assert not heavy & set(done.stdout.split())


def test_joined_results_keep_what_belongs_together():
    parts = [aborted(task, "", f"reason {task['starid']}", 1.5) for task in tasks(1, 2, 3)]
    joined = join_results(parts)
    assert joined.numbers["priority"].tolist() == [-899, -898, -897]
    assert set(joined.numbers["status"]) == {4}
    assert np.isnan(joined.numbers["mean_flux"]).all()
    assert joined.errors == ["reason 1", "reason 2", "reason 3"]
    assert len(join_results([])) == 0


# --- Recorders


def test_a_recorder_is_read_by_another_process_after_a_kill():
    code = (
        "import os, sys; from tasoc_mpi.worker.recorder import Recorder;"
        "r = Recorder(int(sys.argv[1])); r.begin(12345678901); r.extend(5); os.kill(os.getpid(), 9)"
    )
    recorder = Recorder.create()
    before = recorder.read()
    assert before.priority == -1
    subprocess.run(
        [sys.executable, "-c", code, str(recorder.fd)], pass_fds=[recorder.fd], check=False, timeout=60
    )
    found = recorder.read()
    assert found[1:] == (12345678901, 5.0)
    assert found.sequence != before.sequence
    recorder.idle()
    assert recorder.read()[1:] == (-1, 0.0)
    assert recorder.read().sequence != found.sequence
    recorder.close()


def test_the_same_star_again_is_another_reading():
    recorder = Recorder.create()
    recorder.begin(7)
    first = recorder.read()
    recorder.begin(7)
    assert recorder.read().priority == 7
    assert recorder.read() != first


def test_readings_are_of_one_moment():
    """However often they are taken while another process goes through stars: grace belongs to its star."""
    code = (
        "import sys, time; from tasoc_mpi.worker.recorder import Recorder;"
        "r = Recorder(int(sys.argv[1]))\n"
        "while True:\n"
        "    for i in range(1, 1000): r.begin(i); r.extend(float(i)); time.sleep(1e-5)"
    )
    recorder = Recorder.create()
    with subprocess.Popen([sys.executable, "-c", code, str(recorder.fd)], pass_fds=[recorder.fd]) as writer:
        deadline = time.monotonic() + 60
        while recorder.read().priority < 0:
            assert time.monotonic() < deadline
        readings: list[Reading] = []
        # On a busy machine the writer may wait for long.
        while len({reading.priority for reading in readings}) <= 100 or len(readings) < 100_000:
            assert time.monotonic() < deadline
            readings += [recorder.read() for _ in range(10_000)]
        writer.kill()
    assert {reading.grace - reading.priority for reading in readings if reading.grace} == {0.0}
    of_sequence: dict[int, set[int]] = {}
    for reading in readings:
        of_sequence.setdefault(reading.sequence, set()).add(reading.priority)
    assert all(len(priorities) == 1 for priorities in of_sequence.values())


def test_a_writer_that_died_within_a_change_was_between_stars():
    recorder = Recorder.create()
    recorder.begin(7)
    recorder._sequence[0] += 1
    assert recorder.read().priority == -1
    recorder.begin(8)
    assert recorder.read().priority == 8


# --- Memory


def test_available_memory_is_the_least_of_node_and_control_groups(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 2000000 kB\n")
    assert available_memory(proc, groups) == 2_048_000_000
    job = groups / "slurm" / "job"
    job.mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/slurm/job\n")
    (job / "memory.max").write_text("max\n")
    (job / "memory.stat").write_text("anon 5\n")
    assert available_memory(proc, groups) == 2_048_000_000
    (groups / "slurm" / "memory.max").write_text("1500000000\n")
    (groups / "slurm" / "memory.stat").write_text("anon 400000000\nfile 900000000\nshmem 100000000\n")
    assert available_memory(proc, groups) == 1_000_000_000
    assert available_memory(tmp_path / "nothing", groups) is None


def test_shares_of_memory():
    whole = memory_share(1)
    assert whole == pytest.approx(0.9 * available_memory(), rel=0.2)
    assert memory_share(10**6) == 1 << 30
