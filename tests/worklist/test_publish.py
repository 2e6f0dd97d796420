"""Publishing: a pure function of rows and logs, and which files it may remove."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from run_program import PROGRAM, call, content, everything_below, fresh
from todo_rows import load_todo

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.locks import exclusive
from tasoc_mpi.core.names import lightcurve_name
from tasoc_mpi.worklist.output_folder import find_output, note_output
from tasoc_mpi.worklist.publish import publish
from tasoc_mpi.worklist.result_log import damaged_path, log_path
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo
from tasoc_mpi.worklist.work_list import load_worklist

STARS = 80


@pytest.fixture(scope="module")
def done(blank, tmp_path_factory) -> Path:
    """With all results; not to be changed."""
    folder = fresh(blank, tmp_path_factory.mktemp("done"))
    assert call([str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def expected(done) -> dict:
    found = content(done)
    assert len(found["skipped"]) > 5
    return found


@pytest.fixture
def folder(done, tmp_path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "input"))


def change(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as conn, conn:
        for statement in statements:
            conn.execute(statement)


def test_the_same_bytes_any_number_of_times_from_any_state(folder, blank):
    todo, output = folder / "todo.sqlite", folder / "output"
    whole = todo.read_bytes()
    for _ in range(2):
        publish(todo, output)
        assert todo.read_bytes() == whole
    # From a list that knows nothing, and from one that knows what is wrong.
    shutil.copy(blank / "todo.sqlite", todo)
    publish(todo, output)
    assert todo.read_bytes() == whole
    change(
        todo, "UPDATE todolist SET status = 2", "DELETE FROM diagnostics", "DELETE FROM photometry_skipped"
    )
    publish(todo, output)
    assert todo.read_bytes() == whole
    # From a part of the logs, and then all of them.
    for name in ("s001-1-2.log", "s001-1-1.log"):
        log = output / "results" / name
        log.rename(folder / name)
        publish(todo, output)
        rows = load_todo(todo)
        assert (rows["status"][rows["ccd"] == int(name[7])] == 0).all()
        assert (rows["status"][rows["ccd"] != int(name[7])] != 0).all()
        (folder / name).rename(log)
    publish(todo, output)
    assert todo.read_bytes() == whole


def test_light_curves_of_a_ccd_without_a_log_stay(folder):
    output = folder / "output"
    files = everything_below(output)
    (output / "results" / "s001-1-2.log").unlink()
    publish(folder / "todo.sqlite", output)
    left = everything_below(output)
    assert {path for path in files if path.suffix == ".gz"} <= left.keys()


def test_a_run_under_way_is_published_and_left_alone(blank, tmp_path):
    """Its light curves that are not reported yet are not rubbish."""
    folder = fresh(blank, tmp_path)
    assert call([str(folder), "--ccd", "2"]) == 0
    environment = {**os.environ, "RUN_PROGRAM_SECONDS": "0.1"}
    command = [*PROGRAM, str(folder), "--ccd", "1", "--batch", "20"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as run:
        first = list((folder / "output").rglob("*-1-1-*.gz"))
        while len(first) < 5:
            time.sleep(0.05)
            first = list((folder / "output").rglob("*-1-1-*.gz"))
        published = publish(folder / "todo.sqlite", folder / "output")
        assert run.poll() is None
        assert published.running == [(1, 1, 1)]
        assert published.removed == 0
        assert all(path.exists() for path in first)
        with pytest.raises(InputError, match=rf"in use by a run \(process {run.pid} on .*, s001-1-1.log\)"):
            create_todo(folder / "todo.sqlite", np.zeros(1, TODO_DTYPE))
        rows = load_todo(folder / "todo.sqlite")
        assert (rows["status"][rows["ccd"] == 2] > 0).all()
        # Another run of the other CCD does not disturb it, and leaves publishing to it.
        assert call([str(folder), "--ccd", "2", "--overwrite"]) == 0
        assert run.wait(200) == 0
    assert (load_todo(folder / "todo.sqlite")["status"] > 0).all()


@pytest.mark.parametrize("command", ["catalog --from tic.csv", "prepare", "prf"])
def test_what_a_run_reads_is_not_replaced(folder, capsys, command):
    """Its stars would come from two versions of the data."""
    before = everything_below(folder)
    with exclusive(folder / "output" / "results" / "s001-1-1.log"):
        assert cli.main([*command.split(), "--overwrite", str(folder)]) == 1
    assert f"in use by a run (process {os.getpid()}" in capsys.readouterr().err
    assert everything_below(folder) == before


def test_runs_of_ccds_and_of_all_follow_each_other(blank, expected, tmp_path):
    folder = fresh(blank, tmp_path)
    assert call([str(folder), "--ccd", "1", "--tmag-max", "8"]) == 0
    assert call([str(folder), "--tmag-max", "9"]) == 0
    assert call([str(folder), "--ccd", "2"]) == 0
    assert call([str(folder)]) == 0
    assert content(folder) == expected


# --- What is removed


def test_only_files_that_the_program_names_so_are_removed(folder, tmp_path):
    """Names in the work list do not matter: what a row's star is called does."""
    output, todo = folder / "output", folder / "todo.sqlite"
    rows = load_todo(todo)
    skipped = rows[rows["status"] == 5][0]
    keys = (skipped["starid"], skipped["sector"], skipped["camera"], skipped["ccd"], skipped["cadence"])
    rubbish = [
        output / lightcurve_name(*map(int, keys), 1, 6),
        output / lightcurve_name(*map(int, keys), 27, 6),
        output / "c1800" / "00000" / f".{Path(lightcurve_name(*map(int, keys), 1, 6)).name}.4711.part",
    ]
    starid = int(skipped["starid"])
    others = [
        output / lightcurve_name(starid, 1, 1, 3, 1800, 1, 6),  # of another CCD
        output / lightcurve_name(starid, 2, 1, int(skipped["ccd"]), 1800, 1, 6),  # of another sector
        output / lightcurve_name(starid, 1, 1, int(skipped["ccd"]), 120, 1, 6),  # of another cadence
        output / lightcurve_name(*map(int, keys), 1, 5),  # of another version
        output / lightcurve_name(999_999, *map(int, keys[1:]), 1, 6),  # of a star that is not listed
        rubbish[0].with_name(rubbish[0].name.replace("-dr01", "-dr1")),
        rubbish[0].with_name(rubbish[0].name + ".txt"),
        rubbish[0].with_name("x" + rubbish[0].name),
        output / rubbish[0].name,
        output / "c1800" / "00001" / rubbish[0].name,
        folder / "precious",
    ]
    for path in (*rubbish, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    name = os.path.relpath(folder / "precious", output)
    change(
        todo,
        f"UPDATE diagnostics SET lightcurve = '{name}' WHERE priority = 1",
        "UPDATE diagnostics SET lightcurve = CAST(lightcurve AS BLOB) WHERE priority % 3 = 0",
    )
    assert publish(todo, output).removed == len(rubbish)
    assert not any(path.exists() for path in rubbish)
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("kind", ["file", "folder of stars", "folder of a cadence", "folder in its place"])
def test_links_and_folders_are_left_alone(folder, tmp_path, kind):
    output, todo = folder / "output", folder / "todo.sqlite"
    rows = load_todo(todo)
    row = rows[rows["status"] == 5][0]
    name = lightcurve_name(*(int(row[key]) for key in ("starid", "sector", "camera", "ccd", "cadence")), 1, 6)
    elsewhere = tmp_path / "elsewhere"
    target = elsewhere / name
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    if kind == "file":
        (output / name).symlink_to(target)
    elif kind == "folder of stars":
        shutil.rmtree(output / "c1800" / "00000")
        (output / "c1800" / "00000").symlink_to(target.parent)
    elif kind == "folder of a cadence":
        shutil.rmtree(output / "c1800")
        (output / "c1800").symlink_to(elsewhere / "c1800")
    else:
        (output / name).mkdir()
        (output / name / "file").write_text("mine")
    assert publish(todo, output).removed == 0
    assert target.read_text() == "mine"
    assert os.path.lexists(output / name)


def test_a_damaged_log_removes_nothing(folder, caplog):
    """Its stars are computed again; until the damaged file is removed nothing of its CCD is rubbish."""
    output, todo = folder / "output", folder / "todo.sqlite"
    before = everything_below(output)
    log = log_path(output, (1, 1, 1))
    data = bytearray(log.read_bytes())
    data[len(data) // 3] ^= 4
    log.write_bytes(data)
    published = publish(todo, output)
    assert published.removed == 0
    assert "s001-1-1.log: damaged at byte" in caplog.text
    assert published.decision.todo.any()
    assert {p for p in before if p.suffix == ".gz"} <= everything_below(output).keys()
    caplog.clear()
    assert call([str(folder)]) == 0
    assert damaged_path(log).read_bytes() == data
    assert {p for p in before if p.suffix == ".gz"} <= everything_below(output).keys()
    damaged_path(log).unlink()
    publish(todo, output)
    shutil.rmtree(output / "results")
    assert everything_below(output).keys() == {path for path in before if "results" not in path.parts}


# --- Computing again


def test_old_light_curves_stay_until_their_successors_are_there(folder, expected, caplog):
    """A run that is told to end in the middle of it leaves all of them, old or new."""
    caplog.set_level("INFO")
    environment = {**os.environ, "RUN_PROGRAM_SECONDS": "0.1"}
    command = [*PROGRAM, str(folder), "--overwrite", "--batch", "5"]
    written = {path: path.stat().st_mtime_ns for path in (folder / "output").rglob("*.gz")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as run:
        said = run.stderr.readline()
        while sum(path.stat().st_mtime_ns != when for path, when in written.items()) < 10:
            assert run.poll() is None
            time.sleep(0.05)
        # And some of stars that will be skipped again.
        assert content(folder)["files"].keys() >= expected["files"].keys()
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    assert f"{len(expected['files'])} light curves will be replaced, each when its successor is there" in said
    assert run.returncode == 130
    now = content(folder)
    # Those of stars that are skipped so far stay until nothing is left to compute.
    assert expected["files"].items() <= now["files"].items()
    assert now | {"files": expected["files"]} == expected
    # What was not computed again yet is, by the next run.
    output = folder / "output"
    left = int(publish(folder / "todo.sqlite", output).decision.todo.sum())
    assert 0 < left < STARS
    assert call([str(folder)]) == 0
    assert "star" in caplog.text
    assert content(folder) == expected
    assert not publish(folder / "todo.sqlite", output).decision.todo.any()


def test_a_copied_list_never_touches_the_light_curves_of_the_first(folder, tmp_path):
    (tmp_path / "copy").mkdir()
    shutil.copy(folder / "todo.sqlite", tmp_path / "copy")
    before = everything_below(folder)
    assert call([str(tmp_path / "copy"), "--overwrite"]) == 0
    assert call([str(tmp_path / "copy"), "--overwrite", "--output", str(tmp_path / "new")]) == 0
    assert everything_below(folder) == before


# --- Lists that are damaged, or of others

BAD = {
    "huge sector": "UPDATE todolist SET sector = 9223372036854775807 WHERE priority = 3",
    "huge cadence": "UPDATE todolist SET cadence = 1 << 40 WHERE priority = 3",
    "negative star": "UPDATE todolist SET starid = -5 WHERE priority = 3",
    "blob": "UPDATE todolist SET datasource = x'00ff' WHERE priority = 3",
    "NUL": "UPDATE todolist SET datasource = 'ffi' || char(0) || '/etc/passwd' || char(0) || 'xxxxxxx'",
    "long": "UPDATE todolist SET method = 'a method of a very long name' WHERE priority = 3",
    "text": "UPDATE todolist SET tmag = 'bright' WHERE priority = 3",
    "status": "UPDATE todolist SET status = 77 WHERE priority = 3",
    "status text": "UPDATE todolist SET status = 'done' WHERE priority = 3",
    "tile": "UPDATE todolist SET tile = 1e300 WHERE priority = 3",
    "trigger": "CREATE TRIGGER t AFTER UPDATE ON todolist BEGIN DELETE FROM diagnostics; END",
    "output": "UPDATE photometry_output SET output = x'2f00'",
    "no output": "UPDATE photometry_output SET output = ''",
    "version": "UPDATE photometry_output SET version = 'six'",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lists_are_one_line_and_nothing_changes(folder, capsys, name):
    change(folder / "todo.sqlite", BAD[name])
    before = everything_below(folder)
    for command in (["run"], ["run", "--dry-run"], ["run", "--overwrite"], ["publish"], ["status"]):
        capsys.readouterr()
        assert cli.main([command[0], str(folder), *command[1:]]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert str(folder / "todo.sqlite") in line
        assert ";" in line
    after = everything_below(folder)
    locks = {path for path in after if path.suffix == ".lock"}
    assert {path: after[path] for path in after.keys() - locks} == {
        path: before[path] for path in before.keys() - locks
    }


@pytest.mark.parametrize("table", ["todolist", "diagnostics", "photometry_skipped", "photometry_output"])
@pytest.mark.parametrize("kind", ["VIEW", "VIRTUAL TABLE"])
def test_what_stands_in_place_of_a_table_is_refused(folder, table, kind):
    how = f"AS SELECT * FROM t_{table}" if kind == "VIEW" else "USING fts4(priority)"
    change(folder / "todo.sqlite", f"ALTER TABLE {table} RENAME TO t_{table}", f"CREATE {kind} {table} {how}")
    with pytest.raises(InputError, match=f"`{table}` is not a table of rows"):
        publish(folder / "todo.sqlite", folder / "output")


def test_what_other_programs_have_added_stays(folder):
    """Tables, a column of `todolist`, and an index: as a program that corrects light curves leaves them."""
    todo = folder / "todo.sqlite"
    change(
        todo,
        "ALTER TABLE todolist ADD COLUMN corr_status INTEGER",
        "UPDATE todolist SET corr_status = priority % 4",
        "CREATE TABLE diagnostics_corr (priority INTEGER PRIMARY KEY, rms REAL, double AS (2 * rms))",
        "INSERT INTO diagnostics_corr (priority, rms) SELECT priority, priority / 7.0 FROM todolist",
        "CREATE INDEX corr_idx ON diagnostics_corr (rms)",
        "CREATE UNIQUE INDEX corr_unique_idx ON diagnostics_corr (priority, rms)",
        'CREATE TABLE "an odd ""name" (a TEXT) ',
        """INSERT INTO "an odd ""name" VALUES ('x')""",
        "CREATE VIEW corrected AS SELECT * FROM diagnostics_corr",
    )
    queries = (
        "SELECT priority, corr_status FROM todolist ORDER BY 1",
        "SELECT * FROM diagnostics_corr ORDER BY 1",
        'SELECT * FROM "an odd ""name"',
        "SELECT COUNT(*) FROM corrected",
        "SELECT name FROM sqlite_master WHERE name LIKE '%corr%' ORDER BY 1",
    )
    with contextlib.closing(sqlite3.connect(todo)) as conn:
        before = [conn.execute(query).fetchall() for query in queries]
    assert call([str(folder), "--overwrite"]) == 0
    with contextlib.closing(sqlite3.connect(todo)) as conn:
        assert [conn.execute(query).fetchall() for query in queries] == before
    again = todo.read_bytes()
    publish(todo, folder / "output")
    assert todo.read_bytes() == again


def test_a_list_with_a_write_ahead_log_is_published_whole(folder, expected):
    todo = folder / "todo.sqlite"
    with contextlib.closing(sqlite3.connect(todo, isolation_level=None)) as conn:
        assert conn.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        conn.execute("UPDATE todolist SET cbv_area = 7")
        with pytest.raises(InputError, match=r"another program is writing it \(there is a todo.sqlite-wal\)"):
            publish(todo, folder / "output")
    publish(todo, folder / "output")
    assert not list(folder.glob("todo.sqlite-*"))
    with contextlib.closing(sqlite3.connect(todo)) as conn:
        assert conn.execute("SELECT DISTINCT cbv_area FROM todolist").fetchall() == [(7,)]
    change(todo, "UPDATE todolist SET cbv_area = 0")
    assert content(folder)["diagnostics"] == expected["diagnostics"]
    assert [row[9] for row in content(folder)["todolist"]] == [row[9] for row in expected["todolist"]]


def test_publishing_waits_for_whoever_publishes(folder, monkeypatch):
    monkeypatch.setattr("tasoc_mpi.worklist.publish._PATIENCE", 0.1)
    with (
        exclusive(folder / "todo.sqlite"),
        pytest.raises(InputError, match=f"in use by process {os.getpid()}"),
    ):
        publish(folder / "todo.sqlite", folder / "output")


def test_a_lock_that_is_a_link_does_not_empty_its_target(folder, tmp_path, capsys):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("todo.sqlite.lock", "output/results/s001-1-1.log.lock"):
        lock = folder / name
        lock.unlink()
        lock.symlink_to(precious)
        assert cli.main(["publish", str(folder)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{name}: cannot be used as a lock (a link)" in line
        assert precious.read_text() == "mine"
        lock.unlink()


def test_the_commands(folder, capsys, tmp_path):
    assert cli.main(["publish", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"{folder}/todo.sqlite: published from {folder}/output" in out
    assert cli.main(["publish", str(folder), "--output", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
    for command in (["status"], ["status", "--json"], ["cbv"]):
        assert cli.main([*command, str(folder), "--output", str(tmp_path / "nowhere")]) == 1
        assert "nowhere: no such folder; name the --output of the run" in capsys.readouterr().err
    # Another folder, of which there are no results.
    (tmp_path / "empty").mkdir()
    assert cli.main(["publish", str(folder), "--output", str(tmp_path / "empty")]) == 0
    assert set(load_todo(folder / "todo.sqlite")["status"]) == {0}
    assert load_worklist(folder / "todo.sqlite").output == tmp_path / "empty"
    (folder / "todo.output").write_bytes(b"a\0b\n")
    assert cli.main(["publish", str(folder)]) == 1
    assert "todo.output: names no folder; remove it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out", "lines\nof two", " \n", "\udcff'\"$(x) \u00fc"])
def test_the_output_folder_of_the_last_run_is_found_by_any_name(tmp_path, name):
    (tmp_path / "in").mkdir()
    for output in (tmp_path / name, tmp_path / "in" / name):
        note_output(tmp_path / "in" / "todo.sqlite", output)
        assert find_output(tmp_path / "in" / "todo.sqlite").resolve() == output


@pytest.mark.parametrize("name", ["nothing", "file", "file/below"])
@pytest.mark.parametrize("command", ["publish", "status", "correct"])
def test_a_folder_that_is_none_is_named(tmp_path, capsys, command, name):
    (tmp_path / "file").write_text("no folder")
    assert cli.main([command, str(tmp_path / name)]) == 1
    assert f"{tmp_path / name}: no such folder; name the one that holds the data" in capsys.readouterr().err


def test_folders_whose_names_are_not_utf8(blank, tmp_path):
    folder = fresh(blank, tmp_path)
    output = Path(os.fsdecode(os.fsencode(folder) + b"/out\xff"))
    assert call([str(folder), "--output", str(output), "--tmag-max", "8"]) == 0
    assert load_worklist(folder / "todo.sqlite").output == output
    assert np.count_nonzero(load_todo(folder / "todo.sqlite")["status"])
    assert cli.main(["status", str(folder)]) == 0


def test_locks_can_be_kept_elsewhere(blank, expected, tmp_path, monkeypatch, capsys):
    folder = fresh(blank, tmp_path)
    locks = tmp_path / "locks"
    monkeypatch.delenv("TESSPHOT_LOCKS", raising=False)
    assert call([str(folder), "--lock-folder", str(locks)]) == 1
    assert "not a folder that can be written; name another --lock-folder" in capsys.readouterr().err
    locks.mkdir()
    try:
        assert call([str(folder), "--lock-folder", str(locks)]) == 0
        assert content(folder) == expected
        assert len(list(locks.iterdir())) == 3
        assert not list((folder / "output").rglob("*.lock"))
    finally:
        os.environ.pop("TESSPHOT_LOCKS", None)
