"""Full frame images: what is found, what is read, and what is refused."""

from __future__ import annotations

import gzip
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from ffi_files import ffi_name, read_ffi, write_ffi

from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.products.ffi import find_ffis, parse_ffi_name, read_rows, scan_ffi
from tasoc_mpi.products.frame_wcs import FrameWCS

REAL = "tess2018206192942-s0001-1-4-0120-s_ffic"


@pytest.fixture
def real_ffi(real: Path, tmp_path: Path) -> Path:
    """The real frame under the name that it has in the archive."""
    return Path(shutil.copy(real / "ffi" / f"{REAL}.crop.fits", tmp_path / f"{REAL}.fits"))


def pixels(shape: tuple[int, int]) -> np.ndarray:
    return np.arange(shape[0] * shape[1], dtype="f4").reshape(shape)


def test_names() -> None:
    assert parse_ffi_name("/x/tess2018206192942-s0001-1-4-0120-s_ffic.fits") == (1, 1, 4, "2018206192942")
    assert parse_ffi_name("tess2018206192942-s0056-4-2-0120-s_ffic.fits.gz") == (56, 4, 2, "2018206192942")
    for other in (
        "tess2018206192942-s0001-1-4-0120-s_ffir.fits",
        "tess2018206192942-s0001-5-4-0120-s_ffic.fits",
        "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits",
        "tess2018206192942-s0001-1-4-0120-s_ffic.fits.part",
    ):
        assert parse_ffi_name(other) is None


def test_found_in_sub_folders_in_order_of_time(tmp_path: Path) -> None:
    names = {"b": ffi_name(1), "a/deep": ffi_name(2), ".": ffi_name(3)}
    for folder, name in names.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).touch()
    (tmp_path / "a" / (ffi_name(0, camera=2, ccd=3) + ".gz")).touch()
    (tmp_path / "a" / "notes.fits").touch()
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    found = find_ffis(tmp_path)
    assert list(found) == [(30, 1, 1), (30, 2, 3)]
    assert [path.name for path in found[30, 1, 1]] == [ffi_name(1), ffi_name(2), ffi_name(3)]
    with pytest.raises(MissingInput, match="no such folder"):
        find_ffis(tmp_path / "nothing")


def test_whole_frame_gives_its_science_pixels(tmp_path: Path) -> None:
    full = pixels((2078, 2136))
    frame = read_ffi(write_ffi(tmp_path, 0, full, full + 1, first=(0, 0)))
    assert frame.flux.shape == (2048, 2048)
    assert (frame.info.row_offset, frame.info.column_offset) == (0, 44)
    np.testing.assert_array_equal(frame.flux, full[:2048, 44:2092])
    np.testing.assert_array_equal(frame.error, full[:2048, 44:2092] + 1)
    assert frame.flux.dtype == np.float32
    assert frame.flux.dtype.isnative


@pytest.mark.parametrize(
    ("first", "shape", "offsets", "part"),
    [
        ((100, 300), (20, 30), (300, 100), np.s_[:, :]),
        ((40, 2040), (20, 30), (2040, 44), np.s_[:8, 4:]),
        ((2080, 0), (5, 30), (0, 2080), np.s_[:, :12]),
    ],
)
def test_region_says_where_it_lies(tmp_path: Path, first, shape, offsets, part) -> None:
    data = pixels(shape)
    path = write_ffi(tmp_path, 0, data, first=first)
    frame = read_ffi(path)
    assert (frame.info.row_offset, frame.info.column_offset) == offsets
    np.testing.assert_array_equal(frame.flux, data[part])
    some, error = read_rows(scan_ffi(path), 2, 5)
    np.testing.assert_array_equal(some, data[part][2:5])
    np.testing.assert_array_equal(error, np.full_like(some, 0.5))


def test_compressed_is_the_same(tmp_path: Path) -> None:
    path = write_ffi(tmp_path, 0, pixels((60, 70)))
    packed = tmp_path / "gz" / (path.name + ".gz")
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain, unpacked = read_ffi(path), read_ffi(packed)
    np.testing.assert_array_equal(plain.flux, unpacked.flux)
    np.testing.assert_array_equal(plain.error, unpacked.error)
    assert plain.info.header == unpacked.info.header


