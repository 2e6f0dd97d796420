"""Kernels against plain numpy, scipy and astropy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from helper_kernels import mesh_weights
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import interpolate

from tasoc_mpi.core.diagnostics import Diagnostics
from tasoc_mpi.cubes.mesh import mesh_coefficients
from tasoc_mpi.kernels.background_model import BackgroundModel
from tasoc_mpi.kernels.median import median
from tasoc_mpi.kernels.statistics import light_curve_numbers, light_curve_statistics
from tasoc_mpi.kernels.sums import flagged_frames, mean_frame, sum_frames, sum_pixels
from tasoc_mpi.photometry.measurements import fill_statistics
from tasoc_mpi.products.cube_background import PixelBackground
from tasoc_mpi.products.frame_wcs import FrameWCS

# --- Positions ---------------------------------------------------------------------------------------


def tess_like_header(ra: float = 315.4, dec: float = -28.9, roll: float = 15.0) -> fits.Header:
    """A TAN-SIP header with distortions as large as those of TESS (50 px in the corners)."""
    header = fits.Header()
    c, s = np.cos(np.deg2rad(roll)), np.sin(np.deg2rad(roll))
    scale = 0.0057
    values = {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": ra, "CRVAL2": dec,
        "CRPIX1": 1045.0, "CRPIX2": 1001.0,
        "CD1_1": -scale * c, "CD1_2": scale * s, "CD2_1": -scale * s, "CD2_2": -scale * c,
        "A_ORDER": 4, "B_ORDER": 4, "A_2_0": -1.92e-5, "A_1_1": 1.71e-5, "A_0_2": -2.99e-6,
        "A_3_0": -2.6e-9, "A_2_1": 7.3e-12, "A_1_2": -2.7e-9, "A_0_3": 1.36e-10,
        "A_4_0": -2e-13, "A_2_2": -3.5e-13,
        "B_2_0": 2.99e-6, "B_1_1": -1.64e-5, "B_0_2": 1.99e-5, "B_3_0": 1.7e-10, "B_2_1": -2.9e-9,
        "B_1_2": 1.7e-10, "B_0_3": -2.7e-9, "B_0_4": 1.55e-13,
    }  # fmt: skip
    header.update(values)
    return header


@settings(max_examples=40, deadline=None)
@example(ra=0.0, dec=90.0, roll=0.0, column=0.0, row=0.0)
@example(ra=10.0, dec=-90.0, roll=30.0, column=100.0, row=0.0)
@given(
    ra=st.floats(0, 360),
    dec=st.floats(-90, 90),
    roll=st.floats(0, 360),
    column=st.floats(0, 2135),
    row=st.floats(0, 2077),
)
def test_positions_are_astropys(ra, dec, roll, column, row):
    header = tess_like_header(ra, dec, roll)
    reference = WCS(header)
    frames = FrameWCS.from_headers([header])
    sky = frames.sky(np.array([column]), np.array([row]), 0)[0]
    expected = reference.all_pix2world([[column, row]], 0)[0]
    separation = np.hypot((sky[0] - expected[0] + 180) % 360 - 180, 0) * np.cos(np.deg2rad(sky[1]))
    assert abs(separation) < 1e-9
    assert abs(sky[1] - expected[1]) < 1e-9
    np.testing.assert_allclose(frames.positions(*expected)[0], [column, row], atol=1e-6)


def test_every_frame_is_inverted_to_a_millionth_of_a_pixel():
    rng = np.random.default_rng(1)
    headers = [
        tess_like_header(315.4 + d, -28.9 + e, 15 + f)
        for d, e, f in rng.normal(0, [2e-4, 2e-4, 1e-3], (50, 3))
    ]
    frames = FrameWCS.from_headers(headers)
    ra, dec = frames.sky(np.array([311.2]), np.array([1877.7]), 0)[0]
    ours = frames.positions(ra, dec)
    for header, place in zip(headers, ours, strict=True):
        np.testing.assert_allclose(place, WCS(header).all_world2pix([[ra, dec]], 0)[0], atol=1e-6)


def test_many_stars_in_one_frame_are_each_star_in_every_frame():
    frames = FrameWCS.from_headers([tess_like_header()])
    sky = frames.sky(np.linspace(44, 2091, 20), np.linspace(2000, 10, 20), 0)
    together = frames.stars(sky[:, 0], sky[:, 1], 0)
    alone = np.array([frames.positions(*place)[0] for place in sky])
    np.testing.assert_allclose(together, alone, atol=1e-9)


@pytest.mark.parametrize("order", [4, 3])
def test_stars_together_are_each_star_alone_to_the_bit(order):
    """Also those that have no place in any frame, and in frames that cannot be used."""
    rng = np.random.default_rng(3)
    headers = [tess_like_header(315.4 + d, -28.9 + e, 15 + f) for d, e, f in rng.normal(0, 2e-4, (12, 3))]
    for header in headers:
        header["A_ORDER"] = header["B_ORDER"] = order
    frames = FrameWCS.from_headers([*headers[:4], None, *headers[4:]])
    # Far from the chip the distortion cannot be inverted.
    ra = np.append(rng.uniform(300, 330, 19), [315.4 - 180, np.nan])
    dec = np.append(rng.uniform(-40, -18, 19), [28.9, 0.0])
    together = np.array(list(frames.positions_of(ra, dec)))
    np.testing.assert_array_equal(together, [frames.positions(*place) for place in zip(ra, dec, strict=True)])
    known = np.isfinite(together)
    assert known[:19, :4].any()
    assert not known[:, 4].any()
    assert not known[-2:].any()


@pytest.mark.parametrize("orders", [(2, 4), (4, 3)])
def test_polynomials_of_two_orders_are_astropys(orders):
    header = tess_like_header(315.4, -28.9, 15.0)
    header["A_ORDER"], header["B_ORDER"] = orders
    places = np.array([[100.0, 50.0], [2000.0, 1900.0]])
    sky = FrameWCS.from_headers([header]).sky(*places.T, 0)
    np.testing.assert_allclose(sky, WCS(header).all_pix2world(places, 0), atol=1e-9)


def test_frames_that_cannot_be_used_are_nan_and_do_not_disturb_others():
    singular = tess_like_header()
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        singular[key] = 0.0
    undefined = tess_like_header()
    del undefined["CRVAL1"]
    frames = FrameWCS.from_headers([tess_like_header(), singular, None, undefined, tess_like_header()])
    assert frames.good.tolist() == [True, False, False, False, True]
    places = frames.positions(315.4, -28.9)
    assert np.isnan(places[1:4]).all()
    np.testing.assert_array_equal(places[0], places[4])


def test_a_star_behind_the_camera_has_no_place():
    frames = FrameWCS.from_headers([tess_like_header()])
    assert np.isnan(frames.positions(315.4 - 180, 28.9)).all()


def test_region_of_a_ccd_is_counted_in_ccd_pixels():
    header = tess_like_header()
    region = header.copy()
    region["CRPIX1"] -= 500
    region["CRPIX2"] -= 700
    whole = FrameWCS.from_headers([header]).positions(315.5, -28.8)
    np.testing.assert_allclose(
        FrameWCS.from_headers([region], (500, 700)).positions(315.5, -28.8), whole, atol=1e-9
    )


def test_unknown_projection_is_not_used():
    header = tess_like_header()
    header["CTYPE1"] = "RA---ZEA"
    assert not FrameWCS.from_headers([header]).good[0]


@pytest.mark.real
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")  # the dates of the header
def test_positions_on_a_real_frame(real):
    (path,) = (real / "ffi").glob("*.fits")
    header = fits.getheader(path, 1)
    frames = FrameWCS.from_headers([header])
    rng = np.random.default_rng(3)
    pixels = np.stack([rng.uniform(44, 2092, 200), rng.uniform(0, 2048, 200)], axis=-1)
    sky = WCS(header).all_pix2world(pixels, 0)
    np.testing.assert_allclose(frames.stars(sky[:, 0], sky[:, 1], 0), pixels, atol=1e-6)


# --- Background --------------------------------------------------------------------------------------


def natural_spline(values: np.ndarray, box: int) -> np.ndarray:
    """Cubic spline through the boxes' middles in both directions, straight beyond the outer ones."""
    for axis in (0, 1):
        n = values.shape[axis]
        if n == 1:
            values = np.repeat(values, box, axis=axis)
            continue
        spline = interpolate.CubicSpline(np.arange(n), values, axis=axis, bc_type="natural")
        place = (np.arange(n * box) + 0.5) / box - 0.5
        inside = np.clip(place, 0, n - 1)
        beyond = np.expand_dims(place - inside, axis=1 - axis)
        values = spline(inside) + spline(inside, 1) * beyond
    return values


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 4), (5, 7)])
def test_mesh_is_scipys_spline(shape):
    values = np.random.default_rng(0).normal(100, 10, shape)
    mesh = mesh_coefficients(values)[..., None]
    size = (16 * shape[0], 16 * shape[1])
    ours = BackgroundModel(mesh, 16, np.empty((0, 1), "f4"), 0.0, 1.0, (0.0, 0.0), (0, 0)).frame(size, 0)
    np.testing.assert_allclose(ours, natural_spline(values, 16), rtol=2e-6)


