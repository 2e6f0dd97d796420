"""`BasePhotometry` on a simulated CCD: its interface, pixels, stars, times and light curve files."""

from __future__ import annotations

import inspect
import logging
import sqlite3
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from todo_rows import load_todo

from tasoc_mpi import STATUS, BasePhotometry, tessphot
from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.core.sphere import unit_vectors
from tasoc_mpi.models.barycentre import ephemeris
from tasoc_mpi.photometry.load_sources import load_ffi
from tasoc_mpi.photometry.stamp import default_size
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.frame_wcs import FrameWCS
from tasoc_mpi.products.star_catalog import open_catalog, write_catalog
from tasoc_mpi.report.results import read_curve


class Box(BasePhotometry):
    """Sums 3 x 3 pixels, as a scientist would write it."""

    def do_photometry(self) -> STATUS:
        columns, rows = self.get_pixel_grid()
        distance = np.maximum(abs(columns - 1 - self.target_pos_column), abs(rows - 1 - self.target_pos_row))
        mask = distance < 1.5
        self.lightcurve["flux"] = self.images_cube[mask].sum(axis=0)
        self.lightcurve["flux_err"] = np.sqrt((self.images_err_cube[mask] ** 2).sum(axis=0))
        self.lightcurve["flux_background"] = self.backgrounds_cube[mask].sum(axis=0)
        self.final_phot_mask = mask
        return STATUS.OK


WHERE = {"sector": 1, "camera": 1, "ccd": 1}


@pytest.fixture
def stars(simulated):
    """TIC numbers of stars in the middle of the CCD, brightest first."""
    todo = load_todo(simulated.folder / "todo.sqlite")
    cube = open_cube(simulated.folder / "sector001_camera1_ccd1.hdf5")
    found = []
    for starid in todo[todo["datasource"] == "ffi"]["starid"]:
        with Box(int(starid), simulated.folder, "unused", **WHERE) as pho:
            row, column = pho.target_pos_row - cube.row_offset, pho.target_pos_column - cube.column_offset
            if 30 < row < 66 and 30 < column < 66 and pho.target["tmag"] > 9:
                found.append(int(starid))
    return found


@pytest.fixture
def pho(simulated, stars, tmp_path):
    with Box(stars[0], simulated.folder, tmp_path, **WHERE) as photometry:
        yield photometry


# --- The interface -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (
            "__init__",
            "self starid input_folder output_folder datasource='ffi' sector=None camera=None ccd=None "
            "cadence=None plot=False cache='basic' version=6",
        ),
        ("catalog_attime", "self time"),
        ("clear_cache", "self"),
        ("close", "self"),
        ("default_stamp", "self"),
        ("delete_plots", "self"),
        ("do_photometry", "self"),
        ("get_pixel_grid", "self"),
        ("photometry", "self *args **kwargs"),
        ("report_details", "self error=None skip_targets=None"),
        ("resize_stamp", "self down=None up=None left=None right=None width=None height=None"),
        ("save_lightcurve", "self output_folder=None version=None"),
    ],
)
def test_signatures(name, parameters):
    found = inspect.signature(getattr(BasePhotometry, name)).parameters.values()
    words = []
    for p in found:
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        words.append(f"{star}{p.name}" + ("" if p.default is p.empty else f"={p.default!r}"))
    assert " ".join(words) == parameters


def test_attributes(pho, simulated):
    names = """
        starid input_folder output_folder plot plot_folder method sector camera ccd data_rel n_readout
        header target target_pos_column target_pos_row target_pos_column_stamp target_pos_row_stamp wcs
        lightcurve final_phot_mask final_position_mask additional_headers MovementKernel aperture
        backgrounds backgrounds_cube catalog images images_cube images_err images_err_cube pixelflags
        pixelflags_cube psf settings stamp status sumimage
    """
    for name in names.split():
        assert hasattr(pho, name), name
    assert pho.method == "box"
    assert pho.status is STATUS.UNKNOWN
    assert pho.data_rel == pho.header["DATA_REL"]
    assert pho.n_readout == 720
    assert {"starid", "tmag", "ra", "decl", "pm_ra", "pm_decl", "teff"} <= set(pho.target)


def test_base_class_does_no_photometry(simulated, stars, tmp_path):
    with (
        BasePhotometry(stars[0], simulated.folder, tmp_path, **WHERE) as pho,
        pytest.raises(NotImplementedError),
    ):
        pho.photometry()


# --- Pixels ------------------------------------------------------------------------------------------


