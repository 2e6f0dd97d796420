"""The good files: a small folder for each family of kinds, made once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
from archive_server import Archive, add_frames, frame_name
from ffi_files import series
from foreign_files import make_cutout, make_mast_cube, pixels, write_tasoc
from made_curves import make_area
from made_run import write_run
from prf_folder import write_prf_folder
from settings_file import settings_text
from tica_files import write_tica
from vectors_of_run import write_vectors_of_run

from tasoc_mpi import cli
from tasoc_mpi.core.names import prf_name
from tasoc_mpi.products.frame_wcs import FrameWCS
from tasoc_mpi.products.mast_cube import scan_mast_cube

__all__ = [
    "ccd",
    "curves",
    "cutout",
    "downloads",
    "frames",
    "lists",
    "mast",
    "packed",
    "prf",
    "response",
    "spice",
    "tables",
    "tasoc",
    "tica",
    "unfinished",
    "vectors",
]

_SIZE = ("--rows", "64", "--columns", "64", "--frames", "10", "--seed", "7", "--cadence", "600")


def _tasoc_mpi(*options: object) -> None:
    status = cli.main(["--quiet", *map(str, options)])
    if status != 0:
        raise RuntimeError(f"tasoc-mpi {' '.join(map(str, options))}: exit status {status}")


def frames(folder: Path) -> None:
    """Full frame images."""
    folder.mkdir()
    series(folder, 6, (48, 56))


def ccd(folder: Path) -> None:
    """A simulated CCD: cube, catalog, truth, two target pixel files, work list, results."""
    _tasoc_mpi("simulate", folder, *_SIZE, "--tpfs", "2", "--faint-limit", "14")
    _tasoc_mpi("prepare", folder)
    _drop_frames(folder)
    _tasoc_mpi("todo", folder, "--faint-limit", "12.5")
    _tasoc_mpi("run", folder)


def _drop_frames(folder: Path) -> None:
    """Leave one frame, with which prepare looks for the cube."""
    for path in sorted(folder.rglob("*_ffic.fits"))[1:]:
        path.unlink()


def packed(folder: Path) -> None:
    """As `ccd`, with packed light curves."""
    _tasoc_mpi("simulate", folder, *_SIZE, "--tpfs", "0", "--faint-limit", "14")
    _tasoc_mpi("prepare", folder)
    _drop_frames(folder)
    _tasoc_mpi("todo", folder, "--faint-limit", "12.5")
    _tasoc_mpi("run", folder, "--packed")


def unfinished(folder: Path) -> None:
    """A prepare that was ended before its cube was finished."""
    from tasoc_mpi.cubes import prepare as cubes

    frames(folder)
    end = cubes.end_cube
    cubes.end_cube = _interrupt
    try:
        cli.main(["--quiet", "prepare", str(folder)])
    finally:
        cubes.end_cube = end


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def tasoc(folder: Path) -> None:
    """A file of the TASOC pipeline."""
    (folder / "foreign").mkdir(parents=True)
    write_tasoc(
        folder / "foreign" / "sector030_camera1_ccd2.hdf5",
        pixels(5, (20, 24)),
        warpmode="translation",
        chunk=8,
    )


def mast(folder: Path) -> None:
    """A cube of MAST's."""
    (folder / "foreign").mkdir(parents=True)
    size = ("--row0", 0, "--column0", 44, "--rows", 40, "--columns", 100, "--frames", 5, "--tpfs", 0)
    _tasoc_mpi("simulate", folder / "frames", *size)
    make_mast_cube(folder / "frames", folder / "foreign" / "tess-s0001-1-1-cube.fits")
    shutil.rmtree(folder / "frames")


def cutout(folder: Path) -> None:
    """A cut-out of TESSCut."""
    mast(folder)
    cube = folder / "foreign" / "tess-s0001-1-1-cube.fits"
    (info, *_) = scan_mast_cube(cube)
    wcs = FrameWCS.from_headers([info.header], info.file_offset)
    middle = np.array([info.file_offset[0] + 70.0]), np.array([info.file_offset[1] + 20.0])
    ra, dec = wcs.sky(*middle, 0)[0]
    make_cutout(cube, float(ra), float(dec), (30, 24))
    cube.unlink()


def tica(folder: Path) -> None:
    """Frames of TICA."""
    rng = np.random.default_rng(1)
    for t in range(5):
        write_tica(folder, t, rng.uniform(1e4, 1.1e4, (48, 56)))


def prf(folder: Path) -> None:
    """PRF files."""
    write_prf_folder(folder)


def response(folder: Path) -> None:
    """A CCD with its effective pixel response, and a star whose flux is fitted with it."""
    from tasoc_mpi.models.effective_prf import start_prf
    from tasoc_mpi.products.prf_file import EffectivePRF, write_prf

    packed(folder)
    shutil.rmtree(folder / "output")
    (catalog,) = folder.glob("catalog_*.sqlite")
    (folder / "methods.txt").write_text(f"{_brightest(catalog, 1)[0]} 1 ffi linpsf\n")
    _tasoc_mpi("todo", folder, "--overwrite", "--faint-limit", "12.5", "--methods", folder / "methods.txt")
    nodes = np.array([500.0]), np.array([600.0, 700.0])
    two = np.repeat(start_prf(1, 1, 1, *nodes)[None], 2, axis=0)
    times, spans = np.array([1325.0, 1340.0]), np.array([[1320.0, 1330.0], [1335.0, 1350.0]])
    stars, wings = np.full((2, 1, 2), 40), np.zeros((2, 5))
    scatter = np.full(2, 1.0)
    prf = EffectivePRF(
        1, 1, 1, *nodes, two, times, np.array([0, 1]), spans, np.ones(2), wings, stars, scatter
    )
    write_prf(folder / prf_name(1, 1, 1), prf)


