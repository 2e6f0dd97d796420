"""The work list: what is written is read, other programs' view of it, and files that are not one."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from todo_rows import LOADED_DTYPE, load_todo
from unprivileged import unprivileged

from tasoc_mpi.cli import parse
from tasoc_mpi.commands import show_status as status_command
from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.core.locks import exclusive
from tasoc_mpi.worklist.constraints import Constraints
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo, open_todo
from tasoc_mpi.worklist.work_list import load_worklist


def some_rows(n: int = 6) -> np.ndarray:
    rows = np.zeros(n, TODO_DTYPE)
    rows["priority"] = np.arange(1, n + 1)
    rows["starid"] = 1000 + np.arange(n)[::-1]
    rows["sector"], rows["camera"], rows["ccd"], rows["cadence"] = 14, 2, 1 + np.arange(n) % 4, 1800
    rows["datasource"] = np.array(["ffi", "tpf", "tpf:1000"])[np.arange(n) % 3]
    rows["method"] = np.where(np.arange(n) % 2, "halo", "")
    rows["tmag"] = np.linspace(5, 10, n)
    rows["cbv_area"] = 211
    return rows


@pytest.fixture
def todo(tmp_path):
    path = tmp_path / "todo.sqlite"
    create_todo(path, some_rows())
    return path


def test_rows_come_back(todo):
    rows = load_todo(todo)
    assert rows.dtype == LOADED_DTYPE
    for name in TODO_DTYPE.names:
        np.testing.assert_array_equal(rows[name], some_rows()[name])
    assert (rows["status"] == 0).all()


def test_unknown_magnitudes_come_back(tmp_path):
    rows = some_rows()
    rows["tmag"][2] = np.nan
    create_todo(tmp_path / "todo.sqlite", rows)
    found = load_todo(tmp_path / "todo.sqlite")
    np.testing.assert_array_equal(found["tmag"], rows["tmag"])
    assert (found["priority"][Constraints(tmag_max=99).mask(found)] != 3).all()


def test_tables_are_those_that_other_programs_read(todo):
    with contextlib.closing(sqlite3.connect(todo)) as conn:
        tables = {
            name: [row[1] for row in conn.execute(f"PRAGMA table_info({name})")]
            for name in ("todolist", "diagnostics", "photometry_skipped")
        }
        first = conn.execute("SELECT method, status FROM todolist WHERE priority = 1").fetchone()
        with pytest.raises(sqlite3.IntegrityError):
            conn.execute(
                "INSERT INTO todolist (starid, datasource, sector, camera, ccd, cadence)"
                " SELECT starid, datasource, sector, camera, ccd, cadence FROM todolist LIMIT 1"
            )
    assert " ".join(tables["todolist"]) == (
        "priority starid sector datasource camera ccd cadence method tmag status cbv_area tile"
    )
    assert " ".join(tables["diagnostics"]) == (
        "priority lightcurve method_used elaptime worker_wait_time mean_flux variance variability rms_hour"
        " ptp pos_row pos_column contamination mask_size edge_flux stamp_width stamp_height stamp_resizes"
        " errors"
    )
    assert tables["photometry_skipped"] == ["priority", "skipped_by"]
    assert first == (None, None)


def test_a_new_list_replaces_the_old_one_with_its_journal(todo):
    # Left by a kill: it belongs to the old file, and undoing it in the new one would destroy that.
    journal = todo.with_name("todo.sqlite-journal")
    journal.write_bytes(os.urandom(4096))
    create_todo(todo, some_rows(3))
    assert not journal.exists()
    assert len(load_todo(todo)) == 3
    assert sorted(path.name for path in todo.parent.iterdir()) == ["todo.sqlite", "todo.sqlite.lock"]


@pytest.mark.parametrize("column", ["priority", "starid"])
def test_rows_that_clash_leave_the_old_list(todo, column):
    rows = some_rows(8)
    rows[:] = rows[0]
    rows["priority"] = np.arange(8)
    rows["starid"] = np.arange(8)
    rows[column] = 1
    with pytest.raises(InputError, match="two rows"):
        create_todo(todo, rows)
    assert len(load_todo(todo)) == 6
    assert len(list(todo.parent.iterdir())) == 2


VALUES = {
    "sector": st.sampled_from([13, 14]),
    "camera": st.sampled_from([1, 2]),
    "ccd": st.integers(1, 4),
    "cadence": st.sampled_from([120, 1800]),
    "datasource": st.sampled_from(["ffi", "tpf", "tpf:1000"]),
    "starid": st.integers(999, 1006),
    "priority": st.integers(0, 7),
    "method": st.sampled_from(["", "halo", "psf"]),
}


@given(
    st.fixed_dictionaries({}, optional={name: st.lists(value, max_size=3) for name, value in VALUES.items()}),
    st.none() | st.floats(4, 11),
    st.none() | st.floats(4, 11),
)
def test_constraints_are_those_of_sql(chosen, tmag_min, tmag_max):
    """The masks select what a query with the same conditions would."""
    rows = some_rows(12)
    constraints = Constraints(
        **{name: tuple(values) for name, values in chosen.items()}, tmag_min=tmag_min, tmag_max=tmag_max
    )
    with contextlib.closing(sqlite3.connect(":memory:")) as conn:
        conn.execute(f"CREATE TABLE t ({', '.join(TODO_DTYPE.names)})")
        conn.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(TODO_DTYPE))})", rows.tolist())
        where, values = ["1"], []
        for name, accepted in chosen.items():
            if accepted:
                condition = f"{name} IN ({', '.join('?' * len(accepted))})"
                if name == "datasource" and "tpf" in accepted:
                    condition += " OR datasource LIKE 'tpf:%'"
                where.append(f"({condition})")
                values += accepted
        for limit, sign in ((tmag_min, ">="), (tmag_max, "<=")):
            if limit is not None:
                where.append(f"tmag {sign} ?")
                values.append(limit)
        expected = [
            row[0] for row in conn.execute(f"SELECT priority FROM t WHERE {' AND '.join(where)}", values)
        ]
    assert rows["priority"][constraints.mask(rows)].tolist() == expected


def test_stars_of_ten_digits_are_chosen():
    rows = some_rows(3)
    rows["starid"] = large = [10_001_673_214, 2**31, 2**53 - 1]
    for index, starid in enumerate(large):
        assert np.flatnonzero(Constraints(starid=(starid,)).mask(rows)).tolist() == [index]
    assert Constraints(priority=(2**62,)).mask(rows).sum() == 0
    assert Constraints(method=("\u0663",), datasource=("tpf:\u0663",)).mask(rows).sum() == 0


def test_constraints_are_true_if_there_are_any():
    assert not Constraints()
    assert not Constraints(sector=())
    for field in fields(Constraints):
        assert Constraints(**{field.name: 0.0 if field.name.startswith("tmag") else (0,)})


def one_line(info: pytest.ExceptionInfo) -> str:
    text = str(info.value)
    assert "\n" not in text
    assert "todo.sqlite" in text
    return text


def test_missing(tmp_path):
    with pytest.raises(MissingInput) as info:
        load_todo(tmp_path / "todo.sqlite")
    assert f"tasoc-mpi todo {tmp_path}" in one_line(info)


def test_empty(tmp_path):
    create_todo(tmp_path / "todo.sqlite", some_rows(0))
    with pytest.raises(InputError) as info:
        load_todo(tmp_path / "todo.sqlite")
    assert "no stars in the work list" in one_line(info)


@pytest.mark.parametrize("damage", ["text", "short", "blocks", "nothing"])
def test_not_sqlite_or_damaged(todo, damage):
    data = bytearray(todo.read_bytes())
    if damage == "text":
        data = bytearray(b"starid,ra,dec\n" * 100)
    elif damage == "short":
        data = data[: len(data) // 3]
    elif damage == "nothing":
        data = bytearray()
    else:
        data[4096:] = os.urandom(len(data) - 4096)
    todo.write_bytes(data)
    with pytest.raises(InputError) as info:
        load_worklist(todo)
    one_line(info)


def test_another_schema(todo):
    with contextlib.closing(sqlite3.connect(todo)) as conn, conn:
        conn.execute("ALTER TABLE todolist DROP COLUMN cbv_area")
    with pytest.raises(InputError, match="no cbv_area in `todolist`"):
        load_todo(todo)


def test_another_database(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "todo.sqlite")) as conn, conn:
        conn.execute("CREATE TABLE catalog (starid)")
    with pytest.raises(InputError, match="no table `todolist`"):
        load_todo(tmp_path / "todo.sqlite")


def test_values_of_the_wrong_kind(todo):
    with contextlib.closing(sqlite3.connect(todo)) as conn, conn:
        conn.execute("UPDATE todolist SET camera = 'left' WHERE priority = 2")
    with pytest.raises(InputError, match=r"wrong kind \(priority 2: camera is 'left'\)"):
        load_todo(todo)


def test_locked_by_another_program(todo, monkeypatch):
    monkeypatch.setattr("tasoc_mpi.worklist.todo_file.BUSY_TIMEOUT", 0.1)
    with contextlib.closing(sqlite3.connect(todo, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError) as info:
            open_todo(todo).close()
        assert "locked by another program" in one_line(info)


@unprivileged
def test_read_only(todo):
    todo.chmod(0o444)
    assert len(load_todo(todo)) == 6
    with pytest.raises(InputError, match="must be able to write"):
        load_worklist(todo, check_write=True)


def test_reading_changes_nothing(todo):
    before = todo.read_bytes()
    with contextlib.closing(open_todo(todo)) as conn, pytest.raises(sqlite3.OperationalError):
        conn.execute("UPDATE todolist SET status = 1")
    assert todo.read_bytes() == before


def test_a_transaction_of_another_program_cut_by_a_kill_is_undone_by_the_next_reader(tmp_path):
    path = tmp_path / "todo.sqlite"
    create_todo(path, some_rows(2000))
    program = (
        "import os, sqlite3, sys\n"
        "conn = sqlite3.connect(sys.argv[1])\n"
        "conn.execute('PRAGMA cache_size=2')\n"
        "conn.execute('UPDATE todolist SET status = 1')\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("todo.sqlite-journal").stat().st_size > 0
    assert (load_todo(path)["status"] == 0).all()


def test_a_list_that_is_being_replaced_names_who_does_it(todo, monkeypatch):
    monkeypatch.setattr("tasoc_mpi.core.locks.PATIENCE", 0.1)
    with exclusive(todo):
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on "):
            create_todo(todo, some_rows(1))
        assert len(load_todo(todo)) == 6
    create_todo(todo, some_rows(1))
    assert len(load_todo(todo)) == 1


def test_status_of_a_new_list(todo, capsys):
    assert status_command.main(parse(["status", str(todo.parent)])) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["CCD", "to", "do", "rows", "stars"]
    assert out.splitlines()[-2].split() == ["all", "6", "6", "6"]


def test_status_of_results(todo, capsys):
    """Of another program, without logs."""
    with contextlib.closing(sqlite3.connect(todo)) as conn, conn:
        conn.execute("UPDATE todolist SET status = 1 WHERE priority < 3")
        conn.execute("UPDATE todolist SET status = 2 WHERE priority = 3")
        conn.executemany(
            "INSERT INTO diagnostics (priority, method_used, elaptime, worker_wait_time, errors)"
            " VALUES (?, ?, ?, 0.0, ?)",
            [(1, "aperture", 0.25, None), (2, "halo", 1.5, None), (3, "", 0.004, "Traceback\nIt broke")],
        )
    assert status_command.main(parse(["status", str(todo.parent), "--stars", "2"])) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["all", "2", "1", "3", "6", "6"] in lines
    assert ["halo", "1", "1500.0", "1500.0", "0.0%"] in lines
    slowest = lines[next(i for i, line in enumerate(lines) if line[:1] == ["slowest"]) + 1]
    assert slowest[:2] == ["TIC", "1004"]
    assert lines[-1] == ["TIC", "1003:", "It", "broke"]


def test_status_of_a_damaged_list(todo):
    todo.write_bytes(b"x" * 5000)
    with pytest.raises(InputError) as info:
        status_command.main(parse(["status", str(todo.parent)]))
    assert "not an SQLite file" in one_line(info)


def test_the_command_that_makes_a_list_can_be_copied(tmp_path):
    folder = tmp_path / "two words"
    folder.mkdir()
    with pytest.raises(MissingInput, match=rf"make one with `tasoc-mpi todo '{re.escape(str(folder))}'`"):
        status_command.main(parse(["status", str(folder)]))


def test_limits_of_magnitudes_are_inclusive():
    rows = np.zeros(4, TODO_DTYPE)
    rows["tmag"] = [8.0, 9.5, 11.0, np.nan]
    assert Constraints(tmag_min=9.5).mask(rows).tolist() == [False, True, True, False]
    assert Constraints(tmag_max=9.5).mask(rows).tolist() == [True, True, False, False]
    assert Constraints(tmag_min=9.5, tmag_max=9.5).mask(rows).tolist() == [False, True, False, False]
