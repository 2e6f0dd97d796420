"""`tasoc-mpi correct`: what it writes, alone, under MPI, after kills, and of bad input."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path

import faulty_correction
import numpy as np
import pytest
from astropy.io import fits
from mpi_launch import environment, mpiexec
from run_program import content, everything_below, fresh, kill_at
from unprivileged import unprivileged
from vectors_of_run import write_vectors_of_run

import tasoc_mpi
from tasoc_mpi import cli, tessphot
from tasoc_mpi.commands import correct
from tasoc_mpi.commands import run as run_command
from tasoc_mpi.core.methods import CORRECTION_METHODS
from tasoc_mpi.correction.corrected_star import correct_star
from tasoc_mpi.products.packed import pack_writer
from tasoc_mpi.products.replacements import replacements
from tasoc_mpi.report.results import read_curve, read_run
from tasoc_mpi.scheduler.taskmanager import TaskManager

COLUMNS = "priority, lightcurve, status, method_used, variance, rms_hour, ptp, overfitting, vectors, errors"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The input folder of a run, with vectors, before the correction."""
    folder = tmp_path_factory.mktemp("run") / "input"
    size = ["--frames", "80", "--rows", "60", "--columns", "60", "--tpfs", "1", "--density", "3"]
    for options in (["simulate", *size], ["prepare"], ["todo"]):
        assert cli.main(["--quiet", options[0], str(folder), *options[1:]]) == 0
    assert photometry(folder) == 0
    shutil.rmtree(folder / "ffi")
    write_vectors_of_run(folder)
    return folder


@pytest.fixture(scope="module")
def expected(run, tmp_path_factory) -> dict:
    """Everything after an undisturbed correction in this process."""
    folder = fresh(run, tmp_path_factory.mktemp("expected"))
    assert call(folder) == 0
    return after(folder)


def call(folder: Path, *options: str, command=correct, function=correct_star) -> int:
    """`tasoc-mpi correct`; without a compute process unless `function` is a name."""
    for cached in (pack_writer, replacements):
        cached.cache_clear()
    name, original = command.__name__.rpartition(".")[2], command.main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "COMMANDS", (name,))
        patch.setattr(command, "main", lambda args: original(args, function))
        return cli.main(["--quiet", name, str(folder), *options])


