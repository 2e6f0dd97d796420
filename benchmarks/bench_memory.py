"""Memory of a run: the sum of the proportional memory (PSS) of its processes, for several numbers of workers.

``bench_memory.py INPUT [WORKERS ...]``: a folder with prepared cubes and a work list, which is copied; the
rest is linked. PSS shares a page out among the processes that have mapped it, so that a sum over processes
counts pages of cubes once. They are the kernel's cache and can be given up at any time, and how many of them
are mapped at once is chance; without them (and other mapped files) what is left is what processes have for
themselves, and is the same from run to run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from processes import descendants, memory_of

#: Seconds between looks at the processes.
_LOOK = 0.25


@dataclass
class Memory:
    """The largest sums over the processes of a run, in bytes, and how long it took in seconds.

    Attributes
    ----------
    peak : int
        Proportional memory, that of mapped files included.
    private : int
        Proportional memory without mapped files.
    """

    peak: int = 0
    private: int = 0
    processes: int = 0
    seconds: float = 0.0


def run_and_measure(command: list[str], environment: dict[str, str], timeout: float = 600) -> Memory:
    """Run a command to its end and look at the memory of its processes.

    Raises
    ------
    RuntimeError
        If it fails or takes longer than `timeout` seconds.
    """
    memory, start = Memory(), time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as run,
    ):
        while run.poll() is None:
            sizes = [size for size in map(memory_of, descendants(run.pid)) if size.get("Pss")]
            memory.peak = max(memory.peak, sum(size["Pss"] for size in sizes))
            private = sum(size.get("Pss_Anon", 0) + size.get("Pss_Shmem", 0) for size in sizes)
            memory.private = max(memory.private, private)
            memory.processes = max(memory.processes, len(sizes))
            if time.monotonic() - start > timeout:
                run.kill()
            time.sleep(_LOOK)
        memory.seconds = time.monotonic() - start
        if run.returncode:
            log.seek(0)
            raise RuntimeError(f"{command[0]} failed with {run.returncode}: {log.read()[-2000:]}")
    return memory


def copy_input(source: Path, folder: Path) -> Path:
    """A folder to run in: the work list copied, everything else linked."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.name == "todo.sqlite":
            shutil.copy(path, folder / path.name)
        elif path.suffix in (".hdf5", ".sqlite") or path.name == "tpf":
            (folder / path.name).symlink_to(path.resolve())
    return folder


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--mpiexec", default="mpiexec")
    parser.add_argument("--options", default="", help="further options of `tasoc-mpi run`")
    args = parser.parse_args()
    last: tuple[int, Memory] | None = None
    print("workers  processes  seconds   PSS MB  without files MB  growth a worker MB: PSS, without files")
    for workers in args.workers:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            source = copy_input(args.input, Path(folder) / "input")
            run = [sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "run", str(source), "--overwrite"]
            command = [args.mpiexec, "-n", str(workers + 1), *run, *args.options.split()]
            memory = run_and_measure(command, dict(os.environ))
        growth = ""
        if last is not None:
            more = (memory.peak - last[1].peak, memory.private - last[1].private)
            growth = "".join(f"{size / (workers - last[0]) / 1e6:20.0f}" for size in more)
        print(
            f"{workers:7d} {memory.processes:10d} {memory.seconds:8.1f} {memory.peak / 1e6:8.0f}"
            f" {memory.private / 1e6:17.0f} {growth}",
            flush=True,
        )
        last = workers, memory


if __name__ == "__main__":
    main()
