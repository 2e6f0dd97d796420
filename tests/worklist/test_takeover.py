"""Work lists of older versions and of other programs: their results become logs, once."""

import contextlib
import shutil
import sqlite3
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from run_program import call, content, everything_below, fresh, make_input
from todo_rows import read_logs

from tasoc_mpi import cli
from tasoc_mpi.worklist.old_results import read_old_results
from tasoc_mpi.worklist.publish import publish
from tasoc_mpi.worklist.result_log import LogReader, ResultGroup, log_path
from tasoc_mpi.worklist.schema import TODO_DTYPE, columns_of
from tasoc_mpi.worklist.todo_file import create_todo
from tasoc_mpi.worklist.work_list import load_worklist

STARS = 80

#: What this program kept in the file before there were logs.
OLD = """
CREATE TABLE photometry_results (priority INTEGER PRIMARY KEY NOT NULL, status INTEGER NOT NULL);
CREATE TABLE photometry_claims (priority INTEGER, starid INTEGER, PRIMARY KEY (priority, starid))
    WITHOUT ROWID;
CREATE TABLE photometry_journal (priority INTEGER NOT NULL, time REAL NOT NULL, results BLOB NOT NULL);
CREATE TABLE photometry_failures (priority INTEGER PRIMARY KEY, time REAL NOT NULL);
CREATE TABLE photometry_tiles (priority INTEGER PRIMARY KEY, tile INTEGER NOT NULL);
CREATE TABLE photometry_trash (lightcurve TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID;
CREATE TABLE photometry_settings (output TEXT NOT NULL, version INTEGER NOT NULL, unfinished INTEGER);
DROP TABLE photometry_output;
ALTER TABLE todolist DROP COLUMN tile;
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("done") / "input"
    make_input(folder, STARS)
    assert call([str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def expected(done) -> dict:
    return content(done)


def make_old(done: Path, folder: Path, journaled: bool = False) -> Path:
    """The same results in a file as older versions wrote it, or still in their journal."""
    fresh(done, folder.parent)
    todo, output = folder / "todo.sqlite", folder / "output"
    rows = load_worklist(todo)
    state = read_logs(rows, output)
    skipped = state.decide().skipped_by >= 0
    messages = []
    for ccd in rows.ccds:
        for group in LogReader(log_path(output, ccd), rows, ccd).read():
            assert isinstance(group, ResultGroup)
            first = rows.priority[group.index[group.bundle.starts]].tolist()
            messages += [(p, 7.0, bytes(m)) for p, m in zip(first, group.bundle.messages, strict=True)]
    with contextlib.closing(sqlite3.connect(todo)) as conn, conn:
        conn.executescript(OLD)
        conn.execute("INSERT INTO photometry_settings VALUES ('output', 6, ?)", (int(journaled),))
        # A list says what is to be deleted; nobody is to believe it.
        conn.execute("INSERT INTO photometry_trash VALUES ('../../precious')")
        conn.executemany(
            "INSERT INTO photometry_tiles VALUES (?, ?)", [(p, p % 9) for p in rows.priority.tolist()]
        )
        if journaled:
            conn.execute("UPDATE todolist SET status = NULL")
            conn.execute("DELETE FROM diagnostics")
            conn.execute("DELETE FROM photometry_skipped")
            conn.executemany("INSERT INTO photometry_journal VALUES (?, ?, ?)", messages)
        else:
            own = [
                (int(rows.priority[i]), int(state.own_status[i])) for i in (skipped & state.done).nonzero()[0]
            ]
            conn.executemany("INSERT INTO photometry_results VALUES (?, ?)", own)
            index, starids = state.skip_targets()
            pairs = zip(rows.priority[index].tolist(), starids.tolist(), strict=True)
            conn.executemany("INSERT INTO photometry_claims VALUES (?, ?)", pairs)
    shutil.rmtree(output / "results")
    (folder.parent / "precious").write_text("mine")
    return todo


def without_tiles(found: dict) -> dict:
    return {**found, "todolist": [row[:-1] for row in found["todolist"]]}


@pytest.mark.parametrize("journaled", [False, True])
@pytest.mark.parametrize("first", ["run", "publish"])
def test_results_of_older_versions_become_logs_once(done, expected, tmp_path, caplog, journaled, first):
    folder = tmp_path / "input"
    todo = make_old(done, folder, journaled)
    before, files = todo.read_bytes(), everything_below(folder / "output")
    assert (call([str(folder)]) if first == "run" else cli.main(["publish", str(folder)])) == 0
    assert caplog.text.count("of an older version or another program; its results are now in") == 1
    assert without_tiles(content(folder)) == without_tiles(expected)
    assert [row[-1] for row in content(folder)["todolist"]] == [row[0] % 9 for row in expected["todolist"]]
    # Nothing of it is deleted, or computed again.
    assert (folder / "todo.sqlite.old").read_bytes() == before
    now = everything_below(folder / "output")
    assert {path: now[path] for path in files if path.suffix == ".gz"} == {
        path: data for path, data in files.items() if path.suffix == ".gz"
    }
    assert (tmp_path / "precious").read_text() == "mine"
    with contextlib.closing(sqlite3.connect(todo)) as conn:
        assert not columns_of(conn, "photometry_claims")
    caplog.clear()
    whole = todo.read_bytes()
    publish(todo, folder / "output")
    assert todo.read_bytes() == whole
    assert "older" not in caplog.text
    assert call([str(folder), "--overwrite"]) == 0
    assert without_tiles(content(folder)) == without_tiles(expected)


def test_they_can_be_looked_at_before(done, tmp_path, capsys):
    """Status and a dry run read them and change nothing."""
    folder = tmp_path / "input"
    make_old(done, folder)
    before = everything_below(folder)
    for command in (["status"], ["run", "--dry-run"]):
        assert cli.main(["--quiet", command[0], str(folder), *command[1:]]) == 0
    assert "0 of 80 rows" in capsys.readouterr().out
    assert everything_below(folder) == before


def test_a_folder_that_was_moved_is_the_one_that_is_named(done, expected, tmp_path):
    folder = tmp_path / "input"
    make_old(done, folder)
    (folder / "output").rename(tmp_path / "moved")
    assert call([str(folder), "--output", str(tmp_path / "moved")]) == 0
    assert without_tiles(content(folder, tmp_path / "moved")) == without_tiles(expected)


def test_what_was_interrupted_is_gone_on_with(done, expected, tmp_path):
    """One of the logs was written when the program was killed."""
    folder = tmp_path / "input"
    todo = make_old(done, folder)
    kept = todo.read_bytes()
    publish(todo, folder / "output")
    log_path(folder / "output", (1, 1, 2)).unlink()
    todo.write_bytes(kept)
    publish(todo, folder / "output")
    assert without_tiles(content(folder)) == without_tiles(expected)


def test_results_of_another_program(done, tmp_path):
    """A list with statuses, diagnostics and skips, but without this program's tables."""
    folder = fresh(done, tmp_path)
    todo = folder / "todo.sqlite"
    shutil.rmtree(folder / "output" / "results")
    with contextlib.closing(sqlite3.connect(todo)) as conn, conn:
        conn.execute("DROP TABLE photometry_output")
    before = content_of_tables(todo)
    assert call([str(folder), "--output", str(folder / "output")]) == 0
    assert content_of_tables(todo) == before