def test_wcs_string_is_for_full_frame_image_pixels(tmp_path: Path) -> None:
    """The same sky through a region's file and through the string, 50 and 30 px apart."""
    info = scan_ffi(write_ffi(tmp_path, 3, pixels((20, 30)), first=(94, 30)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = WCS(fits.Header.fromstring(info.wcs_string()))
        file = WCS(fits.getheader(info.path, 1))
    column, row = np.array([100.0, 500.0, 1900.0]), np.array([40.0, 900.0, 2000.0])
    sky = file.all_pix2world(column - 94, row - 30, 0)
    np.testing.assert_allclose(ours.all_pix2world(column, row, 0), sky, rtol=0, atol=1e-11)
    numbers = FrameWCS.from_headers([info.wcs_cards], info.file_offset)
    np.testing.assert_allclose(numbers.sky(column, row, 0).T, sky, rtol=0, atol=1e-9)


@pytest.mark.real
def test_real_frame(real_ffi: Path) -> None:
    frame = read_ffi(real_ffi, errors=False)
    # Science columns begin at 44; the file has 173 of all columns.
    assert frame.flux.shape == (128, 129)
    assert (frame.info.row_offset, frame.info.column_offset) == (0, 44)
    with fits.open(real_ffi) as hdus:
        np.testing.assert_array_equal(frame.flux, hdus[1].data[:, 44:])
        merged = hdus[0].header.copy()
        merged.update(hdus[1].header)
        assert {key: frame.info.header.get(key) for key in merged} == dict(merged)
    assert frame.info.cadence == 1800
    with pytest.raises(InputError, match="uncertainties have 128 x 128 pixels, the image 128 x 173"):
        read_ffi(real_ffi)


@pytest.mark.real
def test_real_frame_wcs_agrees_with_astropy(real_ffi: Path) -> None:
    info = scan_ffi(real_ffi)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = WCS(fits.getheader(real_ffi, 1))
        ours = WCS(fits.Header.fromstring(info.wcs_string()))
    column, row = (
        a.ravel().astype("f8") for a in np.meshgrid(np.arange(44, 2092, 97), np.arange(0, 2048, 97))
    )
    sky = np.stack(reference.all_pix2world(column, row, 0), axis=-1)
    np.testing.assert_allclose(np.stack(ours.all_pix2world(column, row, 0), axis=-1), sky, rtol=0, atol=1e-12)
    wcs = FrameWCS.from_headers([info.wcs_cards], info.file_offset)
    np.testing.assert_allclose(wcs.sky(column, row, 0), sky, rtol=0, atol=1e-9)
    back = wcs.stars(sky[:, 0], sky[:, 1], 0)
    np.testing.assert_allclose(back, np.stack([column, row], axis=-1), rtol=0, atol=1e-6)


def one_line(error: pytest.ExceptionInfo[BaseException], path: Path) -> bool:
    return "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated(tmp_path: Path, keep: float, packed: bool) -> None:
    path = write_ffi(tmp_path, 0, np.random.default_rng(0).normal(size=(60, 70)))
    data = path.read_bytes()
    if packed:
        path.unlink()
        path, data = path.with_name(path.name + ".gz"), gzip.compress(data)
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InputError) as error:
        read_ffi(path)
    assert one_line(error, path)


def test_not_what_it_should_be(tmp_path: Path) -> None:
    good = write_ffi(tmp_path / "good", 0, pixels((20, 30)))
    text = tmp_path / "text" / good.name
    text.parent.mkdir()
    text.write_bytes(b"hello " * 3000)
    other_ccd = tmp_path / "ccd" / ffi_name(0, ccd=2)
    other_ccd.parent.mkdir()
    shutil.copy(good, other_ccd)
    other_sector = tmp_path / "sector" / ffi_name(0, sector=31)
    other_sector.parent.mkdir()
    shutil.copy(good, other_sector)
    no_camera = tmp_path / "camera" / good.name
    no_camera.parent.mkdir()
    with fits.open(good) as hdus:
        for hdu in hdus:
            hdu.header.remove("CAMERA", ignore_missing=True)
        hdus.writeto(no_camera)
    no_science = write_ffi(tmp_path / "outside", 0, pixels((5, 30)), first=(0, 0))
    sizes = write_ffi(tmp_path / "sizes", 0, pixels((20, 30)), pixels((20, 31)))
    for path, words in (
        (text, "not a FITS file"),
        (other_ccd, "CCD is 1 in its header, not 2 as its name says"),
        (other_sector, "SECTOR is 30 in its header, not 31"),
        (no_camera, "no CAMERA in its header"),
        (no_science, "no science pixels"),
        (sizes, "uncertainties have 20 x 31"),
    ):
        with pytest.raises(InputError, match=words) as error:
            read_ffi(path)
        assert one_line(error, path)
    with pytest.raises(MissingInput, match="no such file"):
        read_ffi(tmp_path / ffi_name(7))
    with pytest.raises(InputError, match="not named like"):
        read_ffi(tmp_path / "image.fits")


def test_no_uncertainties(tmp_path: Path) -> None:
    path = write_ffi(tmp_path, 0, pixels((20, 30)))
    with fits.open(path) as hdus:
        fits.HDUList([hdus[0], hdus[1]]).writeto(path, overwrite=True)
    assert read_ffi(path, errors=False).error is None
    with pytest.raises(InputError, match="no uncertainties"):
        read_ffi(path)