def make_model(rng: np.random.Generator) -> BackgroundModel:
    return BackgroundModel(
        mesh=rng.normal(100, 10, (3, 4, 6)).astype("f4"),
        box=16,
        radial=rng.normal(20, 5, (5, 6)).astype("f4"),
        radial_first=20.0,
        radial_step=7.0,
        centre=(-10.0, 5.0),
        origin=(0, 0),
    )


def test_stamp_frame_and_total_are_one_model():
    model = make_model(np.random.default_rng(5))
    frames = np.stack([model.frame((48, 64), t) for t in range(6)], axis=-1)
    np.testing.assert_allclose(model.stamp(5, 30, 7, 50), frames[5:30, 7:50], rtol=1e-5)
    rows, columns = np.nonzero(np.random.default_rng(6).random((48, 64)) < 0.1)
    np.testing.assert_allclose(model.total(rows, columns), frames[rows, columns].sum(axis=0), rtol=1e-6)


def test_model_of_the_mean_is_the_mean_of_the_models():
    model = make_model(np.random.default_rng(7))
    means = model._replace(
        mesh=model.mesh.mean(axis=2, keepdims=True), radial=model.radial.mean(axis=1, keepdims=True)
    )
    mean = means.frame((48, 64), 0)
    each = np.mean([model.frame((48, 64), t) for t in range(6)], axis=0)
    np.testing.assert_allclose(mean, each, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 47), st.integers(0, 63)), min_size=1, max_size=30))
