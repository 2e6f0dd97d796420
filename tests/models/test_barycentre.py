"""The barycentric position of TESS and light times against astropy, SPICE and published corrections."""

import warnings

import numpy as np
import pytest

from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.core.sphere import unit_vectors
from tasoc_mpi.models import barycentre

DAY = 86400.0
EARTH_RADIUS = 6378.137 / 299792.458  # light-seconds
TIMES = np.linspace(1325.3, 5000.0, 40)


def directions(n, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))


def test_earth_is_where_astropy_has_it():
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    time = Time(2457000.0, TIMES, format="jd", scale="tdb")
    light_days = (
        get_body_barycentric("earth", time, ephemeris="builtin").xyz.to("km").value.T / 299792.458 / DAY
    )
    assert np.abs(barycentre.earth_position(TIMES) - light_days).max() * DAY < 1e-6
    assert barycentre.earth_position(TIMES[3]).shape == (3,)
    assert np.array_equal(barycentre.earth_position(TIMES[3]), barycentre.earth_position(TIMES)[3])


def test_light_time_agrees_with_astropy():
    from astropy import units as u
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time

    # The geocentre: astropy's own way from there to the barycentre.
    place = EarthLocation.from_geocentric(0, 0, 0, unit=u.m)
    time = Time(2457000.0, np.linspace(1325.3, 1352.0, 7), format="jd", scale="tdb", location=place)
    positions = barycentre.earth_position(time.jd1 - 2457000.0 + time.jd2)
    for ra, dec in zip(*directions(10), strict=True):
        expected = time.light_travel_time(SkyCoord(ra, dec, unit="deg"), "barycentric", ephemeris="builtin")
        ours = barycentre.light_time(positions, ra, dec)
        assert np.abs(ours - expected.to_value(u.day)).max() * DAY < 10e-6


def test_light_time_is_positive_towards_the_star():
    # In June the Sun is in the north: the Earth, opposite to it, is nearer to southern stars.
    june = barycentre.earth_position(np.array([2458290.9 - 2457000.0]))
    assert barycentre.light_time(june, 0.0, -90.0)[0] * DAY == pytest.approx(
        499.0 * np.sin(np.deg2rad(23.4)), rel=0.03
    )
    assert barycentre.light_time(june, 90.0, 23.4)[0] * DAY < -490


def test_ephemeris_from_the_frames_own_correction_is_exact_at_the_centre():
    time = np.linspace(1325.3, 1352.9, 50)
    timecorr = 0.004 + 1e-5 * np.sin(time)
    positions, source = barycentre.ephemeris(time, timecorr, 70.2, -60.0)
    assert "Earth" in source
    assert "BARYCORR" in source
    assert np.abs(barycentre.light_time(positions, 70.2, -60.0) - timecorr).max() < 1e-15
    # Nothing is moved across the line of sight.
    across = np.cross(positions - barycentre.earth_position(time), unit_vectors(70.2, -60.0))
    assert np.abs(across).max() < 1e-15


def test_missing_corrections_are_interpolated():
    time = np.linspace(1325.3, 1352.9, 50)
    truth = barycentre.light_time(barycentre.earth_position(time), 70.2, -60.0) + (time - 1325.3) * 1e-7
    timecorr = truth.copy()
    timecorr[[0, 7, 8, 49]] = np.nan
    positions, _ = barycentre.ephemeris(time, timecorr, 70.2, -60.0)
    error = np.abs(barycentre.light_time(positions, 70.2, -60.0) - truth) * DAY
    assert error[[7, 8]].max() < 1e-6
    assert error[[0, 49]].max() < 6e-3  # held at the ends
    positions, source = barycentre.ephemeris(time, np.full(50, np.nan), 70.2, -60.0)
    assert source == "Earth (ERFA epv00)"
    assert np.array_equal(positions, barycentre.earth_position(time))


