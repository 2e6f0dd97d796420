"""Light curves of all methods by the FITS standard, as fitsverify of the HEASARC checks it."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from tasoc_mpi import tessphot
from tasoc_mpi.products.corrected_file import corrected_bytes
from tasoc_mpi.products.raw_curve import open_table

WHERE = {"sector": 1, "camera": 1, "ccd": 1}


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="there is no fitsverify")
@pytest.mark.parametrize("method", ["aperture", "linpsf", "halo", "corrected", "target pixel file"])
def test_fitsverify_has_nothing_to_say(simulated, tmp_path, method):
    tpf = next((simulated.folder / "tpf").iterdir())
    starid = int(tpf.name.split("-")[2])
    known = method if method in ("linpsf", "halo") else "aperture"
    source = {"datasource": "tpf"} if method == "target pixel file" else WHERE
    with tessphot(known, starid, simulated.folder, tmp_path, **source) as pho:
        # As for many stars of the catalog: a card without a value is a warning.
        pho.target["teff"] = pho.target["tmag"] = float("nan")
        data = gzip.decompress(Path(pho.save_lightcurve()).read_bytes())
    if method == "corrected":
        cards = [("CBV_NUM", 3, "vectors"), ("CBV_C0", float("nan"), "coefficient")]
        data = corrected_bytes(open_table("x", data), 1.0, 2.0, 1, cards)
    path = tmp_path / "lc.fits"
    path.write_bytes(data)
    done = subprocess.run(["fitsverify", "-l", path], capture_output=True, text=True, check=False)
    assert "found 0 warning(s) and 0 error(s)" in done.stdout, done.stdout