def test_weights_add_up_to_the_number_of_pixels(pixels):
    rows, columns = np.array(pixels, dtype="i8").T.copy()
    assert mesh_weights(rows, columns, 16, (3, 4)).sum() == pytest.approx(len(pixels))


# --- Sums --------------------------------------------------------------------------------------------


def reference_sums(images, errors, rows, columns):
    """The definition, one frame after the other."""
    out = np.full((4, images.shape[2]), np.nan)
    for t in range(images.shape[2]):
        flux = images[rows, columns, t].astype("f8")
        if np.isnan(flux).any() or (flux == 0).all():
            continue
        out[0, t] = flux.sum()
        out[1, t] = np.sqrt((errors[rows, columns, t].astype("f8") ** 2).sum())
        light = np.where(flux > 0, flux, 0)
        if light.sum() > 0:
            out[2, t] = (light * columns).sum() / light.sum()
            out[3, t] = (light * rows).sum() / light.sum()
    return out


@settings(max_examples=60, deadline=None)
@given(
    images=arrays.arrays(
        "f4", (4, 5, 6), elements=st.one_of(st.floats(-1e5, 1e5, width=32), st.just(0.0), st.just(np.nan))
    ),
    errors=arrays.arrays("f4", (4, 5, 6), elements=st.floats(0, 1e3, width=32)),
    backgrounds=arrays.arrays("f4", (4, 5, 6), elements=st.floats(0.125, 1e3, width=32)),
    mask=arrays.arrays(bool, (4, 5)).filter(lambda m: m.any()),
)
def test_sums_are_their_definition(images, errors, backgrounds, mask):
    """In cubes, and the same bytes in frames."""
    rows, columns = np.nonzero(mask)
    expected = reference_sums(images, errors, rows, columns)
    found = sum_pixels(images, errors, rows, columns)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)
    frames = [np.ascontiguousarray(np.moveaxis(cube, -1, 0)) for cube in (images, errors, backgrounds)]
    background = PixelBackground(backgrounds).total(rows, columns)
    in_frames = sum_frames(*frames, rows, columns)
    assert in_frames.tobytes() == np.concatenate([found, background[None]]).tobytes()
    np.testing.assert_allclose(background, backgrounds[mask].sum(axis=0, dtype="f8"), rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(arrays.arrays("u1", (4, 5, 6), elements=st.integers(0, 7)), st.sampled_from([1, 2, 4]))
def test_flagged_frames(flags, bit):
    expected = ((flags[1:3, 2:5] & bit) != 0).any(axis=(0, 1))
    never = np.zeros((4, 5), dtype=bool)
    # The second time without the pixels that never have it.
    for _ in range(2):
        np.testing.assert_array_equal(flagged_frames(flags, 1, 3, 2, 5, bit, never), expected)
        np.testing.assert_array_equal(never[1:3, 2:5], ((flags[1:3, 2:5] & bit) == 0).all(axis=-1))
    assert never.sum() == never[1:3, 2:5].sum()


# --- Statistics --------------------------------------------------------------------------------------


def test_statistics_are_their_definitions():
    rng = np.random.default_rng(8)
    n = 600
    time = 1325.0 + np.arange(n) / 48
    flux = 5000 * (1 + 1e-3 * rng.normal(size=n) + 1e-3 * np.sin(time))
    error = np.full(n, 5.0)
    flux[17] = np.nan
    good = np.ones(n, dtype=bool)
    good[100:110] = False
    flux[103] = 1e9
    mean_flux, variance, rms_hour, ptp, variability = light_curve_statistics(time, flux, error, good)
    f = np.where(good, flux, np.nan)
    assert mean_flux == np.nanmedian(f)
    relative = f / mean_flux - 1
    assert variance == pytest.approx(np.nanvar(relative, ddof=1))
    assert ptp == pytest.approx(np.nanmedian(np.abs(np.diff(relative))))
    known = np.isfinite(relative)
    hours = np.floor((time[known] - time[known][0]) * 24).astype(int)
    means = np.array([relative[known][hours == h].mean() for h in np.unique(hours)])
    assert rms_hour == pytest.approx(1.4826 * np.median(np.abs(means - np.median(means))))
    x = time[known] - time.mean()
    fit = np.polynomial.Polynomial.fit(x, relative[known], 3, w=1 / error[known])
    expected = np.std(relative[known] - fit(x)) / (5.0 / mean_flux)
    assert variability == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("flux", [np.zeros(5), -np.ones(5)])
def test_no_relative_light_curve_of_a_flux_that_is_not_positive(flux):
    result = light_curve_statistics(np.arange(5.0), flux, np.ones(5), np.ones(5, dtype=bool))
    assert result[0] == flux[0]
    assert np.isnan(result[1:]).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_statistics_of_a_few_points(n):
    time, flux = np.arange(float(n)), np.array([2.0, 3.0, 2.5, 4.0])[:n]
    result = light_curve_statistics(time, flux, np.ones(n), np.ones(n, dtype=bool))
    assert result[0] == np.median(flux)
    # One-hour means a day apart, of which four are enough; a cubic polynomial goes through up to four points.
    assert np.isfinite(result[2]) == (n == 4)
    assert np.isfinite(result[1]) == np.isfinite(result[3]) == (n > 1)
    assert np.isnan(result[4])


def test_noise_needs_four_hours_and_variability_five_points_and_a_spread():
    rng = np.random.default_rng(2)
    for hours, points in ((3, 30), (4, 40)):
        time = np.arange(points) / 240 + 1e-6
        flux = rng.normal(1000, 1, points)
        result = light_curve_statistics(time, flux, np.ones(points), np.ones(points, dtype=bool))
        assert np.isfinite(result[2]) == (hours == 4)
        assert np.isfinite(result[4])
    constant = light_curve_statistics(time, np.full(40, 7.0), np.ones(40), np.ones(40, dtype=bool))
    assert constant[:2] == (7.0, 0.0)
    assert np.isnan(constant[4])
    error = np.where(np.arange(40) < 4, 1.0, np.nan)
    assert np.isnan(light_curve_statistics(time, flux, error, np.ones(40, dtype=bool))[4])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 24, 25, 26, 1001, 1002])