def photometry(folder: Path, *options: str) -> int:
    """`tasoc-mpi run` without a compute process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        return call(folder, *options, command=run_command, function=tessphot)


def corrections(folder: Path) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
        return conn.execute(f"SELECT {COLUMNS} FROM diagnostics_corr ORDER BY priority").fetchall()


def after(folder: Path) -> dict:
    """Everything that a correction leaves behind, times aside."""
    found = content(folder)
    found["files"] = {
        name: data
        for name, data in found["files"].items()
        if "results-corr" not in name and not name.endswith(".lock")
    }
    return found | {"corrections": corrections(folder)}


def lightcurves(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "output").glob("c*/*/*.gz"))}


def test_the_corrected_columns_are_filled_and_nothing_else(run, expected):
    before = content(run)
    assert {key: expected[key] for key in ("todolist", "skipped", "diagnostics", "version")} == {
        key: before[key] for key in ("todolist", "skipped", "diagnostics", "version")
    }
    assert len(expected["corrections"]) > 15
    for _, name, status, method, variance, *_, vectors, errors in expected["corrections"]:
        assert (status, method, errors) == (1, CORRECTION_METHODS[0], None)
        assert 0 <= vectors <= 3
        with (
            fits.open(run / "output" / name) as old,
            fits.open(io.BytesIO(gzip.decompress(expected["files"][name])), checksum=True) as new,
        ):
            rows = new["LIGHTCURVE"].data
            good = (rows["QUALITY"] == 0) & (rows["PIXEL_QUALITY"] == 0)
            assert np.isfinite(rows["FLUX_CORR"][good]).all()
            relative = 1 + 1e-6 * rows["FLUX_CORR"][good]
            assert np.var(relative / np.median(relative), ddof=1) == pytest.approx(variance, rel=0.1)
            assert new["LIGHTCURVE"].header["CBV_NUM"] == vectors
            for column in old["LIGHTCURVE"].columns.names:
                if column not in ("FLUX_CORR", "FLUX_CORR_ERR", "QUALITY"):
                    assert rows[column].tobytes() == old["LIGHTCURVE"].data[column].tobytes()
            for hdu in ("PRIMARY", "SUMIMAGE", "APERTURE"):
                assert str(new[hdu].header) == str(old[hdu].header)


def test_a_second_correction_gives_the_same_bytes(run, expected, tmp_path, capfd):
    folder = fresh(run, tmp_path)
    assert call(folder) == 0
    done = everything_below(folder)
    assert call(folder) == 0
    assert "Nothing to do" in capfd.readouterr().out
    assert everything_below(folder) == done
    assert call(folder, "--overwrite") == 0
    assert after(folder) == expected


@pytest.mark.timeout(120)
def test_same_result_on_three_ranks(run, expected, tmp_path):
    folder = fresh(run, tmp_path)
    program = [sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "correct", str(folder), "--batch", "3"]
    done = subprocess.run(
        [*mpiexec(3), *program], env=environment(), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert after(folder) == expected


@pytest.mark.timeout(200)
def test_a_run_makes_vectors_and_corrects(run, tmp_path, monkeypatch):
    """On two ranks and of a work list elsewhere, with the result of one command after the other."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    folder = fresh(run, tmp_path / "one")
    shutil.rmtree(folder / "output" / "cbv")
    assert cli.main(["--quiet", "cbv", str(folder)]) == 0
    assert call(folder) == 0
    other = fresh(run, tmp_path / "other")
    shutil.rmtree(other / "output")
    todo = shutil.move(other / "todo.sqlite", tmp_path / "list.sqlite")
    where = ["--todo", str(todo), "--output", str(other / "output")]
    program = [sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "run", str(other), "--correct", *where]
    done = subprocess.run(
        [*mpiexec(2), *program], env=environment(), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    shutil.move(todo, other / "todo.sqlite")
    found, other = after(folder), after(other)
    assert found["files"].keys() == other["files"].keys()
    assert [name for name in found["files"] if found["files"][name] != other["files"][name]] == []
    assert found == other
    # Too few stars for vectors at 120 s: those of the images are subtracted.
    short = [row for row in found["corrections"] if "c0120" in row[1]]
    assert short
    for _, name, status, *_, vectors, errors in short:
        assert (status, errors) == (1, None)
        assert vectors > 0
        assert (fits.getdata(folder / "output" / name, "LIGHTCURVE")["QUALITY"] == 128).all()


def test_a_run_of_some_stars_corrects_nothing(run, capfd):
    assert cli.main(["--quiet", "run", str(run), "--correct", "--starid", "1"]) == 2
    assert "error: --correct " in capfd.readouterr().err


@pytest.mark.parametrize("step", [1, 4, 8, 13, 21, 45])
def test_same_result_after_a_kill_at_any_step(run, expected, tmp_path, step):
    folder = fresh(run, tmp_path)
    raw = lightcurves(folder)
    with warnings.catch_warnings():
        # Of idle threads of numerical libraries; the child uses none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        kill_at(step)
        os._exit(call(folder, "--batch", "4"))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    corrected = {Path(name).name: data for name, data in expected["files"].items()}
    for name, data in lightcurves(folder).items():
        assert data in (raw[name], corrected[name])
    assert call(folder) == 0
    assert after(folder) == expected


def test_packed_light_curves_go_to_a_new_pack(run, expected, tmp_path, monkeypatch, capfd):
    folder = fresh(run, tmp_path)
    shutil.rmtree(folder / "output")
    shutil.copytree(run / "output" / "cbv", folder / "output" / "cbv")
    todo = folder / "todo.sqlite"
    assert photometry(folder, "--packed", "--datasource", "ffi") == 0
    raw = set((folder / "output" / "packed").iterdir())
    usage = type(shutil.disk_usage(folder))
    # The new pack is announced, and refused where there is no room for it.
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
        assert call(folder, "--datasource", "ffi", "--partial") == 1
    line = capfd.readouterr().err
    assert re.search(r"packs of corrected light curves, .*: some .* needed, 1 kB free; make room in", line)
    assert set((folder / "output" / "packed").iterdir()) == raw
    assert call(folder, "--datasource", "ffi", "--partial") == 0
    packs = set((folder / "output" / "packed").iterdir())
    assert raw < packs
    for _ in range(2):
        assert cli.main(["--quiet", "publish", str(folder)]) == 0
    assert set((folder / "output" / "packed").iterdir()) == packs
    names = [row[1] for row in corrections(folder)]
    assert {name.partition("#")[0] for name in names} == {f"packed/{path.name}" for path in packs - raw}
    assert cli.main(["--quiet", "unpack", str(folder / "output"), "--todo", str(todo)]) == 0
    for name, data in lightcurves(folder).items():
        assert data == next(d for n, d in expected["files"].items() if n.endswith(name))
    # The unpacked files stay when the results are published.
    found = lightcurves(folder)
    assert cli.main(["--quiet", "publish", str(folder)]) == 0
    assert found
    assert lightcurves(folder) == found


def test_a_new_light_curve_loses_its_correction(run, expected, tmp_path):
    folder = fresh(run, tmp_path)
    assert call(folder) == 0
    star = expected["todolist"][0][1]
    with pytest.MonkeyPatch.context() as patch:
        # The clock of the second run is years behind that of the correction.
        patch.setattr(time, "time", lambda: 1e9)
        assert photometry(folder, "--overwrite", "--starid", str(star), "--datasource", "ffi") == 0
    missing = set(expected["corrections"]) - set(corrections(folder))
    assert {expected["todolist"][row[0] - 1][1] for row in missing} == {star}
    assert call(folder) == 0
    assert after(folder) == expected


def test_other_vectors_and_methods_are_used_and_touched_files_are_not(run, tmp_path, capfd):
    folder = fresh(run, tmp_path)
    assert call(folder) == 0
    first = corrections(folder)
    for vectors in (folder / "output" / "cbv").iterdir():
        shutil.copyfile(vectors, tmp_path / vectors.name)
        os.replace(tmp_path / vectors.name, vectors)
        os.utime(vectors, (4e9, 4e9))
    capfd.readouterr()
    assert call(folder) == 0
    assert "Nothing to do" in capfd.readouterr().out
    (path,) = [path for path in write_vectors_of_run(folder, count=2) if "c1800" in path.name]
    # Older than the corrections.
    os.utime(path, (1e9, 1e9))
    assert call(folder) == 0
    assert {row[-2] for row in corrections(folder) if "c1800" in row[1]} <= {0, 1, 2}
    assert max(row[-2] for row in first) == 3
    assert call(folder, "--method", "cbv") == 0
    assert {row[3] for row in corrections(folder)} == {"cbv"}
    path.unlink()
    assert call(folder) == 0
    for row in corrections(folder):
        if "c1800" in row[1]:
            assert row[2] == 3
            assert "no vectors of area" in row[-1]
            # The bytes of the photometry.
            assert (folder / "output" / row[1]).read_bytes() == (run / "output" / row[1]).read_bytes()
    write_vectors_of_run(folder)
    assert call(folder) == 0
    assert {row[2] for row in corrections(folder)} == {1}


def test_target_pixel_files_take_the_vectors_of_images_until_they_have_their_own(run, expected, tmp_path):
    folder = fresh(run, tmp_path)
    (own,) = (folder / "output" / "cbv").glob("*-c0120-*")
    (image,) = (folder / "output" / "cbv").glob("*-c1800-*")
    own.unlink()
    assert call(folder) == 0
    short = [row for row in corrections(folder) if "c0120" in row[1]]
    assert short
    for _, name, status, method, *_, errors in short:
        assert (status, method, errors) == (1, CORRECTION_METHODS[0], None)
        path = folder / "output" / name
        table, cards = fits.getdata(path, "LIGHTCURVE"), fits.getheader(path, "LIGHTCURVE")
        alone = tasoc_mpi.correct(run / "output" / name, image)
        assert np.array_equal(table["FLUX_CORR"], alone.flux, equal_nan=True)
        assert np.isfinite(alone.flux).mean() > 0.7
        assert np.array_equal(table["QUALITY"] == 128, np.isfinite(alone.flux))
        assert (cards["CBV_AREA"], cards["CBV_MAX"]) == (alone.area, 3)
    images = [row for row in expected["corrections"] if "c1800" in row[1]]
    assert [row for row in corrections(folder) if "c1800" in row[1]] == images
    shutil.copy(run / "output" / "cbv" / own.name, own)
    os.utime(own)
    assert call(folder) == 0
    assert after(folder) == expected


def test_a_damaged_light_curve_is_an_error_of_its_star(run, expected, tmp_path):
    folder = fresh(run, tmp_path)
    rows = expected["corrections"]
    good = (folder / "output" / rows[0][1]).read_bytes()
    damaged = {
        rows[0][1]: good[:-100],
        rows[1][1]: gzip.compress(gzip.decompress(good).replace(b"'FLUX_CORR'", b"'FLUX_CURR'"), mtime=0),
        rows[2][1]: b"",
        rows[4][1]: (folder / "output" / rows[5][1]).read_bytes(),
    }
    for name, data in damaged.items():
        (folder / "output" / name).write_bytes(data)
    (folder / "output" / rows[3][1]).unlink()
    assert call(folder) == 0
    found = corrections(folder)
    words = ("not a whole light curve", "no column FLUX_CORR", "no table LIGHTCURVE", "no such light curve")
    words += ("unlike its name",)
    for row, old, word in zip(found, rows, words, strict=False):
        assert row[1:3] == (None, 2)
        assert word in row[-1]
        assert old[1] in row[-1]
        assert len(row[-1].splitlines()) == 1
    for name, data in damaged.items():
        assert (folder / "output" / name).read_bytes() == data
    assert found[5:] == rows[5:]


def test_fewer_than_half_of_the_light_curves_are_no_success(run, expected, tmp_path, capfd):
    folder = fresh(run, tmp_path)
    rows = expected["corrections"]
    lost = len(rows) // 2 + 1
    for row in rows[:lost]:
        (folder / "output" / row[1]).unlink()
    assert call(folder) == 1
    said = capfd.readouterr().err
    assert f"only {len(rows) - lost} of the {len(rows)} chosen light curves could be corrected" in said
    assert corrections(folder)[lost:] == rows[lost:]
    # Nothing is left to do: the second start has not failed.
    assert call(folder) == 0


@pytest.mark.timeout(120)
def test_a_star_that_crashes_is_isolated(run, expected, tmp_path, monkeypatch):
    folder = fresh(run, tmp_path)
    starid = expected["todolist"][expected["corrections"][5][0] - 1][1]
    monkeypatch.setenv("FAULTY_STARS", str(starid))
    assert call(folder, function=faulty_correction.NAME) == 0
    rows = {row[0] for row in expected["todolist"] if row[1] == starid}
    found = corrections(folder)
    assert [row for row in found if row[0] not in rows] == [
        row for row in expected["corrections"] if row[0] not in rows
    ]
    crashed = [row for row in found if row[0] in rows]
    assert crashed
    for _, name, status, *_, errors in crashed:
        assert (name, status) == (None, 4)
        assert "SIGSEGV" in errors
    names = [row[1] for row in expected["corrections"] if row[0] in rows]
    for name in names:
        assert (folder / "output" / name).read_bytes() == (run / "output" / name).read_bytes()
    assert not list((folder / "output").rglob(".*.tmp"))
    # It is done, and is not tried again ...
    assert call(folder) == 0
    assert corrections(folder) == found
    # ... but with other vectors it is.
    write_vectors_of_run(folder, count=2)
    assert call(folder) == 0
    assert {row[2] for row in corrections(folder)} == {1}


def broken(folder: Path, how: str) -> list[str]:
    """Bring an input folder into a state that is refused; returns options of the command."""
    output = folder / "output"
    if how == "no vectors":
        shutil.rmtree(output / "cbv")
    elif how == "other vectors":
        write_vectors_of_run(folder, sector=2)
    elif how == "other cadence":
        write_vectors_of_run(folder, cadence=600)
    elif how == "damaged vectors":
        next((output / "cbv").glob("*c1800*")).write_bytes(b"no HDF5")
    elif how == "no results":
        shutil.rmtree(output / "results")
    elif how == "no folder":
        return ["--output", str(folder / "elsewhere")]
    elif how == "version":
        return ["--version", "7"]
    elif how == "no star":
        return ["--tmag-max", "-5"]
    return []


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no vectors", "no vectors of the 2 area.s. of the light curves .*`tasoc-mpi cbv`"),
        ("other vectors", "cbv-s0001-.*hdf5: .*holds vectors of sector 2 and not 1"),
        ("other cadence", "cbv-s0001-.*hdf5: .*holds vectors of cadence 600 and not"),
        ("damaged vectors", "cbv-s0001-c1800-.*hdf5: "),
        ("no results", r"run is not finished on s001-1-1 .\d+ stars to do.; finish it .*--partial"),
        ("no folder", "elsewhere: no such folder"),
        ("version", "no light curves of version 7, but of 6; name another"),
        ("no star", "none of its .* rows fulfils the filters"),
    ],
)
def test_bad_input_is_one_line_and_changes_no_light_curve(run, tmp_path, capfd, how, message):
    folder = fresh(run, tmp_path)
    options = broken(folder, how)
    before = lightcurves(folder)
    assert call(folder, *options) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.match(f"tasoc-mpi correct: error: .*{message}", lines[0]), lines
    if how != "no results":
        assert lightcurves(folder) == before


