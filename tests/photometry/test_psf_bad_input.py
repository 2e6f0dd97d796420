"""PSF photometry with input that cannot be used: a line for that star, and the rest goes on."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import h5py
import numpy as np
import pytest
from prf_folder import write_prf_folder
from todo_rows import load_todo

from tasoc_mpi import STATUS, LinPSFPhotometry, cli, tessphot
from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.core.settings import mag2flux
from tasoc_mpi.kernels.spline_prf import SIDE
from tasoc_mpi.models import psf
from tasoc_mpi.models.psf import PSF
from tasoc_mpi.products.prf_file import EffectivePRF, write_prf

METHODS = pytest.mark.parametrize("method", ["linpsf", "psf"])
WHERE = {"sector": 1, "camera": 1, "ccd": 1}
CUBE, CATALOG = "sector001_camera1_ccd1.hdf5", "catalog_sector001_camera1_ccd1.sqlite"
RESPONSE = "prf_sector001_camera1_ccd1.hdf5"


@pytest.fixture
def folder(simulated, tmp_path, monkeypatch) -> Path:
    """The simulated CCD without any response."""
    monkeypatch.delenv("TESSPHOT_PRF", raising=False)
    path = tmp_path / "input"
    path.mkdir()
    return simulated.copy(path)


def isolated(folder: Path, number: int) -> list[int]:
    """Stars away from the edge and from each other, brightest first."""
    found: list[tuple[int, float, float]] = []
    for starid in load_todo(folder / "todo.sqlite")["starid"]:
        with prepared(starid, folder) as pho:
            place = pho.target_pos_row, pho.target_pos_column
            inside = all(lowest + 8 < x < highest - 8 for x, lowest, highest in _limits(pho, place))
            if inside and all(np.hypot(place[0] - r, place[1] - c) > 16 for _, r, c in found):
                found.append((int(starid), *place))
    assert len(found) >= number
    return [starid for starid, _, _ in found[:number]]


def prepared(starid, folder):
    return LinPSFPhotometry(int(starid), folder, folder / "unused", **WHERE)


def _limits(pho, place):
    limits = pho._limits
    return [(place[0], *limits[:2]), (place[1], *limits[2:])]


def prf(**changed) -> EffectivePRF:
    """A response of one node and one epoch."""
    coefficients = np.zeros((1, 1, 1, 3, SIDE, SIDE))
    coefficients[..., 0, SIDE // 2, SIDE // 2] = 9.0
    values = {
        "sector": 1, "camera": 1, "ccd": 1, "node_rows": np.zeros(1), "node_columns": np.zeros(1),
        "coefficients": coefficients, "epochs": np.zeros(1), "segments": np.zeros(1, "i8"),
        "spans": np.zeros((1, 2)), "inside": np.ones(1), "wings": np.zeros((1, 5)),
        "stars": np.ones((1, 1, 1), "i8"), "scatter": np.zeros(1),
    }  # fmt: skip
    return EffectivePRF(**{**values, **changed})


def refuse(method: str, folder: Path, starid: int) -> str:
    with pytest.raises((InputError, MissingInput)) as caught:
        tessphot(method, starid, folder, folder / "out", **WHERE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@METHODS
def test_responses_that_cannot_be_used(folder, method, monkeypatch):
    (starid,) = isolated(folder, 1)
    path = folder / RESPONSE

    # Of MAST: no such folder, one without the camera, a corrupt file.
    monkeypatch.setenv("TESSPHOT_PRF", str(folder / "nowhere"))
    with pytest.raises(MissingInput, match="nowhere: no such folder of PRF files"):
        tessphot(method, starid, folder, folder / "out", **WHERE)
    files = write_prf_folder(folder / "prf")
    monkeypatch.setenv("TESSPHOT_PRF", str(files))
    assert "start_s0001/cam1_ccd1: no such folder; get its PRF files" in refuse(method, folder, starid)
    shutil.copytree(files / "start_s0004" / "cam2_ccd3", files / "start_s0001" / "cam1_ccd1")
    assert "PRF of camera 2, CCD 3" in refuse(method, folder, starid)
    first = sorted((files / "start_s0001" / "cam1_ccd1").iterdir())[0]
    first.write_bytes(first.read_bytes()[:5000])
    assert str(first) in refuse(method, folder, starid)
    monkeypatch.delenv("TESSPHOT_PRF")

    # Effective ones: unfinished, of another CCD, of another version, cut off.
    parts = folder / f".{RESPONSE}.parts"
    parts.mkdir()
    write_prf(parts / "epoch00.hdf5", prf())
    assert f"{RESPONSE}: unfinished; run tasoc-mpi prf again" in refuse(method, folder, starid)
    shutil.rmtree(parts)
    write_prf(path, prf(camera=2))
    assert "of sector 1, camera 2, CCD 1; remove it" in refuse(method, folder, starid)
    write_prf(path, prf())
    with h5py.File(path, "r+") as file:
        file.attrs["FORMAT_VERSION"] = 99
    assert "PRF format 99, this program reads" in refuse(method, folder, starid)
    path.write_bytes(path.read_bytes()[:3000])
    assert RESPONSE in refuse(method, folder, starid)
    path.unlink()
    with tessphot(method, starid, folder, folder / "out", **WHERE) as pho:
        assert pho.additional_headers["PSF_SRC"][0].startswith("analytic")


@METHODS
def test_one_bad_star_does_not_take_the_others_along(folder, method):
    good, also, saturated, core, blank, sick = isolated(folder, 6)
    with h5py.File(folder / CUBE, "r+") as file:
        for starid in (saturated, core, blank, sick):
            with prepared(starid, folder) as pho:
                row, column = (round(x) for x in (pho.target_pos_row, pho.target_pos_column))
                origin = pho._source.origin
            around = np.s_[
                row - origin[0] - 6 : row - origin[0] + 7, column - origin[1] - 6 : column - origin[1] + 7
            ]
            if starid == saturated:
                file["sumimage"][around] = 9e4
            elif starid == core:
                file["sumimage"][tuple(slice(part.start + 5, part.stop - 5) for part in around)] = 9e4
            elif starid == blank:
                file["images"][around] = np.nan
            else:
                file["images"][(*around, 7)] = np.nan
    names = [str(starid) for starid in (good, also, saturated, core, blank, sick)]
    command = ["--quiet", "run", str(folder), "--photometry", method, "--output", str(folder / "out")]
    assert cli.main([*command, "--datasource", "ffi", "--starid", ",".join(names)]) == 0
    found = results(folder, method)
    assert found[good][0] in (STATUS.OK, STATUS.WARNING)
    assert found[saturated] == (STATUS.ERROR, "All pixels around the star are saturated or unknown.")
    assert found[core][0] == STATUS.ERROR
    assert re.fullmatch(r"Saturated pixels hold \d\d% .*: take the aperture or halo.*", found[core][1])
    assert found[blank][0] == STATUS.ERROR
    assert found[blank][1].endswith("pixels with values hold at most 0% of the star's weight.")
    assert found[sick][0] in (STATUS.OK, STATUS.WARNING)


def test_every_warning_has_a_reason(folder, capsys):
    command = ["--quiet", "run", str(folder), "--photometry", "linpsf", "--output", str(folder / "out")]
    assert cli.main(command) == 0
    reasons = [text for status, text in results(folder, "linpsf").values() if status == STATUS.WARNING]
    assert any(re.search(r"\d\d% of the light in the star's pixels is of others", text) for text in reasons)
    assert all(reasons)
    said = capsys.readouterr().out
    lines = said[said.index("failures and warnings by cause:") :].splitlines()
    assert any(re.match(r" *WARNING +\d+  TIC \d+: .*of others", line) for line in lines)


@pytest.mark.parametrize(("rank", "says"), [("1", True), ("2", False), ("63", False)])
def test_one_worker_says_that_the_response_is_the_analytic_one(folder, monkeypatch, caplog, rank, says):
    monkeypatch.setenv("PMI_RANK", rank)
    psf._log_analytic.cache_clear()
    with caplog.at_level("INFO"):
        PSF(1, 1, 1, (20, 31, 20, 31))
    assert ("the analytic pixel response is used" in caplog.text) == says


def results(folder: Path, method: str) -> dict[int, tuple[STATUS, str | None]]:
    """Status and errors of the stars that were computed."""
    with sqlite3.connect(folder / f"todo-{method}.sqlite") as conn:
        rows = conn.execute(
            "SELECT starid, status, errors FROM todolist JOIN diagnostics USING (priority)"
        ).fetchall()
    conn.close()
    return {starid: (STATUS(status), errors) for starid, status, errors in rows}


def insert(conn: sqlite3.Connection, values: dict) -> None:
    """Add a star to a catalog."""
    conn.execute(f"INSERT INTO catalog VALUES ({','.join('?' * len(values))})", list(values.values()))


@METHODS
def test_two_catalogue_stars_at_one_place(folder, method):
    """They share the light by their magnitudes, with a warning."""
    (starid,) = isolated(folder, 1)
    with tessphot(method, starid, folder, folder / "out", **WHERE) as pho:
        flux, tmag = pho.result.mean_flux, pho.target["tmag"]
    with sqlite3.connect(folder / CATALOG) as conn:
        conn.row_factory = sqlite3.Row
        values = dict(conn.execute("SELECT * FROM catalog WHERE starid = ?", (starid,)).fetchone())
        values.update(starid=starid + 1, tmag=tmag + 1.0)
        insert(conn, values)
    conn.close()
    share = mag2flux(tmag) / (mag2flux(tmag) + mag2flux(tmag + 1.0))
    for one, part in ((starid, share), (starid + 1, 1 - share)):
        with tessphot(method, one, folder, folder / "out", **WHERE) as pho:
            assert pho.status == STATUS.WARNING
            assert any("a neighbour is too close" in line for line in pho.result.errors)
            assert pho.result.mean_flux == pytest.approx(part * flux, rel=0.05)


@METHODS
def test_stars_at_the_edge(folder, method):
    """Stars within the pixels are measured; one outside of them has an error."""
    pixels = ((0.2, 40.0), (95.3, 95.4))
    with prepared(isolated(folder, 1)[0], folder) as pho:
        origin, wcs = pho._source.origin, pho.wcs
        spots = [*pixels, (-3.0, 40.0)]
        places = [wcs.all_pix2world(column + origin[1], row + origin[0], 0) for row, column in spots]
    with sqlite3.connect(folder / CATALOG) as conn:
        conn.row_factory = sqlite3.Row
        values = dict(conn.execute("SELECT * FROM catalog LIMIT 1").fetchone())
        for k, (ra, dec) in enumerate(places):
            values.update(starid=10 + k, ra=float(ra), decl=float(dec), tmag=12.0)
            conn.execute(f"INSERT INTO catalog VALUES ({','.join('?' * len(values))})", list(values.values()))
    conn.close()
    for starid in (10, 11):
        with tessphot(method, starid, folder, folder / "out", **WHERE) as pho:
            # There is no such star in the images.
            assert np.nanmedian(pho.lightcurve["flux"]) < 0.1 * mag2flux(12.0)
            assert pho.residual.shape == pho.sumimage.shape
    with tessphot(method, 12, folder, folder / "out", **WHERE) as pho:
        assert pho.status == STATUS.ERROR
        assert "Most of the star's light falls outside of the pixels." in pho.result.errors


@METHODS
def test_star_without_a_magnitude(folder, method):
    (starid,) = isolated(folder, 1)
    with tessphot(method, starid, folder, folder / "out", **WHERE) as pho:
        flux = pho.result.mean_flux
    with sqlite3.connect(folder / CATALOG) as conn:
        conn.execute("UPDATE catalog SET tmag = NULL WHERE starid = ?", (starid,))
    conn.close()
    with tessphot(method, starid, folder, folder / "out", **WHERE) as pho:
        assert pho.result.mean_flux == pytest.approx(flux, rel=1e-3)
