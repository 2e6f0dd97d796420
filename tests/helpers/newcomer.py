"""A newcomer: README's commands and Python in order, in an environment that has the program only.

``newcomer.py FOLDER`` simulates a small sector in the folder, with a table of stars, and runs the blocks of
README there: under mpiexec with three ranks instead of 64. It needs nothing but the installed program. With
``--short`` it leaves out the commands whose kernels take longest to compile.
"""

from __future__ import annotations

import csv
import re
import shlex
import sqlite3
import subprocess
import sys
import time
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
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
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


def main(folder: Path, short: bool = False) -> None:
    folder.mkdir(parents=True)
    starid = simulate(folder)
    for block in blocks(ROOT / "README.md"):
        if block.not_run is None and block.language in ("shell", "python"):
            run_block(block, folder, starid, LONG if short else set())
    (tpf,) = (folder / "sector1" / "tpf").glob("*_tp.fits")
    call(folder, "tasoc-mpi", "star", str(tpf), "--output", "one_star")
    check_results(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--short" in sys.argv[2:])
