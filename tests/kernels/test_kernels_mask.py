"""The kernels of mask making against scipy, scikit-learn and scikit-image."""

import numpy as np
import pytest
from density_reference import reference_bandwidth, scipy_density, scipy_mode
from helper_kernels import (
    core_clusters,
    density_mode,
    extend_columns,
    flood,
    flux_threshold,
    saturated_run,
    scott_bandwidth,
    smooth,
    summed_tmag,
    tidy_segments,
    watershed_markers,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed
from sklearn.cluster import DBSCAN

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 12)


def skewed(rng, n):
    """A sample like the pixels of a stamp: a background and a tail of stars."""
    return np.sort(np.abs(rng.normal(100, 15, n)) + rng.pareto(1.5, n) * rng.uniform(0, 100))


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(2, 400))
def test_mode_is_that_of_scipys_density(seed, n):
    flux = skewed(np.random.default_rng(seed), n)
    expected, kde = scipy_mode(flux)
    mode = density_mode(flux)
    h = scott_bandwidth(flux)
    assert h == pytest.approx(np.sqrt(kde.covariance[0, 0]), rel=1e-12)
    # Two maxima may be equally high; the density at the mode is the highest anyway.
    assert kde(mode)[0] >= kde(expected)[0] * (1 - 1e-12)
    if abs(mode - expected) > 1e-4 * h:
        assert kde(mode)[0] == pytest.approx(kde(expected)[0], rel=1e-6)


def test_mode_picks_the_higher_of_two_almost_equal_maxima():
    rng = np.random.default_rng(3)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        flux = np.sort(np.concatenate([rng.normal(0, 1, 100), rng.normal(8, 1, 100)]))
        kde = scipy_density(flux)
        assert kde(density_mode(flux))[0] >= kde(np.linspace(-3, 11, 5000)).max() * (1 - 1e-9)


def test_mode_of_degenerate_samples():
    assert np.isnan(density_mode(np.empty(0)))
    assert density_mode(np.array([7.0])) == 7.0
    assert density_mode(np.full(50, 3.5)) == 3.5
    # Spread at the last bit of the numbers, and over many orders of magnitude.
    low = 1e6
    assert low <= density_mode(np.array([low, np.nextafter(low, 2e6)])) <= np.nextafter(low, 2e6)
    assert 0 < density_mode(np.array([1e-300, 2e-300, 3e-300])) < 4e-300
    wide = np.array([1e-20, 1.0, 1e20])
    assert wide[0] <= density_mode(wide) <= wide[-1]


def test_bandwidth_of_a_sample_whose_quartiles_are_equal_is_that_of_its_standard_deviation():
    flux = np.sort(np.array([5.0] * 9 + [1.0, 20.0]))
    assert scott_bandwidth(flux) == pytest.approx(1.059 * np.std(flux, ddof=1) * 11**-0.2)
    assert density_mode(flux) == pytest.approx(scipy_mode(flux)[0], rel=1e-6)


def test_a_bright_tail_does_not_widen_the_density():
    """Quartiles do not see the quarter of the pixels that stars make bright; the standard deviation does."""
    rng = np.random.default_rng(11)
    sky = np.sort(rng.normal(100, 5, 150))
    flux = np.concatenate([sky, np.linspace(1000, 60000, 40)])
    assert scott_bandwidth(flux) < 0.01 * np.std(flux, ddof=1) * len(flux) ** -0.2
    assert density_mode(flux) == pytest.approx(100, abs=3)
    assert scipy_density(flux)(density_mode(flux))[0] >= scipy_density(flux)(sky).max()


def test_a_range_of_any_number_of_bandwidths_costs_no_memory():
    flux = np.concatenate([3.0 + 1e-9 * np.arange(80), np.linspace(100.0, 69999.0, 20)])
    assert flux[-1] / scott_bandwidth(flux) > 1e12
    assert flux[0] < density_mode(flux) < flux[79]


