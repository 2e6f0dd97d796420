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

from tasoc_mpi.errors import TasocError
from tasoc_mpi.memory import available_memory
from tasoc_mpi.products.recorder import Recorder, clear_recorders, read_recorders, recorder_folder
from tasoc_mpi.protocol import TASK_DTYPE, ProtocolError, Results
from tasoc_mpi.worker.compute import Job, aborted, join_results
from tasoc_mpi.worker.loop import InProcess
from tasoc_mpi.worker.memory import memory_share
from tasoc_mpi.worker.pipes import Frames, Kind, frame, read_frame
from tasoc_mpi.worker.supervisor import ChildOptions, Supervisor


def tasks(*starids: int) -> np.ndarray:
    rows = np.zeros(len(starids), TASK_DTYPE)
    rows["starid"], rows["priority"] = starids, np.array(starids) - 900
    rows["sector"] = rows["camera"] = rows["ccd"] = 1
    rows["cadence"], rows["datasource"] = 1800, b"ffi"
    return rows


def supervisor(folder: Path, **options) -> Supervisor:
    job = Job(str(folder), str(folder / "output"))
    recorders = str(recorder_folder(folder / "output"))
    chosen = {"target_timeout": 30.0, "recorders": recorders, "photometry": faulty.NAME, **options}
    return Supervisor(job, ChildOptions(**chosen))


def wait(computer, seconds: float = 30) -> Results:
    results = computer.poll(seconds)
    assert results is not None
    return results


# --- Frames


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=50))), st.integers(1, 30))
def test_frames_come_whole_however_they_are_cut(messages, size):
    stream = b"".join(frame(kind, payload) for kind, payload in messages)
    frames, found = Frames(), []
    for start in range(0, len(stream), size):
        frames.feed(stream[start : start + size])
        while (message := frames.pop()) is not None:
            found.append(message)
    assert found == messages


def test_what_is_no_frame_is_refused():
    frames = Frames()
    frames.feed(b"Traceback (most recent call last)")
    with pytest.raises(ProtocolError):
        frames.pop()


def test_a_frame_that_is_cut_by_the_end_is_the_end():
    reads, writes = os.pipe()
    os.write(writes, frame(Kind.TASKS, b"12345")[:-1])
    os.close(writes)
    assert read_frame(reads) is None
    os.close(reads)


# --- The supervisor and its computing process


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
    assert list((tmp_path / "output" / ".recorders" / "todo").iterdir()) == []


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
        assert 0.25 < waited[0] < 5
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
            os.kill(computer._process.pid, signal.SIGKILL)
            computer.poll(0.3)


PARENT = """
import os, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_worker import supervisor, tasks
folder = Path({folder!r})
(folder / "sector001_camera1_ccd1.hdf5").write_text("cube")
(folder / "scratch").mkdir()
computer = supervisor(folder, copies=str(folder / "scratch"))
computer.submit(tasks(1000, 1001))
while computer._recorder.read()[0] < 0:
    computer.poll(0.01)
print(computer._process.pid, flush=True)
time.sleep(60)
"""


def test_the_computing_process_ends_with_its_supervisor(tmp_path):
    """Also in the middle of a star, which then is under no suspicion; copies of cubes go, too."""
    program = PARENT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    environment = {**os.environ, "FAULTY_STARS": "hang:1000"}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        (recorder,) = (tmp_path / "output" / ".recorders" / "todo").iterdir()
        assert read_recorders(recorder.parent)["priority"].tolist() == [100]
        assert len(list((tmp_path / "scratch").glob("*.hdf5"))) == 1
        parent.kill()
    deadline = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not recorder.exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_the_supervisor_is_small():
    code = "import sys, tasoc_mpi.worker.loop, tasoc_mpi.worker.supervisor; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    heavy = {"numba", "astropy", "h5py", "scipy", "matplotlib", "tasoc_mpi.photometry", "tasoc_mpi.scheduler"}
    assert not heavy & set(done.stdout.split())


def test_joined_results_keep_what_belongs_together():
    parts = [aborted(task, f"reason {task['starid']}", 1.5) for task in tasks(1, 2, 3)]
    joined = join_results(parts)
    assert joined.numbers["priority"].tolist() == [-899, -898, -897]
    assert set(joined.numbers["status"]) == {4}
    assert np.isnan(joined.numbers["mean_flux"]).all()
    assert joined.errors == ["reason 1", "reason 2", "reason 3"]
    assert len(join_results([])) == 0


# --- Recorders


def test_recorders_add_up_until_they_are_cleared(tmp_path):
    folder = recorder_folder(tmp_path)
    assert len(read_recorders(folder)) == 0
    for priority in (7, 7, 3, None):
        recorder = Recorder.create(folder, 1)
        before = time.time()
        if priority is not None:
            recorder.begin(99)
            recorder.begin(priority)
    (folder / "stray").write_text("not a recorder")
    other = Recorder.create(recorder_folder(tmp_path, "todo-1-1"), 1)
    other.begin(3)
    found = read_recorders(folder)
    assert found["priority"].tolist() == [3, 7]
    assert found["count"].tolist() == [1, 2]
    assert abs(found["started"] - before).max() < 60
    clear_recorders(folder)
    assert not folder.exists()
    assert other.path.exists()
    clear_recorders(other.path.parent)
    assert list(tmp_path.iterdir()) == []


def test_a_recorder_is_read_by_another_process_after_a_kill(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from tasoc_mpi.products.recorder import Recorder;"
        "r = Recorder(Path(sys.argv[1])); r.begin(12345678901); os.kill(os.getpid(), 9)"
    )
    recorder = Recorder.create(tmp_path, 4)
    subprocess.run([sys.executable, "-c", code, str(recorder.path)], check=False, timeout=60)
    assert recorder.read()[0] == 12345678901
    recorder.idle()
    assert len(read_recorders(tmp_path)) == 0
    recorder.remove()
    assert list(tmp_path.iterdir()) == []


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
