"""Import of MAST's cubes, made by astrocut from simulated frames: the same cube as from the frames."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from ffi_files import read_ffi
from foreign_files import make_mast_cube
from hypothesis import given, settings
from hypothesis import strategies as st

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.cubes.prepare import PrepareOptions
from tasoc_mpi.imports import convert as importing
from tasoc_mpi.imports import from_mast as import_mast
from tasoc_mpi.imports.convert import import_file
from tasoc_mpi.imports.from_mast import mast_frames
from tasoc_mpi.kernels.interleave import frames_of_cube
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.ffi import find_ffis, read_rows
from tasoc_mpi.products.mast_cube import scan_mast_cube

NAME = "sector001_camera1_ccd1.hdf5"


@pytest.fixture(scope="module")
def mast(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of simulated frames with its cube, and the same frames as a cube of MAST's."""
    folder = tmp_path_factory.mktemp("frames")
    size = ["--rows", "80", "--columns", "70", "--frames", "11", "--tpfs", "0", "--seed", "3"]
    assert cli.main(["--quiet", "simulate", str(folder), *size]) == 0
    assert cli.main(["--quiet", "prepare", str(folder)]) == 0
    return folder, make_mast_cube(folder, tmp_path_factory.mktemp("mast") / "tess-s0001-1-1-cube.fits")


def test_the_cube_is_that_of_the_frames(mast: tuple[Path, Path], tmp_path: Path) -> None:
    folder, path = mast
    assert cli.main(["--quiet", "import", str(tmp_path), str(path)]) == 0
    with h5py.File(folder / NAME) as expected, h5py.File(tmp_path / NAME) as made:
        for name in ("images", "images_err", "pixel_flags", "sumimage", "background/mesh", "wcs/crpix"):
            np.testing.assert_array_equal(made[name], expected[name], err_msg=name)
        for name in ("time", "timecorr", "time_start", "cadenceno", "quality", "ephemeris", "wcs/sip_a"):
            np.testing.assert_array_equal(made[name], expected[name], err_msg=name)
        assert dict(made["images"].attrs) == dict(expected["images"].attrs)
        assert list(made["frames"]) == list(expected["frames"])
    before, after = open_cube(folder / NAME), open_cube(tmp_path / NAME)
    assert after.ref_frame == before.ref_frame
    assert fits.Header.fromstring(after.wcs_headers[3])["CTYPE1"] == "RA---TAN-SIP"


@pytest.mark.parametrize("memory", [1.0, 80 * 70 * 4 * 3, 1e9])
def test_any_memory_gives_the_same_pixels(mast: tuple[Path, Path], memory: float) -> None:
    folder, path = mast
    infos = scan_mast_cube(path, memory)
    (files,) = find_ffis(folder).values()
    for t in (0, 10, 4):
        frame = read_ffi(files[t])
        flux, error = read_rows(infos[t], 5, 33)
        np.testing.assert_array_equal(flux, frame.flux[5:33])
        np.testing.assert_array_equal(error, frame.error[5:33])
        assert infos[t].name == files[t].name


@pytest.mark.parametrize("memory", [10.0, 80 * 70 * 4 * 5.0])
def test_frames_that_do_not_fit_into_the_memory(
    mast: tuple[Path, Path], tmp_path: Path, memory: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_mast, "_SMALLEST_BLOCK", 1)
    folder, path = mast
    (files,) = find_ffis(folder).values()
    with mast_frames(path, tmp_path, memory) as infos:
        for t in (7, 0, 10):
            frame = read_ffi(files[t])
            np.testing.assert_array_equal(read_rows(infos[t], 3, 70, errors=False)[0], frame.flux[3:70])
            np.testing.assert_array_equal(read_rows(infos[t], 3, 70)[1], frame.error[3:70])
        # The file has no name, so that nothing is left behind.
        assert list(tmp_path.iterdir()) == []


