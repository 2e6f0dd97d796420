"""How good light curves of the brightest stars are: aperture, halo photometry, plain sum of its pixels.

Each scene is a simulated piece of a CCD with one bright star, with jitter, momentum dumps, sky and background
estimates as in a sector. Prints the tables of docs/halo.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasoc_mpi import cli
from tasoc_mpi.core.quality import TESSQualityFlags
from tasoc_mpi.one_star import photometry_class
from tasoc_mpi.simulate import SimulationOptions, simulate
from tasoc_mpi.simulate.bright import BrightStar
from tasoc_mpi.simulate.truth_file import read_truth

SIGNALS = {"solar-like": 2e-4, "delta-scuti": 2e-3, "transit": 5e-4, "eclipse": 0.05}
TMAGS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
#: Rows that the bleed columns need at each magnitude.
ROWS = {0.5: 640, 1.0: 320, 2.0: 224}


@dataclass(frozen=True)
class Scene:
    """A bright star somewhere on a CCD."""

    name: str
    tmag: float
    signal: str
    place: str = "middle"  # middle, side (8 px from the first column), end (its bleed column leaves the CCD)
    neighbour: float = np.nan  # magnitudes that an eclipsing star at 10 px is fainter


def scenes() -> list[Scene]:
    """All scenes."""
    out = [Scene(f"{tmag:g}-{signal}", tmag, signal) for tmag in TMAGS for signal in SIGNALS]
    for place in ("side", "end"):
        out += [Scene(f"{tmag:g}-{place}", tmag, "delta-scuti", place) for tmag in (2.0, 4.0, 6.0)]
    for tmag, fainter in ((2.0, 1.0), (2.0, 3.0), (4.0, 1.0), (4.0, 3.0), (6.0, 1.0), (6.0, 3.0)):
        out.append(Scene(f"{tmag:g}-neighbour-{fainter:g}", tmag, "constant", neighbour=fainter))
    return out


def options_of(
    scene: Scene, frames: int, cadence: int, size: tuple[int, int] | None = None
) -> SimulationOptions:
    """The simulation of a scene, of a number of rows and columns that suits it or of the given one."""
    rows, columns = ROWS.get(scene.tmag, 160), 128
    if scene.place == "end":
        rows, columns = 256, 384
    rows, columns = size or (rows, columns)
    row0, column0 = {"middle": (900, 1500), "side": (900, 44), "end": (0, 1500)}[scene.place]
    row = row0 + (12.3 if scene.place == "end" else rows / 2 + 0.3)
    column = column0 + (8.8 if scene.place == "side" else columns / 2 - 0.2)
    stars = [BrightStar(row, column, scene.tmag, scene.signal, SIGNALS.get(scene.signal, 1e-3))]
    if np.isfinite(scene.neighbour):
        stars.append(BrightStar(row + 2.5, column + 9.7, scene.tmag + scene.neighbour, "eclipse", 0.3))
    seed = 1 + sum(map(ord, scene.name))
    return SimulationOptions(
        frames=frames, rows=rows, columns=columns, row0=row0, column0=column0, tpfs=0, seed=seed,
        bright=False, variables=False, cadence=cadence, bright_stars=tuple(stars),
    )  # fmt: skip


def truths(folder: Path, options: SimulationOptions) -> tuple:
    """Identifiers and true relative light curves of the bright stars, and the quality of the frames."""
    from tasoc_mpi.simulate.scene import make_scene
    from tasoc_mpi.simulate.simulation import _factors

    scene = make_scene(options)
    factors = _factors(scene)
    starids, curves = [], []
    for star in options.bright_stars:
        k = int(np.flatnonzero((scene.stars.row == star.row) & (scene.stars.column == star.column))[0])
        (v,) = np.nonzero(scene.variability.star == k)
        starids.append(int(scene.stars.starid[k]))
        curves.append(factors[v[0]] if len(v) else np.ones(options.frames))
    assert set(starids) <= set(read_truth(next(folder.glob("truth*"))).stars["starid"].tolist())
    return starids, curves, scene.frames.exposures.quality


def trend(time: np.ndarray) -> np.ndarray:
    """Slow changes: a polynomial of seventh order in each half of the series, columns of a matrix."""
    split = np.argmax(np.diff(time)) + 1
    out = []
    for part in (slice(0, split), slice(split, None)):
        x = np.zeros(len(time))
        x[part] = np.linspace(-1, 1, len(time[part]))
        inside = np.zeros(len(time))
        inside[part] = 1
        out += [inside * x**k for k in range(8)]
    return np.stack(out, axis=1)


def robust(values: np.ndarray) -> float:
    """Standard deviation by the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def measure(
    time: np.ndarray, flux: np.ndarray, error: np.ndarray, signal: np.ndarray, good: np.ndarray
) -> dict:
    """Recovered share of a signal, noise of an hour (ppm, also by the errors), and width of the pulls."""
    good = good & np.isfinite(flux)
    f, e = flux / np.median(flux[good]), error / np.median(flux[good])
    design = np.column_stack([trend(time[good]), signal[good]])
    used = design if np.any(signal[good]) else design[:, :-1]
    solution = np.linalg.lstsq(used, f[good], rcond=None)[0]
    rest = f[good] - used @ solution
    size = max(1, round(3600 / (86400 * float(np.median(np.diff(time))))))
    n = len(rest) // size
    hours = rest[: n * size].reshape(n, size).mean(axis=1)
    expected = float(np.median(e[good])) / np.sqrt(size)
    return {
        "share": float(solution[-1]) if np.any(signal[good]) else np.nan,
        "noise": 1e6 * robust(hours),
        "expected": 1e6 * expected,
        "pull": robust(rest / e[good]),
    }