def test_pixels_are_those_of_the_cube(pho, simulated):
    cube = open_cube(simulated.folder / "sector001_camera1_ccd1.hdf5")
    row_min, row_max, col_min, col_max = pho.stamp
    rows = slice(row_min - cube.row_offset, row_max - cube.row_offset)
    columns = slice(col_min - cube.column_offset, col_max - cube.column_offset)
    np.testing.assert_array_equal(pho.images_cube, cube.images[rows, columns])
    np.testing.assert_array_equal(pho.images_err_cube, cube.images_err[rows, columns])
    np.testing.assert_array_equal(pho.pixelflags_cube, cube.pixel_flags[rows, columns])
    np.testing.assert_array_equal(pho.sumimage, cube.sumimage[rows, columns])
    whole = cube.background.frame(cube.shape[:2], 5)
    np.testing.assert_allclose(pho.backgrounds_cube[:, :, 5], whole[rows, columns], rtol=1e-5)
    for iterator, block in (
        (pho.images, pho.images_cube),
        (pho.images_err, pho.images_err_cube),
        (pho.backgrounds, pho.backgrounds_cube),
        (pho.pixelflags, pho.pixelflags_cube),
    ):
        np.testing.assert_array_equal(np.stack(list(iterator), axis=-1), block)


def test_sum_of_a_mask_is_the_sum_of_its_pixels(pho):
    mask = np.zeros(pho.sumimage.shape, dtype=bool)
    mask[6:9, 5:9] = True
    sums = pho.sum_mask(mask)
    np.testing.assert_allclose(sums.flux, pho.images_cube[mask].sum(axis=0, dtype="f8"), rtol=1e-10)
    np.testing.assert_allclose(sums.background, pho.backgrounds_cube[mask].sum(axis=0, dtype="f8"), rtol=1e-6)
    columns, rows = pho.get_pixel_grid()
    light = np.maximum(pho.images_cube[mask].astype("f8"), 0)
    np.testing.assert_allclose(sums.column, (light * columns[mask][:, None]).sum(axis=0) / light.sum(axis=0))
    np.testing.assert_allclose(sums.row, (light * rows[mask][:, None]).sum(axis=0) / light.sum(axis=0))


@pytest.mark.parametrize(
    "mask",
    [np.zeros((15, 15), bool), np.ones((3, 3), bool), np.full((15, 15), 0.5), np.ones((15, 15), int), None],
)
def test_impossible_masks(pho, mask):
    """Weights are no mask."""
    with pytest.raises(ValueError, match=r"mask: an array of bool of shape \(15, 15\)|the mask has no pixel"):
        pho.sum_mask(mask)


@pytest.mark.parametrize("pixels", [1.5, np.nan, "a", True, [1]])
@pytest.mark.parametrize("name", ["up", "left", "width", "height"])
def test_stamps_have_whole_pixels(pho, name, pixels):
    before = pho.stamp
    with pytest.raises(UsageError, match=f"{name} .*: a whole number is needed"):
        pho.resize_stamp(**{name: pixels})
    assert pho.stamp == before


@pytest.mark.parametrize("frame", [48, -49, 1.5, np.nan, "a"])
def test_frames_that_are_not_there(pho, frame):
    with pytest.raises(UsageError, match="frame"):
        pho.design_matrix([[1.0, 2.0]], frame)


@pytest.mark.parametrize("time", [np.nan, None, "a", [1326.0]])
def test_a_catalog_is_of_one_known_time(pho, time):
    with pytest.raises(UsageError, match="one known time is needed"):
        pho.catalog_attime(time)


def test_default_stamp_is_around_the_star(pho):
    assert pho.default_stamp() == default_size(pho.target["tmag"])
    row_min, row_max, col_min, col_max = pho.stamp
    assert (row_max - row_min, col_max - col_min) == (15, 15)
    assert (row_min + row_max - 1) / 2 == round(pho.target_pos_row)
    assert (col_min + col_max - 1) / 2 == round(pho.target_pos_column)
    assert pho.target_pos_row_stamp == pytest.approx(pho.target_pos_row - row_min)
    columns, rows = pho.get_pixel_grid()
    assert columns[0, 0] == col_min + 1
    assert rows[-1, 0] == row_max
    assert columns.shape == pho.sumimage.shape


@pytest.mark.parametrize(
    ("tmag", "size"),
    [
        (0.0, (832, 158)),
        (4.737, (29, 29)),
        (3.158, (68, 46)),
        (10.0, (15, 15)),
        (18.0, (15, 15)),
        (np.nan, (15, 15)),
    ],
)
def test_default_sizes(tmag, size):
    assert default_size(tmag) == size


def test_resizing(pho):
    row_min, row_max, col_min, col_max = pho.stamp
    assert pho.images_err_cube.shape[:2] == (15, 15)
    assert pho.resize_stamp(down=2, up=1, left=3)
    assert pho.stamp == (row_min - 2, row_max + 1, col_min - 3, col_max)
    assert pho.images_cube.shape == pho.images_err_cube.shape == pho.backgrounds_cube.shape
    assert pho.images_cube.shape[:2] == pho.sumimage.shape == pho.aperture.shape == (18, 18)
    assert not pho.resize_stamp()
    assert pho.resize_stamp(width=5, height=7, up=100)
    assert pho.sumimage.shape == (7, 5)
    assert 0 <= pho.target_pos_row_stamp < 7
    assert pho.resize_stamp(down=5000, up=5000, left=5000, right=5000)
    assert pho.sumimage.shape == (96, 96)
    assert not pho.resize_stamp(up=1)
    with pytest.raises(InputError, match="nothing would be left"):
        pho.resize_stamp(up=-200)


