"""PSF photometry with fitted positions: made-up frames of known stars, and a simulated CCD."""

import numpy as np
import pytest

from tasoc_mpi.core.quality import TESSQualityFlags
from tasoc_mpi.kernels.spline_prf import draw_star
from tasoc_mpi.models.effective_prf import from_table
from tasoc_mpi.models.prf_files import SAMPLES, analytic_table
from tasoc_mpi.one_star import tessphot
from tasoc_mpi.photometry.psf_fit import LIKELIHOODS, fit_positions
from tasoc_mpi.photometry.psf_scene import Pixels, make_scene
from tasoc_mpi.simulate.truth_file import read_truth

WHERE = {"sector": 1, "camera": 1, "ccd": 1}
SECONDS, SKY, READ = 1425.6, 100.0, 720 * 100 / 1425.6**2
RESPONSE = from_table(analytic_table(1000.0, 1000.0, 1, 1), SAMPLES)


def frames(stars, moved, flux=1.0, own=None, seconds=SECONDS, sky=SKY, seed=1):
    """Images of stars (row, column, flux), shape (11, 11, T), and their errors.

    Parameters
    ----------
    stars : list of (float, float, float)
    moved : ndarray, shape (T, 2)
        Of all stars, which the world coordinates do not know.
    flux : float or ndarray, shape (T,)
        Factor of the first star's flux.
    own : ndarray, shape (T, K, 2), optional
        Of each star.
    """
    rng = np.random.default_rng(seed)
    flux = np.broadcast_to(flux, len(moved))
    images = np.zeros((len(moved), 11, 11))
    for t, image in enumerate(images):
        for k, (row, column, brightness) in enumerate(stars):
            dy, dx = moved[t] + (0.0 if own is None else own[t, k])
            factor = brightness * (flux[t] if k == 0 else 1.0)
            draw_star(RESPONSE, row + dy, column + dx, 0.0, 0.0, factor, image)
    errors = np.sqrt((images + sky) / seconds + READ)
    images = images + errors * rng.standard_normal(images.shape)
    return np.moveaxis(images, 0, -1), np.moveaxis(errors, 0, -1)


def scene(stars, images, errors, good=None):
    # Seen as the pixels of a mapped cube, for which the kernel is compiled anyway.
    images, errors = (np.pad(x.astype("f4"), ((0, 1), (0, 1), (0, 0))) for x in (images, errors))
    for array in (images, errors):
        array.setflags(write=False)
    images, errors = images[:11, :11], errors[:11, :11]
    n = images.shape[2]
    good = np.ones(n, dtype=bool) if good is None else good
    mean = images[:, :, good].mean(axis=2, dtype="f8")
    pixels = Pixels(images, errors, mean, np.ones((11, 11), dtype=bool), good)
    places, flux = np.array(stars)[:, :2], np.array(stars)[:, 2]
    still = np.zeros((n, 2)), np.zeros((n, 2, 2))
    return make_scene(pixels, places, flux, 0, RESPONSE[None], np.ones((n, 1)), *still, recentre=False)


def fit(stars, images, errors, likelihood="gaussian", free=1, error=0.01, seconds=SECONDS, good=None):
    found, states = fit_positions(scene(stars, images, errors, good), likelihood, free, error, seconds)
    return found, states


ALONE = [(5.1, 4.8, 1000.0)]
BLEND = [(5.1, 4.8, 1000.0), (6.4, 6.2, 600.0), (3.2, 8.9, 2000.0)]


@pytest.mark.parametrize("stars", [ALONE, BLEND])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_fluxes_errors_and_positions(stars, likelihood):
    rng = np.random.default_rng(5)
    moved = 0.01 * rng.standard_normal((200, 2))
    factor = 1.0 + 0.1 * np.sin(np.arange(200) / 5.0)
    found, states = fit(stars, *frames(stars, moved, factor), likelihood)
    flux, error = found.results[:, 0], found.results[:, 1]
    pulls = (flux - 1000.0 * factor) / error
    assert abs(pulls.mean()) < 4 / 200**0.5
    assert pulls.std() == pytest.approx(1.0, abs=0.15)
    assert np.median(found.results[:, 3]) == pytest.approx(1.0, abs=0.1)
    left = found.moved - moved
    assert np.abs(np.median(left, axis=0)).max() < 0.003
    assert left.std() < 0.01
    assert states.shape == (200, len(stars) + 5)


@pytest.mark.parametrize("stars", [ALONE, BLEND])
def test_an_excursion_is_followed_and_left_behind(stars):
    moved = np.zeros((60, 2))
    moved[20:30] = 1.4, -1.3
    moved[40] = -2.0, 0.5
    found, _ = fit(stars, *frames(stars, moved), good=np.abs(moved).max(axis=1) == 0)
    flux, error = found.results[:, 0], found.results[:, 1]
    np.testing.assert_allclose(found.moved, moved, atol=0.03)
    assert np.all(np.abs(flux - 1000.0) < 5 * error)


