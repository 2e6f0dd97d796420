"""The kernels of PSF photometry with fitted positions against differences and expectations."""

import numpy as np
import pytest

from tasoc_mpi.kernels.newton_psf import draw_with_slopes
from tasoc_mpi.kernels.psf_likelihood import DATA_VARIANCE, MODEL_VARIANCE, POISSON, likelihood
from tasoc_mpi.kernels.spline_prf import SIDE, draw_star

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("place", [(5.0, 5.0), (4.63, 6.21), (-2.3, 13.4), (40.0, 5.0)])
def test_star_and_its_derivatives(place):
    coefficients = RNG.normal(size=(SIDE, SIDE))

    def drawn(y, x):
        image = np.zeros((11, 12))
        draw_star(coefficients, y, x, 0.0, 0.0, 1.0, image)
        return image.ravel()

    out = np.full((3, 132), np.nan)
    draw_with_slopes(coefficients, *place, 11, 12, out)
    np.testing.assert_allclose(out[0], drawn(*place), atol=1e-12)
    y, x, h = *place, 1e-5
    np.testing.assert_allclose(out[1], (drawn(y + h, x) - drawn(y - h, x)) / (2 * h), atol=1e-5)
    np.testing.assert_allclose(out[2], (drawn(y, x + h) - drawn(y, x - h)) / (2 * h), atol=1e-5)


def cost(kind, data, variance, model, seconds=20.0):
    slope, curvature = np.empty((2, len(data)))
    return likelihood(kind, data, variance, model, seconds, slope, curvature), slope, curvature


@pytest.mark.parametrize("kind", [DATA_VARIANCE, MODEL_VARIANCE, POISSON])
def test_likelihood_derivatives(kind):
    data = RNG.uniform(0.0, 50.0, 30)
    variance = data / 20.0 + 0.5
    model = data + RNG.normal(size=30)
    value, slope, curvature = cost(kind, data, variance, model)
    assert value > 0 or kind == MODEL_VARIANCE
    assert cost(kind, data, variance, data)[0] == pytest.approx(0, abs=1e-9)
    h = 1e-4
    for p in range(30):
        step = np.zeros(30)
        step[p] = h
        up, down = (cost(kind, data, variance, model + sign * step)[0] for sign in (1, -1))
        assert slope[p] == pytest.approx((up - down) / (2 * h), rel=1e-4, abs=1e-5)
    assert np.all(curvature > 0)


@pytest.mark.parametrize("kind", [DATA_VARIANCE, MODEL_VARIANCE, POISSON])
def test_curvature_is_the_information(kind):
    """The variance of the slope over noise that the likelihood expects."""
    seconds, model, rest = 20.0, np.full(200_000, 8.0), 0.3
    expected = rest + 8.0 / seconds
    if kind == POISSON:
        counts = RNG.poisson(expected * seconds**2, len(model))
        data = counts / seconds - rest * seconds
    else:
        data = 8.0 + np.sqrt(expected) * RNG.standard_normal(len(model))
    data = np.maximum(data, -0.9 * rest * seconds)
    variance = np.full(len(model), expected) if kind == DATA_VARIANCE else rest + data / seconds
    _, slope, curvature = cost(kind, data, variance, model, seconds)
    assert slope.mean() == pytest.approx(0, abs=5 * slope.std() / len(model) ** 0.5)
    assert slope.var() == pytest.approx(curvature.mean(), rel=0.03)


def test_unused_pixels_do_not_count():
    data, variance = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    value, slope, curvature = cost(DATA_VARIANCE, data, variance, np.zeros(2))
    assert value == 0.5
    assert slope.tolist() == [-1.0, 0.0]
    assert curvature.tolist() == [1.0, 0.0]
