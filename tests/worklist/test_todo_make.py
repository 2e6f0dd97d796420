"""Filling the work list: which stars, in which order, with which method and area."""

import argparse
import logging
import shutil
import sqlite3
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import sky, tpf_name, write_cube, write_tpf

from tasoc_mpi.commands import todo as command
from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.core.names import catalog_name
from tasoc_mpi.products.star_catalog import STAR_DTYPE, CatalogSettings, write_catalog
from tasoc_mpi.stars.make_catalogs import CatalogOptions, make_catalogs
from tasoc_mpi.worklist.make_todo import cbv_area, fill_todo, prioritise
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.star_lists import read_rules
from tasoc_mpi.worklist.starid_file import read_starids


def put_catalog(folder, stars, centre=(0.0, -30.0), ccd=3) -> None:
    """A catalog with stars given as (starid, column, row, tmag)."""
    table = np.zeros(len(stars), dtype=STAR_DTYPE)
    table["teff"] = np.nan
    for row, (starid, column, line, tmag) in zip(table, stars, strict=True):
        row["starid"], row["tmag"] = starid, tmag
        row["ra"], row["decl"] = sky(column, line)
    made_for = CatalogSettings(1, 2, ccd, "8.2", 2458325.5, 2018.6, 0.2, *centre, "0,0;1,0;1,1")
    write_catalog(folder / catalog_name(1, 2, ccd), made_for, table)


def listed(folder) -> list[tuple]:
    """(starid, datasource, cadence, method) in order of priority."""
    with sqlite3.connect(folder / "todo.sqlite") as connection:
        rows = connection.execute(
            "SELECT priority, starid, datasource, cadence, method FROM todolist ORDER BY priority"
        ).fetchall()
    connection.close()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    return [row[1:] for row in rows]


# --- full frame images ---


def test_stars_whose_rounded_pixel_is_in_the_cube_and_above_the_limit(tmp_path):
    write_cube(tmp_path, (100, 200), (30, 40))
    put_catalog(
        tmp_path,
        [
            (1, 199.6, 110.0, 10.0),  # rounds to the first column
            (2, 199.4, 110.0, 9.0),  # rounds to one before it
            (3, 239.4, 129.4, 12.0),  # the last pixel
            (4, 239.6, 110.0, 8.0),
            (5, 210.0, 99.4, 7.0),
            (6, 210.0, 99.6, 6.0),
            (7, 220.0, 120.0, 15.0),  # as faint as the limit
            (8, 220.0, 120.0, 14.99),
            (9, 220.0, 129.6, 5.0),
            (10, 221.0, 120.0, np.nan),
            (11, 222.0, 120.0, 2.0),  # as bright as the limit of halo photometry
            (12, 223.0, 120.0, 2.01),
        ],
    )
    (summary,) = fill_todo(tmp_path)
    assert [row[0] for row in listed(tmp_path)] == [11, 12, 6, 1, 3, 8]
    assert {row[0]: row[3] for row in listed(tmp_path)} == {
        11: "halo",
        12: None,
        6: None,
        1: None,
        3: None,
        8: None,
    }
    assert {row[1:3] for row in listed(tmp_path)} == {("ffi", 1800)}
    assert (summary.ffi, summary.tpf, summary.secondary) == (6, 0, 0)


def test_the_faint_limit_is_an_option(tmp_path):
    write_cube(tmp_path, (100, 200), (30, 40))
    put_catalog(tmp_path, [(1, 210, 110, 10.0), (2, 212, 112, 12.0)])
    fill_todo(tmp_path, faint_limit=11.0)
    assert [row[0] for row in listed(tmp_path)] == [1]
    with pytest.raises(UsageError, match="faint limit"):
        fill_todo(tmp_path, faint_limit=np.nan, overwrite=True)


def test_collateral_pixels_are_no_place_for_a_star(tmp_path):
    # A cube that (wrongly) starts before the first science column, 44.
    write_cube(tmp_path, (0, 40), (30, 40))
    put_catalog(tmp_path, [(1, 43.4, 10, 10.0), (2, 43.6, 10, 10.0)])
    fill_todo(tmp_path)
    assert [row[0] for row in listed(tmp_path)] == [2]


