"""The numbers of a report of a run, as plain values: the page and ``report.json`` show the same ones."""

from __future__ import annotations

import hashlib
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
from ..worklist.failures import read_causes
from ..worklist.run_record import read_records, utc_time
from ..worklist.work_list import CCD, status_counts
from .ccd_series import CCDSeries, read_series
from .noise import expected_noise
from .noise_picture import running_quantiles
from .results import Run, sky_level
from .summary import magnitude_bins, star_groups

__all__ = ["RunReport", "collect_report"]

#: Slowest stars that are listed, and causes of failures.
_SLOWEST, _CAUSES = 15, 50


@dataclass(frozen=True)
class RunReport:
    """A run with the numbers of its report."""

    run: Run
    #: Shape of ``run.stars``: the 1-hour noise over the expected one; NaN where either is not known.
    ratio: NDArray[np.float64]
    series: list[CCDSeries]  #: Of the CCDs whose cube is there
    data: dict[str, Any]  #: All numbers, of the types of JSON; None where one is not known


def collect_report(run: Run, folder: Path, options: str = "") -> RunReport:
    """Read everything that a report shows.

    Parameters
    ----------
    run : Run
    folder : Path
        The input folder.
    options : str, optional
        Options that a command for a star of this run needs, with a space in front.

    Raises
    ------
    InputError
        If a file of the run is damaged.
    """
    stars = run.stars
    ratio = np.full(len(stars), np.nan)
    groups = []
    for title, chosen in star_groups(stars):
        ok = chosen & run.ok
        sky, files = sky_level(run, stars[ok])
        expected = expected_noise(stars["tmag"][ok], stars["mask_size"][ok], sky)
        ratio[ok] = stars["rms_hour"][ok] / expected
        groups.append(
            {
                "title": title,
                "stars": int(chosen.sum()),
                "sky": sky,
                "sky_measured": files > 0,
                "magnitudes": [_bin(one) for one in magnitude_bins(stars[chosen], sky)],
                "ratio": _running_ratio(stars["tmag"][ok], ratio[ok]),
            }
        )
    ccds = _ccds(stars)
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
        "ccds": [{"ccd": list(ccd), **_counts_of(stars, ccd)} for ccd in ccds],
        "methods": _methods(stars),
        "groups": groups,
        "failures": [
            {
                "status": cause.status.name,
                "cause": cause.text,
                "count": cause.count,
                "stars": cause.stars,
                "message": cause.message,
                "command": cause.command(folder, options),
            }
            for cause in causes[:_CAUSES]
        ],
        "causes": len(causes),
        "slowest": _slowest(stars),
        "seconds": _seconds(stars["elaptime"]),
        "frames": [{"ccd": list(one.ccd), "good": int(one.good.sum()), **one.frames} for one in series],
        "runs": records,
        "inputs": list(_inputs(run, folder, ccds)),
        "show": f"tasoc-mpi show TIC {folder}{options}",
    }
    return RunReport(run, ratio, series, json_values(data))


def _ccds(stars: NDArray[np.void]) -> list[CCD]:
    return [tuple(ccd) for ccd in np.unique(stars[["sector", "camera", "ccd"]]).tolist()]


def _counts_of(stars: NDArray[np.void], ccd: CCD) -> dict[str, Any]:
    chosen = (stars["sector"] == ccd[0]) & (stars["camera"] == ccd[1]) & (stars["ccd"] == ccd[2])
    return {"stars": int(chosen.sum()), "counts": status_counts(stars["status"][chosen])}


def _methods(stars: NDArray[np.void]) -> list[dict[str, Any]]:
    """Counts of the stars that were computed, by the method that did it."""
    methods = stars["method"]
    names = sorted({name for name in methods if name})
    return [{"method": name, "counts": status_counts(stars["status"][methods == name])} for name in names]


def _bin(one: Any) -> dict[str, Any]:
    counts = {status.name: count for status, count in one.counts.items() if count}
    names = ("tmag", "rms_hour", "rms_hour_corr", "expected", "ptp", "mask_size", "elaptime")
    return {**{name: getattr(one, name) for name in names}, "counts": counts}


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
    yield _input(run.path, lambda _: None)


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