def curves(folder: Path) -> None:
    """A finished run of 50 stars, enough for co-trending basis vectors."""
    write_run(folder, make_area(50, 14400))


def vectors(folder: Path) -> None:
    """The light curves of a run, and co-trending basis vectors for them."""
    _tasoc_mpi("simulate", folder, *_SIZE, "--frames", "60", "--tpfs", "0", "--faint-limit", "14")
    _tasoc_mpi("prepare", folder)
    _drop_frames(folder)
    _tasoc_mpi("todo", folder, "--faint-limit", "12.5")
    _tasoc_mpi("run", folder)
    write_vectors_of_run(folder)


def tables(folder: Path) -> None:
    """Tables of stars in all formats, the strips of the TIC too, and a cube whose CCD they lie on."""
    from astropy.table import Table

    packed(folder)
    shutil.rmtree(folder / "output")
    (folder / "todo.sqlite").unlink()
    (catalog,) = folder.glob("catalog_*.sqlite")
    with contextlib.closing(sqlite3.connect(catalog)) as conn:
        rows = conn.execute(
            "SELECT starid, ra_J2000, decl_J2000, pm_ra, pm_decl, tmag, teff FROM catalog"
        ).fetchall()[:60]
    catalog.unlink()
    names = ("ID", "ra", "dec", "pmRA", "pmDEC", "Tmag", "Teff")
    table = Table(
        {name: [np.nan if row[i] is None else row[i] for row in rows] for i, name in enumerate(names)}
    )
    table["disposition"] = [""] * len(rows)
    table["disposition"][3:5] = ["X", "D"]
    for name in ("tic.csv", "tic.ecsv", "tic.fits"):
        table.write(folder / name)
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(
        pyarrow.table({name: table[name].tolist() for name in table.colnames}), folder / "tic.parquet"
    )
    (folder / "tic").mkdir()
    (folder / "tic" / "header.csv").write_text(",".join(table.colnames) + "\n")
    northern = table["dec"] > np.median(table["dec"])
    for name, part in (("66_00S__64_00S", ~northern), ("68_00S__66_00S", northern)):
        table[part].write(folder / "tic" / f"tic_dec{name}.csv", format="ascii.no_header", delimiter=",")


def downloads(folder: Path) -> None:
    """A download that was interrupted: two of its four frames, a part of the third, its state."""
    archive = Archive()
    add_frames(archive, [frame_name(number) for number in range(4)])
    frames = {name: content for name, content in archive.files.items() if "ffic.fits" in name and "?" in name}
    ffi = folder / "ffi" / "1-1"
    ffi.mkdir(parents=True)
    lines = []
    for number, (uri, content) in enumerate(list(frames.items())[:3]):
        name, whole = uri.rpartition("/")[2], number < 2
        (ffi / (name if whole else f"{name}.part")).write_bytes(content if whole else content[:80_000])
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        state = {"path": f"ffi/1-1/{name}", "whole": whole, "size": len(content), "version": tag}
        lines.append(json.dumps(state) + "\n")
    (folder / "download.state").write_text("".join(lines))


def _brightest(catalog: Path, count: int) -> list[int]:
    """TIC numbers of the brightest stars of a catalog."""
    with contextlib.closing(sqlite3.connect(catalog)) as conn:
        return [row[0] for row in conn.execute("SELECT starid FROM catalog ORDER BY tmag LIMIT ?", (count,))]


def lists(folder: Path) -> None:
    """A CCD to make a work list of, lists of stars, settings, and the settings of a site."""
    from tasoc_mpi.slurm.site import examples

    packed(folder)
    shutil.rmtree(folder / "output")
    (catalog,) = folder.glob("catalog_*.sqlite")
    starids = _brightest(catalog, 6)
    lines = [f"{starid} 1 ffi" for starid in starids[:3]]
    (folder / "exclude.txt").write_text("# stars to leave out\n" + "\n".join(lines) + "\n")
    lines = [f"{starid} 1 ffi aperture" for starid in starids[3:]]
    (folder / "methods.txt").write_text("# methods\n" + "\n".join(lines) + "\n")
    (folder / "settings.ini").write_text(settings_text())
    for name, path in examples().items():
        shutil.copy(path, folder / f"{name}.yaml")


def spice(folder: Path) -> None:
    """Frames, and a kernel with the orbit of TESS about the Earth at their times."""
    import spiceypy

    frames(folder)
    (folder / "spice").mkdir()
    time = np.linspace(2110.0, 2120.0, 40)
    seconds = (time + 2457000.0 - 2451545.0) * 86400.0
    angle = (time - 2110.0) * 2 * np.pi / 13.7
    states = np.stack(
        [2.4e5 * np.cos(angle), 2.4e5 * np.sin(angle), 1e5 + 0 * angle] + [0 * angle] * 3, axis=-1
    )
    handle = spiceypy.spkopn(str(folder / "spice" / "tess.bsp"), "test", 0)
    spiceypy.spkw09(handle, -95, 399, "J2000", seconds[0], seconds[-1], "TESS", 7, len(time), states, seconds)
    spiceypy.spkcls(handle)
