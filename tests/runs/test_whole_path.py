"""The whole path through the command line, and what it says to input that it cannot use."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from tasoc_mpi import cli
from tasoc_mpi.products.cube import FORMAT_VERSION

CUBE, CATALOG = "sector001_camera1_ccd1.hdf5", "catalog_sector001_camera1_ccd1.sqlite"


def complaint(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """Exit status of a command and the one line that it wrote to stderr about it."""
    capsys.readouterr()
    try:
        status = cli.main([str(word) for word in words])
    except SystemExit as exit_of_the_parser:  # wrong options
        status = int(exit_of_the_parser.code or 0)
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return status, lines[0]


# --- Real data ---------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("with_catalog", [True, False])
def test_the_real_target_pixel_file_becomes_a_light_curve(real, tmp_path, with_catalog, caplog):
    name = "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz"
    shutil.copy(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz", tmp_path / name)
    header = fits.getheader(tmp_path / name)
    if with_catalog:
        # The columns of the TIC, with the star and one that the mission does not know at its side.
        star = {"ID": 25155310, "ra": header["RA_OBJ"], "dec": header["DEC_OBJ"], "Teff": header["TEFF"]}
        star |= {"pmRA": header["PMRA"], "pmDEC": header["PMDEC"], "Tmag": header["TESSMAG"]}
        faint = {**star, "ID": 777, "dec": header["DEC_OBJ"] + 5 / 3600, "Tmag": 16.0}
        Table(rows=[star, faint]).write(tmp_path / "stars.ecsv")
        assert cli.main(["catalog", str(tmp_path), "--from", str(tmp_path / "stars.ecsv")]) == 0
    assert cli.main(["todo", str(tmp_path)]) == 0
    assert cli.main(["run", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").rglob("*_lc.fits.gz")
    with fits.open(path, checksum=True) as hdus:
        flux = np.nanmedian(hdus[1].data["FLUX_RAW"])
        mask = hdus["APERTURE"].data & 2 != 0
    with fits.open(tmp_path / name) as hdus:
        published = hdus["APERTURE"].data & 2 != 0
        good = hdus[1].data["QUALITY"] == 0
        total = np.nanmedian(hdus[1].data["FLUX"][good].sum(axis=(1, 2)))
    assert mask[published].all()
    # More pixels than SPOC's nine, but not more light than there is.
    assert 8030 < flux < 1.1 * total
    with sqlite3.connect(tmp_path / "todo.sqlite") as conn:
        ((status,),) = conn.execute("SELECT status FROM todolist").fetchall()
    conn.close()
    assert status in (1, 3)


# --- Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["prepare"],
        ["catalog", "--from", "headers"],
        ["todo"],
        ["run"],
        ["status"],
        ["summary"],
    ],
    ids=lambda words: words[0],
)
def test_missing_folder(capsys, tmp_path, words):
    folder = tmp_path / "nowhere"
    status, line = complaint(capsys, words[0], folder, *words[1:])
    assert status == 1
    assert "nowhere" in line
    assert not folder.exists()


def test_empty_folder(capsys, tmp_path):
    for command in ("prepare", "todo", "run"):
        status, line = complaint(capsys, command, tmp_path)
        assert status == 1
        assert str(tmp_path) in line
    assert not any(path.name.endswith((".hdf5", ".sqlite")) for path in tmp_path.iterdir())


def spoil_version(path: Path) -> str:
    with h5py.File(path, "r+") as file:
        file.attrs["FORMAT_VERSION"] = FORMAT_VERSION + 1
    return f"format {FORMAT_VERSION + 1}"


def spoil_unfinished(path: Path) -> str:
    with h5py.File(path, "r+") as file:
        file.attrs["COMPLETE"] = False
    return "unfinished"


def spoil_truncated(path: Path) -> str:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return "truncated|cannot be read"


def spoil_text(path: Path) -> str:
    path.write_text("no cube")
    return "cannot be read"


def spoil_tasoc(path: Path) -> str:
    path.unlink()
    with h5py.File(path, "w") as file:
        file.create_group("images")
    return "TASOC"


@pytest.mark.parametrize("spoil", [spoil_version, spoil_unfinished, spoil_truncated, spoil_text, spoil_tasoc])
def test_cubes_that_cannot_be_used(capsys, simulated, tmp_path, spoil):
    folder = simulated.copy(tmp_path)
    what = spoil(folder / CUBE)
    status, line = complaint(capsys, "todo", folder, "--overwrite")
    assert status == 1
    assert CUBE in line
    assert any(word in line for word in what.split("|"))
    # The stars of a run are errors with that reason, and the run goes on.
    assert cli.main(["run", str(folder), "--datasource", "ffi", "--tmag-max", "11"]) == 1
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        join = "todolist JOIN diagnostics USING (priority)"
        rows = conn.execute(f"SELECT status, errors FROM {join}").fetchall()
    conn.close()
    assert rows
    assert all(s == 2 and CUBE in errors for s, errors in rows)
    assert not list(folder.rglob("*_lc.fits.gz"))


@pytest.mark.parametrize("text", ["no catalog", ""])
def test_catalogs_that_cannot_be_used(capsys, simulated, tmp_path, text):
    folder = simulated.copy(tmp_path)
    (folder / CATALOG).write_text(text)
    status, line = complaint(capsys, "todo", folder, "--overwrite")
    assert status == 1
    assert CATALOG in line


def test_truncated_frame(capsys, simulated, tmp_path):
    for path in sorted((simulated.folder / "ffi").iterdir())[:4]:
        shutil.copy(path, tmp_path / path.name)
    with open(path, "rb") as whole:
        (tmp_path / path.name).write_bytes(whole.read(20_000))
    status, line = complaint(capsys, "prepare", tmp_path)
    assert status == 1
    assert path.name in line
    assert not (tmp_path / CUBE).exists()


@pytest.mark.real
def test_truncated_real_target_pixel_file(capsys, real, tmp_path):
    name = "tess2023209231226-s0068-0000000261136679-0262-s_tp.fits"
    (path,) = (real / "tpf").glob("*truncated*")
    shutil.copy(path, tmp_path / name)
    status, line = complaint(capsys, "todo", tmp_path)
    assert status == 1
    assert name in line


def test_empty_work_list(capsys, simulated, tmp_path):
    folder = simulated.copy(tmp_path)
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        conn.execute("DELETE FROM todolist")
    conn.close()
    status, line = complaint(capsys, "run", folder)
    assert status == 1
    assert "todo.sqlite" in line


def test_star_that_is_not_in_the_list(capsys, simulated, tmp_path):
    folder = simulated.copy(tmp_path)
    status, line = complaint(capsys, "run", folder, "--starid", "12345678")
    assert status == 1
    assert "todo.sqlite" in line


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--camera", "5"],
        ["run", "--tmag-min", "12", "--tmag-max", "10"],
        ["run", "--cache", "some"],
        ["run", "--version", "x"],
        ["run", "--ccd", "0"],
        ["simulate", "--frames", "0"],
        ["simulate", "--rows", "-5"],
        ["simulate", "--sector", "0"],
        ["simulate", "--cadence", "7"],
        ["prepare", "--ccd", "9"],
        ["prepare", "--memory", "-1"],
        ["todo", "--faint-limit", "bright"],
        ["fly"],
    ],
    ids=" ".join,
)
def test_wrong_option_values(capsys, simulated, tmp_path, words):
    folder = simulated.copy(tmp_path) if words[0] == "run" else tmp_path
    before = sorted(path.name for path in folder.iterdir())
    status, line = complaint(capsys, words[0], folder, *words[1:])
    assert status == 2
    assert line
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.real
def test_what_is_not_known_of_five_real_cadences(real, tmp_path, capsys):
    """No catalog, and ten minutes of data: no contamination and no noise of an hour, anywhere."""
    folder = tmp_path / "input"
    folder.mkdir()
    name = "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz"
    shutil.copy(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz", folder / name)
    for options in (["todo", str(folder)], ["run", str(folder)]):
        assert cli.main(["--quiet", *options]) == 0
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as plain:
        row = plain.execute(
            "SELECT contamination, rms_hour, variability, mean_flux, ptp, stamp_resizes FROM diagnostics"
        ).fetchone()
    assert row[:3] == (None, None, None)
    assert row[3] > 0
    assert row[4] > 0
    assert row[5] == 0
    (path,) = (folder / "output").rglob("*.fits.gz")
    # An unknown value has no card.
    assert "AP_CONT" not in fits.getheader(path)
    capsys.readouterr()
    assert cli.main(["--quiet", "summary", str(folder)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("10 - 11"))
    # Magnitude, stars that are OK, noise, expected noise, ptp, mask, time.
    assert line.split()[3:5] == ["1", "-"]
