"""How well the backgrounds of a series follow a sky that changes, and how noisy they are."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from ffi_files import read_ffi
from helper_kernels import mesh_weights
from skies import NOISE, add_stars, series_backgrounds

from tasoc_mpi.cubes.background import background_model, fit_background, usable_pixels
from tasoc_mpi.cubes.mesh import centred_levels
from tasoc_mpi.cubes.prepare import prepare_folder
from tasoc_mpi.cubes.sky_geometry import BOX, sky_geometry
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.ffi import find_ffis
from tasoc_mpi.simulate import SimulationOptions, simulate
from tasoc_mpi.simulate.sky import sky_patterns

FRAMES = 24
#: Amplitudes of light that flares up in single frames, and is never quite away in the others.
FLASHES = np.where(np.arange(FRAMES) % 5 == 4, 1.0, 0.1 * np.sin(np.arange(FRAMES)))


def errors(shape, origin, pattern, amplitudes, left_out=False) -> tuple[np.ndarray, float]:
    """What backgrounds of a changing sky are off by beside a constant in time, and the largest change."""
    rng = np.random.default_rng(1)
    stars = np.zeros(shape)
    add_stars(stars, 20 * shape[0] * shape[1] // BOX**2, rng)
    geometry = sky_geometry(shape, origin, 1, 1)
    row, column = np.indices(shape)
    part = pattern(row + origin[0], column + origin[1], geometry)
    frames = np.empty((FRAMES, *shape), dtype="f4")
    for t, amplitude in enumerate(amplitudes):
        frames[t] = 100 + amplitude * part + stars + rng.normal(0, NOISE, shape)
    model = series_backgrounds(frames, geometry, left_out)
    rest = np.stack([model.frame(shape, t) - a * part for t, a in enumerate(amplitudes)])
    change = np.abs((amplitudes - np.median(amplitudes))[:, None, None] * part).max()
    return rest - np.median(rest, axis=0), float(change)


def slope(row, column, geometry):
    """Scattered light that falls off by 100 e-/s over a CCD."""
    return 100 * (0.6 * (row - row.min()) + 0.8 * (column - column.min())) / 2048


@pytest.mark.parametrize("shape", [(512, 512), (320, 256), (200, 300), (100, 100), (90, 150)])
def test_a_slope_that_comes_and_goes(shape) -> None:
    """To 1% everywhere, also where boxes are cut off by the edge: cut-outs have any size."""
    off, change = errors(shape, (900, 900), slope, FLASHES)
    assert np.abs(off).max() < 0.01 * change
    assert np.sqrt(np.mean(off**2)) < 0.03 * NOISE


def test_a_slope_beside_pixels_that_are_left_out() -> None:
    left_out = np.zeros((512, 512), dtype=bool)
    left_out[128:192, :200] = True
    left_out[:, 440:] = True
    off, change = errors((512, 512), (900, 900), slope, FLASHES, left_out)
    assert np.abs(off).max() < 0.01 * change


@pytest.mark.parametrize(("sigma", "limit"), [(600, 0.006), (300, 0.012), (150, 0.025)])
def test_a_patch_of_scattered_light(sigma: float, limit: float) -> None:
    def patch(row, column, geometry):
        r2 = (row - row.mean() - 40) ** 2 + (column - column.mean() + 70) ** 2
        return 100 * np.exp(-r2 / (2 * sigma**2))

    off, change = errors((512, 512), (900, 900), patch, FLASHES)
    assert np.abs(off).max() < limit * change


def test_a_glow_that_comes_and_goes() -> None:
    """Tenfold in 180 px; the corner is 2970 px from the camera's centre."""

    def glow(row, column, geometry):
        distance = np.hypot(row - geometry.centre[0], column - geometry.centre[1])
        return 10 ** ((distance - 2600) / 180)

    off, change = errors((512, 512), (0, 44), glow, 1 + 0.5 * np.sin(np.arange(FRAMES)))
    assert change > 30
    assert np.abs(off).max() < 0.01 * change
    assert np.sqrt(np.mean(off**2)) < 0.03 * NOISE


def test_a_ring_of_light() -> None:
    """Of 60 px, in the middle of a corner."""

    def ring(row, column, geometry):
        distance = np.hypot(row - geometry.centre[0], column - geometry.centre[1])
        return 50 * np.exp(-((distance - 2600) ** 2) / (2 * 60**2))

    off, change = errors((512, 512), (0, 44), ring, FLASHES)
    assert np.abs(off).max() < 0.03 * change


