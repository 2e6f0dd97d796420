"""How well rank 0 keeps thousands of workers busy: its real code, in virtual time.

The scheduler's queue, messages and store run as in a run; only the workers and the network are simulated.
Virtual time passes by what rank 0's own functions take (measured beforehand), by a fixed cost for each call
of MPI, and by the stars. Results are written beside it, in a thread, as in a run; what that takes from rank 0
is not charged.

    python benchmarks/dispatch.py [--ccds 16] [--stars 100000] [--workers 4096] [--per-node 128] [--ms 5]
"""

from __future__ import annotations

import argparse
import gc
import heapq
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_scheduler import Answers

from tasoc_mpi.products.todo import TODO_DTYPE, create_todo
from tasoc_mpi.protocol import Results, Tag, pack_results, pack_tasks, unpack_tasks
from tasoc_mpi.scheduler import store as store_module
from tasoc_mpi.scheduler.loop import Crew
from tasoc_mpi.scheduler.queue import BatchSize, Queue
from tasoc_mpi.scheduler.signals import Stop

#: Seconds of rank 0 in MPI for receiving a message (Iprobe, Recv) and for sending one (Isend, and Test of the
#: one before): 9 us is what `Mailbox.send` took for 8 kB under MPICH with two ranks on one host. Receiving is
#: taken to be the same. And the time between hosts.
RECEIVE = 9e-6
SEND = 9e-6
LATENCY = 20e-6


@dataclass
class Costs:
    """Seconds of rank 0's code for handing out a batch, for taking in its results, and for each star."""

    hand_out: float
    take_in: float
    star: float


def measure_costs(store: store_module.Store) -> Costs:
    """Time the scheduler's own functions; the best of several, as other programs are not to count."""
    size = BatchSize(4096)
    size.learn(np.array([5e-3]))
    answer = Answers()
    queue = Queue(store.rows, np.arange(len(store.rows)), size, store.tile, store.left_out)
    hand_out, taken = [], []
    for _ in range(15):
        batches = []
        start = time.perf_counter()
        for _ in range(64):
            batches.append(queue.take())
            pack_tasks(batches[-1])
        hand_out.append((time.perf_counter() - start) / 64)
        taken.append(batches)
    seconds = {}
    limit, store_module.FLUSH_COUNT = store_module.FLUSH_COUNT, 1 << 60
    for stars in (10, 1000):
        best = np.inf
        for batches in taken:
            messages = [answer(batch[:stars]) for batch in batches]
            start = time.perf_counter()
            bundle = store.add(messages)
            store._leave_out()
            size.learn(bundle.numbers["elaptime"])
            best = min(best, (time.perf_counter() - start) / 64)
            store.own[:] = 0
        seconds[len(bundle.numbers) / 64] = best
    store_module.FLUSH_COUNT = limit
    (few, low), (many, high) = seconds.items()
    star = max(0.0, (high - low) / (many - few))
    store._waiting.clear()
    store._waiting_results = 0
    store.left_out[:] = False
    return Costs(min(hand_out), max(0.0, low - few * star), star)


class VirtualWorkers:
    """A mailbox in virtual time with workers at its other end."""

    def __init__(self, workers: int, seconds: np.ndarray, answer: Answers, costs: Costs) -> None:
        self.seconds, self.answer, self.costs = seconds, answer, costs
        self.now = 0.0
        self.free = np.zeros(workers + 1)
        self.busy = np.zeros(workers + 1)
        self.rank_0 = self.stalled = 0.0
        self.messages = 0
        self.reads: defaultdict[int, set[int]] = defaultdict(set)
        empty = pack_results(Results.empty())
        self.heap = [(0.0, rank, rank, empty) for rank in range(1, workers + 1)]
        self.count = workers + 1
        self.look = lambda rank, tasks: None

    def charge(self, seconds: float) -> None:
        """Let rank 0 be busy."""
        self.now += seconds
        self.rank_0 += seconds

    def receive(self, most: int, timeout: float | None = None) -> list[tuple[int, int, bytes]]:
        self.now = max(self.now, self.heap[0][0])
        found = []
        while self.heap and len(found) < most and self.heap[0][0] <= self.now:
            _, _, rank, message = heapq.heappop(self.heap)
            found.append((rank, Tag.RESULTS, message))
            self.charge(RECEIVE)
        self.messages += len(found)
        return found

    def send(self, rank: int, tag: int, message: bytes) -> None:
        self.charge(SEND + self.costs.hand_out)
        tasks = unpack_tasks(message)
        self.look(rank, tasks)
        start = max(self.free[rank], self.now + LATENCY)
        self.stalled += start - self.free[rank]
        duration = float(self.seconds[tasks["priority"] - 1].sum())
        self.busy[rank] += duration
        self.free[rank] = start + duration
        arrival = self.free[rank] + LATENCY
        answer = self.answer(tasks, self.seconds[tasks["priority"] - 1])
        heapq.heappush(self.heap, (arrival, self.count, rank, answer))
        self.count += 1

    def wait(self) -> None:
        pass


