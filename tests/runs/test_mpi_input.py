"""Input that cannot be used, under MPI: one line, a non-zero exit status on every rank, no hang.

And what it makes of input that it can: older work lists, more ranks than stars, stars without a cube. Under
every MPI that is here (see `mpi_launch`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mpi_launch import environment, launch, mpiexec
from mpi_program import PROGRAM, REAL
from old_worklist import make_older
from run_program import call, content, fresh, make_input

from tasoc_mpi import cli

STARS, CCDS = 150, 3

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def folder(blank, tmp_path) -> Path:
    """An input folder in which nothing is done."""
    return fresh(blank, tmp_path)


def lines_of(done: subprocess.CompletedProcess) -> list[str]:
    """What the program said, without the launcher's own lines."""
    assert "Traceback" not in done.stderr, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith(("tasoc-mpi", "ERROR"))]


def refused(
    launcher: str, folder: Path, tmp_path: Path, *options: str, prefix: list[str] | None = None
) -> str:
    """Run on three ranks, all of which have to end with a non-zero exit status; returns the one line."""
    statuses = tmp_path / "statuses"
    statuses.mkdir()
    done = subprocess.run(
        [*(prefix or []), *mpiexec(3, launcher), *PROGRAM, str(folder), *options],
        env={**environment(launcher), "MPI_PROGRAM_STATUS": str(statuses), "MPI_PROGRAM_PATIENCE": "0.5"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    # A launcher may end the others when the first has ended.
    assert {path.suffix for path in statuses.iterdir()} == {".1"}
    (line,) = lines_of(done)
    return line


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextlib.contextmanager
def no_database(folder: Path) -> Iterator[None]:
    (folder / "todo.sqlite").write_text("priority starid\n" * 1000)
    yield


@contextlib.contextmanager
def damaged(folder: Path) -> Iterator[None]:
    path = folder / "todo.sqlite"
    path.write_bytes(path.read_bytes()[:6000])
    yield


@contextlib.contextmanager
def empty(folder: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("DELETE FROM todolist")
    yield


@contextlib.contextmanager
def missing(folder: Path) -> Iterator[None]:
    (folder / "todo.sqlite").unlink()
    yield


@contextlib.contextmanager
def no_folder(folder: Path) -> Iterator[None]:
    (folder / "output").write_text("a file")
    yield


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (locked, "locked by another program"),
        (no_database, "not an SQLite file"),
        (damaged, "damaged"),
        (empty, "no stars"),
        (missing, "no work list here"),
        (no_folder, "choose another --output"),
    ],
)
def test_input_that_cannot_be_used(launcher, folder, tmp_path, spoil: Callable, words: str):
    with spoil(folder):
        line = refused(launcher, folder, tmp_path)
    assert words in line
    assert str(folder) in line


def in_namespace() -> list[str]:
    """The start of a command that may mount file systems for itself; skips where there is no such."""
    command = ["unshare", "-rm"]
    try:
        subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs `unshare -rm`: namespaces of users are forbidden here")
    return command


@pytest.mark.parametrize("options", [[], ["--output", "elsewhere"], ["--dry-run"]])
def test_read_only_input(launcher, folder, tmp_path, options):
    """On a file system that is mounted so, which binds the superuser, too."""
    script = f'mount --bind "{folder}" "{folder}" && mount -o remount,ro,bind "{folder}" && exec "$@"'
    prefix = [*in_namespace(), "sh", "-c", script, "sh"]
    options = [str(tmp_path / option) if option == "elsewhere" else option for option in options]
    line = refused(launcher, folder, tmp_path, *options, prefix=prefix)
    assert f"{folder / 'todo.sqlite'}: a run must be able to write it and its folder" in line
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("note", "words"), [(b"\0", "todo.output: names no folder"), (None, "no input folder")]
)
def test_correct_names_a_wrong_input_once(launcher, tmp_path, note: bytes | None, words: str):
    """The files are looked for before the ranks know of each other."""
    options = []
    if note is not None:
        (tmp_path / "todo.output").write_bytes(note)
        options = [str(tmp_path)]
    variables = {key: value for key, value in environment(launcher).items() if key != "TESSPHOT_INPUT"}
    command = [*mpiexec(3, launcher), sys.executable, "-m", "tasoc_mpi.cli", "correct", *options]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    (line,) = lines_of(done)
    assert words in line


