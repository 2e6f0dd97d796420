"""From frames to a finished cube: what is in it, and that it is the same however it was made."""

from __future__ import annotations

import csv
import errno
import fcntl
import gzip
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.units import Unit
from ffi_files import ffi_name, series, write_ffi
from prepared import FRAMES, LOG, NAME, SHAPE, SMALL_MEMORY, contents, kill_prepare
from scipy import ndimage
from skies import star_image

from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.cubes import prepare as prepare
from tasoc_mpi.cubes import tasks as steps
from tasoc_mpi.cubes.background import background_model, fit_background, usable_pixels
from tasoc_mpi.cubes.frame_series import FrameSeries, read_series
from tasoc_mpi.cubes.mesh import series_mesh
from tasoc_mpi.cubes.prepare import PrepareOptions, prepare_folder
from tasoc_mpi.cubes.sky_geometry import sky_geometry
from tasoc_mpi.cubes.star_image import chosen_frames
from tasoc_mpi.products.cube import Cube, open_cube
from tasoc_mpi.products.ffi import find_ffis


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, np.ndarray, Cube]:
    """A folder with a cube, the pixels of its frames and the cube."""
    folder = tmp_path_factory.mktemp("made")
    pixels = series(folder / "ffi", FRAMES, SHAPE)
    prepare_folder(folder)
    return folder, pixels, open_cube(folder / NAME)


def replace_frame(folder: Path, t: int, flux: np.ndarray, **options) -> Path:
    (folder / ffi_name(t)).unlink()
    return write_ffi(folder, t, flux, **options)


def test_images_are_frames_less_background(made) -> None:
    _, pixels, cube = made
    assert cube.shape == (*SHAPE, FRAMES)
    for t in range(FRAMES):
        expected = pixels[t].astype("f8") - cube.background.frame(SHAPE, t)
        np.testing.assert_allclose(cube.images[:, :, t], expected, rtol=1e-6, atol=2e-5)
    np.testing.assert_array_equal(cube.images_err, np.float32(0.5))
    assert cube.images.dtype == np.float32


def _series(folder: Path) -> FrameSeries:
    ((_, paths),) = find_ffis(folder).items()
    return read_series(paths)


def test_background_is_that_of_the_frame_without_its_stars(made) -> None:
    """Of no other frame: the sky here rises by 1 e-/s from frame to frame, at 600 s."""
    _, pixels, cube = made
    geometry = sky_geometry(SHAPE, (0, 44), 1, 1)
    stars = star_image(_series(made[0]), geometry, np.ones(FRAMES, dtype=bool))
    assert stars is not None
    for t, image in enumerate(pixels):
        fit = fit_background(image - stars, usable_pixels(image), geometry, starless=True)
        assert fit is not None
        model = background_model(geometry, fit[0][..., None], fit[1][..., None], starless=True)
        np.testing.assert_array_equal(cube.background.mesh[:, :, t], model.mesh[:, :, 0])
        np.testing.assert_array_equal(cube.background.radial[:, t], model.radial[:, 0])


def test_of_few_frames_it_is_the_mean_of_nine_as_they_are(tmp_path: Path) -> None:
    """With fewer than 8 frames there is no image of the stars."""
    pixels = series(tmp_path / "ffi", 7, SHAPE)
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / NAME)
    geometry = sky_geometry(SHAPE, (0, 44), 1, 1)
    fits = [fit_background(image, usable_pixels(image), geometry) for image in pixels]
    mesh = series_mesh(np.stack([levels for levels, _ in fits], axis=-1))
    for t in range(7):
        around = slice(max(0, t - 4), t + 5)
        np.testing.assert_allclose(
            cube.background.mesh[:, :, t], mesh[:, :, around].mean(axis=-1, dtype="f8"), rtol=1e-6
        )
        np.testing.assert_allclose(
            cube.background.radial[:, t], np.mean([f[1] for f in fits[around]], axis=0), rtol=1e-5, atol=1e-5
        )


