"""The comparison of two sets of light curves."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from known_results import make_folder

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.products.packed import PackReader, PackWriter
from tasoc_mpi.report.comparison import compare_sources, comparison_text
from tasoc_mpi.report.curve_difference import curve_difference
from tasoc_mpi.report.curve_sources import open_source
from tasoc_mpi.report.results import Curve, read_curve
from tasoc_mpi.worklist import listed_lightcurves

#: Rows of the work list of `make_folder`, and those of them that have a light curve.
ROWS, CURVES = 9, 3


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("made"))


@pytest.fixture
def runs(made, tmp_path) -> tuple[Path, Path]:
    """Two folders with the same results."""
    return tuple(shutil.copytree(made, tmp_path / name) for name in "ab")


def compare(*options: object) -> int:
    return cli.main(["--quiet", "compare", *map(str, options)])


def as_json(capsys, *options: object) -> tuple[int, dict]:
    capsys.readouterr()
    status = compare(*options, "--json")
    return status, json.loads(capsys.readouterr().out)


def curves(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*_lc.fits.gz"))


def change(path: Path, column: str, row: int, value: float) -> None:
    """Change a value of the table of a light curve file."""
    with fits.open(path) as hdus:
        hdus["LIGHTCURVE"].data[column][row] = value
        hdus.writeto(path, overwrite=True)


def update(folder: Path, query: str, name: str = "todo.sqlite") -> None:
    with closing(sqlite3.connect(folder / name)) as conn, conn:
        conn.execute(query)


def test_identical_runs_agree(runs, capsys):
    status, found = as_json(capsys, *runs)
    assert (status, found["same"], found["unreadable"]) == (0, True, 0)
    assert len(found["stars"]) == ROWS
    assert [star["light_curves"] for star in found["stars"]].count("compared") == CURVES
    for star in found["stars"]:
        assert star["same"]
        if star["light_curves"] == "compared":
            assert star["flux_ratio"] == star["rms_hour_ratio"] == star["ptp_ratio"] == 1
            assert star["mask_a"] == star["mask_b"] == star["mask_common"] > 0
            assert star["cadences_common"] == 120
            # Neither has a correction.
            assert star["differences"].pop("corrected") is None
            assert set(star["differences"].values()) == {0}
    assert compare(*runs) == 0
    text = capsys.readouterr().out
    assert f"agree within 0: {ROWS} of {ROWS}\n" in text
    assert "largest differences" not in text


@pytest.mark.parametrize(("column", "name"), [("FLUX_RAW", "flux"), ("FLUX_BKG", "flux_background")])
def test_one_changed_value_is_found_and_named(runs, capsys, column, name):
    path = curves(runs[1])[1]
    before = read_curve(path)
    values = getattr(before, name)
    change(path, column, 20, values[20] * 1.01)
    expected = abs(values[20] * 1.01 - values[20]) / np.nanmedian(np.abs(values))
    status, found = as_json(capsys, *runs)
    different = [star for star in found["stars"] if not star["same"]]
    assert (status, len(different)) == (1, 1)
    assert different[0]["starid"] == 1001
    assert different[0]["differences"][name] == pytest.approx(expected, rel=1e-12)
    assert sum(1 for value in different[0]["differences"].values() if value) == 1
    assert compare(*runs, "--number", 1) == 1
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("TIC 1001 ")]
    assert f" {name} " in line
    assert compare(*runs, "--tolerance", expected * 0.99) == 1
    assert compare(*runs, "--tolerance", expected * 1.01) == 0


@pytest.mark.parametrize(
    ("column", "value", "name", "expected"),
    [
        ("FLUX_RAW", np.nan, "missing", 1 / 120),
        ("PIXEL_QUALITY", 16, "flags", 1 / 120),
        ("QUALITY", 8, "flags", 1 / 120),
        ("CADENCENO", 5000, "cadences", 2 / 121),
        ("FLUX_CORR", 3.0, "missing", 1 / 120),
        ("TIME", 1325.3 + 20 / 48 + 18 / 86400, "time", 0.01),
    ],
)
def test_every_kind_of_difference_counts(runs, capsys, column, value, name, expected):
    change(curves(runs[1])[0], column, 20, value)
    status, found = as_json(capsys, *runs)
    (star,) = [star for star in found["stars"] if not star["same"]]
    assert status == 1
    assert star["differences"][name] == pytest.approx(expected, rel=1e-6)


def test_masks_are_compared_by_their_pixels_of_the_ccd(made):
    """Stamps of other sizes and places hold the same pixels."""
    curve = read_curve(curves(made)[0])
    size = int(curve.mask.sum())
    moved = dataclasses.replace(
        curve, mask=np.pad(curve.mask, ((2, 1), (3, 0))), corner=(curve.corner[0] - 2, curve.corner[1] - 3)
    )
    found = curve_difference(curve, moved, 1800)
    assert (found["mask"], found["mask_common"]) == (0, size)
    one_column = dataclasses.replace(curve, corner=(curve.corner[0], curve.corner[1] + 1))
    rows, columns = np.nonzero(curve.mask)
    pixels = set(zip(rows.tolist(), columns.tolist(), strict=True))
    common = len(pixels & {(row, column + 1) for row, column in pixels})
    found = curve_difference(curve, one_column, 1800)
    assert found["mask_common"] == common < size
    assert found["mask"] == pytest.approx(1 - common / (2 * size - common))


def test_ratios_against_numpy():
    """Of the cadences that both have and that are good in both."""
    rng = np.random.default_rng(5)
    n = 480

    def make(cadences: np.ndarray, scale: float, noise: float) -> Curve:
        flux = scale * (1000 + rng.normal(0, noise, len(cadences)))
        zeros = np.zeros(len(cadences), "i4")
        return Curve(
            Path("x"), np.ones((2, 2), bool), (10, 10), time=1325 + (cadences + 0.3) / 145.0, flux=flux,
            flux_err=np.ones_like(flux), flux_background=np.full_like(flux, 7.0), cadenceno=cadences,
            corrector_quality=zeros, quality=zeros.copy(), corrected=np.full_like(flux, np.nan),
        )  # fmt: skip

    a, b = make(np.arange(n), 1.0, 2.0), make(np.arange(60, n + 60), 1.2, 6.0)
    a.quality[100:110] = 32
    b.flux[200] = 1e9
    b.quality[200] = 32
    found = curve_difference(a, b, 600)
    assert (found["cadences_common"], found["cadences"]) == (n - 60, pytest.approx(120 / (n + 60)))
    good = np.ones(n - 60, bool)
    good[40:50] = good[200] = False
    first, second = a.flux[60:], b.flux[:-60]
    assert found["flux_ratio"] == np.median((second / first)[good])
    pairs = good[1:] & good[:-1]
    for curve, flux, side in ((a, first, "a"), (b, second, "b")):
        time = curve.time[np.isin(curve.cadenceno, np.arange(60, n))]
        hours = np.floor((time - time[0]) * 24)
        relative = flux / np.median(flux[good]) - 1
        assert found[f"ptp_{side}"] == pytest.approx(np.median(np.abs(np.diff(relative))[pairs]))
        means = np.array([relative[good & (hours == h)].mean() for h in np.unique(hours[good])])
        scatter = 1.4826 * np.median(np.abs(means - np.median(means)))
        assert found[f"rms_hour_{side}"] == pytest.approx(scatter, rel=1e-9)
    assert found["ptp_ratio"] == found["ptp_b"] / found["ptp_a"]
    assert found["ptp_ratio"] == pytest.approx(3, rel=0.2)
    assert found["flux"] == pytest.approx(np.abs(second - first).max() / np.median(first))
    assert found["flux_background"] == found["time"] == found["mask"] == 0
    assert found["flags"] == pytest.approx(11 / (n - 60))


def test_light_curves_without_a_common_cadence(made):
    curve = read_curve(curves(made)[0])
    later = dataclasses.replace(curve, cadenceno=curve.cadenceno + 1000)
    found = curve_difference(curve, later, 1800)
    assert found["cadences"] == 1
    assert np.isnan(found["flux_ratio"])
    assert np.isnan(found["rms_hour_ratio"])


def test_stars_that_only_one_has(runs, capsys):
    update(runs[1], "DELETE FROM todolist WHERE starid = 1002")
    status, found = as_json(capsys, *runs)
    assert (status, found["same"]) == (1, False)
    assert [star["starid"] for star in found["only_a"]] == [1002]
    assert found["only_b"] == []
    assert len(found["stars"]) == ROWS - 1
    assert all(star["same"] for star in found["stars"])
    assert compare(*reversed(runs)) == 1
    assert "only in B: TIC 1002 sector 1 1800 s" in capsys.readouterr().out
    # However large the tolerance.
    assert compare(*runs, "--tolerance", 1e9) == 1


def test_status_that_differs(runs, capsys):
    update(runs[1], "UPDATE todolist SET status = 2 WHERE priority = 4")
    status, found = as_json(capsys, *runs)
    assert (status, found["status_changes"]) == (1, [{"a": "WARNING", "b": "ERROR", "stars": 1}])
    (star,) = [star for star in found["stars"] if not star["same"]]
    assert (star["starid"], star["status_a"], star["status_b"]) == (1003, "WARNING", "ERROR")
    assert compare(*runs) == 1
    assert "status WARNING in A, ERROR in B: 1\n" in capsys.readouterr().out


def test_missing_and_damaged_files_are_counted_and_named(runs, capsys):
    first, second, _ = curves(runs[1])
    first.unlink()
    second.write_bytes(second.read_bytes()[:3000])
    status, found = as_json(capsys, *runs)
    assert (status, found["unreadable"]) == (1, 2)
    assert [name in error for name, error in zip((first.name, second.name), found["errors"], strict=True)]
    assert [str(path) in "".join(found["errors"]) for path in (first, second)] == [True, True]
    states = [star["light_curves"] for star in found["stars"]]
    assert (states.count("unreadable"), states.count("compared")) == (2, 1)
    assert compare(*runs, "--number", 1, "--tolerance", 10) == 1
    text = capsys.readouterr().out
    assert "files that cannot be read: 2" in text
    assert (text.count(str(first)), text.count(str(second))) == (1, 0)


def test_the_list_of_a_method(runs, capsys):
    """Its light curves are in a folder of its own."""
    folder = runs[1]
    shutil.copy(folder / "todo.sqlite", folder / "todo-linpsf.sqlite")
    shutil.copytree(folder / "curves", folder / "other")
    update(folder, "UPDATE photometry_output SET output = 'other'", "todo-linpsf.sqlite")
    path = curves(folder / "other")[0]
    change(path, "FLUX_RAW", 3, 0.0)
    assert compare(runs[0], folder) == 0
    status, found = as_json(capsys, folder, folder / "todo-linpsf.sqlite")
    assert status == 1
    assert found["b"].endswith("todo-linpsf.sqlite")
    assert sum(not star["same"] for star in found["stars"]) == 1
    with pytest.raises(InputError, match=r"a work list is named todo\.sqlite or todo-METHOD\.sqlite"):
        open_source(shutil.copy(folder / "todo.sqlite", folder / "list.sqlite"))


def test_folders_of_files_packs_and_single_files(runs, capsys, monkeypatch):
    """Stars without a light curve do not count where one of the two is no work list."""
    status, found = as_json(capsys, runs[0], runs[1] / "curves")
    assert (status, len(found["stars"])) == (0, CURVES)
    assert {star["status_b"] for star in found["stars"]} == {None}
    packed = runs[0].parent / "packed_run"
    pack = PackWriter(packed)
    for path in curves(runs[1]):
        pack(path.relative_to(runs[1] / "curves").as_posix(), path.read_bytes())
    pack.close()
    opened = []

    class CountedReader(PackReader):
        def __init__(self, path):
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(listed_lightcurves, "PackReader", CountedReader)
    assert compare(runs[0], packed) == 0
    assert len(opened) == 1
    assert compare(packed, packed) == 0
    assert len(opened) == 2
    monkeypatch.setattr(listed_lightcurves.OpenPacks, "MOST", 0)
    assert compare(packed, packed) == 0
    assert len(opened) == 2 + 2 * CURVES
    # A name that says nothing: the header does.
    path = curves(runs[1])[0]
    plain = runs[1] / "mine_lc.fits"
    key = {"TICID": 1000, "SECTOR": 1, "CAMERA": 1, "CCD": 1}
    with fits.open(path) as hdus:
        hdus[0].header.update(key)
        hdus["LIGHTCURVE"].header["TIMEDEL"] = 1800 / 86400
        hdus.writeto(plain)
    (runs[1] / "same_lc.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    monkeypatch.chdir(runs[1])
    status, found = as_json(capsys, "same_lc.fits.gz", plain.name)
    assert (status, len(found["stars"])) == (0, 1)
    assert {name: found["stars"][0][name] for name in ("starid", "sector", "cadence")} == {
        "starid": 1000, "sector": 1, "cadence": 1800,
    }  # fmt: skip
    (runs[1] / "other_lc.fits").write_bytes(b"no FITS file")
    source = open_source(runs[1] / "other_lc.fits")
    assert (len(source.entries), len(source.unreadable)) == (0, 1)
    with pytest.raises(MissingInput, match="no such file or folder"):
        open_source(runs[1] / "nothing")
    (runs[1] / "empty").mkdir()
    with pytest.raises(MissingInput, match="nor light curves"):
        open_source(runs[1] / "empty")


def test_of_several_versions_the_last_counts(runs):
    folder = runs[1] / "curves"
    path = curves(folder)[0]
    newer = path.with_name(path.name.replace("-v06-", "-v07-"))
    assert newer != path
    shutil.copy(path, newer)
    source = open_source(folder)
    assert (len(source.entries), source.repeated) == (CURVES, 1)
    assert source.entries["file"][0].endswith(newer.name)
    lines = list(comparison_text(compare_sources(source, source)))
    assert lines[0].endswith(f": {CURVES} light curves, 1 of them left out for a later one")


def test_picture(runs, capsys, tmp_path):
    for path in curves(runs[1]):
        change(path, "FLUX_RAW", 30, 10100.0)
    picture = tmp_path / "picture.png"
    assert compare(*runs, "--picture", picture, "--json") == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["same"] is False
    assert f"picture: {picture}" in printed.err
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [["--tolerance", "-1"], ["--tolerance", "nan"], ["--number", "x"]])
def test_wrong_options(runs, capsys, options):
    with pytest.raises(SystemExit) as caught:
        cli.parse(["compare", *map(str, runs), *options])
    assert caught.value.code == 2
    assert "is not a number of 0 or more" in capsys.readouterr().err


@pytest.mark.real
def test_light_curves_of_the_mission(real, capsys, tmp_path):
    status, found = as_json(capsys, real / "lc", real / "lc")
    assert (status, found["unreadable"]) == (0, 0)
    assert len(found["stars"]) == 7
    path = next((real / "lc_spoc").iterdir())
    with fits.open(path) as hdus:
        data = hdus["LIGHTCURVE"].data
        mask = hdus["APERTURE"].data & 2 > 0
        curve = read_curve(path)
        assert curve.is_missions
        np.testing.assert_array_equal(curve.flux, data["SAP_FLUX"])
        np.testing.assert_array_equal(curve.cadenceno, data["CADENCENO"])
        np.testing.assert_array_equal(curve.quality, data["QUALITY"])
        np.testing.assert_array_equal(curve.mask, mask)
        assert curve.tmag == pytest.approx(hdus[0].header["TESSMAG"])
        data["SAP_FLUX"] *= 1.5
        hdus.writeto(tmp_path / "scaled_lc.fits")
    status, found = as_json(capsys, path, tmp_path)
    (star,) = found["stars"]
    assert (status, star["starid"], star["cadence"], star["mask_a"]) == (1, 25155310, 120, 9)
    assert star["flux_ratio"] == pytest.approx(1.5, rel=1e-6)
    assert star["rms_hour_ratio"] == pytest.approx(1, rel=1e-4)
