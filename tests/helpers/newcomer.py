"""A newcomer: README's commands and Python in order, in an environment that has the program only.

``newcomer.py FOLDER`` simulates a small sector in the folder, with a table of stars, and runs the blocks of
README there: under mpiexec with three ranks instead of 64, and with a method of one's own. Then it computes
one star from a target pixel file in one command (a real one if TASOC_MPI_REAL_DATA names a folder), fetches
the frames from a server on this host, reads the light curves with astropy and lightkurve, and asks each
command for its help. It needs the installed program with its extra ``download``, and lightkurve. With
``--short`` it needs neither of both: it leaves out these steps, and the commands whose kernels take longest
to compile.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing
from pathlib import Path

from documents import Block, blocks
from house import ROOT

#: Left out by ``--short``.
LONG = {"prf", "cbv", "correct"}
#: README's star, and its CCD; the simulation has others.
STAR, CAMERA = "25155310", "camera=4"


def call(folder: Path, *words: str) -> None:
    """Run a command, which has to succeed; its time is printed."""
    begin = time.monotonic()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=900)
    print(f"{time.monotonic() - begin:5.1f} s  {' '.join(words)[:100]}", flush=True)
    if done.returncode:
        sys.exit(f"newcomer: {' '.join(words)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")


def simulate(folder: Path) -> str:
    """Frames, a target pixel file and the table of stars `tic.csv`; the number of the file's star."""
    size = "--rows 64 --columns 64 --frames 60 --tpfs 1 --seed 7 --density 3"
    call(folder, "tasoc-mpi", "simulate", "sector1", *shlex.split(size))
    (catalog,) = (folder / "sector1").glob("catalog*.sqlite")
    with closing(sqlite3.connect(catalog)) as stars, open(folder / "tic.csv", "w", newline="") as file:
        rows = stars.execute("SELECT starid, ra_J2000, decl_J2000, pm_ra, pm_decl, tmag, teff FROM catalog")
        csv.writer(file).writerows([("ID", "ra", "dec", "pmRA", "pmDEC", "Tmag", "Teff"), *rows])
    catalog.unlink()
    (tpf,) = (folder / "sector1" / "tpf").glob("*_tp.fits")
    return re.findall(r"-0*(\d+)-0120-s_tp", tpf.name)[0]


def run_block(block: Block, folder: Path, starid: str, left_out: set[str]) -> None:
    text = block.text.replace(STAR, starid).replace(CAMERA, "camera=1")
    if block.language == "python":
        name = block.file or "block.py"
        (folder / name).write_text(text)
        call(folder, sys.executable, name)
        return
    for words in block.commands:
        if left_out.intersection(words):
            continue
        call(folder, *(word if word != "64" else "3" for word in words))


