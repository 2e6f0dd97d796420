"""Vectors for the light curves of a run, without a look at these: cosines of the time."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from pathlib import Path

from trends import made_vectors

from tasoc_mpi.core.names import CBV_FOLDER, cbv_name
from tasoc_mpi.products.cbv_file import write_vectors
from tasoc_mpi.products.packed import split_name
from tasoc_mpi.products.raw_curve import parse_raw_curve
from tasoc_mpi.worklist.listed_lightcurves import read_lightcurve


def write_vectors_of_run(folder: Path, count: int = 3, **changes: int) -> list[Path]:
    """Write vectors of all areas of a published run; `changes` replace values in the files."""
    output = folder / "output"
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
        rows = conn.execute(
            "SELECT sector, camera, ccd, cadence, cbv_area, lightcurve FROM todolist JOIN diagnostics"
            " USING (priority) WHERE lightcurve IS NOT NULL GROUP BY cbv_area, cadence"
        ).fetchall()
    (output / CBV_FOLDER).mkdir(exist_ok=True)
    paths = []
    for sector, camera, ccd, cadence, area, name in rows:
        curve = parse_raw_curve(split_name(name)[1], read_lightcurve(output / name))
        vectors = dataclasses.replace(
            made_vectors(len(curve.time), cadence=cadence, count=count),
            sector=sector,
            camera=camera,
            ccd=ccd,
            area=area,
            time=curve.time,
            cadenceno=curve.cadenceno,
        )
        paths.append(output / CBV_FOLDER / cbv_name(sector, cadence, area))
        write_vectors(paths[-1], dataclasses.replace(vectors, **changes))
    return paths
