"""Halo photometry: weights against their definition, light curves against a simulation, and bad input."""

import logging
import shutil
from pathlib import Path

import h5py
import matplotlib.image as mpimg
import numpy as np
import pytest
import threadpoolctl
from astropy.io import fits

from tasoc_mpi import cli
from tasoc_mpi.core.quality import TESSQualityFlags
from tasoc_mpi.core.settings import load_settings, mag2flux
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.kernels.weighted_sum import row_products, weighted_sum
from tasoc_mpi.one_star import tessphot
from tasoc_mpi.photometry.halo import HaloPhotometry
from tasoc_mpi.photometry.halo_fit import fit_segments
from tasoc_mpi.photometry.halo_pixels import choose_pixels, neighbour_wings, saturated_regions
from tasoc_mpi.photometry.halo_segments import match_levels
from tasoc_mpi.photometry.halo_signals import periodic_basis, without_signals
from tasoc_mpi.photometry.halo_weights import OBJECTIVES, differences, optimal_weights, roughness
from tasoc_mpi.report.star_plots import plot_star
from tasoc_mpi.simulate import SimulationOptions, simulate
from tasoc_mpi.simulate.bright import BrightStar
from tasoc_mpi.simulate.truth_file import read_truth

WHERE = {"sector": 1, "camera": 1, "ccd": 1}
FRAMES = 200
#: Far from the edges with a pulsation; in the corner of the CCD; next to the first, and dimming by a third.
STARS = (
    BrightStar(66.3, 90.2, 4.0, "delta-scuti", 2e-3),
    BrightStar(3.4, 130.0, 4.5),
    BrightStar(141.0, 46.0, 5.5),
    BrightStar(69.0, 101.0, 6.5, "eclipse", 0.3),
)


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Folder of a corner of a CCD with the stars, prepared, and their TIC numbers and true light curves."""
    folder = tmp_path_factory.mktemp("bright")
    options = SimulationOptions(
        frames=FRAMES, rows=144, columns=112, row0=0, column0=44, tpfs=0, seed=5, variables=False,
        bright=False, cosmics=False, density=0.5, bright_stars=STARS,
    )  # fmt: skip
    simulate(folder, options)
    for command in ("prepare", "todo"):
        assert cli.main(["--quiet", command, str(folder)]) == 0
    truth = read_truth(folder / "truth_sector001_camera1_ccd1.hdf5")
    starids = []
    for star in STARS:
        (k,) = np.flatnonzero(
            np.hypot(truth.stars["row"] - star.row, truth.stars["column"] - star.column) < 0.1
        )
        starids.append(int(truth.stars["starid"][k]))
    return folder, starids, truth


@pytest.fixture(scope="module")
def measured(bright, tmp_path_factory):
    """Halo photometry of the first star."""
    folder, starids, _ = bright
    with HaloPhotometry(starids[0], folder, tmp_path_factory.mktemp("out"), **WHERE) as pho:
        pho.photometry()
        yield pho


# --- Weights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "n_time"), [(1, 1), (7, 20), (8, 1025), (29, 2050)])
def test_weighted_sum(n, n_time):
    rng = np.random.default_rng(n)
    pixels, weights = rng.standard_normal((n, n_time)).astype("f4"), rng.random(n)
    np.testing.assert_allclose(weighted_sum(pixels, weights), weights @ pixels, atol=1e-5)
    by_frame = rng.standard_normal(n_time)
    np.testing.assert_allclose(row_products(pixels, by_frame), pixels @ by_frame, atol=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_and_their_derivatives(objective):
    rng = np.random.default_rng(1)
    cadenceno = np.delete(np.arange(40), [7, 20, 21])
    series = rng.standard_normal(len(cadenceno))
    between = differences(cadenceno, 3, objective)
    value, slope = roughness(series, between)
    power, order = OBJECTIVES[objective]
    at = dict(zip(cadenceno.tolist(), series, strict=True))
    sizes = []
    for t in at:
        if order == 1 and t + 3 in at:
            sizes.append(abs(at[t + 3] - at[t]))
        if order == 2 and t + 3 in at and t + 6 in at:
            sizes.append(abs(at[t + 6] - 2 * at[t + 3] + at[t]))
    assert value == pytest.approx(np.mean(np.array(sizes) ** power) ** (1 / power))
    step = 1e-6 * np.eye(len(series))
    numeric = [(roughness(series + h, between)[0] - roughness(series - h, between)[0]) / 2e-6 for h in step]
    np.testing.assert_allclose(slope, numeric, atol=1e-7)
    noise = np.mean([roughness(rng.standard_normal(len(series)), between)[0] ** power for _ in range(500)])
    assert between.noise_factor == pytest.approx(noise ** (1 / power), rel=0.03)


def moving_star(n_time=400, signal=1e-3, change=0.0):
    """Pixels that see a star move, otherwise from frame 250 on, with noise, and a pulsation of the star."""
    rng = np.random.default_rng(2)
    time = np.arange(n_time) / 48
    star = signal * np.sin(2 * np.pi * 9.3 * time)
    motion = np.cumsum(rng.standard_normal(n_time)) * 1e-3
    response = np.linspace(-1.0, 1.5, 60)
    noise = 1e-3 * rng.standard_normal((60, n_time))
    seen = response[:, None] + np.where(np.arange(n_time) < 250, 0.0, change)
    return time, star, (star + seen * motion + noise).astype("f4")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_weights_are_the_optimum(objective):
    _, _, pixels = moving_star()
    variance, start = np.full(60, 1e-6), np.ones(60)
    between = differences(np.arange(400), 5, objective)
    fit = optimal_weights(pixels, variance, start, between, 1.0, 300)

    def cost(v):
        value = roughness(weighted_sum(pixels, v), between)[0]
        return value + between.noise_factor * np.sqrt((v * v * variance).sum())

    best = cost(fit.shares)
    assert fit.shares.sum() == pytest.approx(1)
    assert (fit.shares >= 0).all()
    assert (np.diff(fit.course) < 0).all()
    assert best == pytest.approx(fit.course[-1] * cost(start / 60), rel=1e-5)
    rng = np.random.default_rng(3)
    for _ in range(100):  # the objective is convex: no step into any direction makes it smaller
        other = fit.shares * rng.random(60) if rng.random() < 0.5 else rng.random(60)
        step = 0.02 * (other / other.sum() - fit.shares)
        assert cost(fit.shares + step) > best * (1 - 2e-3)


def test_motion_goes_and_the_pulsation_stays():
    time, star, pixels = moving_star()
    light = np.ones(60)
    (fit,) = fit_segments(
        pixels, np.full(60, 1e-6), light, time, np.arange(400), [slice(0, 400)], "tv", 5, 2,
        noise_weight=1.0, iterations=101,
    )  # fmt: skip
    before, after = pixels.mean(axis=0), weighted_sum(pixels, fit.shares)
    assert np.std(after - star) < 1.6e-3 / np.sqrt(60)
    assert np.std(before - star) > 1e-3
    assert star @ after / (star @ star) == pytest.approx(1, abs=0.02)


def test_eclipses_do_not_bring_motion_in():
    time, star, pixels = moving_star()
    eclipse = np.where(np.abs(time % 2.3 - 1.1) < 0.1, -0.05, 0.0).astype("f4")
    pixels = pixels - star.astype("f4") + eclipse
    (fit,) = fit_segments(
        pixels, np.full(60, 1e-6), np.ones(60), time, np.arange(400), [slice(0, 400)], "tv", 5, 2, 1.0, 101
    )
    after = weighted_sum(pixels, fit.shares)
    assert np.std(after - eclipse) < 1.6e-3 / np.sqrt(60)
    assert eclipse @ after / (eclipse @ eclipse) == pytest.approx(1, abs=0.01)


def test_weights_of_many_pixels_do_not_follow_the_noise():
    rng = np.random.default_rng(5)
    light = 10 ** rng.uniform(-3.0, 0.0, 600)
    variance = 1e-6 / light
    pixels = (np.sqrt(variance)[:, None] * rng.standard_normal((600, 200))).astype("f4")
    (fit,) = fit_segments(
        pixels, variance, light, np.arange(200) / 48, np.arange(200), [slice(0, 200)], "tv", 5, 2, 1.0, 101
    )
    scatter = np.std(weighted_sum(pixels, fit.shares))
    assert scatter / np.sqrt((fit.shares**2 * variance).sum()) == pytest.approx(1, abs=0.15)


def test_a_star_that_varies_without_a_period_gets_the_plain_sum():
    _, star, pixels = moving_star()
    rng = np.random.default_rng(6)
    granulation = np.convolve(rng.standard_normal(408), np.exp(-np.arange(9) / 5.0), "valid")
    pixels += (3e-2 * granulation - star).astype("f4")
    (fit,) = fit_segments(
        pixels, np.full(60, 1e-6), np.ones(60), np.arange(400) / 48, np.arange(400), [slice(0, 400)], "tv",
        5, 2, 1.0, 101,
    )  # fmt: skip
    np.testing.assert_allclose(fit.shares, 1 / 60)


@pytest.mark.parametrize("change", [0.0, -0.4])
def test_a_listed_time_divides_only_where_the_pointing_changes(change):
    time, star, pixels = moving_star(change=change)
    pieces = [slice(0, 250), slice(250, 400)]
    fits = fit_segments(
        pixels, np.full(60, 1e-6), np.ones(60), time, np.arange(400), pieces, "tv", 5, 2, 1.0, 101
    )
    assert len(fits) == (2 if change else 1)
    for piece, fit in zip(pieces, fits if change else 2 * fits, strict=True):
        after = weighted_sum(np.ascontiguousarray(pixels[:, piece]), fit.shares)
        assert np.std(after - star[piece]) < 1.8e-3 / np.sqrt(60)


def test_periodic_signals_are_taken_out():
    time, star, pixels = moving_star()
    basis = periodic_basis(time, np.arange(400), 1 + star + 1e-4 * np.random.default_rng(1).normal(size=400))
    assert basis.shape == (2, 400)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-9)
    rest = without_signals(pixels, basis)
    assert np.abs(rest @ basis.T).max() < 1e-6
    assert np.abs(star - (star @ basis.T) @ basis).max() < 0.05 * star.max()


def test_the_result_does_not_depend_on_threads():
    time, _, pixels = moving_star()
    found = []
    for threads in (1, 2, 4):
        with threadpoolctl.threadpool_limits(threads):
            (fit,) = fit_segments(
                pixels,
                np.full(60, 1e-6),
                np.ones(60),
                time,
                np.arange(400),
                [slice(0, 400)],
                "tv",
                5,
                2,
                1.0,
                50,
            )
        found.append(fit.shares.tobytes())
    assert len(set(found)) == 1


# --- Pixels and segments ------------------------------------------------------------------------------


def picture():
    """A saturated star with a bleed column, whose wings fall with the third power of the distance."""
    rows, columns = np.indices((41, 41))
    distance = np.hypot(rows - 20, columns - 20)
    image = (1e6 / np.maximum(distance, 2.0) ** 3).astype("f4")
    image[12:29, 20] = 1e5
    return image, distance


def test_the_saturated_region_is_one_series():
    image, distance = picture()
    regions = saturated_regions(image, 5e4, 20.1, 19.8)
    assert regions[0][12:29, 20].all()
    assert not regions[1].any()
    nothing = np.zeros(image.shape)
    arguments = (image, np.ones(image.shape, bool), regions, distance, 15.0, nothing, 0.01)
    pixels = choose_pixels(*arguments, True)
    assert pixels.core
    assert (pixels.index[regions[0]] == pixels.count - 1).all()
    assert pixels.count == ((distance <= 15) & ~regions[0]).sum() + 1
    without = choose_pixels(*arguments, False)
    assert not without.core
    assert not (without.mask & regions[0]).any()


@pytest.mark.parametrize("problem", ["edge", "missing", "neighbour"])
def test_a_saturated_region_that_is_not_whole_is_left_out(problem):
    image, distance = picture()
    usable, light = np.ones(image.shape, bool), np.zeros(image.shape)
    if problem == "edge":
        image[:28, 20] = 1e5
    elif problem == "missing":
        usable[15, 20] = False
    else:
        light[18:23, 18:23] = 3e4
    regions = saturated_regions(image, 5e4, 20.0, 20.0)
    pixels = choose_pixels(image, usable, regions, distance, 15.0, light, 0.01, True)
    assert not pixels.core
    assert pixels.reason
    assert not (pixels.mask & regions[0]).any()


def test_wings_of_a_neighbour_are_those_of_the_target():
    image, distance = picture()
    usable = (distance > 3) & (np.abs(np.indices(image.shape)[1] - 20) > 1)
    light = neighbour_wings(image, usable, (20.0, 20.0), np.array([[20.0, 32.0, 0.1]]))
    away = np.hypot(*(np.indices(image.shape) - np.array([20, 32])[:, None, None]))
    far = (away > 4) & (away < 15)
    assert np.abs(light[far] / (1e5 / away[far] ** 3) - 1).max() < 0.25


def test_levels_match_and_changes_of_the_star_stay():
    time = np.concatenate([np.arange(100) / 48, 4 + np.arange(100) / 48])
    good = np.ones(200, dtype=bool)
    star = np.where(time > 3, 0.95, 1.0)
    own = star * np.where(time > 3, 1.02, 1.0)
    factors = match_levels(time, good, [(0, 100), (100, 200)], own, star)
    np.testing.assert_allclose(own * factors, star)


# --- Light curves -------------------------------------------------------------------------------------


def test_a_pulsating_star(measured, bright):
    _, starids, truth = bright
    assert measured.status is STATUS.OK
    table = measured.lightcurve
    good = TESSQualityFlags.filter(np.asarray(table["quality"]))
    flux, error = np.asarray(table["flux"])[good], np.asarray(table["flux_err"])[good]
    assert np.median(flux) == pytest.approx(mag2flux(4.0))
    variability, v = truth.variable(starids[0])
    offsets = (np.arange(5) - 2) / 5 * 1800 / 86400
    signal = variability.factor(v, np.asarray(table["time"])[good][:, None] + offsets).mean(axis=1) - 1
    x = np.linspace(-1, 1, len(flux))
    design = np.stack([signal, *(x**k for k in range(6))], axis=1)
    solution = np.linalg.lstsq(design, flux / np.median(flux), rcond=None)[0]
    assert solution[0] == pytest.approx(1, abs=0.01)
    rest = flux / np.median(flux) - design @ solution
    assert 0.7 < np.std(rest) / np.median(error / np.median(flux)) < 1.3


def test_the_stamp_holds_the_mask_and_the_saturated_pixels(measured):
    row_min, row_max, col_min, col_max = measured.stamp
    # 20 pixels around row 66.3 and column 90.2
    assert row_min <= 46
    assert row_max > 86
    assert col_min <= 70
    assert col_max > 110
    assert measured.halo_pixels.core
    assert not measured.final_phot_mask[[0, -1]][:, measured.halo_pixels.index[0] < 0].all()


def test_pixels_of_the_neighbour_are_left_out(measured):
    row, column = round(69.0) - measured.stamp[0], round(101.0) - measured.stamp[2]
    assert not measured.final_phot_mask[row - 2 : row + 3, column - 2 : column + 3].any()
    assert measured.contamination < 0.01


def test_dips_of_the_neighbour_do_not_leak(measured, bright):
    _, starids, truth = bright
    variability, v = truth.variable(starids[3])
    table = measured.lightcurve
    good = TESSQualityFlags.filter(np.asarray(table["quality"]))
    dips = variability.factor(v, np.asarray(table["time"]))[good] - 1
    flux = np.asarray(table["flux"])[good] / mag2flux(4.0)
    x = np.linspace(-1, 1, len(flux))
    design = np.stack([dips, *(x**k for k in range(6))], axis=1)
    leak = np.linalg.lstsq(design, flux, rcond=None)[0][0]
    assert abs(leak) * mag2flux(4.0) / mag2flux(6.5) < 0.03


def test_the_file(measured):
    with fits.open(measured.save_lightcurve()) as hdus:
        header, table = hdus[0].header, hdus["WEIGHTMAP"].data
        assert header["PHOTMET"] == "halo"
        assert header["HALO_OBJ"] == "tv"
        for name in ("VER", "THR", "MXI", "SCL", "MFL", "LAG", "SEG", "EFF"):
            assert f"HALO_{name}" in header
        assert len(table) == header["HALO_SEG"]
        assert table["WEIGHTMAP"].shape[1:] == hdus["SUMIMAGE"].data.shape
        np.testing.assert_allclose(table["WEIGHTMAP"].sum(axis=(1, 2)), 1, rtol=1e-5)
        assert (table["WEIGHTMAP"] >= 0).all()
        assert table["CADENCENO1"][0] == hdus["LIGHTCURVE"].data["CADENCENO"][0]
        assert table["CADENCENO2"][-1] == hdus["LIGHTCURVE"].data["CADENCENO"][-1]
        assert table["SAT_PIXELS"][0] > 9
        used = (hdus["APERTURE"].data & 2) > 0
        assert not table["WEIGHTMAP"][0][~used].any()
        effective = 1 / (table["WEIGHTMAP"].astype("f8") ** 2).sum(axis=(1, 2))
        assert header["HALO_EFF"] == pytest.approx(effective.min(), rel=1e-3)


def test_centroids_are_pixels_of_the_ccd_from_one(measured):
    column, row = np.nanmedian(measured.lightcurve["pos_centroid"], axis=0)
    assert column == pytest.approx(91.2, abs=0.3)
    assert row == pytest.approx(67.3, abs=0.6)


def test_objectives_can_be_chosen(bright, tmp_path):
    folder, starids, _ = bright
    with HaloPhotometry(starids[0], folder, tmp_path, **WHERE) as pho:
        pho.photometry(objective="l2v")
        assert pho.status is STATUS.OK
        assert pho.additional_headers["HALO_OBJ"][0] == "l2v"
        with pytest.raises(ValueError, match="objective 'entropy': one of tv"):
            pho.photometry(objective="entropy")


def test_a_star_at_the_edge_is_switched_to_halo(bright, tmp_path):
    folder, starids, _ = bright
    with tessphot(None, starids[1], folder, tmp_path, **WHERE) as pho:
        assert pho.method == "halo"
        assert pho.status is STATUS.OK
        assert "Automatically switched to Halo photometry" in pho.result.errors
        assert not pho.halo_pixels.core
        flux = pho.lightcurve["flux"][TESSQualityFlags.filter(np.asarray(pho.lightcurve["quality"]))]
        assert np.median(flux) == pytest.approx(mag2flux(4.5))
        assert np.std(np.diff(flux)) < 1e-3 * np.median(flux)
        assert pho.result.method_used == "halo"


def test_a_target_pixel_file(simulated, tmp_path):
    truth = read_truth(simulated.folder / "truth_sector001_camera1_ccd1.hdf5")
    starid = int(truth.tpfs["starid"][0])
    with HaloPhotometry(starid, simulated.folder, tmp_path, datasource="tpf") as pho:
        pho.photometry()
        assert pho.status in (STATUS.OK, STATUS.WARNING)
        assert np.isfinite(pho.result.rms_hour)
        pho.save_lightcurve()


# --- Bad input ----------------------------------------------------------------------------------------


@pytest.fixture
def changed(bright, tmp_path):
    """Gives a function that changes the cube of a copy and runs halo photometry of the first star on it."""
    folder, starids, _ = bright
    for path in folder.glob("*.*"):
        if path.is_file():
            shutil.copy(path, tmp_path / path.name)

    def run(change, star=0):
        with h5py.File(tmp_path / "sector001_camera1_ccd1.hdf5", "r+") as file:
            change(file)
        pho = HaloPhotometry(starids[star], tmp_path, tmp_path / "out", **WHERE)
        pho.photometry()
        return pho

    return run


def error_of(pho):
    assert pho.status is STATUS.ERROR
    (text,) = pho.result.errors
    return text


def test_too_few_frames(changed):
    def few(file):
        file["quality"][20:] |= TESSQualityFlags.ManualExclude

    assert "Only 20 frames are good" in error_of(changed(few))


def test_a_short_segment(changed):
    def split(file):
        # Twenty good frames between two gaps.
        file["quality"][100:130] |= TESSQualityFlags.ManualExclude
        file["quality"][150:180] |= TESSQualityFlags.ManualExclude

    pho = changed(split)
    assert pho.status is STATUS.WARNING
    assert pho.segments == [(0, 180), (180, 200)] or len(pho.segments) < 3
    assert any("good frames from" in text for text in pho.result.errors)
    assert np.isfinite(pho.lightcurve["flux"]).all()


def test_two_segments_have_weights_of_their_own(changed):
    def gap(file):
        file["quality"][90:120] |= TESSQualityFlags.ManualExclude

    pho = changed(gap)
    assert pho.segments == [(0, 120), (120, 200)]
    assert len(pho.weightmaps) == pho.additional_headers["HALO_SEG"][0] == 2
    assert not np.array_equal(*pho.weightmaps)
    flux = pho.lightcurve["flux"] / mag2flux(4.0)
    assert abs(np.median(flux[60:90]) - np.median(flux[120:150])) < 2e-3


@pytest.mark.parametrize("level", [0.0, -50.0])
def test_no_light(changed, level):
    def dark(file):
        file["images"][...] = level
        file["sumimage"][...] = level

    assert "pixels can be used" in error_of(changed(dark))


def test_all_saturated(changed):
    def full(file):
        file["images"][...] = 1e5
        file["sumimage"][...] = 1e5

    text = error_of(changed(full))
    assert "Only 0 pixels can be used" in text
    assert "are saturated" in text


def test_missing_pixels_and_frames(changed):
    def lose(file):
        file["images"][50:52, :, :100] = np.nan  # half of the frames of two rows
        file["images"][66, 46, 17] = np.nan  # one frame of a pixel in the middle of the star

    pho = changed(lose)
    assert pho.status is STATUS.OK
    assert not pho.final_phot_mask[50 - pho.stamp[0] : 52 - pho.stamp[0]].any()
    assert np.isnan(pho.lightcurve["flux"][17])
    assert np.isnan(pho.lightcurve["flux_err"][17])
    assert np.isfinite(np.delete(pho.lightcurve["flux"], 17)).all()


def test_an_error_that_is_not_known_leaves_the_weights_alone(changed, measured):
    def lose(file):
        file["images_err"][66, 46, 17] = np.nan

    pho = changed(lose)
    assert len(pho.courses[0]) > 2
    np.testing.assert_allclose(pho.lightcurve["flux"], measured.lightcurve["flux"], rtol=1e-4)
    assert np.flatnonzero(np.isnan(pho.lightcurve["flux_err"])).tolist() == [17]


def test_a_star_in_the_corner(bright, tmp_path):
    folder, starids, _ = bright
    with HaloPhotometry(starids[2], folder, tmp_path, **WHERE) as pho:
        pho.photometry()
        assert pho.status is STATUS.WARNING
        assert any("of the mask have pixels" in text for text in pho.result.errors)


def test_a_star_without_a_magnitude(bright, tmp_path):
    folder, starids, _ = bright
    with HaloPhotometry(starids[0], folder, tmp_path, **WHERE) as pho:
        pho.target["tmag"] = float("nan")
        pho.photometry()
        assert "no TESS magnitude" in error_of(pho)


def test_too_few_pixels(bright, tmp_path, monkeypatch):
    folder, starids, _ = bright
    settings = tmp_path / "settings.ini"
    settings.write_text("[halo]\nradius = 3\nsaturation = 100\n")
    monkeypatch.setenv("TESSPHOT_SETTINGS", str(settings))
    load_settings.cache_clear()
    try:
        with HaloPhotometry(starids[0], folder, tmp_path, **WHERE) as pho:
            pho.photometry()
            assert "pixels can be used" in error_of(pho)
    finally:
        monkeypatch.undo()
        load_settings.cache_clear()


def test_what_is_left_out_is_logged(bright, tmp_path, caplog):
    folder, starids, _ = bright
    caplog.set_level(logging.INFO)
    with HaloPhotometry(starids[1], folder, tmp_path, **WHERE) as pho:
        pho.photometry()
    assert "the saturated pixels are left out: they reach the edge" in caplog.text


# --- Pictures -----------------------------------------------------------------------------------------


def test_pictures(bright, tmp_path):
    folder, starids, _ = bright
    with tessphot("halo", starids[0], folder, tmp_path, **WHERE, plot=True) as pho:
        names = {path.name for path in Path(pho.plot_folder).iterdir()}
        assert "halo.png" in names
        image = mpimg.imread(Path(pho.plot_folder) / "halo.png")[..., :3]
        # Not an empty page: colours of the weight map, and both light curves.
        assert len(np.unique((image * 255).astype("u1").reshape(-1, 3), axis=0)) > 500


def test_pictures_of_a_star_that_fails(bright, tmp_path):
    folder, starids, _ = bright
    with HaloPhotometry(starids[0], folder, tmp_path, **WHERE) as pho:
        pho.target["tmag"] = float("nan")
        pho.photometry()
        assert tmp_path / "halo.png" in plot_star(pho, tmp_path)
