"""A CCD at full size: runs on a cube of 2048 x 2048 px and 1,282 frames (or more), and on long lists.

`cube FOLDER` simulates a band of rows, and puts it into a cube of full size with the catalog of a whole CCD.
The cube has 9 bytes a pixel and frame, 48 GB at 1,282 frames; only the band is on the disk, the rest of the
file is sparse. The frames of the band repeat, with other times and more noise. Then it
computes the stars of the band under mpiexec, and as many of a small field (a cube of the band alone).

`lists FOLDER --rows N` makes a work list with results, and times the commands that read or write it.
`tpfs FOLDER --files N` times a run over target pixel files among many.
`catalog FOLDER --stars N ...` times `catalog`, `todo` and runs with the catalogs of crowded CCDs.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from processes import descendants, memory_of

from tasoc_mpi import cli
from tasoc_mpi.core.messages import DIAGNOSTICS, RESULT_DTYPE, Results, pack_results
from tasoc_mpi.core.names import catalog_name, cube_name, lightcurve_name
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.photometry.load_sources import load_ffi
from tasoc_mpi.products import cube as cubes
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.fits_read import FITSReader
from tasoc_mpi.products.star_catalog import CatalogSettings, footprint_text, open_catalog, write_catalog
from tasoc_mpi.worklist.result_log import LogReader, LogWriter, log_path
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import TODO_NAME, create_todo
from tasoc_mpi.worklist.work_list import load_worklist

BIN = Path(sys.executable).parent
KEY = (1, 1, 1)
#: Rows and columns of a CCD, and its first science column.
SIDE, FIRST_COLUMN = 2048, 44


def command(*words: object) -> None:
    """A command of this program in this process; ends the script if it fails."""
    if status := cli.main(["--quiet", *map(str, words)]):
        raise SystemExit(status)


def timed(label: str, words: Sequence[object]) -> None:
    """A command of this program in a process of its own: seconds, processor time and memory."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = done.stderr.rpartition("peak ")[2].strip()
    print(
        f"{label:<24}{wall:8.1f} s {cpu:8.1f} s of processor time {peak:>8} MB, exit status {done.returncode}"
    )
    sys.stdout.flush()


#: The largest memory is VmHWM: ru_maxrss counts that of the process which started it, too.
_PEAK = """
import sys
from tasoc_mpi import cli
status = cli.main(["--quiet", *sys.argv[1:]])
words = next(line.split() for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", round(int(words[1]) * 1024 / 1e6), file=sys.stderr)
sys.exit(status)
"""


def make_band(folder: Path, rows: int, columns: int, density: float, frames: int) -> None:
    """A cube of some rows of the CCD, and the catalog of their stars."""
    shutil.rmtree(folder, ignore_errors=True)
    size = ("--rows", rows, "--columns", columns, "--frames", frames)
    where = ("--row0", 896, "--column0", FIRST_COLUMN)
    command("simulate", folder, *size, *where, "--density", density, "--tpfs", 0, "--faint-limit", 17)
    command("prepare", folder)
    shutil.rmtree(folder / "ffi")


