"""The command prf: its file, however many ranks make it and wherever it was ended; and what it refuses."""

import os
import sqlite3
import sys

import h5py
import numpy as np
import pytest
from mpi_launch import launch

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.ranks import Ranks
from tasoc_mpi.cubes import make_prf
from tasoc_mpi.cubes.make_prf import divide_frames
from tasoc_mpi.models import fit_prf
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.prf_file import read_prf

NAME = "prf_sector001_camera1_ccd1.hdf5"
CUBE = "sector001_camera1_ccd1.hdf5"


@pytest.fixture(autouse=True)
def _no_prf_folder(monkeypatch):
    monkeypatch.delenv("TESSPHOT_PRF", raising=False)


@pytest.fixture
def folder(simulated, tmp_path):
    return simulated.copy(tmp_path)


@pytest.fixture(scope="module")
def made(simulated, tmp_path_factory):
    """The bytes that one process makes."""
    folder = simulated.copy(tmp_path_factory.mktemp("made"))
    assert cli.main(["--quiet", "prf", str(folder)]) == 0
    assert not list(folder.glob(".prf*"))
    return (folder / NAME).read_bytes()


def test_any_number_of_ranks_make_the_same(folder, made):
    done = launch([sys.executable, "-m", "tasoc_mpi.cli", "prf"], str(folder), ranks=2)
    assert done.returncode == 0, done.stderr
    assert (folder / NAME).read_bytes() == made


def test_file_describes_the_response(folder, made, capsys):
    (folder / NAME).write_bytes(made)
    prf = read_prf(folder / NAME)
    assert (prf.sector, prf.camera, prf.ccd) == (1, 1, 1)
    assert len(prf.epochs) == len(prf.segments) == len(prf.inside) == 1
    assert (prf.stars >= fit_prf.MIN_STARS).all()
    # The simulated response is the analytic model, all of whose light is within the table.
    assert prf.inside[0] == pytest.approx(1, abs=0.01)
    assert prf.scatter[0] < 0.02
    # It is not made again.
    assert cli.main(["--quiet", "prf", str(folder)]) == 0
    assert (folder / NAME).read_bytes() == made


def test_finished_epochs_are_kept(folder, made, monkeypatch):
    part = make_prf._part(folder, (1, 1, 1), 0)
    part.parent.mkdir()
    part.write_bytes(made)
    os.utime(part)
    (part.parent / "notes.txt").write_text("mine")
    monkeypatch.setattr(make_prf, "_fit_epoch", None)
    make_prf.make_prfs(folder, Ranks())
    assert (folder / NAME).read_bytes() == made
    # The program deletes its own files only.
    assert [path.name for path in part.parent.iterdir()] == ["notes.txt"]


def test_epoch_of_an_older_cube_does_not_count(folder):
    part = make_prf._part(folder, (1, 1, 1), 0)
    assert not make_prf._is_current(folder, (1, 1, 1), part)
    part.parent.mkdir()
    part.write_bytes(b"")
    assert make_prf._is_current(folder, (1, 1, 1), part)
    os.utime(part, (0, 0))
    assert not make_prf._is_current(folder, (1, 1, 1), part)


def test_frames_are_divided_at_gaps_and_into_orbits(folder):
    cube = open_cube(folder / CUBE)
    time = np.concatenate([np.arange(0, 13, 0.02), np.arange(14, 41, 0.02), [50.0, 50.02]])
    n = len(time)
    changed = dict(cube.__dict__, time=time, quality=np.zeros(n, dtype="i4"), warpmode="translation")
    changed["quality"][5] = 8
    epochs, segments, spans = divide_frames(
        type(cube)(**{k: v for k, v in changed.items() if k in cube.__annotations__})
    )
    assert segments.tolist() == [0, 1, 1]
    np.testing.assert_allclose(spans, [[0, 12.98], [14, 40.98]])
    assert 5 not in np.concatenate(epochs)
    assert sum(map(len, epochs)) == n - 3


def test_too_few_stars_are_refused_in_a_line(folder, capsys):
    with sqlite3.connect(folder / "catalog_sector001_camera1_ccd1.sqlite") as conn:
        conn.execute("DELETE FROM catalog WHERE tmag > 11")
    conn.close()
    assert cli.main(["prf", str(folder)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "stars are bright enough for the pixel response, 30 are needed" in line
    assert CUBE in line
    assert not (folder / NAME).exists()
    # Epochs that are left would look like a response that is only unfinished.
    assert not list(folder.glob(".prf*"))


def test_no_cube_or_a_corrupt_response(folder, capsys):
    assert cli.main(["prf", str(folder), "--camera", "2"]) == 1
    assert "no cube of a chosen CCD in it; `tasoc-mpi prepare` makes them" in capsys.readouterr().err
    (folder / NAME).write_bytes(b"nothing")
    assert cli.main(["prf", str(folder)]) == 1
    assert "remove it and run tasoc-mpi prf" in capsys.readouterr().err


def test_frames_that_are_all_bad(folder):
    with h5py.File(folder / CUBE, "r+") as file:
        file["quality"][:] = 8
    with pytest.raises(InputError, match="0 frames of good quality, the pixel response needs 8"):
        make_prf.make_prfs(folder, Ranks())
