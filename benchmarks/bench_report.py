#!/usr/bin/env python3
"""Measure the report of a large run: its time, memory and size, for a work list of random results.

python benchmarks/bench_report.py FOLDER [ROWS]
"""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tasoc_mpi.core.status import STATUS
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo

_DIAGNOSTICS = "priority, lightcurve, method_used, elaptime, worker_wait_time, rms_hour, ptp, mask_size"
_DIAGNOSTICS += ", contamination, pos_row, pos_column, errors"


def write_run(folder: Path, n: int) -> None:
    """A work list of 16 CCDs on which 70% are OK and 10% each a WARNING, an ERROR and SKIPPED."""
    rng = np.random.default_rng(1)
    rows = np.zeros(n, TODO_DTYPE)
    rows["priority"] = np.arange(1, n + 1)
    rows["starid"] = rng.choice(2_000_000_000, n, replace=False)
    rows["sector"], rows["cadence"], rows["cbv_area"], rows["datasource"] = 1, 1800, 111, "ffi"
    rows["camera"], rows["ccd"] = rng.integers(1, 5, n), rng.integers(1, 5, n)
    rows["tmag"] = np.sort(15 - rng.exponential(1.2, n).clip(0, 12))
    row, column = rng.uniform(0, 2048, n), rng.uniform(44, 2092, n)
    tile = (32 * (row // 64) + (column - 44) // 64).astype(int)
    status = rng.choice([*7 * [STATUS.OK], STATUS.WARNING, STATUS.ERROR, STATUS.SKIPPED], n)
    noise = 200e-6 * 10 ** (0.22 * (rows["tmag"] - 10)) * rng.lognormal(0, 0.2, n)
    skipped = np.flatnonzero(status == STATUS.SKIPPED)
    folder.mkdir()
    (folder / "output").mkdir()
    create_todo(folder / "todo.sqlite", rows)
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        conn.execute("INSERT INTO photometry_output VALUES ('output', 6)")
        conn.executemany(
            "UPDATE todolist SET status = ?, tile = ? WHERE priority = ?",
            zip(status.tolist(), tile.tolist(), range(1, n + 1), strict=True),
        )
        conn.executemany(
            "INSERT INTO photometry_skipped VALUES (?, ?)",
            ((int(k) + 1, int(rng.integers(1, k + 1)) if k else 1) for k in skipped if k),
        )
        marks = ", ".join("?" * 12)
        conn.executemany(
            f"INSERT INTO diagnostics ({_DIAGNOSTICS}) VALUES ({marks})",
            (
                (
                    *(k + 1, f"c1800/tess{int(rows['starid'][k]):011d}_lc.fits.gz", "aperture", 0.003, 0.0),
                    *(float(noise[k]), float(noise[k]), 9.0, 0.02, float(row[k]), float(column[k])),
                    f"Traceback\nValueError: {k} of its pixels are bad"
                    if status[k] == STATUS.ERROR
                    else None,
                )
                for k in range(n)
                if status[k] != STATUS.SKIPPED
            ),
        )
    conn.close()


def main(folder: Path, n: int) -> None:
    """Write the work list, unless it is there, and the report."""
    if not folder.exists():
        write_run(folder, n)
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "report", str(folder)], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    size = (folder / "output" / "report.html").stat().st_size
    print(
        f"{time.monotonic() - start:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor time,", end=" "
    )
    print(f"{used.ru_maxrss / 1e6:.2f} GB, page of {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