def check_results(folder: Path) -> None:
    """Light curves with raw and corrected flux, as astropy reads them, of every method that was used."""
    from astropy.io import fits

    for output in ("lightcurves", "sector1/output-box"):
        paths = sorted((folder / output).glob("c1800/*/*_lc.fits.gz"))
        with fits.open(paths[0], checksum=True) as hdus:
            table = hdus["LIGHTCURVE"].data
        flux = table["FLUX_RAW"]
        middle = sorted(flux)[len(flux) // 2]
        print(f"{output}: {len(paths)} light curves of {len(flux)} points, the first of {middle:.0f} e-/s")
        assert len(paths) > 10
        assert len(flux) == 60
    assert list((folder / "lightcurves").glob("*.png"))


def pack(folder: Path) -> None:
    """The light curves of a packed run are those of the one before."""
    call(folder, "tasoc-mpi", "run", "sector1", "--output", "packs", "--packed", "--overwrite")
    call(folder, "tasoc-mpi", "unpack", "packs", "--todo", "sector1/todo.sqlite")
    files, unpacked = (
        sorted(path.name for path in (folder / output).rglob("*_lc.fits.gz"))
        for output in ("lightcurves", "packs")
    )
    assert unpacked == files


def one_star(folder: Path) -> None:
    """The light curve of a star from a target pixel file of any name, in one command."""
    real = os.environ.get("TASOC_MPI_REAL_DATA")
    tpfs = (
        Path(real, "tpf").glob("*cadences.fits.gz")
        if real
        else (folder / "sector1" / "tpf").glob("*_tp.fits")
    )
    (tpf,) = tpfs
    (folder / "my star").write_bytes(tpf.read_bytes())
    call(folder, "tasoc-mpi", "star", "my star", "--output", "one_star")
    assert sorted(path.suffix for path in (folder / "one_star").iterdir()) == [".ecsv", ".gz", ".png"]


def download(folder: Path) -> None:
    """Frames and a target pixel file come from a server on this host as they are."""
    from archive_server import Archive, serving

    archive, mast = Archive(), "/api/v0.1/Download/file?uri=mast:TESS/product/"
    for kind, script in (("ffi", "ffic"), ("tpf", "tp")):
        paths = sorted((folder / "sector1" / kind).iterdir())
        archive.files |= {mast + path.name: path.read_bytes() for path in paths}
        lines = "".join(f"curl -o {path.name} https://mast.stsci.edu{mast}{path.name}\n" for path in paths)
        archive.files[f"/missions/tess/download_scripts/sector/tesscurl_sector_1_{script}.sh"] = (
            lines.encode()
        )
    first = mast + paths[0].name
    archive.faults[first] = [200, "cut", 503]
    with serving(archive):
        settings = folder / "settings.ini"
        settings.write_text(f"[download]\narchive = {archive.address}\nmast = {archive.address}\n")
        os.environ["TESSPHOT_SETTINGS"] = str(settings)
        call(folder, "tasoc-mpi", "download", "fetched", "--sector", "1", "--what", "ffi,tpf")
        del os.environ["TESSPHOT_SETTINGS"]
    for kind in ("ffi", "tpf"):
        fetched = {path.name: path.read_bytes() for path in (folder / "fetched" / kind).rglob("*.fits")}
        assert fetched == {path.name: path.read_bytes() for path in (folder / "sector1" / kind).iterdir()}


def read_with_others(folder: Path) -> None:
    """Astropy reads the light curves without a warning, lightkurve reads both fluxes."""
    from astropy.table import Table
    from astropy.timeseries import TimeSeries

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lightkurve, about its optional packages
        import lightkurve
    for path in [
        *sorted((folder / "lightcurves").rglob("*_lc.fits.gz"))[:3],
        *(folder / "one_star").glob("*.gz"),
    ]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = Table.read(path, hdu="LIGHTCURVE")
            series = TimeSeries.read(path, format="tess.fits")
        assert str(table["FLUX_RAW"].unit) == "ct / s"
        raw = lightkurve.read(path, flux_column="flux_raw", quality_bitmask="none")
        assert len(table) == len(series) == len(raw)
        assert raw.flux.unit == table["FLUX_RAW"].unit
    print(f"{lightkurve.read(path)!r}".splitlines()[0])


def ask_for_help(folder: Path) -> None:
    """Each command that the program names explains itself."""
    named = subprocess.run(
        ["tasoc-mpi", "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    commands = re.findall(r"^    ([a-z]+) ", named, re.MULTILINE)
    assert len(commands) > 20
    for command in commands:
        call(folder, "tasoc-mpi", command, "--help")


def main(folder: Path, short: bool = False) -> None:
    folder.mkdir(parents=True)
    starid = simulate(folder)
    for block in blocks(ROOT / "README.md"):
        if block.not_run is None and block.language in ("shell", "python"):
            run_block(block, folder, starid, LONG if short else set())
    one_star(folder)
    check_results(folder)
    pack(folder)
    if not short:
        download(folder)
        read_with_others(folder)
        ask_for_help(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--short" in sys.argv[2:])
