"""The points that a fit of systematics leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasoc_mpi.kernels.median import median
from tasoc_mpi.kernels.trend_fit import exclude_outliers


@pytest.mark.parametrize("place", [0, 150, 295])
def test_a_dip_of_five_points_is_left_out_anywhere(place):
    """Also at both ends, and although none of its points is an outlier by itself."""
    rng = np.random.default_rng(2)
    residual = rng.uniform(-1.0, 1.0, 300)
    residual[place : place + 5] = -2.5
    used, kept = np.ones(300, dtype=bool), np.empty(300, dtype=bool)
    exclude_outliers(residual, used, 4.0, np.array([1, 5]), kept)
    assert not kept[place : place + 5].any()
    assert kept.sum() >= 280


@given(
    st.lists(st.sampled_from([0.0, -1.5, 1e-300, 1e300, 3.0]) | st.floats(-1e3, 1e3), max_size=300),
    st.floats(-5, 5),
)
@settings(max_examples=60, deadline=None)
def test_median_is_that_of_numpy(values, shift):
    values = np.array(values) + shift
    expected = np.median(values) if len(values) else np.nan
    np.testing.assert_allclose(median(values), expected, rtol=1e-15)
