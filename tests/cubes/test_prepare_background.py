"""The background of a frame against photutils, against scipy's spline and against the truth."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skies import add_stars

from tasoc_mpi.cubes.background import average_in_time, fit_background, usable_pixels, window_length
from tasoc_mpi.cubes.mesh import (
    box_levels,
    filled_levels,
    in_boxes,
    mesh_coefficients,
    series_mesh,
    smoothed_levels,
)
from tasoc_mpi.cubes.sky_geometry import BOX, NODE_STEP, RADIAL_FIRST, sky_geometry
from tasoc_mpi.kernels import boxes as sky
from tasoc_mpi.kernels import rings
from tasoc_mpi.products.ccd_outline import CAMERA_CENTRES
from tasoc_mpi.products.cube import BackgroundModel


def frame(shape, origin, camera, ccd, glow, stars_per_box=40, seed=0):
    """A sky with a gradient and corner glow, noise and stars; and the sky alone."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[: shape[0], : shape[1]]
    row, column = row + origin[0], column + origin[1]
    centre = CAMERA_CENTRES[camera, ccd]
    distance = np.hypot(row - centre[0], column - centre[1])
    truth = 100 + 12 * column / 2048 + 8 * np.sin(row / 700) + glow(np.maximum(distance - 2400, 0))
    image = truth + rng.normal(0, 0.6, shape)
    add_stars(image, stars_per_box * shape[0] * shape[1] // BOX**2, rng)
    return image.astype("f4"), truth


def model_image(fitted, geometry) -> np.ndarray:
    levels, radial = fitted
    mesh = series_mesh(levels[..., None])[..., 0]
    model = BackgroundModel(
        mesh[..., None],
        BOX,
        radial[:, None],
        RADIAL_FIRST,
        NODE_STEP,
        geometry.centre,
        geometry.origin,
    )
    return model.frame(geometry.shape, 0)


# With boxes beyond the edge several of those left out have more than ten nearest neighbours, of which
# photutils takes other ones.
@pytest.mark.parametrize(("shape", "tolerance"), [((256, 320), 2e-6), ((200, 300), 3e-4)])
def test_mesh_agrees_with_photutils(shape, tolerance) -> None:
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, SExtractorBackground

    image, _ = frame(shape, (800, 700), 2, 3, lambda d: 0 * d)
    masked = np.zeros(shape, dtype=bool)
    masked[70:120, 60:150] = True
    masked[image > 3000] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = Background2D(
            image.astype("f8"),
            BOX,
            mask=masked,
            filter_size=3,
            exclude_percentile=50,
            sigma_clip=SigmaClip(3, maxiters=5),
            bkg_estimator=SExtractorBackground(),
        )
        expected, expected_image = reference.background_mesh, reference.background
    levels = box_levels(np.where(masked, np.nan, image))
    assert np.isnan(levels).any()
    levels = filled_levels(levels)
    smooth = smoothed_levels(levels)
    np.testing.assert_allclose(smooth, expected, rtol=tolerance)
    geometry = sky_geometry(shape, (800, 700), 2, 3)
    ours = model_image((levels.astype("f4"), np.zeros(0, "f4")), geometry)
    # photutils cuts the surface off at the largest and smallest box, and makes it level at the edges.
    difference = ours - expected_image
    assert np.sqrt(np.mean(difference**2)) < 0.5
    middle = difference[BOX : shape[0] - BOX, BOX : shape[1] - BOX]
    assert np.sqrt(np.mean(middle**2)) < 0.15


@pytest.mark.parametrize("mesh_shape", [(1, 1), (1, 4), (3, 2), (5, 7)])
def test_surface_is_the_model(mesh_shape) -> None:
    """A part of it, which the rings are measured against."""
    coefficients = mesh_coefficients(np.random.default_rng(1).uniform(50, 150, mesh_shape))
    size = (BOX * mesh_shape[0], BOX * mesh_shape[1])
    none = np.empty((0, 1), dtype="f4")
    model = BackgroundModel(coefficients[..., None], BOX, none, 0.0, 1.0, (0.0, 0.0), (0, 0))
    part = model.frame((43, 57), 0, (7, 3))
    np.testing.assert_array_equal(part, model.frame(size, 0)[7:50, 3:60])


def test_a_slope_goes_on_to_the_edge() -> None:
    """Scattered light that comes and goes; of a surface that is level at the edges it was off by 1.5 e-/s."""
    row, column = np.mgrid[:320, :256]
    slope = 100 * row / 2048 + 60 * column / 2048
    geometry = sky_geometry((320, 256), (900, 900), 1, 1)
    rng = np.random.default_rng(3)
    levels = []
    for strength in (-0.5, 0.0, 1.0):
        image = 100 + strength * slope + rng.normal(0, 0.5, slope.shape)
        fitted = fit_background(image.astype("f4"), np.ones(slope.shape, dtype=bool), geometry)
        levels.append(fitted[0])
    mesh = series_mesh(np.stack(levels, axis=-1))
    none = np.empty((0, 3), dtype="f4")
    model = BackgroundModel(mesh, BOX, none, 2400.0, 5.0, geometry.centre, geometry.origin)
    rest = model.frame(slope.shape, 2) - (100 + slope)
    assert np.sqrt(np.mean(rest**2)) < 0.1
    assert np.abs(rest).max() < 0.5


def clipped_level(values: np.ndarray) -> tuple[float, int]:
    """The definition, step by step."""
    for _ in range(5):
        middle, spread = np.median(values), np.std(values)
        kept = values[(values >= middle - 3 * spread) & (values <= middle + 3 * spread)]
        if len(kept) == len(values):
            break
        values = kept
    mean, median, std = np.mean(values), np.median(values), np.std(values)
    if std == 0:
        return mean, len(values)
    if abs(mean - median) / std >= 0.3:
        return median, len(values)
    return 2.5 * median - 1.5 * mean, len(values)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 64), st.integers(1, 64), st.floats(0.0, 0.6))
