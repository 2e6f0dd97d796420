"""Masks of a stamp: what the definition promises, and the same masks made with scipy and scikit-image."""

import time

import numpy as np
import pytest
from density_reference import scipy_mode
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed
from sklearn.cluster import DBSCAN

from tasoc_mpi.core.settings import SETTINGS, load_settings, mag2flux
from tasoc_mpi.photometry.k2p2 import K2P2Parameters, k2p2_masks

seeds = st.integers(0, 2**32 - 1)


def field(seed, shape=(15, 15), density=0.06, bright=None, well=3e4):
    """A stamp with stars of all magnitudes, noise, and (with `bright`) a star that bleeds.

    Returns
    -------
    image, rows, columns, tmags
    """
    rng = np.random.default_rng(seed)
    n = 1 + rng.poisson(density * (shape[0] + 10) * (shape[1] + 10))
    rows, columns = rng.uniform(-5, shape[0] + 5, n), rng.uniform(-5, shape[1] + 5, n)
    tmags = np.clip(17 + np.log10(rng.random(n)) / 0.32, 8, None)
    if bright is not None:
        rows[0], columns[0], tmags[0] = shape[0] // 2 + 0.2, shape[1] // 2 - 0.1, bright
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for row, column, tmag in zip(rows, columns, tmags, strict=True):
        r2 = (y - row) ** 2 + (x - column) ** 2
        image += mag2flux(tmag) * (0.25 * np.exp(-r2 / 1.1) + 0.025 * (1 + r2 / 2.5) ** -2.2)
    for j in range(shape[1]):  # charge above the full well moves along the column
        column = image[:, j]
        for _ in range(5000):
            excess = np.clip(column - well, 0, None)
            if excess.max() < 1e-3 * well:
                break
            column -= excess
            column[1:] += 0.5 * excess[:-1]
            column[:-1] += 0.5 * excess[1:]
    image += rng.normal(0, 1 + 0.05 * np.sqrt(image))
    return image, rows, columns, tmags


def reference_labels(image, rows, columns):
    """Masks of unsaturated stars from library routines."""
    flux = np.sort(image[image > 0])
    flux = flux[: len(flux) - int(0.15 * len(flux))]
    flux = flux[flux < 70000]
    mode, _ = scipy_mode(flux)
    threshold = mode + 0.8 * 1.4826 * np.median(mode - flux[flux < mode])
    points = np.argwhere(image > threshold)
    db = DBSCAN(eps=2**0.5, min_samples=4).fit(points)
    cores = db.core_sample_indices_
    labels = np.zeros(image.shape, dtype=int)
    for k in np.unique(db.labels_[cores]):
        inside = np.zeros(image.shape, dtype=bool)
        inside[tuple(points[cores[db.labels_[cores] == k]].T)] = True
        smoothed = ndimage.gaussian_filter(np.where(inside, image, 0), 0.5)
        top = (smoothed == ndimage.maximum_filter(smoothed, 3)) & (smoothed > smoothed.min())
        candidates = np.argwhere(top)
        markers = np.zeros(image.shape, dtype=bool)
        for star in zip(rows, columns, strict=True):
            distance = np.hypot(*(candidates - star).T)
            if distance.min() <= 8**0.5:
                markers[tuple(candidates[np.argmin(distance)])] = True
        parts = watershed(-image, ndimage.label(markers)[0], mask=inside)
        for part in range(1, parts.max() + 1):
            if (parts == part).sum() >= 4:
                labels[parts == part] = labels.max() + 1
    for label in range(1, labels.max() + 1):
        sides = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
        hole = ndimage.correlate((labels == label).astype(int), sides, mode="constant") == 4
        labels[hole & (labels == 0)] = label
    return labels, threshold


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(8, 22), st.integers(8, 22), st.floats(0.01, 0.3))
def test_same_masks_as_from_library_routines(seed, n_row, n_col, density):
    image, rows, columns, tmags = field(seed, (n_row, n_col), density)
    tmags = np.clip(tmags, 13, None)  # so that no mask counts as saturated
    result = k2p2_masks(image, rows, columns, tmags)
    expected, threshold = reference_labels(image, rows, columns)
    assert result.threshold == pytest.approx(threshold, rel=1e-6)
    # A pixel that near the threshold may fall to either side.
    if not np.array_equal(image > threshold, result.significant):
        assert (np.abs(image - threshold) < 1e-6 * threshold).any()
        return
    assert result.count == expected.max()
    for label in range(1, result.count + 1):
        mask = result.mask(label)
        np.testing.assert_array_equal(mask, expected == expected[mask][0])