def test_area_by_hand():
    # sqrt(12^2 + 12^2) = 16.97: quarters end at 4.2426, 8.4853 and 12.7279 degrees.
    distance = np.array([0.0, 4.24, 4.25, 8.48, 8.49, 12.72, 12.73, 17.0])
    expected = [421, 421, 422, 422, 423, 423, 424, 424]
    assert cbv_area(np.full(8, 359.0), -50 + distance, 4, 2, (359.0, -50.0)).tolist() == expected
    # Through the pole, where right ascension jumps by half a turn.
    assert cbv_area(np.array([180.0]), np.array([85.0]), 1, 3, (0.0, 90.0 - 3.0)).tolist() == [132]
    # A degree of right ascension is no degree on the sky.
    assert cbv_area(np.array([8.0]), np.array([60.0]), 1, 3, (0.0, 60.0)).tolist() == [131]


def test_area_is_from_the_catalogs_camera_centre(tmp_path):
    write_cube(tmp_path, (100, 200), (30, 40))
    put_catalog(tmp_path, [(1, 210, 110, 10.0)], centre=(sky(210, 110)[0], sky(210, 110)[1] + 9.0))
    fill_todo(tmp_path)
    with sqlite3.connect(tmp_path / "todo.sqlite") as connection:
        assert connection.execute("SELECT cbv_area, sector, camera, ccd FROM todolist").fetchall() == [
            (233, 1, 2, 3)
        ]
    connection.close()


# --- target pixel files ---


@pytest.fixture
def two_stamps(tmp_path):
    """Stamps of stars 100 (columns 600-612, rows 500-510) and 200 (606-618, 500-510)."""
    aperture = np.ones((11, 13), dtype="i4")
    aperture[0, :] = 64
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600), aperture=aperture)
    write_tpf(tmp_path / tpf_name(200), 200, corner=(500, 606))
    return tmp_path


def test_other_stars_on_collected_pixels_are_secondary_targets(two_stamps):
    put_catalog(
        two_stamps,
        [
            (100, 602, 505, 16.0),  # a target however faint it is
            (200, 609, 505, 11.0),  # in the stamp of 100 as well, but has its own
            (1, 601, 505, 12.0),
            (2, 604, 500, 12.1),  # on a pixel that was not collected
            (3, 599.4, 505, 12.2),  # rounds to outside
            (4, 599.6, 505, 12.3),
            (5, 603, 505, 15.0),  # as faint as the limit
            (6, 616, 505, 12.4),
            (7, 616, 511.0, 12.5),
        ],
    )
    (summary,) = fill_todo(two_stamps)
    assert [row[:3] for row in listed(two_stamps)] == [
        (200, "tpf", 120),
        (1, "tpf:100", 120),
        (4, "tpf:100", 120),
        (6, "tpf:200", 120),
        (100, "tpf", 120),
    ]
    assert (summary.ffi, summary.tpf, summary.secondary) == (0, 2, 3)


def test_a_star_in_several_stamps_keeps_the_one_where_it_is_farthest_from_the_edge(two_stamps):
    put_catalog(
        two_stamps,
        [
            (100, 602, 505, 10.0),
            (200, 616, 505, 10.0),
            # Between the columns 606 and 612 that both have: nearer to the edge of one or the other.
            (1, 608.9, 505, 11.0),
            (2, 609.1, 505, 12.0),
            (3, 609.0, 506, 13.0),  # equally far: the smaller number
        ],
    )
    fill_todo(two_stamps)
    sources = {row[0]: row[1] for row in listed(two_stamps)}
    assert sources == {100: "tpf", 200: "tpf", 1: "tpf:100", 2: "tpf:200", 3: "tpf:100"}