def test_the_first_frame_may_be_an_excursion():
    moved = np.zeros((30, 2))
    moved[:5] = -1.5, 1.0
    found, _ = fit(BLEND, *frames(BLEND, moved), good=np.arange(30) >= 5)
    np.testing.assert_allclose(found.moved, moved, atol=0.03)
    assert np.all(np.abs(found.results[:, 0] - 1000.0) < 5 * found.results[:, 1])


def test_fluxes_are_not_negative():
    nothing = [(5.1, 4.8, 0.0), (6.4, 6.2, 600.0)]
    found, _ = fit([(5.1, 4.8, 1.0), *nothing[1:]], *frames(nothing, np.zeros((60, 2))))
    flux, error = found.results[:, 0], found.results[:, 1]
    assert np.all(flux >= 0)
    assert 15 < (flux == 0).sum() < 45
    assert np.all(error > 0)
    assert np.all(flux < 5 * error)


def test_free_stars_move_by_themselves():
    rng = np.random.default_rng(3)
    own = 0.1 * rng.standard_normal((40, 3, 2))
    images, errors = frames(BLEND, np.zeros((40, 2)), own=own)
    found, states = fit(BLEND, images, errors, free=3)
    np.testing.assert_allclose(found.moved, own[:, 0], atol=0.03)
    # The second star is the brighter neighbour, which has more light in the target's pixels.
    order = np.argsort(-found.fluxes[0])
    assert order[0] != 0
    assert np.all(np.abs(found.results[:, 0] - 1000.0) < 5 * found.results[:, 1])
    assert states.shape == (40, 3 + 3 + 6)
    held, _ = fit(BLEND, images, errors, free=1)
    assert np.median(held.results[:, 3]) > 2 * np.median(found.results[:, 3])


def test_poisson_is_right_where_electrons_are_few():
    """Errors from the data make a Gaussian fit low by an electron a pixel: low pixels weigh more."""
    star, seconds, sky = [(5.1, 4.8, 20.0)], 20.0, 4.0
    rng = np.random.default_rng(8)
    image = np.zeros((11, 11))
    draw_star(RESPONSE, *star[0][:2], 0.0, 0.0, star[0][2], image)
    counts = rng.poisson((image[..., None] + sky) * seconds, (11, 11, 400))
    images, errors = counts / seconds - sky, np.sqrt(counts + 1.0) / seconds
    background = {}
    for kind in LIKELIHOODS:
        results = fit(star, images, errors, kind, seconds=seconds)[0].results
        assert results[:, 0].mean() == pytest.approx(20.0, abs=0.4)
        background[kind] = results[:, 2].mean()
    assert background["gaussian"] == pytest.approx(-1 / seconds, rel=0.2)
    assert abs(background["gaussian-model"]) < 0.2 / seconds
    assert abs(background["poisson"]) < 0.2 / seconds


def test_frame_without_a_solution_is_left_out():
    images, errors = frames(BLEND, np.zeros((40, 2)))
    images[3:8, 3:7, 7] = np.nan
    images[:, :, 9] = np.nan
    found, states = fit(BLEND, images, errors, good=~np.isin(np.arange(40), (7, 9)))
    failed = np.isnan(found.results[:, 0])
    assert np.flatnonzero(failed).tolist() == [7, 9]
    assert np.isnan(states[failed]).all()
    assert np.isfinite(found.results[~failed]).all()
    assert np.isfinite(found.residual).all()


def stars_of(simulated):
    truth = read_truth(simulated.folder / "truth_sector001_camera1_ccd1.hdf5")
    stars, first = truth.stars, (truth.attributes["ROW0"], truth.attributes["COLUMN0"])
    inside = (stars["tmag"] > 8) & (stars["tmag"] < 14.5) & (stars["kind"] == 0)
    for name, low in zip(("row", "column"), first, strict=True):
        inside &= (stars[name] > low + 7) & (stars[name] < low + 88)
    return [{name: values[k] for name, values in stars.items()} for k in np.flatnonzero(inside)]


def test_simulated_stars(simulated, tmp_path):
    rows = []
    for star in stars_of(simulated):
        with tessphot("psf", star["starid"].item(), simulated.folder, tmp_path, **WHERE) as pho:
            table = pho.lightcurve
            good = TESSQualityFlags.filter(table["quality"]) & np.isfinite(table["flux"])
            flux, error = np.asarray(table["flux"][good]), np.asarray(table["flux_err"][good])
            place = np.median(np.asarray(table["pos_centroid"] - table["pos_corr"])[good], axis=0)
            assert np.abs(place - 1 - [star["column"], star["row"]]).max() < 0.03
            assert not pho.failed_frames.any()
            assert pho.result.skip_targets == []
            assert pho.additional_headers["PSF_LIKE"][0] == "gaussian"
            rows.append((np.median(flux) / star["flux"] - 1, np.median(error) / star["flux"], flux.std()))
            rows[-1] = (*rows[-1][:2], flux.std() / np.median(error))
    bias, error, pull = np.array(rows).T
    assert len(bias) > 10
    assert np.median(np.abs(bias)) < 0.004
    assert np.all(np.abs(bias) < 0.01 + 4 * error)
    assert 0.85 < np.median(pull) < 1.2