def test_sumimage_and_pixels_used(made) -> None:
    _, _, cube = made
    np.testing.assert_allclose(cube.sumimage, cube.images.mean(axis=2, dtype="f8"), rtol=1e-6)
    np.testing.assert_array_equal(
        cube.backgrounds_pixels_used, np.mean((cube.pixel_flags & 1) == 0, axis=2) > 0.5
    )
    assert not cube.pixel_flags.any()


def test_facts_of_the_frames(made) -> None:
    _, _, cube = made
    assert cube.frames == tuple(ffi_name(t) for t in range(FRAMES))
    assert cube.cadenceno.tolist() == list(range(700000, 700000 + FRAMES))
    assert cube.attributes["CADENCE"] == 600
    assert (cube.row_offset, cube.column_offset) == (0, 44)
    assert cube.ref_frame in (FRAMES // 2 - 1, FRAMES // 2)
    assert cube.wcs.good.all()
    assert cube.warpmode == "wcs"
    assert "Earth" in cube.ephemeris_source
    sky = np.deg2rad(cube.wcs.sky(np.array([1067.0]), np.array([1023.0]), cube.ref_frame)[0])
    direction = [np.cos(sky[1]) * np.cos(sky[0]), np.cos(sky[1]) * np.sin(sky[0]), np.sin(sky[1])]
    np.testing.assert_allclose(cube.ephemeris @ direction, cube.timecorr, rtol=0, atol=1e-9)


def test_other_programs_read_it(made) -> None:
    folder, _, cube = made
    with h5py.File(folder / NAME) as file:
        assert bool(file.attrs["COMPLETE"])
        assert "PREPARE_KEY" not in file.attrs
        for name in ("images", "images_err", "pixel_flags"):
            assert file[name].chunks is None
            assert file[name].id.get_offset() % 4096 == 0
            np.testing.assert_array_equal(file[name][3:5], getattr(cube, name)[3:5])
        described: dict[str, str] = {}

        def describe(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset):
                described[name] = f"{Unit(item.attrs.get('units', ''))}: {item.attrs['long_name']}"

        file.visititems(describe)
        assert described["images"] == "electron / s: flux without background"
        assert "(r + 0.5) / box" in file["background"].attrs["note"]
        # Numbers of the world coordinates are those of the cards: counted from 1.
        header = fits.Header.fromstring(file["wcs/headers"].asstr()[0])
        assert file["wcs/crpix"][0].tolist() == [header["CRPIX1"], header["CRPIX2"]]
        assert described["wcs/crpix"].endswith("counted from 1")


def test_nothing_else_stays_behind(made) -> None:
    folder, _, _ = made
    assert sorted(path.name for path in folder.iterdir()) == ["ffi", LOG, NAME]


def test_finished_cube_is_left_alone(made, caplog) -> None:
    folder, _, _ = made
    before = (folder / NAME).stat().st_mtime_ns
    with caplog.at_level("INFO"):
        (summary,) = prepare_folder(folder)
    assert not summary.made
    assert summary.shape == (*SHAPE, FRAMES)
    assert (folder / NAME).stat().st_mtime_ns == before
    assert "--overwrite" in caplog.text


@pytest.mark.parametrize("memory", [4e-5, SMALL_MEMORY, 0.002])
def test_memory_does_not_change_the_cube(made, tmp_path: Path, memory: float) -> None:
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    prepare_folder(tmp_path, PrepareOptions(memory=memory))
    assert contents(tmp_path / NAME) == contents(folder / NAME)


def test_compressed_frames_give_the_same(made, tmp_path: Path) -> None:
    folder, _, _ = made
    for path in (folder / "ffi").iterdir():
        (tmp_path / (path.name + ".gz")).write_bytes(gzip.compress(path.read_bytes(), 1))
    prepare_folder(tmp_path)
    ours, plain = contents(tmp_path / NAME), contents(folder / NAME)
    assert ours.pop("frames") != plain.pop("frames")
    assert ours == plain


def test_flags_and_frames_left_out(tmp_path: Path, caplog) -> None:
    pixels = series(tmp_path, FRAMES, SHAPE)
    bad = pixels[5].copy()
    bad[3, 4], bad[5, 6], bad[7, 8] = np.nan, -1.0, 9e4
    replace_frame(tmp_path, 5, bad)
    replace_frame(tmp_path, 8, np.full(SHAPE, np.nan))
    replace_frame(tmp_path, 9, np.zeros(SHAPE))
    replace_frame(tmp_path, 11, pixels[11], DQUALITY=32)
    replace_frame(tmp_path, 12, pixels[12], DQUALITY=2048)
    replace_frame(tmp_path, 13, pixels[13], DQUALITY=16384)
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / NAME)
    flags = cube.pixel_flags
    assert [flags[3, 4, 5], flags[5, 6, 5], flags[7, 8, 5]] == [1, 1, 1]
    for t in (8, 9):
        assert np.all(flags[:, :, t] == 3)
        assert np.isnan(cube.images[:, :, t]).all()
        assert np.isnan(cube.background.mesh[:, :, t]).all()
        assert f"{ffi_name(t)}: nothing but NaN or zero" in caplog.text
    flagged = flags.copy()
    flagged[[3, 5, 7], [4, 6, 8], 5] = flagged[:, :, 8:10] = 0
    assert not flagged.any()
    assert np.isnan(cube.images[3, 4, 5])
    assert cube.images[5, 6, 5] < -50
    assert cube.quality[11] == 32
    assert cube.quality[12] == 2048
    assert cube.quality[13] == 16384
    good = [t for t in range(FRAMES) if t not in (8, 9, 11, 13)]
    np.testing.assert_allclose(
        cube.sumimage, np.nanmean(cube.images[:, :, good], axis=2, dtype="f8"), rtol=1e-6, atol=1e-6
    )
    # The frames on both sides are averaged without them.
    assert np.isfinite(cube.background.mesh[:, :, 7]).all()