def test_threshold_follows_the_definition():
    rng = np.random.default_rng(5)
    image = rng.normal(30, 20, (15, 17))
    image[3, 3] = np.nan
    image[4, 4] = np.inf
    image[5, :3] = 80000.0
    mode, mad, threshold, bandwidth = flux_threshold(image, 0.15, 70000.0, 0.8)
    flux = np.sort(image[np.isfinite(image) & (image > 0)])
    flux = flux[: len(flux) - int(0.15 * len(flux))]
    flux = flux[flux < 70000]
    expected, _ = scipy_mode(flux)
    assert mode == pytest.approx(expected, rel=1e-6)
    assert mad == pytest.approx(1.4826 * np.median(np.abs(flux[flux < expected] - expected)), rel=1e-6)
    assert threshold == mode + 0.8 * mad
    assert bandwidth == pytest.approx(reference_bandwidth(flux))


@pytest.mark.parametrize(("n", "left"), [(20, 17), (19, 17), (100, 85), (1, 1), (7, 6)])
def test_the_brightest_15_percent_are_left_out(n, left):
    # The pixels that should be left out would make the bandwidth huge.
    image = np.full((1, n), 1e4)
    image[0, :left] = 1 + np.arange(left)
    bandwidth = flux_threshold(image, 0.15, 7e4, 0.8)[3]
    assert bandwidth == pytest.approx(reference_bandwidth(1 + np.arange(left)) if left > 1 else 0)


def test_threshold_of_images_without_flux():
    for image in (np.full((4, 4), np.nan), np.zeros((4, 4)), np.full((4, 4), -5.0), np.full((4, 4), 9e4)):
        mode, mad, threshold, _ = flux_threshold(image, 0.15, 7e4, 0.8)
        assert np.isnan(mode)
        assert np.isnan(threshold)
        assert mad == 0
    assert flux_threshold(np.full((4, 4), 2.0), 0.15, 7e4, 0.8)[2] == 2.0


def same_partition(a, b):
    """Whether two label images divide the pixels in the same way."""
    pairs = {(int(x), int(y)) for x, y in zip(a.ravel(), b.ravel(), strict=True)}
    return len({x for x, _ in pairs}) == len(pairs) == len({y for _, y in pairs})


@settings(max_examples=60, deadline=None)
@given(
    seeds, sizes, sizes, st.floats(0.1, 0.9), st.integers(1, 7), st.sampled_from([1.0, 2**0.5, 2.0, 8**0.5])
)
def test_clusters_are_those_of_dbscan(seed, n_row, n_col, fraction, min_points, radius):
    significant = np.random.default_rng(seed).random((n_row, n_col)) < fraction
    labels, count = core_clusters(significant, min_points, radius)
    expected = np.zeros((n_row, n_col), dtype=int)
    points = np.argwhere(significant)
    if len(points):
        db = DBSCAN(eps=radius, min_samples=min_points).fit(points)
        core = points[db.core_sample_indices_]
        expected[core[:, 0], core[:, 1]] = db.labels_[db.core_sample_indices_] + 1
    assert count == labels.max(initial=0) == len(np.unique(labels[labels > 0]))
    assert same_partition(labels, expected)
    first = [np.flatnonzero(labels == k + 1)[0] for k in range(count)]
    assert first == sorted(first)


