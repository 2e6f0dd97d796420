"""The real 120 s target pixel file of TIC 25155310 against what SPOC published of the same pixels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tasoc_mpi.core.status import STATUS
from tasoc_mpi.photometry.base import BasePhotometry

pytestmark = pytest.mark.real

TPF_NAME = "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz"


class SpocMask(BasePhotometry):
    """Sums the pixels that SPOC summed."""

    def do_photometry(self) -> STATUS:
        with fits.open(self._source.path) as hdus:
            self.final_phot_mask = (hdus["APERTURE"].data & 2) != 0
        sums = self.sum_mask(self.final_phot_mask)
        centroid = np.stack([sums.column, sums.row], axis=-1)
        self.set_lightcurve(sums.flux, sums.flux_err, sums.background, centroid)
        self.report_details(skip_targets=[])
        return STATUS.OK


@pytest.fixture
def folder(real: Path, tmp_path: Path) -> Path:
    shutil.copy(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz", tmp_path / TPF_NAME)
    return tmp_path


def published(real: Path) -> fits.FITS_rec:
    (path,) = (real / "lc_spoc").glob("*_lc.fits.gz")
    with fits.open(path) as hdus:
        return np.array(hdus[1].data[:5])


def test_sums_are_the_published_ones(real: Path, folder: Path) -> None:
    with SpocMask(25155310, folder, folder / "out", datasource="tpf") as pho:
        pho.photometry()
        lc = pho.lightcurve
        spoc = published(real)
        assert pho.final_phot_mask.sum() == 9
        np.testing.assert_allclose(lc["flux"], spoc["SAP_FLUX"], rtol=2e-7)
        np.testing.assert_allclose(lc["flux_background"], spoc["SAP_BKG"], rtol=2e-7)
        known = spoc["QUALITY"] == 0
        np.testing.assert_allclose(lc["pos_centroid"][known, 0], spoc["MOM_CENTR1"][known], atol=3e-4)
        np.testing.assert_allclose(lc["pos_centroid"][known, 1], spoc["MOM_CENTR2"][known], atol=3e-4)
        # SPOC adds terms to the errors: its are 2.3% larger than the quadrature sum.
        np.testing.assert_allclose(spoc["SAP_FLUX_ERR"] / lc["flux_err"], 1.023, atol=0.003)
        np.testing.assert_array_equal(lc["quality"], spoc["QUALITY"])
        assert pho.result.mean_flux == pytest.approx(np.median(spoc["SAP_FLUX"][known]), rel=1e-6)


def test_times_of_the_star_are_those_of_its_file(real: Path, folder: Path) -> None:
    pho = SpocMask(25155310, folder, folder / "out", datasource="tpf")
    with pho, fits.open(folder / TPF_NAME) as hdus:
        np.testing.assert_array_equal(pho.lightcurve["time"], hdus[1].data["TIME"])
        np.testing.assert_array_equal(pho.lightcurve["timecorr"], hdus[1].data["TIMECORR"])


def test_star_is_where_the_light_is(folder: Path) -> None:
    with SpocMask(25155310, folder, folder / "out", datasource="tpf") as pho:
        pho.photometry()
        assert pho.stamp == (388, 399, 1618, 1629)
        assert pho.result.pos_column - 1 == pytest.approx(pho.target_pos_column, abs=0.5)
        assert pho.result.pos_row - 1 == pytest.approx(pho.target_pos_row, abs=0.5)


def test_light_curve_file(folder: Path) -> None:
    with SpocMask(25155310, folder, folder / "out", datasource="tpf") as pho:
        pho.photometry()
        path = Path(pho.save_lightcurve())
        assert path == (folder / "out/c0120/00025/tess00025155310-s001-4-1-c0120-dr00-v06-tasoc_lc.fits.gz")
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            header = hdus[0].header
            assert header["PMTOTAL"] == pytest.approx(82.82286093, rel=1e-6)
            assert header["TESSMAG"] == pytest.approx(10.555, abs=1e-3)
            table = hdus["LIGHTCURVE"]
            with fits.open(folder / TPF_NAME) as tpf:
                original = tpf[1].header
                for key in ("INT_TIME", "READTIME", "FRAMETIM", "NUM_FRM", "NREADOUT", "TIMEDEL", "DEADC"):
                    assert table.header[key] == pytest.approx(original[key]), key
                assert table.header["TSTART"] == pytest.approx(original["TSTART"], abs=2e-5)
                assert table.header["DATE-OBS"][:18] == original["DATE-OBS"][:18]
                bits = hdus["APERTURE"].data
                np.testing.assert_array_equal((bits & 2) != 0, (tpf["APERTURE"].data & 2) != 0)
                np.testing.assert_array_equal(bits & 256, tpf["APERTURE"].data & 256)
                for key in ("CRPIX1", "CRPIX2", "CRVAL1P", "CRVAL2P"):
                    assert hdus["SUMIMAGE"].header[key] == pytest.approx(tpf["APERTURE"].header[key])


@pytest.mark.filterwarnings("ignore")  # what lightkurve itself warns about is not ours
def test_lightkurve_reads_it(folder: Path) -> None:
    lightkurve = pytest.importorskip("lightkurve")
    with SpocMask(25155310, folder, folder / "out", datasource="tpf") as pho:
        pho.photometry()
        lc = lightkurve.read(pho.save_lightcurve(), quality_bitmask="none")
        assert lc.meta["AUTHOR"] == "TASOC"
        np.testing.assert_allclose(lc["flux_raw"].value, pho.lightcurve["flux"])
