"""The catalog's file, its footprint, and proper motion."""

import os
import sqlite3

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.core.names import catalog_name
from tasoc_mpi.core.sphere import convex_hull, in_polygon, unit_vectors
from tasoc_mpi.products.star_catalog import (
    STAR_DTYPE,
    CatalogSettings,
    footprint_text,
    is_listed,
    julian_epoch,
    move_stars,
    open_catalog,
    write_catalog,
)

SETTINGS = CatalogSettings(1, 2, 3, "8.2", 2458338.5, 2018.6, 0.2, 10.0, -30.0, "1,2;3,4;5,-6")


def some_stars(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    stars = np.zeros(n, dtype=STAR_DTYPE)
    stars["starid"] = rng.permutation(np.arange(1, n + 1)) * 7
    for name in STAR_DTYPE.names[1:]:
        stars[name] = rng.uniform(1, 10, n)
    return stars


# --- the file ---


def test_catalog_comes_back_sorted_and_others_can_read_it(tmp_path):
    # The bytes of a name need not be text in the encoding of the locale.
    path = tmp_path / os.fsdecode(b"odd #name? 100% \xe9.sqlite")
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
    assert [is_listed(path, starid) for starid in (7 * 13, 7 * 13 + 1)] == [True, False]
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


def test_hull_holds_its_points_and_survives_its_text():
    rng = np.random.default_rng(2)
    for centre in ([0.0, 0.0], [0.0, 89.5], [359.9, -40.0]):
        points = centre + rng.uniform(-1, 1, (200, 2)) * [1 / np.cos(np.deg2rad(min(abs(centre[1]), 89))), 1]
        points[:, 1] = np.clip(points[:, 1], -90, 90)
        corners = np.array([pair.split(",") for pair in footprint_text(convex_hull(points)).split(";")], "f8")
        assert 3 <= len(corners) < 40
        assert in_polygon(*points.T, corners, 1e-5).all()
        # Every corner is one of the points.
        separation = unit_vectors(*corners.T) @ unit_vectors(*points.T).T
        np.testing.assert_allclose(separation.max(axis=1), 1.0, atol=1e-12)


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
