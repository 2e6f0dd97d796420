"""Binary tables by their bytes: the values that astropy finds, and headers that cannot be true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.products.fits_read import HDU, FITSReader
from tasoc_mpi.products.fits_table import read_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Columns of all kinds, those that are not read among them."""
    path = tmp_path / "table.fits"
    columns = [
        fits.Column("BITS", "11X", array=np.ones((3, 11), bool)),
        fits.Column("TIME", "D", array=[1.5, np.nan, -2.0]),
        fits.Column("NAME", "8A", array=["one", "two", "three"]),
        fits.Column("FLAG", "L", array=[True, False, True]),
        fits.Column("FLUX", "6E", dim="(3,2)", array=np.arange(18, dtype="f4").reshape(3, 2, 3)),
        fits.Column("MANY", "PE()", array=np.array([[1.0], [1.0, 2.0], []], dtype=object)),
        fits.Column("COUNT", "J", array=[-1, 0, 2**31 - 1]),
        fits.Column("BIG", "K", array=[2**60, -1, 0]),
        fits.Column("UNSIGNED", "I", bzero=32768, array=np.array([0, 1, 65535], "u2")),
        fits.Column("COMPLEX", "C", array=[1j, 2j, 3j]),
    ]
    behind = fits.ImageHDU(np.ones((2, 2), "f4"), name="BEHIND")
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns), behind]).writeto(path)
    return path


def read(path: Path, *wanted: str) -> dict[str, NDArray[Any]]:
    with FITSReader(path) as reader:
        hdu = reader.hdu(reader.hdu().start)
        columns = read_table(reader, hdu, wanted or None)
        assert reader.hdu(reader.end(hdu)).values["EXTNAME"] == "BEHIND"
    return columns


def test_values_are_those_of_astropy(table: Path) -> None:
    found = read(table)
    assert set(found) == {"TIME", "NAME", "FLAG", "FLUX", "COUNT", "BIG"}
    with fits.open(table) as hdus:
        for name, values in found.items():
            expected = np.asarray(hdus[1].data[name])
            expected = np.char.encode(expected) if expected.dtype.kind == "U" else expected
            np.testing.assert_array_equal(values, expected, err_msg=name)
            assert values.shape == expected.shape
            assert values.dtype.isnative


def test_chosen_columns(table: Path) -> None:
    assert set(read(table, "TIME", "FLUX")) == {"TIME", "FLUX"}
    with pytest.raises(InputError, match="no column NOTHING of plain values"):
        read(table, "TIME", "NOTHING")
    with pytest.raises(InputError, match="no column UNSIGNED"):
        read(table, "UNSIGNED")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("TFIELDS", "999999999", "999999999 columns"),
        ("TFIELDS", "-1", "-1 columns"),
        ("TFIELDS", "T", "True columns"),
        ("NAXIS1", "1", "take .* bytes, rows have 1"),
        ("NAXIS2", "9223372036854775807", "no binary table"),
        ("NAXIS2", "99999999999", "truncated"),
        ("NAXIS2", "-3", "no binary table"),
        ("NAXIS2", "1.5", "no binary table"),
        ("PCOUNT", "'x'", "no binary table"),
        ("BITPIX", "16", "no binary table"),
        ("GCOUNT", "0", "no binary table"),
        ("XTENSION", "'IMAGE   '", "no binary table"),
        ("TFORM2", "'999999999D'", "take .* bytes"),
        ("TFORM2", "'RA---SIN'", "TFORM2 is 'RA---SIN'"),
        ("TFORM2", "5", "TFORM2 is 5"),
        ("TFORM2", "", "TFORM2 is None"),
    ],
)
def test_headers_that_cannot_be_true(table: Path, key: str, value: str, words: str) -> None:
    data = bytearray(table.read_bytes())
    place = data.index(f"{key:<8}".encode(), 2880)
    data[place : place + 80] = f"{key:<8}= {value:>20}".ljust(80).encode()
    table.write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        read(table)
    assert str(table) in str(caught.value)
    assert "; fetch it again" in str(caught.value)


def test_sides_that_do_not_fit_are_not_believed(table: Path) -> None:
    data = table.read_bytes().replace(b"'(3,2)   '", b"'(9,9)   '")
    table.write_bytes(data)
    assert read(table)["FLUX"].shape == (3, 6)


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ({"NAXIS": 0, "BITPIX": 8}, 0),
        ({"NAXIS": 1, "NAXIS1": 1, "BITPIX": -64}, 2880),
        ({"NAXIS": 2, "NAXIS1": 30, "NAXIS2": 30, "BITPIX": -32}, 5760),
    ],
)
def test_where_data_end(table: Path, values: dict[str, Any], end: int) -> None:
    with FITSReader(table) as reader:
        assert reader.end(HDU(values, {}, 0)) == end


@pytest.mark.parametrize(
    "values",
    [
        {"NAXIS": 999999999, "BITPIX": 8},
        {"NAXIS": 1, "BITPIX": 8},
        {"NAXIS": None, "BITPIX": 8},
        {"NAXIS": 2, "NAXIS1": -1, "NAXIS2": 5, "BITPIX": 8},
        {"NAXIS": 2, "NAXIS1": 2**40, "NAXIS2": 2**40, "BITPIX": 8},
        {"NAXIS": 1, "NAXIS1": 5, "BITPIX": "x"},
    ],
)
def test_sizes_that_the_file_cannot_have(table: Path, values: dict[str, Any]) -> None:
    with FITSReader(table) as reader, pytest.raises(InputError, match=r"damaged|truncated"):
        reader.end(HDU(values, {}, 0))