@settings(max_examples=60, deadline=None)
@given(
    seeds, st.integers(1, 25), st.integers(1, 25), st.floats(0, 0.4), st.sampled_from([None, 3, 5, 6.9, 9])
)
def test_properties_of_masks(seed, n_row, n_col, density, bright):
    image, rows, columns, tmags = field(seed, (n_row, n_col), density, bright, well=1e4)
    rng = np.random.default_rng(seed)
    image[rng.random(image.shape) < rng.choice([0, 0.1])] = np.nan
    tmags[rng.random(tmags.shape) < 0.05] = np.nan
    result = k2p2_masks(image, rows, columns, tmags)
    assert result.masks.shape == (result.count, *image.shape)
    for label, mask in enumerate(result.masks, start=1):
        core = result.labels == label
        assert core.sum() >= 4
        assert np.isfinite(image[mask]).all()
        assert ndimage.label(core)[1] == 1, "4-connected before saturated columns are added"
        assert (mask >= core).all()
        gained = mask & ~core
        assert result.significant[gained].all()
        assert core[:, gained.any(axis=0)].any(axis=0).all(), "grows along its own columns only"
        assert (core & (result.markers > 0)).any()
    assert not result.significant[~np.isfinite(image)].any()
    assert result.significant[result.clusters > 0].all()
    holes = (result.labels > 0) & (result.clusters == 0)
    assert not holes[[0, -1]].any()
    assert not holes[:, [0, -1]].any()

    order = rng.permutation(rows.size)
    again = k2p2_masks(image, rows[order], columns[order], tmags[order])
    np.testing.assert_array_equal(again.labels, result.labels)
    np.testing.assert_array_equal(again.extension, result.extension)
    np.testing.assert_array_equal(again.markers, result.markers)
    assert again.threshold == result.threshold or np.isnan(result.threshold)


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([0.125, 0.5, 2.0]), st.sampled_from([None, 6.0]))
def test_masks_do_not_depend_on_the_unit(seed, scale, bright):
    image, rows, columns, tmags = field(seed, bright=bright)
    wide = K2P2Parameters(saturation_flux=1e30)
    one = k2p2_masks(image, rows, columns, tmags, wide)
    other = k2p2_masks(scale * image, rows, columns, tmags, wide)
    np.testing.assert_array_equal(one.masks, other.masks)
    assert other.threshold == pytest.approx(scale * one.threshold, rel=1e-9)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_field_has_mirrored_masks(axis):
    for seed in range(10):
        image, rows, columns, tmags = field(seed, (16, 13))
        tmags = np.clip(tmags, 13, None)
        flipped = (15 - rows, columns) if axis == 0 else (rows, 12 - columns)
        one = k2p2_masks(image, rows, columns, tmags)
        other = k2p2_masks(np.flip(image, axis), *flipped, tmags)
        a = {mask.tobytes() for mask in one.masks}
        b = {np.ascontiguousarray(np.flip(mask, axis)).tobytes() for mask in other.masks}
        assert a == b


def test_an_isolated_star_has_one_round_mask():
    y, x = np.mgrid[:15, :15]
    rng = np.random.default_rng(1)
    image = rng.normal(0, 1, (15, 15)) + 5000 / (2 * np.pi) * np.exp(-((y - 7.2) ** 2 + (x - 6.9) ** 2) / 2)
    result = k2p2_masks(image.astype("f4"), [7.2], [6.9], [11.2])
    assert result.labels_at(7, 7) == [1]
    mask = result.mask(1)
    assert result.count == 1
    assert not mask[[0, -1]].any()
    assert mask[(y - 7.2) ** 2 + (x - 6.9) ** 2 < 2.5**2].all()
    assert not mask[(y - 7.2) ** 2 + (x - 6.9) ** 2 > 6.5**2].any()
    assert image[mask].sum() == pytest.approx(5000, rel=0.02)


def test_two_stars_part_at_the_saddle():
    y, x = np.mgrid[:15, :15]
    image = sum(f * np.exp(-((y - 7) ** 2 + (x - c) ** 2) / 2) for f, c in [(900, 5), (800, 10)]) + 1.0
    image += np.random.default_rng(2).normal(0, 0.3, image.shape)
    result = k2p2_masks(image, [7, 7], [5, 10], [12, 12.1])
    (left,), (right,) = result.labels_at(7, 5), result.labels_at(7, 10)
    assert left != right
    assert result.labels_at(7, 7) == [left]
    assert result.labels_at(7, 8) == [right]
    # Without the second star in the catalog its light is the first one's.
    alone = k2p2_masks(image, [7], [5], [12])
    assert alone.labels_at(7, 10) == alone.labels_at(7, 5) == [1]


