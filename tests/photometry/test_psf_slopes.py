"""The change of flux with motion: found in jitter, not in the star's own variation."""

import numpy as np
import pytest

from tasoc_mpi.photometry.psf_slopes import flux_slopes


def motion(n):
    """Jitter, and a drift over all of the time that is far larger."""
    rng = np.random.default_rng(3)
    return 0.02 * rng.standard_normal((n, 2)) + np.linspace(-0.2, 0.2, n)[:, None]


def test_slopes_are_found_in_noise():
    shift = motion(1200)
    noise = 2e-4 * np.random.default_rng(4).standard_normal(1200)
    flux = 5e3 * (1 + shift @ [0.02, -0.01] + noise)
    np.testing.assert_allclose(flux_slopes(flux, shift), [0.02, -0.01], atol=1.5e-3)


@pytest.mark.parametrize("period", [0.7, 5.0, 40.0])
def test_a_star_keeps_its_variation(period):
    """What the correction adds to a star that varies by a tenth, and drifts, is below 2% of that."""
    shift = motion(1200)
    signal = 0.1 * np.sin(2 * np.pi * np.arange(1200) / 48 / period)
    slopes = flux_slopes(100.0 * (1 + signal), shift)
    left = (1 + signal) / (1 + shift @ slopes) - 1
    assert np.polyfit(signal, left, 1)[0] == pytest.approx(1, abs=0.005)
    assert np.std(left - signal) < 2e-3


def test_a_few_outliers_do_no_harm():
    shift = motion(240)
    flux = 100.0 * (1 + shift @ [0.01, 0.0])
    flux[::40] *= 1.5
    np.testing.assert_allclose(flux_slopes(flux, shift), [0.01, 0.0], atol=3e-3)


@pytest.mark.parametrize("flux", [np.zeros(0), np.ones(10), -np.ones(100), np.zeros(100)])
def test_nothing_to_learn_from(flux):
    still = np.zeros((len(flux), 2))
    np.testing.assert_array_equal(flux_slopes(flux, still), 0.0)