def test_pixels_left_out_by_hand(tmp_path: Path) -> None:
    """Mars on camera 1, CCD 4: science columns from 1536 on, up to cadence 4724."""
    for t in range(6):
        write_ffi(
            tmp_path,
            t,
            np.random.default_rng(t).normal(100, 1, (64, 80)),
            ccd=4,
            first=(1540, 0),
            primary={"FFIINDEX": 4722 + t},
        )
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / "sector030_camera1_ccd4.hdf5")
    assert np.all(cube.pixel_flags[:, 40:, :3] == 3)
    assert np.isnan(cube.images[:, 40:, :3]).all()
    assert not cube.pixel_flags[:, :40].any()
    assert not cube.pixel_flags[:, :, 3:].any()
    assert np.isfinite(cube.sumimage).all()
    assert np.isfinite(cube.images[:, :40]).all()


def test_background_that_is_already_taken_out(tmp_path: Path) -> None:
    pixels = np.stack([np.random.default_rng(t).normal(0, 1, (64, 70)) for t in range(4)]).astype("f4")
    for t, image in enumerate(pixels):
        write_ffi(tmp_path, t, image, BACKAPP=True)
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / NAME)
    np.testing.assert_array_equal(cube.images, np.moveaxis(pixels, 0, -1))
    assert not cube.background.mesh.any()


def shenanigans(cube: Cube) -> np.ndarray:
    """The definition's 15 x 15 median of (image - sumimage), less its median over time, without its sign."""
    images = np.asarray(cube.images)
    filtered = np.stack(
        [ndimage.median_filter(images[:, :, t] - cube.sumimage, 15) for t in range(images.shape[2])], axis=-1
    )
    return np.abs(filtered - np.median(filtered, axis=2, keepdims=True))


