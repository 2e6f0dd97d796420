"""The change of flux with motion: found in jitter, not in the star's own variation."""

import numpy as np
import pytest

from tasoc_mpi.kernels.spline_prf import HALF, KNOTS, SIDE
from tasoc_mpi.photometry.psf_scene import Choice, Pixels, Scene
from tasoc_mpi.photometry.psf_slopes import flux_slopes, slopes_from_background, take_out_slopes

EXPECTED = np.array([0.02, 0.02])


def motion(n):
    """Jitter, and a drift over all of the time that is far larger."""
    rng = np.random.default_rng(3)
    return 0.02 * rng.standard_normal((n, 2)) + np.linspace(-0.2, 0.2, n)[:, None]


def test_slopes_are_found_in_noise():
    shift = motion(1200)
    noise = 2e-4 * np.random.default_rng(4).standard_normal(1200)
    flux = 5e3 * (1 + shift @ [0.02, -0.01] + noise)
    np.testing.assert_allclose(flux_slopes(flux, shift, EXPECTED), [0.02, -0.01], atol=1.5e-3)


@pytest.mark.parametrize("period", [0.7, 5.0, 40.0])
def test_a_star_keeps_its_variation(period):
    """What the correction adds to a star that varies by a tenth, and drifts, is below 2% of that."""
    shift = motion(1200)
    signal = 0.1 * np.sin(2 * np.pi * np.arange(1200) / 48 / period)
    slopes = flux_slopes(100.0 * (1 + signal), shift, EXPECTED)
    left = (1 + signal) / (1 + shift @ slopes) - 1
    assert np.polyfit(signal, left, 1)[0] == pytest.approx(1, abs=0.005)
    assert np.std(left - signal) < 2e-3


def test_a_few_outliers_do_no_harm():
    shift = motion(240)
    flux = 100.0 * (1 + shift @ [0.01, 0.0])
    flux[::40] *= 1.5
    np.testing.assert_allclose(flux_slopes(flux, shift, EXPECTED), [0.01, 0.0], atol=3e-3)


@pytest.mark.parametrize("flux", [np.zeros(0), np.ones(10), -np.ones(100), np.zeros(100)])
def test_nothing_to_learn_from(flux):
    still = np.zeros((len(flux), 2))
    np.testing.assert_array_equal(flux_slopes(flux, still, EXPECTED), 0.0)


def focus(n):
    """A drift of the focus, as slow as stars vary, with small fast changes; zero in the mean."""
    drift = 0.015 * np.cos(np.pi * np.arange(n) / n) + 1e-4 * np.random.default_rng(5).standard_normal(n)
    return drift - drift.mean()


@pytest.mark.parametrize("trend", [0.0, 3.0])
def test_light_that_the_focus_moves_is_found_in_the_background(trend):
    """However a star varies, the slope is that by which its light goes into the background."""
    change = focus(640)
    rng = np.random.default_rng(6)
    causes = np.column_stack([0.02 * rng.standard_normal((640, 2)), change])
    flux = 1e4 * (1 + (trend - 0.1) * change + 1e-4 * rng.standard_normal(640))
    light = 0.1 * change + 1e-3 * rng.standard_normal(640)
    measured = slopes_from_background(light, causes, 1e-4)
    slopes = flux_slopes(flux, causes, np.array([*EXPECTED, 0.05]), measured)
    assert slopes[2] == pytest.approx(-0.1, abs=0.01)


def test_a_drift_of_the_sky_is_none_of_a_faint_star():
    causes = np.column_stack([motion(640), focus(640)])
    light = 5.0 * causes[:, 2:] + 0.02 * np.random.default_rng(7).standard_normal((640, 1))
    measured = slopes_from_background(light[:, 0], causes, 0.05)
    slopes = flux_slopes(np.ones(640), causes, np.array([*EXPECTED, 0.05]), measured)
    assert abs(slopes[2]) < 0.02
    assert slopes_from_background(light[:6, 0], causes[:6], 0.05) is None


def test_flux_and_error_lose_the_change_with_motion_focus_and_epochs():
    n, rng = 240, np.random.default_rng(8)
    broad = np.zeros((SIDE, SIDE))
    broad[HALF - 1 : HALF + 2, HALF] = 1.0, -2.0, 1.0
    epoch = np.zeros((SIDE, SIDE))
    epoch[HALF, HALF] = KNOTS**2
    share, fast = np.linspace(0.0, 1.0, n), 0.004 * rng.standard_normal(n)
    pixels = Pixels(
        np.ones((11, 11, n), "f4"), np.ones((11, 11, n), "f4"), np.ones((11, 11)), np.ones((11, 11), bool),
        np.ones(n, bool),
    )  # fmt: skip
    choice = Choice(np.zeros(1, "i8"), np.array([1e5]), np.zeros(1), 0.0, False)
    motion = 0.03 * rng.standard_normal((n, 2))
    scene = Scene(
        pixels, np.full((1, 2), 5.0), np.zeros(2), np.ones((11, 11)), choice, np.full((11, 11), 1 / 121),
        np.stack([epoch, epoch + 0.06 * broad, broad]), np.column_stack([1 - share, share, fast]), motion,
        np.zeros((n, 2, 2)),
    )  # fmt: skip
    change = motion @ [0.01, -0.02] + 0.3 * motion[:, 0] ** 2 - 0.06 * (0.06 * share + fast)
    flux = 1e5 * (1 + change + 5e-5 * rng.standard_normal(n))
    light = 2.0 * 121 - 1e5 * change + 20.0 * rng.standard_normal(n)
    results = np.column_stack([flux, np.full(n, 5.0), light / 121, np.ones(n)])
    slopes, focus = take_out_slopes(results, motion, scene)
    np.testing.assert_allclose(slopes, [0.01, -0.02], atol=5e-4)
    assert focus == pytest.approx(np.std(0.06 * (0.06 * share + fast)), rel=0.1)
    assert np.std(results[:, 0] / 1e5) < 7e-5 < 0.1 * np.std(change)
    np.testing.assert_allclose(results[:, 1] / results[:, 0], 5.0 / flux)