def run(
    scene: Scene,
    folder: Path,
    frames: int,
    cadence: int,
    objective: str | None,
    size: tuple[int, int] | None = None,
) -> dict:
    """Simulate and measure a scene."""
    shutil.rmtree(folder, ignore_errors=True)
    options = options_of(scene, frames, cadence, size)
    simulate(folder, options)
    for command in ("prepare",):
        if cli.main(["--quiet", command, str(folder)]):
            raise SystemExit(1)
    starids, curves, quality = truths(folder, options)
    good = TESSQualityFlags.filter(quality)
    where = {"sector": options.sector, "camera": options.camera, "ccd": options.ccd}
    out = {"scene": scene.name, "tmag": scene.tmag, "signal": scene.signal, "place": scene.place}
    signal = curves[0] - 1.0
    if np.isfinite(scene.neighbour):
        signal = curves[1] - 1.0
    for method in ("halo", "aperture"):
        with photometry_class(method)(starids[0], folder, folder / "out", **where) as pho:
            keywords = {"objective": objective} if method == "halo" else {}
            pho.photometry(**keywords)
            began = time.process_time()
            pho.photometry(**keywords)
            seconds = time.process_time() - began
            found = {"status": pho.status.name, "errors": pho.result.errors, "seconds": seconds}
            if pho.status.has_lightcurve:
                table = pho.lightcurve
                found |= measure(
                    table["time"], np.array(table["flux"]), np.array(table["flux_err"]), signal, good
                )
                found["used"] = float(np.median(pho.sum_mask(pho.final_phot_mask).flux[good]))
            if method == "halo" and pho.status.has_lightcurve:
                found |= {"core": bool(pho.additional_headers["HALO_SAT"][0])}
                found |= {"effective": float(pho.effective_pixels.min()), "size": pho.result.mask_size}
                plain = measure(table["time"], pho.plain_flux, pho.plain_flux * 1e-6, signal, good)
                out["plain"] = plain
            out[method] = found
    if np.isfinite(scene.neighbour):
        ratio = 10 ** (0.4 * scene.neighbour)
        for method in ("halo", "aperture", "plain"):
            if "share" in out.get(method, {}):
                # Relative dips of the target over those of the neighbour, and the same in electrons.
                out[method]["leak"] = out[method].pop("share")
                out[method]["leak_flux"] = out[method]["leak"] * ratio
    shutil.rmtree(folder, ignore_errors=True)
    return out


def summary(done: list[dict]) -> None:
    """Print the noise of an hour by magnitude, median of the scenes in the middle of the CCD."""
    print("| Tmag | halo, ppm | over photon noise | aperture over halo | plain sum over halo |")
    print("|" + "---|" * 5)
    for tmag in TMAGS:
        found = [r for r in done if r["tmag"] == tmag and r["place"] == "middle" and r["signal"] in SIGNALS]
        if found:
            halo = np.array([r["halo"]["noise"] for r in found])
            expected, aperture, plain = (
                np.array([r[method].get(name, np.nan) for r in found])
                for method, name in (("halo", "expected"), ("aperture", "noise"), ("plain", "noise"))
            )
            medians = [np.median(x) for x in (halo, halo / expected, aperture / halo, plain / halo)]
            print(f"| {tmag:g} | {medians[0]:.1f} | " + " | ".join(f"{x:.2f}" for x in medians[1:]) + " |")


def main() -> None:
    """Run the scenes that are not in the file of results yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the simulations, which are deleted again")
    parser.add_argument(
        "--results", type=Path, required=True, help="file of results, one scene a line; continued"
    )
    parser.add_argument("--frames", type=int, default=1282)
    parser.add_argument("--cadence", type=int, default=1800)
    parser.add_argument("--objective", help="default: the setting")
    parser.add_argument("--size", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="of the piece of CCD")
    parser.add_argument("--only", nargs="*", help="names of scenes")
    options = parser.parse_args()
    done = []
    if options.results.exists():
        done = [json.loads(line) for line in options.results.read_text().splitlines()]
    names = {result["scene"] for result in done}
    for scene in scenes():
        if scene.name in names or (options.only and scene.name not in options.only):
            continue
        result = run(
            scene, options.folder / scene.name, options.frames, options.cadence, options.objective,
            options.size and tuple(options.size),
        )  # fmt: skip
        done.append(result)
        with options.results.open("a") as file:
            file.write(json.dumps(result) + "\n")
    table(done)
    print()
    summary(done)


def number(found: dict, name: str, form: str) -> str:
    """A number of a result for the table."""
    value = found.get(name, np.nan)
    return format(value, form) if value == value else "-"


def table(done: list[dict]) -> None:
    """Print the results."""
    print("| scene | saturated pixels used | 1 h, ppm | by errors | pulls | signal | leak | s "
          "| aperture: 1 h, ppm | signal | plain sum: 1 h, ppm |")  # fmt: skip
    print("|" + "---|" * 11)
    order = [scene.name for scene in scenes()]
    for result in sorted(done, key=lambda result: order.index(result["scene"])):
        halo, aperture, plain = result["halo"], result["aperture"], result.get("plain", {})
        cells = [
            result["scene"], {True: "yes", False: "no"}.get(halo.get("core"), halo["status"]),
            number(halo, "noise", ".1f"), number(halo, "expected", ".1f"), number(halo, "pull", ".2f"),
            number(halo, "share", ".4f"), number(halo, "leak_flux", ".2%"), number(halo, "seconds", ".2f"),
            number(aperture, "noise", ".1f") if "noise" in aperture else aperture["status"],
            number(aperture, "share", ".4f"), number(plain, "noise", ".1f"),
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