@pytest.mark.parametrize("cache", ["none", "full"])
def test_caches_differ_in_nothing_but_memory(simulated, stars, tmp_path, cache):
    results = []
    for mode in ("basic", cache):
        with Box(stars[1], simulated.folder, tmp_path, **WHERE, cache=mode) as pho:
            pho.photometry()
            results.append((pho.lightcurve.as_array().tobytes(), repr(pho.result)))
    assert results[0] == results[1]


# --- Stars and motion --------------------------------------------------------------------------------


def test_catalog_is_the_stars_in_and_around_the_stamp(pho, simulated):
    everything = open_catalog(simulated.folder / "catalog_sector001_camera1_ccd1.sqlite").stars
    header = fits.Header.fromstring(pho._source.wcs_header)
    column, row = WCS(header).all_world2pix(everything["ra"], everything["decl"], 0)
    row_min, row_max, col_min, col_max = pho.stamp
    inside = (
        (row >= row_min - 5.5)
        & (row <= row_max + 4.5)
        & (column >= col_min - 5.5)
        & (column <= col_max + 4.5)
    )
    table = pho.catalog
    assert set(table["starid"]) == set(everything["starid"][inside])
    assert pho.starid in table["starid"]
    order = np.argsort(everything["starid"][inside])
    np.testing.assert_allclose(table["column"], column[inside][order], atol=1e-6)
    np.testing.assert_allclose(table["row_stamp"], row[inside][order] - row_min, atol=1e-6)


@pytest.mark.parametrize("frame", [0, 17, 47])
def test_catalog_at_the_time_of_a_frame_is_that_frames_wcs(pho, frame):
    cube = pho._source.cube
    table = pho.catalog_attime(pho.lightcurve["time"][frame])
    places = WCS(fits.Header.fromstring(cube.wcs_headers[frame])).all_world2pix(table["ra"], table["dec"], 0)
    np.testing.assert_allclose(table["column"], places[0], atol=1e-6)
    np.testing.assert_allclose(table["row"], places[1], atol=1e-6)
    (i,) = np.flatnonzero(table["starid"] == pho.starid)
    moved = np.array([table["column"][i], table["row"][i]]) - [pho.target_pos_column, pho.target_pos_row]
    np.testing.assert_allclose(pho.lightcurve["pos_corr"][frame], moved, atol=1e-6)


def test_no_positions_before_the_first_frame(pho):
    with pytest.raises(ValueError, match="outside"):
        pho.catalog_attime(pho.lightcurve["time"][0] - 1)


def test_times_are_those_of_the_stars_own_direction(pho):
    source = pho._source
    spacecraft = source.time - source.timecorr
    positions, _ = ephemeris(spacecraft, source.timecorr, *_centre(source))
    expected = spacecraft + positions @ unit_vectors(pho.target["ra"], pho.target["decl"])
    np.testing.assert_allclose(pho.lightcurve["time"], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        pho.lightcurve["time"] - pho.lightcurve["timecorr"], spacecraft, rtol=0, atol=1e-9
    )


def _centre(source):
    """Where BARYCORR holds: column 1068, row 1024 (1-based) of the reference frame."""
    return source.cube.wcs.sky(np.array([1067.0]), np.array([1023.0]), source.cube.ref_frame)[0]


# --- Photometry --------------------------------------------------------------------------------------


def test_a_star_has_its_flux(pho):
    pho.photometry()
    assert pho.status is STATUS.OK
    expected = 10 ** (-0.4 * (pho.target["tmag"] - 20.451))
    assert 0.6 * expected < pho.result.mean_flux < 1.1 * expected
    assert pho.result.mask_size == 9
    assert pho.result.rms_hour < 0.1


def test_two_stars_share_nothing(simulated, stars, tmp_path):
    first = Box(stars[0], simulated.folder, tmp_path, **WHERE)
    first.photometry()
    before = np.array(first.lightcurve["flux"])
    second = Box(stars[1], simulated.folder, tmp_path, **WHERE)
    second.photometry()
    np.testing.assert_array_equal(first.lightcurve["flux"], before)
    assert first.lightcurve is not second.lightcurve
    first.lightcurve["time"][:] = 0
    assert second.lightcurve["time"][0] > 0
    assert Box(stars[0], simulated.folder, tmp_path, **WHERE).lightcurve["time"][0] > 0


