"""The pictures of one star: written, whole, of a known size, whatever became of the star."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.names import catalog_name, cube_name
from tasoc_mpi.core.settings import mag2flux
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.one_star import tessphot
from tasoc_mpi.photometry.base import BasePhotometry
from tasoc_mpi.products.cube import (
    ATTRIBUTES,
    BackgroundModel,
    allocate_cube,
    finish_cube,
    write_background,
    write_wcs,
)
from tasoc_mpi.products.frame_wcs import FrameWCS
from tasoc_mpi.products.star_catalog import STAR_DTYPE, CatalogSettings, write_catalog
from tasoc_mpi.report import figures, star_plots
from tasoc_mpi.report.curve_plots import draw_series
from tasoc_mpi.report.mask_plots import mask_segments, show_image
from tasoc_mpi.report.results import Curve

ROWS, COLUMNS, FRAMES = 40, 42, 96
ORIGIN = (500, 600)
#: starid, tmag, row, column in the array.
STARS = [
    (101, 8.0, 12.3, 11.8),
    (102, 10.5, 19.6, 24.1),
    (103, 12.0, 21.9, 27.5),
    (104, 13.5, 30.2, 20.0),
    (105, 15.0, 8.0, 33.0),
    (106, 17.5, 25.0, 25.0),
]


def make_input(folder: Path) -> None:
    """A cube of one CCD's corner and its catalog, made by hand."""
    rng = np.random.default_rng(5)
    step = 0.05 * np.sin(np.arange(FRAMES) / 4.0)
    headers = [_header(600 + 20 + dx, 500 + 20 - dx / 2) for dx in step]
    wcs = FrameWCS.from_headers(headers)
    stars = np.zeros(len(STARS), STAR_DTYPE)
    sigma2, seconds = 1.0, 1425.6
    images = np.zeros((FRAMES, ROWS, COLUMNS), "f4")
    for i, (starid, tmag, row, column) in enumerate(STARS):
        sky = wcs.sky(np.array([column + ORIGIN[1]]), np.array([row + ORIGIN[0]]), 0)[0]
        stars[i] = (starid, *sky, *sky, 0.0, 0.0, tmag, 5500.0)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    for t in range(FRAMES):
        places = wcs.stars(stars["ra"], stars["decl"], t) - (ORIGIN[1], ORIGIN[0])
        for (column, row), star in zip(places, stars, strict=True):
            profile = np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / sigma2) / (2 * np.pi * sigma2)
            images[t] += mag2flux(star["tmag"]) * profile
    errors = np.sqrt((np.maximum(images, 0) + 100.0) / seconds).astype("f4")
    images += errors * rng.standard_normal(images.shape).astype("f4")
    quality = np.zeros(FRAMES, "i4")
    quality[[10, 11]], quality[50], quality[70] = 32, 4096 | 4, 2048
    images[10] = np.nan
    time = 1325.3 + np.arange(FRAMES) / 48.0
    attributes = dict.fromkeys(ATTRIBUTES, 0) | {
        "SECTOR": 1, "CAMERA": 1, "CCD": 1, "CADENCE": 1800, "DATA_REL": 1, "PROCVER": "hand", "NUM_FRM": 900,
        "NREADOUT": 720, "CRMITEN": True, "CRBLKSZ": 10, "PIXEL_OFFSET_ROW": ORIGIN[0],
        "PIXEL_OFFSET_COLUMN": ORIGIN[1],
    }  # fmt: skip
    path = folder / cube_name(1, 1, 1)
    allocate_cube(path, (ROWS, COLUMNS, FRAMES), attributes)
    with h5py.File(path, "r+") as file:
        write_wcs(file, wcs, [_text(header) for header in headers], 0)
        mesh = np.full((3, 3, FRAMES), 100.0, "f4")
        empty = np.zeros((0, FRAMES), "f4")
        write_background(file, BackgroundModel(mesh, 64, empty, 2400.0, 15.0, (2100.0, 2158.0), ORIGIN))
        for name, values in {
            "time": time, "timecorr": np.zeros(FRAMES),
            "time_start": time - 1 / 96, "time_stop": time + 1 / 96,
            "cadenceno": np.arange(FRAMES) + 4697, "quality": quality,
            "sumimage": np.nanmean(images[quality == 0], axis=0),
            "backgrounds_pixels_used": np.ones((ROWS, COLUMNS), bool),
        }.items():  # fmt: skip
            file[name] = values
        file["ephemeris"] = np.zeros((FRAMES, 3))
        file["ephemeris"].attrs["source"] = "none"
        names = np.array([f"{t}.fits" for t in range(FRAMES)], dtype=object)
        file.create_dataset("frames", data=names, dtype=h5py.string_dtype())
        flags = np.zeros((ROWS, COLUMNS, FRAMES), "u1")
        flags[19, 24, 80] = 4
        finish_cube(file)
        cubes = {name: file[name] for name in ("images", "images_err", "pixel_flags")}
        for (_, dataset), values in zip(
            cubes.items(), (np.moveaxis(images, 0, -1), np.moveaxis(errors, 0, -1), flags), strict=True
        ):
            dataset[...] = values
    footprint = "0,0;1,0;1,1;0,1"
    settings = CatalogSettings(1, 1, 1, "8.2", 2458325.3, 2018.6, 0.2, 0.0, 0.0, footprint)
    write_catalog(folder / catalog_name(1, 1, 1), settings, stars)


