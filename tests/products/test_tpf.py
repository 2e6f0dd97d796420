"""Target pixel files: those of the mission, cut-outs of the same form, and damaged ones."""

import gzip
import logging
import shutil
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import sky, tpf_name, write_tpf

from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.products.star_catalog import catalog_from_tpf
from tasoc_mpi.products.tpf import read_tpf, tpf_ccd
from tasoc_mpi.products.tpf_files import find_tpfs, parse_tpf_name

REAL_NAME = "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz"


@pytest.fixture
def real_tpf(real, tmp_path):
    """The real 120 s file of TIC 25155310, under a name of the mission."""
    return shutil.copy(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz", tmp_path / REAL_NAME)


@pytest.mark.real
def test_real_file_has_the_published_aperture_flux(real_tpf):
    tpf = read_tpf(real_tpf)
    # SAP_FLUX of the mission's light curve of the same pixels.
    published = [7976.1187, 8025.5674, 8049.360, 8063.485, 8035.2324]
    total = tpf.images[(tpf.aperture & 2) != 0].sum(axis=0, dtype="f8")
    np.testing.assert_allclose(total, published, rtol=1e-6)
    assert tpf.images.shape == tpf.images_err.shape == tpf.backgrounds.shape == (11, 11, 5)
    assert tpf.flux.flags.c_contiguous
    assert not tpf.images.flags.writeable
    assert tpf.images.dtype == np.float32
    assert (tpf.starid, tpf.sector, tpf.camera, tpf.ccd, tpf.cadence) == (25155310, 1, 4, 1, 120)
    # 1CRV4P = 1619 and 2CRV4P = 389 are 1-based.
    assert tpf.stamp == (388, 399, 1618, 1629)
    assert tpf.cadenceno.tolist() == [70444, 70445, 70446, 70447, 70448]
    assert tpf.quality.tolist() == [8, 0, 0, 0, 0]
    assert np.isnan(tpf.pos_corr[0]).all()
    assert np.isfinite(tpf.pos_corr[1:]).all()
    assert tpf_ccd(real_tpf) == (4, 1)


@pytest.mark.real
def test_real_wcs_puts_the_star_where_astropy_does(real_tpf):
    tpf = read_tpf(real_tpf)
    with fits.open(real_tpf) as hdus:
        wcs = WCS(hdus["APERTURE"].header)
    ra, dec = 63.3748089, -69.2265116
    column, row = wcs.all_world2pix([[ra, dec]], 0)[0]
    np.testing.assert_allclose(tpf.wcs.positions(ra, dec)[0], [column + 1618, row + 388], atol=1e-7)
    np.testing.assert_allclose(WCS(tpf.wcs_header).all_world2pix([[ra, dec]], 0)[0], [column, row], atol=1e-7)


@pytest.mark.real
def test_real_header_moved_to_its_epoch_is_the_mission_position(real_tpf):
    tpf = read_tpf(real_tpf)
    star = catalog_from_tpf(tpf).stars[0]
    # The mission's own position of the star at the time of observation is the WCS's reference.
    header = fits.Header.fromstring(tpf.wcs_header)
    ra, dec = header["CRVAL1"], header["CRVAL2"]
    assert abs(star["ra"] - ra) * np.cos(np.deg2rad(dec)) * 3600 < 0.05
    assert abs(star["decl"] - dec) * 3600 < 0.05
    # ... which the proper motion moved by 1.5 arcsec since J2000.
    assert abs(star["decl_J2000"] - dec) * 3600 > 0.9


@pytest.mark.real
def test_file_without_proper_motion_cards_reads_and_its_star_stands_still(real):
    tpf = read_tpf(real / "tpf" / "tess25155310-s01-first-cadences_no_pm.fits.gz")
    star = catalog_from_tpf(tpf).stars[0]
    assert np.isnan(star["pm_ra"])
    assert (star["ra"], star["decl"]) == (star["ra_J2000"], star["decl_J2000"])


@pytest.mark.real
def test_truncated_real_file_is_named_with_the_way_out(real):
    path = real / "tpf" / "tess-s0068-pimen-tpf-header-only-truncated.fits"
    with pytest.raises(InputError, match=f"{path.name}: truncated.*fetch it again"):
        read_tpf(path)
    assert tpf_ccd(path) == (4, 2)


@pytest.mark.real
def test_real_cutout_of_one_pixel_has_no_wcs_but_pixels(real):
    (path,) = (real / "cutout").glob("*_1x1_*.fits")
    tpf = read_tpf(path)
    assert tpf.images.shape == (1, 1, 1289)
    assert not tpf.wcs.good[0]
    assert tpf.stamp == (1457, 1458, 378, 379)
    assert tpf.starid == 0
    with pytest.raises(InputError, match=r"names no star"):
        catalog_from_tpf(tpf)


@pytest.mark.real
@pytest.mark.parametrize(("name", "shape"), [("*6x6*", (6, 6, 50)), ("*11x10*", (10, 11, 1))])
def test_real_cutouts_have_their_target_in_the_stamp(real, name, shape):
    (path,) = (real / "cutout").glob(name)
    tpf = read_tpf(path)
    assert tpf.images.shape == shape
    assert tpf.cadence == 1800
    column, row = tpf.wcs.positions(tpf.header["RA_OBJ"], tpf.header["DEC_OBJ"])[0]
    row_min, row_max, col_min, col_max = tpf.stamp
    assert abs(row - (row_min + row_max - 1) / 2) < 1.5
    assert abs(column - (col_min + col_max - 1) / 2) < 1.5


def test_pixels_times_and_offsets_of_rows_that_have_a_time(tmp_path):
    tpf = read_tpf(write_tpf(tmp_path / tpf_name(7), 7, corner=(500, 600)))
    assert tpf.time.shape == (3,)
    assert np.isfinite(tpf.time).all()
    assert tpf.quality.tolist() == [1, 4, 8]
    assert tpf.cadenceno.tolist() == [1000, 1002, 1003]
    # (row, column, time); the second time was dropped.
    assert tpf.images.shape == (11, 13, 3)
    assert tpf.images[2, 5].tolist() == [250, 252, 253]
    np.testing.assert_allclose(tpf.images_err[2, 5], np.sqrt([250, 252, 253]))
    np.testing.assert_allclose(tpf.backgrounds[2, 5], [25, 25.2, 25.3], rtol=1e-6)
    np.testing.assert_allclose(tpf.pos_corr, [[0.1, 0.2], [2.1, 2.2], [3.1, 3.2]], rtol=1e-6)
    assert tpf.stamp == (500, 511, 600, 613)
    np.testing.assert_allclose(tpf.wcs.positions(*sky(604.25, 509.5))[0], [604.25, 509.5], atol=1e-7)


def test_without_pixels_the_rest_is_the_same(tmp_path):
    path = write_tpf(tmp_path / tpf_name(7), 7, corner=(500, 600))
    full, light = read_tpf(path), read_tpf(path, pixels=False)
    assert light.images.shape == (11, 13, 0)
    assert light.stamp == full.stamp
    np.testing.assert_array_equal(light.time, full.time)
    np.testing.assert_array_equal(light.aperture, full.aperture)
    packed = tmp_path / (tpf_name(7) + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for lightest in (read_tpf(path, rows=False), read_tpf(packed, rows=False)):
        assert lightest.time.size == lightest.quality.size == 0
        assert (lightest.stamp, lightest.images.shape) == (full.stamp, (11, 13, 0))
        np.testing.assert_array_equal(lightest.aperture, full.aperture)
        np.testing.assert_array_equal(lightest.wcs.cd, full.wcs.cd)


def test_wcs_is_taken_from_the_flux_column_where_the_aperture_has_none(tmp_path):
    path = write_tpf(tmp_path / tpf_name(7), 7, corner=(500, 600), aperture_wcs=False)
    tpf = read_tpf(path)
    assert tpf.wcs.good[0]
    np.testing.assert_allclose(tpf.wcs.positions(*sky(610, 505))[0], [610, 505], atol=1e-7)
    np.testing.assert_allclose(WCS(tpf.wcs_header).all_world2pix([sky(610, 505)], 0)[0], [10, 5], atol=1e-7)


def test_file_without_any_wcs_reads(tmp_path):
    path = write_tpf(tmp_path / tpf_name(7), 7, corner=(500, 600), aperture_wcs=False, column_wcs=False)
    tpf = read_tpf(path)
    assert not tpf.wcs.good[0]
    settings_ = catalog_from_tpf(tpf).settings
    assert settings_.footprint == ""
    assert np.isnan(settings_.camera_centre_ra)


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"TICID": 8}, "by its header, another by its name"),
        ({"SECTOR": 2}, "by its header, another by its name"),
        ({"CAMERA": 7}, "camera 7"),
        ({"CCD": None}, "CCD"),
    ],
)
def test_header_that_contradicts_the_name_or_itself(tmp_path, cards, words):
    path = write_tpf(tmp_path / tpf_name(7), 7, corner=(500, 600), cards=cards)
    with pytest.raises(InputError, match=words) as caught:
        read_tpf(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MissingInput, match="no such file"):
        read_tpf(tmp_path / "none.fits")
    with pytest.raises(MissingInput, match="no such file"):
        tpf_ccd(tmp_path / "none.fits")
    with pytest.raises(MissingInput, match="no such folder"):
        find_tpfs(tmp_path / "none")


