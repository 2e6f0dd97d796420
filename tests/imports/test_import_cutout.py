"""Import of cut-outs, real ones of TESSCut and such that astrocut makes of simulated frames."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from foreign_files import make_cutout, make_mast_cube

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.cubes.prepare import PrepareOptions
from tasoc_mpi.imports.convert import import_file
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.ffi import find_ffis, read_rows
from tasoc_mpi.products.tesscut import scan_cutout

PI_MEN = "tess-s0001-4-2_84.291190_-80.469170_6x6_astrocut.fits"
CROWDED = "tess-s0018-2-4_38.391957_50.152917_11x10_astrocut_1cadence.fits"
ONE_PIXEL = "tess-s0012-2-1_217.428938_-62.679492_1x1_astrocut.fits"


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "cube_name"),
    [(PI_MEN, "sector001_camera4_ccd2.hdf5"), (CROWDED, "sector018_camera2_ccd4.hdf5")],
)
def test_real_ones(real: Path, tmp_path: Path, name: str, cube_name: str) -> None:
    file = real / "cutout" / name
    assert cli.main(["--quiet", "import", str(tmp_path), str(file)]) == 0
    cube = open_cube(tmp_path / cube_name)
    header, table = fits.getheader(file, 1), fits.getdata(file, 1)
    assert (cube.column_offset, cube.row_offset) == (header["1CRV4P"] - 1, header["2CRV4P"] - 1)
    assert cube.attributes["CADENCE"] == 1800
    assert cube.attributes["DATA_REL"] == fits.getheader(file)["DATA_REL"]
    flux = cube.images + cube.background.stamp(0, cube.shape[0], 0, cube.shape[1])
    np.testing.assert_allclose(flux, np.moveaxis(table["FLUX"], 0, -1), rtol=1e-5)
    np.testing.assert_array_equal(cube.images_err, np.moveaxis(table["FLUX_ERR"], 0, -1))
    np.testing.assert_array_equal(cube.quality, table["QUALITY"])
    np.testing.assert_array_equal(cube.timecorr, table["TIMECORR"])
    assert cube.frames == tuple(table["FFI_FILE"])


@pytest.mark.real
def test_a_star_that_fills_a_cutout_is_not_taken_for_the_sky(real: Path, tmp_path: Path, caplog) -> None:
    cube = open_cube(import_file(tmp_path, real / "cutout" / PI_MEN, PrepareOptions()).path)
    assert not cube.background.frame((6, 6), 0).any()
    assert "leave no sky" in caplog.text
    cube = open_cube(import_file(tmp_path, real / "cutout" / CROWDED, PrepareOptions()).path)
    # The darkest pixel has 120 e-/s, the median one 180.
    assert 120 < cube.background.frame((10, 11), 0)[5, 5] < 170


@pytest.mark.real
def test_times_of_early_releases_are_corrected(real: Path, tmp_path: Path) -> None:
    for name, corrected in ((PI_MEN, 0.0), (CROWDED, -2.0 + 0.021 + 1.5 + 0.06)):
        file = real / "cutout" / name
        cube = open_cube(import_file(tmp_path, file, PrepareOptions()).path)
        assert cube.attributes["TIME_OFFSET_CORRECTED"] == (corrected != 0)
        moved = (cube.time - fits.getdata(file, 1)["TIME"]) * 86400
        np.testing.assert_allclose(moved, corrected, atol=1e-4)


@pytest.mark.real
def test_positions_are_those_of_the_header(real: Path, tmp_path: Path) -> None:
    file = real / "cutout" / PI_MEN
    cube = open_cube(import_file(tmp_path, file, PrepareOptions()).path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        column, row = WCS(fits.getheader(file, 2)).all_world2pix(84.29119, -80.46917, 0)
    place = cube.wcs.positions(84.29119, -80.46917)
    np.testing.assert_allclose(place, np.broadcast_to([column + 1627, row + 256], place.shape), atol=1e-6)


@pytest.mark.real
def test_cadences_are_numbered_from_the_first_frame(real: Path) -> None:
    infos = scan_cutout(real / "cutout" / PI_MEN)
    assert [info.header["FFIINDEX"] for info in infos] == list(range(4697, 4747))
    infos = scan_cutout(real / "cutout" / CROWDED)
    # Of 2019 November 5, 22:39, 2.77 days after the first frame.
    assert [info.header["FFIINDEX"] for info in infos] == [27034 + 133]


@pytest.mark.real
def test_one_pixel_has_no_world_coordinates(real: Path, tmp_path: Path) -> None:
    file = real / "cutout" / ONE_PIXEL
    with pytest.raises(InputError, match=r"pixels of 3\.6e\+03 by .* cut out a larger region") as caught:
        import_file(tmp_path, file, PrepareOptions())
    assert str(file) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def cutout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of whole simulated frames' cube, and a cut-out of 40 x 30 pixels from the same frames."""
    folder = tmp_path_factory.mktemp("frames")
    size = ["--rows", "110", "--columns", "100", "--row0", "0", "--column0", "44", "--frames", "5"]
    options = [*size, "--tpfs", "0", "--camera", "2", "--ccd", "3", "--no-jitter"]
    assert cli.main(["--quiet", "simulate", str(folder), *options]) == 0
    assert cli.main(["--quiet", "prepare", str(folder)]) == 0
    cube = open_cube(folder / "sector001_camera2_ccd3.hdf5")
    # Frames of a region whose first pixel astrocut takes for the first of the CCD.
    ra, dec = cube.wcs.sky(np.array([44.0 + 60]), np.array([50.0]), 0)[0]
    source = make_mast_cube(folder, tmp_path_factory.mktemp("mast") / "tess-s0001-2-3-cube.fits")
    return folder, make_cutout(source, ra, dec, (40, 30))


