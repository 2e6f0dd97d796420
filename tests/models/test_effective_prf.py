"""The effective pixel response: from images whose response is not the analytic model's, and its file."""

import dataclasses
import functools

import h5py
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.core.resources import one_blas_thread
from tasoc_mpi.kernels.prf_table import add_table_stars
from tasoc_mpi.kernels.spline_prf import SIDE, add_rings, draw_star
from tasoc_mpi.models.effective_prf import broadening_of, from_table, local_response, start_prf
from tasoc_mpi.models.fit_prf import MIN_STARS, fit_stack
from tasoc_mpi.models.prf_stack import Stack, make_nodes
from tasoc_mpi.products.prf_file import EffectivePRF, read_prf, spline_table, write_prf

ROW0, COLUMN0, SIZE = 600, 1200, 128


@functools.cache
def corner(right, upper):
    """A lopsided response with wings at a corner of the field; 9 samples a pixel, the sum 81."""
    y, x = (np.mgrid[:135, :135] - 67) / 9
    s, t = 0.62 + 0.04 * upper, 0.55 + 0.04 * right
    core = np.exp(-(((y - 0.08) / s) ** 2 + ((x + 0.12) / t) ** 2 - 0.3 * x * y / (s * t)) / 2)
    # Pixels add up the light that falls on them, so that a star's light is the same wherever it is in its
    # pixel.
    fine = uniform_filter(core + 0.035 * np.exp(-np.hypot(y - 0.5, x - 0.3) / 1.1), 9, mode="constant")
    return fine * 81 / fine.sum()


def true_table(row=ROW0 + SIZE / 2, column=COLUMN0 + SIZE / 2):
    """Bilinear between the corners."""
    u, v = (row - ROW0) / SIZE, (column - COLUMN0) / SIZE
    lower, upper = ((1 - v) * corner(0, k) + v * corner(1, k) for k in (0, 1))
    return (1 - u) * lower + u * upper


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """As in the program: several threads make the same response and take more processor time."""
    with one_blas_thread():
        yield


@pytest.fixture(scope="module")
def field():
    """A crowded field: 0.03 stars a pixel of Tmag 8 to 16.5, one frame's noise over 10."""
    rng = np.random.default_rng(11)
    n = 620
    tmag = np.maximum(16.5 + np.log10(rng.uniform(size=n)) / 0.3, 8.0)
    flux = 10 ** (-0.4 * (tmag - 20.451))
    rows = ROW0 - 8 + rng.uniform(size=n) * (SIZE + 16)
    columns = COLUMN0 - 8 + rng.uniform(size=n) * (SIZE + 16)
    image = np.zeros((SIZE, SIZE))
    for row, column, f in zip(rows, columns, flux, strict=True):
        y, x, one = np.array([row - ROW0]), np.array([column - COLUMN0]), np.array([f])
        add_table_stars(image, true_table(row, column), 9, y, x, one, 20.0)
    variance = (image + 100) / 1425 / 100
    image += 5.0 + np.sqrt(variance) * rng.standard_normal(image.shape)
    # Catalogues are right to 5% and have another zero point, and a star is wrong by a magnitude.
    catalog = 1.04 * flux * 10 ** (0.4 * rng.normal(0, 0.05, n))
    catalog[3] *= 2.5
    stack = Stack(image, variance, (ROW0, COLUMN0), rows, columns, np.zeros((n, 2)))
    return stack, flux, catalog


