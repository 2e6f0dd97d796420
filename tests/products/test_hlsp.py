"""Light curves as contributed products of MAST: names and headers by its rules, the data as they were."""

import dataclasses
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from small_files import make_lightcurve

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.products.hlsp import hlsp_bytes, hlsp_name, read_hlsp_settings
from tasoc_mpi.products.lightcurve_file import lightcurve_bytes
from tasoc_mpi.products.raw_curve import open_table

TEXT = "id: my-survey\nname: My survey\nlead: Jane Doe\nversion: v1.0\ndoi: 10.17909/abcd-1234\n"
#: Required of all products, and of light curves (in the extension).
COMMON = {
    *("DATE-BEG", "DATE-END", "MJD-BEG", "MJD-MID", "MJD-END", "TIMESYS", "TELAPSE", "XPOSURE"),
    *("HLSPID", "HLSPTARG", "HLSPVER", "HLSPLEAD", "HLSPNAME", "DOI", "LICENSE", "LICENURL"),
    *("INSTRUME", "OBSERVAT", "TELESCOP"),
}


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "hlsp.yaml"
    path.write_text(TEXT)
    return read_hlsp_settings(path)


@pytest.fixture
def table():
    lc = make_lightcurve()
    facts = {"SECTOR": 1, "CAMERA": 4, "CCD": 1, "OBJECT": "TIC 25155310", "RA_OBJ": 63.4, "DEC_OBJ": -69.2,
             "INSTRUME": "TESS Photometer", "EQUINOX": 2000.0}  # fmt: skip
    times = {"TSTART": 1325.25, "TSTOP": 1326.25, "TIMEDEL": 1800 / 86400, "EXPOSURE": 0.5}
    primary = [*lc.primary_cards, *((key, value, "") for key, value in facts.items())]
    cards = [*lc.table_cards, *((key, value, "") for key, value in times.items())]
    return open_table(
        "x", lightcurve_bytes(dataclasses.replace(lc, primary_cards=primary, table_cards=cards))
    )


def test_the_name_has_the_nine_fields(settings, table):
    name = hlsp_name(settings, table)
    target = "tic00025155310-s0001-4-1-c1800"
    assert name == f"s0001/c1800/00025/hlsp_my-survey_tess_phot_{target}_tess_v1.0_lc.fits"
    file = name.rpartition("/")[2]
    assert len(re.split(r"_|(?<=lc)[.]", file)) == 9
    assert len(file) <= 90
    assert len(target) <= 30
    assert name == name.lower()


def test_headers_are_those_that_are_asked_for_and_data_stay(settings, table, tmp_path):
    path = tmp_path / "lc.fits"
    path.write_bytes(hlsp_bytes(settings, table))
    with fits.open(path, checksum=True) as hdus:  # a wrong checksum is a warning, hence an error
        hdus.verify("exception")
        first, second = hdus[0].header, hdus[1].header
        assert set(first) >= COMMON
        assert "EQUINOX" not in first
        assert (second["RA_TARG"], second["DEC_TARG"], second["FILTER"]) == (63.4, -69.2, "TESS")
        assert Time(first["DATE-BEG"], scale="tdb").mjd == pytest.approx(first["MJD-BEG"], abs=1e-8)
        assert first["MJD-MID"] == 2457000 + 1325.75 - 2400000.5
        assert (first["TELAPSE"], first["XPOSURE"], first["LICENSE"]) == (86400.0, 43200.0, "CC BY 4.0")
        np.testing.assert_array_equal(hdus[1].data["FLUX_RAW"], make_lightcurve().columns["flux"])
        np.testing.assert_array_equal(hdus["APERTURE"].data, make_lightcurve().aperture)
    again = open_table(path, path.read_bytes())
    assert hlsp_bytes(settings, again) == path.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("id: my-survey", "id: My_Survey", "id is 'My_Survey' and not 2 to 20 lower-case letters"),
        ("version: v1.0", "version: 1", "version is '1' and not v1"),
        ("doi: 10.17909/abcd-1234", "", "doi is missing"),
        ("lead:", "leader:", "no setting leader"),
        ("name: My survey", "name: [1, 2", "not YAML"),
        ("name: My survey", "name: One\nname: Two", "`name` is there twice; keep one"),
        ("name: My survey", "name:", "name is missing"),
        ("name: My survey", "name: {a: 1}", "name is .* and not a text in ASCII"),
        ("name: My survey", "name: " + 2000 * "[", "more than 1000 brackets; correct it"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path, old, new, words):
    path = tmp_path / "hlsp.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(InputError, match=words) as caught:
        read_hlsp_settings(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_values_are_texts_whatever_yaml_takes_them_for(tmp_path):
    path = tmp_path / "hlsp.yaml"
    for name in ("2020", "2020-13-45", "yes"):
        path.write_text(TEXT.replace("name: My survey", f"name: {name}"))
        assert read_hlsp_settings(path).name == name
    path.write_text(TEXT + "proposal: null\n")
    assert read_hlsp_settings(path).proposal is None
