"""The real programs on a simulated CCD: the same light curves on any number of ranks."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from mpi_launch import mpiexec
from run_program import content, fresh
from todo_rows import load_todo

from tasoc_mpi import cli
from tasoc_mpi.worklist.run_record import read_records


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    """A CCD's input, with a work list in which nothing is done."""
    folder = tmp_path_factory.mktemp("simulated") / "input"
    size = ["--frames", "40", "--rows", "80", "--columns", "80", "--tpfs", "2", "--density", "4"]
    assert cli.main(["--quiet", "simulate", str(folder), *size]) == 0
    assert cli.main(["--quiet", "prepare", str(folder)]) == 0
    assert cli.main(["--quiet", "todo", str(folder)]) == 0
    return folder


def command(ranks: int, folder: Path, *options: str) -> list[str]:
    return [*mpiexec(ranks), sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "run", str(folder), *options]


def result(folder: Path) -> dict:
    """Everything that a run leaves behind, without the time at which a file was made."""
    found = content(folder)
    found["files"] = {name: _timeless(folder / "output" / name) for name in found["files"]}
    return found


def _timeless(path: Path) -> list:
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        return [
            (
                [
                    card.image
                    for card in hdu.header.cards
                    if card.keyword not in ("DATE", "CHECKSUM", "DATASUM")
                ],
                None if hdu.data is None else hdu.data.tobytes(),
            )
            for hdu in hdus
        ]


@pytest.fixture(scope="module")
def expected(blank, tmp_path_factory) -> dict:
    """What one process makes of it."""
    folder = fresh(blank, tmp_path_factory.mktemp("expected"), link=True)
    subprocess.run(command(1, folder), timeout=200, check=True)
    found = result(folder)
    status = np.array([row[9] for row in found["todolist"]])
    assert (status == 1).sum() > 20
    assert (status == 5).sum() > 0
    assert not (status == 2).any()
    assert {row[3].partition(":")[0] for row in found["todolist"]} == {"ffi", "tpf"}
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("ranks", "batch"), [(1, "1"), (2, "100"), (3, "1")])
def test_same_light_curves_on_any_number_of_ranks(blank, expected, tmp_path, ranks, batch):
    folder = fresh(blank, tmp_path, link=True)
    subprocess.run(command(ranks, folder, "--batch", batch), timeout=200, check=True)
    assert result(folder) == expected
    (record,) = read_records(folder / "output")
    workers = record["by_rank"]
    assert workers["rank"] == list(range(1, ranks)) or ranks == 1
    assert sum(workers["stars"]) == record["computed"] >= len(expected["files"])
    # Two interpreters with numpy; the pages of the cube do not count.
    assert all(3e7 < memory < 2e9 for memory in workers["memory"])
    assert sum(record["timeline"]["stars"]) == record["computed"]
    assert sum(record["stages"].values()) < 200


@pytest.mark.timeout(300)
def test_same_light_curves_after_a_kill(blank, expected, tmp_path):
    """One process, killed when some of its light curves are there."""
    folder = fresh(blank, tmp_path, link=True)
    with subprocess.Popen(command(1, folder, "--batch", "2")) as run:
        while run.poll() is None and len(list((folder / "output").rglob("*.fits.gz"))) < 5:
            time.sleep(0.002)
        run.kill()
    assert run.returncode == -signal.SIGKILL
    assert (load_todo(folder / "todo.sqlite")["status"] == 0).any()
    subprocess.run(command(3, folder), timeout=200, check=True)
    assert result(folder) == expected


@pytest.mark.timeout(300)
def test_stars_without_a_cube_are_errors_with_the_reason(blank, tmp_path, capfd):
    folder = fresh(blank, tmp_path, link=True)
    (folder / "sector001_camera1_ccd1.hdf5").unlink()
    (folder / "catalog_sector001_camera1_ccd1.sqlite").unlink()
    # Most stars are of the cube.
    assert subprocess.run(command(1, folder), timeout=200, check=False).returncode == 1
    said = capfd.readouterr()
    assert said.err.count("no sector001_camera1_ccd1.hdf5") == 1
    assert said.err.count("no catalog_sector001_camera1_ccd1.sqlite") == 1
    assert "computed rows have a light curve" in said.err
    assert "sector001_camera1_ccd1.hdf5" in said.out[said.out.index("failures and warnings by cause") :]
    found = content(folder)
    source = {row[0]: row[3] for row in found["todolist"]}
    failed = [row for row in found["todolist"] if row[9] == 2]
    assert {row[0] for row in failed} >= {row[0] for row in found["todolist"] if row[3] == "ffi"}
    errors = [row[-1] for row in found["diagnostics"] if source[row[0]] == "ffi"]
    assert errors
    assert all("sector001_camera1_ccd1.hdf5" in text and "\n" not in text for text in errors)
