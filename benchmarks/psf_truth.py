"""How right PSF fluxes are: simulate a crowded field, learn its pixel response, and compare with the truth.

The stars are drawn with the PRF files of TESS, blended over the CCD, with wings, focus drift and jitter. The
program does not get the files: it learns the response from the images, beginning from the analytic model.
Blended is a star with over a tenth of its light in others within 3 pixels, isolated one with under a
hundredth within 6.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import median_filter

from tasoc_mpi import cli
from tasoc_mpi.core.names import truth_name
from tasoc_mpi.kernels.prf_table import add_table_stars
from tasoc_mpi.models.prf_files import find_folder, read_grid
from tasoc_mpi.photometry.aperture import AperturePhotometry
from tasoc_mpi.photometry.linpsf import LinPSFPhotometry
from tasoc_mpi.products.prf_file import read_prf
from tasoc_mpi.simulate.response import place_on_grid, whole_tables
from tasoc_mpi.simulate.truth_file import Truth, read_truth

#: Radius of the square of pixels that the bound holds for, and of the stars that are free in it.
RADIUS, FREE = 5, 6.0


@dataclass(frozen=True)
class Star:
    """One star: others' light over its own, relative errors of both fluxes, noise over bound, and so on."""

    tmag: float
    within3: float
    within6: float
    bias: float
    aperture_bias: float
    noise: float  #: 1-hour noise over the Cramer-Rao bound
    fast: float  #: The same without what is slower than a day
    pull: float  #: Robust width of (flux - median) / error
    to_aperture: float  #: 1-hour noise over that of the aperture
    chi_square: float
    seconds: float
    fitted: int


def make(options: argparse.Namespace) -> None:
    """Simulate, make the cube, and learn the response."""
    shutil.rmtree(options.folder, ignore_errors=True)
    size = ["--rows", str(options.size), "--columns", str(options.size), "--frames", str(options.frames)]
    field = ["--density", str(options.density), "--seed", str(options.seed), "--focus", str(options.focus)]
    where = ["--camera", str(options.camera), "--ccd", str(options.ccd), "--prf", str(options.prf)]
    folder = str(options.folder)
    simulate = ["simulate", folder, *where, *size, *field, "--tpfs", "0"]
    for command in (simulate, ["prepare", folder], ["prf", folder]):
        start = time.process_time()
        if status := cli.main(["--quiet", *command]):
            raise SystemExit(status)
        print(f"{command[0]}: {time.process_time() - start:.1f} s of processor time", flush=True)
    shutil.rmtree(options.folder / "ffi")