def content_of_tables(todo: Path) -> list:
    with contextlib.closing(sqlite3.connect(todo)) as conn:
        return [
            conn.execute(f"SELECT * FROM {table} ORDER BY priority").fetchall()
            for table in ("todolist", "diagnostics", "photometry_skipped")
        ]


BAD = {
    "another version": "UPDATE photometry_journal SET results = x'00' || substr(results, 2)",
    "cut": "UPDATE photometry_journal SET results = substr(results, 1, length(results) - 8)",
    "text": "UPDATE photometry_journal SET results = 'a text'",
    "number": "UPDATE photometry_journal SET results = 7",
    "empty": "UPDATE photometry_journal SET results = x''",
    "time": "UPDATE photometry_journal SET time = 'noon'",
    "huge": "INSERT INTO photometry_claims VALUES (1 << 62, 5)",
    "wrong status": "INSERT OR REPLACE INTO photometry_results VALUES (1, 1 << 40)",
    "wrong star": "UPDATE photometry_claims SET starid = 'Vega' || starid",
    "wrong number": "UPDATE diagnostics SET elaptime = 'long' WHERE priority % 2",
    "wrong name": "UPDATE diagnostics SET method_used = x'ff' WHERE priority % 2",
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_taken_over_is_said_in_one_line(done, tmp_path, capsys, name):
    folder = tmp_path / "input"
    todo = make_old(done, folder, journaled="journal" in BAD[name])
    with contextlib.closing(sqlite3.connect(todo)) as conn, conn:
        assert conn.execute(BAD[name]).rowcount
    before = everything_below(folder)
    for command in (["run"], ["run", "--overwrite"], ["run", "--dry-run"], ["publish"]):
        capsys.readouterr()
        assert cli.main(["--quiet", command[0], str(folder), *command[1:]]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert str(todo) in line
        assert "make " in line
    left = everything_below(folder)
    left.pop(folder / "todo.sqlite.lock")
    before.pop(folder / "todo.sqlite.lock")
    assert left == before


def test_results_of_long_lists_are_read_by_columns(tmp_path):
    count = 15_000
    rows = np.zeros(count, TODO_DTYPE)
    rows["priority"] = rows["starid"] = np.arange(1, count + 1)
    rows["sector"], rows["camera"], rows["ccd"], rows["datasource"], rows["cadence"] = 1, 1, 1, "ffi", 1800
    create_todo(tmp_path / "todo.sqlite", rows)
    with contextlib.closing(sqlite3.connect(tmp_path / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET status = 1")
        conn.executemany(
            "INSERT INTO diagnostics (priority, lightcurve, method_used, elaptime, rms_hour, ptp, pos_row)"
            " VALUES (?, ?, 'aperture', 0.1 + ?1, 0.2 + ?1, 0.3 + ?1, 0.4 + ?1)",
            ((k, f"c1800/{k}.fits.gz") for k in range(1, count + 1)),
        )
    worklist = load_worklist(tmp_path / "todo.sqlite")
    tracemalloc.start()
    results = read_old_results(worklist)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(len(group.index) for group in results[1, 1, 1]) == count
    # With a dictionary for each row it was 1100.
    assert peak / count < 950
