"""A work list with known results, and light curves of its stars that are OK."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from tasoc_mpi.core.status import STATUS
from tasoc_mpi.products.lightcurve import LightCurve
from tasoc_mpi.products.lightcurve_file import write_lightcurve
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo

OK, WARNING, ERROR, SKIPPED = STATUS.OK, STATUS.WARNING, STATUS.ERROR, STATUS.SKIPPED

#: tmag, status, rms_hour, ptp, mask_size, elaptime
STARS = [
    (8.2, OK, 100e-6, 50e-6, 20, 0.002),
    (8.5, OK, 140e-6, 70e-6, 30, 0.004),
    (8.9, OK, 900e-6, 90e-6, 22, 0.003),
    (8.95, WARNING, 5e-3, 5e-3, 5, 0.009),
    (11.1, ERROR, None, None, None, 0.001),
    (11.2, SKIPPED, None, None, None, None),
    (14.9, None, None, None, None, None),
    (None, None, None, None, None, None),
]


def make_folder(folder: Path, files: bool = True) -> Path:
    """A work list with known results, and light curves of its stars that are OK."""
    rows = np.zeros(len(STARS) + 1, TODO_DTYPE)
    for k, star in enumerate(STARS):
        rows[k] = (k + 1, 1000 + k, 1, "ffi", 1, 1, 1800, "", np.nan if star[0] is None else star[0], 111)
    rows[-1] = (99, 1000, 1, "tpf", 1, 1, 120, "", 8.2, 111)
    create_todo(folder / "todo.sqlite", rows)
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        conn.execute("INSERT INTO photometry_output VALUES ('curves', 6)")
        for priority, (_, status, *numbers) in enumerate(STARS, start=1):
            conn.execute("UPDATE todolist SET status = ? WHERE priority = ?", (status, priority))
            if numbers[-1] is not None:
                name = write_curve(folder / "curves", priority) if status == OK and files else None
                conn.execute(
                    "INSERT INTO diagnostics (method_used, priority, lightcurve, rms_hour, ptp, mask_size,"
                    " elaptime) VALUES ('aperture', ?, ?, ?, ?, ?, ?)",
                    (priority, name, *numbers),
                )
    conn.close()
    return folder


def write_curve(folder: Path, priority: int) -> str:
    """A light curve with a sky of 90 e-/s a pixel, a bad point, and a missing one."""
    n, pixels = 120, STARS[priority - 1][4]
    rng = np.random.default_rng(priority)
    aperture = np.ones((8, 9), "i4")
    aperture.flat[:pixels] |= 2
    columns = {
        "time": 1325.3 + np.arange(n) / 48, "timecorr": np.zeros(n), "cadenceno": np.arange(n),
        "flux": rng.normal(10000, 2, n), "flux_err": np.full(n, 2.0),
        "flux_background": np.full(n, 90.0 * pixels),
        "corrector_quality": np.zeros(n, "i4"), "quality": np.where(np.arange(n) == 5, 32, 0),
        "pos_centroid": np.ones((n, 2)), "pos_corr": np.zeros((n, 2)),
    }  # fmt: skip
    columns["flux"][5], columns["flux"][7] = 1e7, np.nan
    lightcurve = LightCurve(
        starid=999 + priority, sector=1, camera=1, ccd=1, cadence=1800, data_rel=1, version=6,
        columns=columns, sumimage=np.ones((8, 9), "f4"), aperture=aperture,
        wcs_cards=[("CRVAL1P", 101, ""), ("CRVAL2P", 201, "")],
    )  # fmt: skip
    return write_lightcurve(folder, lightcurve)
