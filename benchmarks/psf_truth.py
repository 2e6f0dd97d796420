"""How right PSF fluxes are: simulate a crowded field, learn its pixel response, and compare with the truth.

The stars are drawn with the PRF files of TESS, which the program does not get: it learns the response from
the images, beginning from the analytic model. Blended is a star with over a tenth of its light in others
within 3 pixels, isolated one with under a hundredth within 6.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasoc_mpi import cli
from tasoc_mpi.core.names import truth_name
from tasoc_mpi.models.prf_files import find_folder, read_grid
from tasoc_mpi.photometry.aperture import AperturePhotometry
from tasoc_mpi.photometry.linpsf import LinPSFPhotometry
from tasoc_mpi.products.prf_file import read_prf
from tasoc_mpi.simulate.truth_file import Truth, read_truth


@dataclass(frozen=True)
class Star:
    """One star: others' light over its own, relative errors of both fluxes, scatter over error, and so on."""

    tmag: float
    within3: float
    within6: float
    bias: float
    aperture: float
    pull: float
    chi_square: float
    seconds: float
    fitted: int


def make(options: argparse.Namespace) -> None:
    """Simulate, make the cube, and learn the response."""
    shutil.rmtree(options.folder, ignore_errors=True)
    size = ["--rows", str(options.size), "--columns", str(options.size), "--frames", str(options.frames)]
    field = ["--density", str(options.density), "--seed", str(options.seed), "--tpfs", "0"]
    where = ["--camera", str(options.camera), "--ccd", str(options.ccd), "--prf", str(options.prf)]
    folder = str(options.folder)
    for command in (["simulate", folder, *where, *size, *field], ["prepare", folder], ["prf", folder]):
        start = time.process_time()
        if status := cli.main(["--quiet", *command]):
            raise SystemExit(status)
        print(f"{command[0]}: {time.process_time() - start:.1f} s of processor time", flush=True)


def check_response(options: argparse.Namespace, truth: Truth) -> None:
    """Compare the response with the files' at 3 x 3 places."""
    grid = read_grid(find_folder(options.prf, 1, options.camera, options.ccd), options.camera, options.ccd)
    prf = read_prf(next(options.folder.glob("prf_*.hdf5")))
    first = truth.attributes["ROW0"], truth.attributes["COLUMN0"]
    distance = np.hypot(*((np.mgrid[:117, :117] - 58) / 9))
    largest, enclosed = [], []
    for u in (0.2, 0.5, 0.8):
        for v in (0.2, 0.5, 0.8):
            place = first[0] + u * options.size, first[1] + v * options.size
            true = grid.table(*place)
            left = prf.table(*place, prf.epochs[0]) - true
            largest.append(np.abs(left).max() / true.max())
            enclosed.append([abs(left[distance <= r].sum()) / 81 for r in np.arange(0.5, 5.01, 0.25)])
    print(
        f"response: {len(prf.epochs)} epochs, {prf.stars.min()} stars; largest difference over peak: median "
        f"{np.median(largest):.4f}, worst {max(largest):.4f}; enclosed light off "
        f"by up to {np.max(enclosed):.4f}; {1 - prf.inside.mean():.4f} of the light beyond the table"
    )


def measure(options: argparse.Namespace, truth: Truth) -> list[Star]:
    """Both methods on all constant stars away from the edge."""
    stars, first = truth.stars, (truth.attributes["ROW0"], truth.attributes["COLUMN0"])
    inside = (stars["kind"] == 0) & (stars["tmag"] > 8) & (stars["tmag"] < 15)
    for name, low in zip(("row", "column"), first, strict=True):
        inside &= (stars[name] > low + 7) & (stars[name] < low + options.size - 8)
    found = []
    for k in np.flatnonzero(inside):
        distance = np.hypot(stars["row"] - stars["row"][k], stars["column"] - stars["column"][k])
        light = np.where(distance > 0, stars["flux"], 0.0) / stars["flux"][k]
        where = (int(stars["starid"][k]), options.folder, options.folder / "out")
        which = {"sector": 1, "camera": options.camera, "ccd": options.ccd}
        with LinPSFPhotometry(*where, **which) as ours, AperturePhotometry(*where, **which) as aperture:
            start = time.process_time()
            ours.photometry()
            seconds = time.process_time() - start
            aperture.photometry()
            table = ours.lightcurve
            good = np.isfinite(table["flux"]) & (table["quality"] == 0)
            if not good.any():
                print(f"TIC {where[0]}: {ours.result.errors}")
                continue
            flux, error = np.asarray(table["flux"][good]), np.asarray(table["flux_err"][good])
            found.append(
                Star(
                    stars["tmag"][k], light[distance < 3].sum(), light[distance < 6].sum(),
                    np.median(flux) / stars["flux"][k] - 1, aperture.result.mean_flux / stars["flux"][k] - 1,
                    flux.std() / np.median(error), float(np.median(ours.chi_square[good])), seconds,
                    len(ours.neighbours),
                )
            )  # fmt: skip
    return found


def report(stars: list[Star]) -> None:
    """Print the table of docs/benchmarks.md."""
    columns = "stars", "Tmag", "number", "bias (84%)", "aperture (84%)", "scatter / error", "chi-square"
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    kinds = {
        "isolated": lambda s: s.within6 < 0.01,
        "blended": lambda s: s.within3 > 0.1,
        "between": lambda s: s.within6 >= 0.01 and s.within3 <= 0.1,
    }
    for kind, belongs in kinds.items():
        for low, high in ((8, 10), (10, 13), (8, 13), (13, 15)):
            own = [s for s in stars if belongs(s) and low <= s.tmag < high]
            if own:
                ours, aperture = (np.abs([getattr(s, name) for s in own]) for name in ("bias", "aperture"))
                pull, chi_square = (
                    np.median([getattr(s, name) for s in own]) for name in ("pull", "chi_square")
                )
                cells = kind, f"{low} - {high}", str(len(own)), _percent(ours), _percent(aperture)
                print("| " + " | ".join([*cells, f"{pull:.3f}", f"{chi_square:.2f}"]) + " |")
    milliseconds = 1e3 * np.array([s.seconds for s in stars])[1:]
    fitted = np.median([s.fitted for s in stars])
    middle, mean = np.median(milliseconds), milliseconds.mean()
    print(f"linpsf: {middle:.2f} ms of processor time a star (mean {mean:.2f}), {fitted:.0f} stars at once")


def _percent(values: np.ndarray) -> str:
    middle, high = 100 * np.nanpercentile(values, [50, 84])
    return f"{middle:.2f}% ({high:.2f}%)"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the simulation; what is there is deleted")
    parser.add_argument("prf", type=Path, help="folder of TESS PRF files that the stars are drawn with")
    parser.add_argument("--camera", type=int, default=4)
    parser.add_argument("--ccd", type=int, default=1)
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--size", type=int, default=160, help="rows and columns (default: %(default)s)")
    parser.add_argument("--density", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="measure what is there, do not simulate again")
    options = parser.parse_args()
    os.environ.pop("TESSPHOT_PRF", None)
    if not options.keep:
        make(options)
    truth = read_truth(options.folder / truth_name(1, options.camera, options.ccd))
    check_response(options, truth)
    report(measure(options, truth))


if __name__ == "__main__":
    main()
