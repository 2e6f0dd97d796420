"""Frames of TICA: their own names, headers, units and times, and the cube that comes of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, get_body_barycentric
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from ffi_files import read_ffi
from numpy.typing import NDArray
from tica_files import START, tica_name, write_tica

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.cubes.frame_headers import frame_facts
from tasoc_mpi.cubes.frame_series import read_series
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.ffi import find_ffis, parse_ffi_name, read_rows, scan_ffi

SHAPE = (70, 80)


@pytest.fixture
def electrons() -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(1e4, 1e5, SHAPE).astype("f4")


@pytest.mark.parametrize("orbit", ["o1-", "o2a-", ""])
def test_names(orbit: str) -> None:
    assert parse_ffi_name(tica_name(0, orbit, 3, 2)) == (27, 3, 2, "00116470")
    assert parse_ffi_name(tica_name(0, orbit) + ".gz") is not None


@pytest.mark.parametrize("seconds", [200, 600, 1800])
def test_electrons_a_second_with_errors_of_photons_and_read_outs(tmp_path, electrons, seconds) -> None:
    frame = read_ffi(write_tica(tmp_path, 0, electrons, seconds))
    exposure = 0.8 * 0.99 * seconds
    assert frame.info.cadence == seconds
    np.testing.assert_allclose(frame.flux, electrons / exposure, rtol=1e-6)
    # 0.4 read-outs a second of 10 electrons each.
    expected = np.sqrt(electrons + 100 * 0.4 * seconds) / exposure
    np.testing.assert_allclose(frame.error, expected, rtol=1e-6)
    assert (frame.info.row_offset, frame.info.column_offset) == (0, 44)


def test_errors_of_negative_pixels_are_those_of_the_read_outs(tmp_path, electrons) -> None:
    electrons[3, 4], electrons[5, 6] = -5e4, np.nan
    frame = read_ffi(write_tica(tmp_path, 0, electrons))
    assert frame.flux[3, 4] < 0
    assert frame.error[3, 4] == pytest.approx(np.sqrt(100 * 0.4 * 600) / (0.8 * 0.99 * 600), rel=1e-6)
    assert np.isnan(frame.flux[5, 6])


def test_collateral_pixels_are_left_out(tmp_path: Path) -> None:
    image = np.broadcast_to(np.arange(2136, dtype="f4"), (2078, 2136))
    frame = read_ffi(write_tica(tmp_path, 0, image, CRVAL1P=None, CRVAL2P=None), errors=False)
    assert frame.flux.shape == (2048, 2048)
    np.testing.assert_allclose(frame.flux[0] * 475.2, np.arange(44, 2092), rtol=1e-6)


def test_without_cosmic_ray_mitigation_all_light_is_there(tmp_path, electrons) -> None:
    frame = read_ffi(write_tica(tmp_path, 0, electrons, CRM=False))
    np.testing.assert_allclose(frame.flux, electrons / 594, rtol=1e-6)
    assert (frame.info.header["NREADOUT"], frame.info.header["NUM_FRM"]) == (300, 300)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({}, 0),
        ({"COARSE": True}, 4),
        ({"ACS_MODE": "CP"}, 4),
        ({"RW_DESAT": True}, 32),
        ({"STRAYLT1": True, "STRAYLT2": False}, 2048),
        ({"STRAYLT2": True}, 0),
        ({"COARSE": True, "RW_DESAT": True, "QUAL_BIT": 1}, 36),
        ({"QUAL_BIT": 1}, 128),
    ],
)
def test_quality(tmp_path, electrons, cards, expected) -> None:
    assert scan_ffi(write_tica(tmp_path, 0, electrons, **cards)).header["DQUALITY"] == expected


def test_times_are_barycentric_at_the_middle_of_the_ccd(tmp_path, electrons) -> None:
    paths = [write_tica(tmp_path, t, electrons) for t in range(3)]
    series = read_series(paths)
    spacecraft = START + (np.arange(3) + 0.5) * 600 / 86400
    np.testing.assert_allclose(series.time - series.timecorr, spacecraft, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(series.cadenceno, 116470 + np.arange(3))
    # The light time by astropy from the Earth's place; TESS is at most 1.3 light-seconds from it.
    header = fits.getheader(paths[1])
    sky = SkyCoord.from_pixel(1067 - 44, 1023, WCS(header), origin=0)
    earth = get_body_barycentric("earth", Time(2457000 + spacecraft, format="jd", scale="tdb"))
    light = earth.xyz.to_value(u.lyr).T * 365.25 @ sky.cartesian.xyz.value
    np.testing.assert_allclose(series.timecorr, light, rtol=0, atol=1e-4 / 86400)
    assert series.attributes["DATA_REL"] == 0
    assert not series.attributes["TIME_OFFSET_CORRECTED"]


@pytest.mark.parametrize("seconds", [200, 600])
def test_cube(tmp_path: Path, seconds: int) -> None:
    rng = np.random.default_rng(2)
    exposure = 0.8 * 0.99 * seconds
    pixels = (rng.normal(100, 1, (5, *SHAPE)) * exposure).astype("f4")
    for t in range(5):
        write_tica(tmp_path / "frames", t, pixels[t], seconds, orbit=f"o{1 + t // 3}-")
    assert list(find_ffis(tmp_path)) == [(27, 1, 1)]
    assert cli.main(["--quiet", "prepare", str(tmp_path)]) == 0
    cube = open_cube(tmp_path / "sector027_camera1_ccd1.hdf5")
    assert cube.attributes["CADENCE"] == seconds
    assert cube.attributes["NUM_FRM"] == seconds / 2
    assert cube.frames[0] == tica_name(0)
    for t in range(5):
        flux = cube.images[:, :, t] + cube.background.frame(SHAPE, t)
        np.testing.assert_allclose(flux, pixels[t] / exposure, rtol=1e-5)


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"CAMNUM": 2}, "CAMNUM is 2 in its header, not 1 as its name says"),
        ({"UNITS": "adu"}, "in adu"),
        ({"STARTTJD": None}, "STARTTJD"),
        ({"ENDTJD": START + 0.1}, "not 200, 600 or 1800"),
    ],
)
def test_unusable(tmp_path, electrons, cards, words) -> None:
    path = write_tica(tmp_path, 0, electrons, **cards)
    with pytest.raises(InputError, match=words) as caught:
        scan_ffi(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated(tmp_path, electrons) -> None:
    path = write_tica(tmp_path, 0, electrons)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(InputError, match="truncated"):
        scan_ffi(path)


def test_mixed_with_the_missions_own(tmp_path: Path) -> None:
    from ffi_files import write_ffi

    write_tica(tmp_path, 0, np.full(SHAPE, 1e4))
    write_ffi(tmp_path, 0, np.full(SHAPE, 100.0), sector=27)
    with pytest.raises(InputError, match="cannot be mixed"):
        read_series(next(iter(find_ffis(tmp_path).values())))


@pytest.mark.parametrize("cadence", [200, 600, 1800])
def test_cadences_of_the_mission(tmp_path: Path, cadence: int) -> None:
    sector = {200: "56", 600: "30", 1800: "2"}[cadence]
    size = ["--rows", "40", "--columns", "40", "--frames", "4", "--tpfs", "0", "--sector", sector]
    assert cli.main(["--quiet", "simulate", str(tmp_path), *size, "--cadence", str(cadence)]) == 0
    assert cli.main(["--quiet", "prepare", str(tmp_path)]) == 0
    cube = open_cube(next(tmp_path.glob("sector*.hdf5")))
    assert cube.attributes["CADENCE"] == cadence
    np.testing.assert_allclose(np.diff(cube.time - cube.timecorr) * 86400, cadence, atol=1e-3)
    np.testing.assert_array_equal(np.diff(cube.cadenceno), 1)


def test_other_ranks_read_the_same(tmp_path: Path, electrons: NDArray[np.float32]) -> None:
    """From what they are told of the header."""
    info = scan_ffi(write_tica(tmp_path, 0, electrons))
    told = pickle.loads(pickle.dumps(frame_facts(info).info))
    for ours, theirs in zip(read_rows(info, 3, 9), read_rows(told, 3, 9), strict=True):
        np.testing.assert_array_equal(ours, theirs)
