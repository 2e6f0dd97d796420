"""The image of the stars that backgrounds are fitted without."""

from __future__ import annotations

import warnings
from dataclasses import replace

import h5py
import numpy as np
import pytest
from ffi_files import read_ffi
from skies import star_image

from tasoc_mpi.cubes.background import background_model, fit_background, usable_pixels
from tasoc_mpi.cubes.frame_series import read_series
from tasoc_mpi.cubes.prepare import prepare_folder
from tasoc_mpi.cubes.sky_geometry import BOX, sky_geometry
from tasoc_mpi.cubes.star_image import FEWEST_FRAMES, chosen_frames, median_rows
from tasoc_mpi.products.cube import BackgroundModel, open_cube
from tasoc_mpi.products.ffi import find_ffis
from tasoc_mpi.simulate import SimulationOptions, simulate
from tasoc_mpi.simulate.sky import sky_patterns

FRAMES = 24


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A crowded field that does not move."""
    folder = tmp_path_factory.mktemp("field")
    options = SimulationOptions(
        frames=FRAMES,
        first_frame=300,  # far from the scattered light of perigee
        rows=192,
        columns=192,
        tpfs=0,
        density=3.0,
        jitter=False,
        variables=False,
        seed=3,
    )
    simulate(folder, options)
    ((_, ffis),) = find_ffis(folder).items()
    return read_series(ffis)


def test_median_without_nan():
    rng = np.random.default_rng(1)
    images = rng.normal(100, 5, size=(9, 40, 6)).astype("f4")
    images[rng.random(images.shape) < 0.4] = np.nan
    images[:, 2, 3] = np.nan
    model = BackgroundModel(
        np.full((1, 1, 9), 90, dtype="f4"), 64, np.empty((0, 9), "f4"), 2400.0, 5.0, (0.0, 0.0), (0, 44)
    )
    excluded = np.full(9, 6, dtype="i4")
    excluded[4] = 3
    images[4, :, 3:] = np.nan
    frames = np.arange(9)

    def read(t, first, last, out):
        out[:] = images[t, first:last]

    rows = median_rows(read, frames, excluded, model, 0, (40, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmedian(images, axis=0) - 90
    assert np.isnan(expected[2, 3])
    np.testing.assert_allclose(rows, np.nan_to_num(expected, nan=0), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(median_rows(read, frames, excluded, model, 17, (22, 6)), rows[17:39])


def test_frames_of_the_image():
    good, excluded = np.ones(100, dtype=bool), np.full(100, 80, dtype="i4")
    good[:50] = False
    excluded[60] = 20
    chosen, enough = chosen_frames(good, excluded, 80)
    assert enough
    assert len(chosen) == 32
    assert chosen[0] == 50
    assert chosen[-1] == 99
    assert 60 not in chosen
    # Too few good ones: whatever has pixels.
    good[53:] = False
    excluded[:90] = 0
    chosen, enough = chosen_frames(good, excluded, 80)
    assert not enough
    assert chosen.tolist() == list(range(90, 100))
    assert len(chosen_frames(good, excluded * 0, 80)[0]) == 0


def test_it_is_the_stars_and_nothing_but_the_stars(field):
    series = field
    geometry = sky_geometry(series.shape, series.origin, 1, 1)
    stars = star_image(series, geometry, np.ones(FRAMES, dtype=bool))
    frame = read_ffi(series.infos[5].path)
    # Between the stars there is nothing left: the sky is 100 e-/s, the noise 0.4.
    assert abs(np.median(stars)) < 1
    rest = frame.flux - stars
    levels, radial = fit_background(frame.flux, usable_pixels(frame.flux), geometry)
    model = background_model(geometry, levels[..., None], radial[..., None]).frame(series.shape, 0)
    bright = stars > 50
    assert bright.sum() > 100
    # With the stars taken out their pixels show the sky, as the others do.
    assert abs(np.median(rest[bright] - model[bright])) < 1


def test_backgrounds_are_quieter_without_the_stars(field):
    series = field
    geometry = sky_geometry(series.shape, series.origin, 1, 1)
    stars = star_image(series, geometry, np.ones(FRAMES, dtype=bool))
    noise = {}
    for name, less in (("with", 0), ("without", stars)):
        fits = []
        for info in series.infos:
            image = read_ffi(info.path).flux
            fits.append(fit_background(image - less, usable_pixels(image), geometry))
        levels = np.stack([f[0] for f in fits], axis=-1)
        # What all boxes have in common is the sky's own change.
        own = levels - np.median(levels, axis=(0, 1))
        change = own - np.median(own, axis=-1, keepdims=True)
        noise[name] = 1.4826 * np.median(np.abs(np.diff(change, axis=-1)))
        noise[f"mean {name}"] = levels.mean()
    assert noise["without"] < 0.75 * noise["with"]
    # In the mean it is the same sky.
    assert abs(noise["mean with"] - noise["mean without"]) < 0.3


def test_few_frames_make_no_image(field):
    series = field
    geometry = sky_geometry(series.shape, series.origin, 1, 1)
    good = np.zeros(FRAMES, dtype=bool)
    good[: FEWEST_FRAMES - 1] = True
    assert star_image(series, geometry, good) is None
    good[FEWEST_FRAMES] = True
    assert star_image(series, geometry, good) is not None


def test_backgrounds_of_a_series_are_the_sky(tmp_path):
    """The cube's own model, averaged in time, of a corner with glow: to 1% of the true sky."""
    options = SimulationOptions(
        frames=12, first_frame=300, rows=256, columns=256, row0=0, column0=44, tpfs=0, seed=8
    )
    simulate(tmp_path, options)
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / "sector001_camera1_ccd1.hdf5")
    assert cube.background.radial.max() > 5
    with h5py.File(tmp_path / "truth_sector001_camera1_ccd1.hdf5") as truth:
        levels = truth["frames/sky_levels"][()]
    patterns = sky_patterns(options, np.arange(256), np.arange(256) + 44)
    for t in range(12):
        sky = np.tensordot(levels[max(0, t - 1) : t + 2].mean(axis=0), patterns, 1)
        ratio = cube.background.frame((256, 256), t) / sky - 1
        assert abs(np.median(ratio)) < 0.01
        assert np.percentile(np.abs(ratio), 90) < 0.02