def test_pixels_lie_where_astrocut_took_them(cutout: tuple[Path, Path]) -> None:
    folder, file = cutout
    frame = fits.getdata(next(iter(find_ffis(folder).values()))[3], 1)
    info = scan_cutout(file)[3]
    assert info.column_offset == max(44, info.file_offset[0])
    flux, _ = read_rows(info, 0, info.shape[0], errors=False)
    # Its place is counted in pixels of the frames' files, which here are a region of the CCD.
    expected = frame[info.row_offset :, info.column_offset :][: info.shape[0], : info.shape[1]]
    np.testing.assert_array_equal(flux, expected)


def test_cadence_numbers(cutout: tuple[Path, Path]) -> None:
    assert [info.header["FFIINDEX"] for info in scan_cutout(cutout[1])] == list(range(4697, 4702))


def test_sky_of_a_small_region(cutout: tuple[Path, Path], tmp_path: Path) -> None:
    """One box for all pixels (and here some of the corner's glow), near what the whole frame shows."""
    folder, file = cutout
    cube = open_cube(import_file(tmp_path, file, PrepareOptions()).path)
    assert cube.background.mesh.shape == (1, 1, 5)
    whole = open_cube(folder / "sector001_camera2_ccd3.hdf5")
    level = whole.background.frame(whole.shape[:2], 2).mean()
    here = cube.background.frame(cube.shape[:2], 2)
    assert here.mean() == pytest.approx(level, rel=0.05)


def change(file: Path, path: Path, **cards: Any) -> Path:
    """A copy with other cards of the table; None removes them."""
    with warnings.catch_warnings(), fits.open(file) as hdus:
        warnings.simplefilter("ignore")
        for name, value in cards.items():
            if value is None:
                hdus[1].header.remove(name.lstrip("_"))
            else:
                hdus[1].header[name.lstrip("_")] = value
        hdus.writeto(path)
    return path


@pytest.mark.real
@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"NUM_FRM": None}, "NUM_FRM"),
        ({"_1CRV4P": None}, "place on the CCD"),
        ({"_1CRVL4": "?"}, "no world coordinates"),
        ({"_1CRV4P": 1}, "no science pixels"),
    ],
)
def test_unusable(real: Path, tmp_path: Path, cards: dict[str, Any], words: str) -> None:
    path = change(real / "cutout" / PI_MEN, tmp_path / "changed.fits", **cards)
    with pytest.raises(InputError, match=words) as caught:
        import_file(tmp_path, path, PrepareOptions())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.real