def test_no_log_handler_stays(simulated, stars, tmp_path):
    before = [list(logging.getLogger(name).handlers) for name in (None, "tasoc_mpi", "tasoc_mpi.photometry")]
    for starid in stars[:3]:
        with Box(starid, simulated.folder, tmp_path, **WHERE) as pho:
            pho.photometry()
    assert before == [
        list(logging.getLogger(name).handlers) for name in (None, "tasoc_mpi", "tasoc_mpi.photometry")
    ]


def test_warnings_of_the_log_are_reported(simulated, stars, tmp_path):
    class Talks(Box):
        def do_photometry(self):
            self.logger.info("not worth reporting")
            self.logger.warning("TIC %d looks odd", self.starid)
            self.report_details(error="and so it is", skip_targets=[np.int64(5)])
            return super().do_photometry()

    with Talks(stars[0], simulated.folder, tmp_path, **WHERE) as pho:
        pho.photometry()
        assert sorted(pho.result.errors) == sorted(["and so it is", f"TIC {stars[0]} looks odd"])
        assert pho.result.skip_targets == [5]


@pytest.mark.parametrize("column", ["flux", "flux_err"])
def test_light_curves_without_a_value_are_an_error(simulated, stars, tmp_path, column):
    class Empty(Box):
        def do_photometry(self):
            super().do_photometry()
            self.lightcurve[column] = np.nan
            return STATUS.OK

    with Empty(stars[0], simulated.folder, tmp_path, **WHERE) as pho:
        with pytest.raises(ValueError, match="all NaN"):
            pho.photometry()
        assert pho.status is STATUS.ERROR


def test_a_flux_below_zero_is_no_relative_light_curve(simulated, stars, tmp_path):
    class Negative(Box):
        def do_photometry(self):
            super().do_photometry()
            self.lightcurve["flux"] -= 1e6
            return STATUS.OK

    with Negative(stars[0], simulated.folder, tmp_path, **WHERE) as pho:
        pho.photometry()
        assert pho.status is STATUS.WARNING
        assert "median flux" in pho.result.errors[0]
        assert np.isnan(pho.result.rms_hour)


@pytest.mark.parametrize("answer", [None, STATUS.UNKNOWN, STATUS.STARTED, "fine"])
def test_a_method_has_to_say_how_it_ended(simulated, stars, tmp_path, answer):
    class Vague(Box):
        def do_photometry(self):
            return answer

    with (
        Vague(stars[0], simulated.folder, tmp_path, **WHERE) as pho,
        pytest.raises(ValueError, match="final status"),
    ):
        pho.photometry()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("final_phot_mask", np.ones((2, 2), bool), "final_phot_mask: an array of bool"),
        ("final_phot_mask", [[True]], "final_phot_mask: an array of bool"),
        ("final_position_mask", np.ones((2, 2)), "final_position_mask: an array of bool"),
        ("failed_frames", np.zeros(3, bool), "failed_frames: an array of bool"),
        ("flux", np.inf, "infinite"),
        ("contamination", "high", "contamination 'high': a share, or NaN"),
        ("contamination", None, "contamination None: a share, or NaN"),
        ("contamination", np.inf, "contamination inf: a share, or NaN"),
        ("flux_err", -1.0, "negative"),
        ("flux", np.ones((48, 2)), "column flux of the light curve"),
        ("flux", np.full(48, "a"), "column flux of the light curve"),
        ("flux", np.full(48, 1j), "column flux of the light curve"),
        ("flux", u.Quantity(np.ones(48), "mJy"), "column flux of the light curve: its unit is mJy, not elec"),
        ("pos_centroid", np.ones(48), "column pos_centroid of the light curve"),
    ],
)
def test_what_a_method_leaves_is_checked(simulated, stars, tmp_path, name, value, reason):
    class Sloppy(Box):
        def do_photometry(self):
            status = super().do_photometry()
            if name in self.lightcurve.colnames:
                self.lightcurve[name] = value
            else:
                setattr(self, name, value)
            return status

    with Sloppy(stars[0], simulated.folder, tmp_path, **WHERE) as pho:
        with pytest.raises(ValueError, match=reason):
            pho.photometry()
        assert pho.status is STATUS.ERROR


def test_a_column_that_was_removed_is_named(simulated, stars, tmp_path):
    class Less(Box):
        def do_photometry(self):
            status = super().do_photometry()
            self.lightcurve.remove_column("flux_err")
            return status

    with (
        Less(stars[0], simulated.folder, tmp_path, **WHERE) as pho,
        pytest.raises(UsageError, match="column flux_err of the light curve is missing"),
    ):
        pho.photometry()


