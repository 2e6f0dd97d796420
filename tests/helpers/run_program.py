"""`tasoc-mpi run` with a photometry that takes no time: what it reports is a function of the star alone.

Run as a program by the tests, alone and under mpiexec: ``run_program.py OPTIONS OF RUN``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from tasoc_mpi import cli
from tasoc_mpi.commands import run
from tasoc_mpi.core.atomic import write_whole
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.photometry.result import PhotometryResult
from tasoc_mpi.scheduler import run_results
from tasoc_mpi.worklist.last_results import LastResults
from tasoc_mpi.worklist.result_log import LogReader, log_path
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo
from tasoc_mpi.worklist.work_list import load_worklist

#: The start of a command line.
PROGRAM = [sys.executable, __file__]


class Photometry:
    """Stands in for `BasePhotometry`: every status, skip lists among neighbours, and stars that raise."""

    def __init__(self, starid, output_folder, sector, camera, ccd, cadence, version, method, **_):
        self.starid, self.output = starid, output_folder
        self.lightcurve_writer = None
        chance = int(hashlib.sha256(str(starid).encode()).hexdigest()[:8], 16)
        self.path = os.path.join(
            output_folder,
            f"c{cadence:04d}/{starid:011d}"[:11],
            f"tess{starid:011d}-s{sector:03d}-{camera}-{ccd}-c{cadence:04d}-dr01-v{version:02d}-tasoc_lc.fits.gz",
        )
        if begun := os.environ.get("RUN_PROGRAM_BEGUN"):
            pathlib.Path(begun).touch()
        time.sleep(float(os.environ.get("RUN_PROGRAM_SECONDS", "0")))
        if starid == int(os.environ.get("RUN_PROGRAM_EXIT", "-1")):
            raise SystemExit(3)
        if starid == int(os.environ.get("RUN_PROGRAM_KILL", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
        if starid == int(os.environ.get("RUN_PROGRAM_FULL", "-1")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if chance % 11 == 0:
            raise ValueError(f"star {starid} is bad")
        status = (STATUS.ERROR, STATUS.WARNING)[chance % 2] if chance % 7 == 0 else STATUS.OK
        near = [starid - 2, starid - 1, starid + 1, starid + 3]
        self.result = PhotometryResult(
            status=status,
            method_used=method or "aperture",
            mean_flux=chance / 7,
            mask_size=float(chance % 40),
            errors=[f"chance {chance}"] if status != STATUS.OK else [],
            skip_targets=[other for i, other in enumerate(near) if chance >> i & 1]
            if chance % 3 == 0
            else [],
        )

    def save_lightcurve(self):
        if self.lightcurve_writer is not None:
            listed = self.lightcurve_writer(
                os.path.relpath(self.path, self.output), f"light curve of {self.starid}".encode()
            )
            return os.path.join(self.output, listed)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        # Whole or not at all, as photometry does: another thread may be at the step that kills.
        write_whole(pathlib.Path(self.path), f"light curve of {self.starid}".encode(), durable=False)
        return self.path

    def close(self):
        pass


def make_input(folder: pathlib.Path, stars: int, ccds: int = 2) -> None:
    """A work list of `stars` stars, their TIC ids and magnitudes in no order."""
    rows = np.zeros(stars, TODO_DTYPE)
    rng = np.random.default_rng(stars)
    rows["priority"] = np.arange(1, stars + 1)
    rows["starid"] = 1000 + rng.permutation(stars)
    rows["tmag"] = np.sort(rng.integers(20, 150, stars) / 10)
    rows["datasource"] = "ffi"
    rows["sector"], rows["camera"], rows["cadence"] = 1, 1, 1800
    rows["ccd"] = 1 + (rows["starid"] - 1000) * ccds // stars
    rows["method"][::5] = "aperture"
    folder.mkdir(parents=True)
    create_todo(folder / "todo.sqlite", rows)


def fresh(blank: pathlib.Path, parent: pathlib.Path, link: bool = False) -> pathlib.Path:
    """A copy of an input folder at `parent / "input"`, in place of one that is there.

    With `link` all files but the work list are hard links: for large files that a run only reads.
    """
    folder = parent / "input"
    shutil.rmtree(folder, ignore_errors=True)
    return pathlib.Path(shutil.copytree(blank, folder, copy_function=_link if link else shutil.copy2))


def _link(source: str, target: str) -> None:
    (shutil.copy2 if source.endswith(".sqlite") else os.link)(source, target)


def everything_below(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """All files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def content(
    folder: pathlib.Path, output: pathlib.Path | None = None, todo: str = "todo.sqlite"
) -> dict[str, object]:
    """Everything that a run leaves behind, times aside, in a form that can be compared."""
    output = output or folder / "output"
    queries = {
        "todolist": "SELECT * FROM todolist ORDER BY priority",
        "skipped": "SELECT * FROM photometry_skipped ORDER BY 1, 2",
        "version": "SELECT version FROM photometry_output",
        "tables": "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2",
    }
    with contextlib.closing(sqlite3.connect(folder / todo)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found: dict[str, object] = {name: conn.execute(query).fetchall() for name, query in queries.items()}
        columns = [row[1] for row in conn.execute("PRAGMA table_info(diagnostics)")]
        kept = ", ".join(name for name in columns if name not in ("elaptime", "worker_wait_time"))
        found["diagnostics"] = conn.execute(f"SELECT {kept} FROM diagnostics ORDER BY priority").fetchall()
    files = (
        path
        for path in output.rglob("*")
        if path.is_file() and path.name != "summary.json" and "results" not in path.relative_to(output).parts
    )
    found["files"] = {str(path.relative_to(output)): path.read_bytes() for path in files}
    return found


def reported(folder: pathlib.Path) -> int:
    """Number of stars whose results are in the logs; also while a run is under way."""
    output = folder / "output"
    if not (output / "results").is_dir():
        return 0
    worklist = load_worklist(folder / "todo.sqlite")
    results = LastResults(worklist)
    for ccd in worklist.ccds:
        results.read(LogReader(log_path(output, ccd), worklist, ccd))
    return int(results.done.sum())


def wait_for_results(folder: pathlib.Path, stars: int, job: subprocess.Popen) -> None:
    """Wait until a run under way has reported this many stars."""
    while (found := reported(folder)) < stars:
        assert job.poll() is None, f"the run ended with {found} stars"
        time.sleep(0.02)


def kill_at(step: int) -> None:
    """End this process by SIGKILL before or after the given change of a log, the work list, or a file."""
    count = 0

    def count_step() -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            found = function(*args, **options)
            count_step()
            return found

        return call

    os.pwrite, os.fdatasync, os.unlink = counted(os.pwrite), counted(os.fdatasync), counted(os.unlink)
    os.replace, os.fsync = counted(os.replace), counted(os.fsync)
    Photometry.save_lightcurve = counted(Photometry.save_lightcurve)
    # Several groups also of a few stars.
    run_results.FLUSH_COUNT = 7


def forked(options: list[str], step: int) -> bool:
    """Run in a child that is killed at a step; whether it was."""
    with warnings.catch_warnings():
        # Of idle threads of numerical libraries; the child uses none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(2)
        os.close(1)
        kill_at(step)
        os._exit(call(options))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def call(options: list[str]) -> int:
    """`tasoc-mpi run OPTIONS` in this process."""
    commands, cli.COMMANDS = cli.COMMANDS, ("run",)
    original = run.main
    run.main = lambda args: original(args, Photometry)
    try:
        return cli.main(["run", *options])
    finally:
        run.main = original
        cli.COMMANDS = commands


if __name__ == "__main__":
    used = time.process_time()
    exit_status = call(sys.argv[1:])
    if "RUN_PROGRAM_SECONDS" in os.environ:
        print(f"processor time {time.process_time() - used:.2f} s", file=sys.stderr)
    sys.exit(exit_status)
