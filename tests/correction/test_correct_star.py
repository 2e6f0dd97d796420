"""One light curve and the vectors of its area: the correction, and the file of the vectors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from trends import made_curve, made_vectors

import tasoc_mpi
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.names import cbv_name
from tasoc_mpi.correction.own_periods import own_sines
from tasoc_mpi.products.cbv_file import Vectors, read_vectors, write_vectors
from tasoc_mpi.products.raw_curve import RawCurve


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


def test_a_few_minutes_have_no_periods():
    """The points that are left of a damaged light curve at 20 s can be of less time than the shortest one."""
    time = np.arange(60) * 20 / 86400
    assert own_sines(time, np.sin(time), np.ones(60, bool)).shape == (0, 60)


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


def short_curve(vectors: Vectors, cadence: int, time: np.ndarray, relative: np.ndarray) -> RawCurve:
    """A light curve of a shorter cadence (s) at times of the spacecraft (days)."""
    frames = len(time)
    return dataclasses.replace(
        made_curve(vectors, np.ones(len(vectors.time))),
        cadence=cadence,
        time=time + 0.002,
        timecorr=np.full(frames, 0.002),
        cadenceno=np.arange(70000, 70000 + frames, dtype=np.int32),
        flux=1000 * relative,
        **dict.fromkeys(("flux_err", "background", "column", "row"), np.full(frames, 0.1)),
        **{name: np.zeros(frames) for name in ("column_shift", "row_shift")},
        **{name: np.zeros(frames, np.int32) for name in ("corrector_quality", "quality")},
    )


@pytest.mark.parametrize("cadence", [120, 600])
def test_vectors_of_a_longer_cadence_are_interpolated(vectors, cadence):
    """Slow parts linearly; a spike is that of its long exposure."""
    count = 1800 // cadence
    start = (vectors.time - vectors.timecorr)[0] - 900 / 86400
    frames = len(vectors.time) * count
    time = start + (np.arange(frames) + 0.5) * cadence / 86400
    trend = np.interp(time, vectors.time - vectors.timecorr, 0.02 * vectors.slow[:, 0])
    trend += np.repeat(0.01 * vectors.spikes[:, 1], count)
    rng = np.random.default_rng(3)
    noise = 1e-4 * np.sqrt(count) * rng.standard_normal(frames)
    curve = short_curve(vectors, cadence, time, 1 + trend + noise)
    result = tasoc_mpi.correct(curve, vectors, method="cbv")
    known = np.isfinite(result.flux)
    assert known.mean() == pytest.approx(vectors.good.mean(), abs=0.01)
    assert (result.quality[known] == tasoc_mpi.CorrectorQualityFlags.Interpolated).all()
    level = np.median((1 + trend + noise)[known])
    left = 1e-6 * result.flux[known] - noise[known] / level
    assert np.std(left) < 0.02 * np.std(trend[known])
    shorter = dataclasses.replace(vectors, cadence=cadence)
    with pytest.raises(InputError, match="its light curve is of cadence 1800"):
        tasoc_mpi.correct(made_curve(vectors, np.ones(len(vectors.time))), shorter)


def test_the_stars_before_make_no_difference_to_interpolated_vectors():
    """The barycentric correction is single precision in files: each star's times are rounded differently."""
    vectors = made_vectors()
    rng = np.random.default_rng(6)
    frames = 3 * len(vectors.time)
    trend = np.repeat(0.02 * vectors.slow[:, 0], 3)
    time = (vectors.time - vectors.timecorr)[0] + np.arange(frames) * 600 / 86400
    first, second = (
        dataclasses.replace(
            short_curve(vectors, 600, time, 1 + trend + 1e-3 * rng.standard_normal(frames)),
            time=time + correction,
            timecorr=correction.astype(np.float32).astype(float),
        )
        for correction in (np.linspace(0.002, 0.0021, frames), np.linspace(0.0031, 0.003, frames))
    )
    tasoc_mpi.correct(first, vectors)
    after = tasoc_mpi.correct(second, vectors)
    alone = tasoc_mpi.correct(second, made_vectors())
    assert after.flux.tobytes() == alone.flux.tobytes()
    assert len(vectors.designs) == 1
    # Of other times there is another design.
    later = dataclasses.replace(second, time=second.time + 300 / 86400)
    assert tasoc_mpi.correct(later, vectors).flux.tobytes() != alone.flux.tobytes()
    assert len(vectors.designs) == 2


