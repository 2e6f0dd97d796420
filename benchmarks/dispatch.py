"""How well rank 0 keeps thousands of workers busy: its real code, in virtual time.

The scheduler's queue, messages and results run as in a run; only the workers and the network are simulated.
Virtual time passes by the processor time of everything that rank 0 does between two calls of MPI, by what
these calls take (measured beforehand with `mailbox.py`), and by the stars. Results are written beside it, in
a thread, as in a run; what that takes from rank 0 is not charged.

    python benchmarks/dispatch.py [--ccds 16] [--stars 100000] [--workers 4096] [--per-node 128] [--ms 5]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import heapq
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_scheduler import Answers

from tasoc_mpi.core.messages import Tag, _header, split_numbers, unpack_results, unpack_tasks
from tasoc_mpi.core.progress import Progress
from tasoc_mpi.scheduler.dispatcher import AddResults, Workers, schedule
from tasoc_mpi.scheduler.queue import BRIGHT, BatchSize, Queue
from tasoc_mpi.scheduler.run_results import RunResults, open_results
from tasoc_mpi.scheduler.signals import Stop
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo
from tasoc_mpi.worklist.work_list import load_worklist

#: Seconds that a message takes between hosts.
LATENCY = 20e-6


@dataclass
class Network:
    """What a message costs rank 0 in MPI, in seconds, by its size in bytes."""

    size: list[float]
    receive: list[float]
    send: list[float]


def measure_network() -> Network:
    """What two ranks on this machine need."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [mpiexec if mpiexec.exists() else "mpiexec", "-n", "2", sys.executable]
    script = Path(__file__).with_name("mailbox.py")
    done = subprocess.run([*command, script], capture_output=True, text=True, check=True, timeout=300)
    return Network(**json.loads(done.stdout))


class ReadyAnswers:
    """The results of all stars, made beforehand: making them is not to disturb the caches of rank 0."""

    def __init__(self, rows: np.ndarray, seconds: np.ndarray) -> None:
        whole = unpack_results(Answers()(rows, seconds))
        self.numbers = whole.numbers
        self.names = np.array(whole.lightcurve, "S")
        # A star names the next one of its batch.
        self.starid = np.ascontiguousarray(rows["starid"])

    def __call__(self, index: np.ndarray) -> bytes:
        numbers = self.numbers[index]
        claimers = np.flatnonzero(numbers["skip_count"])
        skips = self.starid[index[np.minimum(claimers + 1, len(index) - 1)]].tobytes()
        text = self.names[index].tobytes() + b"aperture" * len(index)
        heads, diagnostics = split_numbers(numbers)
        return b"".join((_header(len(index), len(text), len(claimers)), heads, skips, text, diagnostics))


class VirtualWorkers:
    """A mailbox in virtual time with workers at its other end."""

    def __init__(self, workers: int, seconds: np.ndarray, answer: ReadyAnswers, network: Network) -> None:
        self.seconds, self.answer, self.network = seconds, answer, network
        self.now = self.waited = 0.0
        self.free = np.zeros(workers + 1)
        self.busy = np.zeros(workers + 1)
        self.rank_0 = self.mpi = self.stalled = 0.0
        self.messages = 0
        self.heap: list[tuple[float, int, int, np.ndarray]] = []
        self.count = 0
        self.sent: list[tuple[int, np.ndarray]] = []
        self.since = time.thread_time()

    def clock(self) -> float:
        """The time of day, for rank 0."""
        return self.now + time.thread_time() - self.since

    def charge(self, seconds: float) -> None:
        """Let rank 0 be busy."""
        self.now += seconds
        self.rank_0 += seconds

    def _begin(self, size: int, costs: list[float]) -> None:
        """Charge what rank 0 did since the last call, and this one."""
        self.charge(time.thread_time() - self.since)
        self._charge_mpi(size, costs)

    def _charge_mpi(self, size: int, costs: list[float]) -> None:
        seconds = float(np.interp(size, self.network.size, costs))
        self.mpi += seconds
        self.charge(seconds)

    def receive(self, most: int, timeout: float | None = None) -> list[tuple[int, int, bytearray]]:
        self.charge(time.thread_time() - self.since)
        start = self.now
        coming = self.heap[0][0] if self.heap else np.inf
        self.now = max(self.now, min(coming, self.now + (timeout or 0.0)))
        self.waited = self.now - start
        found = []
        while self.heap and len(found) < most and self.heap[0][0] <= self.now:
            _, _, rank, tasks = heapq.heappop(self.heap)
            message = self.answer(tasks["priority"] - 1)
            # Receiving is copying: what was received is in the processor's cache.
            found.append((rank, Tag.RESULTS, bytearray(message)))
            self._charge_mpi(len(message), self.network.receive)
        self.messages += len(found)
        self.since = time.thread_time()
        return found

    def send(self, rank: int, tag: int, message: bytes) -> None:
        self._begin(len(message), self.network.send)
        tasks = unpack_tasks(message)
        self.sent.append((rank, tasks))
        start = max(self.free[rank], self.now + LATENCY)
        self.stalled += start - self.free[rank]
        duration = float(self.seconds[tasks["priority"] - 1].sum())
        self.busy[rank] += duration
        self.free[rank] = start + duration
        arrival = self.free[rank] + LATENCY
        heapq.heappush(self.heap, (arrival, self.count, rank, tasks))
        self.count += 1
        self.since = time.thread_time()

    def wait(self) -> None:
        pass


