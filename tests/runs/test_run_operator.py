"""What the operator asks of a run: plans, limits, ranks started here, older work lists, stars that kill."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from mpi_launch import environment, launch, mpiexec
from old_worklist import make_older
from run_program import PROGRAM, call, content, make_input
from todo_rows import load_todo

from tasoc_mpi import cli
from tasoc_mpi.core import progress
from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.core.mpi import check_ranks, start_ranks
from tasoc_mpi.scheduler import plan, run_time
from tasoc_mpi.worklist.output_folder import find_output
from tasoc_mpi.worklist.publish import publish
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo


@pytest.fixture
def folder(tmp_path):
    make_input(tmp_path / "input", 120)
    return tmp_path / "input"


def test_the_time_left_is_that_of_the_work_and_not_of_the_number_of_stars(monkeypatch, caplog):
    """Ten stars of target pixel files, which come first, and a thousand others that take as long together."""
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    caplog.set_level("INFO")
    shown = progress.Progress(1010)
    shown.work_left = 2.5
    now = 101.0
    shown.update(10, 1, 2.5)
    assert caplog.text == ""
    assert shown.line() == "10/1010 stars  10 stars/s  1 s left (the rest is faster)  1 error"
    now = 110.5
    shown.show()
    assert "10 s left" in caplog.text


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_bar_fits_into_the_terminal(monkeypatch, columns):
    """A line that wraps could not be written over."""
    monkeypatch.setattr(progress, "is_terminal", lambda _: True)
    monkeypatch.setattr(progress, "_columns", lambda: columns)
    shown = progress.Progress(30, "kernels", "compiling, once for an installation")
    shown.done = 15
    line = shown.line()
    assert len(line) < columns
    assert "compiling, once for an installation" in line
    assert ("[" + "#" * 12 + "." * 12 + "]" in line) == (columns == 200)
    assert ("15/30 kernels" in line) == (columns > 40)


def status_of(folder):
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
        return [row[0] for row in conn.execute("SELECT status FROM todolist ORDER BY priority")]


def test_a_dry_run_changes_nothing(folder, capsys):
    before = (folder / "todo.sqlite").read_bytes()
    assert call([str(folder), "--dry-run", "--ccd", "2", "--ranks", "3"]) == 0
    out = capsys.readouterr().out
    assert "60 of 120 rows (60 fulfil the filters), 60 stars, would be computed" in out
    assert "s001-1-2" in out
    assert "s001-1-1" not in out
    assert "2 workers on 1 node" in out
    assert (folder / "todo.sqlite").read_bytes() == before
    assert not (folder / "output").exists()


def test_a_dry_run_says_how_long_it_will_take(folder, capsys, monkeypatch):
    """By the results so far, with as many stars at once as there are workers and processors."""
    monkeypatch.setattr(run_time.os, "cpu_count", lambda: 3)
    assert call([str(folder), "--ccd", "1"]) == 0
    capsys.readouterr()
    summary = json.loads((folder / "output" / "summary.json").read_text())
    mean, count = summary["mean_elaptime"], summary["tasks_run"]
    for ranks, at_once in (("3", 2), ("65", 3)):
        assert call([str(folder), "--dry-run", "--json", "--ranks", ranks]) == 0
        plan = json.loads(capsys.readouterr().out)
        (kind,) = plan["time"]["kinds"]
        assert (kind["measured"], kind["trial"], kind["rows"]) == (count, False, plan["to_compute"])
        assert kind["seconds"] == pytest.approx(mean, rel=0.01)
        assert plan["time"]["seconds"] == pytest.approx(plan["to_compute"] * mean / at_once, rel=0.01)
    assert call([str(folder), "--dry-run", "--ranks", "65"]) == 0
    out = capsys.readouterr().out
    assert "on 65 ranks, which share 3 processors (" in out
    assert f"  images at 1800 s, aperture: {mean * 1000:.1f} ms a star (from {count} results)" in out
    assert call([str(folder), "--dry-run", "--ccd", "1"]) == 0
    assert "time: none, no row is left to compute" in capsys.readouterr().out


def test_a_dry_run_under_mpi(folder):
    done = launch(PROGRAM, str(folder), "--dry-run", ranks=3)
    assert done.returncode == 0, done.stderr
    assert "120 of 120 rows" in done.stdout
    assert "node 0: 2 workers, from s001-1-1 on" in done.stdout
    assert re.search(r"images at 1800 s, aperture: .+ a star \(from a trial of 20 stars", done.stdout)
    assert not (folder / "output").exists()
    assert set(status_of(folder)) == {None}


@pytest.mark.parametrize(
    ("what", "message"), [("disk_free", "make room"), ("available_memory", "start fewer")]
)
def test_what_cannot_fit_is_refused(folder, monkeypatch, capsys, what, message):
    monkeypatch.setattr(plan, what, lambda *_: 1000.0)
    for options in (["--output", str(folder / "elsewhere")], ["--dry-run"]):
        assert call([str(folder), *options]) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in error
        assert "1 kB" in error
    # The folder of a run that was refused is not that of the last run.
    assert find_output(folder / "todo.sqlite") == folder / "output"
    assert set(status_of(folder)) == {None}


def test_fail_fast_and_max_errors(folder, capsys):
    assert call([str(folder), "--fail-fast", "--batch", "1"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 star failed, the last one TIC" in error
    assert status_of(folder).count(2) == 1
    assert call([str(folder), "--max-errors", "5", "--batch", "1"]) == 1
    assert "5 stars failed" in capsys.readouterr().err
    assert status_of(folder).count(2) >= 5
    assert None in status_of(folder)
    assert call([str(folder)]) == 0
    assert None not in status_of(folder)


def test_max_errors_under_mpi(folder):
    done = launch(PROGRAM, str(folder), "--max-errors", "2", "--batch", "1", ranks=3)
    assert done.returncode == 1
    assert "stars failed" in done.stderr
    assert None in status_of(folder)


def test_ranks_are_started_here(folder):
    mpiexec(2)
    command = [sys.executable, "-m", "tasoc_mpi.cli", "run", str(folder), "--ranks", "3", "--dry-run"]
    # Through the program itself: it is replaced by mpiexec.
    program = (
        "import sys; from tasoc_mpi.core.mpi import start_ranks\n"
        f"start_ranks(3, {['run', str(folder), '--dry-run']!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("stars, would be computed") == 1
    assert "2 workers on 1 node" in done.stdout
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "2 workers" in done.stdout


def test_ranks_that_are_started_here_show_the_bar_of_a_terminal(folder):
    mpiexec(2)
    command = [sys.executable, "-m", "tasoc_mpi.cli", "run", str(folder), "--ranks", "3"]
    terminal, end = os.openpty()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=end) as run:
        os.close(end)
        said = b""
        # The terminal is closed when all are gone.
        with contextlib.suppress(OSError):
            while data := os.read(terminal, 1 << 16):
                said += data
    os.close(terminal)
    # There is no cube, so no star has a light curve.
    assert run.returncode == 1, said
    assert b"none of the 120 computed stars has a light curve" in said
    assert b"\r[" in said
    assert f"[{'#' * 24}] 120/120 stars".encode() in said
    command.append("--overwrite")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "120/120 stars" in done.stderr
    assert "\r" not in done.stderr


def test_ranks_that_cannot_be(monkeypatch):
    for ranks in (0, 1, 5000):
        with pytest.raises(UsageError, match="--ranks"):
            start_ranks(ranks, [])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingInput, match=r"mpiexec: not found; pip install tasoc-mpi\[mpich\]"):
        start_ranks(2, [])
    monkeypatch.setenv("TASOC_MPI_RANKS", "4")
    with pytest.raises(InputError, match="sees 1"):
        check_ranks(None)


def test_an_older_schema_is_read_and_published_as_the_one_of_today(folder, tmp_path):
    assert call([str(folder)]) == 0
    expected = content(folder)
    make_input(tmp_path / "old", 120)
    path = tmp_path / "old" / "todo.sqlite"
    make_older(path)
    assert call([str(tmp_path / "old")]) == 0
    assert content(tmp_path / "old") == expected


def test_cadences_of_an_older_schema(tmp_path):
    rows = np.zeros(4, TODO_DTYPE)
    rows["priority"], rows["starid"] = range(1, 5), range(4)
    rows["sector"] = [26, 27, 56, 56]
    rows["datasource"] = ["ffi", "ffi", "ffi", "tpf"]
    path = tmp_path / "todo.sqlite"
    create_todo(path, rows)
    make_older(path)
    assert load_todo(path)["cadence"].tolist() == [1800, 600, 200, 120]
    publish(path, tmp_path / "output")
    assert load_todo(path)["cadence"].tolist() == [1800, 600, 200, 120]
    with contextlib.closing(sqlite3.connect(path)) as conn, conn:
        # A star of another cadence is another row now.
        conn.execute(
            "INSERT INTO todolist (priority, starid, sector, datasource, camera, ccd, cadence)"
            " VALUES (9, 3, 56, 'tpf', 0, 0, 20)"
        )


def test_a_killed_run_leaves_its_results_in_the_logs(folder, capsys):
    """What was flushed before a kill counts, and `status` shows it; nothing of it is computed again."""
    make_input(folder.parent / "other", 120)
    assert call([str(folder.parent / "other")]) == 0
    expected = content(folder.parent / "other")
    # A faint star of the second CCD, which nothing skips: one of the last.
    late = next(row for row in reversed(expected["todolist"]) if row[5] == 2 and row[9] != 5)
    variables = {"RUN_PROGRAM_SECONDS": "0.03", "RUN_PROGRAM_KILL": str(late[1])}
    capsys.readouterr()
    done = launch(PROGRAM, str(folder), "--batch", "1", **variables)
    assert done.returncode != 0
    assert set(status_of(folder)) == {None}
    assert cli.main(["status", str(folder)]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    last = next(line for line in table if line[:1] == ["all"])
    left = int(last[table[0].index("do") - 1])
    assert int(last[-1]) == 120
    assert 0 < left < 110
    assert call([str(folder)]) == 0
    assert int(capsys.readouterr().out.split(" stars computed")[0].split()[-1]) <= left
    assert content(folder) == expected


def test_a_terminal_shows_a_bar_under_a_plain_mpiexec(folder):
    """Rank 0 writes into a pipe of an mpiexec whose errors go to the terminal; the report ends the output."""
    master, slave = os.openpty()
    variables = {name: value for name, value in environment().items() if name != "TASOC_MPI_TERMINAL"}
    call = [*mpiexec(2), *PROGRAM, str(folder)]
    job = subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=variables)
    os.close(slave)
    shown = b""
    # The end of a terminal is an error.
    with contextlib.suppress(OSError):
        while piece := os.read(master, 65536):
            shown += piece
    os.close(master)
    assert job.wait(60) == 0, shown
    assert re.search(rb"\r\[#{24}\] (\d+)/\1 stars", shown)
    assert shown.rstrip().splitlines()[-1].startswith(b"light curves: ")
