"""Memory of `tasoc-mpi cbv` for a large area: ``python benchmarks/cbv_memory.py FOLDER``.

Makes a run with packed light curves (5 GB of disk for 15,000 stars x 11,700 frames of 200 s) in FOLDER/big,
runs the command on it as a user does, prints its largest memory and its processor time, and deletes the run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import numpy as np
from made_curves import ORBIT, ZERO_POINT
from made_run import made_lightcurve

from tasoc_mpi.products.lightcurve_file import write_lightcurve
from tasoc_mpi.products.packed import pack_writer
from tasoc_mpi.simulate.systematics import make_systematics
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo

CADENCE = 200
#: Light curves that are on the disk together.
_TOGETHER = 500


def make_run(folder: Path, stars: int, frames: int) -> None:
    """A finished run of an area: light curves with noise and systematics, a fifth of them with a wave."""
    output = folder / "output"
    rng = np.random.default_rng(14)
    time = (np.arange(frames) + 0.5) * CADENCE / 86400
    # The gap between the orbits.
    time[frames // 2 :] += 0.9
    systematics = make_systematics(time, ORBIT, rng, 1.0)
    tmag = np.sort(7.0 + 8.0 * rng.uniform(size=stars) ** 0.6)
    rows = np.zeros(stars, TODO_DTYPE)
    rows["priority"] = np.arange(1, stars + 1)
    rows["starid"] = 1000 + np.arange(stars)
    rows["sector"], rows["camera"], rows["ccd"], rows["cadence"] = 1, 1, 1, CADENCE
    rows["datasource"], rows["tmag"], rows["cbv_area"] = "ffi", tmag, 112
    folder.mkdir(parents=True)
    create_todo(folder / "todo.sqlite", rows)
    writer, listed = pack_writer(str(output)), []
    for i in range(stars):
        level = 10 ** (-0.4 * (tmag[i] - ZERO_POINT))
        sigma = np.hypot(np.sqrt(level / 158 + 20) / level, 4e-5)
        place = rng.uniform(0, 2048, 2)
        x, y = (place - 1024) / 1024
        loss = 0.2 * (1 + 0.35 * x + 0.25 * y) * np.exp(0.2 * rng.standard_normal())
        trend = 1 - loss * systematics.focus + systematics.shift @ (0.02 * np.array([x + 0.5, y - 0.3]))
        own = 10 ** rng.uniform(-3.3, -1.5) * np.sin(time * 10 ** rng.uniform(-1, 1)) if i % 5 == 0 else 0.0
        flux = trend * systematics.sensitivity * (1 + own) + 10 / level * systematics.scattered
        flux += sigma * rng.standard_normal(frames)
        cadenceno = (4697 + np.floor(time * 86400 / CADENCE)).astype(np.int32)
        curve = made_lightcurve(
            1000 + i, 1, CADENCE, tmag[i], place, time, cadenceno, level * flux, level * sigma
        )
        spread = flux.std() / sigma if i % 5 == 0 else 1.0
        listed.append((i + 1, write_lightcurve(output, curve, writer), level, spread))
        if i % _TOGETHER == 0:
            writer.flush()
    writer.flush()
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET status = 1")
        conn.executemany(
            "INSERT INTO diagnostics (priority, lightcurve, method_used, elaptime, mean_flux, variability)"
            " VALUES (?, ?, 'aperture', 0.01, ?, ?)",
            listed,
        )
        conn.execute("INSERT INTO photometry_output VALUES ('output', 1)")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=15_000)
    parser.add_argument("--frames", type=int, default=11_700)
    args = parser.parse_args()
    folder = args.folder / "big"
    try:
        make_run(folder, args.stars, args.frames)
        size = sum(path.stat().st_size for path in folder.rglob("*.hdf5"))
        command = [sys.executable, "-m", "tasoc_mpi.cli", "cbv", str(folder)]
        child = os.posix_spawn(sys.executable, command, os.environ | {"OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(child, 0)
        print(f"exit status {os.waitstatus_to_exitcode(status)}; packs of {size / 1e9:.2f} GB")
        print(
            f"{args.stars} stars x {args.frames} frames: {usage.ru_maxrss * 1024 / 1e9:.2f} GB,"
            f" {usage.ru_utime + usage.ru_stime:.0f} s of processor time"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