def test_the_edge_counts_in_rows_too(tmp_path):
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600), shape=(11, 11))
    write_tpf(tmp_path / tpf_name(200), 200, corner=(504, 600), shape=(11, 11))
    put_catalog(
        tmp_path, [(100, 605, 502, 10.0), (200, 605, 513, 10.0), (1, 605, 506.5, 11.0), (2, 605, 507.5, 12.0)]
    )
    fill_todo(tmp_path)
    sources = {row[0]: row[1] for row in listed(tmp_path)}
    assert (sources[1], sources[2]) == ("tpf:100", "tpf:200")


def test_both_cadences_of_a_target_are_listed(tmp_path):
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600))
    write_tpf(tmp_path / tpf_name(100, fast=True), 100, corner=(500, 600))
    put_catalog(tmp_path, [(100, 605, 505, 10.0), (1, 607, 507, 11.0)])
    fill_todo(tmp_path)
    assert [row[:3] for row in listed(tmp_path)] == [
        (100, "tpf", 20),
        (100, "tpf", 120),
        (1, "tpf:100", 20),
        (1, "tpf:100", 120),
    ]


def test_without_a_catalog_the_target_comes_from_the_header_and_the_log_says_so(tmp_path, caplog):
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600), cards={"TESSMAG": 9.25})
    with caplog.at_level(logging.WARNING):
        fill_todo(tmp_path)
    assert "catalog_sector001_camera2_ccd3.sqlite: no such catalog" in caplog.text
    with sqlite3.connect(tmp_path / "todo.sqlite") as connection:
        rows = connection.execute("SELECT starid, datasource, tmag, cbv_area FROM todolist").fetchall()
    connection.close()
    # Camera 2, CCD 3: the centre is near column 2151, row 2106; 2220 pixels of 20 arcsec are 12.3 degrees.
    assert rows == [(100, "tpf", 9.25, 233)]


def test_a_target_without_any_wcs_has_an_area_and_no_secondaries(tmp_path, caplog):
    path = tmp_path / tpf_name(100)
    write_tpf(path, 100, corner=(500, 600), aperture_wcs=False, column_wcs=False)
    fill_todo(tmp_path)
    put_catalog(tmp_path, [(100, 605, 505, 10.0), (1, 607, 507, 11.0)])
    with caplog.at_level(logging.WARNING):
        fill_todo(tmp_path, overwrite=True)
    assert [row[0] for row in listed(tmp_path)] == [100]
    assert f"{path} has no usable WCS" in caplog.text


def test_a_target_that_its_catalog_lacks_is_listed_and_the_log_says_so(tmp_path, caplog):
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600))
    put_catalog(tmp_path, [(1, 607, 507, 11.0)])
    with caplog.at_level(logging.WARNING):
        fill_todo(tmp_path)
    assert [row[0] for row in listed(tmp_path)] == [100, 1]
    assert "TIC 100 has a target pixel file, but is not in" in caplog.text


