"""Split and merge: the merged work list is that of one run over all, whatever happens on the way."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from run_program import call, content, make_input

from tasoc_mpi import cli
from tasoc_mpi.errors import InputError, MissingInput
from tasoc_mpi.products.shards import (
    find_shards,
    merge_shards,
    shard_counts,
    shard_name,
    split_todo,
    summarise_shard,
)
from tasoc_mpi.products.todo import create_todo, load_todo

STARS = 240


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    """A work list of three CCDs in which nothing is done."""
    folder = tmp_path_factory.mktemp("blank") / "input"
    make_input(folder, STARS, ccds=3)
    return folder


@pytest.fixture
def folder(blank, tmp_path) -> Path:
    return Path(shutil.copytree(blank, tmp_path / "input"))


@pytest.fixture(scope="module")
def expected(blank, tmp_path_factory) -> dict:
    """What one run leaves behind."""
    folder = Path(shutil.copytree(blank, tmp_path_factory.mktemp("expected") / "input"))
    assert run(folder) == 0
    found = content(folder)
    assert {row[9] for row in found["todolist"]} == {1, 2, 3, 5}
    return found


def run(folder: Path, *options: str) -> int:
    return call([str(folder), *options])


def result(folder: Path) -> dict:
    """As `content`, without the summaries that each shard's run writes."""
    found = content(folder)
    found["files"] = {k: v for k, v in found["files"].items() if not k.startswith("summary_")}
    return found


def run_shards(folder: Path, *options: str) -> None:
    for path in find_shards(folder).values():
        assert run(folder, "--todo", str(path), *options) == 0


def test_split_run_merge_is_one_run(folder, expected):
    shards = split_todo(folder)
    assert [shard.ccd for shard in shards] == [(1, 1, 1), (1, 1, 2), (1, 1, 3)]
    assert sum(shard.stars for shard in shards) == STARS
    assert [shard.path.name for shard in shards] == [shard_name(*shard.ccd) for shard in shards]
    run_shards(folder)
    merged = merge_shards(folder)
    assert all(shard.finished and shard.done == shard.stars for shard in merged)
    assert result(folder) == expected


def test_split_and_merge_again_change_nothing(folder, expected):
    split_todo(folder)
    merge_shards(folder)
    assert not (load_todo(folder / "todo.sqlite")["status"] > 0).any()
    run_shards(folder)
    before = [path.read_bytes() for path in find_shards(folder).values()]
    split_todo(folder)
    assert [path.read_bytes() for path in find_shards(folder).values()] == before
    merge_shards(folder)
    merge_shards(folder)
    assert result(folder) == expected


@pytest.mark.parametrize("seed", range(4))
def test_any_subset_at_any_time(folder, expected, seed):
    """Parts of shards are run, merged, removed and split again in no order."""
    rng = np.random.default_rng(seed)
    for _ in range(6):
        split_todo(folder)
        paths = list(find_shards(folder).values())
        path = paths[rng.integers(len(paths))]
        some = [] if rng.random() < 0.4 else ["--starid", *map(str, 1000 + rng.choice(STARS, 60, False))]
        # 1: none of the stars is in this shard.
        assert run(folder, "--todo", str(path), *some) in (0, 1)
        chosen = [p for p in paths if rng.random() < 0.5]
        if chosen:
            merge_shards(folder, chosen, remove=bool(rng.random() < 0.5), overwrite=True)
    split_todo(folder)
    run_shards(folder)
    merge_shards(folder, remove=True)
    assert not find_shards(folder)
    assert sorted(p.name for p in folder.iterdir() if "todo" in p.name) == ["todo.sqlite", "todo.sqlite.lock"]
    assert result(folder) == expected


def test_a_list_that_is_half_done_is_split_with_its_results(folder, expected):
    assert run(folder, "--ccd", "1") == 0
    shards = split_todo(folder)
    assert [shard.done == shard.stars for shard in shards] == [True, False, False]
    run_shards(folder)
    merge_shards(folder)
    assert result(folder) == expected