def _header(column: float, row: float) -> dict:
    scale = 21.0 / 3600
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 80.0, "CRVAL2": -60.0, "CRPIX1": column + 1,
        "CRPIX2": row + 1, "CD1_1": -scale, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale,
    }  # fmt: skip


def _text(header: dict) -> str:
    from astropy.io import fits

    return fits.Header(list(header.items())).tostring()


class SquarePhotometry(BasePhotometry):
    """Sums 3 x 3 pixels around the star."""

    def do_photometry(self) -> STATUS:
        row, column = round(self.target_pos_row_stamp), round(self.target_pos_column_stamp)
        mask = np.zeros(self.sumimage.shape, bool)
        mask[row - 1 : row + 2, column - 1 : column + 2] = True
        sums = self.sum_mask(mask)
        self.final_phot_mask = self.final_position_mask = mask
        self.set_lightcurve(sums.flux, sums.flux_err, sums.background, np.stack([sums.column, sums.row], -1))
        return STATUS.OK


class AperturePhotometry(SquarePhotometry):
    """By its name a method whose mask making is to be shown."""


class FailingPhotometry(BasePhotometry):
    """Makes nothing."""

    def do_photometry(self) -> STATUS:
        return STATUS.ERROR


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("input")
    make_input(path)
    return path


def run(cls: type[BasePhotometry], folder: Path, starid: int = 102) -> BasePhotometry:
    pho = cls(starid, folder, folder / "output", sector=1, camera=1, ccd=1)
    pho.photometry()
    return pho


def picture(path: Path) -> np.ndarray:
    """The pixels of a PNG file as (height, width, 3) bytes."""
    from matplotlib.image import imread

    return np.rint(255 * imread(path)[:, :, :3]).astype(int)


def count(path: Path, colour: str) -> int:
    """Number of pixels of a colour."""
    rgb = [int(figures.COLOURS[colour][k : k + 2], 16) for k in (1, 3, 5)]
    return int((np.abs(picture(path) - rgb).max(axis=2) <= 2).sum())