def test_a_report_is_text_and_numbers(simulated, stars, tmp_path):
    with Box(stars[0], simulated.folder, tmp_path, **WHERE) as pho:
        pho.report_details(error=ValueError("no star"), skip_targets=np.array([5, 7]))
        assert (pho.result.errors, pho.result.skip_targets) == (["no star"], [5, 7])
        assert "no star" in pho._repr_html_()
        for wrong in (5, "57", [5.5], ["a"], [-1], [2**63]):
            with pytest.raises(UsageError, match="skip_targets"):
                pho.report_details(skip_targets=wrong)


def test_masked_fluxes_are_unknown(simulated, stars, tmp_path):
    class Masked(Box):
        def do_photometry(self):
            status = super().do_photometry()
            self.lightcurve["flux"] = np.ma.masked_greater(self.lightcurve["flux"], -np.inf)
            self.lightcurve["flux"].mask[3:] = False
            return status

    with Masked(stars[0], simulated.folder, tmp_path, **WHERE) as pho:
        pho.photometry()
        with fits.open(pho.save_lightcurve()) as hdus:
            assert np.isnan(hdus[1].data["FLUX_RAW"]).tolist() == [True] * 3 + [False] * 45


def test_methods_that_separate_neighbours_skip_none(simulated, stars, tmp_path):
    class Separating(Box):
        skips_neighbours = False

        def do_photometry(self):
            self.report_details(skip_targets=[5])
            return super().do_photometry()

    with Separating(stars[0], simulated.folder, tmp_path, **WHERE) as pho:
        pho.photometry()
        assert pho.status is STATUS.OK
        assert pho.result.skip_targets == []


# --- The file ----------------------------------------------------------------------------------------


