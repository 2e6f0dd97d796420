"""Kernels of PSF photometry against plain numpy and scipy."""

import numpy as np
import pytest
from scipy.interpolate import BSpline

from tasoc_mpi.kernels.linear_frames import solve_frames
from tasoc_mpi.kernels.linear_psf import series_of_stars
from tasoc_mpi.kernels.spline_prf import (
    HALF,
    KNOTS,
    SIDE,
    add_equations,
    add_rings,
    blend,
    blend_all,
    draw_star,
)
from tasoc_mpi.kernels.stack_frames import stack_frames

CUBIC = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)


def smooth(seed=0):
    """Coefficients of an off-centre, elongated response."""
    i, j = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1] / KNOTS
    rng = np.random.default_rng(seed)
    c = np.exp(-((i - 0.1) ** 2) / 1.1 - (j + 0.05) ** 2 / 0.9 + 0.2 * i * j) + 1e-3 * rng.standard_normal(
        i.shape
    )
    return c * (9 / c.sum())


def basis(distance):
    """Splines of all coefficients at distances from the star in pixels, shape (..., SIDE)."""
    return np.nan_to_num(CUBIC(np.asarray(distance)[..., None] * KNOTS - np.arange(-HALF, HALF + 1)))


def reference(c, y, x, shape):
    """The star of `draw_star` by scipy's splines."""
    return basis(np.arange(shape[0]) - y) @ c @ basis(np.arange(shape[1]) - x).T


@pytest.mark.parametrize("place", [(8.0, 9.0), (8.31, 9.77), (0.2, 17.9), (-3.4, 5.5)])
def test_a_star_is_a_sum_of_splines(place):
    image = np.zeros((17, 19))
    draw_star(smooth(), *place, 0.0, 0.0, 2.5, image)
    np.testing.assert_allclose(image, 2.5 * reference(smooth(), *place, image.shape), atol=1e-12)


def test_jitter_is_the_mean_over_places():
    shifts = np.random.default_rng(1).normal(0, 0.05, (4000, 2))
    shifts -= shifts.mean(axis=0)
    mean = np.mean([reference(smooth(), 8.2 + dy, 8.4 + dx, (17, 17)) for dy, dx in shifts], axis=0)
    image = np.zeros((17, 17))
    draw_star(smooth(), 8.2, 8.4, *shifts.var(axis=0), 1.0, image)
    still = np.zeros((17, 17))
    draw_star(smooth(), 8.2, 8.4, 0.0, 0.0, 1.0, still)
    assert np.abs(image - mean).max() < 0.1 * np.abs(still - mean).max()


def test_slopes_that_differ_from_node_to_node_hold_around_each():
    """A response whose slope changes half way between two nodes, as MAST's files have it."""
    kink = np.array([abs(y - 200.0) for y in (100.0, 300.0)])
    nodes = np.zeros((2, 1, 3, SIDE, SIDE))
    nodes[:, 0, 0], nodes[:, 0, 1] = kink[:, None, None], np.array([-256.0, 256.0])[:, None, None]
    out = np.empty((SIDE, SIDE))
    for row, allowed in ((90.0, 1e-9), (149.0, 1e-9), (180.0, 15.0), (200.0, 1e-9), (260.0, 1e-9)):
        blend(nodes, np.array([100.0, 300.0]), np.zeros(1), 256.0, row, 0.0, out)
        assert abs(out[0, 0] - abs(row - 200.0)) <= allowed


def test_coefficients_are_bilinear_between_nodes_with_slopes():
    rng = np.random.default_rng(2)
    # A linear function of the place, given by its value and slopes at each node, is met everywhere.
    a, b, c = rng.standard_normal((3, SIDE, SIDE))
    rows, columns = np.array([100.0, 300.0]), np.array([50.0, 250.0, 450.0])
    nodes = np.array([[[a + b * (y / 256) + c * (x / 256), b, c] for x in columns] for y in rows])
    out = np.empty((SIDE, SIDE))
    for row, column in ((100.0, 50.0), (180.0, 260.0), (20.0, 500.0), (300.0, 450.0)):
        blend(nodes, rows, columns, 256.0, row, column, out)
        np.testing.assert_allclose(out, a + b * (row / 256) + c * (column / 256), atol=1e-12)
    np.testing.assert_array_equal(
        blend_all(nodes, rows, columns, 256.0, np.array([300.0]), np.array([450.0]))[0], out
    )


