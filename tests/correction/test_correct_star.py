"""One light curve and the vectors of its area: the correction, and the file of the vectors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from trends import made_curve, made_vectors

import tasoc_mpi
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.names import cbv_name
from tasoc_mpi.products.cbv_file import read_vectors, write_vectors


@pytest.fixture(scope="module")
def vectors():
    return made_vectors()


def test_a_sum_of_vectors_is_taken_out(vectors):
    rng = np.random.default_rng(1)
    noise = 1e-4 * rng.standard_normal(len(vectors.time))
    trend = 0.02 * vectors.slow[:, 0] - 0.003 * vectors.slow[:, 2] + 0.01 * vectors.spikes[:, 1]
    result = tasoc_mpi.correct(made_curve(vectors, 1 + trend + noise), vectors, method="cbv")
    assert result.number == 3
    level = np.median((1 + trend + noise)[vectors.good])
    np.testing.assert_allclose(result.coefficients * level, [0.02, 0, -0.003], atol=2e-5)
    good = vectors.good
    assert np.std(result.flux[good]) == pytest.approx(1e6 * np.std(noise[good]), rel=0.03)
    assert np.isnan(result.flux[~good]).all()
    assert (result.quality[~good] == tasoc_mpi.CorrectorQualityFlags.FlaggedBadData).all()
    assert not result.quality[good].any()
    np.testing.assert_allclose(result.flux_err[good] * (1 + trend[good]), 100, rtol=2e-3)


def test_vectors_of_another_ccd_are_refused(vectors):
    curve = made_curve(vectors, np.ones(len(vectors.time)))
    for change in ({"sector": 2}, {"camera": 3}, {"ccd": 1}):
        with pytest.raises(InputError, match=f"TIC 7: .*{next(iter(change))}"):
            tasoc_mpi.correct(dataclasses.replace(curve, **change), vectors)


def test_a_curve_without_flux_is_one_clear_line(vectors):
    with pytest.raises(InputError, match="TIC 7: cannot be corrected, it has 0 good points"):
        tasoc_mpi.correct(made_curve(vectors, np.full(len(vectors.time), np.nan)), vectors)


def test_vectors_come_back_from_their_file(vectors, tmp_path):
    path = tmp_path / cbv_name(vectors.sector, vectors.cadence, vectors.area)
    write_vectors(path, vectors)
    found = read_vectors(path)
    assert read_vectors(path) is found
    for field in dataclasses.fields(vectors):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(vectors, field.name))
