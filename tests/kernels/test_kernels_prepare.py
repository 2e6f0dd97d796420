"""The kernels of prepare against plain numpy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helper_kernels import mesh_weights, quartiles
from hypothesis import given, settings
from hypothesis import strategies as st

from tasoc_mpi.cubes.star_image import frame_medians
from tasoc_mpi.kernels import blocks, rings
from tasoc_mpi.kernels import boxes as sky
from tasoc_mpi.kernels.background_model import BackgroundModel


def block(seed: int, shape: tuple[int, int, int], missing: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 30, shape).astype("f4")
    images[rng.random(shape) < missing] = np.nan
    return images


def windows(image: np.ndarray, r: int, c: int, half: int) -> np.ndarray:
    """What a window that is cut off at the edges holds of a (R, C, ...) array, pixels first."""
    part = image[max(0, r - half) : r + half + 1, max(0, c - half) : c + half + 1]
    return part.reshape(-1, *image.shape[2:])


def quiet_nanmedian(values: np.ndarray, axis: int = 0) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nanmedian(values, axis=axis)


def test_scatter() -> None:
    frames = block(0, (5, 7, 9))
    out = np.zeros((7, 9, 12), dtype="f4")
    blocks.scatter(frames, out, 4)
    np.testing.assert_array_equal(out[:, :, 4:9], np.moveaxis(frames, 0, -1))
    assert not out[:, :, :4].any()
    assert not out[:, :, 9:].any()


def test_sums_over_frames() -> None:
    images = block(1, (20, 6, 7), 0.3)
    images[:, 2, 3] = np.nan
    images[3, 0, 0] = np.inf
    flags = np.random.default_rng(2).integers(0, 8, images.shape).astype("u1")
    good = np.random.default_rng(3).random(20) < 0.7
    total, (count, used) = np.zeros((6, 7)), np.zeros((2, 6, 7), "i4")
    for part in (slice(0, 16), slice(16, 20)):
        blocks.add_frames(images[part], flags[part], good[part], total, count, used)
    images[3, 0, 0] = np.nan
    # Frame after frame, so that the sum does not depend on how many are added at once.
    expected = np.cumsum(np.nan_to_num(images[good]).astype("f8"), axis=0)[-1]
    np.testing.assert_array_equal(total, expected)
    np.testing.assert_array_equal(count, np.isfinite(images[good]).sum(axis=0))
    np.testing.assert_array_equal(used, np.sum((flags & 1) == 0, axis=0))


def test_flags_of_pixels() -> None:
    values = np.array([0.0, -0.0, -1e-30, 8e4, 80000.01, np.nan, np.inf, -np.inf], "f4")
    frames = np.tile(values, (2, 3, 1))
    flags = np.full(frames.shape, 9, "u1")
    blocks.flag_pixels(frames, 8e4, np.array([8, 2], "i4"), 12, flags)
    shown = np.array([0, 0, 1, 0, 1, 1, 1, 1])
    assert (flags[0] == shown).all()
    assert (flags[1] == [0, 0, *(shown[2:] | 12)]).all()
    np.testing.assert_array_equal(frames[0], np.tile(values, (3, 1)))
    assert np.isnan(frames[1, :, 2:]).all()
    assert (frames[1, :, :2] == 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_medians(seed: int, frames: int, rows: int, columns: int) -> None:
    images = block(seed, (frames, rows, columns), 0.3)
    expected = quiet_nanmedian(images)
    images[np.isnan(images)] = np.random.default_rng(seed).choice([np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(frame_medians(images), expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 14), st.floats(0.0, 20.0))
def test_flags_are_those_of_a_median_filter(seed, rows, columns, limit) -> None:
    values = block(seed, (rows, columns, 1), 0.15)[:, :, 0]
    flags = blocks.window_flags(values, 2, limit)
    for r in range(rows):
        for c in range(columns):
            inside = windows(values, r, c, 2)
            inside = np.sort(inside[np.isfinite(inside)])
            expected = False
            if len(inside):
                # An even number of values has two in the middle: flagged where both are beyond the limit.
                low, high = inside[(len(inside) - 1) // 2], inside[len(inside) // 2]
                expected = low > np.float32(limit) or high < -np.float32(limit)
            assert flags[r, c] == expected


def reference_model(model: BackgroundModel, t: int, rows: int, columns: int) -> np.ndarray:
    """The definition, pixel by pixel: weights of the mesh, and a profile that is linear between its nodes."""
    out = np.zeros((rows, columns))
    nodes = model.radial_first + model.radial_step * np.arange(len(model.radial))
    for r, c in np.ndindex(rows, columns):
        weights = mesh_weights(np.array([r]), np.array([c]), model.box, model.mesh.shape[:2])
        out[r, c] = np.sum(weights * model.mesh[:, :, t])
        if len(nodes):
            radius = np.hypot(r + model.origin[0] - model.centre[0], c + model.origin[1] - model.centre[1])
            out[r, c] += np.interp(radius, nodes, model.radial[:, t], left=0.0, right=0.0)
    return out


@pytest.mark.parametrize("nodes", [0, 2, 20])
@pytest.mark.parametrize("boxes", [(3, 2), (1, 1), (2, 5), (6, 7)])
def test_subtract(boxes: tuple[int, int], nodes: int) -> None:
    rng = np.random.default_rng(4)
    raw = rng.uniform(-5, 200, (4, 9, 25)).astype("f4")
    raw[3, 1, 2] = np.nan
    mesh = rng.uniform(50, 60, (*boxes, 6)).astype("f4")
    radial = rng.uniform(0, 5, (nodes, 6)).astype("f4")
    model = BackgroundModel(mesh, 8, radial, 30.0, 2.0, (60.0, 100.0), (3, 44))
    frames = raw.copy()
    model.subtract(frames, 1, 20)
    for k in range(4):
        expected = reference_model(model, k + 1, 29, 25)[20:]
        np.testing.assert_allclose(frames[k], raw[k] - expected, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(model.frame((29, 25), k + 1)[20:], expected, rtol=2e-7)
        np.testing.assert_array_equal(
            model.stamp(20, 29, 3, 25)[..., k + 1], model.frame((29, 25), k + 1)[20:, 3:]
        )


def test_rings() -> None:
    rng = np.random.default_rng(5)
    image = rng.uniform(80, 120, (40, 50)).astype("f4")
    image[3, 4] = np.nan
    pixels = rng.permutation(2000)[:500]
    smooth = rng.uniform(90, 200, (40, 48)).astype("f4")
    inside = pixels[(pixels % 50) >= 2]
    places = inside // 50 * 48 + inside % 50 - 2
    values = rings.ring_values(image.ravel()[inside], smooth.ravel(), places.astype("u4"), 50.0)
    expected = image[:, 2:] - smooth + 50
    expected[expected <= 0] = np.nan
    np.testing.assert_allclose(values, expected[inside // 50, inside % 50 - 2], rtol=1e-5)
    radii = rng.uniform(2400, 2450, 500)
    profile = rng.uniform(0, 9, 11).astype("f4")
    rest = image.copy().reshape(1, 1, 40, 50)
    values = image.ravel()[pixels]
    less = rings.less_profile(values, pixels.astype("u4"), radii, profile, 2400.0, 5.0, rest)
    expected = image.astype("f8").ravel()
    expected[pixels] -= np.interp(radii, 2400 + 5.0 * np.arange(11), profile)
    np.testing.assert_allclose(rest.ravel(), expected, rtol=1e-6)
    np.testing.assert_array_equal(less, rest.ravel()[pixels])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5000),
    st.sampled_from([0.0, 1e-3, 1.0, 1e4]),
    st.booleans(),
    st.sampled_from([0.0, 0.01, 0.5, 0.99]),
)
def test_quartiles(seed: int, n: int, width: float, sparse: bool, missing: float) -> None:
    """Of equal values, of both signs, with far outliers on both sides, between others that are not finite."""
    rng = np.random.default_rng(seed)
    values = (rng.choice([0.0, 100.0]) + width * rng.normal(size=n)).astype("f4")
    values[rng.random(n) < 0.05] *= np.float32(1e6)
    if sparse:
        values = np.round(values)
    values[1:][rng.random(n - 1) < missing] = rng.choice(np.array([np.nan, -np.nan, np.inf, -np.inf], "f4"))
    ordered = np.sort(values[np.isfinite(values)])
    n = len(ordered)
    expected = ordered[[n // 4, (n - 1) // 2, n // 2, 3 * n // 4]]
    np.testing.assert_array_equal(quartiles(values, n), expected)


def in_boxes(image: np.ndarray, usable: np.ndarray | None = None) -> np.ndarray:
    out = np.empty((-(-image.shape[0] // 64), -(-image.shape[1] // 64), 64, 64), "f4")
    sky.in_boxes(image, np.ones(image.shape, dtype=bool) if usable is None else usable, out)
    return out


@pytest.mark.parametrize("shape", [(64, 128), (70, 130), (3, 5)])
def test_order_of_boxes(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    image = rng.normal(size=shape).astype("f4")
    usable = rng.random(shape) < 0.9
    boxes = in_boxes(image, usable)
    padded = np.full((64 * boxes.shape[0], 64 * boxes.shape[1]), np.nan, "f4")
    padded[: shape[0], : shape[1]] = np.where(usable, image, np.nan)
    np.testing.assert_array_equal(np.block([list(row) for row in boxes]), padded)


def central_mean(values: np.ndarray) -> float:
    """The definition: the mean within 3 sigma of the median, sigma from the quartiles."""
    values = np.sort(values.astype("f8"))
    n = len(values)
    sigma = (values[3 * n // 4] - values[n // 4]) / 1.349
    return float(np.mean(values[np.abs(values - np.median(values)) <= 3 * sigma]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 70), st.floats(0.0, 0.4))
def test_means_of_boxes_and_where_they_are(seed: int, height: int, width: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(rng.uniform(-50, 200), rng.uniform(0.1, 10), (height, width)).astype("f4")
    image[rng.random(image.shape) < 0.05] += 1000
    image[rng.random(image.shape) < missing] = np.nan
    wanted = np.ones((-(-height // 64), -(-width // 64)), dtype=bool)
    measured = sky.box_means(in_boxes(image), wanted, 3.0, 3.0)
    for i, j in np.argwhere(wanted):
        box = image[64 * i : 64 * i + 64, 64 * j : 64 * j + 64]
        row, column = np.nonzero(np.isfinite(box))
        if len(row) <= 3:
            assert np.isnan(measured[:, i, j]).all()
            continue
        assert measured[0, i, j] == pytest.approx(central_mean(box[row, column]), rel=1e-6, abs=1e-5)
        offset = [(row.mean() - 31.5) / 64, (column.mean() - 31.5) / 64]
        np.testing.assert_allclose(measured[1:, i, j], offset, atol=1e-12)
    assert np.isnan(sky.box_means(in_boxes(image), ~wanted, 3.0, 3.0)).all()


def test_means_of_rings() -> None:
    rng = np.random.default_rng(6)
    sizes = [400, 49, 1000, 60]
    values = rng.normal(100, 3, sum(sizes)).astype("f4")
    values[::17] = np.nan
    values[::23] += 500
    starts = np.cumsum([0, *sizes])
    means = rings.ring_levels(values, starts, 50, 3.0, True)
    for k in (0, 2, 3):
        ring = values[starts[k] : starts[k + 1]]
        assert means[k] == pytest.approx(central_mean(ring[np.isfinite(ring)]), rel=1e-6)
    assert np.isnan(means[1])


@pytest.mark.parametrize("count", [1, 2, 3, 4096])
def test_levels_need_more_than_the_fewest(count: int) -> None:
    image = np.full((64, 64), np.nan, dtype="f4")
    image.ravel()[:count] = 7.0
    wanted = np.ones((1, 1), dtype=bool)
    boxes = in_boxes(image)
    assert np.isnan(sky.box_levels(boxes, wanted, float(count), 3.0, 5)[0, 0])
    assert sky.box_levels(boxes, wanted, count - 0.5, 3.0, 5)[0, 0] == 7.0
    assert np.isnan(sky.box_levels(boxes, ~wanted, 0.0, 3.0, 5)[0, 0])
