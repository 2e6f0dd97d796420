"""The light curve file: what other programs read is what was written."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_files import make_lightcurve

from tasoc_mpi.core.names import lightcurve_name
from tasoc_mpi.photometry.header import _tdb_minus_utc
from tasoc_mpi.products import fits_bytes as fitsbytes
from tasoc_mpi.products.lightcurve import write_lightcurve


def test_name_is_the_published_one():
    assert lightcurve_name(25155310, 1, 4, 1, 1800, 1, 6) == (
        "c1800/00025/tess00025155310-s001-4-1-c1800-dr01-v06-tasoc_lc.fits.gz"
    )


def test_astropy_reads_what_was_written(tmp_path):
    lc = make_lightcurve()
    path = tmp_path / write_lightcurve(tmp_path, lc)
    with fits.open(path, checksum=True) as hdus:  # a wrong checksum is a warning, hence an error
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "LIGHTCURVE", "SUMIMAGE", "APERTURE"]
        assert hdus[0].header["ORIGIN"] == "TASOC/Aarhus"
        assert "TEFF" in hdus[0].header
        assert hdus[0].header["TEFF"] is None  # an undefined value
        table = hdus[1].data
        np.testing.assert_array_equal(table["TIME"], lc.columns["time"])
        np.testing.assert_array_equal(table["FLUX_RAW"], lc.columns["flux"])
        np.testing.assert_array_equal(table["POS_CORR2"], lc.columns["pos_corr"][:, 1])
        np.testing.assert_array_equal(table["MOM_CENTR1"], lc.columns["pos_centroid"][:, 0])
        assert np.all(np.isnan(table["FLUX_CORR"]))
        np.testing.assert_array_equal(hdus["SUMIMAGE"].data, lc.sumimage)
        np.testing.assert_array_equal(hdus["APERTURE"].data, lc.aperture)


def test_every_hdu_carries_both_checksums(tmp_path):
    path = tmp_path / write_lightcurve(tmp_path, make_lightcurve())
    with fits.open(path) as hdus:
        for hdu in hdus:
            assert hdu.verify_datasum() == 1
            assert hdu.verify_checksum() == 1


def test_same_input_gives_the_same_bytes(tmp_path):
    first = (tmp_path / write_lightcurve(tmp_path, make_lightcurve())).read_bytes()
    second = (tmp_path / write_lightcurve(tmp_path, make_lightcurve())).read_bytes()
    assert first == second
    assert gzip.decompress(first)


def test_a_failed_write_leaves_nothing(tmp_path):
    lc = make_lightcurve()
    target = tmp_path / lightcurve_name(25155310, 1, 4, 1, 1800, 1, 6)
    target.mkdir(parents=True)  # a folder where the file should go: the rename fails
    with pytest.raises(OSError, match="directory"):
        write_lightcurve(tmp_path, lc)
    assert list(target.parent.iterdir()) == [target]


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_a_number_survives_its_card(value):
    read = fits.Card.fromstring(fitsbytes.card("KEY", value, "a comment")).value
    assert read == value
    assert type(read) is type(value)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=150))
def test_a_text_survives_its_card(value):
    # astropy takes a quotation mark in front of a slash for the end of the text.
    assume("'/" not in value.replace(" ", ""))
    raw = fitsbytes.card("KEY", value, "")
    assert len(raw) % 80 == 0
    header = fits.Header.fromstring(raw.decode())
    assert header["KEY"] == value.rstrip()


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=9000))
def test_checksums_hold_for_any_data(data):
    cards = [
        ("SIMPLE", True, ""),
        ("BITPIX", 8, ""),
        ("NAXIS", 1, ""),
        ("NAXIS1", len(data), ""),
    ]
    hdu = fits.PrimaryHDU.fromstring(fitsbytes.hdu_bytes(cards, data))
    assert hdu.verify_datasum() == 1
    assert hdu.verify_checksum() == 1


@pytest.mark.parametrize("day", range(1300, 3900, 130))
def test_utc_of_a_light_curve_s_times_is_astropy_s(day):
    time = Time(2457000.0 + day, format="jd", scale="tdb")
    expected = ((time.tdb.jd1 - time.utc.jd1) + (time.tdb.jd2 - time.utc.jd2)) * 86400.0
    assert abs(_tdb_minus_utc(day) - expected) <= 0.00051
