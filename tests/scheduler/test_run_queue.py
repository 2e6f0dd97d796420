"""The order in which stars are handed out: tiles, nodes, level ends."""

import heapq
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasoc_mpi.core.messages import TASK_DTYPE, Tag, unpack_tasks
from tasoc_mpi.scheduler.dispatcher import Workers
from tasoc_mpi.scheduler.queue import BatchSize, Queue
from tasoc_mpi.scheduler.signals import Stop


def rows_of(ccd, tile, datasource="ffi", tmag=None):
    """Rows of a work list in order of brightness."""
    n = len(ccd)
    rows = np.zeros(n, TASK_DTYPE)
    rows["priority"] = np.arange(1, n + 1)
    rows["starid"] = 100 + np.arange(n)
    rows["sector"], rows["camera"], rows["ccd"], rows["cadence"] = 1, 1, ccd, 1800
    rows["tmag"] = np.linspace(7, 15, n) if tmag is None else tmag
    rows["datasource"] = datasource
    return rows, np.asarray(tile)


def learned(workers, seconds=0.005, fixed=None):
    size = BatchSize(workers, fixed)
    size.learn_stars(np.array([seconds]), np.array([False]))
    return size


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_star_is_handed_out_once(data):
    n = data.draw(st.integers(0, 300))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    rows, tile = rows_of(rng.integers(1, 4, n), rng.integers(-1, 5, n))
    rows["datasource"][rng.random(n) < 0.1] = b"tpf:105"
    rows["tmag"][: n // 10] = 4
    wanted = np.flatnonzero(rng.random(n) < 0.8)
    left_out = rng.random(n) < 0.1
    size = learned(4, 0.01, data.draw(st.sampled_from([None, 1, 7])))
    queue = Queue(rows, wanted, size, tile)
    queue.leave_out(np.flatnonzero(left_out))
    found = []
    while len(queue):
        batch = queue.take(data.draw(st.integers(0, 5)))[0]
        assert len(np.unique(batch["ccd"])) <= 1
        found += batch["priority"].tolist()
    assert sorted(found) == rows["priority"][wanted][~left_out[wanted]].tolist()
    assert not len(queue.take(0)[0])


def test_a_tile_is_handed_out_from_bright_to_faint():
    rng = np.random.default_rng(3)
    rows, tile = rows_of(rng.integers(1, 3, 2000), rng.integers(0, 20, 2000))
    queue = Queue(rows, np.arange(2000), learned(2), tile)
    seen = defaultdict(list)
    while len(queue):
        for priority in queue.take()[0]["priority"].tolist():
            seen[rows["ccd"][priority - 1], tile[priority - 1]].append(priority)
    assert len(seen) == 40
    assert all(found == sorted(found) for found in seen.values())


def test_the_stars_of_a_target_pixel_file_come_together():
    n = 600
    rows, tile = rows_of(np.ones(n, int), np.full(n, -1))
    rows["datasource"] = [b"tpf" if i % 3 == 0 else b"tpf:%d" % (100 + i - i % 3) for i in range(n)]
    queue = Queue(rows, np.arange(n), learned(8, 0.1), tile)
    while len(queue):
        batch = queue.take()[0]
        files = batch["starid"] - (batch["priority"] - 1) % 3
        # All three stars of each file.
        assert set(np.unique(files, return_counts=True)[1]) == {3}


def test_a_file_of_an_impossible_star_is_a_file():
    rows, tile = rows_of(np.ones(2, int), np.zeros(2, int))
    rows["datasource"] = b"tpf:%d" % (10**20 - 1)
    queue = Queue(rows, np.arange(2), learned(1), tile)
    tasks, seconds = queue.take()
    assert len(tasks) == 2
    assert seconds == 2 * queue.size.cost[1]


def test_bright_stars_come_first():
    rows, tile = rows_of(np.ones(500, int), np.arange(500) % 10, tmag=np.linspace(2, 14, 500))
    queue = Queue(rows, np.arange(500), learned(50), tile)
    first = []
    while len(first) < 50:
        first += queue.take()[0]["tmag"].tolist()
    assert max(first[:50]) < 6


class VirtualWorkers:
    """A mailbox whose other end are workers that compute in virtual time; a message takes rank 0 20 us."""

    waited = 0.0

    def __init__(self, workers, seconds, monkeypatch):
        monkeypatch.setattr("tasoc_mpi.scheduler.dispatcher.time.perf_counter", lambda: self.now)
        self.seconds = seconds
        self.now = 0.0
        self.ends = np.zeros(workers + 1)
        self.due = []
        self.sent = []

    def send(self, rank, tag, message):
        index = unpack_tasks(message)["priority"] - 1
        self.ends[rank] = max(self.ends[rank], self.now) + self.seconds[index].sum()
        heapq.heappush(self.due, (self.ends[rank], len(self.sent), rank))
        self.sent.append((rank, index))

    def receive(self, most, timeout):
        before = self.now
        self.now, number, rank = heapq.heappop(self.due)
        self.waited = self.now - before - 20e-6
        return [(rank, Tag.RESULTS, str(number).encode())]


@pytest.mark.parametrize(("nodes", "per_node"), [(1, 16), (4, 32), (16, 8), (32, 4)])
def test_each_tile_is_read_by_one_node_and_the_run_ends_level(nodes, per_node, monkeypatch):
    rng = np.random.default_rng(nodes)
    n, workers = 60_000, nodes * per_node
    rows, tile = rows_of(rng.integers(1, 17, n), rng.integers(0, 40, n))
    seconds = 0.005 * 10 ** rng.uniform(-0.5, 0.5, n)
    node = [0, *(worker // per_node for worker in range(workers))]
    mail = VirtualWorkers(workers, seconds, monkeypatch)
    queue = Queue(rows, np.arange(n), learned(workers), tile)
    Workers(mail, Stop(), node).compute(queue, lambda *_: None, lambda: None)
    read = defaultdict(set)
    for rank, index in mail.sent:
        for place in set(zip(rows["ccd"][index].tolist(), tile[index].tolist(), strict=True)):
            read[place].add(node[rank])
    assert sorted(np.concatenate([index for _, index in mail.sent])) == list(range(n))
    assert len(read) == 16 * 40
    assert np.mean([len(found) == 1 for found in read.values()]) > 0.9
    assert seconds.sum() / (workers * mail.ends.max()) > 0.98
    if nodes <= 16:
        # A node begins another CCD only when its own is finished.
        ccds = defaultdict(set)
        for (ccd, _), found in read.items():
            ccds[ccd] |= found
        assert np.mean([len(found) for found in ccds.values()]) < 3.5


def test_a_run_ends_level_where_stars_of_target_pixel_files_cost_a_hundred_times_as_much(monkeypatch):
    """As in a sector: they come last on each CCD, and take as long as all others."""
    rng = np.random.default_rng(5)
    n, files, workers = 40_000, 400, 64
    rows, tile = rows_of(rng.integers(1, 5, n), rng.integers(0, 40, n))
    in_file = np.zeros(n, bool)
    in_file[rng.choice(n, files, replace=False)] = True
    rows["datasource"][in_file] = b"tpf"
    seconds = np.where(in_file, 0.3, 0.003) * 10 ** rng.uniform(-0.5, 0.5, n)
    mail = VirtualWorkers(workers, seconds, monkeypatch)
    size = BatchSize(workers)

    def add_results(messages, ranks):
        index = np.concatenate([mail.sent[int(number)][1] for number in messages])
        size.learn_stars(seconds[index], in_file[index])

    Workers(mail, Stop(), [0] * (workers + 1)).compute(
        Queue(rows, np.arange(n), size, tile), add_results, lambda: None
    )
    assert all(len(np.unique(in_file[index])) == 1 for _, index in mail.sent)
    assert max(seconds[index].sum() for _, index in mail.sent) < 3
    assert seconds.sum() / (workers * mail.ends.max()) > 0.95


def test_batches_become_smaller_towards_the_end_but_not_too_small_for_rank_0():
    size = learned(100)
    sizes = [size.stars(deficit) for deficit in (5, 0.5, 0.05, 0.005, 0.0005, -1)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 100
    assert sizes[-1] == 0
    many = learned(4000)
    # 4000 messages of 20 us take as long as 16 stars.
    assert 8 <= many.stars(0.06) <= 16
    assert many.stars(0.025) == 5
    assert learned(4000, fixed=3).stars(10) == 3