@pytest.fixture(scope="module")
def tpf_bytes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tpf")
    return write_tpf(folder / tpf_name(7), 7, corner=(500, 600)).read_bytes()


@settings(max_examples=40, deadline=None)
@given(cut=st.floats(0, 0.999), packed=st.booleans())
def test_a_truncated_file_is_never_taken_for_a_whole_one(tmp_path_factory, tpf_bytes, cut, packed):
    data = gzip.compress(tpf_bytes, 1) if packed else tpf_bytes[: -(len(tpf_bytes) % 2880 or 1)]
    # The padding of the last block may be missing, its data may not.
    last = 11 * 13 * 4
    whole = len(data) if packed else len(tpf_bytes) - 2880 + last
    path = tmp_path_factory.mktemp("cut") / tpf_name(7)
    path.write_bytes(data[: int(cut * whole)])
    with pytest.raises(InputError) as caught:
        read_tpf(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_headers_give_one_line_or_a_file(tmp_path_factory, tpf_bytes, data):
    damaged = bytearray(tpf_bytes)
    for place in data.draw(st.lists(st.integers(0, len(tpf_bytes) - 1), min_size=1, max_size=30)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / tpf_name(7)
    path.write_bytes(damaged)
    try:
        tpf = read_tpf(path)
    except InputError as error:
        message = str(error)
    else:
        assert tpf.images.shape == (*tpf.aperture.shape, len(tpf.time))
        return
    assert message.startswith(str(path))
    assert "\n" not in message


def test_other_fits_files_are_refused(tmp_path):
    path = tmp_path / tpf_name(7)
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(path)
    with pytest.raises(InputError, match="not a target pixel file"):
        read_tpf(path)
    path.write_text("not a FITS file at all\n" * 1000)
    with pytest.raises(InputError, match="not a FITS file, or its headers are damaged; fetch it again"):
        read_tpf(path)


def test_names_of_the_mission():
    info = parse_tpf_name("x/tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz")
    assert (info.starid, info.sector, info.cadence) == (25155310, 1, 120)
    info = parse_tpf_name("tess2020186164531-s0027-0000000025155310-0189-a_fast-tp.fits")
    assert (info.starid, info.sector, info.cadence) == (25155310, 27, 20)
    info = parse_tpf_name("hlsp_tess-data-alerts_tess_phot_00025155310-s01_tess_v1_tp.fits")
    assert (info.starid, info.sector, info.cadence) == (25155310, 1, 120)
    info = parse_tpf_name("hlsp_tess-spoc_tess_phot_0000000188589164-s0024_tess_v1_tp.fits")
    assert (info.starid, info.sector, info.cadence) == (188589164, 24, 0)
    for other in (
        "hlsp_tess-spoc_tess_phot_0000000188589164-s0024_tess_v1_lc.fits",
        "hlsp_tess-spoc_tess_phot_00188589164-s0024_tess_v1_tp.fits",
        "tess2018206045859-s0001-0000000025155310-0120-s_lc.fits",
        "tess2018206192942-s0001-1-4-0120-s_ffic.fits",
        "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz.part",
        "hlsp_tess-data-alerts_tess_phot_25155310-s01_tess_v1_tp.fits",
    ):
        assert parse_tpf_name(other) is None


@pytest.mark.parametrize(
    ("cards", "cadence"), [({"NUM_FRM": 300, "FRAMETIM": 2.0}, 600), ({"TIMEDEL": 0.0208333333}, 1800)]
)
def test_the_cadence_of_a_file_of_tess_spoc_is_that_of_its_header(tmp_path, cards, cadence):
    name = "hlsp_tess-spoc_tess_phot_0000000025155310-s0001_tess_v1_tp.fits"
    path = write_tpf(tmp_path / name, 25155310, corner=(500, 600))
    with pytest.raises(InputError, match=f"{name}: cannot be read .*no cadence: neither NUM_FRM"):
        find_tpfs(tmp_path)
    for key, value in cards.items():
        fits.setval(path, key, value=value, ext=1)
    write_tpf(tmp_path / tpf_name(25155310), 25155310, corner=(500, 600))
    # One star at two cadences: two light curves.
    assert [(info.starid, info.cadence) for info in find_tpfs(tmp_path)] == [
        (25155310, 120),
        (25155310, cadence),
    ]
    assert read_tpf(path).cadence == cadence


def test_files_are_found_in_sub_folders_and_the_newest_name_wins(tmp_path, caplog):
    for name in (
        "a/b/" + tpf_name(9, time="2018206045859"),
        "a/" + tpf_name(9, time="2019206045859"),
        "a/hlsp_tess-data-alerts_tess_phot_00000000009-s01_tess_v1_tp.fits",
        "b/" + tpf_name(9, fast=True),
        "b/" + tpf_name(9, sector=2),
        tpf_name(3),
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = find_tpfs(tmp_path)
    assert [(i.starid, i.sector, i.cadence) for i in found] == [
        (3, 1, 120),
        (9, 1, 20),
        (9, 1, 120),
        (9, 2, 120),
    ]
    assert "2019206045859" in found[2].path.name
    assert sum("left out, " in message for message in caplog.messages) == 2


def test_of_files_of_one_star_the_newest_processing_is_read(tmp_path, caplog):
    """A copy that is packed, one whose header cannot be read, and three processings."""
    for folder, cards in (
        ("a", {"DATA_REL": 43, "PROCVER": "spoc-4.0.9", "DATE": "2021-01-01"}),
        ("b", {"DATA_REL": 43, "PROCVER": "spoc-4.0.10", "DATE": "2020-01-01"}),
        ("c", {"DATA_REL": 42, "PROCVER": "spoc-9.0.0", "DATE": "2022-01-01"}),
    ):
        (tmp_path / folder).mkdir()
        write_tpf(tmp_path / folder / tpf_name(9), 9, (100, 200), cards=cards)
    best = tmp_path / "b" / tpf_name(9)
    (tmp_path / "b" / f"{tpf_name(9)}.gz").write_bytes(gzip.compress(best.read_bytes()))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / tpf_name(9)).write_bytes(best.read_bytes()[:1000])
    (tmp_path / "b" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "b" / ".ipynb_checkpoints" / tpf_name(9)).write_bytes(best.read_bytes())
    assert [info.path for info in find_tpfs(tmp_path)] == [best]
    assert len(caplog.messages) == 4
    assert all(f"left out, {best} is of the same star" in message for message in caplog.messages)


def test_a_header_without_end_takes_no_memory(tmp_path):
    """Half a gigabyte of cards: not read beyond what a header can have."""
    path = tmp_path / tpf_name(9)
    card = b"SIMPLE  =                    T".ljust(80)
    with open(path, "wb") as file:
        file.write(card)
        file.truncate(500_000_000)
    tracemalloc.start()
    with pytest.raises(InputError, match="not a FITS file, or its headers are damaged; fetch it again"):
        tpf_ccd(path)
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


@pytest.mark.parametrize(("name", "value"), [("TIME", -3e200), ("TIME", 1e6), ("TIMECORR", 9.0)])
def test_times_that_cannot_be_true(tmp_path, name, value):
    path = write_tpf(tmp_path / tpf_name(9), 9, (100, 200))
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[name][2] = value
    with pytest.raises(InputError, match=f"{path.name}: {name} has values over .* d; fetch it again"):
        read_tpf(path)


@pytest.mark.parametrize("value", [1325.0, 1324.0])
def test_times_that_do_not_increase(tmp_path, value):
    path = write_tpf(tmp_path / tpf_name(9), 9, (100, 200))
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["TIME"][2] = value
    with pytest.raises(
        InputError, match=f"{path.name}: TIME does not increase from row to row; fetch it again"
    ):
        read_tpf(path)
