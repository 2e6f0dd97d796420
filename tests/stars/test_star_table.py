"""Tables of stars: their formats, units and values, and what MAST answers."""

import decimal
import gzip
import logging
import sys
import types

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table

from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.products.star_catalog import move_stars
from tasoc_mpi.stars import star_table as startable
from tasoc_mpi.stars.star_table import query_mast, read_star_table

SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


@pytest.mark.real
def test_real_tic_table(real, caplog):
    path = real / "catalog" / "tic_206_stars.csv"
    with caplog.at_level(logging.INFO):
        stars = read_star_table(path)
    # 206 rows; one is a duplicate (6). Two stars were split (8) and have nothing else within 175".
    assert len(stars) == 205
    assert "1 of 206 rows are left out, duplicates or artifacts" in caplog.text
    assert {1227616, 332635428} <= set(stars["starid"].tolist())
    assert 836187536 not in stars["starid"]
    first = stars[stars["starid"] == 1227555][0]
    assert first["ra_J2000"] == 137.225947173
    assert first["decl_J2000"] == -15.281665578
    assert (first["pm_ra"], first["pm_decl"]) == (-14.2149, 10.2903)
    assert (first["tmag"], first["teff"]) == (12.5991, 6407)
    # One more without proper motion is among those three.
    assert np.isnan(stars["pm_ra"]).sum() == np.isnan(stars["pm_decl"]).sum() == 1


@pytest.mark.real
def test_real_tic_positions_are_those_of_gaia_moved_back_to_j2000(real):
    table = Table.read(real / "catalog" / "tic_206_stars.csv", format="ascii.csv")
    stars = read_star_table(real / "catalog" / "tic_206_stars.csv")
    moved = move_stars(stars, 2015.5)
    rows = {int(row["id"]): row for row in table if row["pmflag"] == "gaia2"}
    compared = 0
    for star in moved:
        row = rows.get(int(star["starid"]))
        if row is not None:
            here = SkyCoord(star["ra"], star["decl"], unit="deg")
            gaia = SkyCoord(row["ra_orig"], row["dec_orig"], unit="deg")
            assert here.separation(gaia).mas < 1.0
            compared += 1
    assert compared > 100


def astroquery_table() -> Table:
    """A table as astroquery gives it: identifiers are words, unknown values are masked."""
    table = Table()
    table["ID"] = ["11", "12", "13", "14", "-5"]
    table["ra"] = [0.1, 0.2, 0.3, 0.4, 0.5]
    table["dec"] = [-30.1, -30.2, -30.3, -30.4, -30.5]
    table["pmRA"] = MaskedColumn([1.0, 2.0, 3.0, 4.0, 5.0], mask=[0, 1, 0, 0, 0])
    table["pmDEC"] = MaskedColumn([1.5, 2.5, 3.5, 4.5, 5.5], mask=[0, 1, 0, 0, 0])
    table["Tmag"] = MaskedColumn([8.0, 9.0, 10.0, 11.0, 12.0], mask=[0, 0, 1, 0, 0])
    table["Teff"] = MaskedColumn([5000.0, 0.0, 4000.0, 3000.0, 0.0], mask=[0, 1, 0, 0, 1])
    table["disposition"] = MaskedColumn(["", "", "", "ARTIFACT", ""], mask=[1, 1, 1, 0, 1])
    table["gallong"] = 1.0
    return table


