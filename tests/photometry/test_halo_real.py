"""Halo photometry of the brightest star of the real files: Pi Mensae in a cut-out, 6 x 6 pixels, a day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasoc_mpi import cli
from tasoc_mpi.core.settings import load_settings, mag2flux
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.photometry.halo import HaloPhotometry

pytestmark = pytest.mark.real

STARID, TMAG = 261136679, 5.1054
WHERE = {"sector": 1, "camera": 4, "ccd": 2}


@pytest.fixture
def folder(real: Path, tmp_path: Path) -> Path:
    (cutout,) = (real / "cutout").glob("tess-s0001-4-2_*.fits")
    stars = tmp_path / "stars.csv"
    stars.write_text(f"ID,ra,dec,pmRA,pmDEC,Tmag\n{STARID},84.2912,-80.4691,311.187,1048.845,{TMAG}\n")
    for command in (["import", str(tmp_path), str(cutout)], ["catalog", "--from", str(stars), str(tmp_path)]):
        assert cli.main(["--quiet", *command]) == 0
    return tmp_path


def test_most_pixels_are_saturated(folder: Path) -> None:
    with HaloPhotometry(STARID, folder, folder / "out", **WHERE) as pho:
        pho.photometry()
        assert pho.status is STATUS.ERROR
        (text,) = pho.result.errors
        assert text.startswith("Only 6 pixels can be used for halo photometry")
        assert "30 are saturated" in text


def test_weights_make_the_star_quiet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pixels of the bleed columns each by itself: their charge leaves the cut-out."""
    settings = folder / "settings.ini"
    settings.write_text("[halo]\nsaturation = 200000\n")
    monkeypatch.setenv("TESSPHOT_SETTINGS", str(settings))
    load_settings.cache_clear()
    try:
        with HaloPhotometry(STARID, folder, folder / "out", **WHERE) as pho:
            pho.photometry()
            assert pho.status is STATUS.WARNING
            assert any("3% of the mask have pixels" in text for text in pho.result.errors)
            flux, plain = np.asarray(pho.lightcurve["flux"]), pho.plain_flux
            assert np.median(flux) == pytest.approx(mag2flux(TMAG))
            halo, before = (np.median(np.abs(np.diff(f / np.median(f)))) for f in (flux, plain))
            assert halo < 0.4 * before
            assert halo < 1e-4
            pho.save_lightcurve()
    finally:
        monkeypatch.undo()
        load_settings.cache_clear()
