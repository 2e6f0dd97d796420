"""What a star costs rank 0: reading the work list, handing out, durable results, final tables; its memory.

Workers in this process answer at once, and what their answers take is not counted: a star's only cost is rank
0's. Every result is in a log, on the disk, when it counts as done; the final tables are `publish`.

    python benchmarks/bench_scheduler.py [--stars N ...] [--folder DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tasoc_mpi.core.messages import DIAGNOSTICS, RESULT_DTYPE, Results, pack_results, unpack_tasks
from tasoc_mpi.core.progress import Progress
from tasoc_mpi.scheduler.dispatcher import Workers, schedule
from tasoc_mpi.scheduler.queue import BatchSize
from tasoc_mpi.scheduler.run_results import open_results
from tasoc_mpi.scheduler.signals import Stop
from tasoc_mpi.worklist.publish import publish
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo
from tasoc_mpi.worklist.work_list import load_worklist

CCDS = 16


def make_todo(path: Path, stars: int) -> None:
    """A sector's work list, brightest first, tiles as `tasoc-mpi todo` gives them."""
    rng = np.random.default_rng(1)
    rows = np.zeros(stars, TODO_DTYPE)
    rows["priority"] = np.arange(1, stars + 1)
    rows["starid"] = rng.choice(2_000_000_000, stars, replace=False)
    rows["tmag"] = 15 + np.log10(np.arange(1, stars + 1) / stars) / 0.4
    rows["datasource"], rows["sector"], rows["cadence"] = "ffi", 56, 200
    rows["camera"], rows["ccd"] = rng.integers(1, 5, stars), rng.integers(1, 5, stars)
    create_todo(path, rows, rng.integers(0, 1024, stars))


class Answers:
    """Results as a worker would send them, made beforehand as far as possible."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, tasks: np.ndarray, elapsed: np.ndarray | float = 0.005) -> bytes:
        start = time.perf_counter()
        numbers = np.zeros(len(tasks), RESULT_DTYPE)
        numbers["priority"], numbers["status"], numbers["elaptime"] = tasks["priority"], 1, elapsed
        for name in DIAGNOSTICS:
            numbers[name] = tasks["tmag"]
        numbers["status"][::50] = 2
        # Every tenth star has another one in its mask.
        claimers = np.flatnonzero(tasks["priority"] % 10 == 0)
        numbers["skip_count"][claimers] = 1
        skips = tasks["starid"][np.minimum(claimers + 1, len(tasks) - 1)]
        names = [
            f"c0200/{starid // 1000000:05d}/tess{starid:011d}-s056-{camera}-{ccd}-c0200-dr01-v06"
            "-tasoc_lc.fits.gz"
            for starid, camera, ccd in zip(
                tasks["starid"].tolist(), tasks["camera"].tolist(), tasks["ccd"].tolist(), strict=True
            )
        ]
        message = pack_results(
            Results(numbers, names, ["aperture"] * len(tasks), [None] * len(tasks), skips.astype(np.int64))
        )
        self.seconds += time.perf_counter() - start
        return message


class Loopback:
    """A mailbox whose other end are workers that answer at once."""

    waited = 0.0

    def __init__(self, answer: Answers) -> None:
        self.answer = answer
        self.waiting: list[tuple[int, int, bytes]] = []
        self.messages = 0

    def receive(self, most: int, timeout: float | None = None) -> list[tuple[int, int, bytes]]:
        found, self.waiting = self.waiting[:most], self.waiting[most:]
        self.messages += len(found)
        return found

    def send(self, rank: int, tag: int, message: bytes) -> None:
        self.waiting.append((rank, 1, self.answer(unpack_tasks(message))))

    def wait(self) -> None:
        pass


def compute_all(path: Path, output: Path, workers: int, answer: Answers) -> tuple[float, float]:
    """Have all stars computed; the times when the list was read and when all results were durable."""
    worklist, stop = load_worklist(path), Stop()
    with contextlib.ExitStack() as stack:
        results = open_results(stack, worklist, output, worklist.ccds, 6)
        loaded = time.perf_counter()
        ranks = Workers(Loopback(answer), stop, [0] * (workers + 1))
        chosen = np.ones(len(worklist.rows), bool)
        size = BatchSize(workers)
        schedule(results, chosen, ranks.compute, size, lambda rows: Progress(len(rows)), stop)
        return loaded, time.perf_counter()


def peak_memory() -> float:
    """Largest resident memory of this program in MiB; ru_maxrss would also be that of what started it."""
    (line,) = (
        text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def measure(stars: int, folder: Path, workers: int = 64) -> dict[str, float]:
    """One run; times in seconds."""
    path = folder / "todo.sqlite"
    output = folder / "output"
    output.mkdir(exist_ok=True)
    before = time.perf_counter()
    answer = Answers()
    loaded, drained = compute_all(path, output, workers, answer)
    cpu = time.process_time()
    # As the run does: reading everything anew, from the logs.
    publish(path, output)
    end = time.perf_counter()
    return {
        "stars": stars,
        "load": loaded - before,
        "durable": drained - loaded - answer.seconds,
        "tables": end - drained,
        "tables_cpu": time.process_time() - cpu,
        "rss": peak_memory(),
        "size": path.stat().st_size / 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stars", type=int, nargs="+", default=[10_000, 100_000, 500_000, 2_000_000])
    parser.add_argument("--folder", help="where to put work lists (default: a temporary one)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.stars[0], Path(args.folder))))
        return 0
    print("    stars   read s  us/star: handing out  final  of it    stars/s   stars/s   memory  todo.sqlite")
    print("                        and durable      tables  processor  durable  all done     MiB          MB")
    for stars in args.stars:
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            make_todo(folder / "todo.sqlite", stars)
            # A process of its own: memory is that of this list alone.
            command = [sys.executable, __file__, "--one", "--stars", str(stars), "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ)
            found = json.loads(done.stdout)
        finally:
            shutil.rmtree(folder)
        durable, tables, processor = (
            1e6 * found[name] / stars for name in ("durable", "tables", "tables_cpu")
        )
        print(
            f"{stars:9d} {found['load']:8.1f} {durable:17.2f} {tables:11.2f} {processor:6.2f}"
            f" {1e6 / durable:9.0f} {1e6 / (durable + tables):9.0f} {found['rss']:8.0f}"
            f" {found['size']:11.0f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