def test_a_list_is_not_run_beside_its_shards(folder, expected, capfd):
    split_todo(folder)
    assert run(folder) == 1
    error = capfd.readouterr().err.strip()
    assert "split into 3 shard(s)" in error
    assert "\n" not in error
    run_shards(folder)
    merge_shards(folder, remove=True)
    assert run(folder) == 0
    assert result(folder) == expected


def test_a_shard_in_use_is_merged_but_stays(folder):
    split_todo(folder)
    run_shards(folder)
    path = folder / shard_name(1, 1, 2)
    # Another process holds it, as a run on another node does.
    code = (
        "import sys; from tasoc_mpi.products.todo import lock_todo\n"
        "with lock_todo(sys.argv[1]): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"locked\n"
        merge_shards(folder, remove=True)
        assert list(find_shards(folder)) == [(1, 1, 2)]
        with pytest.raises(InputError, match=f"in use by process {other.pid}"):
            split_todo(folder, overwrite=True)
        other.stdin.close()
    assert (load_todo(folder / "todo.sqlite")["status"] > 0).all()


def test_what_is_unfinished_is_known_of_each_ccd(folder, expected):
    """A run of one shard is killed; the others are merged, and made anew from the list."""
    split_todo(folder)
    run_shards(folder)
    path = folder / shard_name(1, 1, 2)
    with contextlib.closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("UPDATE photometry_settings SET unfinished = 1")
    merge_shards(folder, remove=True)
    assert list(find_shards(folder)) == [(1, 1, 2)]
    assert [s.finished for s in summarise_shard(folder / "todo.sqlite")] == [True, False, True]
    assert [s.finished for s in split_todo(folder)] == [True, False, True]
    path.unlink()
    assert [s.finished for s in split_todo(folder)] == [True, False, True]
    assert run(folder, "--todo", str(path)) == 0
    merge_shards(folder, [path])
    assert result(folder) == expected


def test_results_that_a_killed_run_left_in_its_journal_come_along(folder, expected):
    """From the list to the shards, and back; none is computed again."""
    program = Path(__file__).with_name("run_program.py")
    environment = {**os.environ, "RUN_PROGRAM_SECONDS": "0.02"}
    command = [sys.executable, str(program), str(folder), "--batch", "1"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        path = folder / "todo.sqlite"
        for _ in range(600):
            with contextlib.closing(sqlite3.connect(path, timeout=10)) as conn:
                tables = {row[0] for row in conn.execute("SELECT name FROM sqlite_master")}
                if "photometry_journal" in tables:
                    (journaled,) = conn.execute("SELECT COUNT(*) FROM photometry_journal").fetchone()
                    if journaled:
                        break
            time.sleep(0.05)
        process.kill()
    split_todo(folder)
    merge_shards(folder)
    found = [row for rows in shard_counts(folder).values() for row in rows]
    assert sum(row[4] for row in found) == STARS
    assert sum(row[4] for row in found if row[3]) >= journaled > 0
    run_shards(folder)
    merge_shards(folder)
    assert result(folder) == expected


def damaged(folder: Path, name: str) -> tuple[list[Path] | None, str]:
    """Something that does not belong, and what is said about it."""
    shards = list(find_shards(folder).values())
    stray = folder / "stray.sqlite"
    if name == "twice":
        return [*shards, shards[1]], "sector 1 camera 1 CCD 2 is also in"
    if name == "copy":
        shutil.copy(shards[0], stray)
        return [*shards, stray], "stray.sqlite: sector 1 camera 1 CCD 1 is also in"
    rows = load_todo(shards[0])
    if name == "sector":
        rows["sector"] = 2
        create_todo(stray, rows[list(rows.dtype.names[:-1])])
        return [*shards[1:], stray], "stray.sqlite: of sector 2, "
    if name == "other list":
        rows["tmag"] += 1
        create_todo(stray, rows[list(rows.dtype.names[:-1])])
        return [*shards[1:], stray], "is another row there.*split --overwrite"
    if name == "part":
        create_todo(stray, rows[list(rows.dtype.names[:-1])][:-1])
        return [*shards[1:], stray], "the list has more stars"
    if name == "not sqlite":
        stray.write_bytes(b"x" * 1000)
        return [*shards, stray], "stray.sqlite: not an SQLite file"
    if name == "missing":
        return [*shards, folder / "nothing.sqlite"], "nothing.sqlite: no work list here"
    if name == "version":
        assert run(folder, "--todo", str(shards[0]), "--version", "7", "--overwrite") == 0
        return None, "version 7"
    assert name == "older"
    merge_shards(folder)
    create_todo(shards[0], rows[list(rows.dtype.names[:-1])])
    return None, "has results of 0 stars"


NAMES = ("twice", "copy", "sector", "other list", "part", "not sqlite", "missing", "version", "older")


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_belong_is_refused_and_nothing_is_merged(folder, name):
    split_todo(folder)
    run_shards(folder)
    paths, message = damaged(folder, name)
    before = (folder / "todo.sqlite").read_bytes()
    with pytest.raises((InputError, MissingInput), match=message) as caught:
        merge_shards(folder, paths)
    assert "\n" not in str(caught.value)
    assert (folder / "todo.sqlite").read_bytes() == before
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))