def test_level_of_a_box(seed: int, height: int, width: int, outliers: float) -> None:
    rng = np.random.default_rng(seed)
    box = rng.normal(rng.uniform(-50, 200), rng.uniform(0.1, 10), (height, width)).astype("f4")
    hit = rng.random(box.shape) < outliers
    box[hit] += rng.exponential(200, hit.sum()).astype("f4")
    box[rng.random(box.shape) < 0.1] = np.nan
    values = box[np.isfinite(box)].astype("f8")
    boxes = in_boxes(box, np.ones(box.shape, dtype=bool))
    level = sky.box_levels(boxes, np.ones((1, 1), dtype=bool), 1.0, 3.0, 5)[0, 0]
    if len(values) <= 1:
        assert np.isnan(level)
        return
    expected, count = clipped_level(values)
    if count > 1:
        # Rounding can move one value across a limit of the clipping.
        assert level == pytest.approx(expected, abs=2e-3 * np.std(values) + 1e-4)


def test_ring_mode_is_that_of_a_kernel_density_estimate() -> None:
    rng = np.random.default_rng(3)
    values_of_rings = []
    for n in (200, 1000, 5000):
        values = rng.normal(2.0, 0.02, n)
        values[: n // 4] += rng.exponential(0.3, n // 4)
        values_of_rings.append(values.astype("f4"))
    values_of_rings.append(np.array([2.0] * 20 + [np.nan] * 400, dtype="f4"))
    starts = np.cumsum([0] + [len(ring) for ring in values_of_rings])
    modes = rings.ring_levels(np.concatenate(values_of_rings), starts, 50, 3.0, False)
    for values, mode in zip(values_of_rings[:3], modes[:3], strict=True):
        quartiles = np.percentile(values, [25, 75])
        width = 1.06 * min(values.std(), np.diff(quartiles)[0] / 1.349) * len(values) ** -0.2
        grid = np.linspace(1.9, 2.2, 3001)
        density = stats.gaussian_kde(values.astype("f8"), bw_method=width / values.std(ddof=1))(grid)
        assert mode == pytest.approx(grid[np.argmax(density)], abs=0.05 * width)
    assert np.isnan(modes[3])


GLOWS = {
    "none": lambda d: 0 * d,
    "gentle": lambda d: 60 * (d / 500) ** 2,
    "steep": lambda d: 4 * np.expm1(d / 150),
}


@pytest.mark.parametrize("glow", list(GLOWS))
@pytest.mark.parametrize(
    ("camera", "ccd", "origin"), [(1, 1, (0, 44)), (2, 4, (0, 1580)), (4, 3, (1536, 300)), (3, 1, (600, 44))]
)
def test_background_agrees_with_the_truth(glow, camera, ccd, origin) -> None:
    shape = (512, 512)
    image, truth = frame(shape, origin, camera, ccd, GLOWS[glow])
    geometry = sky_geometry(shape, origin, camera, ccd)
    fitted = fit_background(image, usable_pixels(image), geometry)
    assert fitted is not None
    ratio = model_image(fitted, geometry) / truth - 1
    assert abs(np.median(ratio)) < 0.003
    assert np.percentile(np.abs(ratio), 99) < 0.012
    assert np.abs(ratio).max() < 0.03


def test_glow_is_in_the_radial_part_alone() -> None:
    """The mesh without it is as smooth as the sky; a mesh alone would be off by ten percent in the corner."""
    image, truth = frame((512, 512), (0, 44), 1, 1, GLOWS["steep"])
    geometry = sky_geometry((512, 512), (0, 44), 1, 1)
    mesh, radial = fit_background(image, usable_pixels(image), geometry)
    expected = GLOWS["steep"](geometry.nodes - 2400)
    np.testing.assert_allclose(radial, expected, atol=1.0 + 0.06 * expected.max())
    assert radial[0] == 0
    assert np.ptp(mesh) < 15
    alone = model_image((box_levels(image).astype("f4"), np.zeros(0, "f4")), geometry)
    assert np.abs(alone / truth - 1).max() > 0.1


def test_no_radial_part_near_the_camera_centre() -> None:
    assert len(sky_geometry((512, 512), (1000, 1000), 1, 1).nodes) == 0
    geometry = sky_geometry((2048, 2048), (0, 44), 1, 1)
    distance = np.hypot(0 - 2099.52, 44 - 2158.22)
    assert geometry.nodes[0] == 2400
    assert geometry.nodes[-2] < distance <= geometry.nodes[-1]
    assert geometry.starts[-1] == len(geometry.pixels) == len(geometry.radii)
    assert np.all(geometry.radii >= 2400)


def test_few_rings_give_no_radial_part() -> None:
    """A region that reaches only 40 px into the rings has two of them with enough pixels."""
    origin = (350, 490)
    shape = (128, 128)
    geometry = sky_geometry(shape, origin, 1, 1)
    assert 0 < geometry.radii.max() - 2400 < 30
    image, truth = frame(shape, origin, 1, 1, GLOWS["none"])
    mesh, radial = fit_background(image, usable_pixels(image), geometry)
    assert not radial.any()
    assert np.abs(model_image((mesh, radial), geometry) / truth - 1).max() < 0.02


def test_usable_pixels() -> None:
    image = np.array([[1.0, 0.0, -1e-3, 8e4, 8.1e4, np.nan, np.inf, 5.0]], dtype="f4")
    assert usable_pixels(image).tolist() == [[True, True, False, True, False, False, False, True]]
    assert usable_pixels(image, 3).tolist() == [[True, True, False] + [False] * 5]


def test_nothing_to_fit() -> None:
    geometry = sky_geometry((128, 128), (0, 44), 1, 1)
    image = np.full((128, 128), 9e4, dtype="f4")
    assert fit_background(image, usable_pixels(image), geometry) is None


@pytest.mark.parametrize(("cadence", "length"), [(1800, 3), (600, 9), (200, 27)])
def test_window(cadence: int, length: int) -> None:
    assert window_length(cadence) == length


def test_average_in_time() -> None:
    values = np.array([[1, 2, 3, np.nan, 5, 6, 100]], dtype="f4")
    expected = [[1.5, 2, 2.5, np.nan, 5.5, 37, 53]]
    np.testing.assert_allclose(average_in_time(values, 3), expected)
    np.testing.assert_allclose(average_in_time(values[:, :2], 27), [[1.5, 1.5]])
    np.testing.assert_array_equal(average_in_time(values, 1), values)


@pytest.mark.real
def test_background_of_the_real_frame(real: Path, tmp_path: Path) -> None:
    from ffi_files import read_ffi

    name = "tess2018206192942-s0001-1-4-0120-s_ffic"
    path = shutil.copy(real / "ffi" / f"{name}.crop.fits", tmp_path / f"{name}.fits")
    flux = read_ffi(path, errors=False).flux
    geometry = sky_geometry(flux.shape, (0, 44), 1, 4)
    # Towards the camera's centre, so without corner glow.
    assert len(geometry.nodes) == 0
    fitted = fit_background(flux, usable_pixels(flux), geometry)
    model = model_image(fitted, geometry)
    rest = flux - model
    # The sky is the darker part of the pixels, the rest are stars.
    assert 0.25 < np.mean(rest < 0) < 0.5
    assert np.percentile(rest, 1) > -8
    assert np.ptp(model) < 5
    percentiles = np.percentile(flux, [10, 50])
    assert np.all((model > percentiles[0]) & (model < percentiles[1]))


def test_a_series_is_as_quiet_as_its_boxes() -> None:
    """The median filter's choice among the boxes changes with their noise; the mesh of a series does not."""
    rng = np.random.default_rng(3)
    boxes = 100 + rng.normal(0, 0.15, (6, 7, 1))
    boxes[2, 3] += 4  # a crowd of stars
    slope = np.linspace(0, 3, 7)[None, :, None]
    levels = boxes + slope + rng.normal(0, 0.05, (6, 7, 200))
    mesh = series_mesh(levels.astype("f4"))
    alone = np.stack([series_mesh(levels[:, :, t, None].astype("f4"))[..., 0] for t in range(200)], axis=-1)
    # In the mean it is what the filter gives, the crowd taken out.
    places = [mesh_coefficients(smoothed_levels(levels[:, :, t])) for t in range(200)]
    np.testing.assert_allclose(mesh.mean(axis=-1), np.mean(places, axis=0), atol=0.1)
    assert abs(mesh.mean(axis=-1)[2, 3] - 101.5) < 0.5
    np.testing.assert_allclose(alone, np.moveaxis(places, 0, -1), rtol=1e-5)
    # The noise of a box, through the spline, and no more.
    noise = np.stack([mesh_coefficients(rng.normal(0, 0.05, (6, 7))) for _ in range(400)])
    assert np.median(mesh.std(axis=-1)) < 1.1 * np.median(noise.std(axis=0))


def test_frames_without_a_background_stay_without() -> None:
    levels = np.full((3, 3, 4), 100, dtype="f4")
    levels[:, :, 2] = np.nan
    mesh = series_mesh(levels)
    assert np.isnan(mesh[:, :, 2]).all()
    np.testing.assert_allclose(mesh[:, :, [0, 1, 3]], 100, rtol=1e-6)
    assert np.isnan(series_mesh(np.full((3, 3, 2), np.nan, dtype="f4"))).all()


def test_crowded_frame_with_glow_agrees_with_the_definition() -> None:
    """photutils on what is left of a crowded frame without its corner glow, to 0.5 e-/s rms."""
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, SExtractorBackground

    shape, origin = (512, 512), (0, 44)
    image, truth = frame(shape, origin, 1, 1, GLOWS["gentle"], stars_per_box=120)
    geometry = sky_geometry(shape, origin, 1, 1)
    levels, radial = fit_background(image, usable_pixels(image), geometry)
    ours = model_image((levels, radial), geometry)
    glow = model_image((np.zeros_like(levels), radial), geometry)
    assert glow.max() > 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        definition = Background2D(
            (image - glow).astype("f8"),
            BOX,
            mask=~usable_pixels(image),
            filter_size=3,
            exclude_percentile=50,
            sigma_clip=SigmaClip(3, maxiters=5),
            bkg_estimator=SExtractorBackground(),
        ).background
    assert np.sqrt(np.mean((ours - glow - definition) ** 2)) < 0.5
    assert abs(np.median(ours / truth) - 1) < 0.01
