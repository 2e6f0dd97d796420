"""What ranks say to each other: ``mpiexec -n N python -m pytest --with-mpi tests/runs/test_mpi.py``.

Every test is called by all ranks. What hangs is ended by its time limit, which ends the whole job.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from tasoc_mpi.core.messages import (
    RESULT_DTYPE,
    TASK_DTYPE,
    ProtocolError,
    Results,
    Tag,
    Usage,
    pack_number,
    pack_results,
    pack_tasks,
    unpack_number,
    unpack_results,
    unpack_tasks,
)
from tasoc_mpi.core.mpi import Mailbox, nodes, receive, world
from tasoc_mpi.scheduler.dispatcher import Workers
from tasoc_mpi.scheduler.queue import BatchSize, Queue
from tasoc_mpi.scheduler.signals import Stop
from tasoc_mpi.worker.rank import work

# A thread ends the process also while it is inside the MPI library, and MPI then ends the others.
pytestmark = pytest.mark.timeout(60, method="thread")


@pytest.fixture
def comm():
    """All ranks, together at the beginning and at the end of a test."""
    from mpi4py import MPI

    MPI.COMM_WORLD.Barrier()
    yield MPI.COMM_WORLD
    MPI.COMM_WORLD.Barrier()


def some_tasks(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tasks = np.zeros(count, TASK_DTYPE)
    tasks["priority"] = np.arange(1, count + 1)
    for name in ("starid", "sector", "camera", "ccd", "cadence"):
        tasks[name] = rng.integers(1, 5, count)
    tasks["datasource"], tasks["method"] = b"ffi", b"aperture"
    return tasks


def some_results(tasks: np.ndarray, text: str = "") -> Results:
    """Results of every length of strings and skip lists."""
    count = len(tasks)
    numbers = np.zeros(count, RESULT_DTYPE)
    numbers["priority"] = tasks["priority"]
    numbers["mean_flux"] = np.where(tasks["priority"] % 3 == 0, np.nan, tasks["priority"] / 7)
    numbers["status"] = 1
    numbers["skip_count"] = tasks["priority"] % 4
    skips = np.arange(numbers["skip_count"].sum(), dtype="i8")
    names = [f"c1800/{p}.fits.gz" if p % 2 else None for p in tasks["priority"].tolist()]
    errors = [text * (p % 3) or None for p in tasks["priority"].tolist()]
    return Results(numbers, names, ["aperture"] * count, errors, skips)


def assert_same(found: Results, expected: Results) -> None:
    for name in ("priority", "mean_flux", "status", "skip_count"):
        np.testing.assert_array_equal(found.numbers[name], expected.numbers[name])
    for name in ("lightcurve", "method_used", "errors"):
        assert list(getattr(found, name)) == list(getattr(expected, name))
    np.testing.assert_array_equal(found.skips, expected.skips)


@pytest.mark.mpi(min_size=1)
def test_the_launcher_is_recognised(comm):
    """With one rank MPI has nothing to do; with more, `world` is all of them, whichever MPI started them."""
    found = world()
    if comm.Get_size() == 1:
        assert found is None
    else:
        assert found is not None
        assert found.Get_size() == comm.Get_size()
        assert found.Get_rank() == comm.Get_rank()


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("count", [0, 1, 7, 20_000])
def test_messages_arrive_as_they_were_sent(comm, count):
    """From rank 0 to all and back; the largest are some megabytes, which MPI sends in another way."""
    text = "Traceback: \N{GREEK SMALL LETTER ALPHA}\n" * 5
    tasks = some_tasks(count)
    if comm.Get_rank() == 0:
        mail = Mailbox(comm)
        for rank in range(1, comm.Get_size()):
            mail.send(rank, Tag.TASKS, pack_tasks(tasks))
            mail.send(rank, Tag.STOP, pack_number(75))
        heard = {}
        while len(heard) < comm.Get_size() - 1:
            for rank, tag, message in mail.receive(64):
                assert tag == Tag.RESULTS
                heard[rank] = unpack_results(message)
        mail.wait()
        for results in heard.values():
            assert_same(results, some_results(tasks, text))
    else:
        source, tag, message = receive(comm, 0)
        assert (source, tag) == (0, Tag.TASKS)
        found = unpack_tasks(message)
        np.testing.assert_array_equal(found, tasks)
        comm.Send(pack_results(some_results(found, text)), 0, Tag.RESULTS)
        # Messages of one rank do not overtake each other.
        _, tag, message = receive(comm, 0)
        assert (tag, unpack_number(message)) == (Tag.STOP, 75)


@pytest.mark.mpi(min_size=2)
def test_a_cut_message_is_recognised(comm):
    whole = pack_results(some_results(some_tasks(5)))
    if comm.Get_rank() > 0:
        comm.Send(whole[:-3], 0, Tag.RESULTS)
    else:
        for _ in range(comm.Get_size() - 1):
            _, _, message = receive(comm)
            with pytest.raises(ProtocolError, match=f"{len(whole) - 3} bytes instead of {len(whole)}"):
                unpack_results(message)


@pytest.mark.mpi(min_size=2)
def test_what_is_there_is_received_without_waiting(comm):
    """MPICH's Iprobe says no first to every message that another process has sent."""
    if comm.Get_rank() == 1:
        requests = [comm.Isend(bytes(1000), 0, Tag.RESULTS) for _ in range(10)]
    comm.Barrier()
    if comm.Get_rank() == 0:
        mail = Mailbox(comm)
        time.sleep(0.05)
        assert len(mail.receive(64)) == 10
        assert mail.waited == 0
        assert mail.receive(64, timeout=0.02) == []
        assert mail.waited >= 0.02
    elif comm.Get_rank() == 1:
        for request in requests:
            request.Wait()