@pytest.mark.parametrize("ranks", ["all", "the first", "the last"])
@pytest.mark.parametrize("command", ["run", "prepare"])
def test_an_error_before_the_ranks_have_met(launcher, folder, command, ranks):
    """A log file that cannot be opened, on all nodes or on one: no rank waits for one that has ended."""
    well = [sys.executable, "-m", "tasoc_mpi.cli", command, str(folder)]
    bad = [*well, "--log-file", str(folder / "nowhere" / "log")]
    programs = {"all": [bad, bad], "the first": [bad, well], "the last": [well, bad]}[ranks]
    words = [*mpiexec(2, launcher), *programs[0], ":", "-n", "1", *programs[1]]
    done = subprocess.run(
        words, env=environment(launcher), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    (line,) = lines_of(done)
    assert "log: cannot be written" in line
    assert ("rank 2 ends the run" in line) == (ranks == "the last")


def test_read_only_output(launcher, folder, tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    script = f'mount --bind "{output}" "{output}" && mount -o remount,ro,bind "{output}" && exec "$@"'
    prefix = [*in_namespace(), "sh", "-c", script, "sh"]
    line = refused(launcher, folder, tmp_path, "--output", str(output), prefix=prefix)
    assert f"{output}: not writable" in line


def test_an_older_schema_is_upgraded(launcher, folder, expected):
    make_older(folder / "todo.sqlite")
    done = launch(PROGRAM, str(folder), ranks=3, launcher=launcher)
    assert done.returncode == 0, done.stderr
    found = content(folder)
    for name in ("todolist", "skipped", "tables", "version", "files"):
        assert found[name] == expected[name], name


@pytest.mark.parametrize("stars", [1, 2])
def test_more_ranks_than_stars(launcher, tmp_path, stars):
    make_input(tmp_path / "few", stars)
    done = launch(PROGRAM, str(tmp_path / "few"), ranks=5, launcher=launcher)
    assert done.returncode == 0, done.stderr
    make_input(tmp_path / "alone", stars)
    assert call([str(tmp_path / "alone")]) == 0
    assert content(tmp_path / "few") == content(tmp_path / "alone")


def test_stars_without_a_cube_are_errors_and_the_others_are_as_they_were(
    launcher,
    real_blank,
    real_expected,
    tmp_path,
):
    folder = fresh(real_blank, tmp_path, link=True)
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        count = conn.execute(
            "INSERT INTO todolist (priority, starid, sector, datasource, camera, ccd, cadence, tmag)"
            " SELECT priority + 10000, starid, sector, datasource, camera, 3, cadence, tmag FROM todolist"
            " WHERE datasource = 'ffi' LIMIT 12"
        ).rowcount
    assert count == 12
    done = launch(PROGRAM, str(folder), "--batch", "2", **REAL, ranks=3, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no sector001_camera1_ccd3.hdf5") == 1
    found = content(folder)
    added = {row[0]: row for row in found["todolist"] if row[0] > 10000}
    assert len(added) == count
    assert {row[9] for row in added.values()} == {2}
    errors = [row[-1] for row in found["diagnostics"] if row[0] in added]
    assert len(errors) == count
    assert all("sector001_camera1_ccd3.hdf5: no such cube" in text and "\n" not in text for text in errors)
    for name in ("todolist", "diagnostics"):
        found[name] = [row for row in found[name] if row[0] not in added]
    assert found == real_expected


def run_on_small_disk(launcher: str, prefix: list[str], settings: dict, **variables: str) -> dict:
    """See `full_disk`; what is true wherever the disk fills up. The line says what it is that is full."""
    done = subprocess.run(
        [
            *prefix,
            sys.executable,
            str(Path(__file__).parents[1] / "helpers" / "full_disk.py"),
            json.dumps(settings),
        ],
        env={**environment(launcher), **variables},
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["first"] == 1, found
    lines = [line for line in found["said"].splitlines() if "error: " in line]
    assert len(lines) == 1, found["said"]
    assert settings["disk"] in lines[0]
    assert any(words in lines[0] for words in ("the disk is full", "No space left on device", "make room"))
    assert "Traceback" not in found["said"]
    assert found["integrity"] == [["ok"]]
    assert found["second"] == 0, found["said_then"]
    return found


@pytest.mark.parametrize(("ranks", "lightcurves"), [(1, 0), (1, 40), (3, 0), (3, 1), (3, 70)])
def test_a_full_disk_under_the_work_list(
    launcher,
    blank,
    expected,
    tmp_path,
    ranks,
    lightcurves,
):
    """From the beginning, or while the run goes on: what was written is whole, and the next run goes on."""
    prefix = in_namespace()
    source = fresh(blank, tmp_path)
    disk, output = tmp_path / "disk", source / "output"
    disk.mkdir()
    program = [*PROGRAM, str(disk), "--output", str(output), "--batch", "4"]
    settings = {
        "todo": str(source / "todo.sqlite"),
        "disk": str(disk),
        "size": 1 << 20,
        "output": str(output),
        "command": [*mpiexec(ranks, launcher if ranks > 1 else None), *program],
        "lightcurves": lightcurves,
    }
    statuses = tmp_path / "statuses"
    statuses.mkdir()
    found = run_on_small_disk(
        launcher, prefix, settings, RUN_PROGRAM_SECONDS="0.04", MPI_PROGRAM_STATUS=str(statuses)
    )
    if lightcurves > 1:
        # Not from the beginning.
        assert not found["said_then"].startswith("INFO: 150 stars")
    assert {path.suffix for path in statuses.iterdir()} <= {".0", ".1"}
    assert content(source) == expected
    assert not [path for path in os.listdir(source) if path.startswith(".")]


@pytest.mark.parametrize(
    ("ranks", "lightcurves", "options"), [(1, 9, []), (3, 0, []), (3, 9, []), (3, 1, ["--packed"])]
)
def test_a_full_disk_under_the_light_curves(
    launcher,
    real_blank,
    real_expected,
    tmp_path,
    ranks,
    lightcurves,
    options,
):
    """The same with the package's photometry: no part of a file, and in the end what there would be."""
    prefix = in_namespace()
    source, disk = fresh(real_blank, tmp_path, link=True), tmp_path / "disk"
    disk.mkdir()
    program = [*PROGRAM, str(source), "--output", str(disk / "output"), *options]
    settings = {
        "todo": str(source / "todo.sqlite"),
        "disk": str(disk),
        "size": 1 << 24,
        "output": str(disk / "output"),
        "command": [*mpiexec(ranks, launcher if ranks > 1 else None), *program, "--batch", "2"],
        "lightcurves": lightcurves,
        "keep": str(source / "output"),
    }
    run_on_small_disk(launcher, prefix, settings, **REAL)
    if options:
        assert cli.main(["--quiet", "unpack", str(source / "output")]) == 0
        shutil.rmtree(source / "output" / "packed")
    found = content(source)
    assert found.pop("files") == real_expected["files"]
    names = ("todolist", "skipped", "tables", "version")
    assert {name: found[name] for name in names} == {name: real_expected[name] for name in names}
