"""PSF photometry of real pixels: a bright star against what SPOC published, and a crowded cut-out."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from tasoc_mpi import cli
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.one_star import tessphot

pytestmark = pytest.mark.real

CROWDED = "tess-s0018-2-4_38.391957_50.152917_11x10_astrocut_1cadence.fits"
#: Column and row of its light, pixels of the cut-out, and magnitude by its counts.
LIGHT = [(5.0, 5.5, 11.9), (1.15, 3.35, 11.7), (10.0, 3.3, 12.4), (5.7, 9.2, 12.6), (9.6, 0.3, 13.3)]


@pytest.fixture
def bright(real: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "input"
    folder.mkdir()
    name = "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz"
    shutil.copy(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz", folder / name)
    return folder


@pytest.mark.parametrize("method", ["linpsf", "psf"])
@pytest.mark.parametrize("with_prf", [True, False])
def test_bright_star(real: Path, bright: Path, tmp_path: Path, monkeypatch, method, with_prf) -> None:
    """TIC 25155310: SAP_FLUX times CROWDSAP over FLFRCSAP is 9267 e-/s.

    Its neighbours, 2.7% of the light by CROWDSAP, are in no catalogue here.
    """
    monkeypatch.delenv("TESSPHOT_PRF", raising=False)
    if with_prf:
        monkeypatch.setenv("TESSPHOT_PRF", str(real / "prf"))
    with tessphot(method, 25155310, bright, tmp_path, datasource="tpf", sector=1) as pho:
        assert pho.status in (STATUS.OK, STATUS.WARNING)
        assert pho.result.mean_flux == pytest.approx(9267, rel=0.03 if with_prf else 0.1)
        assert pho.result.mean_flux == pytest.approx(9267 / 0.97268, rel=0.005 if with_prf else 0.1)
        assert ("TESS PRF files" in pho.additional_headers["PSF_SRC"][0]) == with_prf
        # The origin of MAST's responses, and not their centre of light, lies on the star.
        due = np.add(pho.lightcurve["pos_corr"][1:], [pho.target_pos_column, pho.target_pos_row])
        place = np.asarray(pho.lightcurve["pos_centroid"])[1:] - 1
        assert np.abs(place - due).max() < (0.05 if with_prf else 0.2)


def test_star_is_at_the_world_coordinates_plus_the_correction(real: Path, bright: Path, tmp_path) -> None:
    """Two processings differ by 0.38 pixels in each part, and by 0.01 in the sum."""
    (path,) = (real / "lc_spoc").glob("*s0001-0000000025155310*_lc.fits.gz")
    with fits.open(path) as hdus:
        header, rows = hdus["APERTURE"].header, hdus[1].data[2:5]
        published = [
            header["CRPIX1"] + header["CRVAL1P"] - 2 + rows["POS_CORR1"],
            header["CRPIX2"] + header["CRVAL2P"] - 2 + rows["POS_CORR2"],
        ]
    with tessphot("linpsf", 25155310, bright, tmp_path, datasource="tpf", sector=1) as pho:
        moved = np.asarray(pho.lightcurve["pos_corr"])[2:5]
        ours = np.add(moved, [pho.target_pos_column, pho.target_pos_row])
    assert np.abs(moved[:, 0]).min() > 0.3
    np.testing.assert_allclose(ours, np.transpose(published), atol=0.015)


@pytest.mark.parametrize("method", ["linpsf", "psf"])
def test_crowded_cutout_from_import_to_light_curves(real: Path, tmp_path: Path, method: str) -> None:
    file = real / "cutout" / CROWDED
    with fits.open(file) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(hdus[2].header)
    lines = ["ID,ra,dec,Tmag"]
    for k, (column, row, tmag) in enumerate(LIGHT):
        ra, dec = wcs.all_pix2world(column, row, 0)
        lines.append(f"{100 + k},{ra:.7f},{dec:.7f},{tmag}")
    (tmp_path / "stars.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "methods.txt").write_text("".join(f"{100 + k} * * {method}\n" for k in range(5)))
    folder = str(tmp_path)
    for command in (
        ["import", folder, str(file)],
        ["catalog", folder, "--from", str(tmp_path / "stars.csv")],
        ["todo", folder, "--methods", str(tmp_path / "methods.txt")],
        ["run", folder],
    ):
        assert cli.main(["--quiet", *command]) == 0
    with sqlite3.connect(tmp_path / "todo.sqlite") as conn:
        rows = conn.execute(
            "SELECT starid, status, method_used, mean_flux, pos_column, pos_row FROM todolist "
            "JOIN diagnostics USING (priority) ORDER BY starid"
        ).fetchall()
    conn.close()
    assert [row[0] for row in rows] == [100, 101, 102, 103, 104]
    for (_, status, used, flux, column, row), (x, y, tmag) in zip(rows, LIGHT, strict=True):
        assert status in (1, 3)
        assert used == method
        assert flux == pytest.approx(10 ** (-0.4 * (tmag - 20.451)), rel=0.4)
        assert np.hypot(column - 134 - x, row - 570 - y) < 0.5
    assert len(list(tmp_path.glob("output/**/*_lc.fits.gz"))) == 5
