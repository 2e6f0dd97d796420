"""PSF photometry at catalogue positions: against a simulation's truth, a real star, and what it refuses."""

import copy

import numpy as np
import pytest
from astropy.io import fits

from tasoc_mpi.core.status import STATUS
from tasoc_mpi.one_star import tessphot
from tasoc_mpi.photometry import load_sources
from tasoc_mpi.photometry.aperture import AperturePhotometry
from tasoc_mpi.photometry.linpsf import LinPSFPhotometry
from tasoc_mpi.photometry.psf_scene import choose_stars
from tasoc_mpi.simulate.truth_file import read_truth

WHERE = {"sector": 1, "camera": 1, "ccd": 1}


@pytest.fixture(scope="module")
def measured(simulated, tmp_path_factory):
    """Truth, linpsf and aperture flux and so on of constant stars of Tmag 8 to 14.5 away from the edge."""
    truth = read_truth(simulated.folder / "truth_sector001_camera1_ccd1.hdf5")
    stars, first = truth.stars, (truth.attributes["ROW0"], truth.attributes["COLUMN0"])
    inside = np.ones(len(stars["tmag"]), dtype=bool)
    for name, low in zip(("row", "column"), first, strict=True):
        inside &= (stars[name] > low + 7) & (stars[name] < low + 88)
    chosen = inside & (stars["tmag"] > 8) & (stars["tmag"] < 14.5) & (stars["kind"] == 0)
    rows = []
    for k in np.flatnonzero(chosen):
        where = (int(stars["starid"][k]), simulated.folder, tmp_path_factory.mktemp("out"))
        with LinPSFPhotometry(*where, **WHERE) as ours, AperturePhotometry(*where, **WHERE) as aperture:
            ours.photometry()
            aperture.photometry()
            assert ours.status in (STATUS.OK, STATUS.WARNING)
            good = ours.lightcurve["quality"] == 0
            flux, error = ours.lightcurve["flux"][good], ours.lightcurve["flux_err"][good]
            chi_square = np.median(ours.chi_square[good])
            rows.append(
                (
                    stars["flux"][k],
                    np.median(flux),
                    np.std(flux),
                    np.median(error),
                    aperture.result.mean_flux,
                    chi_square,
                )
            )
            centroid = ours.lightcurve["pos_centroid"][good] - ours.lightcurve["pos_corr"][good]
            np.testing.assert_allclose(
                centroid,
                np.broadcast_to([stars["column"][k] + 1, stars["row"][k] + 1], centroid.shape),
                atol=0.02,
            )
    return np.array(rows).T


def test_fluxes_are_the_true_ones(measured):
    truth, flux, _, error, aperture, _ = measured
    assert len(truth) > 10
    ours, theirs = np.abs(flux / truth - 1), np.abs(aperture / truth - 1)
    assert np.median(ours) < 0.004
    assert np.all(ours < 0.01 + 4 * error / truth)
    # Apertures hold the light of neighbours.
    assert np.median(ours) < 0.5 * np.median(theirs)


def test_errors_are_the_scatter(measured):
    _, _, scatter, error, _, chi_square = measured
    assert 0.85 < np.median(scatter / error) < 1.2
    assert 0.85 < np.median(chi_square) < 1.3


def star(simulated):
    truth = read_truth(simulated.folder / "truth_sector001_camera1_ccd1.hdf5")
    stars = truth.stars
    middle = np.hypot(
        stars["row"] - truth.attributes["ROW0"] - 48, stars["column"] - truth.attributes["COLUMN0"] - 48
    )
    return int(stars["starid"][np.flatnonzero((middle < 35) & (stars["tmag"] > 9) & (stars["tmag"] < 13))[0]])


