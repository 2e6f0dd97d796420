"""Processor time of a star's correction, the rewritten file included: ``python benchmarks/correct_speed.py``.

Light curves made directly, with the systematics of `tasoc-mpi simulate`, are corrected as by a worker of
`tasoc-mpi correct`: read, unpacked, fitted, packed and written. Prints ms a star, and what a file costs
to which nothing is done; and the time of the vectors for each star and frame. `--cadence 600` and `200` show
how the times grow with the number of frames.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

# As in a worker, of which each core has one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from isal import igzip
from made_curves import make_area
from made_run import write_run

from tasoc_mpi.core.methods import CORRECTION_METHODS
from tasoc_mpi.core.ranks import Ranks
from tasoc_mpi.correction.corrected_star import correct_star
from tasoc_mpi.correction.fit_star import correct
from tasoc_mpi.correction.make_vectors import VectorOptions, make_vectors
from tasoc_mpi.correction.star_matrix import read_listed
from tasoc_mpi.products.replacements import replacements
from tasoc_mpi.worklist.listed_lightcurves import listed_lightcurves, read_lightcurve

#: Files that a worker puts in place together.
_TOGETHER = 50


def correct_all(folder: Path, starids: range, cadence: int, method: str) -> float:
    """Seconds of the processor."""
    output = str(folder / "output")
    start = time.process_time()
    for starid in starids:
        star = correct_star(
            method=method,
            starid=starid,
            input_folder=str(folder),
            output_folder=output,
            datasource="ffi" if cadence > 120 else "tpf",
            sector=1,
            camera=1,
            ccd=1,
            cadence=cadence,
        )
        star.save_lightcurve()
        if starid % _TOGETHER == 0:
            replacements(output).flush()
    replacements(output).flush()
    return time.process_time() - start


def rewrite_all(output: Path, names: list[str]) -> float:
    """Seconds of the processor to read, unpack, pack and write light curves as they are."""
    writer = replacements(str(output))
    start = time.process_time()
    for number, name in enumerate(names, 1):
        writer(name, igzip.compress(igzip.decompress(read_lightcurve(output / name)), 1, mtime=0))
        if number % _TOGETHER == 0:
            writer.flush()
    writer.flush()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stars", type=int, default=1000)
    parser.add_argument("--cadence", type=int, default=1800)
    parser.add_argument("--method", choices=CORRECTION_METHODS, default=CORRECTION_METHODS[0])
    args = parser.parse_args()
    area = make_area(args.stars, args.cadence)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = write_run(folder, area)
        for _ in range(2):
            # The second time the kernels are compiled.
            start = time.process_time()
            (path,) = make_vectors(folder / "todo.sqlite", output, Ranks(), VectorOptions(overwrite=True))
            vectors = time.process_time() - start
        starids = range(1000, 1000 + args.stars)
        correct_all(folder, starids[:20], args.cadence, args.method)
        total = correct_all(folder, starids, args.cadence, args.method)
        names = listed_lightcurves(folder / "todo.sqlite")
        file = rewrite_all(output, names)
        curves = [read_listed(str(output), name) for name in names]
        start = time.process_time()
        for curve in curves:
            correct(curve, path, args.method)
        fit = time.process_time() - start
        ms, frames = 1000 / args.stars, area.flux.shape[1]
        print(f"{args.stars} light curves of {frames} frames: {ms * total:.2f} ms a star, of which")
        print(
            f"{ms * fit:.2f} ms the fit; {ms * file:.2f} ms to read, unpack, pack and write the file as it is"
        )
        print(f"vectors: {1000 * ms * vectors / frames:.2f} us a star and frame")


if __name__ == "__main__":
    main()