def test_equations_are_those_of_the_dense_design():
    rng = np.random.default_rng(3)
    shape, origin = (12, 14), (100, 200)
    places = np.array([[104.2, 205.1], [107.7, 209.4], [96.0, 200.3]])
    fluxes = np.array([100.0, 30.0, 50.0])
    residual, weight = rng.standard_normal(shape), rng.uniform(0.5, 2.0, shape)
    weight[3, 4] = 0.0
    index = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    index[0, :] = -1
    index[index >= 0] = np.arange((index >= 0).sum())
    n = int(index.max()) + 1
    rings = np.zeros((2, *shape))
    rings[0, 5:] = 1.5
    plane = np.stack([np.ones(shape), np.broadcast_to(np.arange(shape[1]) / 7.0, shape)])
    y, x = np.arange(shape[0]) + origin[0], np.arange(shape[1]) + origin[1]
    each = [np.einsum("ri,cj->ijrc", basis(y - row), basis(x - column)) for row, column in places]
    design = sum(f * one for f, one in zip(fluxes, each, strict=True))[index >= 0].reshape(n, -1)
    stars = np.stack([np.einsum("ij,ijrc->rc", smooth(), one).ravel() for one in each])
    design = np.concatenate([design, rings.reshape(2, -1), stars, plane.reshape(2, -1)])
    expected = (design * weight.ravel()) @ design.T
    normal, mixed, own = np.zeros((n + 2, n + 2)), np.zeros((5, n + 2)), np.zeros((5, 5))
    right = np.zeros(n + 7)
    add_equations(
        normal, mixed, own, right, residual, weight, np.column_stack([places, fluxes, np.zeros((3, 2))]),
        np.array([smooth()] * 3), index, rings, plane, *origin,
    )  # fmt: skip
    np.testing.assert_allclose(normal, np.tril(expected[: n + 2, : n + 2]), atol=1e-9)
    np.testing.assert_allclose(mixed, expected[n + 2 :, : n + 2], atol=1e-9)
    np.testing.assert_allclose(own, np.tril(expected[n + 2 :, n + 2 :]), atol=1e-9)
    np.testing.assert_allclose(right, design @ (weight * residual).ravel(), atol=1e-9)


def test_rings_are_hats_of_the_distance():
    radii = np.array([2.0, 3.0, 5.0, 8.0])
    images = np.zeros((2, 20, 22))
    add_rings(images, np.array([9.3]), np.array([11.8]), np.array([7.0]), radii)
    distance = np.hypot(*(np.mgrid[:20, :22] - np.array([9.3, 11.8])[:, None, None]))
    for k in range(2):
        hat = np.interp(distance, radii[k : k + 3], [0.0, 1.0, 0.0])
        np.testing.assert_allclose(images[k], 7.0 * hat, atol=1e-12)


def test_series_follows_a_moving_star():
    coefficients = np.stack([smooth(), np.roll(smooth(), 1, axis=0)])
    series = series_of_stars(coefficients, np.array([5.1]), np.array([4.8]), np.ones(1), 11, 11, False)[0]
    powers = [(m, n) for m in range(4) for n in range(4 - m)]
    for dy, dx, error in ((0.0, 0.0, 1e-12), (0.05, -0.03, 2e-5), (0.12, 0.12, 5e-4)):
        image = sum(dy**m * dx**n * series[0, k] for k, (m, n) in enumerate(powers)).reshape(11, 11)
        expected = reference(coefficients[0], 5.1 + dy, 4.8 + dx, (11, 11))
        assert np.abs(image - expected).max() < error * expected.max()
    both = series_of_stars(
        coefficients, np.array([5.1, 2.0]), np.array([4.8, 7.3]), np.array([2.0, 3.0]), 11, 11, True
    )
    expected = 2 * reference(coefficients[1], 5.1, 4.8, (11, 11)) + 3 * reference(
        coefficients[1], 2.0, 7.3, (11, 11)
    )
    np.testing.assert_allclose(both[0, 1, 0].reshape(11, 11), expected, atol=1e-12)


