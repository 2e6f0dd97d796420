"""Movies of cubes: what is binned, what is drawn, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from foreign_files import pixels, write_tasoc
from PIL import Image

from tasoc_mpi import cli
from tasoc_mpi.cubes.prepare import PrepareOptions
from tasoc_mpi.imports.convert import import_file
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.report import movie
from tasoc_mpi.report.movie_frames import bin_cube, draw_frames


def test_bins_are_means_of_pixels(simulated) -> None:
    cube = open_cube(simulated.folder / "sector001_camera1_ccd1.hdf5")
    binned = bin_cube(cube, step=5, size=40)
    np.testing.assert_array_equal(binned.frames, np.arange(0, 48, 5))
    # 96 pixels in bins of 3.
    assert binned.images.shape == binned.backgrounds.shape == (10, 32, 32)
    frame = np.asarray(cube.images[:, :, 15])
    expected = frame.reshape(32, 3, 32, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(binned.images[3], expected, rtol=1e-4, atol=1e-3)
    model = cube.background.frame((96, 96), 15).reshape(32, 3, 32, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(binned.backgrounds[3], model, rtol=1e-5)
    np.testing.assert_allclose(binned.level[3], np.median(model), rtol=1e-5)


def test_stored_backgrounds_flags_and_missing_pixels(tmp_path: Path) -> None:
    values = pixels(4, (10, 13))
    values["pixel_flags"][:] = 0
    values["pixel_flags"][2, :4, 4:6] = 4
    values["pixel_flags"][2, 0, 8] = 1
    values["images"][1, :4, :4] = np.nan
    source = tmp_path / "tasoc.hdf5"
    write_tasoc(source, values)
    binned = bin_cube(open_cube(import_file(tmp_path, source, PrepareOptions()).path), size=4)
    # Bins of 4 x 4 pixels; the last ones are smaller.
    assert binned.images.shape == (4, 3, 4)
    assert np.isnan(binned.images[1, 0, 0])
    np.testing.assert_allclose(binned.images[3, 2, 3], values["images"][3, 8:, 12:].mean(), rtol=1e-5)
    np.testing.assert_allclose(
        binned.backgrounds[3, 1, 1], values["backgrounds"][3, 4:8, 4:8].mean(), rtol=1e-5
    )
    expected = np.zeros((3, 4, 3))
    expected[0, 1, 2] = round(255 / 2)
    expected[0, 2, 0] = round(255 / 16)
    np.testing.assert_array_equal(binned.flags[2], expected)
    (*_, last) = draw_frames(binned, 64)
    # Three texts beside each other, whatever the size of the panels.
    assert last.size[0] == 3 * 196 + 4 * 12


def colours(path: Path, frame: int) -> np.ndarray:
    with Image.open(path) as picture:
        picture.seek(frame)
        return np.asarray(picture.convert("RGB")).astype(int)


def test_a_movie_of_every_frame(simulated, tmp_path: Path) -> None:
    path = tmp_path / "movie_sector001_camera1_ccd1.gif"
    assert cli.main(["movie", "-q", str(simulated.folder), "--output", str(tmp_path), "--size", "96"]) == 0
    with Image.open(path) as picture:
        assert picture.n_frames == 48
        assert picture.info["duration"] == 100
    # The image's panel begins at (12, 62) and shows row 0 at its bottom: the brightest star is where it is.
    cube = open_cube(simulated.folder / "sector001_camera1_ccd1.hdf5")
    panel = colours(path, 20)[62 : 62 + 96, 12 : 12 + 96]
    assert (np.ptp(panel, axis=2) <= 1).all()
    row, column = np.unravel_index(np.nanargmax(cube.images[:, :, 20]), (96, 96))
    assert panel[::-1][row, column, 0] == 255
    # Brighter pixels are never darker in the picture.
    order = np.argsort(np.asarray(cube.images[:, :, 20]).ravel())
    assert (np.diff(panel[::-1, :, 0].ravel()[order]) >= 0).all()
    assert list(tmp_path.iterdir()) == [path]


def test_flags_are_seen(simulated, tmp_path: Path) -> None:
    folder = simulated.copy(tmp_path)
    with h5py.File(folder / "sector001_camera1_ccd1.hdf5", "r+") as file:
        file["pixel_flags"][:, :, 7] = 0
        file["pixel_flags"][10:30, 40:80, 7] = 4
        file["quality"][7] = 32
    assert cli.main(["--quiet", "movie", str(folder), "--size", "96"]) == 0
    picture = colours(folder / "movie_sector001_camera1_ccd1.gif", 7)
    # The third panel; there is room for the texts of small ones.
    panel = picture[62 : 62 + 96, 12 + 2 * 208 : 12 + 2 * 208 + 96][::-1]
    red = panel[..., 0] > 200
    expected = np.zeros((96, 96), dtype=bool)
    expected[10:30, 40:80] = True
    np.testing.assert_array_equal(red, expected)
    # The quality's line is red, and grey in the frame before.
    line = picture[26:40, 12:200].reshape(-1, 3)
    assert ((line[:, 0] > 200) & (line[:, 1] < 120)).any()
    before = colours(folder / "movie_sector001_camera1_ccd1.gif", 6)[26:40, 12:200].reshape(-1, 3)
    assert not ((before[:, 0] > 200) & (before[:, 1] < 120)).any()


def test_at_most_200_frames_by_default(tmp_path: Path) -> None:
    values = pixels(450, (6, 6))
    source = tmp_path / "tasoc.hdf5"
    write_tasoc(source, values, single_header=True)
    cube = open_cube(import_file(tmp_path, source, PrepareOptions()).path)
    np.testing.assert_array_equal(bin_cube(cube).frames, np.arange(0, 450, 3))


def test_video_is_what_ffmpeg_is_given(simulated, tmp_path: Path, monkeypatch) -> None:
    """A stand-in for ffmpeg keeps what it reads and how it was called."""
    program = tmp_path / "ffmpeg"
    program.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" > "$0.words"\ncat > "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / "movie_sector001_camera1_ccd1.mp4"
    options = ["--output", str(tmp_path), "--format", "mp4", "--step", "10", "--size", "96", "--rate", "5"]
    assert cli.main(["--quiet", "movie", str(simulated.folder), *options]) == 0
    words = (tmp_path / "ffmpeg.words").read_text().split()
    width, height = (int(n) for n in words[words.index("-s") + 1].split("x"))
    assert words[words.index("-r") + 1] == "5"
    assert width % 2 == height % 2 == 0
    video = np.frombuffer(path.read_bytes(), "u1").reshape(-1, height, width, 3)
    assert len(video) == 5
    program.write_text("#!/bin/sh\necho no codec >&2\nexit 1\n")
    assert cli.main(["--quiet", "movie", str(simulated.folder), *options]) == 1


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--step", "0"], 2, "--step 0"),
        (["--size", "5"], 2, "--size 5"),
        (["--rate", "0"], 2, "--rate 0"),
        (["--sector", "99"], 1, "no cube of a chosen CCD in it"),
        (["--output", "nowhere"], 1, "no such folder"),
    ],
)
def test_refused(simulated, tmp_path, monkeypatch, capsys, options, status, words) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--quiet", "movie", str(simulated.folder), *options]) == status
    error = capsys.readouterr().err.strip()
    assert words in error
    assert len(error.splitlines()) == 1


def test_without_ffmpeg(simulated, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(movie.shutil, "which", lambda name: None)
    path = tmp_path / "movie_sector001_camera1_ccd1.mp4"
    assert (
        cli.main(["--quiet", "movie", str(simulated.folder), "--format", "mp4", "--output", str(tmp_path)])
        == 1
    )
    assert "mp4 needs ffmpeg" in capsys.readouterr().err
    assert not path.exists()