@settings(max_examples=40, deadline=None)
@given(seeds, sizes, sizes, st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.7]))
def test_smoothing_is_that_of_scipy(seed, n_row, n_col, sigma):
    image = np.random.default_rng(seed).normal(100, 50, (n_row, n_col))
    expected = ndimage.gaussian_filter(image, sigma) if sigma > 0 else image
    np.testing.assert_allclose(smooth(image, sigma), expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(seeds, sizes, sizes, st.floats(0.3, 1.0), st.integers(0, 6))
def test_flood_is_the_watershed_of_skimage(seed, n_row, n_col, fraction, n_markers):
    rng = np.random.default_rng(seed)
    image = rng.permutation(n_row * n_col).reshape(n_row, n_col).astype(float)  # no ties
    inside = rng.random(image.shape) < fraction
    markers = np.zeros(image.shape, dtype=np.int32)
    for k in range(n_markers):
        markers[rng.integers(n_row), rng.integers(n_col)] = k + 1
    labels = flood(image, inside, markers)
    np.testing.assert_array_equal(labels, watershed(-image, markers, mask=inside))


def test_flood_of_equal_heights_meets_half_way():
    markers = np.zeros((1, 9), dtype=np.int32)
    markers[0, 0], markers[0, 8] = 1, 2
    labels = flood(np.full((1, 9), 5.0), np.ones((1, 9), dtype=bool), markers)
    assert labels.tolist() == [[1, 1, 1, 1, 1, 2, 2, 2, 2]]


def reference_markers(image, clusters, count, stars, blur=0.5):
    """Markers of unsaturated clusters, with scipy."""
    marked = np.zeros(image.shape, dtype=bool)
    for k in range(1, count + 1):
        flux = ndimage.gaussian_filter(np.where(clusters == k, image, 0.0), blur)
        top = (flux == ndimage.maximum_filter(flux, 3, mode="nearest")) & (flux > flux.min())
        candidates = np.argwhere(top)
        for row, column, _ in stars:
            distance = np.hypot(*(candidates - (row, column)).T)
            if len(distance) and distance.min() <= 8**0.5:
                marked[tuple(candidates[np.argmin(distance)])] = True
    return ndimage.label(marked)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(3, 14), st.integers(3, 14), st.floats(0.2, 1.0), st.integers(0, 8))
def test_markers_follow_the_definition(seed, n_row, n_col, fraction, n_stars):
    rng = np.random.default_rng(seed)
    image = rng.uniform(10, 1000, (n_row, n_col))
    significant = rng.random(image.shape) < fraction
    clusters, count = core_clusters(significant, 4, 2**0.5)
    stars = np.column_stack(
        [rng.uniform(-4, n_row + 4, n_stars), rng.uniform(-4, n_col + 4, n_stars), np.full(n_stars, 12.0)]
    )
    image[~significant] = np.nan  # nothing outside of the clusters may matter
    args = (*np.ascontiguousarray(stars.T), 0.5, 8**0.5, 50**0.5, 7.0, 0.01)
    markers, number, candidates, patches = watershed_markers(image, significant, clusters, count, *args)
    expected, expected_number = reference_markers(image, clusters, count, stars)
    np.testing.assert_array_equal(markers, expected)
    assert number == expected_number
    assert candidates[markers > 0].all()
    assert not patches.any()


def make_markers(image, stars, significant=None):
    significant = np.ones(image.shape, dtype=bool) if significant is None else significant
    clusters, count = core_clusters(significant, 4, 2**0.5)
    rows, columns, tmags = np.array(stars, dtype=float).T.copy()
    return watershed_markers(
        image, significant, clusters, count, rows, columns, tmags, 0.5, 8**0.5, 50**0.5, 7.0, 0.01
    )


def test_marker_reaches_further_for_a_bright_star():
    image = np.fromfunction(
        lambda r, c: 1000 * np.exp(-((r - 10) ** 2 + (c - 10) ** 2) / 8) + 1 + r, (21, 21)
    )
    for distance, tmag, found in [(2.8, 9, 1), (2.9, 9, 0), (2.9, 7.0, 1), (7.0, 7.0, 1), (7.2, 5, 0)]:
        assert make_markers(image, [(10, 10 + distance, tmag)])[1] == found, (distance, tmag)


def bled_star():
    """A star whose charge has bled along columns 9 to 11, flat with ripples, over rows 2 to 18."""
    image = np.fromfunction(lambda r, c: 1000 + 50 * np.exp(-((r - 10) ** 2 + (c - 10) ** 2) / 50), (21, 21))
    rows = np.arange(2, 19)
    ripple = 100 * np.sin(1.9 * rows)
    image[2:19, 9:12] = 80000 + ripple[:, None] + np.array([0, 300, 0])
    return image


