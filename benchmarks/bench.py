"""What a star costs, stage by stage, and what a run reaches: the figures of docs/benchmarks.md.

Simulates a CCD of 512 x 512 pixels with 1,282 frames in ./bench/ccd (kept for the next time), prepares it,
times the stages on one core with the cube in the page cache, and runs it alone and under mpiexec. The cost of
a star of another cadence (600 s: 3,900 frames):

    bench.py --folder bench/c200 --cadence 200 --frames 11700 --pixels 64 --stars 30 --methods aperture linpsf
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from processes import descendants, memory_of

from tasoc_mpi.core.tables import number, text_table

BIN = Path(sys.executable).parent


def command(*words: str) -> None:
    """Run one of the program's commands, and say so."""
    print("$", *words, flush=True)
    subprocess.run([str(BIN / words[0]), *words[1:]], check=True)


#: Sectors that have frames of a cadence.
SECTORS = {1800: 1, 600: 30, 200: 60}


def make_input(folder: Path, cadence: int, frames: int, pixels: int) -> None:
    """Simulate and prepare, unless that was done before."""
    if not (folder / "todo.sqlite").exists():
        shutil.rmtree(folder, ignore_errors=True)
        where = ["--sector", str(SECTORS[cadence]), "--camera", "1", "--ccd", "1", "--cadence", str(cadence)]
        # Some stars of a small field, too.
        density = "1" if pixels > 200 else "3"
        size = [
            "--frames",
            str(frames),
            "--rows",
            str(pixels),
            "--columns",
            str(pixels),
            "--density",
            density,
        ]
        command("tasoc-mpi", "simulate", str(folder), *where, *size, "--tpfs", "20" if pixels > 200 else "0")
        start = time.perf_counter()
        command("tasoc-mpi", "prepare", str(folder))
        print(f"prepare: {(time.perf_counter() - start) / frames * 1e3:.1f} ms a frame")
        command("tasoc-mpi", "todo", str(folder))