def test_boxes_that_are_left_out_do_not_bend_a_slope() -> None:
    row, column = np.mgrid[:5, :6].astype("f8")
    plane = 3 + 2 * row - 1.5 * column
    measured = np.stack([plane, np.zeros_like(plane), np.zeros_like(plane)])
    measured[:, 1:3, 2] = measured[:, :, 5] = np.nan
    np.testing.assert_allclose(centred_levels(measured), plane, atol=1e-9)
    # The last row is cut off after a quarter of it, the first column is measured in its right half.
    measured[1, 4], measured[2, :, 0] = -0.375, 0.25
    measured[0] = plane + 2 * np.nan_to_num(measured[1]) - 1.5 * np.nan_to_num(measured[2])
    measured[0, np.isnan(measured[1])] = np.nan
    np.testing.assert_allclose(centred_levels(measured), plane, atol=2e-3)
    # A single row tells nothing of the slope across it.
    row_only = np.stack([plane[:1], np.full((1, 6), 0.2), np.zeros((1, 6))])
    np.testing.assert_allclose(centred_levels(row_only), plane[:1])


def test_a_variable_star_is_not_sky() -> None:
    """A star of Tmag 10 that loses half of its light takes none of the sky along."""
    shape, rng = (256, 256), np.random.default_rng(4)
    star = np.zeros(shape)
    row, column = np.indices(shape)
    star += (
        15000 * np.exp(-((row - 100.3) ** 2 + (column - 130.6) ** 2) / (2 * 0.8**2)) / (2 * np.pi * 0.8**2)
    )
    # Wings that reach far out.
    star += 500 * np.exp(-np.hypot(row - 100.3, column - 130.6) / 4) / (2 * np.pi * 16)
    noise = rng.normal(0, NOISE, (FRAMES, *shape))
    geometry = sky_geometry(shape, (900, 900), 1, 1)
    factor = np.where(np.arange(FRAMES) % 4 == 0, 0.5, 1.0)[:, None, None]
    steady, eclipsed = (
        series_backgrounds((100 + f * star + noise).astype("f4"), geometry).frame(shape, 8)
        for f in (np.ones_like(factor), factor)
    )
    mask = np.hypot(row - 100.3, column - 130.6) < 4
    loss = 0.5 * star[mask].sum()
    assert loss > 7000
    assert abs((eclipsed - steady)[mask].sum()) < 2e-4 * loss


@pytest.mark.parametrize("density", [1.0, 3.0])
def test_noise_of_the_backgrounds(tmp_path, density: float) -> None:
    """In a mask of 49 pixels, as those of stars of Tmag 12: 1% more noise than with the sky known."""
    rows = 256
    options = SimulationOptions(
        frames=48,
        first_frame=200,
        rows=rows,
        columns=rows,
        tpfs=0,
        density=density,
        variables=False,
        seed=3,
    )
    simulate(tmp_path, options)
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / "sector001_camera1_ccd1.hdf5")
    with h5py.File(tmp_path / "truth_sector001_camera1_ccd1.hdf5") as truth:
        levels = truth["frames/sky_levels"][()]
    row0, column0 = options.science[:2]
    patterns = sky_patterns(options, row0 + np.arange(rows), column0 + np.arange(rows))
    ratios, place = [], np.mgrid[:7, :7].reshape(2, -1)
    for r, c in np.ndindex(12, 12):
        y, x = place + np.array([[10 + 20 * r], [10 + 20 * c]])
        fitted = np.tensordot(
            mesh_weights(y, x, BOX, cube.background.mesh.shape[:2]), cube.background.mesh, 2
        )
        sky = patterns[:, y, x].sum(axis=1) @ levels.T
        # Of changes from frame to frame, as noise is.
        error = np.diff(fitted - sky)
        noise = np.sqrt(2 * 49) * np.median(cube.images_err[y, x])
        ratios.append(np.sqrt(1 + np.mean(error**2) / noise**2))
    assert np.mean(ratios) < 1.012
    assert np.max(ratios) < 1.04


def test_in_the_mean_it_is_the_definition(tmp_path) -> None:
    """Mode and median filter, frame by frame, in a crowded field without motion."""
    options = SimulationOptions(
        frames=FRAMES,
        first_frame=300,
        rows=256,
        columns=256,
        tpfs=0,
        density=3.0,
        jitter=False,
        variables=False,
        seed=3,
    )
    simulate(tmp_path, options)
    prepare_folder(tmp_path)
    model = open_cube(tmp_path / "sector001_camera1_ccd1.hdf5").background
    geometry = sky_geometry((256, 256), options.science[:2], 1, 1)
    defined = []
    for path in find_ffis(tmp_path)[1, 1, 1]:
        image = read_ffi(path).flux
        levels, radial = fit_background(image, usable_pixels(image), geometry)
        frame = background_model(geometry, levels[..., None], radial[..., None])
        defined.append(frame.frame((256, 256), 0))
    ours = np.mean([model.frame((256, 256), t) for t in range(FRAMES)], axis=0)
    ratio = ours / np.mean(defined, axis=0) - 1
    assert abs(np.median(ratio)) < 0.001
    assert np.percentile(np.abs(ratio), 95) < 0.005
