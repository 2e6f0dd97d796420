"""Star catalogs: the file, the search on the sphere, proper motion, tables of stars, and the command."""

import decimal
import gzip
import logging
import shutil
import sqlite3
import sys
import types

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.time import Time
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_files import sky, tpf_name, write_cube, write_tpf

from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.core.names import catalog_name
from tasoc_mpi.products.ccd_outline import CAMERA_CENTRES, convex_hull_sky
from tasoc_mpi.products.star_catalog import (
    STAR_DTYPE,
    CatalogSettings,
    footprint_text,
    julian_epoch,
    move_stars,
    open_catalog,
    parse_footprint,
    stars_in_polygon,
    unit_vectors,
    write_catalog,
)
from tasoc_mpi.stars import star_table as startable
from tasoc_mpi.stars.footprints import find_fields
from tasoc_mpi.stars.make_catalogs import CatalogOptions, make_catalogs, select_stars
from tasoc_mpi.stars.star_table import _cone_centres, query_mast, read_star_table

SETTINGS = CatalogSettings(1, 2, 3, "8.2", 2458338.5, 2018.6, 0.2, 10.0, -30.0, "1,2;3,4;5,-6")
SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def some_stars(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    stars = np.zeros(n, dtype=STAR_DTYPE)
    stars["starid"] = rng.permutation(np.arange(1, n + 1)) * 7
    for name in STAR_DTYPE.names[1:]:
        stars[name] = rng.uniform(1, 10, n)
    return stars


# --- the file ---


def test_catalog_comes_back_sorted_and_others_can_read_it(tmp_path):
    path = tmp_path / "odd #name? 100%.sqlite"
    stars = some_stars(50)
    stars["teff"][3] = np.nan
    write_catalog(path, SETTINGS, stars)
    catalog = open_catalog(path)
    assert catalog.settings == SETTINGS
    assert len(catalog) == 50
    expected = np.sort(stars, order="starid")
    for name in STAR_DTYPE.names:
        np.testing.assert_array_equal(catalog.stars[name], expected[name])
    assert catalog.index(7 * 13) == 12
    assert 7 * 13 in catalog
    assert 7 * 13 + 1 not in catalog
    assert 10**9 not in catalog
    with sqlite3.connect(path) as plain:
        names = [row[1] for row in plain.execute("PRAGMA table_info(catalog)")]
        assert tuple(names) == STAR_DTYPE.names
        assert plain.execute("SELECT COUNT(*) FROM catalog WHERE teff IS NULL").fetchone() == (1,)
        plan = plain.execute("EXPLAIN QUERY PLAN SELECT * FROM catalog WHERE ra BETWEEN 1 AND 2").fetchall()
        assert "ra_decl_idx" in str(plan)
        row = plain.execute("SELECT sector, camera, ccd, ticver, epoch, footprint FROM settings").fetchall()
        assert row == [(1, 2, 3, "8.2", 2018.6, "1,2;3,4;5,-6")]
    plain.close()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_star_that_is_not_there_is_named_with_the_catalog(tmp_path):
    path = tmp_path / catalog_name(1, 2, 3)
    assert path.name == "catalog_sector001_camera2_ccd3.sqlite"
    write_catalog(path, SETTINGS, some_stars(3))
    with pytest.raises(InputError, match=rf"TIC 123456 is not in {path}"):
        open_catalog(path).index(123456)


def test_nothing_is_left_of_a_catalog_that_cannot_be_written(tmp_path):
    path = tmp_path / "c.sqlite"
    stars = some_stars(5)
    stars["starid"][1] = stars["starid"][2]
    with pytest.raises(InputError, match="is there twice"):
        write_catalog(path, SETTINGS, stars)
    stars = some_stars(5)
    stars["ra"][0] = np.nan
    with pytest.raises(InputError, match="has no position"):
        write_catalog(path, SETTINGS, stars)
    with pytest.raises(OSError, match="No such file"):
        write_catalog(tmp_path / "none" / "c.sqlite", SETTINGS, some_stars(5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE catalog SET tmag = -1e308 WHERE starid = 7", "tmag of TIC 7 is -1e.308 and not a TESS magn"),
        ("UPDATE catalog SET tmag = 9e999 WHERE starid = 7", "tmag of TIC 7 is inf"),
        ("UPDATE catalog SET decl = 91 WHERE starid = 14", "decl of TIC 14 is 91"),
        ("UPDATE catalog SET teff = 0 WHERE starid = 14", "teff of TIC 14 is 0 and not a temperature"),
        ("UPDATE catalog SET starid = -1 WHERE starid = 14", "a star has the number -1"),
        (
            "UPDATE catalog SET starid = 9007199254740992 WHERE starid = 14",
            "a star has the number 9007199254",
        ),
    ],
)
def test_impossible_values_of_a_catalog_file_are_refused(tmp_path, change, words):
    path = tmp_path / "c.sqlite"
    write_catalog(path, SETTINGS, some_stars(5))
    with sqlite3.connect(path) as plain:
        plain.execute(change)
    plain.close()
    with pytest.raises(InputError, match=words) as caught:
        open_catalog(path)
    assert str(caught.value).startswith(str(path))


def test_files_that_are_no_catalog(tmp_path):
    path = tmp_path / "c.sqlite"
    with pytest.raises(MissingInput, match="tasoc-mpi catalog makes it"):
        open_catalog(path)
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match=r"not a database.*tasoc-mpi catalog"):
        open_catalog(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="no such table"):
        open_catalog(path)
    write_catalog(path, SETTINGS, some_stars(2000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=r"cannot be read as a catalog"):
        open_catalog(path)
    path.write_bytes(whole)
    with sqlite3.connect(path) as plain:
        plain.execute("DELETE FROM settings")
    plain.close()
    with pytest.raises(InputError, match="0 rows of settings"):
        open_catalog(path)


# --- the search on the sphere ---


def winding(ra, dec, corners):
    """Reference: how often the polygon goes around each star, by the angles seen from it."""
    inside = []
    for star in unit_vectors(ra, dec):
        east = np.cross([0.0, 0.0, 1.0], star)
        east /= np.linalg.norm(east)
        north = np.cross(star, east)
        seen = unit_vectors(*np.asarray(corners).T)
        angle = np.arctan2(seen @ east, seen @ north)
        turn = np.diff(np.append(angle, angle[0]))
        inside.append(abs(np.sum((turn + np.pi) % (2 * np.pi) - np.pi)) > np.pi)
    return np.array(inside)


@pytest.mark.parametrize(
    "corners",
    [
        SQUARE * 5,
        [[350, 80], [80, 85], [170, 84], [260, 82]],  # around the north pole
        [[10, -84], [100, -83], [200, -85]],
        [[355, -3], [5, -2], [4, 6], [358, 7]],
    ],
)
def test_polygon_agrees_with_the_winding_number(corners):
    rng = np.random.default_rng(5)
    around = unit_vectors(*np.asarray(corners, dtype=float).T).sum(axis=0)
    points = around / np.linalg.norm(around) + rng.normal(0, 0.1, (500, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    ra, dec = np.rad2deg(np.arctan2(points[:, 1], points[:, 0])), np.rad2deg(np.arcsin(points[:, 2]))
    inside = stars_in_polygon(ra, dec, corners)
    assert 20 < inside.sum() < 480
    np.testing.assert_array_equal(inside, winding(ra, dec, corners))


angles = st.floats(0, 2 * np.pi)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=80, deadline=None)
@given(
    a=angles,
    b=angles,
    c=angles,
    buffer=st.floats(0, 3),
    width=st.floats(0.1, 15),
    seed=st.integers(0, 2**32 - 1),
)
def test_selection_does_not_change_when_the_sphere_is_turned(a, b, c, buffer, width, seed):
    def rotation(angle, i, j):
        matrix = np.eye(3)
        matrix[i, i] = matrix[j, j] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        return matrix

    turn = rotation(a, 0, 1) @ rotation(b, 1, 2) @ rotation(c, 0, 1)
    rng = np.random.default_rng(seed)
    corners = SQUARE * [width, width * 0.7] / 2
    ra, dec = rng.uniform(-20, 20, 300), rng.uniform(-20, 20, 300)
    # Where the answer is a matter of rounding there is nothing to compare.
    sure = stars_in_polygon(ra, dec, corners, buffer + 1e-7) == stars_in_polygon(
        ra, dec, corners, max(buffer - 1e-7, 0)
    )

    def turned(ra, dec):
        x, y, z = turn @ unit_vectors(ra, dec).T
        return np.rad2deg(np.arctan2(y, x)) % 360, np.rad2deg(np.arctan2(z, np.hypot(x, y)))

    expected = stars_in_polygon(ra, dec, corners, buffer)
    after = stars_in_polygon(*turned(ra, dec), np.stack(turned(*corners.T), axis=-1), buffer)
    np.testing.assert_array_equal(after[sure], expected[sure])


@settings(max_examples=60, deadline=None)
@given(distance=st.floats(1e-6, 5), buffer=st.floats(1e-6, 5), sign=st.sampled_from([-1, 1]))
def test_buffer_is_a_distance_on_the_sky_whatever_the_declination(distance, buffer, sign):
    assume(abs(distance - buffer) > 1e-7)
    # A field whose western edge is a meridian, at a declination where a degree of RA is small.
    corners = [[10.0, 75.0], [60.0, 75.0], [60.0, 85.0], [10.0, 85.0]]
    # Along the great circle perpendicular to the meridian RA = 10 at Dec 80.
    start, east = unit_vectors(10.0, 80.0), unit_vectors(100.0, 0.0)
    x, y, z = np.cos(np.deg2rad(distance)) * start + sign * np.sin(np.deg2rad(distance)) * east
    inside = stars_in_polygon([np.rad2deg(np.arctan2(y, x))], [np.rad2deg(np.arcsin(z))], corners, buffer)[0]
    assert inside == (sign > 0 or distance < buffer)


def test_a_buffer_larger_than_the_polygon_does_not_let_in_the_opposite_sky():
    tiny = SQUARE * 1e-3
    ra, dec = [0.0, 180.0, 0.05, 179.95], [0.0, 0.0, 0.05, 0.0]
    assert stars_in_polygon(ra, dec, tiny, 0.2).tolist() == [True, False, True, False]


def test_positions_that_are_not_finite_are_outside():
    assert stars_in_polygon([0.0, np.nan, 0.0], [0.0, 0.0, np.inf], SQUARE).tolist() == [True, False, False]


def test_polygons_that_are_none():
    with pytest.raises(InputError, match="not convex"):
        stars_in_polygon([0], [0], [[0, 0], [4, 0], [1, 1], [0, 4]])
    with pytest.raises(InputError, match="no area"):
        stars_in_polygon([0], [0], [[0, 0], [1, 0], [2, 0]])
    with pytest.raises(InputError, match="no area"):
        convex_hull_sky([[0, 0], [1, 0], [2, 0]])


def test_hull_holds_its_points_and_survives_its_text():
    rng = np.random.default_rng(2)
    for centre in ([0.0, 0.0], [0.0, 89.5], [359.9, -40.0]):
        points = centre + rng.uniform(-1, 1, (200, 2)) * [1 / np.cos(np.deg2rad(min(abs(centre[1]), 89))), 1]
        points[:, 1] = np.clip(points[:, 1], -90, 90)
        corners = parse_footprint(footprint_text(convex_hull_sky(points)))
        assert 3 <= len(corners) < 40
        assert stars_in_polygon(*points.T, corners, 1e-5).all()
        # Every corner is one of the points.
        separation = unit_vectors(*corners.T) @ unit_vectors(*points.T).T
        np.testing.assert_allclose(separation.max(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("text", ["", "1,2;3,4", "1,2;3,4;5", "a,b;c,d;e,f", "1,2,3;4,5,6;7,8,9"])
def test_footprints_that_are_none(text):
    with pytest.raises(InputError, match="footprint"):
        parse_footprint(text)


# --- proper motion ---


@settings(max_examples=60, deadline=None)
@given(
    ra=st.floats(0, 359.999),
    dec=st.floats(-89.99, 89.99),
    pm_ra=st.floats(-10000, 10000),
    pm_dec=st.floats(-10000, 10000),
    epoch=st.floats(1990, 2030),
)
def test_proper_motion_agrees_with_astropy(ra, dec, pm_ra, pm_dec, epoch):
    star = np.zeros(1, dtype=STAR_DTYPE)
    star["ra_J2000"], star["decl_J2000"], star["pm_ra"], star["pm_decl"] = ra, dec, pm_ra, pm_dec
    moved = move_stars(star, epoch)
    rate = units.mas / units.yr
    start = SkyCoord(
        ra * units.deg,
        dec * units.deg,
        pm_ra_cosdec=pm_ra * rate,
        pm_dec=pm_dec * rate,
        distance=20 * units.pc,
        obstime=Time(2000.0, format="jyear", scale="tdb"),
    )
    end = start.apply_space_motion(Time(epoch, format="jyear", scale="tdb"))
    here = SkyCoord(moved["ra"] * units.deg, moved["decl"] * units.deg)
    # Astropy knows about relativity, which at these speeds (up to 1,300 km/s) makes a few mas.
    assert here.separation(SkyCoord(end.ra, end.dec)).mas[0] < 5.0


def test_unknown_proper_motion_is_none_and_known_one_has_no_cos_dec_factor():
    star = np.zeros(2, dtype=STAR_DTYPE)
    star["ra_J2000"], star["decl_J2000"] = 100.0, 60.0
    star["pm_ra"], star["pm_decl"] = [np.nan, 3600.0], [np.nan, 0.0]
    moved = move_stars(star, 2020.0)
    assert (moved["ra"][0], moved["decl"][0]) == (100.0, 60.0)
    # 72 arcsec on the sky are 144 in right ascension at Dec 60.
    np.testing.assert_allclose((moved["ra"][1] - 100) * 3600, 144.0, rtol=1e-5)
    assert star["ra"].tolist() == [0.0, 0.0]


def test_epoch_is_a_julian_year():
    assert julian_epoch(2451545.0) == 2000.0
    np.testing.assert_allclose(julian_epoch(2458338.5), Time(2458338.5, format="jd", scale="tdb").jyear)


def test_stars_that_move_into_the_field_are_selected():
    stars = np.zeros(2, dtype=STAR_DTYPE)
    stars["starid"] = [1, 2]
    # 0.05 degrees outside, moving in; just inside, moving out.
    stars["ra_J2000"], stars["pm_ra"] = [-1.05, -0.99], [10_000, -10_000]
    selected = select_stars(stars, SQUARE, 0.0, 2020.0)
    assert selected["starid"].tolist() == [1]


# --- tables of stars ---


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
        ("s.csv.gz", "not gzipped", "cannot be read as a table of stars"),
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


@settings(max_examples=30, deadline=None)
@given(ra=st.floats(0, 360), dec=st.floats(-90, 90), width=st.floats(0.01, 12), seed=st.integers(0, 1000))
def test_cones_cover_the_field(ra, dec, width, seed):
    middle = SkyCoord(ra, dec, unit="deg")
    corners = middle.directional_offset_by([0, 90, 180, 270] * units.deg, width * units.deg)
    corners = np.stack([corners.ra.deg, corners.dec.deg], axis=-1)
    rng = np.random.default_rng(seed)
    angle, distance = rng.uniform(0, 360, 200), rng.uniform(0, width + 1, 200)
    points = middle.directional_offset_by(angle * units.deg, distance * units.deg)
    inside = points[stars_in_polygon(points.ra.deg, points.dec.deg, corners, 0.2)]
    centres = unit_vectors(*_cone_centres(corners, 0.2).T)
    nearest = (unit_vectors(inside.ra.deg, inside.dec.deg) @ centres.T).max(axis=1)
    assert (nearest >= np.cos(np.deg2rad(1.0))).all()


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


# --- from a folder to its catalogs ---


@pytest.fixture
def real_ffi_folder(real, tmp_path):
    (source,) = (real / "ffi").glob("*.crop.fits")
    shutil.copy(source, tmp_path / source.name.replace(".crop", ""))
    return tmp_path


@pytest.mark.real
def test_real_frame_has_the_published_pointing(real_ffi_folder):
    (field,) = find_fields(real_ffi_folder)
    assert (field.sector, field.camera, field.ccd) == (1, 1, 4)
    # The mission's pointing table: sector 1, camera 1 at RA 324.5670, Dec -33.1730.
    np.testing.assert_allclose(field.centre, (324.5670, -33.1730), atol=0.002)
    # The mid time of the frame, 2018-07-25 19:54 TDB in the spacecraft's frame and 0.004 d later here.
    assert abs(field.reference_time - 2458325.329) < 0.001


@pytest.mark.real
def test_catalog_of_a_real_frame(real_ffi_folder):
    (field,) = find_fields(real_ffi_folder)
    table = real_ffi_folder / "stars.csv"
    ra, dec = field.corners.mean(axis=0)
    table.write_text(f"ID,ra,dec,pmRA,pmDEC,Tmag,Teff\n1,{ra},{dec},100,0,9,\n2,{ra},{dec + 5},0,0,9,\n")
    (made,) = make_catalogs(real_ffi_folder, CatalogOptions(source=str(table)))
    catalog = open_catalog(made.path)
    assert catalog.stars["starid"].tolist() == [1]
    assert abs(catalog.settings.epoch - 2018.563) < 0.001
    shift = (catalog.stars["ra"][0] - ra) * np.cos(np.deg2rad(dec)) * 3.6e6
    np.testing.assert_allclose(shift, 100 * (catalog.settings.epoch - 2000), rtol=1e-4)


def star_csv(path, positions) -> str:
    rows = [f"{i + 1},{ra},{dec},10" for i, (ra, dec) in enumerate(positions)]
    path.write_text("\n".join(["ID,ra,dec,Tmag", *rows]) + "\n")
    return str(path)


def test_catalog_of_a_cube_across_ra_zero(tmp_path):
    write_cube(tmp_path, (900, 900), (300, 400))
    # Buffer 0.2 degrees = 36 pixels of 20 arcsec.
    pixels = [(900, 900), (1299, 1199), (1100, 1050), (870, 1000), (850, 1000), (1000, 1230), (1000, 1240)]
    source = star_csv(tmp_path / "stars.csv", [sky(*pixel) for pixel in pixels])
    (made,) = make_catalogs(tmp_path, CatalogOptions(source=source))
    catalog = open_catalog(made.path)
    assert catalog.stars["starid"].tolist() == [1, 2, 3, 4, 6]
    assert made.path.name == catalog_name(1, 2, 3)
    assert catalog.settings.reference_time == 2457000.0 + 1325.02
    assert len(parse_footprint(catalog.settings.footprint)) == 4
    np.testing.assert_allclose(
        (catalog.settings.camera_centre_ra, catalog.settings.camera_centre_dec),
        sky(*CAMERA_CENTRES[2, 3][::-1]),
    )
    assert catalog.stars["ra"].max() > 359
    assert catalog.stars["ra"].min() < 1


def test_a_catalog_is_only_replaced_when_asked(tmp_path):
    write_cube(tmp_path, (900, 900), (300, 400))
    source = star_csv(tmp_path / "stars.csv", [sky(1000, 1000)])
    list(make_catalogs(tmp_path, CatalogOptions(source=source)))
    with pytest.raises(InputError, match="is there already; --overwrite"):
        list(make_catalogs(tmp_path, CatalogOptions(source=source)))
    (made,) = make_catalogs(tmp_path, CatalogOptions(source=source, overwrite=True, reference_time=2459000.5))
    assert open_catalog(made.path).settings.reference_time == 2459000.5


def test_catalog_of_target_pixel_files_alone(tmp_path):
    write_tpf(tmp_path / tpf_name(11), 11, corner=(500, 600))
    (tmp_path / "sub").mkdir()
    write_tpf(tmp_path / "sub" / tpf_name(12), 12, corner=(700, 900))
    pixels = [(606, 505), (906, 705), (750, 600), (750, 900)]
    source = star_csv(tmp_path / "stars.csv", [sky(*pixel) for pixel in pixels])
    (made,) = make_catalogs(tmp_path, CatalogOptions(source=source, buffer=0.05))
    assert open_catalog(made.path).stars["starid"].tolist() == [1, 2, 3]
    assert open_catalog(made.path).settings.source == "table"
    (made,) = make_catalogs(tmp_path, CatalogOptions(source="headers", overwrite=True))
    catalog = open_catalog(made.path)
    assert catalog.stars["starid"].tolist() == [11, 12]
    assert catalog.settings.ticver == "8.2"
    assert catalog.stars["tmag"].tolist() == [10.0, 10.0]
    assert catalog.only_targets
    with sqlite3.connect(made.path) as plain:
        plain.execute("ALTER TABLE settings DROP COLUMN source")
    plain.close()
    # As another program makes it: with all stars, as far as is known.
    assert not open_catalog(made.path).only_targets


def test_fields_can_be_chosen(tmp_path):
    write_cube(tmp_path, (0, 44), (20, 20), ccd=1)
    write_cube(tmp_path, (0, 44), (20, 20), ccd=2)
    assert [f.ccd for f in find_fields(tmp_path)] == [1, 2]
    assert [f.ccd for f in find_fields(tmp_path, sector=1, ccd=2)] == [2]
    with pytest.raises(MissingInput, match="of that sector, camera and CCD"):
        find_fields(tmp_path, camera=4)


def test_wrong_options_and_empty_folders(tmp_path):
    with pytest.raises(MissingInput, match="no such folder"):
        list(make_catalogs(tmp_path / "none", CatalogOptions(source="headers")))
    with pytest.raises(MissingInput, match="no full frame images"):
        list(make_catalogs(tmp_path, CatalogOptions(source="headers")))
    with pytest.raises(UsageError, match="buffer"):
        list(make_catalogs(tmp_path, CatalogOptions(source="headers", buffer=-1)))
    with pytest.raises(UsageError, match="Julian date"):
        list(make_catalogs(tmp_path, CatalogOptions(source="headers", reference_time=1325.0)))
    write_cube(tmp_path, (0, 44), (20, 20))
    source = star_csv(tmp_path / "stars.csv", [(180.0, 30.0)])
    with pytest.raises(InputError, match="no star in the footprint of any CCD"):
        list(make_catalogs(tmp_path, CatalogOptions(source=source)))
    assert not list(tmp_path.glob("catalog*"))


def test_the_command(tmp_path, capsys):
    import argparse

    from tasoc_mpi.commands import catalog as command

    write_cube(tmp_path, (900, 900), (300, 400))
    source = star_csv(tmp_path / "stars.csv", [sky(1000, 1000)])
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert command.main(parser.parse_args([str(tmp_path), "--from", source])) == 0
    assert capsys.readouterr().out.startswith("sector 1 camera 2 CCD 3: 1 stars at epoch 2018.56")
    with pytest.raises(SystemExit) as caught:
        parser.parse_args([str(tmp_path)])
    assert caught.value.code == 2


@pytest.mark.real
def test_a_frame_without_a_wcs_in_the_middle_is_passed_over(real_ffi_folder):
    (whole,) = real_ffi_folder.glob("*.fits")
    names = [whole.name.replace("2018206192942", f"201820{i}000000") for i in (7, 8, 9)]
    for name in names:
        shutil.copy(whole, real_ffi_folder / name)
    whole.unlink()

    def spoil(name):
        (real_ffi_folder / name).chmod(0o644)
        with fits.open(real_ffi_folder / name, mode="update") as hdus:
            for card in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
                hdus[1].header[card] = 0.0

    spoil(names[1])
    (field,) = find_fields(real_ffi_folder)
    np.testing.assert_allclose(field.centre, (324.5670, -33.1730), atol=0.002)
    spoil(names[0])
    spoil(names[2])
    with pytest.raises(InputError, match=r"208000000.*neither it nor the other 2 frames"):
        find_fields(real_ffi_folder)
