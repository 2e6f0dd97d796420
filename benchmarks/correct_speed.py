"""Processor time of a star's correction, the rewritten file included: ``python benchmarks/correct_speed.py``.

Made-up light curves of 1,282 frames with the trends of 16 vectors, each of which has spikes, are corrected as
by a worker of `tasoc-mpi correct`: read, unpacked, fitted, packed and written. Prints ms a star.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

# As in a worker, of which each core has one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import numpy as np
from small_files import make_lightcurve
from trends import made_vectors

from tasoc_mpi.core.methods import CORRECTION_METHODS
from tasoc_mpi.core.names import CBV_FOLDER, cbv_name
from tasoc_mpi.correction.corrected_star import correct_star
from tasoc_mpi.correction.fit_star import correct
from tasoc_mpi.products.cbv_file import Vectors, write_vectors
from tasoc_mpi.products.lightcurve import write_lightcurve
from tasoc_mpi.products.raw_curve import parse_raw_curve
from tasoc_mpi.products.replacements import replacements
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import TODO_NAME, create_todo

_KEY = ("starid", "datasource", "sector", "camera", "ccd", "cadence")


def make_vectors(frames: int, significant: int) -> Vectors:
    """16 vectors, of which some are more than noise, with the coefficients of 500 stars."""
    rng = np.random.default_rng(1)
    vectors = made_vectors(frames, count=16)
    good = vectors.good
    spikes = np.where((rng.random((frames, 16)) < 0.01) & good[:, None], rng.normal(size=(frames, 16)), 0.0)
    count = significant * (vectors.orbits + 1)
    return dataclasses.replace(
        vectors,
        camera=4,
        ccd=1,
        area=411,
        spikes=spikes,
        noise=np.where(np.arange(16) < significant, 0.1, 1.0),
        starid=np.arange(1001, 1501),
        tmag=rng.uniform(8, 12, 500),
        row=rng.uniform(1, 2048, 500),
        column=rng.uniform(45, 2092, 500),
        use=np.zeros(500, np.int32),
        weights=np.zeros((500, 16)),
        coefficients=rng.normal(0, 1e-3, (500, count)),
        coefficient_errors=np.full((500, count), 1e-5),
        left=rng.normal(0, 1e-5, (2, frames)).astype(np.float32),
    )


def make_input(folder: Path, stars: int, frames: int, significant: int) -> np.ndarray:
    """A published work list with light curves and vectors; returns its rows."""
    rng = np.random.default_rng(2)
    vectors = make_vectors(frames, significant)
    (folder / "output" / CBV_FOLDER).mkdir(parents=True)
    write_vectors(folder / "output" / CBV_FOLDER / cbv_name(1, 1800, 411), vectors)
    rows = np.zeros(stars, TODO_DTYPE)
    rows["priority"] = rows["starid"] = np.arange(1, stars + 1)
    rows["sector"], rows["camera"], rows["ccd"], rows["cadence"], rows["cbv_area"] = 1, 4, 1, 1800, 411
    rows["datasource"], rows["tmag"] = "ffi", 10.0
    create_todo(folder / TODO_NAME, rows)
    names = []
    for starid in rows["starid"].tolist():
        one = make_lightcurve(frames)
        trend = vectors.slow @ rng.normal(0, 1e-3, 16) + vectors.spikes @ rng.normal(0, 1e-3, 16)
        flux = 1000.0 * (1 + trend + rng.normal(0, 1e-4, frames))
        columns = {**one.columns, "flux": flux, "flux_err": np.full(frames, 0.1)}
        cards = [("TICID", starid, ""), ("SECTOR", 1, ""), ("CAMERA", 4, ""), ("CCD", 1, "")]
        one = dataclasses.replace(
            one,
            starid=starid,
            columns=columns,
            primary_cards=[*cards, ("TESSMAG", 10.0, "")],
            table_cards=[*one.table_cards, ("TIMEDEL", 1800 / 86400, "")],
        )
        names.append(write_lightcurve(folder / "output", one))
    with contextlib.closing(sqlite3.connect(folder / TODO_NAME)) as conn, conn:
        conn.executemany(
            "INSERT INTO diagnostics (priority, lightcurve, method_used, elaptime) VALUES (?, ?, '', 0)",
            zip(rows["priority"].tolist(), names, strict=True),
        )
    return rows


def correct_all(folder: Path, rows: np.ndarray, method: str) -> float:
    """Seconds of the processor."""
    output = str(folder / "output")
    start = time.process_time()
    for number, row in enumerate(rows):
        star = correct_star(
            method=method,
            input_folder=str(folder),
            output_folder=output,
            **{
                name: row[name].item()
                for name in ("starid", "datasource", "sector", "camera", "ccd", "cadence")
            },
        )
        star.save_lightcurve()
        if number % 50 == 49:
            replacements(output).flush()
    replacements(output).flush()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stars", type=int, default=500)
    parser.add_argument("--frames", type=int, default=1282)
    parser.add_argument("--significant", type=int, default=8, help="vectors that are more than noise")
    parser.add_argument("--method", choices=CORRECTION_METHODS, default=CORRECTION_METHODS[0])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = make_input(folder, args.stars, args.frames, args.significant)
        correct_all(folder, rows[:20], args.method)
        total = correct_all(folder, rows, args.method)
        (path,) = (folder / "output" / CBV_FOLDER).iterdir()
        curves = [parse_raw_curve(p, p.read_bytes()) for p in (folder / "output").glob("c*/*/*.gz")]
        start = time.process_time()
        for curve in curves:
            correct(curve, path, args.method)
        fit = time.process_time() - start
        print(
            f"{args.stars} light curves of {args.frames} frames: {1000 * total / args.stars:.2f} ms a star,"
        )
        print(f"of which the fit {1000 * fit / args.stars:.2f} ms, and the file the rest")


if __name__ == "__main__":
    main()