@pytest.fixture(scope="module")
def fitted(field):
    stack, _, catalog = field
    nodes = make_nodes(ROW0, SIZE), make_nodes(COLUMN0, SIZE)
    fit = fit_stack(stack, catalog, nodes, start_prf(1, 1, 1, *nodes), 1e5)
    prf = EffectivePRF(
        1, 1, 1, *nodes, fit.coefficients[None], np.array([1330.0]), np.array([0]), np.array([[1325.0,
        1338.0]]), np.array([fit.inside]), fit.wings[None], fit.used[None], np.array([fit.scatter]),
    )  # fmt: skip
    return fit, prf


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.15, 0.8), (0.85, 0.2)])
def test_response_is_that_of_the_images(fitted, place):
    """The largest difference is 1% of the peak, enclosed light is right to 0.3% up to 5 pixels."""
    row, column = ROW0 + place[0] * SIZE, COLUMN0 + place[1] * SIZE
    truth = true_table(row, column)
    found = fitted[1].table(row, column, 1330.0, 9, 15)
    assert np.abs(found - truth).max() < 0.01 * truth.max()
    distance = np.hypot(*((np.mgrid[:135, :135] - 67) / 9))
    for radius in np.arange(0.5, 5.1, 0.5):
        inside = distance <= radius
        assert abs((found - truth)[inside].sum()) / 81 < 0.003
    # The analytic model from which the fit began is far from it.
    start = np.zeros((15, 15))
    draw_star(start_prf(1, 1, 1, *make_both())[0, 0, 0], 7.0, 7.0, 0.0, 0.0, 1.0, start)
    assert np.abs(start - truth[4::9, 4::9]).max() > 0.05 * truth.max()


def make_both():
    return make_nodes(ROW0, SIZE), make_nodes(COLUMN0, SIZE)


def test_light_around_the_stars_of_one_node_is_not_theirs(field):
    """The wings of a saturated star, say: far from the star a node's response is that of the other nodes."""
    stack, flux, catalog = field
    nodes = ROW0 + np.array([21.0, 64.0, 107.0]), make_nodes(COLUMN0, SIZE)
    upper = stack.rows > nodes[0][2] - 21
    ring = np.zeros((1, SIZE, SIZE))
    rows, columns = stack.rows[upper] - ROW0, stack.columns[upper] - COLUMN0
    add_rings(ring, rows, columns, flux[upper], np.array([4.5, 5.5, 6.5]))
    disturbed = dataclasses.replace(stack, image=stack.image + 3e-4 * ring[0])
    fit = fit_stack(disturbed, catalog, nodes, start_prf(1, 1, 1, *nodes), 1e5)
    inside = np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE // 2)) < 12
    share = fit.coefficients[:, 0, 0][:, inside].sum(axis=1) / 9
    inside = np.hypot(*(np.mgrid[:135, :135] - 67)) < 36
    truth = [true_table(row)[inside].sum() / 81 for row in nodes[0]]
    # The ring has 1% of a star's light.
    np.testing.assert_allclose(share, truth, atol=0.005)


def test_fluxes_come_with_it(field, fitted):
    _, flux, catalog = field
    bright = np.isfinite(fitted[0].fluxes) & (flux > 10 ** (-0.4 * (13 - 20.451)))
    error = np.abs(fitted[0].fluxes[bright] / flux[bright] - 1)
    assert bright.sum() > 20
    assert np.median(error) < 0.003
    assert np.percentile(error, 84) < 0.008
    assert np.median(np.abs(catalog[bright] / flux[bright] - 1)) > 0.03


def test_light_does_not_depend_on_the_place_in_the_pixel(fitted):
    # The wings are not smooth to this degree, and go on outside.
    inner = dataclasses.replace(fitted[1], wings=np.zeros((1, 5)))
    local = inner.at(ROW0 + 60.0, COLUMN0 + 60.0)[0]
    sums = []
    for phase in np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2)):
        image = np.zeros((31, 31))
        draw_star(local, *(15 + phase), 0.0, 0.0, 1.0, image)
        sums.append(image.sum())
    np.testing.assert_allclose(sums, fitted[0].inside, atol=2e-4)


def test_too_few_stars_are_refused(field):
    stack, _, catalog = field
    faint = np.where(np.arange(len(catalog)) < 20, catalog, 0.1)
    nodes = make_both()
    with pytest.raises(
        InputError, match=f"stars are bright enough for the pixel response, {MIN_STARS} are needed"
    ):
        fit_stack(stack, faint, nodes, start_prf(1, 1, 1, *nodes), 1e5)


def test_spline_of_a_table():
    table = true_table()
    coefficients = from_table(table, 9)
    assert coefficients.sum() == pytest.approx(9)
    image = np.zeros((15, 15))
    draw_star(coefficients, 7 - 2 / 9, 7 + 3 / 9, 0.0, 0.0, 1.0, image)
    # The star is 2 samples below the middle and 3 samples right of it.
    np.testing.assert_allclose(image, table[6::9, 1::9], atol=0.003 * table.max())


