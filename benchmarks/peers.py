"""This program beside others on the same simulated stars: time a star, noise, and bias of the flux.

Simulates a field as `psf_truth.py` does (stars drawn with the PRF files of TESS, jitter, focus drift), makes
environments with other programs of fixed versions by pip, and lets each measure the same stars on the same
calibrated frames (`peer_programs.py`). Prints the table of docs/benchmarks.md, and which programs could not
be run, and why. `--environments` keeps the environments in a folder of their own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from psf_truth import FREE, RADIUS, TrueResponse, _bound, _hours, _width, make

from tasoc_mpi.core.names import catalog_name, cube_name, truth_name
from tasoc_mpi.core.quality import TESSQualityFlags
from tasoc_mpi.photometry.aperture import AperturePhotometry
from tasoc_mpi.photometry.linpsf import LinPSFPhotometry
from tasoc_mpi.photometry.psf_fit import PSFPhotometry
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.star_catalog import open_catalog
from tasoc_mpi.simulate.truth_file import read_truth

#: Packages of each environment, the program first. Requirements that do not compute are those that pip finds.
ENVIRONMENTS = {
    "lightkurve": ("lightkurve==2.6.0", "numpy==2.4.6", "scipy==1.17.1", "astropy==8.0.2"),
    "photutils": ("photutils==3.0.0", "numpy==2.4.6", "scipy==1.17.1", "astropy==8.0.2"),
    "tglc": ("tglc==0.8.1", "numpy==1.26.4", "scipy==1.17.1", "astropy==6.1.7"),
}
#: Functions of `peer_programs.py`, their environments, and what they are called in the table.
PEERS = (
    ("lightkurve_aperture", "lightkurve", "lightkurve, threshold aperture"),
    ("lightkurve_prf", "lightkurve", "lightkurve, PRF"),
    ("photutils_psf", "photutils", "photutils, effective PSF"),
    ("tglc_epsf", "tglc", "tglc, effective PSF"),
)
#: What cannot be compared on simulated stars.
NOT_RUN = {
    "lightkurve, CBV correction": "its vectors are the mission's, which it fetches for a real sector",
    "tglc, the whole program": "it takes its stars from the archives of Gaia and MAST by network",
}
OURS = {"aperture": AperturePhotometry, "linpsf": LinPSFPhotometry, "psf": PSFPhotometry}
#: Faintest stars that PSF programs are told of.
FAINTEST = 16.0


@dataclass(frozen=True)
class Sample:
    """The stars to be measured, and what is known of them."""

    kinds: np.ndarray  #: Shape (N,): 0 isolated, Tmag 8 to 13; 1 isolated to 15; 2 blended, 8 to 15
    starids: np.ndarray
    fluxes: np.ndarray  #: True, e-/s
    bounds: np.ndarray  #: Cramer-Rao bound of the 1-hour noise, e-/s
    good: np.ndarray  #: Shape (T,)


KINDS = ("isolated, Tmag 8 - 13", "isolated, 13 - 15", "blended, 8 - 15")


def choose(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Indices in the truth and kinds of the stars: constant, and well within tglc's windows."""
    truth = read_truth(options.folder / truth_name(1, options.camera, options.ccd))
    stars = truth.stars
    place = np.stack([stars["row"] - truth.attributes["ROW0"], stars["column"] - truth.attributes["COLUMN0"]])
    within = place % (options.size // 2)
    usable = ((within > 9) & (within < options.size // 2 - 10)).all(axis=0)
    usable &= (stars["kind"] == 0) & (stars["tmag"] > 8) & (stars["tmag"] < 15)
    chosen, kinds = [], []
    for k in np.flatnonzero(usable):
        distance = np.hypot(stars["row"] - stars["row"][k], stars["column"] - stars["column"][k])
        light = np.where(distance > 0, stars["flux"], 0.0) / stars["flux"][k]
        isolated, blended = light[distance < 6].sum() < 0.01, light[distance < 3].sum() > 0.1
        kind = 2 if blended else int(stars["tmag"][k] >= 13)
        if (isolated or blended) and kinds.count(kind) < options.most:
            chosen.append(k)
            kinds.append(kind)
    return np.array(chosen), np.array(kinds)


def write_field(options: argparse.Namespace, starids: np.ndarray) -> Path:
    """The frames with their sky, and where all stars are in them, for the other programs."""
    key = (1, options.camera, options.ccd)
    cube = open_cube(options.folder / cube_name(*key))
    stars = open_catalog(options.folder / catalog_name(*key)).stars
    stars = stars[stars["tmag"] < FAINTEST]
    offset = np.array([cube.row_offset, cube.column_offset])
    places = np.array(
        [cube.wcs.stars(stars["ra"], stars["decl"], t)[:, ::-1] - offset for t in range(cube.shape[2])]
    )
    inside = ((places[0] > -6) & (places[0] < np.array(cube.shape[:2]) + 5)).all(axis=1)
    stars, places = stars[inside], places[:, inside]
    sky = cube.background.stamp(0, cube.shape[0], 0, cube.shape[1])
    path = options.folder / "field.npz"
    np.savez(
        path,
        flux=np.moveaxis(cube.images + sky, -1, 0),
        error=np.moveaxis(cube.images_err, -1, 0),
        time=cube.time,
        good=TESSQualityFlags.filter(cube.quality),
        places=places,
        tmag=stars["tmag"],
        catalog=10 ** (-0.4 * (stars["tmag"] - 20.451)),
        chosen=np.searchsorted(stars["starid"], starids),
    )
    return path


def measure_ours(
    options: argparse.Namespace, chosen: np.ndarray, kinds: np.ndarray
) -> tuple[Sample, dict[str, tuple[np.ndarray, float]]]:
    """Fluxes and seconds a star of each method, and the bounds."""
    truth = read_truth(options.folder / truth_name(1, options.camera, options.ccd))
    true, stars = TrueResponse(options, truth), truth.stars
    which = {"sector": 1, "camera": options.camera, "ccd": options.ccd}
    fluxes: dict[str, list[np.ndarray]] = {name: [] for name in OURS}
    seconds: dict[str, list[float]] = {name: [] for name in OURS}
    bounds = []
    for k in chosen:
        starid = int(stars["starid"][k])
        for name, method in OURS.items():
            start = time.process_time()
            with method(starid, options.folder, options.folder / "out", **which) as one:
                one.photometry()
                seconds[name].append(time.process_time() - start)
                table = one.lightcurve
                good = table["quality"] == 0
                fluxes[name].append(np.asarray(table["flux"], "f8"))
                if name == "linpsf":
                    bounds.append(_star_bound(one, true, stars, k, np.asarray(good)))
    sample = Sample(
        kinds, stars["starid"][chosen], stars["flux"][chosen], np.array(bounds) / np.sqrt(2), np.asarray(good)
    )
    return sample, {name: (np.array(fluxes[name]), float(np.mean(seconds[name][1:]))) for name in OURS}


def _star_bound(method: LinPSFPhotometry, true: TrueResponse, stars, k: int, good: np.ndarray) -> float:
    """Cramer-Rao bound of a star's flux in a frame, with all stars within 6 px and the background free."""
    distance = np.hypot(stars["row"] - stars["row"][k], stars["column"] - stars["column"][k])
    near = np.flatnonzero((distance < FREE) & ((stars["flux"] > 1e-4 * stars["flux"][k]) | (distance == 0)))
    near = near[np.argsort(distance[near])]
    rows, columns = np.round([stars["row"][k], stars["column"][k]]).astype(int)
    row0, column0 = method._source.origin
    shape = method._source.images.shape
    box = (
        max(rows - RADIUS, row0), min(rows + RADIUS + 1, row0 + shape[0]),
        max(columns - RADIUS, column0), min(columns + RADIUS + 1, column0 + shape[1]),
    )  # fmt: skip
    window = np.s_[box[0] - row0 : box[1] - row0, box[2] - column0 : box[3] - column0]
    errors = np.sqrt(np.nanmean(np.square(method._source.images_err[window][:, :, good], dtype="f8"), axis=2))
    return _bound(true.images(stars["row"][near], stars["column"][near], box), errors)


def environment(folder: Path, name: str) -> Path:
    """The interpreter of an environment with a program; made if it is not there."""
    python = folder / name / "bin" / "python"
    done = folder / name / "made"
    if not done.exists() or done.read_text() != " ".join(ENVIRONMENTS[name]):
        print(f"making the environment {folder / name}: {' '.join(ENVIRONMENTS[name])}", flush=True)
        venv.create(folder / name, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *ENVIRONMENTS[name]], check=True)
        done.write_text(" ".join(ENVIRONMENTS[name]))
    return python


def run_peer(
    options: argparse.Namespace, function: str, name: str, field: Path
) -> dict[str, np.ndarray] | str:
    """What a program measured, or why it did not."""
    try:
        python = environment(options.environments, name)
    except subprocess.CalledProcessError:
        return "pip cannot install it here"
    output = options.folder / f"{function}.npz"
    output.unlink(missing_ok=True)
    # Of all programs with one thread.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    words = [
        str(python),
        str(Path(__file__).with_name("peer_programs.py")),
        function,
        str(field),
        str(output),
    ]
    run = subprocess.run(words, env=os.environ | threads, capture_output=True, text=True)
    if run.returncode:
        return run.stderr.strip().splitlines()[-1] if run.stderr.strip() else f"exit status {run.returncode}"
    with np.load(output) as file:
        return dict(file)


def line(name: str, sample: Sample, fluxes: np.ndarray, seconds: float, once: float) -> str:
    """A line of the table: bias and noise by kind of star, medians."""
    cells = [name, str(int(np.isfinite(fluxes[:, sample.good]).any(axis=1).sum()))]
    cells += [f"{1e3 * seconds:.3g}", f"{once:.3g}" if once else "-"]
    for kind in range(len(KINDS)):
        own = np.flatnonzero((sample.kinds == kind) & np.isfinite(fluxes[:, sample.good]).any(axis=1))
        if not len(own):
            cells += ["-", "-"]
            continue
        curves = fluxes[own][:, sample.good]
        bias = 100 * (np.nanmedian(curves, axis=1) / sample.fluxes[own] - 1)
        noise = np.array([_width(_hours(curve)) for curve in curves]) / sample.bounds[own]
        low, middle, high = np.percentile(bias, [16, 50, 84])
        cells += [f"{middle:+.2f}% ({low:+.2f}, {high:+.2f})", f"{np.nanmedian(noise):.2f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the simulation; what is there is deleted")
    parser.add_argument("prf", type=Path, help="folder of TESS PRF files that the stars are drawn with")
    parser.add_argument("--environments", type=Path, default=Path("bench/peers"))
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--most", type=int, default=25, help="stars of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="measure what is there, do not simulate again")
    options = parser.parse_args()
    options.size, options.density, options.focus, options.camera, options.ccd = 300, 1.0, 0.03, 4, 1
    options.folder, options.environments = options.folder.resolve(), options.environments.resolve()
    if not options.keep:
        start = time.process_time()
        make(options)
        print(f"simulation, prepare and prf: {time.process_time() - start:.0f} s of processor time")
    chosen, kinds = choose(options)
    sample, ours = measure_ours(options, chosen, kinds)
    field = write_field(options, sample.starids)
    counts = [int((kinds == kind).sum()) for kind in range(len(KINDS))]
    print(f"{options.frames} frames; stars: " + ", ".join(map("{} {}".format, counts, KINDS)))
    columns = ["program", "stars", "ms a star", "s a field"]
    columns += [f"{word}, {kind}" for kind in KINDS for word in ("flux bias (16%, 84%)", "noise / bound")]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for name, (fluxes, seconds) in ours.items():
        print(line(f"tasoc-mpi, {name}", sample, fluxes, seconds, 0.0), flush=True)
    failed = dict(NOT_RUN)
    for function, name, title in PEERS:
        found = run_peer(options, function, name, field)
        if isinstance(found, str):
            failed[title] = found
        else:
            title = f"{title} ({ENVIRONMENTS[name][0].replace('==', ' ')})"
            times = float(found["seconds"]), float(found["once"])
            print(line(title, sample, found["fluxes"], *times), flush=True)
    for title, reason in failed.items():
        print(f"not run: {title}: {reason}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