def test_median(size):
    """That of numpy, also for values far apart, equal ones, sorted ones and the largest numbers."""
    rng = np.random.default_rng(size)
    for values in (
        rng.normal(size=size),
        np.sort(rng.normal(1e4, 1, size)),
        rng.integers(0, 3, size).astype("f8"),
        np.full(size, -7.0),
        np.exp(rng.normal(0, 50, size)) * rng.choice([-1, 1], size),
        rng.choice([-1e308, 1e308, 5e-324, 0.0], size) * 0.5,
    ):
        expected = np.median(values) if size else np.nan
        np.testing.assert_array_equal(median(values), expected)


def test_numbers_are_of_good_points_and_positions_of_those_that_have_both():
    time, flux = np.arange(4.0), np.array([5.0, np.nan, 7.0, 100.0])
    error = np.array([1.0, 1.0, np.nan, 1.0])
    centroid = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 7.0], [100.0, 100.0]])
    good = np.array([True, True, True, False])
    *counts, numbers, position = light_curve_numbers(time, flux, error, centroid, good)
    assert (counts, position) == ([False, False, 3, 2, 2], (2.0, 6.0))
    np.testing.assert_array_equal(numbers, light_curve_statistics(time, flux, error, good))
    *counts, numbers, position = light_curve_numbers(time, flux, error, centroid, ~good & False)
    assert counts == [False, False, 0, 0, 0]
    assert np.isnan([*numbers, *position]).all()


@pytest.mark.parametrize(
    ("flux", "error", "message"),
    [(np.inf, 1.0, "infinite values"), (1.0, -np.inf, "infinite values"), (1.0, -1.0, "are negative")],
)
def test_infinite_values_and_negative_errors_are_refused_also_where_the_quality_is_bad(flux, error, message):
    n = 50
    fluxes, errors, good = np.full(n, 1.0), np.ones(n), np.ones(n, dtype=bool)
    fluxes[7], errors[7], good[7] = flux, error, False
    with pytest.raises(ValueError, match=message):
        fill_statistics(Diagnostics(), np.arange(n) / 48, fluxes, errors, np.ones((n, 2)), good)


def test_mean_frame_leaves_out_what_is_not_finite():
    frames = np.ones((4, 2), dtype="f4")
    frames[:, 0] = [1.0, np.nan, 5.0, 100.0]
    frames[:, 1] = [np.nan, np.inf, -np.inf, 1.0]
    found = mean_frame(frames, np.array([True, True, True, False]))
    np.testing.assert_array_equal(found, np.array([3.0, np.nan], dtype="f4"))