def test_unknown_time_has_no_position():
    time = np.array([1400.0, np.nan, 1401.0])
    positions, _ = barycentre.ephemeris(time, np.full(3, 1e-3), 10.0, 20.0)
    assert np.isnan(positions).all(axis=1).tolist() == [False, True, False]


@pytest.mark.real
def test_published_corrections_differ_from_earths_by_the_orbit(real):
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = next((real / "lc_spoc").glob("*25155310*_lc.fits.gz"))
        with fits.open(path) as hdus:
            header, table = hdus[0].header, hdus[1].data
            time, timecorr = table["TIME"].astype("f8"), table["TIMECORR"].astype("f8")
    keep = np.isfinite(time)
    time, timecorr = time[keep], timecorr[keep]
    years = (2458334.0 - 2451545.0) / 365.25
    dec = header["DEC_OBJ"] + header["PMDEC"] * years / 3.6e6
    ra = header["RA_OBJ"] + header["PMRA"] * years / 3.6e6 / np.cos(np.deg2rad(dec))
    earth = barycentre.earth_position(time - timecorr)
    offset = (timecorr - barycentre.light_time(earth, ra, dec)) * DAY
    assert 0.05 < np.abs(offset).max() < 1.5
    # What is left is the orbit: smooth, and no larger than from the Earth to the apogee.
    assert np.abs(np.diff(offset) / np.diff(time) / DAY).max() < 5e-5  # 4 km/s at the perigee is 1.3e-5
    positions, _ = barycentre.ephemeris(time - timecorr, timecorr, ra, dec)
    assert np.abs(barycentre.light_time(positions, ra, dec) - timecorr).max() * DAY < 1e-6


@pytest.fixture(scope="module")
def sector4(real):
    pytest.importorskip("spiceypy")
    time = np.linspace(1401.5, 1439.5, 1200)
    return time, barycentre.spice_position(time, real / "spice")


@pytest.mark.real
def test_spice_has_the_orbit_of_tess(sector4):
    time, positions = sector4
    offset = (positions - barycentre.earth_position(time)) * DAY
    distance = np.hypot.reduce(offset, axis=1) / EARTH_RADIUS
    # A lunar-resonant orbit: perigee 17 and apogee 59 Earth radii on average, 13.7 days.
    assert 15 < distance.min() < 18
    assert 57 < distance.max() < 62
    perigees = time[1:-1][(distance[1:-1] < distance[:-2]) & (distance[1:-1] < distance[2:])]
    assert len(perigees) >= 2
    assert np.diff(perigees) == pytest.approx(13.7, abs=0.3)


@pytest.mark.real
def test_analytic_earth_agrees_with_jpls(real):
    spice = pytest.importorskip("spiceypy")
    kernel = str(real / "spice" / "earth_sun_moon_tess.bsp")
    time = np.linspace(1402.0, 1438.0, 30)
    spice.furnsh(kernel)
    try:
        seconds = (time + 5455.0) * DAY
        earth, sun = (np.array([spice.spkgps(b, et, "J2000", 0)[0] for et in seconds]) for b in (399, 10))
    finally:
        spice.unload(kernel)
    ours, our_sun = (x * DAY * 299792.458 for x in barycentre._earth_and_sun(time))
    # km. The kernel's barycentre is that of DE440 or later, with the Kuiper belt: another constant place.
    assert np.abs((earth - sun) - (ours - our_sun)).max() < 12
    assert 80 < np.abs(earth - ours).max() < 130
    assert np.ptp(earth - ours, axis=0).max() < 12


@pytest.mark.real
def test_earth_instead_of_tess_is_wrong_by_a_second(sector4):
    time, positions = sector4
    in_sector = (time > 1410.9) & (time < 1436.9)
    offset = positions - barycentre.earth_position(time)
    # In the field of camera 1; -0.36 to +0.76 s is what light curves of that sector show.
    error = barycentre.light_time(offset[in_sector], 37.0, -12.0) * DAY
    assert error.min() == pytest.approx(-0.36, abs=0.02)
    assert error.max() == pytest.approx(0.76, abs=0.02)


