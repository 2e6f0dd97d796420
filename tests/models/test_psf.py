"""The point spread function: MAST's files against a real star, the analytic model, bad folders."""

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from prf_folder import LOWER, RIGHT, UPPER, write_prf, write_prf_folder
from scipy.optimize import least_squares

from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.kernels.prf_table import add_table_stars
from tasoc_mpi.models import psf as module
from tasoc_mpi.models.effective_prf import start_prf
from tasoc_mpi.models.prf_files import PRFGrid, analytic_table, find_folder, read_grid
from tasoc_mpi.models.psf import PSF
from tasoc_mpi.products import prf_file
from tasoc_mpi.products.prf_file import EffectivePRF

STAMP = (100, 131, 500, 541)  # 31 rows, 41 columns


@pytest.fixture(autouse=True)
def _no_prf_folder(monkeypatch):
    monkeypatch.delenv("TESSPHOT_PRF", raising=False)


@pytest.fixture(scope="session")
def prf_files(tmp_path_factory):
    return write_prf_folder(tmp_path_factory.mktemp("prf"))


@pytest.fixture
def copied(prf_files, tmp_path):
    """A copy of the files that a test may break, and the folder of the CCD in it."""
    shutil.copytree(prf_files, tmp_path / "prf")
    return tmp_path / "prf", tmp_path / "prf" / "start_s0004" / "cam2_ccd3"


# --- The measured files -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_star(real):
    path = real / "tpf" / "tess25155310-s01-first-cadences.fits.gz"
    with fits.open(path) as hdus:
        table, header = hdus["PIXELS"].data, hdus["PIXELS"].header
        image = np.nanmean(table["FLUX"].astype("f8"), axis=0)
        column, row = header["1CRV4P"] - 1, header["2CRV4P"] - 1
        crowding, fraction = header["CROWDSAP"], header["FLFRCSAP"]
        aperture = (hdus["APERTURE"].data & 2) > 0
    return image, (row, row + 11, column, column + 11), image[aperture].sum() * crowding / fraction


def fit_star(image, model):
    """Row, column, flux and background of one star, and the sum of squares that is left."""

    def residuals(p):
        return (model.integrate_to_image([p[:3]], None) + p[3] - image).ravel()

    fit = least_squares(residuals, [5.0, 5.0, image.sum(), 0.0], x_scale=[1.0, 1.0, 1000.0, 10.0])
    return fit.x, 2 * fit.cost


@pytest.mark.real
def test_prf_explains_a_real_star(real, real_star):
    image, stamp, published = real_star
    model = PSF(1, 4, 1, stamp, real / "prf")
    assert "start_s0001/cam4_ccd1" in model.source
    (row, column, flux, background), left = fit_star(image, model)
    assert published == pytest.approx(9267, rel=0.02)
    assert flux == pytest.approx(published, rel=0.03)
    # CCD coordinates count from 1.
    assert stamp[0] + row + 1 == pytest.approx(393.4, abs=0.1)
    assert stamp[2] + column + 1 == pytest.approx(1623.8, abs=0.1)
    assert abs(background) < 10
    assert left < 0.003 * np.sum(image**2)
    # The axes the other way round, or one of them mirrored, fit far worse.
    table = model.table
    for wrong, factor in ((table.T, 8), (table[::-1], 7), (table[:, ::-1], 8), (table[::-1, ::-1], 8)):
        model.table = np.ascontiguousarray(wrong)
        assert fit_star(image, model)[1] > factor * left


@pytest.mark.real
def test_other_sectors_need_the_other_files(real):
    with pytest.raises(MissingInput, match=r"start_s0004/cam4_ccd1: no such folder"):
        PSF(4, 4, 1, STAMP, real / "prf")
    assert PSF(3, 4, 1, STAMP, real / "prf").source == PSF(1, 4, 1, STAMP, real / "prf").source


# --- Files of a known response -----------------------------------------------------------------------


def test_response_is_bilinear_over_the_ccd(prf_files):
    grid = read_grid(find_folder(prf_files, 14, 2, 3), 2, 3)
    assert grid.rows.tolist() == [0, 512, 1024, 1535, 2047]
    assert grid.columns.tolist() == [44, 556, 1068, 1579, 2091]
    for row, column in ((0.0, 44.0), (300.0, 1800.0), (2047.0, 2091.0), (1024.0, 60.5)):
        u, v = row / 2047, (column - 44) / 2047
        expected = UPPER + u * (LOWER - UPPER) + v * (RIGHT - UPPER)
        assert grid.table(row, column) == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(grid.table(-50.0, 5000.0), grid.table(0.0, 2091.0))