class TrueResponse:
    """The response that the stars of a field were drawn with, at the mean focus of the frames."""

    def __init__(self, options: argparse.Namespace, truth: Truth) -> None:
        folder = find_folder(options.prf, 1, options.camera, options.ccd)
        self.grid = read_grid(folder, options.camera, options.ccd)
        share = truth.frames["focus"].mean()
        broad = whole_tables(self.grid, truth.attributes["FOCUS"])
        self.tables = (1.0 - share) * whole_tables(self.grid) + share * broad

    def table(self, row: float, column: float) -> np.ndarray:
        """On a grid of 9 samples a pixel."""
        corners, shares = place_on_grid(self.grid, np.array([row]), np.array([column]))
        return np.tensordot(shares[0], self.tables[corners[0]], 1)

    def images(self, rows: np.ndarray, columns: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """Of stars of flux 1, shape (N, R, C)."""
        out = np.zeros((len(rows), box[1] - box[0], box[3] - box[2]))
        for image, row, column in zip(out, rows, columns, strict=True):
            y, x = np.array([row - box[0]]), np.array([column - box[2]])
            add_table_stars(image, self.table(row, column), 9, y, x, np.ones(1), 99.0)
        return out


def check_response(options: argparse.Namespace, truth: Truth, true: TrueResponse) -> None:
    """Compare the response with the true one at 3 x 3 places."""
    prf = read_prf(next(options.folder.glob("prf_*.hdf5")))
    first = truth.attributes["ROW0"], truth.attributes["COLUMN0"]
    largest, enclosed = [], []
    for u in (0.2, 0.5, 0.8):
        for v in (0.2, 0.5, 0.8):
            place = first[0] + u * options.size, first[1] + v * options.size
            table = true.table(*place)
            width = len(table) // 9
            distance = np.hypot(*((np.mgrid[: 9 * width, : 9 * width] - 9 * width // 2) / 9))
            left = prf.table(*place, prf.epochs.mean(), 9, width) - table
            largest.append(np.abs(left).max() / table.max())
            enclosed.append([left[distance <= r].sum() / 81 for r in np.arange(0.5, 5.01, 0.25)])
    worst = np.abs(enclosed).max(axis=0)
    print(
        f"response: {len(prf.epochs)} epochs, {prf.stars.min()} to {prf.stars.max()} stars a node; largest "
        f"difference over peak: median {np.median(largest):.4f}, worst {max(largest):.4f}; enclosed light "
        f"off by up to {worst.max():.4f} ({np.mean(enclosed, axis=0)[-1]:+.4f} within 5 px); "
        f"{1 - prf.inside.mean():.4f} of the light beyond the table"
    )


def measure(options: argparse.Namespace, truth: Truth, true: TrueResponse) -> list[Star]:
    """Both methods on all constant stars away from the edge."""
    stars, first = truth.stars, (truth.attributes["ROW0"], truth.attributes["COLUMN0"])
    inside = (stars["kind"] == 0) & (stars["tmag"] > 8) & (stars["tmag"] < 15)
    for name, low in zip(("row", "column"), first, strict=True):
        inside &= (stars[name] > low + 7) & (stars[name] < low + options.size - 8)
    found = []
    for k in np.flatnonzero(inside):
        distance = np.hypot(stars["row"] - stars["row"][k], stars["column"] - stars["column"][k])
        light = np.where(distance > 0, stars["flux"], 0.0) / stars["flux"][k]
        kind = light[distance < 3].sum(), light[distance < 6].sum()
        if options.quick and kind[0] <= 0.1 and kind[1] >= 0.01:
            continue
        where = (int(stars["starid"][k]), options.folder, options.folder / "out")
        which = {"sector": 1, "camera": options.camera, "ccd": options.ccd}
        with LinPSFPhotometry(*where, **which) as ours, AperturePhotometry(*where, **which) as aperture:
            start = time.process_time()
            ours.photometry()
            seconds = time.process_time() - start
            aperture.photometry()
            table, other = ours.lightcurve, aperture.lightcurve
            good = np.isfinite(table["flux"]) & (table["quality"] == 0)
            if not good.any():
                print(f"TIC {where[0]}: {ours.result.errors}")
                continue
            flux, error = np.asarray(table["flux"][good]), np.asarray(table["flux_err"][good])
            near = (distance < FREE) & ((light > 1e-4) | (distance == 0))
            box = ours._fit_box()
            pixel_errors = _mean_errors(ours, box, good)
            order = np.argsort(distance[near])
            images = true.images(stars["row"][near][order], stars["column"][near][order], box)
            hours = _hours(flux)
            noise, limit = _width(hours), _bound(images, pixel_errors) / np.sqrt(2)
            found.append(
                Star(
                    stars["tmag"][k], *kind, np.median(flux) / stars["flux"][k] - 1,
                    aperture.result.mean_flux / stars["flux"][k] - 1,
                    noise / limit, _width(_fast(hours)) / _white(len(hours)) / limit,
                    _width((flux - np.median(flux)) / error),
                    noise / _width(_hours(np.asarray(other["flux"][good]))),
                    float(np.median(ours.chi_square[good])), seconds, len(ours.neighbours),
                )
            )  # fmt: skip
    return found


def _mean_errors(method: LinPSFPhotometry, box: tuple[int, int, int, int], good: np.ndarray) -> np.ndarray:
    """Root of the mean variance of pixels."""
    origin = method._source.origin
    window = np.s_[box[0] - origin[0] : box[1] - origin[0], box[2] - origin[1] : box[3] - origin[1]]
    return np.sqrt(np.nanmean(np.square(method._source.images_err[window][:, :, good], dtype="f8"), axis=2))


def _bound(images: np.ndarray, errors: np.ndarray) -> float:
    """Cramer-Rao bound of the first star's flux in a frame, all fluxes and the background being free."""
    design = np.concatenate([images.reshape(len(images), -1), np.ones((1, errors.size))])
    return float(np.sqrt(np.linalg.inv((design / errors.ravel() ** 2) @ design.T)[0, 0]))


def _hours(flux: np.ndarray) -> np.ndarray:
    """Means over an hour, two frames."""
    means: np.ndarray = flux[: len(flux) // 2 * 2].reshape(-1, 2).mean(axis=1)
    return means


def _fast(hours: np.ndarray) -> np.ndarray:
    """What is faster than a day."""
    left: np.ndarray = hours - median_filter(hours, (1,) * (hours.ndim - 1) + (25,))
    return left


@functools.cache
def _white(count: int) -> float:
    """Width of what is faster than a day in white noise of width 1."""
    return _width(_fast(np.random.default_rng(1).standard_normal((500, count))))


def _width(values: np.ndarray) -> float:
    """Robust standard deviation."""
    return float(1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values))))


def report(stars: list[Star]) -> None:
    """Print the table of docs/benchmarks.md."""
    columns = (
        "stars", "Tmag", "number", "bias (84%)", "signed", "aperture (84%)", "noise / bound (84%)",
        "without trends", "pull",
        "noise / aperture's", "chi-square",
    )  # fmt: skip
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    kinds = {
        "isolated": lambda s: s.within6 < 0.01,
        "blended": lambda s: s.within3 > 0.1,
        "between": lambda s: s.within6 >= 0.01 and s.within3 <= 0.1,
    }
    for kind, belongs in kinds.items():
        for low, high in ((8, 10), (10, 13), (8, 13), (13, 15), (14, 15)):
            own = [s for s in stars if belongs(s) and low <= s.tmag < high]
            if not own:
                continue
            bias, aperture, noise, fast, pull, ratio, chi_square = (
                np.array([getattr(s, name) for s in own])
                for name in ("bias", "aperture_bias", "noise", "fast", "pull", "to_aperture", "chi_square")
            )
            cells = [
                kind, f"{low} - {high}", str(len(own)), _percent(np.abs(bias)),
                f"{100 * np.median(bias):+.2f}%",
                _percent(np.abs(aperture)), "{:.3f} ({:.2f})".format(*np.percentile(noise, [50, 84])),
                f"{np.median(fast):.3f}", f"{np.median(pull):.3f}", f"{np.nanmedian(ratio):.2f}",
                f"{np.median(chi_square):.2f}",
            ]  # fmt: skip
            print("| " + " | ".join(cells) + " |")
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
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--size", type=int, default=512, help="rows and columns (default: %(default)s)")
    parser.add_argument("--density", type=float, default=1.0)
    parser.add_argument("--focus", type=float, default=0.03)
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="several: that many fields")
    parser.add_argument("--keep", action="store_true", help="measure what is there, do not simulate again")
    parser.add_argument("--quick", action="store_true", help="only isolated and blended stars")
    options = parser.parse_args()
    os.environ.pop("TESSPHOT_PRF", None)
    stars = []
    for seed in options.seed:
        field = argparse.Namespace(
            **{**vars(options), "seed": seed, "folder": options.folder / f"seed{seed}"}
        )
        if not options.keep:
            make(field)
        truth = read_truth(field.folder / truth_name(1, options.camera, options.ccd))
        true = TrueResponse(field, truth)
        check_response(field, truth, true)
        stars += measure(field, truth, true)
    report(stars)


if __name__ == "__main__":
    main()