def test_the_pictures_of_a_star_have_their_size_and_hold_what_they_show(folder, tmp_path):
    pho = run(AperturePhotometry, folder)
    paths = star_plots.plot_star(pho, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["sumimage.png", "lightcurve.png", "centroid.png", "mask.png"]
    assert sorted(path.name for path in paths) == sorted(p.name for p in (tmp_path / "new/folder").iterdir())
    sizes = [picture(path).shape[:2] for path in paths]
    assert sizes == [(770, 825), (880, 1210), (770, 1210), (880, 1320)]
    for path in paths:
        assert len(np.unique(picture(path).reshape(-1, 3), axis=0)) > 50
    # The outline of 3 x 3 pixels in orange; both circles in their colours.
    assert count(paths[0], "orange") > 500
    assert count(paths[0], "red") > 30
    assert count(paths[0], "blue") > 100


@pytest.mark.parametrize("method", ["linpsf", "psf"])
def test_a_fit_has_its_data_model_and_residual(folder, tmp_path, method):
    with tessphot(method, 102, folder, tmp_path, sector=1, camera=1, ccd=1, plot=True) as pho:
        path = Path(pho.plot_folder) / "psf.png"
        assert picture(path).shape[:2] == (880, 1540)
        # The target's crosses, its neighbour's, and the good frames.
        assert count(path, "red") > 30
        assert count(path, "orange") > 10
        assert np.isfinite(pho.residual).sum() == 121
        assert np.flatnonzero(np.isnan(pho.chi_square)).tolist() == [10]
        pho.residual, pho.chi_square = np.empty((0, 0)), np.empty(0)
        (empty,) = [p for p in star_plots.plot_star(pho, tmp_path / "failed") if p.name == "psf.png"]
        assert count(empty, "black") < count(path, "black")
        assert count(empty, "red") > 30


def test_the_same_star_gives_the_same_bytes(folder, tmp_path):
    first = star_plots.plot_star(run(SquarePhotometry, folder), tmp_path / "a")
    second = star_plots.plot_star(run(SquarePhotometry, folder), tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len(first) == 3  # another method makes no mask of this kind


def test_a_star_that_failed_has_pictures_too(folder, tmp_path):
    pho = run(FailingPhotometry, folder)
    assert pho.status == STATUS.ERROR
    paths = star_plots.plot_star(pho, tmp_path)
    assert len(paths) == 3
    assert count(paths[0], "orange") == 0  # no mask, no outline
    assert count(paths[0], "red") > 30


def test_an_aperture_star_that_failed_shows_how_far_it_came(folder, tmp_path):
    pho = run(AperturePhotometry, folder)
    pho.final_phot_mask = None
    pho.lightcurve["flux"] = -1.0
    pho.lightcurve["pos_centroid"] = np.nan
    assert (tmp_path / "mask.png") in star_plots.plot_star(pho, tmp_path)


def test_images_without_a_finite_pixel(folder, tmp_path):
    pho = run(AperturePhotometry, folder)
    pho.sumimage[...] = np.nan
    assert len(star_plots.plot_star(pho, tmp_path)) == 4


@pytest.mark.real
def test_a_real_target_pixel_file(real, tmp_path):
    name = "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz"
    shutil.copy(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz", tmp_path / name)
    pho = AperturePhotometry(25155310, tmp_path, tmp_path, datasource="tpf", sector=1)
    pho.photometry()
    assert len(star_plots.plot_star(pho, tmp_path / "plots")) == 4


def test_without_matplotlib_the_line_says_how_to_get_it(folder, tmp_path, monkeypatch):
    pho = run(SquarePhotometry, folder)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'tasoc-mpi\[plot\]'"):
        star_plots.plot_star(pho, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_is_one_line(folder, tmp_path):
    figure = figures.new_figure(1, 1)
    with pytest.raises(InputError, match=r"nowhere/x.png: cannot be written"):
        figures.save_figure(figure, tmp_path / "nowhere" / "x.png")


def test_no_global_state_of_matplotlib():
    code = (
        "import sys; from tasoc_mpi.report import figures, star_plots;"
        "assert 'matplotlib' not in sys.modules;"
        "figures.new_figure(1, 1); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_an_outline_is_closed_and_as_long_as_the_rim(mask):
    segments = mask_segments(mask, (100, 100 + mask.shape[0], 7, 7 + mask.shape[1]))
    padded = np.pad(mask, 1).astype(int)
    rim = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    assert len(segments) == rim
    lengths = np.abs(segments[:, 1] - segments[:, 0])
    assert np.array_equal(np.sort(lengths, axis=1), np.tile([0.0, 1.0], (rim, 1)))
    ends, degree = np.unique(segments.reshape(-1, 2), axis=0, return_counts=True)
    assert not (degree % 2).any()
    # Each side lies between a pixel of the mask and one that is not.
    for x, y in segments.mean(axis=1):
        sides = [(y, x - 0.5), (y, x + 0.5)] if x % 1 == 0.5 else [(y - 0.5, x), (y + 0.5, x)]
        inside = [bool(padded[round(r - 100) + 1, round(c - 7) + 1]) for r, c in sides]
        assert inside in ([True, False], [False, True])
    assert len(ends) >= (4 if mask.any() else 0)


@settings(deadline=None)
@given(arrays("f8", st.integers(1, 300), elements=st.floats(-1e6, 1e6)))
def test_robust_limits_hold_nearly_all_values(values):
    low, high = figures.robust_limits(values)
    assert low < high
    assert ((values >= low) & (values <= high)).mean() >= 0.98


def test_an_outlier_does_not_set_the_limits():
    low, high = figures.robust_limits(np.append(np.linspace(-1, 1, 1000), 1e5))
    assert -2 < low < -1 < 1 < high < 3
    assert figures.robust_limits(np.array([np.nan])) is None


def test_units_that_read_well():
    assert figures.relative_unit(np.linspace(-0.002, 0.002, 100)) == (1e6, "ppm")
    assert figures.relative_unit(np.linspace(-0.1, 0.1, 100)) == (1e2, "%")


@pytest.mark.parametrize("value", [0.0, -3.0, 1e38, -1e300])
def test_an_image_of_one_value_is_shown(value):
    figure = figures.new_figure(3, 3)
    image = show_image(figure.add_subplot(), np.full((3, 4), value), (10, 13, 20, 24))
    figure.canvas.draw()
    low, high = image.get_clim()
    assert low < value < high


@pytest.mark.parametrize(("errors", "shown"), [(-1.0, 0), (np.inf, 0), (2.0, 1)])
def test_an_error_that_is_none_is_not_drawn(errors, shown):
    time, flags = np.arange(9.0), np.zeros(9, "i4")
    flux, unknown = np.full(9, 100.0), np.full(9, np.nan)
    curve = Curve(
        Path("lc"),
        np.ones((1, 1), bool),
        (0, 0),
        time,
        flux,
        np.full(9, errors),
        unknown,
        flags,
        flags,
        flags,
        unknown,
    )
    axes = figures.new_figure(3, 3).add_subplot()
    draw_series(axes, curve, np.zeros(9), 1.0)
    assert axes.get_legend_handles_labels()[1].count("median error") == shown