def test_function_is_taken_in_the_middle_of_the_stamp(prf_files):
    model = PSF(14, 2, 3, (1000, 1011, 700, 720), prf_files)
    assert (model.ref_row, model.ref_column) == (1005.0, 709.5)
    assert model.shape == (11, 20)
    u, v = 1005.0 / 2047, 665.5 / 2047
    assert model.table == pytest.approx(UPPER + u * (LOWER - UPPER) + v * (RIGHT - UPPER), abs=1e-12)


def test_folder_from_the_environment_and_its_forms(prf_files, monkeypatch):
    expected = PSF(14, 2, 3, STAMP, prf_files).table
    assert np.array_equal(PSF(14, 2, 3, STAMP, prf_files / "start_s0004").table, expected)
    monkeypatch.setenv("TESSPHOT_PRF", str(prf_files))
    model = PSF(14, 2, 3, STAMP)
    assert np.array_equal(model.table, expected)
    assert model.source == "TESS PRF files (start_s0004/cam2_ccd3)"
    # The set of later sectors is not taken for the early ones.
    with pytest.raises(MissingInput, match=r"start_s0001/cam2_ccd3"):
        PSF(3, 2, 3, STAMP)
    with pytest.raises(MissingInput, match=r"start_s0001"):
        PSF(3, 2, 3, STAMP, prf_files / "start_s0004")


def test_samples_are_pixel_values(prf_files):
    # At whole samples nothing is interpolated: pixel (r, c) has sample 58 + 9 (r - row), 58 + 9 (c - column).
    model = PSF(14, 2, 3, STAMP, prf_files)
    image = model.integrate_to_image([[15 + 2 / 9, 20 - 4 / 9, 81.0]], None)
    for r, c in ((15, 20), (13, 22), (18, 17), (21, 20)):
        sample = model.table[58 + 9 * (r - 15) - 2, 58 + 9 * (c - 20) + 4]
        assert image[r, c] == pytest.approx(81.0 * sample, rel=1e-9)


# --- Images ------------------------------------------------------------------------------------------


@given(
    row=st.floats(10, 20),
    column=st.floats(10, 30),
    flux=st.floats(1.0, 1e6),
    measured=st.booleans(),
    cut=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_a_star_gives_its_flux_to_the_pixels(prf_files, row, column, flux, measured, cut):
    model = PSF(14, 2, 3, STAMP, prf_files if measured else None)
    image = model.integrate_to_image([[row, column, flux]], 5.0 if cut else None)
    assert image.shape == (31, 41)
    assert image.sum() == pytest.approx(flux, rel=6e-3 if cut else 3e-4)
    r, c = np.mgrid[:31, :41]
    if cut:
        assert not image[np.hypot(r - row, c - column) > 5.0].any()
    assert (image * r).sum() / image.sum() == pytest.approx(row, abs=0.3)
    assert (image * c).sum() / image.sum() == pytest.approx(column, abs=0.3)


def test_images_add_up_and_end_at_the_stamp(prf_files):
    model = PSF(14, 2, 3, STAMP, prf_files)
    stars = np.array(
        [[3.3, 4.4, 100.0], [-2.0, 40.7, 1e4], [30.5, 12.0, 5.0], [np.nan, 3.0, 7.0], [900.0, 3.0, 1e9]]
    )
    image = model.integrate_to_image(stars)
    assert image == pytest.approx(sum(model.integrate_to_image(star) for star in stars))
    assert 0 < image[:4, 36:].sum() < 1e3
    # The same sky in a larger stamp.
    larger = PSF(14, 2, 3, (90, 141, 490, 551), prf_files)
    larger.table = model.table
    assert larger.integrate_to_image(stars + np.array([10, 10, 0]))[10:-10, 10:-10] == pytest.approx(image)
    assert not model.integrate_to_image(np.empty((0, 3))).any()
    with pytest.raises(ValueError, match="row, column, flux"):
        model.integrate_to_image([[1.0, 2.0]])


@settings(max_examples=30, deadline=None)
@given(row=st.floats(-4, 14), column=st.floats(-4, 14), cutoff=st.floats(0.5, 9.0))
def test_table_kernel_agrees_with_plain_numpy(row, column, cutoff):
    rng = np.random.default_rng(1)
    table = rng.normal(size=(27, 27))  # three pixels
    image = np.ones((11, 11))
    add_table_stars(image, table, 9, np.array([row]), np.array([column]), np.array([2.0]), cutoff)

    def weights(s):
        a = np.abs(s)
        near, far = 1.5 * a**3 - 2.5 * a**2 + 1, -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
        return np.where(a < 1, near, np.where(a < 2, far, 0.0))

    padded, samples = np.pad(table, 2, mode="edge"), np.arange(-2, 29)
    expected = np.ones((11, 11))
    for r, c in np.ndindex(11, 11):
        dr, dc = r - row, c - column
        if np.hypot(dr, dc) <= cutoff and -1.5 <= dr < 1.5 and -1.5 <= dc < 1.5:
            value = weights(13 + 9 * dr - samples) @ padded @ weights(13 + 9 * dc - samples)
            expected[r, c] += 2.0 * value
    assert image == pytest.approx(expected, abs=1e-9)


# --- The analytic model ------------------------------------------------------------------------------


def test_analytic_model_says_so_once(caplog):
    module._log_analytic.cache_clear()
    with caplog.at_level("INFO"):
        models = [PSF(14, 2, 3, STAMP) for _ in range(3)]
    assert caplog.text.count("analytic") == 1
    assert models[0].source == "analytic (two Gaussians)"
    assert models[0].table.sum() == pytest.approx(81.0, rel=1e-3)


def test_analytic_images_are_those_of_the_simulator():
    from tasoc_mpi.kernels.prf import prf_image, sigma_scale

    model = PSF(14, 2, 3, STAMP)
    scale = sigma_scale(np.array([model.ref_row]), np.array([model.ref_column]), (2105.75, 2151.35))
    for row, column in ((15.0, 20.0), (15.05, 20.03), (14.7, 20.3)):
        star = np.array([row]), np.array([column]), np.array([1.0])
        expected = prf_image((31, 41), (0.0, 0.0), *star, scale, 6)
        assert model.integrate_to_image([[row, column, 1.0]], None) == pytest.approx(expected, abs=5e-5)
    # Wider, the farther from the camera's centre.
    assert analytic_table(0.0, 44.0, 2, 3).max() < analytic_table(2047.0, 2091.0, 2, 3).max()


# --- Bad input ---------------------------------------------------------------------------------------


def one_line(error):
    assert "\n" not in str(error.value)


def test_missing_folder(tmp_path):
    with pytest.raises(MissingInput, match="nowhere") as error:
        PSF(14, 2, 3, STAMP, tmp_path / "nowhere")
    one_line(error)
    with pytest.raises(MissingInput, match="cam2_ccd3.*MAST") as error:  # noqa: RUF043
        PSF(14, 2, 3, STAMP, tmp_path)
    one_line(error)


def test_incomplete_folder(copied):
    folder, files = copied
    next(files.glob("*row0513-col1069*")).unlink()
    with pytest.raises(InputError, match=r"cam2_ccd3: 24 PRF files") as error:
        PSF(14, 2, 3, STAMP, folder)
    one_line(error)
    for path in files.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"cam2_ccd3: 0 PRF files"):
        PSF(14, 2, 3, STAMP, folder)