def test_light_curve_file_says_how(simulated, tmp_path):
    with tessphot("linpsf", star(simulated), simulated.folder, tmp_path, **WHERE) as pho:
        path = pho.save_lightcurve()
        assert pho.result.method_used == "linpsf"
        assert pho.result.skip_targets == []
        assert pho.neighbours[0] == pho.starid
    with fits.open(path) as hdus:
        header = hdus[0].header
        assert header["PHOTMET"] == "linpsf"
        assert header["PSF_SRC"].startswith("analytic")
        assert 0 <= header["PSF_CONT"] < 1
        assert header["PSF_CHI2"] == pytest.approx(1, abs=0.5)
        assert header["PSF_NFIT"] == len(pho.neighbours)
        assert (hdus["APERTURE"].data & 2).any()


@pytest.fixture
def changed(simulated, monkeypatch, tmp_path):
    """A function that gives the photometry of a star whose pixels are changed first."""

    def make(change):
        pho = LinPSFPhotometry(star(simulated), simulated.folder, tmp_path, **WHERE)
        source = pho._source
        images, sums = np.array(source.images), np.array(source.sumimage)
        row = round(pho.target_pos_row) - source.origin[0]
        column = round(pho.target_pos_column) - source.origin[1]
        change(images, sums, row, column)
        pho._source = copy.copy(source)
        pho._source.images, pho._source.sumimage = images, sums
        return pho

    yield make
    load_sources.clear_sources()


def test_frames_that_cannot_be_fitted_are_flagged(changed):
    def hide(images, sums, row, column):
        images[row - 2 : row + 3, column - 2 : column + 3, 10] = np.nan

    with changed(hide) as pho:
        pho.photometry()
        assert np.isnan(pho.lightcurve["flux"][10])
        assert np.isnan(pho.lightcurve["pos_centroid"][10]).all()
        path = pho.save_lightcurve()
    quality = fits.getdata(path, "LIGHTCURVE")["QUALITY"]
    assert quality[10] & 1
    assert not (quality[np.arange(len(quality)) != 10] & 1).any()


def test_saturated_star_is_an_error(changed):
    def fill(images, sums, row, column):
        sums[row - 6 : row + 7, column - 6 : column + 7] = 9e4

    with changed(fill) as pho:
        pho.photometry()
        assert pho.status == STATUS.ERROR
        assert "All pixels around the star are saturated or unknown." in pho.result.errors


def test_star_without_pixels_is_an_error(changed):
    def lose(images, sums, row, column):
        images[row - 6 : row + 7, column - 6 : column + 7] = np.nan

    with changed(lose) as pho:
        pho.photometry()
        assert pho.status == STATUS.ERROR
        assert any("pixels with values hold at most 0%" in line for line in pho.result.errors)


def profile(row, column):
    y, x = np.mgrid[:11, :11]
    out = np.exp(-((y - row) ** 2 + (x - column) ** 2))
    return out / out.sum()


def test_neighbours_that_matter_are_fitted():
    """A bright one, one too faint, one too far away, and one that cannot be separated."""
    profiles = np.stack([profile(5, 5), profile(6.5, 5.5), profile(6, 5), profile(10, 10), profile(5.2, 5.1)])
    flux = np.array([1000.0, 300.0, 0.001, 50.0, 0.0])
    image = np.tensordot(flux, profiles, 1) + 7.0
    weight = np.ones_like(image)
    choice = choose_stars(profiles[:4], image, weight, flux[:4] * [1.1, 0.9, 1.0, 1.0], 0)
    assert choice.fitted.tolist() == [0, 1]
    np.testing.assert_allclose(choice.flux[:2], flux[:2], rtol=0.01)
    assert choice.precision[0] == 0
    assert not choice.inseparable
    light = [f * (p * profiles[0]).sum() for f, p in zip(flux, profiles, strict=True)]
    assert choice.contamination == pytest.approx(1 - light[0] / sum(light), rel=0.02)
    # Half of the light is another star's at nearly the same place: the catalogue's ratio divides it.
    both = np.array([1000.0, 300.0, 0.001, 50.0, 500.0])
    choice = choose_stars(profiles, np.tensordot(both, profiles, 1) + 7.0, weight, both, 0)
    assert choice.inseparable
    assert choice.fitted[1] == 4
    np.testing.assert_allclose(choice.flux[[0, 4]], both[[0, 4]], rtol=0.03)