def repeated(values: np.ndarray, frames: int) -> np.ndarray:
    """The first `frames` of values that repeat along the last axis."""
    return np.concatenate([values] * -(-frames // values.shape[-1]), axis=-1)[..., :frames]


def write_cube(path: Path, band: cubes.Cube, frames: int, whole: bool) -> int:
    """A cube with a band's rows, repeated in time, of a whole CCD or of the band alone; bytes on the disk."""
    first = band.row_offset if whole else 0
    shape = (SIDE, SIDE, frames) if whole else (*band.shape[:2], frames)
    attributes = {**dict.fromkeys(cubes.ATTRIBUTES), **band.attributes}
    if whole:
        attributes["PIXEL_OFFSET_ROW"] = 0
    cubes.allocate_cube(path, shape, attributes)  # sparse
    step = np.median(np.diff(band.time))
    times = step * np.arange(frames)
    of_frame = np.arange(frames) % len(band.time)
    model = band.background
    assert isinstance(model, cubes.BackgroundModel)
    mesh = repeated(model.mesh, frames)
    if whole:
        # A sky without slopes beyond the band; the band's own begins at a multiple of a box.
        mesh = np.tile(mesh[:1, :1], (SIDE // model.box, SIDE // model.box, 1))
    with h5py.File(path, "r+") as file:
        for name in ("time", "time_start", "time_stop"):
            file.create_dataset(name, data=getattr(band, name)[0] + times)
        file.create_dataset("timecorr", data=np.full(frames, band.timecorr[0]))
        file.create_dataset("cadenceno", data=band.cadenceno[0] + np.arange(frames, dtype="i4"))
        file.create_dataset("quality", data=np.zeros(frames, "i4"))
        file.create_dataset("ephemeris", data=band.ephemeris[of_frame])
        file["ephemeris"].attrs["source"] = band.ephemeris_source
        names = np.array([f"frame{t}" for t in range(frames)], dtype=object)
        file.create_dataset("frames", data=names, dtype=h5py.string_dtype())
        sums = np.full(shape[:2], np.nan, "f4")
        sums[first : first + band.shape[0], : band.shape[1]] = band.sumimage
        file.create_dataset("sumimage", data=sums)
        file.create_dataset("backgrounds_pixels_used", data=np.ones(shape[:2], "u1"))
        headers = band.wcs_headers
        cubes.write_wcs(file, band.wcs.take(of_frame), [headers[t] for t in of_frame], band.ref_frame)
        cubes.write_background(file, model._replace(mesh=mesh, radial=repeated(model.radial, frames)))
        cubes.describe_cube(file)
        cubes.finish_cube(file)
        places = {name: file[name].id.get_offset() for name in ("images", "images_err", "pixel_flags")}
    rng = np.random.default_rng(1)
    with open(path, "r+b") as raw:
        for row in range(band.shape[0]):
            for name, place in places.items():
                data = repeated(getattr(band, name)[row], frames)
                if name == "images":
                    # Light curves that repeat would be compressed more and faster than others.
                    noise = rng.standard_normal(data.shape, "f4")
                    data = data + noise * repeated(band.images_err[row], frames)
                raw.seek(place + (first + row) * shape[1] * data[0].nbytes)
                raw.write(np.ascontiguousarray(data))
    return path.stat().st_blocks * 512


def whole_catalog(band: cubes.Cube, folder: Path, target: Path, stars: int) -> np.ndarray:
    """The catalog of a CCD: a band's stars, and others beside it; TIC numbers of those well in the band."""
    catalog = open_catalog(folder / catalog_name(*KEY))
    own, rng = catalog.stars, np.random.default_rng(1)
    (bright,) = np.nonzero(own["tmag"] <= 15)
    there = band.wcs.stars(own["ra"], own["decl"], band.ref_frame)
    inside = (there[:, 1] > band.row_offset + 15) & (there[:, 1] < band.row_offset + band.shape[0] - 15)
    inside &= (there[:, 0] > FIRST_COLUMN + 15) & (there[:, 0] < FIRST_COLUMN + band.shape[1] - 15)
    others = np.zeros(max(0, stars - len(bright)), own.dtype)
    rows = rng.uniform(0, SIDE - band.shape[0] - 60, len(others))
    rows = np.where(rows < band.row_offset - 30, rows, rows + band.shape[0] + 60)
    columns = rng.uniform(FIRST_COLUMN, FIRST_COLUMN + SIDE, len(others))
    sky = band.wcs.sky(columns, rows, band.ref_frame)
    others["ra"], others["decl"] = others["ra_J2000"], others["decl_J2000"] = sky.T
    others["starid"] = own["starid"].max() + 1 + np.arange(len(others))
    others["tmag"], others["teff"] = rng.choice(own["tmag"][bright], len(others)), 5000.0
    edges = np.array([FIRST_COLUMN - 0.5, FIRST_COLUMN + SIDE - 0.5])
    corners = band.wcs.sky(
        edges[[0, 1, 1, 0]], np.array([-0.5, -0.5, SIDE - 0.5, SIDE - 0.5]), band.ref_frame
    )
    settings: CatalogSettings = replace(catalog.settings, footprint=footprint_text(corners))
    write_catalog(target / catalog_name(*KEY), settings, np.concatenate([own, others]))
    return own["starid"][inside & (own["tmag"] <= 15)]


def run_and_report(label: str, folder: Path, stars: Path, ranks: int, *options: str) -> None:
    """A run of some stars from an empty output folder: rate, and memory of each kind of process."""
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    words = [str(BIN / "mpiexec"), "-n", str(ranks), str(BIN / "tasoc-mpi"), "--quiet", "run", str(folder)]
    words += ["--output", str(output), "--starid-file", str(stars), "--overwrite", *options]
    start, peak = time.perf_counter(), {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            for pid in descendants(process.pid):
                size = memory_of(pid)
                for kind in ("Anonymous", "Pss"):
                    peak[kind] = max(peak.get(kind, 0), size.get(kind, 0))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit status {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    summary = json.loads((output / "summary.json").read_text())
    n = summary["tasks_run"]
    with sqlite3.connect(folder / TODO_NAME) as connection:
        median = np.median([row[0] for row in connection.execute("SELECT elaptime FROM diagnostics")])
    print(
        f"{label:<28}{n:>6} stars {n / summary['seconds']:>6.0f} stars/s, {n / wall:>5.0f} with the start; "
        f"a star {1e3 * median:.2f} ms in the median, {1e3 * cpu / n:.2f} ms of processor time; "
        f"largest process {peak['Anonymous'] / 1e6:.0f} MB, "
        f"{peak['Pss'] / 1e6:.0f} MB with its share of mapped files",
        flush=True,
    )


def run_cube(options: argparse.Namespace) -> None:
    """The part `cube`."""
    band_folder = options.folder / "band"
    if not (band_folder / cube_name(*KEY)).exists():
        make_band(band_folder, options.band, options.columns, options.density, options.simulated)
    starids = options.folder / "starids.txt"
    for frames in options.frames:
        for name, whole in (("full", True), ("small", False)):
            folder = options.folder / f"{name}{frames}"
            if not (folder / TODO_NAME).exists():
                make_cube(options, band_folder, folder, frames, whole)
                timed("todo", ("todo", folder))
            # The first run reads the pixels from the disk.
            for again in ("", ", again"):
                run_and_report(f"{name}, {frames} frames{again}", folder, starids, options.ranks)
            if not options.keep:
                shutil.rmtree(folder)
    if not options.keep:
        shutil.rmtree(band_folder)


def make_cube(options: argparse.Namespace, band_folder: Path, folder: Path, frames: int, whole: bool) -> None:
    """The cube and the catalog of one run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    band = open_cube(band_folder / cube_name(*KEY))
    size = write_cube(folder / cube_name(*KEY), band, frames, whole)
    logical = (folder / cube_name(*KEY)).stat().st_size
    print(
        f"{folder.name}: a cube of {logical / 1e9:.1f} GB, {size / 1e9:.1f} GB of them on the disk",
        flush=True,
    )
    if whole:
        own = whole_catalog(band, band_folder, folder, options.stars)
        (options.folder / "starids.txt").write_text("\n".join(map(str, own[: options.most])))
    else:
        shutil.copy(band_folder / catalog_name(*KEY), folder)


def make_list(folder: Path, n: int) -> None:
    """A work list of n rows on 16 CCDs, and the logs of a run that has computed nine tenths of them.

    A tenth of the light curves names a fainter star of its CCD to be skipped; a tenth of the rows failed.
    """
    rng = np.random.default_rng(1)
    rows = np.zeros(n, TODO_DTYPE)
    rows["priority"] = np.arange(1, n + 1)
    rows["starid"] = rng.choice(2_000_000_000, n, replace=False)
    rows["sector"], rows["datasource"], rows["cadence"], rows["cbv_area"] = 1, "ffi", 1800, 111
    rows["camera"], rows["ccd"] = rng.integers(1, 5, n), rng.integers(1, 5, n)
    rows["tmag"] = np.sort(15 - rng.exponential(1.2, n).clip(0, 12))
    row, column = rng.uniform(0, SIDE, n), rng.uniform(FIRST_COLUMN, FIRST_COLUMN + SIDE, n)
    (folder / "output").mkdir(parents=True)
    tiles = (32 * (row // 64) + (column - FIRST_COLUMN) // 64).astype(int)
    path = folder / "todo.sqlite"
    create_todo(path, rows, tiles)
    worklist = load_worklist(path)
    status = rng.choice([*7 * [STATUS.OK], STATUS.WARNING, STATUS.ERROR, STATUS.UNKNOWN], n)
    noise = 10 ** (0.22 * (rows["tmag"] - 10)) * 200e-6 * rng.lognormal(0, 0.2, n)
    values = {"elaptime": 0.003, "rms_hour": noise, "ptp": noise, "mask_size": 9, "contamination": 0.02}
    values |= {"status": status, "pos_row": row, "pos_column": column, "priority": rows["priority"]}
    for number, ccd in enumerate(worklist.ccds):
        here = np.flatnonzero((worklist.ccd_of == number) & (status != STATUS.UNKNOWN))
        writer = LogWriter(LogReader(log_path(folder / "output", ccd), worklist, ccd), 6)
        for at in range(0, len(here), 500):
            part = here[at : at + 500]
            numbers = np.zeros(len(part), RESULT_DTYPE)
            for name in DIAGNOSTICS:
                numbers[name] = np.nan
            for name, value in values.items():
                numbers[name] = np.broadcast_to(value, n)[part]
            numbers["skip_count"][:-1] = (rng.random(len(part) - 1) < 0.1) & (numbers["status"][:-1] != 2)
            names = [
                None if failed else lightcurve_name(starid, *ccd, 1800, 1, 6)
                for starid, failed in zip(
                    rows["starid"][part].tolist(), (numbers["status"] == STATUS.ERROR).tolist(), strict=True
                )
            ]
            errors = [f"Traceback\nValueError: {star} bad" if not x else None for star, x in enumerate(names)]
            skips = rows["starid"][part[1:][numbers["skip_count"][:-1] > 0]]
            message = pack_results(Results(numbers, names, ["aperture"] * len(part), errors, skips))
            writer.append([(time.time(), message)])
        writer.close()


def make_files(folder: Path) -> int:
    """Empty files in place of the published light curves; their number."""
    with sqlite3.connect(folder / "todo.sqlite") as connection:
        found = connection.execute("SELECT lightcurve FROM diagnostics WHERE lightcurve IS NOT NULL")
        names = [folder / "output" / name for (name,) in found]
    for parent in {path.parent for path in names}:
        parent.mkdir(parents=True, exist_ok=True)
    for path in names:
        path.touch()
    return len(names)


def run_lists(options: argparse.Namespace) -> None:
    """The part `lists`."""
    if not options.folder.exists():
        make_list(options.folder, options.rows)
    # The report reads some of the light curves: there must be none then.
    shutil.rmtree(options.folder / "output" / "c1800", ignore_errors=True)
    for name in ("publish", "status", "summary", "report"):
        timed(name, (name, options.folder))
    timed("run --dry-run", ("run", options.folder, "--dry-run"))
    number = make_files(options.folder)
    timed(f"publish, {number} files", ("publish", options.folder))
    if not options.keep:
        shutil.rmtree(options.folder)


def run_catalog(options: argparse.Namespace) -> None:
    """The part `catalog`: CCDs in crowded fields; a run of the same stars for each number of others."""
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    band_folder, target = options.folder / "band", options.folder / "whole"
    make_band(band_folder, 64, SIDE, 1.0, 8)
    band = open_cube(band_folder / cube_name(*KEY))
    target.mkdir()
    write_cube(target / cube_name(*KEY), band, 8, whole=True)
    starids, table = options.folder / "starids.txt", options.folder / "stars.csv"
    for stars in options.stars:
        own = whole_catalog(band, band_folder, target, stars)
        starids.write_text("\n".join(map(str, own)))
        write_table(target / catalog_name(*KEY), table)
        timed(f"catalog of {stars} stars", ("catalog", target, "--from", table, "--overwrite"))
        timed("todo", ("todo", target, "--overwrite"))
        start = time.process_time()
        source = load_ffi(target, *KEY)
        opened = time.process_time()
        rows = np.linspace(20, SIDE - 20, 2000)
        found = sum(len(source.stars_within(row - 15, row + 15, 1000, 1030)) for row in rows)
        query = (time.process_time() - opened) / len(rows)
        print(
            f"opening cube and catalog {opened - start:.2f} s of processor time, the stars of a stamp of "
            f"30 x 30 px {1e6 * query:.0f} us ({found / len(rows):.1f} stars)",
            flush=True,
        )
        run_and_report(f"catalog of {stars}", target, starids, 3)
    shutil.rmtree(options.folder)


def write_table(catalog: Path, table: Path) -> None:
    """The stars of a catalog as a table that `tasoc-mpi catalog` reads."""
    stars = open_catalog(catalog).stars
    with table.open("w") as file:
        file.write("ID,ra,dec,Tmag,pmRA,pmDEC,Teff\n")
        for star in stars.tolist():
            starid, _, _, ra, dec, pm_ra, pm_dec, tmag, teff = star
            file.write(f"{starid},{ra!r},{dec!r},{tmag!r},{pm_ra!r},{pm_dec!r},{teff!r}\n".replace("nan", ""))


def run_tpfs(options: argparse.Namespace) -> None:
    """The part `tpfs`: ten files that are computed among many whose pixels are holes of their files."""
    shutil.rmtree(options.folder, ignore_errors=True)
    command("simulate", options.folder, "--rows", 128, "--columns", 128, "--frames", 48, "--tpfs", 10)
    command("prepare", options.folder)
    shutil.rmtree(options.folder / "ffi")
    files = sorted((options.folder / "tpf").rglob("*_tp.fits"))
    run = ("run", options.folder, "--datasource", "tpf")
    starids = options.folder / "starids.txt"
    starids.write_text("\n".join(str(int(path.name.split("-")[2])) for path in files))
    timed("todo, 10 files", ("todo", options.folder))
    run_and_report("10 files", options.folder, starids, 3, "--datasource", "tpf")
    catalog = open_catalog(options.folder / catalog_name(*KEY))
    others = np.repeat(catalog.stars[:1], options.files - len(files))
    others["starid"] = catalog.stars["starid"].max() + 1 + np.arange(len(others))
    # Not on the ten stamps.
    others["decl"] += 5 * others["decl"][0] / abs(others["decl"][0]) + np.arange(len(others)) * 1e-4
    write_catalog(catalog.path, catalog.settings, np.concatenate([catalog.stars, others]))
    for k, starid in enumerate(others["starid"].tolist()):
        folder = options.folder / "tpf" / f"{k // 1000:03d}"
        folder.mkdir(exist_ok=True)
        write_hollow_file(files[k % len(files)], folder, starid)
    timed(f"todo, {options.files} files", ("todo", options.folder, "--overwrite"))
    shutil.rmtree(options.folder / "output")  # its results are of the list before
    timed("run --dry-run", (*run, "--dry-run"))
    run_and_report(f"10 of {options.files} files", options.folder, starids, 3, "--datasource", "tpf")
    if not options.keep:
        shutil.rmtree(options.folder)


def write_hollow_file(original: Path, folder: Path, starid: int) -> None:
    """The target pixel file of another star: headers and aperture of an original, and a hole between them."""
    with FITSReader(original) as reader:
        hdus = reader.hdus()
        next(hdus)
        table = next(hdus)
        head, end = reader.read(0, table.start), reader.end(table)
        size = original.stat().st_size
        tail = reader.read(end, size - end)
    number = original.name.split("-")[2]
    head = head.replace(f"TICID   = {int(number):>20}".encode(), f"TICID   = {starid:>20}".encode())
    path = folder / original.name.replace(number, f"{starid:016d}")
    with path.open("wb") as file:
        file.write(head)
        file.seek(end)
        file.write(tail)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("cube")
    one.add_argument("--frames", type=int, nargs="+", default=[1282], help="several: a run for each")
    one.add_argument("--simulated", type=int, default=32, help="frames that are simulated, and repeated")
    one.add_argument("--band", type=int, default=256, help="rows on the disk (default: %(default)s)")
    one.add_argument("--columns", type=int, default=SIDE, help="columns on the disk (default: all)")
    one.add_argument("--density", type=float, default=3.0)
    one.add_argument("--stars", type=int, default=60_000, help="of Tmag 15 at most, on the CCD")
    one.add_argument("--most", type=int, default=5500, help="stars that are computed")
    one.add_argument("--ranks", type=int, default=3)
    one.set_defaults(part=run_cube)
    for name, part, option, number in (
        ("lists", run_lists, "--rows", 2_000_000),
        ("catalog", run_catalog, "--stars", [60_000, 500_000]),
        ("tpfs", run_tpfs, "--files", 20_000),
    ):
        one = parts.add_parser(name)
        many = {"nargs": "+"} if isinstance(number, list) else {}
        one.add_argument(option, type=int, default=number, **many)
        one.set_defaults(part=part)
    for one in parts.choices.values():
        one.add_argument("folder", type=Path)
        one.add_argument("--keep", action="store_true", help="keep what was made")
    options = parser.parse_args()
    options.part(options)


if __name__ == "__main__":
    main()
