"""A finished run whose light curves are those of `made_curves`."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
from made_curves import Area

from tasoc_mpi.products.lightcurve import LightCurve
from tasoc_mpi.products.lightcurve_file import write_lightcurve
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo


def write_run(folder: Path, area: Area, number: int | np.ndarray = 112, sector: int = 1) -> Path:
    """Write the work list with its diagnostics, and the light curves to `output` in the folder."""
    output = folder / "output"
    count, frames = area.flux.shape
    rows = np.zeros(count, TODO_DTYPE)
    rows["priority"] = np.arange(1, count + 1)
    rows["starid"] = 1000 + np.arange(count)
    rows["sector"], rows["camera"], rows["ccd"], rows["cadence"] = sector, 1, 1, area.cadence
    rows["datasource"] = "ffi" if area.cadence > 120 else "tpf"
    rows["tmag"], rows["cbv_area"] = area.tmag, number
    folder.mkdir(exist_ok=True, parents=True)
    create_todo(folder / "todo.sqlite", rows)
    flux = 10 ** (-0.4 * (area.tmag - 20.451))
    degree = np.polynomial.legendre.legvander(np.linspace(-1, 1, frames), 3)
    rest = area.flux - (degree @ np.linalg.lstsq(degree, area.flux.T, rcond=None)[0]).T
    names = [_write(output, area, i, flux[i], sector) for i in range(count)]
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET status = 1")
        conn.executemany(
            "INSERT INTO diagnostics (priority, lightcurve, method_used, elaptime, mean_flux, variability)"
            " VALUES (?, ?, 'aperture', 0.01, ?, ?)",
            [(i + 1, names[i], flux[i], rest[i].std() / area.sigma[i]) for i in range(count)],
        )
        conn.execute("INSERT INTO photometry_output VALUES ('output', 1)")
    return output


def _write(output: Path, area: Area, i: int, flux: float, sector: int) -> str:
    cadenceno = (4697 + np.floor(area.time * 86400 / area.cadence)).astype(np.int32)
    place = np.array([area.column[i], area.row[i]])
    numbers = 1000 + i, sector, area.cadence, area.tmag[i], place, area.time, cadenceno
    return write_lightcurve(output, made_lightcurve(*numbers, flux * area.flux[i], flux * area.sigma[i]))


def made_lightcurve(starid, sector, cadence, tmag, place, time, cadenceno, flux, error) -> LightCurve:
    """A light curve file from days, cadence numbers, flux and a constant error; `place` is (column, row)."""
    shape = np.ones(len(time))
    columns = {
        "time": 1325.3 + time + 0.003,
        "timecorr": 0.003 * shape,
        "cadenceno": cadenceno,
        "flux": flux,
        "flux_err": error * shape,
        "flux_background": 1000.0 * shape,
        "corrector_quality": np.zeros(len(time), np.int32),
        "quality": np.zeros(len(time), np.int32),
        "pos_centroid": np.outer(shape, place),
        "pos_corr": np.zeros((len(time), 2)),
    }
    return LightCurve(
        starid=starid, sector=sector, camera=1, ccd=1, cadence=cadence, data_rel=1, version=1,
        columns=columns, sumimage=np.ones((3, 3), np.float32), aperture=np.full((3, 3), 3, np.int32),
        primary_cards=[
            ("TELESCOP", "TESS", ""), ("TICID", starid, ""), ("CAMERA", 1, ""), ("CCD", 1, ""),
            ("SECTOR", sector, ""), ("TESSMAG", round(float(tmag), 3), ""),
        ],
        table_cards=[("TIMEDEL", cadence / 86400, "")],
        wcs_cards=[("CRVAL1P", 100, ""), ("CRVAL2P", 100, "")],
    )  # fmt: skip