def test_nodes_are_the_middles_of_regions():
    np.testing.assert_allclose(make_nodes(0, 1024), [127.5, 383.5, 639.5, 895.5])
    np.testing.assert_allclose(make_nodes(600, 128), [663.5])


def two_orbits(prf):
    """The response in three epochs of one segment and one of another."""
    four = (
        np.repeat(prf.coefficients, 4, axis=0)
        * np.array([1.0, 2.0, 3.0, 7.0])[:, None, None, None, None, None]
    )
    return EffectivePRF(
        1, 1, 1, prf.node_rows, prf.node_columns, four, np.array([2.0, 6.0, 10.0, 20.0]), np.array([0, 0, 0,
        1]), np.array([[0.0, 12.0], [14.0, 26.0]]), np.ones(4), np.zeros((4, 5)), np.ones((4, 1, 1),
        dtype="i8"), np.zeros(4), np.array([1.0, 3.0, 5.0]), np.array([0.01, 0.01, 0.02]),
    )  # fmt: skip


def test_epochs_are_interpolated_within_their_segment(fitted):
    prf = two_orbits(fitted[1])
    times = [2.0, 4.0, 11.0, 12.9, 13.5, 25.0, 99.0]
    weights = prf.weights(times)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    level = weights @ [1.0, 2.0, 3.0, 7.0]
    np.testing.assert_allclose(level, [1.0, 1.5, 3.25, 3.5, 7.0, 7.0, 7.0])


def test_file_gives_it_back(fitted, tmp_path):
    prf = two_orbits(fitted[1])
    path = tmp_path / "prf_sector001_camera1_ccd1.hdf5"
    write_prf(path, prf)
    back = read_prf(path)
    for name in ("coefficients", "epochs", "segments", "spans", "inside", "wings", "stars", "scatter"):
        np.testing.assert_array_equal(getattr(back, name), getattr(prf, name))
    np.testing.assert_array_equal(back.broadening, prf.broadening)
    first = path.read_bytes()
    write_prf(path, prf)
    assert path.read_bytes() == first
    place = (ROW0 + 10.0, COLUMN0 + 90.0)
    coefficients, weights, source, measured = local_response(tmp_path, 1, 1, 1, place, np.array([4.0]))
    # The last term is the broadening.
    assert coefficients.shape == (5, SIDE, SIDE)
    assert weights.shape == (1, 5)
    assert weights[0, 4] == pytest.approx(0.015)
    assert source == "effective PRF (prf_sector001_camera1_ccd1.hdf5)"
    assert measured
    _, _, source, measured = local_response(tmp_path, 1, 1, 2, place, np.array([4.0]))
    assert source.startswith("analytic")
    assert not measured


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.attrs.__setitem__("FORMAT_VERSION", 99), "PRF format 99, this program reads 3"),
        (lambda file: file.attrs.__setitem__("FORMAT", "something"), "not an effective PRF"),
        (lambda file: file.__delitem__("epochs"), "no dataset epochs"),
        (
            lambda file: file["coefficients"].__setitem__(0, np.nan),
            "coefficients has values that are not finite",
        ),
        (lambda file: file["coefficients"].__setitem__(0, 1e30), "values above 10"),
        (lambda file: file["epochs"].__setitem__(1, 1.0), "not in order"),
        (lambda file: file.attrs.__setitem__("KNOTS", 2), "another grid"),
    ],
)
def test_other_files_are_refused(fitted, tmp_path, change, words):
    path = tmp_path / "prf_sector001_camera1_ccd1.hdf5"
    write_prf(path, two_orbits(fitted[1]))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=words) as caught:
        local_response(tmp_path, 1, 1, 1, (600.0, 1200.0), np.array([4.0]))
    assert "remove it and run tasoc-mpi prf" in str(caught.value)


def test_no_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(MissingInput):
        read_prf(tmp_path / "prf_sector001_camera1_ccd1.hdf5")