def test_truncated_and_foreign_files(copied):
    folder, files = copied
    path = next(files.glob("*row0513-col1069*"))
    whole = path.read_bytes()
    packed = gzip.compress(whole)
    broken = packed[:5000] + b"broken" + packed[5006:]
    for content in (whole[: len(whole) // 2], whole[:1000], b"", b"no FITS at all", packed[:5000], broken):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"row0513-col1069\.fits: .*; (fetch|get) it again") as error:
            PSF(14, 2, 3, STAMP, folder)
        one_line(error)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"CAM": 3.0}, "of camera 3, CCD 3"),
        ({"NSAMP": 11.0}, "11 samples"),
        ({"CCD_RREF": 1025.0}, "a second one"),
        ({"CCD_RREF": 1030.0}, "6 rows"),
        ({"CCD_CREF": "somewhere"}, "cannot be read"),
    ],
)
def test_wrong_cards(copied, cards, message):
    folder, files = copied
    path = next(files.glob("*row0513-col1069*"))
    path.unlink()
    write_prf(path, 513, 1069, **cards)
    with pytest.raises(InputError, match=message) as error:
        PSF(14, 2, 3, STAMP, folder)
    one_line(error)


def test_unknown_values(copied):
    folder, files = copied
    path = next(files.glob("*row0513-col1069*"))
    with fits.open(path, mode="update") as hdus:
        hdus[0].data[5, 6] = np.nan
    with pytest.raises(InputError, match="117 x 117"):
        PSF(14, 2, 3, STAMP, folder)


@pytest.mark.parametrize("ccd", [(0, 1, 1), (1, 5, 1), (1, 1, 0)])
def test_impossible_ccd(ccd):
    with pytest.raises(InputError, match="no such CCD"):
        PSF(*ccd, STAMP)


def test_empty_stamp():
    with pytest.raises(InputError, match="no pixels"):
        PSF(1, 1, 1, (10, 10, 5, 8))


def test_plot(prf_files, tmp_path):
    pytest.importorskip("matplotlib")
    figure = PSF(14, 2, 3, STAMP, prf_files).plot()
    assert "cam2_ccd3" in figure.get_suptitle()
    response, star = figure.axes[:2]
    # The first row of the array is drawn at the bottom, and the offset star of this response to the right.
    assert response.images[0].origin == "lower"
    assert star.images[0].get_array().shape == (13, 13)
    figure.savefig(tmp_path / "psf.png")
    assert (tmp_path / "psf.png").stat().st_size > 5000