def simulate(
    network: Network, ccds: int, stars: int, workers: int, per_node: int, ms: float, spread: float
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
        listed = load_worklist(folder / "todo.sqlite")
        with contextlib.ExitStack() as stack:
            results = open_results(stack, listed, folder, listed.ccds, 6)
            return _run(results, seconds, workers, per_node, network)
    finally:
        shutil.rmtree(folder)


def _nodes_of_tiles(results: RunResults, mail: VirtualWorkers, node: list[int]) -> list[int]:
    """How many nodes have read each tile."""
    place = (
        results.worklist.rows["sector"].astype(int) * 64
        + results.worklist.rows["camera"] * 8
        + results.worklist.rows["ccd"]
    ) * 1024
    place += results.worklist.tile
    # The brightest stars' stamps are larger than a tile; they are handed out before all others.
    place[results.worklist.rows["tmag"] <= BRIGHT] = -1

    reads: defaultdict[int, set[int]] = defaultdict(set)
    for rank, tasks in mail.sent:
        for tile in np.unique(place[tasks["priority"] - 1]).tolist():
            if tile >= 0:
                reads[tile].add(node[rank])
    return [len(nodes) for nodes in reads.values()]


class _Drained(Exception):
    """All stars are computed."""


def _run(
    results: RunResults, seconds: np.ndarray, workers: int, per_node: int, network: Network
) -> dict[str, float]:
    mail = VirtualWorkers(workers, seconds, ReadyAnswers(results.worklist.rows, seconds), network)
    node = [rank // per_node for rank in range(workers + 1)]
    size = BatchSize(workers)
    # As at the start of a run: what has been read is not looked through again and again.
    gc.collect()
    gc.freeze()
    stop = Stop()
    ranks = Workers(mail, stop, node)

    def compute(queue: Queue, add_results: AddResults, tick: Callable[[], None]) -> None:
        # The program's clocks are virtual, too.
        clocks = time.monotonic, time.perf_counter
        mail.since = time.thread_time()
        time.monotonic = time.perf_counter = mail.clock
        try:
            ranks.compute(queue, add_results, tick)
        finally:
            time.monotonic, time.perf_counter = clocks
        # What comes after that, the tables and the light curves to be deleted, is no concern of the workers.
        raise _Drained

    chosen = np.ones(len(results.worklist.rows), bool)
    with contextlib.suppress(_Drained):
        schedule(results, chosen, compute, size, lambda rows: Progress(len(rows)), stop)
    end = float(mail.free.max())
    ends = mail.free[1:]
    return {
        "ideal": float(seconds.sum()) / workers,
        "seconds": end,
        "efficiency": 100 * float(mail.busy.sum()) / (workers * end),
        "end": 100 * float((end - ends).mean()) / end,
        "rank_0": 100 * mail.rank_0 / end,
        "us": 1e6 * mail.rank_0 / mail.messages,
        "mpi": 1e6 * mail.mpi / mail.messages,
        "messages": mail.messages,
        "one_node": 100 * float(np.mean(np.array(_nodes_of_tiles(results, mail, node)) == 1)),
        "stall": 100 * float(mail.stalled) / (workers * end),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ccds", type=int, default=16)
    parser.add_argument("--stars", type=int, default=100_000, help="of each CCD")
    parser.add_argument("--workers", type=int, nargs="+", default=[64, 1024, 2048, 4096])
    parser.add_argument("--per-node", type=int, default=128)
    parser.add_argument("--ms", type=float, default=5.0, help="of a star")
    parser.add_argument("--spread", type=float, default=10.0, help="slowest star over fastest")
    args = parser.parse_args()
    network = measure_network()
    print(
        f"{args.ccds} CCDs, {args.stars} stars each of {args.ms:g} ms with a spread of {args.spread:g}x,"
        f" {args.per_node} ranks a node"
    )
    print(
        "workers  ideal s  needed s  efficiency  waited  end idle  rank 0 busy  us/message  of it MPI"
        "  messages  tiles on one node"
    )
    for workers in args.workers:
        found = simulate(network, args.ccds, args.stars, workers, args.per_node, args.ms, args.spread)
        print(
            f"{workers:7d} {found['ideal']:8.2f} {found['seconds']:9.2f} {found['efficiency']:10.1f}%"
            f" {found['stall']:6.1f}% {found['end']:8.1f}% {found['rank_0']:11.1f}% {found['us']:11.1f}"
            f" {found['mpi']:10.1f} {found['messages']:9d} {found['one_node']:17.2f}%",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