@pytest.mark.real
def test_correction_at_the_centre_serves_the_ccd(sector4):
    time, positions = sector4
    ra, dec = 60.0, -45.0
    timecorr = barycentre.light_time(positions, ra, dec)
    ours, _ = barycentre.ephemeris(time, timecorr, ra, dec)
    for d in (-8.0, 8.0):
        error = barycentre.light_time(ours - positions, ra, dec + d) * DAY
        assert np.abs(error).max() < 1.5 * np.sin(np.deg2rad(8.0))


@pytest.mark.real
def test_spice_source_and_times_outside(real, sector4):
    time, positions = sector4
    ours, source = barycentre.ephemeris(time, np.full(len(time), np.nan), 0.0, 0.0, real / "spice")
    assert np.array_equal(ours, positions)
    assert source == "SPICE (earth_sun_moon_tess.bsp)"
    with pytest.raises(
        InputError, match=r"spice: TESS kernels cover BTJD 1401\..* to 1439\..*1325\.30"
    ) as error:
        barycentre.spice_position(np.array([1325.3, 1340.0]), real / "spice")
    assert "\n" not in str(error.value)


@pytest.mark.real
def test_kernel_from_the_earth_is_joined_to_the_barycentre(real, sector4, tmp_path):
    spice = pytest.importorskip("spiceypy")
    time, positions = sector4
    relative = (positions - barycentre.earth_position(time)) * DAY * 299792.458
    seconds = (time + 5455.0) * DAY
    handle = spice.spkopn(str(tmp_path / "tess.bsp"), "test", 0)
    step = seconds[1] - seconds[0]
    states = np.hstack([relative, np.gradient(relative, step, axis=0)])
    spice.spkw09(handle, -95, 399, "J2000", seconds[0], seconds[-1], "TESS", 7, len(seconds), states, seconds)
    spice.spkcls(handle)
    inner = np.linspace(1402.0, 1439.0, 20)
    ours, source = barycentre.ephemeris(inner, inner * 0, 0.0, 0.0, tmp_path)
    assert "Earth of ERFA" in source
    expected = barycentre.spice_position(inner, real / "spice")
    assert np.abs(ours - expected).max() * DAY < 5e-4


def test_missing_or_corrupt_kernels(tmp_path):
    pytest.importorskip("spiceypy")
    with pytest.raises(MissingInput, match="nowhere"):
        barycentre.spice_position(1400.0, tmp_path / "nowhere")
    with pytest.raises(MissingInput, match="bsp"):
        barycentre.spice_position(1400.0, tmp_path)
    (tmp_path / "broken.bsp").write_bytes(b"not a kernel" * 200)
    with pytest.raises(InputError, match=r"broken\.bsp") as error:
        barycentre.spice_position(1400.0, tmp_path)
    assert "\n" not in str(error.value)


def test_without_spiceypy_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spiceypy", None)
    with pytest.raises(InputError, match=r"tasoc-mpi\[spice\]"):
        barycentre.spice_position(1400.0, tmp_path)


def test_many_times_are_interpolated_to_nanoseconds():
    times = np.linspace(1325.3, 1353.2, 5000)
    alone = np.concatenate([barycentre.earth_position(times[i : i + 1]) for i in range(0, 5000, 250)])
    np.testing.assert_allclose(
        barycentre.earth_position(times)[::250] * 86400, alone * 86400, rtol=0, atol=2e-8
    )


def test_series_of_other_days_are_interpolated_anew():
    """Series of the same days have their interpolation in common, in any order of the calls."""
    for first in (1325.3, 1400.1, 1325.3):
        for days in (1.0, 3.0):
            time = np.linspace(first, first + days, 100)
            direct = np.array([barycentre.earth_position(t) for t in time])
            assert np.abs(barycentre.earth_position(time) - direct).max() * 86400 < 1e-8