def test_fewer_results_can_be_merged_if_asked_for(folder):
    split_todo(folder)
    run_shards(folder)
    assert damaged(folder, "older")
    merge_shards(folder, overwrite=True)
    rows = load_todo(folder / "todo.sqlite")
    assert ((rows["status"] == 0) == (rows["ccd"] == 1)).all()


def test_split_refuses_shards_of_another_list_and_makes_them_anew_if_asked(folder):
    split_todo(folder)
    rows = load_todo(folder / "todo.sqlite")
    rows["tmag"] += 0.5
    create_todo(folder / "todo.sqlite", rows[list(rows.dtype.names[:-1])])
    with pytest.raises(InputError, match="not a shard of this"):
        split_todo(folder)
    rows = rows[rows["ccd"] != 3]
    create_todo(folder / "todo.sqlite", rows[list(rows.dtype.names[:-1])])
    with pytest.raises(InputError, match="has no such CCD"):
        split_todo(folder)
    assert len(split_todo(folder, overwrite=True)) == 2
    assert len(find_shards(folder)) == 2
    merge_shards(folder)


def test_results_of_a_shard_can_be_read_by_other_programs(folder):
    """A shard has the tables, indices and constraints of a work list."""
    split_todo(folder)
    schemas = []
    for path in (folder / "todo.sqlite", *find_shards(folder).values()):
        with contextlib.closing(sqlite3.connect(path)) as conn:
            assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            schemas.append(set(conn.execute("SELECT type, name, sql FROM sqlite_master").fetchall()))
    assert all(schema == schemas[0] for schema in schemas)


def test_summary_counts_what_a_run_says(folder, expected):
    split_todo(folder)
    run_shards(folder)
    status = np.array([row[9] for row in expected["todolist"]])
    found = [summary for path in find_shards(folder).values() for summary in summarise_shard(path)]
    assert sum(summary.errors for summary in found) == (status == 2).sum()
    assert all(summary.finished for summary in found)


def test_commands(folder, capsys):
    assert cli.main(["split", str(folder)]) == 0
    assert "0 done" in capsys.readouterr().out
    assert cli.main(["merge", str(folder)]) == 0
    assert capsys.readouterr().out.count("not finished") == 3
    assert cli.main(["merge", str(folder.parent)]) == 1
    error = capsys.readouterr().err
    assert "no work list here" in error
    assert error.count("\n") == 1


def test_nothing_to_merge(folder):
    with pytest.raises(MissingInput, match="no shards"):
        merge_shards(folder)
