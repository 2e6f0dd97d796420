"""A light curve file of the first version of the format: every reader of today reads it.

It is the star TIC 59824490 of `tasoc-mpi simulate --rows 40 --columns 40 --frames 24 --tpfs 0 --seed 3`. Its
units are ``e-/s``, and it has none of the cards CREATOR, NSETTING, TUCDn, TREFPOS and JDREF.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits

import tasoc_mpi
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.products.corrected_file import corrected_bytes
from tasoc_mpi.products.hlsp import HLSPSettings, hlsp_bytes, hlsp_name
from tasoc_mpi.products.raw_curve import open_listed, open_table, parse_raw_curve
from tasoc_mpi.report.results import read_curve

PATH = Path(__file__).with_name("earlier") / "tess00059824490-s001-1-1-c1800-dr42-v06-tasoc_lc.fits.gz"


@pytest.fixture(scope="module")
def table():
    """Its columns, as astropy reads them without the units, which the FITS standard does not have."""
    with fits.open(PATH, checksum=True) as hdus:
        assert hdus["LIGHTCURVE"].header["TUNIT4"] == "e-/s"
        assert "CREATOR" not in hdus[0].header
        return np.array(hdus["LIGHTCURVE"].data)


def test_as_a_time_series(table):
    series = tasoc_mpi.read_lightcurve(PATH)
    assert len(series) == len(table) == 24
    assert series.time.scale == "tdb"
    assert np.array_equal(series.time.jd, table["TIME"] + 2457000.0)
    for name in ("FLUX_RAW", "FLUX_RAW_ERR", "FLUX_BKG"):
        assert series[name.lower()].unit == units.electron / units.s
        assert np.array_equal(series[name.lower()].value, table[name], equal_nan=True)


def test_by_the_reports_and_by_the_correction(table):
    curve = read_curve(PATH)
    assert np.array_equal(curve.flux, table["FLUX_RAW"], equal_nan=True)
    assert curve.mask.any()
    raw = parse_raw_curve(PATH, PATH.read_bytes())
    assert raw.starid == 59824490
    assert np.array_equal(raw.flux, table["FLUX_RAW"], equal_nan=True)
    assert np.array_equal(raw.column, table["MOM_CENTR1"], equal_nan=True)
    assert np.array_equal(raw.row, table["MOM_CENTR2"], equal_nan=True)


def test_its_correction_is_written_and_read(table, tmp_path):
    old = open_table(PATH, PATH.read_bytes())
    flux = np.linspace(-10.0, 10.0, 24)
    path = tmp_path / PATH.name
    path.write_bytes(gzip.compress(corrected_bytes(old, flux, np.ones(24), np.zeros(24, int), ())))
    series = tasoc_mpi.read_lightcurve(path)
    assert series["flux_corr"].unit == units.Unit("1e-6")
    assert np.array_equal(series["flux_corr"].value, flux)
    assert np.array_equal(series["flux_raw"].value, table["FLUX_RAW"], equal_nan=True)


def test_it_becomes_a_contributed_product(table):
    settings = HLSPSettings("my-survey", "My survey", "Jane Doe", "v1.0", "10.17909/abcd-1234")
    old = open_table(PATH, PATH.read_bytes())
    assert "tic00059824490-s0001-1-1-c1800" in hlsp_name(settings, old)
    with fits.open(io.BytesIO(hlsp_bytes(settings, old))) as hdus:
        assert np.array_equal(hdus[1].data["FLUX_RAW"], table["FLUX_RAW"], equal_nan=True)


def without_time(hdu):
    hdu.header["TTYPE1"] = "WHEN"


def infinite_time(hdu):
    hdu.data["TIME"][3] = np.inf


def card(key, value):
    def change(hdu):
        hdu.header[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_time, "no column TIME"),
        (infinite_time, "its times are not BJD - 2457000"),
        (card("BJDREFI", "text"), "its times are not BJD - 2457000"),
        (card("BJDREFI", True), "its times are not BJD - 2457000"),
        (card("BJDREFF", 0.5), "its times are not BJD - 2457000"),
        (card("TIMEDEL", -1.0), "TIMEDEL is -1.0"),
    ],
)
def test_a_light_curve_whose_times_are_not_known_is_not_read(tmp_path, change, words):
    with fits.open(PATH) as hdus:
        change(hdus["LIGHTCURVE"])
        hdus.writeto(tmp_path / "lc.fits")
    with pytest.raises(InputError, match=f"lc.fits: .*{words}.*; "):
        tasoc_mpi.read_lightcurve(tmp_path / "lc.fits")


@pytest.mark.parametrize("place", ["output", "output/packed/lightcurves-a-1-0.hdf5#"])
def test_a_light_curve_of_a_run_is_the_one_that_was_written(place):
    data = PATH.read_bytes()
    path = f"{place.rstrip('#')}{'#' if '#' in place else '/'}c1800/00059/{PATH.name}"
    assert open_listed(path, data).primary.values["TICID"] == 59824490
    with pytest.raises(InputError, match="TICID is 59824490 in its header, unlike its name"):
        open_listed(path.replace("59824490", "59824491"), data)
    with pytest.raises(InputError, match="CAMERA is 1 in its header, unlike its name"):
        open_listed(path.replace("-1-1-", "-2-1-"), data)
    changed = gzip.compress(gzip.decompress(data).replace(b"MJD-BEG", b"MJD-BOG"))
    with pytest.raises(InputError, match="its checksums are not those of its bytes"):
        open_listed(path, changed)


def test_the_reports_do_not_take_another_star(tmp_path):
    path = tmp_path / "c1800" / "00059" / PATH.name.replace("59824490", "59824491")
    path.parent.mkdir(parents=True)
    path.write_bytes(PATH.read_bytes())
    with pytest.raises(InputError, match="TICID is 59824490 in its header, unlike its name"):
        read_curve(path)