def test_the_same_cube_through_the_disk(
    mast: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_READ_AHEAD", 1e-9)
    cube = open_cube(import_file(tmp_path, mast[1], PrepareOptions()).path)
    np.testing.assert_array_equal(cube.images, open_cube(mast[0] / NAME).images)


def test_frames_are_numbered_across_gaps(tmp_path: Path) -> None:
    size = ["--rows", "40", "--columns", "40", "--frames", "5", "--tpfs", "0", "--gap", "0"]
    later = [*size, "--sector", "30", "--cadence", "600", "--first-frame"]
    assert cli.main(["--quiet", "simulate", str(tmp_path / "a"), *later, "0"]) == 0
    assert cli.main(["--quiet", "simulate", str(tmp_path / "b"), *later, "2000"]) == 0
    (files,) = find_ffis(tmp_path).values()
    infos = scan_mast_cube(make_mast_cube(tmp_path, tmp_path / "cube.fits", 30))
    assert len(infos) == 10
    for info, file in zip(infos, files, strict=True):
        assert info.header["FFIINDEX"] == fits.getheader(file)["FFIINDEX"]


@settings(deadline=None, max_examples=20)
@given(st.tuples(*[st.integers(1, 40)] * 3), st.integers(0, 1), st.data())
def test_kernel_takes_frames_out(shape: tuple[int, int, int], kind: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(sum(shape))
    cube = rng.standard_normal((*shape, 2)).astype(">f4")
    first = data.draw(st.integers(0, shape[2] - 1))
    count = data.draw(st.integers(1, shape[2] - first))
    out = np.empty((count, *shape[:2]), dtype="u4")
    frames_of_cube(cube.view("u4"), first, kind, out)
    expected = np.moveaxis(cube[:, :, first : first + count, kind], -1, 0)
    np.testing.assert_array_equal(out.view("f4"), expected)


def test_full_frame_images(tmp_path: Path) -> None:
    """The collateral pixels are left out."""
    pixels = np.arange(2078 * 2136 * 2, dtype=">f4").reshape(2078, 2136, 1, 2)
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, "J", array=[value]) for name, value in (("CAMERA", 1), ("CCD", 2))]
    )
    primary = fits.PrimaryHDU()
    primary.header.update({"SECTOR": 9, "CAMERA": 1, "CCD": 2})
    path = tmp_path / "tess-s0009-1-2-cube.fits"
    fits.HDUList([primary, fits.ImageHDU(pixels), table]).writeto(path)
    (info,) = scan_mast_cube(path)
    flux, error = read_rows(info, 2000, 2048)
    np.testing.assert_array_equal(flux, pixels[2000:2048, 44:2092, 0, 0])
    np.testing.assert_array_equal(error, pixels[2000:2048, 44:2092, 0, 1])


def test_truncated(mast: tuple[Path, Path], tmp_path: Path) -> None:
    data = mast[1].read_bytes()
    path = tmp_path / "tess-s0001-1-1-cube.fits"
    for size in (1000, 20000, len(data) // 2, len(data) - 5000):
        path.write_bytes(data[:size])
        with pytest.raises(InputError) as caught:
            import_file(tmp_path, path, PrepareOptions())
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("NAXIS4", "99999999999", "unlike any CCD"),
        ("NAXIS4", "-0.0", "not a cube of fluxes"),
        ("NAXIS3", "-70", "unlike any CCD"),
        ("NAXIS2", "999999", "truncated"),
        ("PCOUNT", "9", "not a cube of fluxes"),
        ("TFIELDS", "999999999", "columns"),
        ("TFORM77", "1", "TFORM77"),
        ("TTYPE150", "'a", "."),
    ],
)
def test_headers_that_cannot_be_true(
    mast: tuple[Path, Path], tmp_path: Path, key: str, value: str, words: str
) -> None:
    data = bytearray(mast[1].read_bytes())
    place = data.index(f"{key:<8}=".encode(), 2880)
    data[place : place + 80] = f"{key:<8}= {value:>20}".ljust(80).encode()
    path = tmp_path / "tess-s0001-1-1-cube.fits"
    path.write_bytes(data)
    if key == "TTYPE150":
        # A column without a name is left out; it is one of a few that matter to nobody.
        assert len(scan_mast_cube(path)) == 11
        return
    with pytest.raises(InputError, match=words) as caught:
        import_file(tmp_path, path, PrepareOptions())
    assert str(path) in str(caught.value)
    assert not (tmp_path / NAME).exists()


def test_of_another_ccd_than_its_name_says(mast: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "tess-s0001-2-1-cube.fits"
    path.write_bytes(mast[1].read_bytes())
    with pytest.raises(InputError, match="camera 1"):
        import_file(tmp_path, path, PrepareOptions())


def test_a_frame_is_no_cube(mast: tuple[Path, Path], tmp_path: Path) -> None:
    (files,) = find_ffis(mast[0]).values()
    with pytest.raises(InputError, match="tasoc-mpi prepare"):
        import_file(tmp_path, files[0], PrepareOptions())