@pytest.mark.real
def test_real_target_pixel_file(real, tmp_path):
    name = "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz"
    shutil.copy(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz", tmp_path / name)
    table = tmp_path / "stars.csv"
    # The target as its header has it, and a neighbour 40 arcsec north.
    table.write_text(
        "ID,ra,dec,pmRA,pmDEC,Tmag\n25155310,63.37389,-69.226789,63.0735,53.6783,10.555\n"
        "7,63.37389,-69.2157,,,13\n8,63.37389,-69.1,,,13\n"
    )
    (made,) = make_catalogs(tmp_path, CatalogOptions(source=str(table)))
    assert made.stars == 3
    (summary,) = fill_todo(tmp_path)
    assert (summary.sector, summary.camera, summary.ccd) == (1, 4, 1)
    assert listed(tmp_path) == [(25155310, "tpf", 120, None), (7, "tpf:25155310", 120, None)]


# --- order and rules ---

rows = st.tuples(
    st.sampled_from([5.0, 5.5, 10.0, np.nan]),
    st.integers(1, 4),
    st.sampled_from(["ffi", "tpf", "tpf:9", "tpf:10"]),
    st.sampled_from([20, 120, 1800]),
    st.integers(1, 2),
)


@given(st.lists(rows, unique_by=lambda r: r[1:], min_size=1), st.randoms())
def test_priority_goes_by_magnitude_and_never_by_the_order_of_discovery(values, random):
    table = np.zeros(len(values), dtype=TODO_DTYPE)
    for row, (tmag, starid, source, cadence, sector) in zip(table, values, strict=True):
        row["tmag"], row["starid"], row["datasource"] = tmag, starid, source
        row["cadence"], row["sector"] = cadence, sector
    order = list(range(len(values)))
    random.shuffle(order)
    result = prioritise(table[order])
    expected = sorted(values, key=lambda r: (np.isnan(r[0]), 0 if np.isnan(r[0]) else r[0], *r[1:]))
    found = [(r["tmag"], r["starid"], r["datasource"], r["cadence"], r["sector"]) for r in result]
    assert str([tuple(map(str, r)) for r in found]) == str([tuple(map(str, r)) for r in expected])
    assert result["priority"].tolist() == list(range(1, len(values) + 1))


def test_exclusions_and_methods(tmp_path):
    write_cube(tmp_path, (480, 590), (50, 50))
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600))
    put_catalog(
        tmp_path, [(100, 605, 505, 10.0), (1, 607, 507, 11.0), (2, 620, 520, 12.0), (3, 620, 522, 1.0)]
    )
    (tmp_path / "exclude.txt").write_text("# nobody likes this star\n2 * *\n1 1 ffi # nor this\n100 2 *\n\n")
    (tmp_path / "methods.txt").write_text(
        "100 * * psf\n100 1 tpf linpsf\n1 * tpf:100 halo\n3 1 ffi aperture\n"
    )
    fill_todo(tmp_path, exclude=tmp_path / "exclude.txt", methods=tmp_path / "methods.txt")
    assert listed(tmp_path) == [
        (3, "ffi", 1800, "aperture"),
        (100, "ffi", 1800, "psf"),
        (100, "tpf", 120, "linpsf"),
        (1, "tpf:100", 120, "halo"),
    ]


@pytest.mark.parametrize(
    ("text", "methods", "words"),
    [
        ("1 2\n", False, "line 1: 2 words, expected STARID SECTOR DATASOURCE"),
        ("1,2,ffi\n", False, "line 1: 1 word, expected STARID SECTOR DATASOURCE, separated by blanks"),
        ("# old\r1 2 ffi\rx\r", False, "line 3: 1 word"),
        ("# fine\n1 2 ffi psf\n", False, "line 2: DATA_RELEASE is . or a number, and not 'psf'"),
        ("1 2 ffi\n", True, "line 1: 3 words, expected STARID SECTOR DATASOURCE METHOD"),
        ("x 2 ffi\n", False, "line 1: STARID is a TIC number, and not 'x'"),
        ("123.7 2 ffi\n", False, "line 1: STARID is a TIC number, and not '123.7'"),
        ("-5 2 ffi\n", False, "line 1: STARID is a TIC number"),
        ("0 2 ffi\n", False, "line 1: STARID is a TIC number"),
        ("1_0 2 ffi\n", False, "line 1: STARID is a TIC number"),
        (f"{2**53} 2 ffi\n", False, "line 1: STARID is a TIC number"),
        (f"1{'0' * 5000} 2 ffi\n", False, "line 1: STARID is a TIC number, and not '10000"),
        ("1 2.5 ffi\n", False, "line 1: SECTOR is . or a number up to 9999, and not '2.5'"),
        ("1 0 ffi\n", False, "line 1: SECTOR is"),
        ("1 10000 ffi\n", False, "line 1: SECTOR is"),
        (f"1 2 tpf:{2**63}\n", False, "line 1: the STARID of a datasource tpf:STARID is a TIC number"),
        ("1 2 tpf:\n", False, "line 1: the STARID of a datasource"),
        ("1 2 cube\n", False, "line 1: datasource 'cube'"),
        ("1 2 ffi:3\n", False, "line 1: datasource 'ffi:3'"),
        ("1 2 tpf:x\n", False, "line 1: the STARID of a datasource tpf:STARID is a TIC number, and not 'x'"),
        ("1 2 ffi magic\n", True, "line 1: method 'magic', expected one of aperture"),
    ],
)
def test_bad_rules_are_named(tmp_path, text, methods, words):
    path = tmp_path / "rules.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_rules(path, methods)
    assert str(caught.value).startswith(f"{path}, line")