def test_a_bleeding_star_is_one_mask_to_the_ends_of_its_columns():
    image, rows, columns, tmags = field(4, (61, 31), 0.03, bright=4.5)
    tmags[1:] = np.clip(tmags[1:], 9, None)
    result = k2p2_masks(image, rows, columns, tmags)
    (label,) = result.labels_at(30, 15)
    mask = result.mask(label)
    bled = image > 2.5e4
    assert bled.sum() > 50
    assert mask[bled].all()
    assert (result.markers > 0)[bled].sum() == 1
    assert result.saturated[:, 15][bled[:, 15]].all()
    expected = mag2flux(4.5)
    assert image[mask].sum() == pytest.approx(expected, rel=0.05)


def test_overlapping_masks_are_all_found():
    """The bleed column of a star, one pixel wide in the end, runs into another star's mask."""
    image = np.random.default_rng(0).uniform(0.5, 1.5, (30, 20))
    y, x = np.mgrid[:30, :20]
    image += 20000 * np.exp(-(((y - 8.0) / 5) ** 4) - (x - 8.0) ** 2 / 1.5)
    image[1:16, 8] = 60000 + 30 * (np.arange(15) % 3)
    image[16:22, 8] = 40000  # too narrow to be of a cluster
    image += 30000 * np.exp(-((y - 25.0) ** 2 + (x - 8.0) ** 2))
    result = k2p2_masks(image, [10.0, 25.0], [8.0, 8.0], [5.0, 9.0])
    assert result.clusters[19, 8] == 0
    assert result.count == 2
    (bright,) = result.labels_at(10, 8)
    assert result.labels_at(25, 8) == [1, 2]
    assert result.labels_at(25, 9) == [2]
    assert result.mask(bright)[25, 8]
    assert result.masks.sum(axis=0).max() == 2


def test_images_without_anything_to_see():
    stars = [5.0], [5.0], [10.0]
    for image in (
        np.full((11, 11), np.nan),
        np.zeros((11, 11)),
        np.full((11, 11), 7.0),
        np.full((1, 1), 3.0),
    ):
        result = k2p2_masks(image, *stars)
        assert result.count == 0
        assert result.masks.shape == (0, *image.shape)
        assert result.labels_at(5, 5) == []
        assert result.labels_at(-1, 0) == result.labels_at(0, 99) == []
    image, *_ = field(1)
    assert k2p2_masks(image, [], [], []).count == 0
    assert k2p2_masks(np.empty((0, 5)), *stars).count == 0


def test_the_image_is_left_as_it_was():
    image, *stars = field(2)
    image[3, 3] = np.inf
    copy = image.copy()
    result = k2p2_masks(image, *stars)
    np.testing.assert_array_equal(image, copy)
    assert not result.significant[3, 3]


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="1 dimensions"):
        k2p2_masks(np.ones(5), [1], [1], [1])
    with pytest.raises(ValueError, match="differ in length"):
        k2p2_masks(np.ones((5, 5)), [1, 2], [1], [1])


def test_defaults_are_those_of_the_settings():
    parameters = K2P2Parameters.from_settings(load_settings())
    assert vars(parameters) == pytest.approx(vars(K2P2Parameters()))
    assert isinstance(parameters.min_pixels, int)


def test_settings_of_the_section_are_the_parameters():
    assert {s.key for s in SETTINGS if s.section == "k2p2"} == set(vars(K2P2Parameters()))


def test_settings_are_used():
    image, *stars = field(6)
    normal = k2p2_masks(image, *stars)
    strict = k2p2_masks(image, *stars, K2P2Parameters(threshold=30.0))
    assert strict.threshold > normal.threshold
    assert strict.masks.sum() < normal.masks.sum()
    large = k2p2_masks(image, *stars, K2P2Parameters(min_pixels=12))
    assert 0 < large.count < normal.count


def test_is_fast():
    """A tenth of the time of a whole star; a tired machine gets several attempts."""
    image, *stars = field(3, (25, 25))
    k2p2_masks(image, *stars)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        k2p2_masks(image, *stars)
        times.append(time.perf_counter() - start)
    assert min(times) < 2e-3