def simulated(folder, options):
    """The pixels of a single simulated frame whose corner is the CCD's, and its true sky."""
    simulate(folder, options)
    ((_, (path,)),) = find_ffis(folder).items()
    rows, columns = np.arange(options.rows), 44 + np.arange(options.columns)
    with h5py.File(folder / "truth_sector001_camera1_ccd1.hdf5") as truth:
        levels = truth["frames/sky_levels"][0]
    return read_ffi(path).flux, np.tensordot(levels, sky_patterns(options, rows, columns), 1)


@pytest.mark.parametrize("density", [0.0, 1.0, 3.0, 6.0])
def test_the_sky_of_a_crowded_corner(tmp_path, density):
    """Sky, glow and the light between the stars, to 1%.

    In a crowded field no pixel is free of stars. What the definition measures is the sky and what the stars
    shed on an ordinary pixel: photutils says how much that is, from the stars alone, without sky and noise.
    """
    options = SimulationOptions(
        frames=1,
        first_frame=300,
        rows=384,
        columns=384,
        row0=0,
        column0=44,
        tpfs=0,
        density=density,
        jitter=False,
        variables=False,
        bright=False,
        seed=3,
    )
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, SExtractorBackground

    image, sky = simulated(tmp_path / "frame", options)
    stars, nothing = simulated(tmp_path / "stars", replace(options, sky=0.0, noise=False, cosmics=False))
    assert not nothing.any()
    between = Background2D(
        stars.astype("f8"),
        BOX,
        filter_size=3,
        exclude_percentile=50,
        sigma_clip=SigmaClip(3.0, maxiters=5),
        bkg_estimator=SExtractorBackground(),
    ).background
    geometry = sky_geometry(image.shape, (0, 44), 1, 1)
    levels, radial = fit_background(image, usable_pixels(image), geometry)
    assert radial.max() > 3
    model = background_model(geometry, levels[..., None], radial[..., None]).frame(image.shape, 0)
    ratio = model / (sky + between) - 1
    assert abs(np.median(ratio)) < 0.003
    assert np.percentile(np.abs(ratio), 95) < 0.01
    if density > 1:
        # Without them it would not be.
        assert np.median(model / sky - 1) > 0.02