class Stages:
    """Time spent in each stage, a sample a star."""

    def __init__(self) -> None:
        self.samples: dict[str, list[float]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.samples.setdefault(name, []).append(time.perf_counter() - start)

    def show(self) -> None:
        """Print mean and median of every stage."""
        rows = [("stage", "mean ms", "median ms")]
        for name, values in self.samples.items():
            means = statistics.fmean(values), statistics.median(values)
            rows.append((name, *(number(1e3 * mean, 3) for mean in means)))
        print("\n".join(text_table(rows, left=1)))


def time_stages(folder: Path, n_stars: int) -> None:
    """Every stage of a star on its own, then the whole star, on one core."""
    from tasoc_mpi import AperturePhotometry, tessphot
    from tasoc_mpi.core.quality import TESSQualityFlags
    from tasoc_mpi.photometry.k2p2 import K2P2Parameters, k2p2_masks
    from tasoc_mpi.photometry.measurements import fill_statistics
    from tasoc_mpi.worklist.work_list import load_worklist

    todo = load_worklist(folder / "todo.sqlite").rows
    ffi = todo[todo["datasource"] == b"ffi"]
    stars = np.random.default_rng(1).permutation(ffi["starid"])[:n_stars]
    output = folder / "stages"
    where = {"input_folder": folder, "output_folder": output, "sector": 1, "camera": 1, "ccd": 1}
    for starid in stars:  # compile, and read the cube into the page cache
        with tessphot(None, int(starid), **where) as pho:
            window = pho._slices
            np.array(pho._source.images[window]), np.array(pho._source.images_err[window])
            _remove(pho.save_lightcurve() if pho.status.has_lightcurve else None)
    stages = Stages()
    for starid in stars:
        with AperturePhotometry(int(starid), **where) as pho:
            source = pho._source
            i = source.index(int(starid))
            rows, columns = pho._slices
            with stages.of("plain numpy read of the stamp"):
                np.array(source.images[rows, columns]), np.array(source.images_err[rows, columns])
            with stages.of("positions in every frame"):
                source.star_motion(i)
            with stages.of("barycentric times"):
                source.times(i)
            parameters, near = K2P2Parameters.from_settings(pho.settings), pho.stamp_stars
            with stages.of("mask"):
                k2p2_masks(pho.sumimage, near["row_stamp"], near["column_stamp"], near["tmag"], parameters)
            pho.photometry()
            if not pho.status.has_lightcurve:
                continue
            with stages.of("pixel sums"):
                pho.sum_mask(pho.final_phot_mask)
            lc = pho._columns.arrays
            good = TESSQualityFlags.filter(lc["quality"])
            with stages.of("diagnostics"):
                fill_statistics(pho.result, lc["time"], lc["flux"], lc["flux_err"], lc["pos_centroid"], good)
            with stages.of("light curve file"):
                name = pho.save_lightcurve()
            _remove(name)
    for starid in stars:
        with stages.of("whole star, with its file"):
            pho = tessphot(None, int(starid), **where)
            name = pho.save_lightcurve() if pho.status.has_lightcurve else None
            pho.close()
        _remove(name)
    print(f"\nOne core, {len(stars)} stars, {source.images.shape} cube in the page cache:")
    stages.show()
    shutil.rmtree(output)


def _remove(lightcurve: str | None) -> None:
    """Make room for a new file, as a run writes it: the disk is waited for where one is replaced."""
    if lightcurve is not None:
        os.unlink(lightcurve)


def time_methods(folder: Path, methods: list[str], n_stars: int, repeat: int) -> None:
    """Processor time of whole stars with their files, beside that of a plain numpy read of the stamp."""
    from tasoc_mpi import AperturePhotometry, tessphot
    from tasoc_mpi.worklist.work_list import load_worklist

    todo = load_worklist(folder / "todo.sqlite").rows
    ffi = todo[todo["datasource"] == b"ffi"]
    stars = np.random.default_rng(1).permutation(ffi["starid"])[:n_stars].tolist()
    output = folder / "methods"
    sector = int(ffi["sector"][0])
    where = {"input_folder": folder, "output_folder": output, "sector": sector, "camera": 1, "ccd": 1}

    def read(starid: int) -> None:
        np.array(pho._source.images[pho._slices]), np.array(pho._source.images_err[pho._slices])

    def whole(starid: int) -> None:
        with tessphot(method, starid, **where) as star:
            star.save_lightcurve() if star.status.has_lightcurve else None

    rows = [("method", "ms", "read, ms", "ratio", "kB")]
    for method in methods:
        # All stars in turn, so that none finds its pixels in the processor's cache.
        best = np.full((2, len(stars)), np.inf)
        for _ in range(repeat + 1):
            for k, starid in enumerate(stars):
                with AperturePhotometry(starid, **where) as pho:
                    for row, action in enumerate((read, whole)):
                        start = time.process_time()
                        action(starid)
                        best[row, k] = min(best[row, k], time.process_time() - start)
        reading, star = 1e3 * np.median(best, axis=1)
        sizes = [path.stat().st_size for path in output.rglob("*_lc.fits.gz")]
        size = number(np.median(sizes) / 1e3, 0)
        rows.append((method, number(star, 2), number(reading, 3), number(star / reading, 1), size))
    print(f"\nProcessor time, medians over {len(stars)} stars of the best of {repeat + 1}:")
    print("\n".join(text_table(rows, left=1)))
    shutil.rmtree(output)


def time_run(folder: Path, ranks: int, *options: str) -> None:
    """A whole run from an empty work list, start-up included; alone for one rank."""
    output = folder / "output"
    prefix = [str(BIN / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    words = [*prefix, str(BIN / "tasoc-mpi"), "--quiet", "run", str(folder)]
    words += ["--output", str(output), "--overwrite", *options]
    start = time.perf_counter()
    peak = 0
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            anonymous = [memory_of(pid).get("Anonymous", 0) for pid in descendants(process.pid)]
            peak = max([peak, *anonymous])
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit status {process.returncode}")
    wall = time.perf_counter() - start
    summary = json.loads((output / "summary.json").read_text())
    stars = summary["tasks_run"]
    what = "full frame images" if options else "and target pixel files"
    print(
        f"{f'mpiexec -n {ranks}' if ranks > 1 else 'alone':<13}{what:<24}{stars:>6} stars "
        f"{stars / summary['seconds']:>6.0f} stars/s, {stars / wall:>5.0f} with the start of the program; "
        f"{peak / 1e6:>4.0f} MB for a process at most, mapped cubes aside"
    )


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("bench/ccd"))
    parser.add_argument("--stars", type=int, default=300)
    parser.add_argument("--cadence", type=int, choices=SECTORS, default=1800, help="of the simulation, s")
    parser.add_argument("--frames", type=int, default=1282)
    parser.add_argument("--pixels", type=int, default=512, help="width and height of the CCD")
    parser.add_argument("--methods", nargs="+", help="only the processor time of these; linpsf and psf, too")
    args = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    make_input(args.folder, args.cadence, args.frames, args.pixels)
    if args.methods:
        time_methods(args.folder, args.methods, args.stars, repeat=3)
        return
    time_stages(args.folder, args.stars)
    print()
    for ranks in (1, 3):
        time_run(args.folder, ranks, "--datasource", "ffi")
        time_run(args.folder, ranks)


if __name__ == "__main__":
    main()
