"""Import of the TASOC pipeline's HDF5 files: every value as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from foreign_files import ATTRIBUTES, header, pixels, write_tasoc

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.cubes.prepare import PrepareOptions
from tasoc_mpi.imports.convert import import_file
from tasoc_mpi.products.cube import open_cube

SHAPE = (70, 90)
NAME = "sector030_camera1_ccd2.hdf5"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "tasoc"
    folder.mkdir()
    return folder / NAME


def test_every_value_bit_for_bit(tmp_path: Path, source: Path) -> None:
    values = pixels(21, SHAPE)
    arrays = write_tasoc(source, values, no_wcs=(4,), warpmode="affine")
    assert cli.main(["--quiet", "import", str(tmp_path), str(source)]) == 0
    cube = open_cube(tmp_path / NAME)
    stored = {
        "images": cube.images,
        "images_err": cube.images_err,
        "pixel_flags": cube.pixel_flags,
        "backgrounds": cube.background.stamp(0, SHAPE[0], 0, SHAPE[1]),
    }
    for name, array in stored.items():
        assert array.dtype == values[name].dtype
        assert array.tobytes() == np.ascontiguousarray(np.moveaxis(values[name], 0, -1)).tobytes(), name
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(cube, name), array, err_msg=name)
    assert cube.warpmode == "affine"
    assert dict(cube.attributes) == ATTRIBUTES
    assert cube.ref_frame == 10
    assert cube.frames[20] == "tess0000000000020-s0030-1-2-0195-s_ffic.fits.gz"
    assert list(np.flatnonzero(~cube.wcs.good)) == [4]
    assert (cube.wcs_headers[4], cube.wcs_headers[5]) == ("", header(5))
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "tasoc"]


def test_positions_are_those_of_astropy(tmp_path: Path, source: Path) -> None:
    write_tasoc(source, pixels(3, SHAPE))
    cube_path = import_file(tmp_path, source, PrepareOptions()).path
    wcs = WCS(fits.Header.fromstring(header(2)))
    column, row = wcs.all_world2pix(60.1, -30.1, 0)
    place = open_cube(cube_path).wcs.positions(60.1, -30.1)[2]
    np.testing.assert_allclose(place, [column, row], atol=1e-4)


def test_background_of_a_mask_is_the_sum_of_its_pixels(tmp_path: Path, source: Path) -> None:
    values = pixels(5, SHAPE)
    write_tasoc(source, values)
    background = open_cube(import_file(tmp_path, source, PrepareOptions()).path).background
    rows, columns = np.array([1, 9, 69]), np.array([0, 9, 89])
    expected = values["backgrounds"][:, rows, columns].sum(axis=1, dtype="f8")
    np.testing.assert_allclose(background.total(rows, columns), expected, rtol=1e-12)
    np.testing.assert_array_equal(background.frame(SHAPE, 3), values["backgrounds"][3])


def test_old_files_with_one_header(tmp_path: Path, source: Path) -> None:
    write_tasoc(source, pixels(4, SHAPE), single_header=True)
    cube = open_cube(import_file(tmp_path, source, PrepareOptions()).path)
    assert cube.wcs.good.all()
    assert set(cube.wcs_headers) == {header()}
    # The good frame closest to the middle; frame 1 is flagged.
    assert cube.ref_frame == 2


@pytest.mark.parametrize("memory", [0.002, 0.0005])
def test_the_same_in_any_pieces(tmp_path: Path, source: Path, memory: float) -> None:
    write_tasoc(source, pixels(21, SHAPE), chunk=8)
    for name in ("large", "small"):
        (tmp_path / name).mkdir()
    one = import_file(tmp_path / "large", source, PrepareOptions()).path
    other = import_file(tmp_path / "small", source, PrepareOptions(memory=memory)).path
    with h5py.File(one) as a, h5py.File(other) as b:
        for name in ("images", "images_err", "pixel_flags", "backgrounds"):
            assert a[name][()].tobytes() == b[name][()].tobytes()


def test_too_little_memory(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tasoc(source, pixels(21, SHAPE))
    assert cli.main(["--quiet", "import", str(tmp_path), str(source), "--memory", "1e-5"]) == 2
    assert "GB are needed" in capsys.readouterr().err


def test_finished_ones_stay(tmp_path: Path, source: Path) -> None:
    write_tasoc(source, pixels(3, SHAPE))
    assert import_file(tmp_path, source, PrepareOptions()).made
    before = (tmp_path / NAME).read_bytes()
    assert not import_file(tmp_path, source, PrepareOptions()).made
    write_tasoc(source, pixels(3, SHAPE, seed=1))
    assert import_file(tmp_path, source, PrepareOptions(overwrite=True)).made
    assert (tmp_path / NAME).read_bytes() != before


KILLER = """
import os, sys
from pathlib import Path
from tasoc_mpi.cubes import partial_cube
from tasoc_mpi.imports import from_tasoc
from tasoc_mpi.cubes.prepare import PrepareOptions
from tasoc_mpi.imports.convert import import_file
name, count = sys.argv[3], int(sys.argv[4])
module = partial_cube if hasattr(partial_cube, name) else from_tasoc
whole, calls = getattr(module, name), [0]
def until(*args):
    calls[0] += 1
    if calls[0] > count:
        os._exit(9)
    return whole(*args)
