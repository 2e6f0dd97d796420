"""HDUs and cards that a method adds: what astropy reads is what was added, and what is refused."""

import io

import numpy as np
import pytest
from astropy.io import fits

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
