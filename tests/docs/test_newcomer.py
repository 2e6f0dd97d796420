"""The first things that a newcomer does with the data of the mission."""

from __future__ import annotations

import shutil
import subprocess
import warnings

import h5py
import numpy as np
import pytest
from archive_server import Archive, serving
from astropy.io import fits

from tasoc_mpi import cli
from tasoc_mpi.core.settings import load_settings


def call(*words: object) -> None:
    assert cli.main(["--quiet", *map(str, words)]) == 0


def test_from_a_server_of_frames_to_the_cube(simulated, tmp_path, monkeypatch):
    """Frames that `download` fetches become the same cube as those that were there."""
    archive, uri = Archive(), "/api/v0.1/Download/file?uri=mast:TESS/product/"
    paths = sorted((simulated.folder / "ffi").iterdir())
    archive.files = {uri + path.name: path.read_bytes() for path in paths}
    lines = [f"curl -C - -L -o {path.name} https://mast.stsci.edu{uri}{path.name}\n" for path in paths]
    script = "/missions/tess/download_scripts/sector/tesscurl_sector_1_ffic.sh"
    archive.files[script] = "".join(["#!/bin/sh\n", *lines]).encode()
    folder, settings = tmp_path / "sector1", tmp_path / "settings.ini"
    with serving(archive):
        settings.write_text(f"[download]\narchive = {archive.address}\nmast = {archive.address}\n")
        monkeypatch.setenv("TESSPHOT_SETTINGS", str(settings))
        load_settings.cache_clear()
        try:
            call("download", folder, "--sector", 1, "--camera", 1, "--ccd", 1)
        finally:
            monkeypatch.undo()
            load_settings.cache_clear()
    # Cubes have the flags of target pixel files, too.
    shutil.copytree(simulated.folder / "tpf", folder / "tpf")
    call("prepare", folder)
    (cube,) = folder.glob("*.hdf5")
    with h5py.File(cube) as ours, h5py.File(simulated.folder / cube.name) as theirs:
        for name in ("images", "images_err", "quality", "time"):
            assert ours[name][:].tobytes() == theirs[name][:].tobytes(), name
        assert ours["frames"][:].tolist() == theirs["frames"][:].tolist()


@pytest.mark.real
def test_one_star_from_a_real_file_in_one_command(real, tmp_path):
    """A target pixel file of any name gives a light curve, a table and a picture."""
    shutil.copy(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz", tmp_path / "my star.fits.gz")
    command = ["tasoc-mpi", "star", "my star.fits.gz", "--output", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "TIC 25155310" in done.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) == 1
    (path,) = (tmp_path / "out").glob("*_lc.fits.gz")
    flux = fits.getdata(path, "LIGHTCURVE")["FLUX_RAW"]
    # The mission's aperture of nine pixels has 8030 e-/s.
    assert 8030 < np.nanmedian(flux) < 1.2 * 8030
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lightkurve, about its optional packages
        lightkurve = pytest.importorskip("lightkurve")
        curve = lightkurve.read(path, flux_column="flux_raw", quality_bitmask="none")
    assert len(curve) == len(flux)