def test_rows_without_time_and_shifts_of_stars(real: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.fits"
    with warnings.catch_warnings(), fits.open(real / "cutout" / PI_MEN) as hdus:
        warnings.simplefilter("ignore")
        hdus[1].data["TIME"][[0, 7]] = np.nan, 0.0
        hdus[1].data["POS_CORR1"] = np.arange(50) / 100
        hdus[1].data["POS_CORR2"][5] = -0.25
        hdus.writeto(path)
    cube = open_cube(import_file(tmp_path, path, PrepareOptions()).path)
    kept = np.delete(np.arange(50), [0, 7])
    np.testing.assert_array_equal(cube.cadenceno, 4697 + kept)
    place = cube.wcs.positions(84.29119, -80.46917)
    np.testing.assert_allclose(place[:, 0] - place[0, 0], (kept - 1) / 100, atol=1e-6)
    np.testing.assert_allclose(place[:, 1] - place[0, 1], np.where(kept == 5, -0.25, 0), atol=1e-6)


@pytest.mark.real
def test_releases_with_right_and_wrong_times_are_refused(real: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.fits"
    with warnings.catch_warnings(), fits.open(real / "cutout" / PI_MEN) as hdus:
        warnings.simplefilter("ignore")
        for hdu in hdus:
            hdu.header.pop("DATA_REL", None)
        hdus[0].header["DATA_REL"] = 27
        hdus.writeto(path)
    with pytest.raises(InputError, match="data release 27 without PROCVER"):
        import_file(tmp_path, path, PrepareOptions())


@pytest.mark.real
def test_truncated(real: Path, tmp_path: Path) -> None:
    data = (real / "cutout" / PI_MEN).read_bytes()
    path = tmp_path / "cut.fits"
    for size in (5000, 40000):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match="truncated"):
            import_file(tmp_path, path, PrepareOptions())


@pytest.mark.real
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_cutout_of_a_ccd_is_not_the_first(
    real: Path, tmp_path: Path, capsys, caplog, overwrite
) -> None:
    """Of the same size, 20 columns further on: it neither counts as done nor replaces the other."""
    first = tmp_path / "first.fits"
    first.write_bytes((real / "cutout" / PI_MEN).read_bytes())
    second = change(first, tmp_path / "second.fits", _1CRV4P=fits.getheader(first, 1)["1CRV4P"] + 20)
    folder = tmp_path / "input"
    folder.mkdir()
    options = ["--overwrite"] if overwrite else []
    assert cli.main(["--quiet", "import", str(folder), str(first), str(second), *options]) == 1
    assert (
        f"{second}: rows 256 to 261 and columns 1647 to 1652 of the CCD of which {first} (in" in caplog.text
    )
    capsys.readouterr()
    cube = folder / "sector001_camera4_ccd2.hdf5"
    made = cube.read_bytes()
    # In another call the cube stands for the first file.
    assert cli.main(["--quiet", "import", str(folder), str(second), *options]) == 1
    error = capsys.readouterr().err
    assert f"error: {second}: rows 256 to 261" in error
    assert f"{cube} has rows 256 to 261 and columns 1627 to 1632; import it into another folder" in error
    assert cube.read_bytes() == made
    assert cli.main(["--quiet", "import", str(folder), str(first), *options]) == 0
    assert cube.read_bytes() == made


def test_a_cutout_does_not_replace_its_ccd(cutout: tuple[Path, Path]) -> None:
    folder, file = cutout
    cube = folder / "sector001_camera2_ccd3.hdf5"
    before = cube.stat()
    with pytest.raises(InputError, match="import it into another folder") as caught:
        import_file(folder, file, PrepareOptions(overwrite=True))
    assert str(file) in str(caught.value)
    assert str(cube) in str(caught.value)
    assert cube.stat() == before


def test_a_cutout_is_not_the_finished_cube_of_its_frames(
    cutout: tuple[Path, Path], tmp_path: Path, capsys
) -> None:
    folder, file = cutout
    cube = import_file(tmp_path, file, PrepareOptions()).path
    small = cube.read_bytes()
    for path in next(iter(find_ffis(folder).values())):
        (tmp_path / path.name).symlink_to(path)
    assert cli.main(["--quiet", "prepare", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"{cube}: has rows" in error
    assert "tess" in error.split("but")[1]
    assert "--overwrite makes it anew" in error
    assert cube.read_bytes() == small
    assert cli.main(["--quiet", "prepare", str(tmp_path), "--overwrite"]) == 0
    assert open_cube(cube).shape == (110, 100, 5)