def test_shenanigans(tmp_path: Path) -> None:
    """Patches and stripes of scattered light, too small for the background and up to half of the time."""
    pixels = series(tmp_path, FRAMES, (90, 100))
    rng = np.random.default_rng(5)
    row, column = np.mgrid[:90, :100]
    for t in range(FRAMES):
        changed = pixels[t].copy()
        if t % 3 == 0:
            y, x = rng.uniform(10, 80), rng.uniform(10, 90)
            changed += 150 * np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * 9**2))
        if t in (6, 7):
            changed[:, 60:80] -= 60
        if t > 13:
            # For ten of the frames: part of what is usual there.
            changed[30:60, 20:50] += 25
        replace_frame(tmp_path, t, changed)
    prepare_folder(tmp_path, PrepareOptions(memory=SMALL_MEMORY * 1.3))
    cube = open_cube(tmp_path / NAME)
    flagged = (cube.pixel_flags & 4) > 0
    deviation = shenanigans(cube)
    expected = deviation > 40
    inside = np.s_[8:-8, 8:-8]
    assert 0.005 < expected[inside].mean() < 0.3
    same = flagged[inside] == expected[inside]
    assert np.mean(same) > 0.998
    # The image of the stars is not the sum image with its median: in a field that is half full of patches
    # their difference decides where the limit is just reached, and nowhere else.
    assert same[np.abs(deviation[inside] - 40) > 6].all()
    # At the edges windows are cut off here, mirrored there.
    assert np.mean(flagged == expected) > 0.995
    assert expected[:, :, 6].any()


@pytest.mark.parametrize(
    ("module", "function", "call"),
    [
        ("star_image", "frame_medians", 1),
        ("tasks", "fit_background", 7),
        ("tasks", "median_rows", 2),
        ("tasks", "fit_background", FRAMES + 7),
        ("tasks", "blocks.window_flags", 5),
        ("partial_cube", "allocate_cube", 1),
        ("partial_cube", "write_background", 1),
        ("tasks", "write_at", 17),
        ("tasks", "_sync", 3),
        ("partial_cube", "finish_cube", 1),
        ("partial_cube", "rename_whole", 1),
    ],
)
def test_killed_and_continued(made, tmp_path: Path, monkeypatch, module, function, call) -> None:
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    kill_prepare(tmp_path, module, function, call)
    fits, blocks = [], []
    fit, write = steps.fit_background, steps.RowsStep.compute
    monkeypatch.setattr(steps, "fit_background", lambda *a: fits.append(1) or fit(*a))
    monkeypatch.setattr(steps.RowsStep, "compute", lambda *a: blocks.append(a[1]) or write(*a))
    prepare_folder(tmp_path, PrepareOptions(memory=SMALL_MEMORY))
    assert contents(tmp_path / NAME) == contents(folder / NAME)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ffi", LOG, NAME]
    # What was done was not done again.
    if function == "fit_background":
        assert len(fits) == 2 * FRAMES - call + 1
    elif function == "blocks.window_flags":
        # Together with its background.
        assert len(fits) == FRAMES - call + 1
    else:
        assert len(fits) == (FRAMES if function in ("frame_medians", "median_rows") else 0)
    if function in ("write_at", "_sync"):
        assert min(blocks) > 0
    if function == "finish_cube":
        assert not blocks


def test_another_version_starts_anew(made, tmp_path: Path, monkeypatch, caplog) -> None:
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    version = "from tasoc_mpi.cubes import partial_cube; partial_cube._VERSION = 3"
    kill_prepare(tmp_path, "tasks", "fit_background", 7, before=version)
    assert (tmp_path / f"{NAME}.state").exists()
    fits, fit = [], steps.fit_background
    monkeypatch.setattr(steps, "fit_background", lambda *a: fits.append(1) or fit(*a))
    prepare_folder(tmp_path)
    assert len(fits) == 2 * FRAMES
    assert [r.getMessage() for r in caplog.records if "begun anew" in r.getMessage()] == [
        f"{tmp_path / NAME}.state: of other frames or options; it is begun anew"
    ]
    assert contents(tmp_path / NAME) == contents(folder / NAME)