setattr(module, name, until)
import_file(Path(sys.argv[1]), Path(sys.argv[2]), PrepareOptions(memory=0.0001))
"""


@pytest.mark.parametrize(
    ("name", "count"), [("write_at", 3), ("_sync", 2), ("finish_cube", 0), ("rename_whole", 0)]
)
def test_killed_and_continued(tmp_path: Path, source: Path, name: str, count: int, monkeypatch) -> None:
    from tasoc_mpi.imports import from_tasoc as import_tasoc

    write_tasoc(source, pixels(5, SHAPE), chunk=8)
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = import_file(whole, source, PrepareOptions()).path.read_bytes()
    killed = subprocess.run([sys.executable, "-c", KILLER, str(tmp_path), str(source), name, str(count)])
    assert killed.returncode == 9
    assert not (tmp_path / NAME).exists()
    written = []
    real = import_tasoc.write_at
    monkeypatch.setattr(import_tasoc, "write_at", lambda *args: (written.append(args[1]), real(*args)))
    import_file(tmp_path, source, PrepareOptions(memory=0.0001))
    assert (tmp_path / NAME).read_bytes() == expected
    # 9 blocks of 4 kinds; those that were on the disk are not written again.
    assert len(written) == {"write_at": 36, "_sync": 28}.get(name, 0)
    assert not (tmp_path / (NAME + ".part")).exists()
    assert not (tmp_path / (NAME + ".state")).exists()


def damage(source: Path, how: str) -> None:
    """Make one thing wrong in a file."""
    if how == "truncated":
        source.write_bytes(source.read_bytes()[:-5000])
        return
    with h5py.File(source, "r+") as file:
        if how == "frame":
            del file["images_err/0002"]
        elif how == "group":
            del file["backgrounds"]
        elif how == "type":
            del file["images/0000"]
            file["images/0000"] = np.zeros(SHAPE)
        elif how == "size":
            del file["images/0002"]
            file["images/0002"] = np.zeros((4, 4), dtype="f4")
        elif how == "attribute":
            del file["images"].attrs["CADENCE"]
        elif how == "times":
            del file["timecorr"]
            file["timecorr"] = np.zeros(2)
        elif how == "a time":
            file["time"][0] = 1e38
        elif how == "a correction":
            file["timecorr"][:] = -1e19
        elif how == "wcs":
            for t in range(3):
                file[f"wcs/{t:04d}"][()] = ""
        elif how == "reference":
            file["wcs"].attrs["ref_frame"] = 7
        elif how == "nothing":
            for name in list(file):
                del file[name]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "truncated"),
        ("frame", "2 frames in images_err, but 3 times, 0002 is missing"),
        ("group", "no group backgrounds"),
        ("type", "images is of type float64"),
        ("size", "images/0002 has shape"),
        ("attribute", "no attribute CADENCE"),
        ("times", "timecorr has"),
        ("a time", "time has values over 20000 d"),
        ("a correction", "timecorr has values over 0.1 d"),
        ("wcs", "no frame in it has a WCS"),
        ("reference", "reference frame 7 of 3"),
        ("nothing", "not one of the TASOC pipeline"),
    ],
)
def test_damages_are_named(tmp_path: Path, source: Path, how: str, words: str) -> None:
    write_tasoc(source, pixels(3, SHAPE))
    damage(source, how)
    with pytest.raises(InputError, match=words) as caught:
        import_file(tmp_path, source, PrepareOptions())
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / NAME).exists()


def test_a_file_in_the_place_of_its_cube(tmp_path: Path) -> None:
    write_tasoc(tmp_path / NAME, pixels(3, SHAPE))
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(InputError, match="move it elsewhere"):
        import_file(tmp_path, tmp_path / NAME, PrepareOptions(overwrite=True))
    assert (tmp_path / NAME).read_bytes() == before
    with pytest.raises(InputError, match="tasoc-mpi import"):
        open_cube(tmp_path / NAME)


def test_others_are_imported_though_one_is_damaged(tmp_path: Path, source: Path, caplog) -> None:
    write_tasoc(source, pixels(3, SHAPE))
    bad = source.with_name("bad.hdf5")
    bad.write_bytes(source.read_bytes()[:1000])
    assert cli.main(["import", str(tmp_path), str(bad), str(source)]) == 1
    assert (tmp_path / NAME).exists()
    assert str(bad) in caplog.text


def test_missing_and_foreign_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.fits"
    text.write_text("not a file of pixels")
    for path, words in ((tmp_path / "none.hdf5", "no such file"), (text, "neither HDF5 nor FITS")):
        assert cli.main(["import", str(tmp_path), str(path)]) == 1
        error = capsys.readouterr().err.strip()
        assert error.splitlines()[-1].startswith("tasoc-mpi import: error: ")
        assert words in error


def test_the_same_light_curve_as_from_the_frames(simulated, tmp_path: Path) -> None:
    """A cube of ours in the pipeline's layout, and back: the light curve of a star is the same."""
    from tasoc_mpi import AperturePhotometry
    from tasoc_mpi.worklist.todo_file import open_todo

    name = "sector001_camera1_ccd1.hdf5"
    cube = open_cube(simulated.folder / name)
    frames = range(cube.shape[2])
    values = {
        kind: np.ascontiguousarray(np.moveaxis(getattr(cube, kind), -1, 0))
        for kind in ("images", "images_err", "pixel_flags")
    }
    values["backgrounds"] = np.stack([cube.background.frame(cube.shape[:2], t) for t in frames])
    source = tmp_path / "tasoc.hdf5"
    write_tasoc(source, values, attributes=dict(cube.attributes))
    with h5py.File(source, "r+") as file:
        for key in ("time", "timecorr", "time_start", "time_stop", "cadenceno", "quality", "sumimage"):
            file[key][...] = getattr(cube, key)
        for t in frames:
            file[f"wcs/{t:04d}"][()] = cube.wcs_headers[t]
        file["wcs"].attrs["ref_frame"] = cube.ref_frame
    folder = tmp_path / "input"
    folder.mkdir()
    simulated.copy(folder)
    (folder / name).unlink()
    assert cli.main(["--quiet", "import", str(folder), str(source)]) == 0
    with open_todo(folder / "todo.sqlite") as todo:
        query = "SELECT starid FROM todolist WHERE datasource='ffi' AND tmag > 9 ORDER BY tmag LIMIT 1"
        (starid,) = todo.execute(query).fetchone()
    curves = []
    for where in (simulated.folder, folder):
        with AperturePhotometry(
            starid, str(where), str(tmp_path / "out"), sector=1, camera=1, ccd=1, datasource="ffi"
        ) as pho:
            pho.photometry()
            curves.append({key: np.array(pho.lightcurve[key]) for key in pho.lightcurve.colnames})
    assert np.isfinite(curves[0]["flux"]).all()
    for key, column in curves[0].items():
        tolerance = {"rtol": 1e-5} if key == "flux_background" else {"rtol": 1e-12}
        np.testing.assert_allclose(curves[1][key], column, err_msg=key, **tolerance)


def test_a_cadence_that_is_in_the_file_twice_is_taken_once(tmp_path: Path, source: Path, caplog) -> None:
    """The frame of the later name, and the reference frame with it."""
    values = pixels(6, SHAPE)
    write_tasoc(source, values)
    with h5py.File(source, "r+") as file:
        for name in ("time", "time_start", "time_stop"):
            times = file[name][()]
            times[4] = times[3] + 0.8 / 86400
            file[name][()] = times
        file["cadenceno"][4] = file["cadenceno"][3]
        file["wcs"].attrs["ref_frame"] = 3
    path = import_file(tmp_path, source, PrepareOptions()).path
    cube = open_cube(path)
    assert cube.shape == (*SHAPE, 5)
    assert cube.ref_frame == 3
    assert np.diff(cube.time).min() * 86400 > 500
    with h5py.File(path) as file:
        for name, frames in values.items():
            np.testing.assert_array_equal(np.moveaxis(file[name][()], -1, 0), frames[[0, 1, 2, 4, 5]])
    assert "is left out" in caplog.text