def test_lists_of_the_tasoc_pipeline(tmp_path, caplog):
    caplog.set_level("INFO")
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600), cards={"DATA_REL": 1})
    write_tpf(tmp_path / tpf_name(200), 200, corner=(700, 600), cards={"DATA_REL": 42})
    write_tpf(tmp_path / tpf_name(300), 300, corner=(900, 600), cards={"DATA_REL": 42})
    (tmp_path / "todolist-exclude.dat").write_text(
        "# Column 1: TIC\n"
        "100    1   tpf   1  No calibrated data.\n"
        "200    1   tpf   1  Wrong placement of stamp.\n"
    )
    (tmp_path / "todolist-methods.dat").write_text("300   1   tpf   HALO   Star spilling outside stamp.\n")
    fill_todo(tmp_path, exclude=tmp_path / "todolist-exclude.dat", methods=tmp_path / "todolist-methods.dat")
    # The pixels of star 200 are of another release than those that the rule is about.
    assert listed(tmp_path) == [(200, "tpf", 120, None), (300, "tpf", 120, "halo")]
    assert "list of exclusions: 1 of 2 rules fit, 1 rows are left out" in caplog.text
    assert "list of methods: 1 of 1 rules fit, 1 rows have a method by it" in caplog.text
    (tmp_path / "other.dat").write_text("7 1 tpf\n")
    caplog.set_level("WARNING")
    fill_todo(tmp_path, exclude=tmp_path / "other.dat", overwrite=True)
    assert "list of exclusions: 0 of 1 rules fit" in caplog.text
    (tmp_path / "all.dat").write_text("100 * *\n200 * *\n300 * *\n")
    with pytest.raises(InputError, match=r"all\.dat: excludes all 3 rows"):
        fill_todo(tmp_path, exclude=tmp_path / "all.dat", overwrite=True)


def test_rules_files_that_are_not_there_or_packaged(tmp_path):
    with pytest.raises(MissingInput, match="--exclude names it"):
        read_rules(tmp_path / "none", False)
    with pytest.raises(MissingInput, match="--methods names it"):
        read_rules(tmp_path / "none", True)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_rules(tmp_path / "binary", True)
    for methods in (False, True):
        assert isinstance(read_rules(None, methods), list)


# --- bad input ---


def test_folders_with_nothing_to_list(tmp_path, caplog):
    with pytest.raises(MissingInput, match="no such folder"):
        fill_todo(tmp_path / "none")
    with pytest.raises(InputError, match="no star brighter than Tmag 15 to list"):
        fill_todo(tmp_path)
    write_cube(tmp_path, (100, 200), (30, 40))
    with pytest.raises(InputError, match="no star brighter"), caplog.at_level(logging.WARNING):
        fill_todo(tmp_path)
    assert len(caplog.messages) == 1
    assert "camera2_ccd3.sqlite: no such catalog, so no star of this CCD's full frame images" in caplog.text
    assert not list(tmp_path.glob("todo*"))


def test_frames_without_a_cube_are_said_to_be_missing(tmp_path, caplog):
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600))
    (tmp_path / "tess2018206192942-s0001-2-3-0120-s_ffic.fits").touch()
    with caplog.at_level(logging.WARNING):
        fill_todo(tmp_path)
    assert (
        "sector001_camera2_ccd3.hdf5: no such cube, so its 1 full frame images are not listed" in caplog.text
    )


def test_a_work_list_is_only_replaced_when_asked(tmp_path):
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600))
    fill_todo(tmp_path)
    before = (tmp_path / "todo.sqlite").read_bytes()
    with pytest.raises(InputError, match="is there already; --overwrite"):
        fill_todo(tmp_path)
    assert (tmp_path / "todo.sqlite").read_bytes() == before
    fill_todo(tmp_path, overwrite=True)
    assert (tmp_path / "todo.sqlite").read_bytes() == before