def test_other_frames_start_anew(made, tmp_path: Path) -> None:
    """An interrupted prepare of other files is no use."""
    series(tmp_path / "ffi", FRAMES, SHAPE, seed=1)
    kill_prepare(tmp_path, "tasks", "fit_background", 7)
    folder, _, _ = made
    assert (tmp_path / f"{NAME}.state").exists()
    for path in (tmp_path / "ffi").iterdir():
        path.unlink()
        (tmp_path / "ffi" / path.name).write_bytes((folder / "ffi" / path.name).read_bytes())
    prepare_folder(tmp_path)
    assert contents(tmp_path / NAME) == contents(folder / NAME)


def test_only_one_at_a_time(made, tmp_path: Path) -> None:
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    lock = tmp_path / f"{NAME}.lock"
    with open(lock, "w") as file:
        file.write("process 1 on there")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="in use by process 1 on there; wait for it"):
            prepare_folder(tmp_path)
    # A lock file that nobody holds, left behind by a kill, is no obstacle.
    assert lock.exists()
    prepare_folder(tmp_path)
    assert not lock.exists()


def test_no_room_on_the_disk(made, tmp_path: Path, monkeypatch) -> None:
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    usage = prepare.shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="make room"):
        prepare_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ffi"]


def test_movement_kernels(tmp_path: Path) -> None:
    """Stars that move by a tenth of a pixel a frame along the columns."""
    rng = np.random.default_rng(2)
    stars = rng.uniform(5, 75, (60, 2))
    row, column = np.mgrid[:80, :80]
    for t in range(5):
        image = np.full((80, 80), 100.0)
        for y, x in stars:
            image += 800 * np.exp(-((row - y) ** 2 + (column - x - 0.1 * t) ** 2) / 2)
        write_ffi(tmp_path, t, image + rng.normal(0, 0.3, image.shape))
    prepare_folder(tmp_path, PrepareOptions(movement_kernel="translation"))
    cube = open_cube(tmp_path / NAME)
    assert cube.warpmode == "translation"
    assert cube.ref_frame == 2
    expected = np.stack([0.1 * (np.arange(5) - 2), np.zeros(5)], axis=1)
    np.testing.assert_allclose(cube.movement_kernel, expected, atol=0.01)


def test_reference_time_of_the_catalog(made, tmp_path: Path, monkeypatch) -> None:
    folder, _, cube = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    monkeypatch.setattr(prepare, "_reference_time", lambda path, frames: float(cube.time[20]) + 1e-4)
    prepare_folder(tmp_path)
    assert open_cube(tmp_path / NAME).ref_frame == 20


def test_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no such folder"):
        prepare_folder(tmp_path / "nothing")
    with pytest.raises(MissingInput, match="no full frame images"):
        prepare_folder(tmp_path)
    series(tmp_path, 2, (64, 64))
    with pytest.raises(MissingInput, match="no full frame images"):
        prepare_folder(tmp_path, PrepareOptions(ccd=3))
    with pytest.raises(MissingInput, match="--spice"):
        prepare_folder(tmp_path, PrepareOptions(spice=tmp_path / "nothing"))


@pytest.mark.parametrize("options", [{"memory": 0.0}, {"memory": 1e-5}, {"movement_kernel": "rotation"}])
def test_impossible_options(tmp_path: Path, options) -> None:
    series(tmp_path, 2, (64, 64))
    with pytest.raises(UsageError, match="--"):
        prepare_folder(tmp_path, PrepareOptions(**options))


def test_one_bad_ccd_does_not_stop_the_others(tmp_path: Path, caplog) -> None:
    series(tmp_path, 3, (64, 64))
    series(tmp_path, 3, (64, 64), ccd=2)
    broken = tmp_path / ffi_name(1)
    broken.write_bytes(broken.read_bytes()[:20000])
    with pytest.raises(InputError, match="1 of 2 CCDs"):
        prepare_folder(tmp_path)
    assert str(broken) in caplog.text
    assert open_cube(tmp_path / "sector030_camera1_ccd2.hdf5").shape == (64, 64, 3)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".part", ".lock", ".state")]


