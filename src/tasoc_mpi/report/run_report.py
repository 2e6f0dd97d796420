"""The numbers of a report of a run, as plain values: the page and ``report.json`` show the same ones."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.names import catalog_name, cube_name, prf_name
from ..core.status import STATUS
from ..core.tables import json_values
from ..products.cube import open_cube
from ..products.tpf_files import read_tpf_list
from ..worklist.failures import Cause, read_causes
from ..worklist.run_record import read_records, utc_time
from ..worklist.work_list import CCD, status_counts
from .ccd_series import CCDSeries, read_series
from .noise import expected_noise
from .noise_picture import running_quantiles
from .results import Run, ccds_of
from .skipped import most_skipping, skipping_rows
from .star_map import map_cells, map_points
from .summary import measured_groups
from .variables import injected_variables

__all__ = ["MOST_POINTS", "RunReport", "collect_report", "star_pages"]

#: Slowest stars that are listed, and causes of failures.
_SLOWEST, _CAUSES = 15, 50
#: Stars that are shown as points; of more the plots show densities.
MOST_POINTS = 20_000


@dataclass(frozen=True)
class RunReport:
    """A run with the numbers of its report."""

    run: Run
    #: Shape of ``run.stars``: the 1-hour noise over the expected one; NaN where either is not known.
    ratio: NDArray[np.float64]
    ccds: list[CCD]
    #: Of each of `ccds`: columns of `map_cells`, and of `map_points`; none of the latter for too many stars.
    cells: list[dict[str, NDArray[Any]]]
    points: list[dict[str, NDArray[Any]]]
    skipping: NDArray[np.int64]  #: As of `skipping_rows`
    series: list[CCDSeries]  #: Of the CCDs whose cube is there
    data: dict[str, Any]  #: All numbers, of the types of JSON; None where one is not known


def collect_report(run: Run, folder: Path, arguments: str) -> RunReport:
    """Read everything that a report shows.

    Parameters
    ----------
    run : Run
    folder : Path
        The input folder.
    arguments : str
        With which another command reads the results of this run.

    Raises
    ------
    InputError
        If a file of the run is damaged.
    """
    stars = run.stars
    variables = np.intersect1d(stars["starid"], list(injected_variables(folder, stars)))
    groups, ratio = _groups(run, variables)
    ccds, ccd_of = ccds_of(stars)
    here = [np.flatnonzero(ccd_of == k) for k in range(len(ccds))]
    cells = [map_cells(stars[rows], ratio[rows]) for rows in here]
    points = [map_points(stars[rows], ratio[rows]) for rows in here] if len(stars) <= MOST_POINTS else []
    skipping = skipping_rows(run.path, stars["priority"])
    series = [one for ccd in ccds if (one := read_series(folder, ccd)) is not None]
    causes = read_causes(run.path)
    records = read_records(run.output)
    data = {
        "format": "tasoc-mpi report",
        "program": version("tasoc-mpi"),
        "made": utc_time(time.time()),
        "work_list": str(run.path),
        "output": str(run.output),
        "rows": len(stars),
        "stars": len(np.unique(stars["starid"])),
        "counts": status_counts(stars["status"]),
        "ccds": [
            {"ccd": list(ccd), "stars": len(rows), "counts": status_counts(stars["status"][rows])}
            for ccd, rows in zip(ccds, here, strict=True)
        ],
        "methods": _methods(stars),
        "injected_variables": len(variables),
        "groups": groups,
        "failures": [_failure(cause, arguments) for cause in causes[:_CAUSES]],
        "causes": len(causes),
        "skipped": {
            "stars": int(np.count_nonzero(skipping >= 0)),
            "by": most_skipping(stars, skipping, _SLOWEST),
        },
        "noisiest": _noisiest(stars, ratio),
        "slowest": _slowest(stars),
        "seconds": _seconds(stars["elaptime"]),
        "frames": list(map(_frames, series)),
        "maps": [
            {
                "ccd": list(ccd),
                "cells": _rounded(cell),
                "stars": {
                    **_rounded(points[k]),
                    "rms_hour": stars["rms_hour"][here[k]].tolist(),
                }
                if points
                else None,
            }
            for k, (ccd, cell) in enumerate(zip(ccds, cells, strict=True))
        ],
        "runs": records,
        "inputs": list(_inputs(run, folder, ccds)),
        "show": f"tasoc-mpi show TIC {arguments}",
        "pages": star_pages(run.output),
    }
    return RunReport(run, ratio, ccds, cells, points, skipping, series, json_values(data))


def _groups(run: Run, variables: NDArray[np.int64]) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """Precision of each kind of data and cadence, and of each star the noise over the expected one.

    Of `variables`, injected ones, the variation is no noise: they count in neither medians nor quantiles.
    """
    stars = run.stars
    steady = ~np.isin(stars["starid"], variables)
    ratio = np.full(len(stars), np.nan)
    groups = []
    for group in measured_groups(run, variables):
        ok = group.chosen & run.ok
        expected = expected_noise(stars["tmag"][ok], stars["mask_size"][ok], group.sky)
        ratio[ok] = stars["rms_hour"][ok] / expected
        running = _running_ratio(stars["tmag"][ok & steady], ratio[ok & steady])
        groups.append({**group.values, "ratio": running})
    return groups, ratio


def _failure(cause: Cause, arguments: str) -> dict[str, Any]:
    return {
        "status": cause.status.name,
        "cause": cause.text,
        "count": cause.count,
        "stars": cause.stars,
        "message": cause.message,
        "command": cause.command(arguments),
    }


def _frames(series: CCDSeries) -> dict[str, Any]:
    """Numbers of frames of a CCD, and their series."""
    return {
        "ccd": list(series.ccd),
        "good": int(series.good.sum()),
        "decisions": series.frames,
        "series": series.columns(),
    }


def star_pages(output: Path) -> dict[str, str]:
    """The pages of stars that are there: their names in the folder of light curves, by TIC number."""
    pages = output / "pages"
    names = sorted(path.name for path in pages.glob("tic*.html")) if pages.is_dir() else []
    return {str(int(name[3:-5])): f"pages/{name}" for name in names if name[3:-5].isdecimal()}


def _rounded(columns: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
    """Columns of a map for JSON; TIC numbers whole, the others to four digits behind the point."""
    return {
        name: (
            values.tolist()
            if values.dtype == object
            else values.astype("i8").tolist()
            if name == "starid"
            else np.round(values.astype("f8"), 4).tolist()
        )
        for name, values in columns.items()
    }


def _noisiest(stars: NDArray[np.void], ratio: NDArray[np.float64]) -> list[dict[str, Any]]:
    """The OK stars whose noise is highest over the expected one."""
    order = np.argsort(-np.nan_to_num(ratio, nan=-1.0), kind="stable")[:_SLOWEST]
    names = ["starid", "sector", "camera", "ccd", "cadence", "datasource", "tmag", "rms_hour"]
    names += ["mask_size", "contamination"]
    return [
        {**{name: stars[i][name] for name in names}, "ratio": ratio[i]}
        for i in order
        if np.isfinite(ratio[i])
    ]


def _methods(stars: NDArray[np.void]) -> list[dict[str, Any]]:
    """Counts of the stars that were computed, by the method that did it."""
    methods = stars["method"]
    names = sorted({name for name in methods if name})
    return [{"method": name, "counts": status_counts(stars["status"][methods == name])} for name in names]


def _running_ratio(tmag: NDArray[np.float64], ratio: NDArray[np.float64]) -> dict[str, list[float]]:
    """Quantiles of noise over expected noise, in windows of magnitude."""
    centres, quantiles = running_quantiles(tmag, ratio)
    names = ("p16", "median", "p84")
    found = {name: np.round(values, 4).tolist() for name, values in zip(names, quantiles, strict=True)}
    return {"tmag": centres.tolist(), **found}


def _slowest(stars: NDArray[np.void]) -> list[dict[str, Any]]:
    seconds = np.where(np.isfinite(stars["elaptime"]), stars["elaptime"], -1.0)
    order = np.argsort(-seconds, kind="stable")[:_SLOWEST]
    names = ("starid", "sector", "camera", "ccd", "cadence", "datasource", "tmag", "method", "elaptime")
    return [_slow_star(stars[i], names) for i in order if seconds[i] >= 0]


def _slow_star(star: np.void, names: Iterable[str]) -> dict[str, Any]:
    size = f"{star['stamp_height']:.0f} x {star['stamp_width']:.0f}" if star["stamp_width"] > 0 else "-"
    return {**{name: star[name] for name in names}, "status": STATUS(int(star["status"])).name, "stamp": size}


def _seconds(elapsed: NDArray[np.float64]) -> dict[str, float | None]:
    known = elapsed[np.isfinite(elapsed)]
    if not known.size:
        return dict.fromkeys(("median", "mean", "longest", "sum"))
    return {"median": np.median(known), "mean": known.mean(), "longest": known.max(), "sum": known.sum()}


def _inputs(run: Run, folder: Path, ccds: Iterable[CCD]) -> Iterable[dict[str, Any]]:
    """Input files as they are now, with digests of their content."""
    for ccd in ccds:
        for name, digest in (
            (cube_name, _cube_digest),
            (catalog_name, _file_digest),
            (prf_name, _file_digest),
        ):
            path = folder / name(*ccd)
            if path.is_file():
                yield _input(path, digest)
    files = read_tpf_list(run.output)
    if files:
        # Of thousands of files, some of them of 50 MB, the names and sizes.
        sizes = [(name, _size(folder / name)) for name, *_ in files]
        together = hashlib.sha256(json.dumps(sizes).encode()).hexdigest()
        known = [size for _, size in sizes if size is not None]
        title = f"{len(files)} target pixel files"
        yield {"name": title, "bytes": sum(known), "modified": None, "sha256": together}
    yield _input(run.path, lambda _: None)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _input(path: Path, digest: Callable[[Path], str | None]) -> dict[str, Any]:
    status = path.stat()
    modified = utc_time(status.st_mtime)
    return {"name": path.name, "bytes": status.st_size, "modified": modified, "sha256": digest(path)}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cube_digest(path: Path) -> str:
    """Digest of times, flags, world coordinates and sum image: a cube itself has tens of gigabytes."""
    cube = open_cube(path)
    digest = hashlib.sha256()
    for array in (cube.time, cube.cadenceno, cube.quality, cube.wcs.crval, cube.wcs.cd, cube.sumimage):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
