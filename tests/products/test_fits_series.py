"""Tables of FITS files that are read some rows at a time, beside what astropy reads."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_files import tpf_name, write_tpf

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.products import fits_table
from tasoc_mpi.products.fits_read import HDU, FITSReader
from tasoc_mpi.products.fits_table import read_series, table_columns
from tasoc_mpi.products.tpf import read_tpf

#: Columns of every kind: FITS format, and how many values a row has.
KINDS = {"L": 1, "11X": 11, "3B": 3, "I": 1, "2J": 2, "K": 1, "17A": 1, "5E": 5, "D": 1, "C": 1, "2M": 2}
NUMBERS = {"3B": "u1", "I": "i2", "2J": "i4", "K": "i8", "5E": "f4", "D": "f8"}


def write_table(path: Path, order: list[str], rows: int, packed: bool) -> fits.FITS_rec:
    """A table with columns of these kinds, named after them; returns what astropy reads."""
    rng = np.random.default_rng(rows)
    columns = []
    for kind in order:
        values = rng.integers(0, 100, (rows, KINDS[kind]))
        if kind == "17A":
            columns.append(fits.Column(kind, kind, array=values[:, 0].astype("S17")))
        elif kind in ("L", "11X"):
            columns.append(
                fits.Column(kind, kind, array=values.astype(bool).squeeze(-1 if kind == "L" else ()))
            )
        else:
            columns.append(fits.Column(kind, kind, array=values if KINDS[kind] > 1 else values[:, 0]))
    table = fits.BinTableHDU.from_columns(columns)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return fits.getdata(path, 1)


def read(path: Path, wanted: dict[str, str], keep) -> dict[str, np.ndarray]:
    with FITSReader(path) as reader:
        primary, table = reader.hdus()
        assert table.start == reader.hdu(primary.start).start
        found = read_series(reader, table, wanted, keep)
        reader.check_end()
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.permutations(list(KINDS)),
    st.integers(1, 40),
    st.integers(1, 2000),
    st.booleans(),
    st.sampled_from([0, 30, 101]),
)
def test_columns_are_those_that_astropy_reads(tmp_path_factory, order, rows, chunk, packed, limit):
    """Whatever stands between them, however the rows are cut, and whichever are kept."""
    path = tmp_path_factory.mktemp("table") / "table.fits"
    expected = write_table(path, order, rows, packed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fits_table, "_CHUNK", chunk)
        found = read(path, NUMBERS, lambda part: part["I"] < limit)
    chosen = expected["I"] < limit
    for kind in NUMBERS:
        np.testing.assert_array_equal(found[kind], expected[kind][chosen].reshape(-1, KINDS[kind]))
        assert found[kind].flags.c_contiguous


def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    """The process goes on, which it would not with a mapped file."""
    path = tmp_path / "table.fits"
    write_table(path, ["5E"], 4000, False)
    monkeypatch.setattr(fits_table, "_CHUNK", 20_000)

    def keep(part):
        os.truncate(path, 30_000)
        return np.ones(len(part), bool)

    with pytest.raises(
        InputError, match=r"^[^\n]*table.fits: truncated, it ends before byte \d+; fetch it again"
    ):
        read(path, {"5E": "f4"}, keep)


def test_what_is_no_plain_number_is_refused(tmp_path):
    path = tmp_path / "table.fits"
    column = fits.Column("COUNT", "J", array=np.arange(3) + 2**31, bzero=2**31)
    words = fits.Column("WORD", "3A", array=np.array(["a", "b", "c"]))
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column, words])]).writeto(path)
    for name, words in (
        ("COUNT", "no column COUNT of plain values"),
        ("WORD", "column WORD of its table holds no numbers"),
        ("OTHER", "no column OTHER of plain values"),
    ):
        with pytest.raises(InputError, match=words):
            read(path, {name: "i4"}, lambda part: np.ones(len(part), bool))


@pytest.mark.parametrize(
    "cards",
    [
        {"XTENSION": "IMAGE"},
        {"TFORM1": "1Z"},
        {"TFORM1": 4},
        {"NAXIS1": 9},
        {"TFIELDS": 2},
    ],
)
def test_headers_that_describe_no_table(tmp_path, cards):
    path = tmp_path / "table.fits"
    write_table(path, ["2J"], 1, False)
    with FITSReader(path) as reader:
        _, table = reader.hdus()
        assert set(table_columns(reader, table)) == {"2J"}
        with pytest.raises(InputError, match="table"):
            table_columns(reader, HDU({**table.values, **cards}, {}, table.start))


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_that_cannot_be_there_takes_no_memory(tmp_path, packed):
    """A damaged number of rows is found out before room is made for them."""
    path = write_tpf(tmp_path / tpf_name(7), 7, corner=(500, 600))
    data = path.read_bytes()
    data = data.replace(b"NAXIS2  =                    4", b"NAXIS2  =           4000000000")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(InputError, match="truncated"):
        read_tpf(path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_target_pixel_file_takes_little_more_memory_than_what_is_kept_of_it(tmp_path, packed):
    path = write_tpf(tmp_path / tpf_name(7), 7, corner=(500, 600), times=12000)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    read_tpf(path, pixels=False)
    tracemalloc.start()
    try:
        tpf = read_tpf(path)
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept = 3 * tpf.images.nbytes
    assert kept > 20e6
    assert kept < size < kept + 2e6
    assert peak < kept + 5e6
