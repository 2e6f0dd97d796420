"""The models behind the simulated frames: response, motion, times, stars, sky, full wells, noise."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from tasoc_mpi.core.errors import UsageError
from tasoc_mpi.core.settings import mag2flux
from tasoc_mpi.core.times import DAY
from tasoc_mpi.kernels.prf import add_stars, prf_image, prf_radius, sigma_scale
from tasoc_mpi.products.ccd_outline import CAMERA_CENTRES
from tasoc_mpi.products.frame_wcs import FrameWCS
from tasoc_mpi.simulate import SimulationOptions, simulate
from tasoc_mpi.simulate.mission_cards import calendar, output_bit, reads
from tasoc_mpi.simulate.pointing import load_pointing, moved_wcs
from tasoc_mpi.simulate.render import add_cosmics, add_noise, add_sky, bleed
from tasoc_mpi.simulate.sky import sky_levels, sky_patterns
from tasoc_mpi.simulate.stars import KINDS, Variability, counts, make_stars, make_variability
from tasoc_mpi.simulate.timeline import frame_times, make_timeline, stamp_times, tess_position
from tasoc_mpi.simulate.truth_file import read_truth


def gaussian_pixels(n, position, sigma):
    edges = np.arange(n + 1) - 0.5
    return np.diff(erf((edges - position) / (sigma * np.sqrt(2)))) / 2


def test_response_is_that_of_two_gaussians():
    rows, columns, fluxes, scales = np.array([[9.3, 12.8], [10.9, 3.2], [1000.0, 50.0], [1.0, 1.15]])
    image = prf_image((24, 26), (100.0, 200.0), rows + 100, columns + 200, fluxes, scales, 40)
    expected = np.zeros((24, 26))
    for y, x, f, s in zip(rows, columns, fluxes, scales, strict=True):
        for sigma, weight in ((0.70 * s, 0.85), (1.60 * s, 0.15)):
            outer = np.outer(gaussian_pixels(24, y, sigma), gaussian_pixels(26, x, sigma))
            expected += f * weight * outer
    np.testing.assert_allclose(image, expected, atol=1e-10)


def test_all_light_is_within_the_radius_of_a_star():
    fluxes = mag2flux(np.array([3.0, 8.0, 13.0, 18.0]))
    scales = np.array([1.0, 1.1, 1.2, 1.0])
    radii = prf_radius(fluxes, scales)
    assert (np.diff(radii) <= 0).all()
    for flux, scale, radius in zip(fluxes, scales, radii, strict=True):
        image = np.zeros((141, 141), dtype="f4")
        one = np.ones(1)
        add_stars(image, (0.0, 0.0), 70.2 * one, 69.9 * one, flux * one, scale * one, np.array([radius]))
        assert image.sum(dtype="f8") == pytest.approx(flux, rel=3e-4, abs=0.06)


def test_stars_at_the_edge_and_without_a_place_do_no_harm():
    image = np.zeros((10, 10), dtype="f4")
    rows, columns = np.array([-3.0, np.nan, 500.0, 9.4]), np.array([4.0, 3.0, 3.0, 9.9])
    add_stars(image, (0.0, 0.0), rows, columns, np.full(4, 1e4), np.ones(4), np.full(4, 6))
    assert np.isfinite(image).all()
    assert 0 < image.sum() < 2e4


def test_response_is_a_fifth_wider_3000_pixels_from_the_camera_centre():
    row, column = CAMERA_CENTRES[1, 1]
    np.testing.assert_allclose(
        sigma_scale(np.array([row, row - 3000]), np.array([column, column]), (row, column)), [1.0, 1.2]
    )


@given(
    dx=st.floats(-1, 1),
    dy=st.floats(-1, 1),
    roll=st.floats(-1e-3, 1e-3),
    stretch=st.floats(-3e-4, 3e-4),
    column=st.floats(44, 2091),
    row=st.floats(0, 2047),
)
@settings(max_examples=60, deadline=None)
def test_moved_wcs_moves_stars_as_asked(dx, dy, roll, stretch, column, row):
    pointing = load_pointing(1, 1, 1)
    c, s = np.cos(roll), np.sin(roll)
    matrix = np.array([[c, -s], [s, c]]) @ np.diag([1 + stretch, 1 - stretch])
    at_rest = moved_wcs(pointing, np.zeros((1, 2)), np.eye(2)[None])
    moved = moved_wcs(pointing, np.array([[dx, dy]]), matrix[None])
    ra, dec = at_rest.sky(np.array([column]), np.array([row]), 0)[0]

    def plane(place):
        u = place + 1.0 - pointing.crpix
        distortion = [np.polynomial.polynomial.polyval2d(*u, c) for c in (pointing.a, pointing.b)]
        return u + distortion

    expected = matrix @ plane(np.array([column, row])) + [dx, dy]
    # The tangent point moves with the pointing, which bends the plane: by tan(8 degrees)^2 of the shift
    # at the corners.
    atol = 0.02 * np.hypot(dx, dy) + 1e-6
    np.testing.assert_allclose(plane(moved.positions(ra, dec)[0]), expected, atol=atol)


@pytest.mark.real
def test_pointings_are_those_of_the_mission(real):
    from astropy.io import fits

    pytest.importorskip("tesswcs")
    with fits.open(real / "ffi" / "tess2018206192942-s0001-1-4-0120-s_ffic.crop.fits") as hdus:
        theirs = FrameWCS.from_headers([hdus[1].header])
        nominal = [hdus[1].header[key] for key in ("RA_NOM", "DEC_NOM", "ROLL_NOM")]
    pointing = load_pointing(1, 1, 4)
    ours = moved_wcs(pointing, np.zeros((1, 2)), np.eye(2)[None])
    column, row = (x.ravel() for x in np.meshgrid(np.linspace(44, 2091, 9), np.linspace(0, 2047, 9)))
    a, b = theirs.sky(column, row, 0), ours.sky(column, row, 0)
    away = 3600 * np.hypot((a[:, 0] - b[:, 0]) * np.cos(np.deg2rad(a[:, 1])), a[:, 1] - b[:, 1])
    # A pixel is 21 arcsec: another convention of the first pixel or column would show.
    assert np.median(away) < 5
    assert away.max() < 12
    np.testing.assert_allclose(np.array(nominal) % 360, pointing.boresight % 360, atol=1e-3)


def test_numbers_of_the_packaged_ccd_are_those_of_tesswcs():
    tesswcs = pytest.importorskip("tesswcs")
    wcs = tesswcs.WCS.from_sector(1, 1, 1)
    pointing = load_pointing(1, 1, 1)
    ours = moved_wcs(pointing, np.zeros((1, 2)), np.eye(2)[None])
    column, row = np.array([44.0, 1000.0, 2091.0]), np.array([0.0, 1500.0, 2047.0])
    theirs = np.stack(wcs.all_pix2world(column, row, 0), axis=-1)
    np.testing.assert_allclose(ours.sky(column, row, 0), theirs, atol=1e-9)


def test_every_ccd_of_every_camera_has_a_pointing():
    pytest.importorskip("tesswcs")
    for camera in (1, 2, 3, 4):
        for ccd in (1, 2, 3, 4):
            pointing = load_pointing(40, camera, ccd)
            wcs = moved_wcs(pointing, np.zeros((1, 2)), np.eye(2)[None])
            ra, dec = wcs.sky(np.array([1000.0]), np.array([900.0]), 0)[0]
            np.testing.assert_allclose(wcs.positions(ra, dec)[0], [1000, 900], atol=1e-6)
            # The camera centre is where the four CCDs of a camera meet: beyond its own corner.
            row, column = CAMERA_CENTRES[camera, ccd]
            centre = wcs.sky(np.array([column]), np.array([row]), 0)[0]
            if ccd == 1:
                first = centre
            assert np.abs((centre - first + 180) % 360 - 180).max() < 0.1


def test_other_ccds_without_tesswcs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tesswcs", None)
    load_pointing(1, 1, 1)
    with pytest.raises(UsageError, match=r"pip install 'tasoc-mpi\[simulate\]'"):
        load_pointing(2, 1, 1)


def test_a_sector_that_is_not_known():
    pytest.importorskip("tesswcs")
    with pytest.raises(UsageError, match=r"--sector 999: .* sectors 1 to \d+"):
        load_pointing(999, 1, 1)


def test_frames_lie_on_a_grid_with_a_gap_in_mid_sector():
    options = SimulationOptions(frames=1282)
    timeline = make_timeline(options, load_pointing(1, 1, 1))
    frames = frame_times(timeline)
    assert len(frames.begin) == 1282
    steps = np.diff(frames.begin) * DAY / 1800
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-5)
    (jump,) = np.nonzero(np.rint(steps) != 1)
    assert len(jump) == 1
    assert steps[jump[0]] / 48 == pytest.approx(1.0, abs=0.05)
    assert frames.middle[jump[0]] - frames.begin[0] == pytest.approx(13.2, abs=0.1)
    np.testing.assert_array_equal(np.diff(frames.cadenceno), np.rint(steps))
    assert not frames.gap.any()
    # The first frame of sector 1, by the mission: cadence 4697, begun at 2018-07-25T19:29:42.708Z.
    assert frames.cadenceno[0] == 4697
    assert calendar(frames.begin[:1])[0].startswith("2018-07-25T19:29:42.70")


def test_stamps_and_frames_share_their_attitude():
    options = SimulationOptions(frames=150)
    timeline = make_timeline(options, load_pointing(1, 1, 1))
    frames, stamps = frame_times(timeline), stamp_times(timeline)
    np.testing.assert_allclose(stamps.shift.reshape(150, 15, 2).mean(axis=1), frames.shift, atol=1e-12)
    np.testing.assert_allclose(stamps.middle.reshape(150, 15).mean(axis=1), frames.middle, atol=1e-9)
    # Momentum dumps: one in 3.1 days, with the flag of a desaturation, and the pointing is off.
    (dump,) = np.nonzero(frames.quality)
    assert list(frames.quality[dump]) == [32]
    assert (stamps.quality != 0).sum() == 5
    away = np.abs(stamps.shift - np.median(stamps.shift, axis=0)).max(axis=1)
    assert away[stamps.quality != 0].max() > 4 * np.median(away)


def test_motion_is_that_of_the_spacecraft():
    timeline = make_timeline(SimulationOptions(), load_pointing(1, 1, 1))
    frames, stamps = frame_times(timeline), stamp_times(timeline)
    quiet = frames.quality == 0
    assert 0.01 < frames.shift[quiet].std() < 0.05
    assert 0.01 < np.diff(stamps.shift[stamps.quality == 0], axis=0).std() < 0.05
    # Aberration: some tenths of a pixel over the sector at the corners of the CCD.
    drift = (frames.dva_phase[-1] - frames.dva_phase[0]) * timeline.dva @ [1024.0, 1024.0]
    assert 0.1 < np.hypot(*drift) < 0.4
    still = frame_times(make_timeline(SimulationOptions(jitter=False), load_pointing(1, 1, 1)))
    assert (still.matrix == np.eye(2)).all()
    assert (still.shift == 0).all()
    assert (still.quality == 0).all()


@pytest.mark.parametrize("cadence", [200, 600, 1800])
def test_every_cadence(cadence):
    options = SimulationOptions(cadence=cadence, frames=7, first_frame=5)
    frames = frame_times(make_timeline(options, load_pointing(1, 1, 1)))
    np.testing.assert_allclose(np.diff(frames.begin) * DAY, cadence, atol=1e-4)
    np.testing.assert_array_equal(np.diff(frames.cadenceno), 1)
    assert reads(cadence) == (cadence // 2, cadence * 2 // 5)


def test_tess_is_near_the_earth():
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    time = 1325.3 + np.linspace(0, 27.4, 200)
    position = tess_position(time, 1325.3)
    earth = get_body_barycentric("earth", Time(time + 2457000.0, format="jd", scale="tdb"), "builtin")
    away = np.linalg.norm(position - earth.xyz.to_value("lightyear").T * 365.25, axis=1) * DAY
    # Light seconds: 17 and 59 Earth radii are TESS's perigee and apogee, give or take.
    assert 0.3 < away.min() < 0.5
    assert 1.1 < away.max() < 1.4


def test_star_counts():
    assert counts(15.0) == pytest.approx(20000)
    options = SimulationOptions(rows=400, columns=500, tmag_max=16, density=2)
    wcs = moved_wcs(load_pointing(1, 1, 1), np.zeros((1, 2)), np.eye(2)[None])
    stars = make_stars(options, wcs, 0)
    for limit in (12, 14, 16):
        expected = 2 * counts(limit) * 412 * 512 / 2048**2
        assert (stars.tmag < limit).sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert stars.tmag[0] < 6.0
    assert len(np.unique(stars.starid)) == len(stars)
    place = wcs.stars(stars.ra, stars.decl, 0)
    np.testing.assert_allclose(place, np.stack([stars.column, stars.row], axis=-1), atol=1e-6)


def make_variables(options):
    wcs = moved_wcs(load_pointing(1, 1, 1), np.zeros((1, 2)), np.eye(2)[None])
    stars = make_stars(options, wcs, 0)
    return stars, make_variability(options, stars, 1325.3, 27.4)


def test_a_tenth_of_the_brighter_stars_vary_in_all_ways():
    stars, v = make_variables(SimulationOptions(rows=1024, columns=1024))
    bright = (stars.tmag < 13).sum()
    assert len(v) == pytest.approx(0.1 * bright, rel=0.05)
    assert (stars.tmag[v.star] < 13).all()
    assert {KINDS[k] for k in v.kind} == {"pulsator", "giant", "transit", "eclipse"}
    time = 1325.3 + np.arange(0, 27.4, 120 / DAY)
    for i, kind in enumerate(v.kind):
        factor = v.factor(i, time)
        assert (factor > 0.3).all()
        if KINDS[kind] == "transit":
            assert v.factor(i, np.array([v.epoch[i], v.epoch[i] + 3 * v.period[i]])) == pytest.approx(
                1 - v.depth[i]
            )
            assert factor.min() == pytest.approx(1 - v.depth[i])
            assert (
                factor[np.abs((time - v.epoch[i]) % v.period[i] - v.period[i] / 2) < 0.25 * v.period[i]] == 1
            ).all()
        elif KINDS[kind] == "eclipse":
            assert factor.min() == pytest.approx(1 - v.depth[i], rel=0.02)
            assert v.factor(i, v.epoch[i] + v.period[i] / 2) == pytest.approx(1 - v.depth2[i])
        else:
            assert factor.mean() == pytest.approx(1.0, abs=2e-3)
            assert np.abs(factor - 1).max() <= v.amplitude[i].sum() + 1e-12


def test_the_strongest_wave_comes_back_from_a_periodogram():
    from astropy.timeseries import LombScargle

    _, v = make_variables(SimulationOptions(rows=1024, columns=1024))
    (i, *_) = (i for i in range(len(v)) if KINDS[v.kind[i]] == "pulsator")
    time = np.arange(0, 27.4, 1800 / DAY)
    frequency = np.arange(0.5, 23, 0.002)
    power = LombScargle(time, v.factor(i, time)).power(frequency)
    assert frequency[np.argmax(power)] == pytest.approx(1 / v.period[i], abs=0.01)


def test_a_simulation_without_variables_has_none():
    _, v = make_variables(SimulationOptions(variables=False))
    assert isinstance(v, Variability)
    assert len(v) == 0


@given(
    stars=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 5), st.floats(1e3, 8e5)), max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_bleeding_keeps_the_charge(stars):
    image = np.full((40, 6), 100.0, dtype="f4")
    for row, column, charge in stars:
        image[row, column] += charge
    before = image.sum(axis=0, dtype="f8")
    lost = bleed(image, 1e5)
    assert image.max() <= 1e5
    assert image.min() >= 100.0
    assert image.sum(dtype="f8") + lost == pytest.approx(before.sum(), rel=1e-6)
    # Charge moves along columns, not across.
    clean = np.array([c not in {s[1] for s in stars} for c in range(6)])
    np.testing.assert_array_equal(image[:, clean], 100.0)


def test_a_saturated_star_bleeds_both_ways():
    image = np.zeros((101, 3), dtype="f4")
    image[50, 1] = 21e5
    assert bleed(image, 1e5) == 0
    np.testing.assert_allclose(image[40:61, 1], 1e5)
    assert image[:40].sum() + image[61:].sum() == 0


def test_noise_is_that_of_photons_and_reads():
    exposure, used, read_noise = 720 * 1.98, 720, 10.0
    rng = np.random.default_rng(0)
    for level in (0.0, 100.0, 5000.0):
        image = np.full((300, 300), level, dtype="f4")
        error = add_noise(image, rng, exposure, used, read_noise)
        expected = np.sqrt(level * exposure + used * read_noise**2) / exposure
        np.testing.assert_allclose(error, expected, rtol=1e-5)
        assert image.std() == pytest.approx(expected, rel=0.01)
        assert image.mean() == pytest.approx(level, abs=4 * expected / 300)


def test_cosmic_rays_hit_now_and_then():
    rng = np.random.default_rng(1)
    image = np.zeros((512, 512), dtype="f4")
    hits = sum(add_cosmics(image, rng, 1800, 1425.6) for _ in range(100))
    assert hits == pytest.approx(262, abs=65)
    assert hits <= (image > 0).sum() <= 5 * hits


def test_the_sky_glows_in_the_corner_and_at_perigee():
    options = SimulationOptions()
    rows, columns = np.arange(0, 2048, 8), np.arange(44, 2092, 8)
    patterns = sky_patterns(options, rows, columns)
    levels = sky_levels(options, 1325.3 + np.array([0.0, 6.85]), 1325.3)
    images = np.zeros((2, len(rows), len(columns)), dtype="f4")
    for image, level in zip(images, levels, strict=True):
        add_sky(image, patterns, level)
    quiet = images[1]
    # Far from the camera centre, which is beyond the last row and column.
    assert quiet[0, 0] > quiet[60, 60] + 20
    assert 80 < np.median(quiet) < 120
    assert (images[0] - quiet).min() > 20
    np.testing.assert_allclose(quiet, np.einsum("k,krc->rc", levels[1], patterns.astype("f8")), rtol=1e-6)
    assert (sky_levels(SimulationOptions(sky=0), 1325.3 + np.arange(3), 1325.3) == 0).all()


def test_outputs_of_the_ccd():
    columns = np.array([44, 555, 556, 1067, 1068, 1579, 1580, 2091])
    np.testing.assert_array_equal(output_bit(columns), [32, 32, 64, 64, 128, 128, 256, 256])


def test_systematics_change_the_images_by_their_truth(tmp_path):
    """Drifts that the headers do not tell, a step, and light that the background cannot follow."""
    plain = SimulationOptions(
        rows=48, columns=48, frames=40, tpfs=0, noise=False, cosmics=False, jitter=False, bright=False,
        variables=False, sky=0.0,
    )  # fmt: skip
    images, truths = [], []
    for name, options in (("plain", plain), ("drifting", replace(plain, systematics=2.0))):
        paths = simulate(tmp_path / name, options)
        images.append(np.stack([fits.getdata(path, 1) for path in paths.ffis]))
        truths.append(read_truth(paths.truth))
    without, with_them = images
    np.testing.assert_array_equal(truths[0].frames["crval"], truths[1].frames["crval"])
    assert "systematics_focus" not in truths[0].frames
    focus = truths[1].frames["systematics_focus"]
    assert 0.01 < focus[0] < 0.06
    assert focus[-1] < focus[0]
    np.testing.assert_allclose(truths[1].frames["systematics_sensitivity"], 1.0)
    # The residual scattered light goes up and down: the sum of the light stays, but for stars at the edges.
    ratio = with_them.sum(axis=(1, 2)) / without.sum(axis=(1, 2))
    np.testing.assert_allclose(ratio, 1.0, atol=0.08)
    assert np.abs(with_them[0] - without[0]).max() > 2.0


def test_a_simulation_with_systematics_has_rotating_and_flaring_stars():
    _, v = make_variables(SimulationOptions(rows=1024, columns=1024, systematics=1.0))
    assert {KINDS[k] for k in v.kind} == set(KINDS) - {"constant"}
    time = 1325.3 + np.arange(0, 27.4, 120 / DAY)
    flaring = np.flatnonzero(v.kind == KINDS.index("flares"))
    for i in flaring:
        factor = v.factor(int(i), time)
        assert factor.max() == pytest.approx(1 + v.depth[i], rel=0.05)
        assert np.median(factor) == pytest.approx(1.0, abs=1e-3)