def test_a_run_that_is_not_finished(run, expected, tmp_path, capfd):
    folder = fresh(run, tmp_path)
    shutil.rmtree(folder / "output" / "results")
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
        magnitudes = [tmag for (tmag,) in conn.execute("SELECT tmag FROM todolist ORDER BY tmag")]
    limit = str(magnitudes[len(magnitudes) // 3])
    assert photometry(folder, "--tmag-max", limit) == 0
    assert call(folder) == 1
    assert "the run is not finished on s001-1-1" in capfd.readouterr().err
    assert call(folder, "--partial") == 0
    assert 0 < len(corrections(folder)) < len(expected["corrections"])


def test_light_curves_of_two_versions(run, tmp_path, capfd):
    """While the ones of a run are replaced by those of another version."""
    folder = fresh(run, tmp_path)
    with TaskManager(folder, version=7, overwrite=True) as manager:
        task = manager.get_task(datasource="ffi")
        where = {key: task[key] for key in ("starid", "sector", "camera", "ccd", "datasource")}
        with contextlib.closing(
            tessphot(input_folder=folder, output_folder=folder / "output", version=7, **where)
        ) as star:
            details = {"filepath_lightcurve": star.save_lightcurve()}
        result = {"priority": task["priority"], "status": 1, "method_used": "aperture", "details": details}
        manager.save_result(result)
    assert call(folder, "--partial") == 1
    assert "light curves of the versions 6, 7; finish the run" in capfd.readouterr().err
    assert call(folder, "--partial", "--version", "7") == 0
    assert ["-v07-tasoc" in row[1] for row in corrections(folder)] == [True]


def test_a_run_under_way_is_named(run, tmp_path, capfd):
    folder = fresh(run, tmp_path)
    log = folder / "output" / "results" / "s001-1-1.log"
    program = (
        "import sys, time; from tasoc_mpi.core.locks import exclusive\n"
        f"with exclusive({str(log)!r}): print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline()
        try:
            assert call(folder) == 1
        finally:
            other.kill()
    assert f"process {other.pid}" in capfd.readouterr().err
    assert call(folder) == 0


@unprivileged
def test_an_output_that_cannot_be_written(run, tmp_path, capfd):
    folder = fresh(run, tmp_path)
    os.chmod(folder / "output", 0o555)
    try:
        assert call(folder) == 1
    finally:
        os.chmod(folder / "output", 0o755)
    line, *more = capfd.readouterr().err.splitlines()
    assert not more
    assert "cannot be written" in line


def test_a_full_disk_ends_it_and_leaves_whole_files(run, expected, tmp_path, monkeypatch, capfd):
    folder = fresh(run, tmp_path)
    raw = lightcurves(folder)
    written = []

    def full(path, *args):
        written.append(path)
        if len(written) > 5:
            raise OSError(28, "No space left on device", path)
        return write_beside(path, *args)

    from tasoc_mpi.products import replacements as module

    write_beside = module.write_beside
    monkeypatch.setattr(module, "write_beside", full)
    assert call(folder, "--batch", "3") == 1
    monkeypatch.undo()
    assert "No space left on device; make room and run again" in capfd.readouterr().err
    corrected = {Path(name).name: data for name, data in expected["files"].items()}
    found = lightcurves(folder)
    assert all(data in (raw[name], corrected[name]) for name, data in found.items())
    assert call(folder) == 0
    assert after(folder) == expected


def test_status_summary_and_pictures_show_it(run, expected, tmp_path, capsys):
    folder = fresh(run, tmp_path)
    for name in ("status", "summary"):
        assert cli.main(["--quiet", name, str(folder)]) == 0
    before = capsys.readouterr().out
    assert "correct" not in before
    assert call(folder) == 0
    capsys.readouterr()
    assert cli.main(["--quiet", "status", str(folder)]) == 0
    count = len(expected["corrections"])
    assert f"corrections: {count} OK\n" in capsys.readouterr().out
    assert cli.main(["--quiet", "summary", str(folder), "--pictures"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"1-h noise +16% +84% +corrected +expected", text)
    run_read = read_run(folder)
    for star in run_read.stars[:3]:
        curve = read_curve(run_read.file(star))
        assert np.isfinite(curve.corrected).sum() > 40
    assert (folder / "output" / "lightcurves.png").stat().st_size > 10_000