@pytest.mark.mpi(min_size=1)
def test_waiting_ends_in_time(comm):
    start = time.perf_counter()
    assert receive(comm, None, timeout=0.05) is None
    assert Mailbox(comm).receive(5, timeout=0.05) == []
    assert 0.09 < time.perf_counter() - start < 10


@pytest.mark.mpi(min_size=1)
def test_ranks_of_one_host_are_one_node(comm):
    import socket

    found = nodes(comm)
    assert len(found) == comm.Get_size()
    hosts = comm.allgather(socket.gethostname())
    assert len(set(found)) == len(set(hosts))
    assert found == comm.bcast(found, 0)


class AtOnce:
    """A computer that answers a batch at the next poll."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []
        self.memory = 0
        self.syncing = 0

    @property
    def held(self) -> int:
        return len(self.batches)

    @property
    def usage(self) -> Usage:
        """Memory that grows with every look."""
        self.memory += 1
        return Usage(self.memory)

    def submit(self, tasks: np.ndarray) -> None:
        self.batches.append(tasks)

    def poll(self, timeout: float) -> Results | None:
        return some_results(self.batches.pop(0))


class SlowDisk(AtOnce):
    """A computer that computes a batch at each poll, and whose disk takes the first when it has three."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.patience = time.monotonic() + 5

    def poll(self, timeout: float) -> Results | None:
        self.syncing = min(self.syncing + 1, len(self.batches))
        self.most = max(self.most, self.syncing)
        if self.most < 3 and time.monotonic() < self.patience:
            time.sleep(0.001)
            return None
        self.syncing -= 1
        return some_results(self.batches.pop(0))


@pytest.mark.mpi(min_size=2)
def test_a_worker_goes_on_while_its_disk_is_slow(comm):
    if comm.Get_rank() > 0:
        nodes(comm)
        computer = SlowDisk()
        assert work(comm, computer) == 0
        comm.gather(computer.most, 0)
        return
    workers = Workers(Mailbox(comm), Stop(), nodes(comm))
    rows = np.zeros(400, TASK_DTYPE)
    rows["priority"], rows["datasource"] = np.arange(1, 401), b"ffi"
    computed: list[int] = []

    def add_results(messages, ranks) -> None:
        for message in messages:
            computed.extend(unpack_results(message).numbers["priority"].tolist())

    workers.compute(Queue(rows, np.arange(400), BatchSize(workers.count, 5)), add_results, lambda: None)
    assert workers.outstanding == 0
    assert workers.computed == [0] * comm.Get_size()
    workers.send_stop(0)
    assert sorted(computed) == list(range(1, 401))
    # More than the two batches that a worker has where the disk is quick; one that starts late gets none.
    assert max(comm.gather(0, 0)) > 2


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize(("stars", "batch"), [(0, None), (1, None), (500, 1), (500, 100), (3000, None)])
def test_every_star_is_computed_once(comm, stars, batch):
    """The loops of rank 0 and of the workers together, also with more ranks than stars."""
    if comm.Get_rank() > 0:
        nodes(comm)
        assert work(comm, AtOnce()) == 3
        return
    workers = Workers(Mailbox(comm), Stop(), nodes(comm))
    rows = np.zeros(stars, TASK_DTYPE)
    rows["priority"] = np.arange(1, stars + 1)
    rows["datasource"], rows["ccd"] = b"ffi", 1 + np.arange(stars) % 4
    size = BatchSize(workers.count, batch)
    computed: list[int] = []

    def add_results(messages, ranks) -> None:
        for message in messages:
            computed.extend(unpack_results(message).numbers["priority"].tolist())

    workers.compute(Queue(rows, np.arange(stars), size), add_results, lambda: None)
    workers.send_stop(3)
    assert sorted(computed) == list(range(1, stars + 1))
    assert receive(comm, None, timeout=0) is None


@pytest.mark.mpi(min_size=1)
def test_this_job_has_a_launcher(comm):
    """The tests above say nothing of `world` if they are not run by mpiexec."""
    assert any(name in os.environ for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"))