@pytest.mark.parametrize("ending", [".csv", ".ecsv", ".fits", ".parquet"])
def test_every_format_gives_the_same_stars(tmp_path, ending):
    path = tmp_path / f"stars{ending}"
    table = astroquery_table()
    if ending == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        known = [{k: None if np.ma.is_masked(row[k]) else row[k] for k in table.colnames} for row in table]
        parquet.write_table(arrow.Table.from_pylist(known), path)
    else:
        table.write(path, format={".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".fits": "fits"}[ending])
    stars = read_star_table(path)
    # Without Tmag: 13; artifact: 14; negative: -5.
    assert stars["starid"].tolist() == [11, 12]
    assert stars["ra_J2000"].tolist() == [0.1, 0.2]
    assert stars["decl_J2000"].tolist() == [-30.1, -30.2]
    np.testing.assert_array_equal(stars["pm_ra"], [1.0, np.nan])
    np.testing.assert_array_equal(stars["pm_decl"], [1.5, np.nan])
    np.testing.assert_array_equal(stars["teff"], [5000.0, np.nan])


def test_units_of_a_table_are_heeded(tmp_path):
    table = astroquery_table()
    table["ra"].unit, table["pmRA"].unit = "hourangle", "arcsec / yr"
    table.write(tmp_path / "stars.ecsv", format="ascii.ecsv")
    stars = read_star_table(tmp_path / "stars.ecsv")
    np.testing.assert_allclose(stars["ra_J2000"], [1.5, 3.0])
    np.testing.assert_allclose(stars["pm_ra"][0], 1000.0)
    table["pmRA"].unit = "km / s"
    table.write(tmp_path / "wrong.ecsv", format="ascii.ecsv")
    with pytest.raises(InputError, match="pmRA is in km / s"):
        read_star_table(tmp_path / "wrong.ecsv")


def test_columns_may_be_written_in_other_ways(tmp_path, caplog):
    path = tmp_path / "vizier.csv"
    path.write_text("# from a catalog service\nTIC,RAJ2000,DEJ2000,Tmag\n5,10.5,-3,9.5\n5,10.5,-3,9.5\n\n")
    stars = read_star_table(path)
    assert stars["starid"].tolist() == [5]
    assert (stars["ra_J2000"][0], stars["decl_J2000"][0], stars["tmag"][0]) == (10.5, -3.0, 9.5)
    assert np.isnan(stars["pm_ra"][0])
    assert "no column pmRA, pmDEC, Teff" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.csv", "ID,ra,Tmag\n1,2,3\n", "no column dec;"),
        ("s.csv", "", "no column ID, ra, dec, Tmag"),
        ("s.csv", "ID,ra,dec,Tmag\n1,2,3,4\n2,x,3,4\n", r"'x' in row 2, column ra, is not a number"),
        ("s.csv", "ID,ra,dec,Tmag\n1,2,3,4\n2,3\n", "2 values in row 2, but 4 columns"),
        ("s.csv", "ID,ra,dec,Tmag\n1,2,3,4,5\n", "5 values in row 1, but 4 columns"),
        ("s.csv", "ID,RA,dec,ra,Tmag\n1,2,3,2,4\n", "two columns RA"),
        ("s.csv.gz", "not gzipped", "separated by blanks"),
        ("s.fits", "not FITS", "truncated.*fetch it again"),
        ("s.ecsv", "not ECSV", "cannot be read as a table of stars"),
        ("s.parquet", "not parquet", "cannot be read as a table of stars|needs pyarrow"),
    ],
)
def test_bad_tables_are_named(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_star_table(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


GOOD = {"ID": 5, "ra": 10.5, "dec": -3.0, "pmRA": 1.0, "pmDEC": 2.0, "Tmag": 9.5, "Teff": 5000.0}


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz"])
def test_gzip_is_told_by_content(tmp_path, name):
    path = tmp_path / name
    text = b"ID,ra,dec,Tmag\n1,2,3,4\n"
    path.write_bytes(text)
    plain = read_star_table(path)
    path.write_bytes(gzip.compress(text))
    assert read_star_table(path).tobytes() == plain.tobytes()
    path.write_bytes(gzip.compress(text)[:-9])
    with pytest.raises(InputError, match=f"{name}: cannot be unpacked .*; fetch it again"):
        read_star_table(path)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".ecsv", ".fits", ".fits.gz", ".parquet"])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ID", 123.7),
        ("ID", 2**53),
        ("ID", 1e300),
        ("ID", np.inf),
        ("ra", 361.0),
        ("ra", -np.inf),
        ("dec", 90.001),
        ("pmRA", 11001.0),
        ("pmDEC", -1e9),
        ("Tmag", -1e308),
        ("Tmag", 99.9),
        ("Tmag", np.inf),
        ("Teff", 0.0),
        ("Teff", 1e308),
    ],
)
def test_impossible_values_are_refused_with_row_and_column(tmp_path, ending, column, value):
    path = tmp_path / f"stars{ending}"
    row = {**GOOD, "ID": 6, column: value}
    if ending == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = arrow.table({name: arrow.array([GOOD[name], row[name]], from_pandas=True) for name in GOOD})
        parquet.write_table(table, path)
    else:
        formats = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits"}
        plain = tmp_path / path.name.removesuffix(".gz")
        Table({name: [GOOD[name], row[name]] for name in GOOD}).write(plain, format=formats[plain.suffix[1:]])
        if ending.endswith(".gz"):
            path.write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(InputError, match=rf"in row 2, column {column}, is not a") as caught:
        read_star_table(path)
    assert str(caught.value).startswith(f"{path}: '")


