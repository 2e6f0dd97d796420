"""The light curve file: what other programs read is what was written."""

import gzip
from importlib.metadata import version

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from astropy.time import Time
from astropy.timeseries import TimeSeries
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_files import make_lightcurve

from tasoc_mpi.core.names import lightcurve_name
from tasoc_mpi.core.settings import load_settings
from tasoc_mpi.kernels.fits_words import sign_hdus
from tasoc_mpi.photometry.header import _tdb_minus_utc
from tasoc_mpi.products import fits_bytes as fitsbytes
from tasoc_mpi.products.corrected_file import checksums_hold
from tasoc_mpi.products.lightcurve_file import lightcurve_bytes, write_lightcurve


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
        assert "TEFF" not in hdus[0].header  # it is not known
        assert hdus[0].header["CREATOR"] == f"tasoc-mpi {version('tasoc-mpi')}"
        assert hdus[0].header["NSETTING"] == 0
        table = hdus[1].data
        np.testing.assert_array_equal(table["TIME"], lc.columns["time"])
        np.testing.assert_array_equal(table["FLUX_RAW"], lc.columns["flux"])
        np.testing.assert_array_equal(table["POS_CORR2"], lc.columns["pos_corr"][:, 1])
        np.testing.assert_array_equal(table["MOM_CENTR1"], lc.columns["pos_centroid"][:, 0])
        assert np.all(np.isnan(table["FLUX_CORR"]))
        np.testing.assert_array_equal(hdus["SUMIMAGE"].data, lc.sumimage)
        np.testing.assert_array_equal(hdus["APERTURE"].data, lc.aperture)


@pytest.fixture
def file(tmp_path):
    """An uncompressed light curve file."""
    path = tmp_path / "lc.fits"
    path.write_bytes(lightcurve_bytes(make_lightcurve()))
    return path


def test_readers_of_other_programs_find_units_and_times(file):
    """Warnings, of units that are not those of the standard for example, are errors in tests."""
    lc = make_lightcurve()
    table = Table.read(file, hdu="LIGHTCURVE")
    assert {name: str(table[name].unit) for name in ("TIME", "FLUX_RAW", "MOM_CENTR1", "POS_CORR2")} == {
        "TIME": "d", "FLUX_RAW": "ct / s", "MOM_CENTR1": "pix", "POS_CORR2": "pix",
    }  # fmt: skip
    assert table["FLUX_CORR"].unit.to(u.dimensionless_unscaled) == pytest.approx(1e-6)
    expected = Time(2457000, lc.columns["time"], format="jd", scale="tdb")
    native = Table.read(file, hdu="LIGHTCURVE", astropy_native=True)["TIME"]
    series = TimeSeries.read(file, format="tess.fits")
    for found in (native, series.time):
        assert found.scale == "tdb"
        np.testing.assert_allclose((found - expected).to_value("s"), 0, atol=1e-4)
    assert series["flux_raw"].unit == u.ct / u.s
    with fits.open(file) as hdus:
        assert u.Unit(hdus["SUMIMAGE"].header["BUNIT"], format="fits") == u.ct / u.s


def test_every_column_has_a_ucd_and_enough_digits(file):
    with fits.open(file) as hdus:
        header = hdus[1].header
        for i in range(1, header["TFIELDS"] + 1):
            assert check_ucd(header[f"TUCD{i}"], check_controlled_vocabulary=True), header[f"TUCD{i}"]
    shown = Table.read(file, hdu="LIGHTCURVE")
    for name, resolution in {"TIME": 1e-9, "MOM_CENTR1": 1e-6, "POS_CORR1": 1e-8}.items():
        text = shown[name].info.format % 1234.567890123456 if "%" in shown[name].info.format else None
        text = text or format(1234.567890123456, shown[name].info.format.strip("{:}"))
        assert float(text) == pytest.approx(1234.567890123456, abs=resolution)


def test_settings_that_differ_are_in_the_file(tmp_path, monkeypatch):
    path = tmp_path / "settings.ini"
    path.write_text("[k2p2]\nthreshold = 1.5\n[run]\ntarget_timeout = 60\n[files]\norigin = Ours\n")
    monkeypatch.setenv("TESSPHOT_SETTINGS", str(path))
    load_settings.cache_clear()
    try:
        header = fits.Header.fromstring(lightcurve_bytes(make_lightcurve())[:5760])
    finally:
        load_settings.cache_clear()
    assert (header["ORIGIN"], header["NSETTING"], header["SET1"]) == ("Ours", 1, "[k2p2] threshold = 1.5")


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


def test_a_card_does_not_depend_on_those_before():
    """0 and -0 are one key of a cache: the first one that came would give both their text."""
    texts = []
    for values in ((0.0, -0.0), (-0.0, 0.0)):
        fitsbytes.card.cache_clear()
        texts += [fitsbytes.card("PMRA", value) for value in values]
    assert len(set(texts)) == 1


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


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 2880, bytes([0, 0, 0, 7]).ljust(2880, b"\0"), bytes(range(256)) * 45]
)
def test_hdus_are_signed_as_by_hand(data):
    """Also sums of fewer than 8 digits, and of none."""
    cards = fitsbytes.card("SIMPLE", True) + fitsbytes.card("BITPIX", 8)
    header = fitsbytes.unsigned_header(cards)
    content = bytearray(header + data)
    places = np.array([[0, len(cards), len(header), len(content)]])
    sign_hdus(np.frombuffer(content, np.uint8), np.frombuffer(content, np.uint32), places)
    assert bytes(content) == fitsbytes.checksummed_header(cards, data) + data
    assert checksums_hold(bytes(content))


@given(st.lists(st.floats() | st.integers(-(2**60), 2**60) | st.none(), min_size=2, max_size=2))
def test_cards_of_numbers_are_those_of_cards_one_by_one(values):
    date = "2018-07-25T19:00:27.000Z"
    cards = fitsbytes.NumberCards(
        ("TESSMAG", "100%"), ("DATE-OBS", "start", len(date)), ("TEFF", "[K] temperature")
    )
    one_by_one = [
        ("TESSMAG", values[0], "100%"), ("DATE-OBS", date, "start"), ("TEFF", values[1], "[K] temperature")
    ]  # fmt: skip
    assert cards(values[0], date, values[1]) == fitsbytes.cards_bytes(fitsbytes.known_cards(one_by_one))