def test_segments_without_epochs_give_no_weight(fitted):
    prf = two_orbits(fitted[1])
    prf = dataclasses.replace(prf, segments=np.zeros_like(prf.segments))
    weights = prf.weights([prf.spans[0, 0], prf.spans[-1, 1], np.nan])
    assert np.allclose(weights.sum(axis=1), 1.0)


def test_response_follows_a_drifting_focus(field):
    """Two epochs of a response that widens: between them, and at the ends, the interpolated one is right."""
    stack, flux, catalog = field
    nodes = make_both()

    def wider(share):
        table = (1 - share) * true_table() + share * gaussian_filter(true_table(), 3.0, mode="constant")
        return table * 81 / table.sum()

    found = []
    for share in (0.05, 0.15):
        image = np.full((SIZE, SIZE), 5.0)
        y, x = stack.rows - ROW0, stack.columns - COLUMN0
        add_table_stars(image, wider(share), 9, y, x, flux, 20.0)
        still = dataclasses.replace(stack, image=image)
        found.append(fit_stack(still, catalog, nodes, start_prf(1, 1, 1, *nodes), 1e5).coefficients)
    none = np.zeros(2)
    prf = EffectivePRF(
        1, 1, 1, *nodes, np.stack(found), np.array([5.0, 15.0]), np.array([0, 0]), np.array([[0.0, 20.0]]),
        none + 1, np.zeros((2, 5)), np.ones((2, 1, 1), dtype="i8"), none,
    )  # fmt: skip
    for time, share in ((0.0, 0.0), (10.0, 0.1), (20.0, 0.2)):
        left = prf.table(ROW0 + 64.0, COLUMN0 + 64.0, time, 9, 15) - wider(share)
        assert np.abs(left).max() < 0.01 * wider(share).max()
    # One shape for all of the time would not do.
    assert np.abs(wider(0.0) - wider(0.1)).max() > 0.01 * wider(0.0).max()


def test_broadening_is_that_by_a_gaussian():
    table = gaussian_filter(true_table(), 2.0, mode="constant")
    variance = 0.01
    broad = gaussian_filter(table, 9 * variance**0.5, mode="constant")
    sharp, change = from_table(table, 9), broadening_of(from_table(table, 9))
    found = np.zeros((3, 15, 15))
    for image, coefficients in zip(
        found, (sharp, sharp + variance * change, from_table(broad, 9)), strict=True
    ):
        draw_star(coefficients, 7.2, 6.7, 0.0, 0.0, 1.0, image)
    assert np.abs(found[2] - found[0]).max() > 0.005 * found[0].max()
    assert np.abs(found[2] - found[1]).max() < 0.06 * np.abs(found[2] - found[0]).max()
    assert found[1].sum() == pytest.approx(found[0].sum(), abs=1e-4)


def test_broadening_of_the_sharpest_response_has_its_shape():
    """Its second derivatives are not too large where three knots a pixel only just follow it."""
    offset = (np.arange(135) - 67) / 9
    line = np.exp(-0.5 * (offset / 0.42) ** 2)
    table = 81 * np.outer(line, line) / line.sum() ** 2
    exact = table * ((offset**2 + offset[:, None] ** 2) / 0.42**4 - 2 / 0.42**2) / 2
    change = broadening_of(from_table(table, 9))
    left = spline_table(change, 9, 15) - exact
    assert np.abs(left).max() < 0.05 * np.abs(exact).max()


def test_wings_go_over_into_the_spline(fitted):
    """As far as the spline reaches, its coefficients at a place hold the wings."""
    prf = dataclasses.replace(fitted[1], wings=np.array([[3e-4, 2e-4, 1e-4, 5e-5, 1e-5]]))
    image = np.zeros((15, 15))
    draw_star(prf.at(ROW0 + 60.0, COLUMN0 + 60.0)[0], 7.0, 7.0, 0.0, 0.0, 1.0, image)
    draw_star(
        dataclasses.replace(prf, wings=np.zeros((1, 5))).at(ROW0 + 60.0, COLUMN0 + 60.0)[0],
        7.0, 7.0, 0.0, 0.0, -1.0, image,
    )  # fmt: skip
    assert image[7, 12] == pytest.approx(1.5e-4, rel=0.1)
    assert image[7, 7] == 0.0