@pytest.mark.parametrize("value", ["1_000", "True", "0x10", "five", "1,5", "12 13"])
def test_words_that_are_no_numbers_of_a_table(tmp_path, value):
    path = tmp_path / "stars.csv"
    path.write_text(f'ID,ra,dec,Tmag\n1,2,3,4\n2,3,4,"{value}"\n')
    with pytest.raises(InputError, match=rf"'{value}' in row 2, column Tmag, is not a number"):
        read_star_table(path)


@pytest.mark.parametrize("ending", [".fits", ".parquet"])
def test_a_column_with_several_values_or_truth_values_is_no_number(tmp_path, ending):
    path = tmp_path / f"stars{ending}"
    if ending == ".fits":
        Table({**{name: [value] for name, value in GOOD.items()}, "ra": [[1.0, 2.0]]}).write(path)
        words = "column ra has several values in a row"
    else:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {**{name: [value] for name, value in GOOD.items()}, "Tmag": [True]}
        parquet.write_table(arrow.table(columns), path)
        words = "'True' in row 1, column Tmag, is not a number"
    with pytest.raises(InputError, match=words):
        read_star_table(path)


def test_numbers_beyond_64_bits_do_not_wrap_around(tmp_path):
    """As an unsigned integer of a FITS table; cast to a signed one it is negative."""
    path = tmp_path / "stars.fits"
    Table({"ID": np.array([5, 2**63 + 7], "u8"), "ra": [1.0, 2], "dec": [1.0, 2], "Tmag": [9.0, 9]}).write(
        path
    )
    with pytest.raises(InputError, match="'9223372036854775815' in row 2, column ID, is not a TIC number"):
        read_star_table(path)


def test_numbers_that_single_precision_has_rounded_are_refused(tmp_path):
    """TIC 25155310 fits into a float32 with seven digits only by chance; its neighbours do not."""
    path = tmp_path / "stars.fits"
    starids = np.array([5, 25155310], "f4")
    Table({"ID": starids, "ra": [1.0, 2], "dec": [1.0, 2], "Tmag": [9.0, 9]}).write(path)
    with pytest.raises(InputError, match=r"'25155310' in row 2, column ID, .* up to 16777215 \(as float32\)"):
        read_star_table(path)