def test_saturated_patch_has_one_marker():
    image = bled_star()
    stars = [(10, 10, 4.0), (5, 10, 9.0), (15, 10, 9.5)]
    markers, number, candidates, patches = make_markers(image, stars)
    assert number == 1
    assert candidates[2:19, 9:12].sum() > 2
    expected = np.zeros(image.shape, dtype=bool)
    expected[:, 9:12] = True  # all pixels are significant here
    np.testing.assert_array_equal(patches, expected)
    smoothed = ndimage.gaussian_filter(image, 0.5)
    assert smoothed[markers > 0] == smoothed[candidates & patches].max()
    # The same ripples under fainter stars are stars of their own.
    faint = [(r, c, t + 6) for r, c, t in stars]
    assert make_markers(image, faint)[1] > 1


def test_saturated_run():
    image = bled_star()
    labels = np.zeros(image.shape, dtype=np.int32)
    labels[5:16, 7:14] = 1
    significant = np.zeros(image.shape, dtype=bool)
    significant[2:20, :] = True
    significant[4, 11] = False
    highest = image[labels == 1].max()

    def run(column):
        return saturated_run(image, significant, labels, 1, column, highest, 0.01)

    assert run(9) == run(10) == (2, 20)
    assert run(11) == (5, 20)  # does not jump over a pixel that is not significant
    assert run(8) == (0, 0)  # flat, but faint
    assert run(0) == (0, 0)  # not in the mask
    labels[:, 10] = 0
    labels[7, 10] = 1
    assert run(10) == (0, 0)  # a single pixel has no slope
    image[:, 9] = np.linspace(70000, 80000, 21)
    assert run(9) == (2, 20)  # a step of 0.6%
    image[:, 9] = np.linspace(50000, 80000, 21)
    assert run(9) == (0, 0)  # a step of 1.9%


def test_summed_magnitude():
    labels = np.zeros((5, 5), dtype=np.int32)
    labels[1:3, 1:3] = 1
    labels[4, :] = 2
    rows = np.array([1.0, 2.4, 2.6, 2.0, np.nan, -0.6, 1.0])
    columns = np.array([1.0, 1.6, 1.0, 2.0, 2.0, 2.0, 1.0])
    tmags = np.array([7.0, 7.0, 3.0, np.nan, 3.0, 1.0, 20.0])
    total = summed_tmag(labels, 2, rows, columns, tmags)
    assert total[0] == pytest.approx(-2.5 * np.log10(2 * 10 ** (-0.4 * 7) + 10 ** (-0.4 * 20)))
    assert total[1] == np.inf


def test_tidy_segments():
    labels = np.zeros((7, 9), dtype=np.int32)
    labels[0, :3] = 1  # too small
    labels[2:5, 1:4] = 2
    labels[3, 2] = 0  # a hole
    labels[2:7, 5:9] = 3
    labels[4, 6] = 0  # a hole that is NaN
    labels[6, 7] = 0  # at the edge: three neighbours only
    image = np.ones(labels.shape)
    image[4, 6] = np.nan
    out, count = tidy_segments(image, labels, 3, 4)
    assert count == 2
    assert not out[0].any()
    np.testing.assert_array_equal(np.argwhere(out == 1), [(r, c) for r in (2, 3, 4) for c in (1, 2, 3)])
    assert out[4, 6] == 0
    assert out[6, 7] == 0
    assert (out == 2).sum() == 18
    assert (out[:, 4] == 0).all()


def test_extension_may_overlap_another_mask():
    image = bled_star()
    significant = image > 1100
    labels = np.zeros(image.shape, dtype=np.int32)
    labels[4:17, 8:13] = 1
    labels[17:, 8:11] = 2
    stars = np.array([10.0]), np.array([10.0]), np.array([4.0])
    out = extend_columns(image, significant, labels, 2, *stars, 7.0, 0.01)
    assert {(r, c) for _, r, c in out} == {(r, c) for r in (2, 3, 17, 18) for c in (9, 10, 11)}
    assert (out[:, 0] == 1).all()
    assert (labels[out[:, 1], out[:, 2]] == 2).any()
    assert len(extend_columns(image, significant, labels, 2, *stars, 3.9, 0.01)) == 0