def test_the_file_says_what_was_done(pho, tmp_path):
    pho.additional_headers["BOX_SIZE"] = (3, "[pixel] side of the box")
    pho.photometry()
    path = Path(pho.save_lightcurve(version=9))
    assert path.name == f"tess{pho.starid:011d}-s001-1-1-c1800-dr{pho.data_rel:02d}-v09-tasoc_lc.fits.gz"
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["PHOTMET"] == "box"
        assert hdus[0].header["BOX_SIZE"] == 3
        assert hdus[0].header["VERSION"] == 9
        assert hdus[0].header["OBJECT"] == f"TIC {pho.starid}"
        np.testing.assert_array_equal(
            hdus[1].data["FLUX_RAW"], np.asarray(pho.lightcurve["flux"], dtype="f8")
        )
        np.testing.assert_array_equal(hdus[1].data["PIXEL_QUALITY"], pho.lightcurve["quality"])
        aperture = hdus["APERTURE"].data
        np.testing.assert_array_equal((aperture & 2) != 0, pho.final_phot_mask)
        assert np.all(aperture & 1)
        # Outputs A to D are 512 columns each, from column 45 (1-based) on.
        columns, _ = pho.get_pixel_grid()
        np.testing.assert_array_equal(aperture & 480, 32 * 2 ** ((columns - 45) // 512))
        place = WCS(hdus["SUMIMAGE"].header).all_world2pix([[pho.target["ra"], pho.target["decl"]]], 0)[0]
        np.testing.assert_allclose(place, [pho.target_pos_column_stamp, pho.target_pos_row_stamp], atol=1e-6)
        assert hdus["SUMIMAGE"].header["CRVAL1P"] == pho.stamp[2] + 1
        header = hdus[1].header
        assert header["TIMEDEL"] == pytest.approx(1800 / 86400)
        assert header["DEADC"] == pytest.approx(0.792)
        assert header["XPOSURE"] == pytest.approx(1800 * 0.792)
        assert header["TSTART"] == pytest.approx(pho.lightcurve["time"][0] - 900 / 86400)


def test_positions_of_all_stars_in_all_frames(pho):
    positions, catalog = pho.star_positions, pho.catalog
    assert positions.shape == (len(catalog), 48, 2)
    own = int(np.flatnonzero(catalog["starid"] == pho.starid)[0])
    place = [pho.target_pos_column, pho.target_pos_row]
    np.testing.assert_allclose(positions[own] - place, pho.lightcurve["pos_corr"], atol=1e-9)
    for frame in (0, 20, 47):
        table = pho.catalog_attime(pho.lightcurve["time"][frame])
        expected = np.stack([table["column"], table["row"]], axis=-1)
        np.testing.assert_allclose(positions[:, frame], expected, atol=1e-6)


def test_a_star_moves_the_same_whatever_stars_are_expected_with_it(simulated):
    source = load_ffi(simulated.folder, 1, 1, 1)
    some = [7, 3, 11, 2, 19, 5, 23, 1, 13, 4, 8]
    alone = {i: source.star_motion(i) for i in [*some, 6]}
    source.expect(some)
    # In another order, one that is not expected, and one twice.
    for i in [*some[:3], 6, 8, 4, *some[3:], 3]:
        np.testing.assert_array_equal(source.star_motion(i), alone[i])


def test_design_matrix_is_the_image_of_each_star(pho):
    frame = 20
    images = pho.design_matrix(pho.star_positions[:, frame], frame)
    assert images.shape == (len(pho.catalog), *pho.sumimage.shape)
    row_min, _, col_min, _ = pho.stamp
    flux = 10.0 ** (-0.4 * (np.asarray(pho.catalog["tmag"]) - 20.451))
    column, row = pho.star_positions[:, frame].T
    stars = np.stack([row - row_min, column - col_min, flux], axis=1)
    drawn = pho.psf.integrate_to_image(stars, cutoff_radius=None)
    np.testing.assert_allclose(np.tensordot(flux, images, 1), drawn, rtol=1e-9, atol=1e-9)
    # The fluxes of the stars inside of the stamp are found again in the image by least squares.
    own = int(np.flatnonzero(pho.catalog["starid"] == pho.starid)[0])
    design = np.concatenate([images.reshape(len(images), -1), np.ones((1, images[0].size))])
    fitted = np.linalg.lstsq(design.T, pho.images_cube[:, :, frame].ravel(), rcond=None)[0]
    assert fitted[own] == pytest.approx(flux[own], rel=0.1)
    # Derivatives, in the order of positions: by column, and by row.
    places = pho.star_positions[:, frame]
    with_slopes = pho.design_matrix(places, frame, derivatives=True)
    np.testing.assert_array_equal(with_slopes[:, 0], images)
    for axis, step in ((1, [1e-5, 0.0]), (2, [0.0, 1e-5])):
        change = pho.design_matrix(places + step, frame) - pho.design_matrix(places - step, frame)
        np.testing.assert_allclose(with_slopes[own, axis], change[own] / 2e-5, atol=1e-4)
        assert abs(with_slopes[own, axis]).max() > 0.05
    far = pho.design_matrix([[np.nan, np.nan], [0.0, 0.0]])
    assert not far.any()
    with pytest.raises(ValueError, match="positions of shape"):
        pho.design_matrix([1.0, 2.0])


def test_a_method_adds_cards_and_hdus(pho):
    pho.photometry()
    pho.additional_headers["BOX_NOTE"] = ("a", "comment")
    residual = np.arange(pho.sumimage.size, dtype="f4").reshape(pho.sumimage.shape)
    pho.add_hdu("RESIDUAL", np.zeros((2, 2)))
    pho.add_hdu("RESIDUAL", residual, {"BOX_CHI2": (1.5, "chi-square")}, {"": "e-/s"})
    table = np.zeros(2, [("STARID", "i8"), ("FLUX", "f4", 48)])
    pho.add_hdu("STARS", table, units={"FLUX": "e-/s"})
    path = pho.save_lightcurve()
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        names = ["PRIMARY", "LIGHTCURVE", "SUMIMAGE", "APERTURE", "RESIDUAL", "STARS"]
        assert [hdu.name for hdu in hdus] == names
        assert hdus[0].header["NEXTEND"] == 5
        assert hdus[0].header["BOX_NOTE"] == "a"
        np.testing.assert_array_equal(hdus["RESIDUAL"].data, residual)
        assert hdus["RESIDUAL"].header["BOX_CHI2"] == 1.5
        place = WCS(hdus["RESIDUAL"].header).all_world2pix([[pho.target["ra"], pho.target["decl"]]], 0)[0]
        np.testing.assert_allclose(place, [pho.target_pos_column_stamp, pho.target_pos_row_stamp], atol=1e-6)
        assert hdus["STARS"].data["FLUX"].shape == (2, 48)
    curve = read_curve(path)
    np.testing.assert_array_equal(curve.mask, pho.final_phot_mask)
    with pytest.raises(UsageError, match="APERTURE: every light curve"):
        pho.add_hdu("APERTURE", residual)


@pytest.mark.parametrize("keyword", ["TICID", "box", "EXTNAME"])
def test_cards_of_the_file_itself_cannot_be_set(pho, keyword):
    pho.photometry()
    pho.additional_headers[keyword] = (3, "")
    with pytest.raises(UsageError, match=f"header card '{keyword}'"):
        pho.save_lightcurve()


def test_shenanigans_of_the_stamp_are_in_the_quality(simulated, stars, tmp_path):
    folder = simulated.copy(tmp_path)
    with Box(stars[0], folder, tmp_path, **WHERE) as pho:
        row_min, _, col_min, _ = pho.stamp
    with h5py.File(folder / "sector001_camera1_ccd1.hdf5", "r+") as file:
        row, column = (file["images"].attrs[f"PIXEL_OFFSET_{name}"] for name in ("ROW", "COLUMN"))
        file["pixel_flags"][...] = 0
        file["pixel_flags"][row_min - row, col_min - column, 11] = 4
        file["pixel_flags"][row_min - row - 1, col_min - column, 12] = 4  # outside of the stamp
        file["pixel_flags"][row_min - row + 3, col_min - column, 13] = 1  # another flag
    with Box(stars[0], folder, tmp_path, **WHERE) as pho:
        pho.photometry()
        with fits.open(pho.save_lightcurve()) as hdus:
            expected = np.zeros(48, dtype=int)
            expected[11] = 256
            np.testing.assert_array_equal(hdus[1].data["QUALITY"], expected)


@pytest.mark.parametrize("mitigated", [True, h5py.Empty("?")])
def test_what_is_not_known_of_the_frames_has_no_card(simulated, stars, tmp_path, mitigated):
    folder = simulated.copy(tmp_path)
    with h5py.File(folder / "sector001_camera1_ccd1.hdf5", "r+") as file:
        # Of headers without these cards.
        attributes = file["images"].attrs
        attributes["CRMITEN"], attributes["CRBLKSZ"], attributes["PROCVER"] = mitigated, 0, ""
        attributes["DATA_REL"], attributes["NREADOUT"] = 0, 0
    with sqlite3.connect(folder / "catalog_sector001_camera1_ccd1.sqlite") as plain:
        plain.execute("UPDATE settings SET ticver = ''")
    plain.close()
    with Box(stars[0], folder, tmp_path, **WHERE) as pho:
        pho.photometry()
        with fits.open(pho.save_lightcurve()) as hdus:
            for key in ("CRBLKSZ", "PROCVER", "DATA_REL", "TICVER"):
                assert key not in hdus[0].header
            assert hdus[0].header.get("CRMITEN") is (mitigated if mitigated is True else None)
            for key in ("DEADC", "LIVETIME", "EXPOSURE", "XPOSURE", "NREADOUT"):
                assert key not in hdus[1].header
            assert hdus[1].header["TELAPSE"] > 0


# --- Target pixel files ------------------------------------------------------------------------------


def test_a_target_pixel_file(simulated, tmp_path):
    todo = load_todo(simulated.folder / "todo.sqlite")
    starid = int(todo[todo["datasource"] == "tpf"]["starid"][0])
    with Box(starid, simulated.folder, tmp_path, datasource="tpf") as pho:
        pho.photometry()
        assert pho.cadence == 120
        assert pho.status is STATUS.OK
        assert not pho.resize_stamp(up=10, down=10, left=10, right=10)
        assert pho.pixelflags_cube.shape[2] == 48
        assert pho.images_cube.shape[2] > 600
        path = Path(pho.save_lightcurve())
        assert "c0120" in path.name
        expected = 10 ** (-0.4 * (pho.target["tmag"] - 20.451))
        assert 0.6 * expected < pho.result.mean_flux < 1.1 * expected


def test_a_target_pixel_file_alone(simulated, tmp_path, caplog):
    """No catalog and no cube: the file's own header has to do, and the log says so."""
    caplog.set_level(logging.INFO)
    (path, *_) = sorted((simulated.folder / "tpf").glob("*_tp.fits*"))
    (tmp_path / path.name).write_bytes(path.read_bytes())
    starid = fits.getheader(path)["TICID"]
    with Box(starid, tmp_path, tmp_path, datasource="tpf") as pho:
        pho.photometry()
        assert pho.status is STATUS.OK
        assert pho._source.catalog.only_targets
        assert list(pho.catalog["starid"]) == [starid]
        assert pho.pixelflags_cube.shape[2] == 0
        pho.save_lightcurve()
    assert "taken from the header" in caplog.text
    assert "without pixel flags" in caplog.text


def test_a_target_pixel_file_does_not_look_at_all_stars_of_its_ccd(simulated, tmp_path, monkeypatch):
    folder = simulated.copy(tmp_path)
    path = folder / "catalog_sector001_camera1_ccd1.sqlite"
    known = open_catalog(path)
    todo = load_todo(folder / "todo.sqlite")
    starid = int(todo[todo["datasource"] == "tpf"]["starid"][0])
    with Box(starid, folder, tmp_path, datasource="tpf") as pho:
        before = pho.catalog
    far = known.stars.copy()
    far["starid"] += known.stars["starid"].max()
    far["decl"] += 3.0
    write_catalog(path, known.settings, np.concatenate([known.stars, far]))
    asked = []
    place = FrameWCS.stars
    monkeypatch.setattr(FrameWCS, "stars", lambda wcs, *args: asked.append(len(args[0])) or place(wcs, *args))
    with Box(starid, folder, tmp_path, datasource="tpf") as pho:
        assert len(before) > 3
        assert list(pho.catalog["starid"]) == list(before["starid"])
        np.testing.assert_array_equal(pho.catalog["row"], before["row"])
    assert len(asked) == 1
    assert asked[0] <= len(known)
    with pytest.raises(InputError, match="far outside of the pixels"):
        Box(int(far["starid"][0]), folder, tmp_path, datasource=f"tpf:{starid}")


def test_short_cadences_inherit_the_flags_of_their_frame(simulated, tmp_path):
    folder = simulated.copy(tmp_path)
    todo = load_todo(folder / "todo.sqlite")
    starid = int(todo[todo["datasource"] == "tpf"]["starid"][0])
    with h5py.File(folder / "sector001_camera1_ccd1.hdf5", "r+") as file:
        file["pixel_flags"][...] = 0
        file["pixel_flags"][:, :, 20] = 4
        start, stop = (file[f"time_{name}"][20] - file["timecorr"][20] for name in ("start", "stop"))
    with Box(starid, folder, tmp_path, datasource="tpf") as pho:
        pho.photometry()
        with fits.open(pho.save_lightcurve()) as hdus:
            data = hdus[1].data
            spacecraft = data["TIME"] - data["TIMECORR"]
            flagged = data["QUALITY"] == 256
            np.testing.assert_array_equal(flagged, (spacecraft >= start) & (spacecraft < stop))
            assert flagged.sum() == 15


# --- Choosing the method -----------------------------------------------------------------------------


def test_unknown_method(simulated, stars, tmp_path):
    with pytest.raises(UsageError, match="aperture"):
        tessphot("magic", stars[0], simulated.folder, tmp_path, **WHERE)


# --- Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("datasource", ["", None, "FFI", "tpf:", "tpf:abc", "tpf:1:2", "cube"])
def test_unknown_datasource(simulated, stars, datasource):
    with pytest.raises(ValueError, match="datasource"):
        Box(stars[0], simulated.folder, "unused", datasource, **WHERE)


@pytest.mark.parametrize("missing", ["sector", "camera", "ccd"])
def test_full_frame_images_need_their_ccd(simulated, stars, missing):
    with pytest.raises(ValueError, match="needs the sector, the camera and the ccd"):
        Box(stars[0], simulated.folder, "unused", **{**WHERE, missing: None})


@pytest.mark.parametrize("name", ["starid", "sector", "camera", "ccd", "version"])
@pytest.mark.parametrize("value", [1.5, "one", np.nan, [1]])
def test_numbers_of_a_star_are_whole(simulated, stars, name, value):
    with pytest.raises(UsageError, match=f"{name} .*: a whole number is needed"):
        Box(
            **{
                "starid": stars[0],
                "input_folder": simulated.folder,
                "output_folder": "unused",
                **WHERE,
                name: value,
            }
        )


@pytest.mark.parametrize("version", [-1, 100])
def test_versions_have_two_digits(simulated, stars, version, tmp_path):
    with pytest.raises(UsageError, match="from 0 to 99"):
        Box(stars[0], simulated.folder, tmp_path, **WHERE, version=version)
    with Box(stars[0], simulated.folder, tmp_path, **WHERE) as pho:
        pho.photometry()
        with pytest.raises(UsageError, match="from 0 to 99"):
            pho.save_lightcurve(version=version)


def test_unknown_cache(simulated, stars):
    with pytest.raises(ValueError, match="none, basic or full"):
        Box(stars[0], simulated.folder, "unused", **WHERE, cache="some")


def test_star_that_is_not_in_the_catalog(simulated):
    with pytest.raises(InputError, match=r"TIC 99999999999.*catalog"):
        Box(99999999999, simulated.folder, "unused", **WHERE)


@pytest.mark.parametrize("name", ["sector001_camera1_ccd1.hdf5", "catalog_sector001_camera1_ccd1.sqlite"])
def test_missing_files(simulated, stars, tmp_path, name):
    folder = simulated.copy(tmp_path)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        Box(stars[0], folder, "unused", **WHERE)


def test_missing_target_pixel_file(simulated, tmp_path):
    with pytest.raises(MissingInput, match="TIC 12345"):
        Box(12345, simulated.folder, tmp_path, datasource="tpf")


def test_star_outside_of_the_pixels(simulated, tmp_path):
    folder = simulated.copy(tmp_path)
    cube = open_cube(folder / "sector001_camera1_ccd1.hdf5")
    catalog = open_catalog(folder / "catalog_sector001_camera1_ccd1.sqlite")
    extra = catalog.stars[:2].copy()
    extra["starid"] = [777, 778]
    rows = np.array([cube.row_offset - 4.0, cube.row_offset - 40.0])
    sky = cube.wcs.sky(np.full(2, cube.column_offset + 50.0), rows, cube.ref_frame)
    extra["ra"], extra["decl"] = sky.T
    write_catalog(catalog.path, catalog.settings, np.concatenate([catalog.stars, extra]))
    with Box(777, folder, tmp_path, **WHERE) as pho:
        # A star just off the edge still has pixels in its stamp: what to do with them is the method's to say.
        assert pho.stamp[0] == cube.row_offset
        assert pho.sumimage.shape[0] == 4
    with pytest.raises(InputError, match=r"TIC 778 is at row .*outside of the pixels"):
        Box(778, folder, tmp_path, **WHERE)