def test_zeros_of_decimals_are_zero_and_not_unknown(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {name: [value] for name, value in GOOD.items()}
    columns["pmRA"] = [decimal.Decimal("0.0")]
    parquet.write_table(arrow.table(columns), tmp_path / "stars.parquet")
    assert read_star_table(tmp_path / "stars.parquet")["pm_ra"].tolist() == [0.0]


def test_rows_of_one_star_that_differ_are_refused(tmp_path):
    path = tmp_path / "stars.csv"
    path.write_text("ID,ra,dec,Tmag,Teff\n4,1,1,9,\n5,10,-3,9.5,\n\n5,10,-3,9.5,\n5,10,-3,9.6,\n")
    with pytest.raises(InputError, match=r"TIC 5 is in row 2 and in row 4 with another tmag \(9.5 and 9.6\)"):
        read_star_table(path)


ARCSEC = 1 / 3600


@pytest.mark.parametrize("kind", ["csv", "parquet", "mast"])
def test_split_stars_stay_unless_a_star_that_stays_is_close(tmp_path, monkeypatch, kind):
    table = Table()
    # 1 was split and is alone. 2 was split into 3 (1.9" away); 4 has its nearest star at 2.1". 5 and 6 were
    # split and are close to each other: the brighter one stays. 7 is close to a duplicate and to a star
    # without magnitude, which are left out. 9 is close to a star that is too faint to be wanted.
    rows = [
        (1, 0.0, 12.0, "SPLIT"),
        (2, 0.1, 12.0, "8"),
        (3, 0.1 + 1.9 * ARCSEC, 12.5, ""),
        (4, 0.1 + 4.0 * ARCSEC, 13.0, "split"),
        (5, 0.2, 13.0, "SPLIT"),
        (6, 0.2 + 1.0 * ARCSEC, 12.9, "SPLIT"),
        (7, 0.3, 11.0, "8.0"),
        (8, 0.3 + 1.0 * ARCSEC, 11.0, "DUPLICATE"),
        (10, 0.3 - 1.0 * ARCSEC, np.nan, ""),
        (9, 0.4, 11.0, "JOIN"),
        (11, 0.4 + 1.0 * ARCSEC, 17.5, ""),
        (12, 0.5, 11.0, "ARTIFACT"),
    ]
    for k, name in enumerate(("ID", "ra", "Tmag", "disposition")):
        table[name] = [row[k] for row in rows]
    table["dec"] = 0.0
    if kind == "mast":
        table["Tmag"] = MaskedColumn(table["Tmag"], mask=np.isnan(table["Tmag"]))
        fake_astroquery(monkeypatch, lambda criteria: table[~(table["Tmag"] > criteria["Tmag"][1])])
        stars = query_mast(SQUARE * 2, 0.1, 17.0)
    else:
        path = tmp_path / f"stars.{kind}"
        if kind == "csv":
            table.write(path, format="ascii.csv")
        else:
            arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            parquet.write_table(arrow.table({n: list(table[n]) for n in table.colnames}), path)
        stars = read_star_table(path, tmag_max=17.0)
    assert stars["starid"].tolist() == [1, 3, 4, 6, 7, 9]


def test_long_csv_files_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(startable, "_ROWS_AT_ONCE", 3)
    path = tmp_path / "stars.csv"
    lines = [f"{i},{i / 10},{-i},{10 + i / 10},{'ARTIFACT' if i == 5 else ''}" for i in range(1, 10)]
    path.write_text("\n".join(["ID,ra,dec,Tmag,disposition", *lines]))
    stars = read_star_table(path)
    assert stars["starid"].tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert stars["decl_J2000"].tolist() == [-1, -2, -3, -4, -6, -7, -8, -9]
    path.write_text("\n".join(["ID,ra,dec,Tmag,disposition", *lines, "11,x,1,1,"]))
    with pytest.raises(InputError, match="'x' in row 10"):
        read_star_table(path)


def test_tables_of_no_known_kind(tmp_path):
    with pytest.raises(MissingInput, match="no such table of stars"):
        read_star_table(tmp_path / "none.csv")
    (tmp_path / "stars.xlsx").touch()
    with pytest.raises(UsageError, match=r"no known format.*\.csv"):
        read_star_table(tmp_path / "stars.xlsx")


# --- MAST ---


def fake_astroquery(monkeypatch, answer):
    """An astroquery whose MAST answers with `answer(criteria)`."""
    exceptions = types.ModuleType("astroquery.exceptions")
    for name in ("InvalidQueryError", "RemoteServiceError", "TimeoutError"):
        setattr(exceptions, name, type(name, (Exception,), {}))
    mast = types.ModuleType("astroquery.mast")
    mast.Catalogs = types.SimpleNamespace(query_criteria=lambda **criteria: answer(criteria))
    monkeypatch.setitem(sys.modules, "astroquery", types.ModuleType("astroquery"))
    monkeypatch.setitem(sys.modules, "astroquery.exceptions", exceptions)
    monkeypatch.setitem(sys.modules, "astroquery.mast", mast)
    return exceptions


def test_mast_is_asked_in_cones_and_each_star_taken_once(monkeypatch):
    asked = []

    def answer(criteria):
        asked.append(criteria)
        return astroquery_table()

    fake_astroquery(monkeypatch, answer)
    stars = query_mast(SQUARE * 2, 0.1, 16.0)
    assert len(asked) > 1
    assert all(c["catalog"] == "TIC" and c["Tmag"] == [-10.0, 16.0] for c in asked)
    assert stars["starid"].tolist() == [11, 12]


def test_mast_that_does_not_answer_or_is_not_installed(monkeypatch):
    def refuse(criteria):
        raise ConnectionError("no route\nto host")

    fake_astroquery(monkeypatch, refuse)
    with pytest.raises(InputError, match=r"MAST does not answer \(no route to host\)"):
        query_mast(SQUARE, 0.1, 16.0)
    monkeypatch.setitem(sys.modules, "astroquery.mast", None)
    with pytest.raises(InputError, match=r"pip install 'tasoc-mpi\[mast\]'"):
        query_mast(SQUARE, 0.1, 16.0)


def test_a_header_that_names_four_billion_axes_is_refused_at_once(tmp_path):
    path = tmp_path / "stars.fits"
    Table({"ID": [1], "ra": [1.0], "dec": [1.0], "Tmag": [10.0]}).write(path)
    content = path.read_bytes()
    axes = content.index(b"NAXIS   =")
    path.write_bytes(content[:axes] + b"NAXIS   =           4294967296" + content[axes + 30 :])
    with pytest.raises(InputError, match="sizes in its headers are damaged"):
        read_star_table(path)