def test_background_and_position_are_further_vectors(vectors):
    rng = np.random.default_rng(5)
    noise = 1e-4 * rng.standard_normal(len(vectors.time))
    background = rng.standard_normal(len(vectors.time)).cumsum()
    own = 0.0003 * background
    curve = made_curve(vectors, 1 + 0.01 * vectors.slow[:, 0] + own + noise)
    curve = dataclasses.replace(curve, background=100 + background)
    plain, with_it = (tasoc_mpi.correct(curve, vectors, "cbv", further=further) for further in (False, True))
    assert np.nanstd(with_it.flux) == pytest.approx(1e6 * noise[vectors.good].std(), rel=0.1)
    assert np.nanstd(plain.flux) > 3 * np.nanstd(with_it.flux)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"slow": np.nan}, "slow has values that are not finite"),
        ({"orbit": -1}, "has no frames with vectors"),
        ({"cadenceno": 5}, "cadence numbers do not increase"),
        ({"orbit": 7}, "the number of its coefficients is not that of its vectors"),
    ],
)
def test_damaged_vectors_are_one_clear_line(vectors, tmp_path, changes, problem):
    path = tmp_path / "cbv.hdf5"
    damaged = {name: np.full_like(getattr(vectors, name), value) for name, value in changes.items()}
    write_vectors(path, dataclasses.replace(vectors, **damaged))
    with pytest.raises(InputError, match=f"cbv.hdf5: .*{problem}.*; remove it and run tasoc-mpi cbv"):
        read_vectors(path)


@pytest.mark.parametrize("method", ["map", "cbv"])
def test_pulsations_near_a_day_keep_their_amplitude(method):
    """Vectors that resemble a wave of a day do not take a part of it."""
    vectors = made_vectors(1200, count=2)
    rng = np.random.default_rng(4)
    day = np.arange(1200) / 48.0
    slow = np.stack([np.sin(2 * np.pi * day / 0.97), np.cos(2 * np.pi * day / 1.05)], axis=1)
    slow = slow + 2.0 * vectors.slow
    slow = np.where(vectors.good[:, None], slow / slow[vectors.good].std(axis=0), 0.0)
    stars = 30
    vectors = dataclasses.replace(
        vectors, slow=slow, starid=np.arange(100, 100 + stars), tmag=np.full(stars, 12.9),
        row=rng.uniform(100, 200, stars), column=rng.uniform(300, 400, stars), use=np.zeros(stars, np.int32),
        weights=np.zeros((stars, 2)), coefficients=rng.normal(0, 3e-3, (stars, 6)),
        coefficient_errors=np.full((stars, 6), 1e-5), left=np.zeros((2, 1200), np.float32),
    )  # fmt: skip
    quiet = 1 + 2e-4 * rng.standard_normal(1200) + slow @ [1e-3, -2e-3]
    wave = 1e-3 * np.sin(2 * np.pi * day / 0.93) + 7e-4 * np.cos(2 * np.pi * day / 0.7)
    flux = [
        tasoc_mpi.correct(made_curve(vectors, f), vectors, method=method).flux
        for f in (quiet, quiet * (1 + wave))
    ]
    change = (flux[1] - flux[0])[vectors.good] * 1e-6
    assert np.polyfit(wave[vectors.good], change, 1)[0] == pytest.approx(1, abs=0.01)
    assert np.nanstd(flux[0]) == pytest.approx(200, rel=0.1)