def frames():
    """Three stars in noise that are fitted, with a fourth that is subtracted, and the true fluxes."""
    rng = np.random.default_rng(4)
    c = smooth()[None]
    rows, columns = np.array([5.2, 6.9, 2.0, 9.5]), np.array([4.9, 6.2, 8.0, 1.0])
    fluxes = np.array([500.0, 200.0, 90.0, 5.0])
    shifts = rng.normal(0, 0.04, (40, 2))
    clean = np.stack(
        [
            sum(
                f * reference(c[0], y + dy, x + dx, (11, 11))
                for y, x, f in zip(rows, columns, fluxes, strict=True)
            )
            for dy, dx in shifts
        ],
        axis=-1,
    )
    errors = np.sqrt(1.0 + clean / 50)
    images = clean + 3.0 + errors * rng.standard_normal(clean.shape)
    series = series_of_stars(c, rows[:3], columns[:3], np.ones(3), 11, 11, False)
    fixed = series_of_stars(c, rows[3:], columns[3:], fluxes[3:], 11, 11, True)[0]
    offsets = np.stack([rows[:3] - rows[0], columns[:3] - columns[0]], axis=1)
    known = (
        series,
        fixed,
        np.ones((40, 1)),
        shifts,
        np.zeros((40, 2, 2)),
        offsets,
        fluxes[:3],
        np.zeros(3),
        0.5,
    )
    return clean, images.astype("f4"), errors.astype("f4"), known, (rows, columns, fluxes, shifts)


def test_fluxes_and_errors_are_those_of_least_squares():
    _, images, errors, known, (rows, columns, fluxes, shifts) = frames()
    images[5, 4, 7] = np.nan
    used = np.ones((11, 11), dtype=bool)
    used[5, 6] = False
    results, neighbours, residual = solve_frames(images, errors, used, *known)
    for t in (0, 7, 23):
        parts = [
            reference(smooth(), y + shifts[t, 0], x + shifts[t, 1], (11, 11))
            for y, x in zip(rows, columns, strict=True)
        ]
        design = np.stack([*parts[:3], np.ones((11, 11))], axis=-1)
        good = used & np.isfinite(images[..., t])
        sigma = errors[..., t][good].astype("f8")
        a, b = design[good] / sigma[:, None], (images[..., t] - fluxes[3] * parts[3])[good] / sigma
        solution, squares, *_ = np.linalg.lstsq(a, b, rcond=None)
        assert results[t, 0] == pytest.approx(solution[0], rel=2e-4)
        assert results[t, 1] == pytest.approx(np.sqrt(np.linalg.inv(a.T @ a)[0, 0]), rel=2e-3)
        assert results[t, 2] == pytest.approx(solution[3], abs=0.01)
        assert results[t, 3] == pytest.approx(squares[0] / (len(b) - 4), rel=2e-3)
        np.testing.assert_allclose(neighbours[t], solution[:3], rtol=2e-3, atol=0.05)
    assert np.abs(residual).max() < 5 * 2.5 / np.sqrt(40)
    # The errors are those that the fluxes have.
    pulls = (results[:, 0] - fluxes[0]) / results[:, 1]
    assert abs(pulls.mean()) < 0.5
    assert 0.7 < pulls.std() < 1.3


def test_frames_without_a_solution_are_nan():
    _, images, errors, known, _ = frames()
    images[3:8, 3:8, 4] = np.nan
    errors[:, :, 6] = 0.0
    known[3][9] = np.nan
    results, fluxes, _ = solve_frames(images, errors, np.ones((11, 11), dtype=bool), *known)
    lost = np.isnan(results[:, 0])
    assert set(np.flatnonzero(lost)) == {4, 6, 9}
    assert np.isnan(fluxes[lost]).all()
    assert np.isfinite(results[~lost]).all()


def test_two_stars_at_one_place_share_the_light_as_the_prior_says():
    _, images, errors, known, _ = frames()
    series = known[0][[0, 0]]
    prior, precision = np.array([0.0, 100.0]), np.array([0.0, 0.1])
    results, fluxes, _ = solve_frames(
        images,
        errors,
        np.ones((11, 11), dtype=bool),
        series,
        *known[1:5],
        np.zeros((2, 2)),
        prior,
        precision,
        0.5,
    )
    assert np.isfinite(results).all()
    np.testing.assert_allclose(fluxes[:, 1], 100.0, atol=1e-3)


def test_stack_is_the_mean_and_its_variance():
    rng = np.random.default_rng(5)
    images = rng.normal(10, 2, (4, 5, 30)).astype("f4")
    images[0, 0, ::2] = np.nan
    images[1, 1, 1:] = np.nan
    chosen = np.arange(2, 30, 3)
    mean, variance = stack_frames(images, chosen)
    np.testing.assert_allclose(mean[2], images[2][:, chosen].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        variance[2], images[2][:, chosen].astype("f8").var(axis=1, ddof=1) / 10, rtol=1e-9
    )
    np.testing.assert_allclose(mean[0, 0], np.nanmean(images[0, 0, chosen]), rtol=1e-6)
    assert np.isnan(mean[1, 1])
    assert np.isnan(variance[1, 1])