def test_grid_is_plain_data():
    grid = PRFGrid(np.array([0.0, 10.0]), np.array([0.0, 4.0]), np.arange(4.0).reshape(2, 2, 1, 1))
    assert grid.table(5.0, 1.0)[0, 0] == pytest.approx(1.25)


def test_effective_response_is_taken_where_it_is_there(tmp_path):
    """Of two epochs, the second broadened; design matrix at a time and the mean table."""
    place = np.array([1005.0]), np.array([1006.0])
    coefficients = start_prf(1, 1, 1, *place)[None].repeat(2, axis=0)
    coefficients[1, 0, 0, 0] = np.roll(coefficients[0, 0, 0, 0], 3, axis=0)  # a pixel further up
    prf = EffectivePRF(
        1, 1, 1, *place, coefficients, np.array([1330.0, 1337.0]), np.array([0, 0]),
        np.array([[1325.0, 1338.0]]), np.ones(2), np.zeros((2, 5)), np.ones((2, 1, 1), "i8"), np.zeros(2),
    )  # fmt: skip
    prf_file.write_prf(tmp_path / "prf_sector001_camera1_ccd1.hdf5", prf)
    stamp = (1000, 1011, 1000, 1013)
    analytic = PSF(1, 1, 1, stamp)
    psf = PSF(1, 1, 1, stamp, input_folder=tmp_path)
    assert psf.source == "effective PRF (prf_sector001_camera1_ccd1.hdf5)"
    assert PSF(1, 1, 1, stamp, input_folder=tmp_path / "none").source == analytic.source
    expected = analytic.design_matrix([4.7, 5.7], [6.2, 6.2])
    for time, k in ((1330.0, 0), (1337.0, 1)):
        found = psf.design_matrix([4.7], [6.2], time)[0]
        np.testing.assert_allclose(found, expected[k], atol=0.01 * expected[k].max())
    mean = psf.design_matrix([4.7], [6.2])[0]
    np.testing.assert_allclose(mean, expected.mean(axis=0), atol=0.01 * mean.max())
    image = psf.integrate_to_image([(4.7, 6.2, 1.0)], cutoff_radius=None)
    np.testing.assert_allclose(image, mean, atol=0.005 * mean.max())
    assert not psf.design_matrix([np.nan], [3.0]).any()
    # The table of the analytic response and the spline of the effective one: differences over a small step.
    for one, time in ((analytic, None), (psf, 1330.0), (psf, [1330.0, 1334.0])):
        places = np.array([4.7, 2.13, -0.4]), np.array([6.2, 9.94, 12.6])
        found = one.design_matrix(*places, time, derivatives=True)
        assert found.shape == (3, 3, 11, 13)
        np.testing.assert_array_equal(found[:, 0], one.design_matrix(*places, time))
        for axis in (0, 1):
            step = 1e-5 * np.eye(2)[axis][:, None]
            after = one.design_matrix(*(places + step), time)
            change = (after - one.design_matrix(*(places - step), time)) / 2e-5
            np.testing.assert_allclose(found[:, 1 + axis], change, atol=1e-4 * abs(change).max())
            assert abs(change).max(axis=(1, 2)).min() > 0.01
        assert not one.design_matrix([np.nan, 400.0], [3.0, 3.0], time, derivatives=True).any()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sector": "x"}, "sector 'x': a whole number"),
        ({"camera": 1.5}, "camera 1.5: a whole number"),
        ({"stamp": None}, "stamp None: .row_min, row_max"),
        ({"stamp": (1, 2, 3)}, "stamp .1, 2, 3.: .row_min, row_max"),
        ({"stamp": (10.5, 20, 60, 70)}, "stamp: 10.5: a whole number"),
        ({"stamp": (np.nan, 20, 60, 70)}, "stamp: nan: a whole number"),
    ],
)
def test_impossible_arguments_are_named(changed, reason):
    with pytest.raises(UsageError, match=reason):
        PSF(**{"sector": 1, "camera": 1, "ccd": 1, "stamp": STAMP, **changed})


@pytest.mark.parametrize("radius", [-1.0, np.nan])
def test_no_star_is_cut_off_by_an_unknown_radius(radius):
    with pytest.raises(UsageError, match="cutoff_radius"):
        PSF(1, 1, 1, STAMP).integrate_to_image([[5.0, 5.0, 1.0]], radius)


def test_a_plot_has_two_axes():
    with pytest.raises(UsageError, match="two matplotlib Axes"):
        PSF(1, 1, 1, STAMP).plot("axes")
