"""Movement of stars: every kind of kernel, interpolation in time, and alignment of star fields."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from tasoc_mpi.core.errors import InputError, UsageError
from tasoc_mpi.kernels.warp import warp_moments
from tasoc_mpi.models import motion
from tasoc_mpi.models.align import prepare_image
from tasoc_mpi.models.motion import ImageMovementKernel
from tasoc_mpi.products.frame_wcs import FrameWCS

XY = np.array([[100.0, 20.0], [2000.5, 1000.25], [44.0, 0.0]])


def headers(n, bad=()):
    """TAN-SIP headers of a pointing that drifts by known sky offsets."""
    out = []
    for t in range(n):
        header = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
        header |= {"CRVAL1": 70.0 + 1e-4 * t, "CRVAL2": -60.0 - 3e-5 * t, "CRPIX1": 1045.0, "CRPIX2": 1001.0}
        header |= {"CD1_1": 0.00501, "CD1_2": 0.0028, "CD2_1": -0.0028, "CD2_2": 0.00499}
        header |= {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "A_1_1": -2e-6, "B_0_2": 3e-6, "B_1_1": 1e-6}
        if t in bad:
            header |= {"CD1_1": 0.0, "CD2_1": 0.0}
        out.append(header)
    return out


@pytest.mark.parametrize(
    ("warpmode", "n"), [("wcs", 1), ("unchanged", 0), ("translation", 2), ("euclidian", 3), ("affine", 6)]
)
def test_kinds_and_their_parameters(warpmode, n):
    assert ImageMovementKernel(warpmode).n_params == n
    assert motion.WARPMODES[warpmode] == n


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"'homography'.*translation"):
        ImageMovementKernel("homography")


def test_kernels_move_positions_as_defined():
    a = 0.3
    rotation = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    cases = [
        ("unchanged", [], XY),
        ("translation", [0.5, -2.0], XY + np.array([0.5, -2.0])),
        ("euclidian", [0.5, -2.0, a], XY @ rotation.T + [0.5, -2.0]),
        ("affine", [1.1, 0.2, 3.0, -0.1, 0.9, 4.0], XY @ [[1.1, -0.1], [0.2, 0.9]] + [3.0, 4.0]),
    ]
    for warpmode, kernel, expected in cases:
        model = ImageMovementKernel(warpmode)
        assert model.apply_kernel(XY, kernel) == pytest.approx(expected)
        assert model.apply_kernel(XY[1], kernel) == pytest.approx(expected[1])
    # From the column axis towards the row axis.
    assert ImageMovementKernel("euclidian").apply_kernel([1.0, 0.0], [0, 0, np.pi / 2]) == pytest.approx(
        [0, 1]
    )


@pytest.mark.parametrize("warpmode", ["translation", "euclidian", "affine", "wcs"])
def test_jitter_is_linear_between_frames(warpmode):
    times = np.array([10.0, 10.5, 11.0, 11.5])
    rng = np.random.default_rng(5)
    model = ImageMovementKernel(warpmode, wcs_ref=0)
    if warpmode == "wcs":
        kernels = FrameWCS.from_headers(headers(4))
    else:
        kernels = rng.normal(0, 1e-3, (4, model.n_params))
        if warpmode == "affine":
            kernels += [1, 0, 0, 0, 1, 0]
    model.load_series(times, kernels)
    at_frames = model.jitter(times, 300.0, 400.0)
    for t in range(4):
        kernel = t if warpmode == "wcs" else kernels[t]
        change = model.apply_kernel([300.0, 400.0], kernel) - [300.0, 400.0]
        assert at_frames[t] == pytest.approx(change, abs=1e-8)
    assert np.ptp(at_frames, axis=0).min() > 1e-4
    between = model.jitter([10.1, 10.25, 11.4], 300.0, 400.0)
    weights = np.array([[0.8, 0.2, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.2, 0.8]])
    assert between == pytest.approx(weights @ at_frames, abs=1e-9)
    assert model.jitter(10.1, 300.0, 400.0) == pytest.approx(between[:1], abs=1e-12)


def test_shapes_of_interpolation():
    model = ImageMovementKernel("euclidian")
    model.load_series([1.0, 2.0, 3.0], [[0.1, 0.2, 1e-4], [0.0, 0.0, 0.0], [0.3, -0.2, -2e-4]])
    times = np.array([1.0, 1.3, 2.0, 2.9, 3.4, np.nan])
    assert model.interpolate(1.3, XY[0]).shape == (2,)
    assert model.interpolate(1.3, XY).shape == (3, 2)
    assert model.interpolate(times, XY[0]).shape == (6, 2)
    every = model.interpolate(times, XY)
    assert every.shape == (6, 3, 2)
    for i, xy in enumerate(XY):
        assert every[:, i] == pytest.approx(model.jitter(times, *xy), abs=1e-9, nan_ok=True)
    assert np.isnan(every).all(axis=(1, 2)).tolist() == [False] * 5 + [True]
    assert ImageMovementKernel("unchanged").interpolate(times, XY).tolist() == np.zeros((6, 3, 2)).tolist()


def test_wcs_movement_is_that_of_astropy():
    from astropy.io import fits
    from astropy.wcs import WCS

    cards = headers(3)
    model = ImageMovementKernel.from_wcs([1.0, 2.0, 3.0], FrameWCS.from_headers(cards), 1)
    ours = model.jitter([1.0, 2.0, 3.0], 1500.0, 300.0)
    worlds = []
    for header in cards:
        worlds.append(WCS(fits.Header(header)))
    sky = worlds[1].all_pix2world([[1500.0, 300.0]], 0)
    expected = [w.all_world2pix(sky, 0, tolerance=1e-9)[0] - [1500.0, 300.0] for w in worlds]
    assert ours == pytest.approx(np.array(expected), abs=1e-6)
    assert np.abs(ours[1]).max() < 1e-8
    assert np.hypot(*ours[0]) > 1e-3


def test_bad_frames_are_interpolated_over():
    times = np.arange(7.0)
    full = ImageMovementKernel.from_wcs(times, FrameWCS.from_headers(headers(7)), 3)
    holes = ImageMovementKernel.from_wcs(times, FrameWCS.from_headers(headers(7, bad=(0, 2))), 3)
    ours, truth = holes.jitter(times, 500.0, 600.0), full.jitter(times, 500.0, 600.0)
    assert np.isfinite(ours).all()
    good = [1, 3, 4, 5, 6]
    assert ours[good] == pytest.approx(truth[good], abs=1e-9)
    assert ours[2] == pytest.approx((truth[1] + truth[3]) / 2, abs=1e-9)
    assert ours[0] == pytest.approx(truth[1], abs=1e-9)  # held at the end
    for t in times:
        assert holes.interpolate(t, XY[:2])[0] == pytest.approx(holes.jitter(t, *XY[0])[0], abs=1e-9)

    shifts = ImageMovementKernel("translation")
    shifts.load_series([0.0, 1.0, 2.0], [[0.0, 0.0], [np.nan, 1.0], [2.0, 4.0]])
    assert shifts.jitter(1.0, 5.0, 5.0)[0] == pytest.approx([1.0, 2.0])


def test_a_step_outside_of_the_series_and_no_more():
    model = ImageMovementKernel("translation")
    model.load_series([0.0, 1.0, 2.0, 10.0], [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 5.0]])
    assert model.jitter([-1.0, 11.0], 0, 0) == pytest.approx(np.array([[0.0, 0.0], [3.0, 5.0]]))
    for time in (-1.01, 11.01):
        with pytest.raises(ValueError, match="outside") as error:
            model.jitter([1.0, time], 0, 0)
        assert "\n" not in str(error.value)
    single = ImageMovementKernel("translation")
    single.load_series([5.0], [[0.1, 0.2]])
    assert single.jitter(5.0, 0, 0)[0] == pytest.approx([0.1, 0.2])
    with pytest.raises(ValueError, match="outside"):
        single.jitter(5.1, 0, 0)


def test_series_that_cannot_be_used():
    model = ImageMovementKernel("translation")
    with pytest.raises(InputError, match="no series"):
        model.jitter(1.0, 0, 0)
    with pytest.raises(InputError, match="increase"):
        model.load_series([2.0, 1.0], np.zeros((2, 2)))
    with pytest.raises(InputError, match="increase"):
        model.load_series([1.0, np.nan], np.zeros((2, 2)))
    with pytest.raises(InputError, match="3 frame times, but 2"):
        model.load_series([1.0, 2.0, 3.0], np.zeros((2, 2)))
    with pytest.raises(InputError, match="not one frame"):
        model.load_series([1.0, 2.0], np.full((2, 2), np.nan))
    wcs = FrameWCS.from_headers(headers(3, bad=(1,)))
    with pytest.raises(InputError, match="reference frame 1"):
        ImageMovementKernel.from_wcs([1.0, 2.0, 3.0], wcs, 1)
    with pytest.raises(InputError, match="no frame 3"):
        ImageMovementKernel.from_wcs([1.0, 2.0, 3.0], wcs, 3)
    with pytest.raises(ValueError, match="translation"):
        model.load_series([1.0, 2.0, 3.0], wcs)


def test_position_corrections_of_a_target_pixel_file(caplog):
    times = np.array([1.0, 2.0, np.nan, 3.0, 4.0])
    pos_corr = np.array([[np.nan, np.nan], [0.1, 0.2], [9.0, 9.0], [0.3, 0.0], [0.2, -0.2]])
    model = ImageMovementKernel.from_pos_corr(times, pos_corr)
    assert model.warpmode == "translation"
    expected = np.array([[0.1, 0.2], [0.1, 0.2], [0.2, 0.1], [0.3, 0.0], [0.2, -0.2]])
    assert model.jitter([1.0, 2.0, 2.5, 3.0, 4.0], 7.0, 8.0) == pytest.approx(expected)
    assert not caplog.records
    still = ImageMovementKernel.from_pos_corr(times, np.full((5, 2), np.nan))
    assert still.warpmode == "unchanged"
    assert "POS_CORR" in caplog.text
    assert still.jitter(times[:2], 7.0, 8.0).tolist() == [[0, 0], [0, 0]]


SHAPE = (200, 240)


def star_field(xy, flux, seed, noise=3.0, sky=100.0, sigma=0.75):
    """Gaussian stars integrated over the pixels, with noise."""
    image = np.full(SHAPE, sky)
    for (x, y), f in zip(xy, flux, strict=True):
        profiles = []
        for size, centre in zip(SHAPE, (y, x), strict=True):
            edges = np.arange(size + 1) - 0.5 - centre
            profiles.append(np.diff(erf(edges / sigma / np.sqrt(2))) / 2)
        image += f * np.outer(*profiles)
    return image + np.random.default_rng(seed).normal(0, noise, SHAPE)


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(3)
    xy = rng.uniform([-5, -5], [SHAPE[1] + 5, SHAPE[0] + 5], (250, 2))
    flux = 10 ** (-0.4 * (rng.triangular(8, 15, 15, len(xy)) - 20.451))
    return xy, flux, star_field(xy, flux, seed=1)


@pytest.mark.parametrize("warpmode", ["translation", "euclidian", "affine"])
@pytest.mark.parametrize("shift", [(0.3, -0.2, 0.0), (0.05, 0.02, -1e-4), (1.2, 0.7, 1e-4), (0.0, 0.0, 0.0)])
def test_alignment_finds_known_movements(field, warpmode, shift):
    xy, flux, reference = field
    # As seen by a CCD whose first pixel is (44, 500) of the full frame.
    origin = np.array([44.0, 500.0])
    truth = ImageMovementKernel("euclidian")
    middle = origin + np.array([SHAPE[1] / 2, SHAPE[0] / 2])
    kernel = np.array([0, 0, shift[2] if warpmode != "translation" else 0.0])
    kernel[:2] = middle - truth.apply_kernel(middle, kernel) + shift[:2]
    image = star_field(truth.apply_kernel(xy + origin, kernel) - origin, flux, seed=2)
    model = ImageMovementKernel(warpmode, reference, origin=tuple(origin))
    found = model.calc_kernel(image)
    assert found.shape == (model.n_params,)
    corners = [[0, 0], [SHAPE[1], 0], [0, SHAPE[0]], [SHAPE[1], SHAPE[0]], [SHAPE[1] / 2, SHAPE[0] / 2]]
    places = origin + np.array(corners)
    assert model.apply_kernel(places, found) == pytest.approx(truth.apply_kernel(places, kernel), abs=0.02)
    # From its own answer it stays there, and a subtracted sky or missing pixels change nothing of note.
    again = model.calc_kernel(image, start=found)
    assert model.apply_kernel(places, again) == pytest.approx(model.apply_kernel(places, found), abs=2e-3)
    holes = (image - 100.0).astype("f4")
    holes[50:53, 60:70] = np.nan
    assert model.apply_kernel(places, model.calc_kernel(holes)) == pytest.approx(
        truth.apply_kernel(places, kernel), abs=0.02
    )


def test_images_that_cannot_be_aligned(field, caplog):
    reference = field[2]
    model = ImageMovementKernel("translation", reference)
    for empty in (np.zeros(SHAPE), np.full(SHAPE, np.nan), np.full(SHAPE, 7.0)):
        assert np.isnan(model.calc_kernel(empty)).all()
    assert len(caplog.records) == 3
    with pytest.raises(ValueError, match="pixels"):
        model.calc_kernel(reference[:-1])
    with pytest.raises(ValueError, match="no reference image"):
        ImageMovementKernel("translation").calc_kernel(reference)
    with pytest.raises(ValueError, match="headers"):
        ImageMovementKernel("wcs", reference).calc_kernel(reference)
    assert ImageMovementKernel("unchanged", reference).calc_kernel(reference).shape == (0,)


def test_gradient_is_scharrs():
    from skimage import filters

    rng = np.random.default_rng(8)
    image = rng.normal(100.0, 3.0, (60, 50))
    image[20, 20] += 1e4
    noise = 1.4826 * np.median(np.abs(image - np.median(image)))
    log = np.log1p(np.maximum(image - np.median(image), 0) / (10 * noise))
    magnitude = np.hypot(filters.scharr_h(log), filters.scharr_v(log))
    ours = prepare_image(image)
    inner = (slice(8, -8), slice(8, -8))
    smooth = filters.gaussian(magnitude, 1.5, truncate=3.0)
    # skimage normalises the derivative over two pixels in the same way, up to a factor.
    ratio = ours[inner] / smooth[inner]
    assert ratio == pytest.approx(np.median(ratio) * np.ones_like(ratio), rel=1e-4)
    assert np.isnan(ours[0]).all()


@settings(max_examples=15, deadline=None)
@given(dx=st.floats(-2, 2), dy=st.floats(-2, 2), angle=st.floats(-0.02, 0.02), seed=st.integers(0, 100))
def test_moments_agree_with_plain_numpy(dx, dy, angle, seed):
    rng = np.random.default_rng(seed)
    reference, image = (rng.normal(size=(14, 17)).astype("f4") for _ in range(2))
    reference[2, 3] = image[7, 8] = np.nan
    matrix = np.array([[np.cos(angle), -np.sin(angle), dx], [np.sin(angle), np.cos(angle), dy]])
    basis = rng.normal(size=(3, 2, 3))
    centre = np.array([8.0, 6.5])
    moments = warp_moments(reference, image, matrix, basis, centre)

    def function(s):
        """Catmull and Rom's function, from its definition on two intervals, and its derivative."""
        a = np.abs(s)
        near, far = 1.5 * a**3 - 2.5 * a**2 + 1, -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
        near_slope, far_slope = 4.5 * a**2 - 5 * a, -1.5 * a**2 + 5 * a - 4
        value = np.where(a < 1, near, np.where(a < 2, far, 0.0))
        return value, np.sign(s) * np.where(a < 1, near_slope, np.where(a < 2, far_slope, 0.0))

    vectors = []
    for r, c in np.ndindex(*image.shape):
        place = np.array([c - centre[0], r - centre[1], 1.0])
        column, row = matrix @ place + centre
        if np.isnan(reference[r, c]) or not (1 <= column < 15 and 1 <= row < 12):
            continue
        columns, rows = int(column) + np.arange(-1, 3), int(row) + np.arange(-1, 3)
        window = image[np.ix_(rows, columns)].astype("f8")
        if np.isnan(window).any():
            continue
        (wx, dx_), (wy, dy_) = function(column - columns), function(row - rows)
        gradient = np.array([wy @ window @ dx_, dy_ @ window @ wx])
        vectors.append([*(gradient @ basis @ place), wy @ window @ wx, reference[r, c], 1.0])
    expected = np.array(vectors).T @ np.array(vectors)
    assert moments[-1, -1] == len(vectors)
    assert moments == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("xy", [None, 5.0, [1.0, 2.0, 3.0], [[1.0], [2.0]], []])
def test_positions_have_a_column_and_a_row(xy):
    kernel = ImageMovementKernel("translation")
    kernel.load_series([0.0, 1.0], np.zeros((2, 2)))
    for move in (lambda: kernel.interpolate(0.5, xy), lambda: kernel.apply_kernel(xy, [0.0, 0.0])):
        with pytest.raises(UsageError, match=r"positions of shape .*: \(column, row\) of each"):
            move()


@pytest.mark.parametrize(("warpmode", "n"), [("translation", 2), ("euclidian", 3), ("affine", 6)])
def test_kernels_have_the_parameters_of_their_kind(warpmode, n):
    for wrong in (n - 1, n + 1):
        with pytest.raises(UsageError, match=f"{warpmode} has {n} parameters"):
            ImageMovementKernel(warpmode).apply_kernel(XY, np.zeros(wrong))


def test_a_reference_is_an_image():
    for wrong in (5, np.zeros(9), np.zeros((2, 3, 3))):
        with pytest.raises(UsageError, match="an image has rows and columns"):
            ImageMovementKernel("euclidian", image_ref=wrong)