def simulate(
    ccds: int, stars: int, workers: int, per_node: int, ms: float, spread: float
) -> dict[str, float]:
    """One run."""
    rng = np.random.default_rng(2)
    n = ccds * stars
    rows = np.zeros(n, TODO_DTYPE)
    rows["priority"] = np.arange(1, n + 1)
    rows["starid"] = rng.choice(2_000_000_000, n, replace=False)
    rows["tmag"] = 15 + np.log10(np.arange(1, n + 1) / n) / 0.4
    rows["datasource"], rows["sector"], rows["cadence"] = "ffi", 56, 200
    ccd = rng.permutation(np.arange(n) % ccds)
    rows["camera"], rows["ccd"] = ccd // 4 % 4 + 1, ccd % 4 + 1
    rows["sector"] += ccd // 16
    tile = rng.integers(0, 1024, n)
    # Between two stars lies at most this factor.
    seconds = spread ** rng.uniform(0, 1, n)
    seconds *= 1e-3 * ms / seconds.mean()
    folder = Path(tempfile.mkdtemp())
    try:
        create_todo(folder / "todo.sqlite", rows, tile)
        store = store_module.load_store(folder / "todo.sqlite")
        return _run(store, seconds, workers, per_node)
    finally:
        shutil.rmtree(folder)


def _run(store: store_module.Store, seconds: np.ndarray, workers: int, per_node: int) -> dict[str, float]:
    costs = measure_costs(store)
    mail = VirtualWorkers(workers, seconds, Answers(), costs)
    node = [rank // per_node for rank in range(workers + 1)]
    size = BatchSize(workers)
    queue = Queue(store.rows, np.arange(len(store.rows)), size, store.tile)
    place = (store.rows["sector"].astype(int) * 64 + store.rows["camera"] * 8 + store.rows["ccd"]) * 1024
    place += store.tile

    def look(rank: int, tasks: np.ndarray) -> None:
        for tile in np.unique(place[tasks["priority"] - 1]).tolist():
            mail.reads[tile].add(node[rank])

    mail.look = look
    # As at the start of a run: what has been read is not looked through again and again.
    gc.collect()
    gc.freeze()
    crew = Crew(mail, Stop(), node)

    def take_in(messages: list[bytes]) -> None:
        numbers = store.add(messages).numbers
        size.learn(numbers["elaptime"])
        mail.charge(costs.take_in * len(messages) + costs.star * len(numbers))

    # The program's clocks are virtual, too.
    clocks = time.monotonic, time.perf_counter
    time.monotonic = time.perf_counter = lambda: mail.now
    try:
        crew.drain(queue, take_in, store.tick)
    finally:
        time.monotonic, time.perf_counter = clocks
    store.close()
    end = float(mail.free.max())
    ends = mail.free[1:]
    return {
        "ideal": float(seconds.sum()) / workers,
        "seconds": end,
        "efficiency": 100 * float(mail.busy.sum()) / (workers * end),
        "end": 100 * float((end - ends).mean()) / end,
        "rank_0": 100 * mail.rank_0 / end,
        "us": 1e6 * mail.rank_0 / mail.messages,
        "messages": mail.messages,
        "one_node": 100 * float(np.mean([len(nodes) == 1 for nodes in mail.reads.values()])),
        "stall": 100 * float(mail.stalled) / (workers * end),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ccds", type=int, default=16)
    parser.add_argument("--stars", type=int, default=100_000, help="of each CCD")
    parser.add_argument("--workers", type=int, nargs="+", default=[64, 1024, 4096])
    parser.add_argument("--per-node", type=int, default=128)
    parser.add_argument("--ms", type=float, default=5.0, help="of a star")
    parser.add_argument("--spread", type=float, default=10.0, help="slowest star over fastest")
    args = parser.parse_args()
    print(
        f"{args.ccds} CCDs, {args.stars} stars each of {args.ms:g} ms with a spread of {args.spread:g}x,"
        f" {args.per_node} ranks a node"
    )
    print(
        "workers  ideal s  needed s  efficiency  waited  end idle  rank 0 busy  us/message  messages"
        "  tiles on one node"
    )
    for workers in args.workers:
        found = simulate(args.ccds, args.stars, workers, args.per_node, args.ms, args.spread)
        print(
            f"{workers:7d} {found['ideal']:8.2f} {found['seconds']:9.2f} {found['efficiency']:10.1f}%"
            f" {found['stall']:6.1f}% {found['end']:8.1f}% {found['rank_0']:11.1f}% {found['us']:11.1f}"
            f" {found['messages']:9d} {found['one_node']:17.2f}%",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