def test_damaged_files_are_named_and_nothing_is_written(tmp_path):
    path = write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600))
    whole = path.read_bytes()
    path.write_bytes(whole[:9000])
    with pytest.raises(InputError, match=path.name):
        fill_todo(tmp_path)
    path.write_bytes(whole)
    (tmp_path / catalog_name(1, 2, 3)).write_bytes(b"no catalog" * 100)
    with pytest.raises(InputError, match=catalog_name(1, 2, 3)):
        fill_todo(tmp_path)
    assert not list(tmp_path.glob("todo*"))


def test_a_catalog_under_the_name_of_another_is_refused(tmp_path):
    write_cube(tmp_path, (100, 200), (30, 40))
    put_catalog(tmp_path, [(1, 210, 110, 10.0)], ccd=4)
    (tmp_path / catalog_name(1, 2, 4)).rename(tmp_path / catalog_name(1, 2, 3))
    with pytest.raises(InputError, match="of sector 1, camera 2, CCD 4 by its own account"):
        fill_todo(tmp_path)


def test_a_hundred_thousand_stars_take_seconds(tmp_path):
    write_cube(tmp_path, (0, 44), (512, 512))
    rng = np.random.default_rng(1)
    stars = np.zeros(100_000, dtype=STAR_DTYPE)
    stars["teff"] = np.nan
    stars["starid"] = np.arange(1, len(stars) + 1)
    corner, other = sky(44, 0), sky(555, 511)
    stars["ra"] = rng.uniform(other[0], corner[0], len(stars))
    stars["decl"] = rng.uniform(corner[1], other[1], len(stars))
    stars["tmag"] = rng.uniform(5, 16, len(stars))
    made_for = CatalogSettings(1, 2, 3, "8.2", 2458325.5, 2018.6, 0.2, 0.0, -30.0, "0,0;1,0;1,1")
    write_catalog(tmp_path / catalog_name(1, 2, 3), made_for, stars)
    fill_todo(tmp_path)
    start = time.process_time()
    (summary,) = fill_todo(tmp_path, overwrite=True)
    assert time.process_time() - start < 10
    assert summary.ffi > 70_000


def test_the_command(tmp_path, capsys):
    write_cube(tmp_path, (480, 590), (50, 50))
    write_tpf(tmp_path / tpf_name(100), 100, corner=(500, 600))
    put_catalog(tmp_path, [(100, 605, 505, 10.0), (1, 607, 507, 11.0), (2, 620, 520, 14.0)])
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert command.main(parser.parse_args([str(tmp_path), "--faint-limit", "13"])) == 0
    line = "sector 1 camera 2 CCD 3: 2 stars of full frame images, 1 of target pixel files, 1 secondary\n"
    assert capsys.readouterr().out == line


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(595, 625), st.floats(495, 515)), min_size=1, max_size=30))
def test_no_star_is_listed_twice_for_the_same_data(tmp_path_factory, places):
    folder = tmp_path_factory.mktemp("many")
    for k, column in enumerate((600, 604, 609)):
        write_tpf(folder / tpf_name(1000 + k), 1000 + k, corner=(500, column))
    stars = [(i + 1, column, row, 10.0 + i / 100) for i, (column, row) in enumerate(places)]
    put_catalog(folder, stars)
    fill_todo(folder)
    found = [row[:3] for row in listed(folder) if row[1] != "tpf"]
    assert len({row[0] for row in found}) == len(found)
    # Each is listed where it is in a stamp at all.
    inside = {s[0] for s in stars if 500 <= round(s[2]) <= 510 and 600 <= round(s[1]) <= 621}
    assert {row[0] for row in found} == inside


@pytest.mark.parametrize("first", ["25155310.0", "-5", "123456789012345678", "2.5e7"])
def test_a_number_that_is_none_of_a_star_is_no_name_of_a_column(tmp_path, first):
    path = tmp_path / "stars.txt"
    path.write_text(f"{first}\n38846515\n")
    with pytest.raises(InputError, match=r"line 1: .* is not a TIC number"):
        read_starids(path)
    path.write_text("TIC,Tmag\n38846515,8.1\n")
    assert read_starids(path) == [38846515]
