"""HDUs and cards that a method adds: what astropy reads is what was added, and what is refused."""

import io

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from tasoc_mpi.core.errors import UsageError
from tasoc_mpi.products.extra_hdu import ExtraHDU, check_card
from tasoc_mpi.products.fits_bytes import cards_bytes

WCS_CARDS = [("CRPIX1", 2.5, "")]


def read(hdu, stamp=(4, 5)):
    """The HDU as astropy has it; a wrong checksum is a warning, hence an error."""
    primary = fits.PrimaryHDU()
    file = io.BytesIO()
    primary.writeto(file)
    file.write(hdu.to_bytes(stamp, cards_bytes(WCS_CARDS)))
    file.seek(0)
    hdus = fits.open(file, checksum=True)
    hdus.verify("exception")
    assert hdus[1].verify_checksum() == hdus[1].verify_datasum() == 1
    return hdus[1]


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "f2", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "?"])
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 7)])
def test_images(dtype, shape):
    image = (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)
    found = read(ExtraHDU("MAP", image, {"NPIX": (3, "pixels")}, {"": "e-/s"}))
    np.testing.assert_array_equal(found.data, image)
    assert found.name == "MAP"
    assert found.header["BUNIT"] == "e-/s"
    assert found.header["NPIX"] == 3
    assert ("CRPIX1" in found.header) == (shape[-2:] == (4, 5))


def test_tables():
    rows = np.zeros(
        3, [("CADENCENO1", "i4"), ("good", "?"), ("WEIGHTMAP", "f4", (4, 5)), ("line", "f8", 2), ("k", "i8")]
    )
    rng = np.random.default_rng(1)
    rows["CADENCENO1"], rows["good"], rows["k"] = [1, 2, 3], [True, False, True], 2**40
    rows["WEIGHTMAP"], rows["line"] = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 2))
    hdu = ExtraHDU("WEIGHTMAP", rows, {}, {"line": "pixels"})
    rows["k"] = 0  # it was copied
    found = read(hdu)
    for name in rows.dtype.names:
        np.testing.assert_array_equal(found.data[name], 2**40 if name == "k" else rows[name])
    assert found.columns["line"].unit == "pixels"
    assert "CRPIX1" not in found.header


def test_tables_without_rows():
    assert len(read(ExtraHDU("NONE", np.zeros(0, [("x", "f8")]), {}, {})).data) == 0


@pytest.mark.parametrize(
    ("name", "data", "header", "units", "reason"),
    [
        ("map", np.ones((2, 2)), {}, {}, "capital letters"),
        ("A/B", np.ones((2, 2)), {}, {}, "capital letters"),
        (3, np.ones((2, 2)), {}, {}, "capital letters"),
        ("APERTURE", np.ones((2, 2)), {}, {}, "choose another name"),
        ("MAP", np.ones(2), {}, {}, "rows and columns"),
        ("MAP", 5.0, {}, {}, "rows and columns"),
        ("MAP", np.ones((0, 2)), {}, {}, "rows and columns"),
        ("MAP", np.ones((2, 2), "c16"), {}, {}, "complex128 does not fit"),
        ("MAP", np.full((2, 2), None), {}, {}, "object does not fit"),
        ("MAP", np.full((2, 2), "a"), {}, {}, "does not fit"),
        ("MAP", np.zeros((2, 2), [("x", "f8")]), {}, {}, "a table has rows"),
        ("MAP", np.zeros(2, [("x", "O")]), {}, {}, "field 'x' of object"),
        ("MAP", np.zeros(2, [("a b", "f8")]), {}, {}, "field 'a b'"),
        ("MAP", np.zeros(2, [("x", "f8")]), {}, {"y": "s"}, "units of 'y'"),
        ("MAP", np.ones((2, 2)), {"NAXIS1": (3, "")}, {}, "sets it itself"),
        ("MAP", np.ones((2, 2)), {"KEY": 3}, {}, "value, comment"),
        ("MAP", np.ones((2, 2)), {"BUNIT": ("Jy", "")}, {}, "give it as units="),
        ("MAP", np.ones((2, 2)), "KEY", {}, "header: a dict is needed, not str"),
        ("MAP", np.ones((2, 2)), {}, "Jy", "units: a dict is needed, not str"),
        ("MAP", np.ones((2, 2)), {}, {"": 5}, "unit 5: a text is needed"),
        ("MAP", np.ones((2, 2)), {}, {"": "\u00c5"}, "printable ASCII"),
        ("MAP", np.zeros(2, [("x", "f8"), ("X", "f8")]), {}, {}, "two fields 'X'"),
        ("MAP", np.ma.masked_equal([[1, 2], [3, 4]], 2), {}, {}, "masked int64; fill them"),
    ],
)
def test_refused(name, data, header, units, reason):
    with pytest.raises(UsageError, match=reason):
        ExtraHDU(name, data, header, units)


@pytest.mark.parametrize(
    ("keyword", "entry"),
    [
        ("toolong12", (1, "")),
        ("A B", (1, "")),
        (7, (1, "")),
        ("END", (1, "")),
        ("TSCAL1", (2.0, "")),
        ("TZERO12", (2.0, "")),
        ("TNULL1", (2, "")),
        ("THEAP", (2, "")),
        ("ZIMAGE", (True, "")),
        ("EPOCH", (2000.0, "")),
        ("KEY", ("'" * 35, "")),
        ("KEY", (1j, "")),
        ("KEY", ([1], "")),
        ("KEY", ("a\nb", "")),
        ("KEY", ("ä", "")),
        ("KEY", (1, "a\tb")),
        ("KEY", (1, None)),
        ("KEY", 1),
    ],
)
def test_cards_that_are_refused(keyword, entry):
    with pytest.raises(UsageError, match="header card"):
        check_card(keyword, entry)


def test_masked_pixels_are_unknown():
    image = np.ma.masked_equal(np.array([[1.0, 2.0], [3.0, 4.0]]), 2.0)
    np.testing.assert_array_equal(read(ExtraHDU("MAP", image, {}, {})).data, [[1.0, np.nan], [3.0, 4.0]])
    table = np.ma.array(np.array([(1, 2.0), (3, 4.0)], [("a", "i4"), ("b", "f4")]), mask=[(0, 1), (0, 0)])
    found = read(ExtraHDU("MAP", table, {}, {})).data
    np.testing.assert_array_equal(found["a"], [1, 3])
    np.testing.assert_array_equal(found["b"], [np.nan, 4.0])


def test_units_of_astropy_are_kept():
    assert read(ExtraHDU("MAP", np.ones((2, 2)) * u.Jy, {}, {})).header["BUNIT"] == "Jy"
    assert read(ExtraHDU("MAP", np.ones((2, 2)), {}, {"": u.ct / u.s})).header["BUNIT"] == "count s-1"
    table = Table({"a": [1, 2], "b": [1.0, 2.0] * u.day})
    columns = read(ExtraHDU("MAP", table, {}, {"a": "pixel"})).columns
    assert columns.units == ["pixel", "d"]


@pytest.mark.parametrize("dtype", ["i1", "u2", "u4", "f2", ">u2"])
def test_numbers_of_a_table_that_fits_does_not_have(dtype):
    table = np.zeros(2, [("a", dtype), ("b", dtype, (3,))])
    table["a"], table["b"] = [1, 100], 7
    found = read(ExtraHDU("MAP", table, {}, {})).data
    np.testing.assert_array_equal(found["a"], [1, 100])
    np.testing.assert_array_equal(found["b"], np.full((2, 3), 7))