def test_frame_damaged_behind_its_headers(tmp_path: Path) -> None:
    """A compressed file whose end is missing shows it only when its pixels are read."""
    series(tmp_path, 4, (64, 64))
    path = tmp_path / ffi_name(2)
    packed = gzip.compress(path.read_bytes(), 1)
    path.unlink()
    broken = path.with_name(path.name + ".gz")
    broken.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"truncated|unpacked") as error:
        prepare_folder(tmp_path)
    assert str(broken) in str(error.value)
    assert [path.name for path in tmp_path.glob("sector*")] == [f"{NAME}.state"]


def test_what_other_frames_gave_is_kept(tmp_path: Path, monkeypatch) -> None:
    """A damaged frame is fetched again: only it, and what depends on it, is done again."""
    for t in range(40):
        write_ffi(tmp_path, t, *np.random.default_rng(t).normal(100, 1, (2, 128, 128)))
    chosen, _ = chosen_frames(np.ones(40, bool), np.full(40, 128, "i4"), 128)
    (rest,) = np.nonzero(~np.isin(np.arange(40), chosen))
    path = tmp_path / ffi_name(int(rest[-1]))
    packed = gzip.compress(path.read_bytes(), 1)
    path.unlink()
    broken = path.with_name(path.name + ".gz")
    broken.write_bytes(packed[: len(packed) * 2 // 5])
    with pytest.raises(InputError):
        prepare_folder(tmp_path)
    broken.write_bytes(packed)
    fits, fit = [], steps.fit_background
    monkeypatch.setattr(steps, "fit_background", lambda *a: fits.append(1) or fit(*a))
    prepare_folder(tmp_path)
    assert len(fits) == 40 - rest[-1]
    assert open_cube(tmp_path / NAME).shape == (128, 128, 40)


def test_simulated_ccd(tmp_path: Path) -> None:
    """Frames, target pixel files and catalog of the simulator: flags, reference frame and sky."""
    from tasoc_mpi.core.names import catalog_name
    from tasoc_mpi.products.star_catalog import open_catalog
    from tasoc_mpi.products.tpf import read_tpf
    from tasoc_mpi.products.tpf_files import find_tpfs
    from tasoc_mpi.simulate import SimulationOptions, simulate
    from tasoc_mpi.simulate.sky import sky_patterns

    options = SimulationOptions(
        sector=1, frames=12, rows=128, columns=192, row0=0, column0=44, tpfs=2, seed=3, first_frame=54
    )
    for path in simulate(tmp_path, options).ffis:
        # Flags are to come from the target pixel files.
        fits.setval(path, "DQUALITY", value=0, ext=1)
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / "sector001_camera1_ccd1.hdf5")
    assert cube.shape == (128, 192, 12)
    assert (cube.row_offset, cube.column_offset) == (0, 44)
    tpf, other = (read_tpf(info.path) for info in find_tpfs(tmp_path))
    np.testing.assert_array_equal(tpf.quality & ~64, other.quality & ~64)
    start, stop = cube.time_start - cube.timecorr, cube.time_stop - cube.timecorr
    for t in range(12):
        inside = (tpf.time - tpf.timecorr >= start[t]) & (tpf.time - tpf.timecorr < stop[t])
        relevant = np.bitwise_or.reduce(tpf.quality[inside], initial=0)
        relevant &= 1 | 2 | 4 | 8 | 32 | 2048 | 4096 | 16384
        assert cube.quality[t] == relevant
    assert np.any(tpf.quality & 32)
    assert np.any(cube.quality & 32)
    reference = open_catalog(tmp_path / catalog_name(1, 1, 1)).settings.reference_time - 2457000
    distance = np.abs(cube.time - reference) + 1e3 * ((cube.quality & 32) > 0)
    assert cube.ref_frame == np.argmin(distance)
    with h5py.File(tmp_path / "truth_sector001_camera1_ccd1.hdf5") as truth:
        levels = truth["frames/sky_levels"][()]
    patterns = sky_patterns(options, np.arange(128), np.arange(192) + 44)
    for t in range(12):
        sky = np.tensordot(levels[max(0, t - 1) : t + 2].mean(axis=0), patterns, 1)
        ratio = cube.background.frame((128, 192), t) / sky - 1
        assert abs(np.median(ratio)) < 0.01
        assert np.abs(ratio).max() < 0.05


def test_command_line(tmp_path: Path) -> None:
    """Status, and the one line that an error is."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tasoc_mpi.cli", "prepare", *words],
            capture_output=True,
            text=True,
            timeout=120,
        )

    missing = run(str(tmp_path / "nothing"))
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert "no such folder" in missing.stderr
    series(tmp_path, 3, (64, 64))
    wrong = run(str(tmp_path), "--memory", "-1")
    assert wrong.returncode == 2
    assert "--memory" in wrong.stderr
    assert run(str(tmp_path), "--camera", "5").returncode == 2
    done = run(str(tmp_path), "--memory", "1", "--sector", "30")
    assert done.returncode == 0, done.stderr
    assert "3 frames of 64 x 64 pixels" in done.stderr
    assert open_cube(tmp_path / NAME).shape == (64, 64, 3)


@pytest.mark.real
def test_real_frame(real: Path, tmp_path: Path) -> None:
    """A frame of sector 1, camera 1, CCD 4, cut to the columns whose uncertainties there are."""
    name = "tess2018206192942-s0001-1-4-0120-s_ffic"
    with fits.open(real / "ffi" / f"{name}.crop.fits") as hdus:
        flux, error = hdus[1].data[:, 44:128], hdus[2].data[:, 44:128]
        for hdu, data in ((hdus[1], flux), (hdus[2], error)):
            hdu.data = data
            hdu.header["CRVAL1P"] = 45
            hdu.header["CRPIX1"] = 1045 - 44
        hdus.writeto(tmp_path / f"{name}.fits")
        flux, error = flux.astype("f4"), error.astype("f4")
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / "sector001_camera1_ccd4.hdf5")
    assert cube.shape == (128, 84, 1)
    assert (cube.row_offset, cube.column_offset) == (0, 44)
    assert cube.attributes["CADENCE"] == 1800
    assert cube.attributes["TIME_OFFSET_CORRECTED"]
    assert cube.cadenceno.tolist() == [4697]
    # Release 1, camera 1, CCD 4: start -1.969 + 0.06 s.
    assert (cube.time_start[0] - 1325.318778691997) * 86400 == pytest.approx(-1.909, abs=1e-4)
    np.testing.assert_allclose(
        cube.images[:, :, 0] + cube.background.frame((128, 84), 0), flux, rtol=1e-6, atol=1e-4
    )
    np.testing.assert_array_equal(cube.images_err[:, :, 0], error)
    # The star's place in the full frame image does not depend on the cut.
    sky = cube.wcs.sky(np.array([100.0]), np.array([50.0]), 0)
    # From astropy and the uncut header.
    np.testing.assert_allclose(sky, [[319.5166541294379, -22.252728069634763]], atol=1e-9)


def test_damaged_catalog_is_found_before_the_work(made, tmp_path: Path) -> None:
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    catalog = tmp_path / "catalog_sector030_camera1_ccd1.sqlite"
    catalog.write_text("not a catalog")
    with pytest.raises(InputError, match="catalog") as error:
        prepare_folder(tmp_path)
    assert str(catalog) in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [catalog.name, "ffi"]


def test_frames_without_any_background(tmp_path: Path) -> None:
    for t in range(3):
        write_ffi(tmp_path, t, np.full((64, 64), np.nan))
    with pytest.raises(InputError, match=r"none of the 3 frames of .* has a background"):
        prepare_folder(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("sector")]


def test_full_disk_keeps_what_was_done(made, tmp_path: Path, monkeypatch) -> None:
    from tasoc_mpi.cubes import partial_cube

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    with monkeypatch.context() as patch:
        patch.setattr(partial_cube, "allocate_cube", full)
        with pytest.raises(InputError, match=r"No space left on device.*make room") as error:
            prepare_folder(tmp_path)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ffi", f"{NAME}.state"]
    monkeypatch.setattr(steps, "fit_background", lambda *a: pytest.fail("done before"))
    prepare_folder(tmp_path)
    assert contents(tmp_path / NAME) == contents(folder / NAME)


@pytest.mark.parametrize(("size", "left"), [(100_000, []), (900_000, [f"{NAME}.state"])])
def test_file_size_limit(made, tmp_path: Path, size: int, left: list[str]) -> None:
    """A disk that fills up, as far as a process can tell: state file, then cube. What was done is kept."""
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    full = subprocess.run(
        [sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "prepare", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert full.returncode == 1
    assert full.stderr.count("\n") == 1
    assert "make room" in full.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "ffi") == left
    prepare_folder(tmp_path)
    assert contents(tmp_path / NAME) == contents(folder / NAME)


def test_disk_that_fills_up_while_rows_are_written(made, tmp_path: Path, monkeypatch) -> None:
    """File systems that do not reserve: rows that are written stay, and are not written again."""
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    write, calls = steps.write_at, []

    def full(descriptor, place, data):
        calls.append(place)
        if len(calls) > 25:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, place, data)

    with monkeypatch.context() as patch:
        patch.setattr(steps, "write_at", full)
        with pytest.raises(InputError, match=r"\.part: cannot be written .*make room"):
            prepare_folder(tmp_path, PrepareOptions(memory=SMALL_MEMORY))
    with pytest.raises(InputError, match="unfinished"):
        open_cube(tmp_path / f"{NAME}.part")
    blocks, compute = [], steps.RowsStep.compute
    monkeypatch.setattr(steps.RowsStep, "compute", lambda *a: blocks.append(a[1]) or compute(*a))
    prepare_folder(tmp_path, PrepareOptions(memory=SMALL_MEMORY))
    assert min(blocks) > 0
    assert contents(tmp_path / NAME) == contents(folder / NAME)


def test_two_at_once(made, tmp_path: Path) -> None:
    """One makes the cube, the other one says who does."""
    folder, _, _ = made
    (tmp_path / "ffi").symlink_to(folder / "ffi")
    command = [sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "prepare", str(tmp_path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    for code, words in zip(codes, said, strict=True):
        assert code == 0 or ("in use by process" in words and words.count("\n") == 1)
    assert contents(tmp_path / NAME) == contents(folder / NAME)


def test_log_of_the_frames(tmp_path: Path) -> None:
    pixels = series(tmp_path, 10, SHAPE)
    replace_frame(tmp_path, 3, np.zeros(SHAPE))
    replace_frame(tmp_path, 4, pixels[4], DQUALITY=32)
    prepare_folder(tmp_path)
    with open(tmp_path / LOG, newline="") as file:
        rows = list(csv.DictReader(file))
    cube = open_cube(tmp_path / NAME)
    assert [row["frame"] for row in rows] == list(cube.frames)
    decisions = [row["decision"] for row in rows]
    assert decisions[3] == "left out: nothing but NaN or zero"
    assert decisions[4] == "used, but not in the sum image: quality"
    assert decisions.count("used") == 8
    assert [t for t, row in enumerate(rows) if row["wcs"] == "reference"] == [cube.ref_frame]
    assert float(rows[0]["background"]) == pytest.approx(np.median(cube.background.mesh[:, :, 0]), abs=0.01)
