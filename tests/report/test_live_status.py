"""`tasoc-mpi status --watch`: what its screen shows, and that it ends with the run."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import select
import shutil
import sqlite3
import subprocess
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from known_results import make_folder
from rich.console import Console

from tasoc_mpi.core.locks import exclusive, lock_path
from tasoc_mpi.core.messages import Usage
from tasoc_mpi.report.live_status import view
from tasoc_mpi.report.status_snapshot import Rate, Snapshot, SnapshotReader
from tasoc_mpi.slurm.jobs import active, queue_lines
from tasoc_mpi.worklist.rank_times import Ranks
from tasoc_mpi.worklist.result_files import ResultFiles
from tasoc_mpi.worklist.result_log import log_path
from tasoc_mpi.worklist.run_record import RunRecord, records_under_way

EVIL = "ValueError: \x1b[41mred\x07 [bold]words"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = make_folder(tmp_path)
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        conn.execute("UPDATE diagnostics SET errors = ? WHERE priority = 5", (EVIL,))
    conn.close()
    log_path(folder / "curves", (1, 1, 1)).parent.mkdir()
    return folder


def begin_run(folder: Path) -> RunRecord:
    """The record of a run of this process: of two workers one is slow."""
    ranks = Ranks([0, 0, 0], ["n1"] * 3, [Usage(), Usage(3e8, 1.0), Usage()])
    record = RunRecord("run", Namespace(), folder / "curves", ranks)
    record.begin(9)
    record.times.add([1, 2], 0.5, np.array([0.4, 0.2]), np.array([0.1, 0.0]), np.array([2, 4]))
    record._written = 0.0
    record.refresh(83.0)
    return record


def screen_of(snapshot: Snapshot) -> str:
    file = io.StringIO()
    Console(file=file, width=90, height=36).print(view(snapshot))
    return file.getvalue()


def test_the_screen_has_the_numbers_of_list_and_record(folder):
    read = SnapshotReader(ResultFiles(folder), queue_lines, active).read
    before = read()
    assert "no run is under way: waiting for one" in screen_of(before)
    with exclusive(log_path(folder / "curves", (1, 1, 1))):
        record = begin_run(folder)
        now = read()
        assert not now.is_over(True)
        text = screen_of(now)
    done = sum(one.done for one in now.ccds)
    assert 0 < done < now.rows == 9
    assert f"{done} of 9 rows  {done / 9:.1%}" in text
    assert "1:23 left" in text
    assert "run, 3 ranks on 1 node," in text
    assert "1004  ValueError: ?[41mred? [bold]words" in text
    words = [line.split() for line in text.splitlines()]
    slow, quick = (line for line in words if line[1:3] in (["1", "n1"], ["2", "n1"]))
    assert (slow[1], slow[3], slow[5], slow[6], slow[7]) == ("1", "2", "200.0", "7%", "300")
    assert (quick[1], quick[3], quick[5], quick[6], quick[7]) == ("2", "4", "50.0", "0%", "-")
    record.end("complete")
    after = read()
    assert after.is_over(True)
    assert not after.is_over(False)


def test_each_run_stands_beside_its_own_record(folder):
    """A run that has only begun to read has none yet; its lock file is of another host here."""
    first, second = (log_path(folder / "curves", ccd) for ccd in ((1, 1, 1), (1, 1, 2)))
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET ccd = 2 WHERE priority = 99")
    with exclusive(first), exclusive(second):
        begin_run(folder)
        lock_path(second).write_text("process 1 on another-host\n")
        text = screen_of(SnapshotReader(ResultFiles(folder), queue_lines, active).read())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "process 1 on another-host" in lines
    assert any(line.startswith(f"process {os.getpid()} on ") and "run, 3 ranks" in line for line in lines)


def test_a_lock_file_of_one_word_names_no_record(folder):
    assert records_under_way(folder / "curves", ["somebody"]) == {}


def test_a_rate_is_of_the_last_seconds():
    rate = Rate()
    for second in range(100):
        now = rate.add(10 * second + (1000 if second > 50 else 0), float(second))
    assert now == pytest.approx(10.0)


@pytest.mark.timeout(120)
def test_the_view_ends_with_the_run(folder):
    """In a terminal of its own: full screen while a run holds its log, the plain tables after it."""
    command = [shutil.which("tasoc-mpi"), "status", str(folder), "--watch", "--every", "0.2"]
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "90", "LINES": "36"}
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as lock:
        lock.enter_context(exclusive(log_path(folder / "curves", (1, 1, 1))))
        begin_run(folder)
        ours, theirs = pty.openpty()
        process = stack.enter_context(subprocess.Popen(command, stdin=theirs, stdout=theirs, env=env))
        os.close(theirs)
        shown = _read(ours, until=b"slowest ranks", more=0.5)
        assert process.poll() is None
        assert b"\x1b[?1049h" in shown
        assert b"\x1b[41m" not in shown
        assert b"\x07" not in shown
        lock.close()
        rest = _read(ours, until=None)
        assert process.wait(30) == 0
    assert b"\x1b[?1049l" in rest
    assert b"s001-1-1" in rest.split(b"\x1b[?1049l")[1]


def _read(descriptor: int, until: bytes | None, more: float = 0.0) -> bytes:
    """What comes from a terminal until some words and `more` seconds after them, or until its end."""
    data, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([descriptor], [], [], 0.1)[0]:
            try:
                data += os.read(descriptor, 65536)
            except OSError:
                return data
        if until is not None and until in data:
            until, deadline = None, min(deadline, time.monotonic() + more)
    return data
