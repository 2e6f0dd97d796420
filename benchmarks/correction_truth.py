"""How good the correction of systematics is, on light curves made directly: the tables of docs/correction.md.

python benchmarks/correction_truth.py               accuracy and speed
python benchmarks/correction_truth.py --memory      memory of 15,000 stars x 11,700 frames (10 GB of disk)
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from made_curves import Area, make_area
from made_run import write_run

from tasoc_mpi.core.ranks import Ranks
from tasoc_mpi.correction import make_vectors as making
from tasoc_mpi.correction.fit_star import METHODS, correct
from tasoc_mpi.correction.star_matrix import read_listed
from tasoc_mpi.products.cbv_file import USES, Vectors, read_vectors

BINS = ((7.0, 9.0), (9.0, 10.5), (10.5, 12.0), (12.0, 13.5), (13.5, 15.0))


def noise(flux: np.ndarray, points: int) -> float:
    """Robust standard deviation of means of some points."""
    means = flux[: len(flux) // points * points].reshape(-1, points).mean(axis=1)
    return 1.4826 * float(np.median(np.abs(means - np.median(means))))


def signals(area: Area, i: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Signals that are injected into a star, each large enough to be seen in it."""
    time, sigma = area.time, area.sigma[i]
    phase = ((time / 3.3 + rng.uniform() + 0.5) % 1 - 0.5) * 3.3
    flares = np.zeros_like(time)
    for start in rng.uniform(1, 26, 4):
        after = time >= start
        flares[after] += max(0.02, 10 * sigma) * np.exp(-(time[after] - start) / 0.06)
    return {
        "transits": -max(0.003, 3 * sigma) * (np.abs(phase) < 0.08),
        "pulsation": max(0.001, 2 * sigma)
        * np.sin(2 * np.pi * (time / rng.uniform(0.1, 0.95) + rng.uniform())),
        "rotation": max(0.002, 3 * sigma) * np.sin(2 * np.pi * (time / 10 + rng.uniform())),
        "flares": flares,
    }


def kept(name: str, signal: np.ndarray, change: np.ndarray) -> float:
    """Share of the amplitude of a signal in the change of a corrected light curve."""
    if name == "transits":
        inside = signal < 0
        near = np.convolve(inside, np.ones(41), "same") > 0
        return float((change[inside].mean() - change[near & ~inside].mean()) / signal.min())
    return float(np.polyfit(signal, change, 1)[0])


def accuracy(area: Area, output: Path, names: list[str], vectors: Vectors, method: str) -> None:
    """Print the table of one method."""
    rng = np.random.default_rng(5)
    rows = []
    hour, long = (max(1, round(h * 3600 / area.cadence)) for h in (1.0, 6.5))
    for i in np.flatnonzero(~area.variable)[::3].tolist():
        curve = read_listed(str(output), names[i])
        base = correct(curve, vectors, method)
        quiet = area.quiet[i] - 1
        flux = 1e-6 * base.flux
        row = [area.tmag[i], noise(quiet, hour) * 1e6, noise(area.flux[i], hour) / noise(quiet, hour)]
        row += [noise(flux, n) / noise(quiet, n) for n in (hour, long)]
        row.append(noise(np.diff(flux), 1) / noise(np.diff(quiet), 1) - 1)
        for name, signal in signals(area, i, rng).items():
            found = correct(replace(curve, flux=curve.flux * (1 + signal)), vectors, method)
            row.append(1 - kept(name, signal, 1e-6 * found.flux - flux))
        row.append(base.under_fitting)
        rows.append(row)
    table = np.array(rows)
    print(f"\nmethod {method}: medians (mean of the worst tenth of the losses in brackets)")
    columns = "Tmag,stars,1 h noise (ppm),raw,1 h,6.5 h,added,transits,pulsation,rotation,flares,left"
    print("| " + columns.replace(",", " | ") + " |")
    print("|" + "---|" * 12)
    for low, high in BINS:
        own = table[(table[:, 0] >= low) & (table[:, 0] < high)]
        middle = np.median(own, axis=0)
        worst = [np.sort(own[:, k])[-max(1, len(own) // 10) :].mean() for k in range(6, 10)]
        losses = " | ".join(f"{100 * middle[6 + k]:.1f}% ({100 * worst[k]:.1f}%)" for k in range(4))
        print(f"| {low:g}-{high:g} | {len(own)} | {middle[1]:.0f} | {middle[2]:.2f} | {middle[3]:.3f} | "
              f"{middle[4]:.3f} | {100 * middle[5]:.1f}% | {losses} | {middle[10]:.2f} |")  # fmt: skip


def one_huge_variable() -> None:
    """Print what becomes of one huge variable among 500 stars."""
    area = make_area(500, seed=4, share=0.0)
    area.flux[100] *= 1 + 0.3 * np.sin(2 * np.pi * area.time / 0.57)
    with tempfile.TemporaryDirectory() as folder:
        output = write_run(Path(folder), area)
        # As a star of ordinary variability, so that only the entropy tells.
        request_quiet = making.quiet_stars
        making.quiet_stars = lambda stars: (np.ones(len(stars), bool),) * 2  # type: ignore[assignment]
        try:
            (path,) = making.make_vectors(Path(folder, "todo.sqlite"), output, Ranks())
        finally:
            making.quiet_stars = request_quiet
        vectors = read_vectors(path)
    print(
        f"\none huge variable among 500: {USES[vectors.use[100]]}, its largest weight "
        f"{np.abs(vectors.weights[100]).max():.3g}; {(vectors.use == 4).sum()} stars were taken out"
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stars", type=int)
    parser.add_argument("--cadence", type=int, default=1800)
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    stars = args.stars or (15_000 if args.memory else 2000)
    cadence = 200 if args.memory else args.cadence
    area = make_area(stars, cadence)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = write_run(folder, area)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        again = making.VectorOptions(overwrite=True)
        for _ in range(1 if args.memory else 2):
            # The second time the kernels are compiled and the files are in memory.
            start = time.process_time()
            (path,) = making.make_vectors(folder / "todo.sqlite", output, Ranks(), again)
            seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        frames = area.flux.shape[1]
        print(f"vectors of {stars} stars x {frames} frames: {seconds:.1f} s of processor time; most memory "
              f"{peak / 1e6:.2f} GB, of which before {before / 1e6:.2f} GB")  # fmt: skip
        if args.memory:
            return
        vectors = read_vectors(path)
        from tasoc_mpi.correction.candidates import read_areas

        names = read_areas(folder / "todo.sqlite")[0].stars["lightcurve"].tolist()
        for method in METHODS:
            accuracy(area, output, names, vectors, method)
        curves = [read_listed(str(output), n) for n in names[:300]]
        for method in METHODS:
            start = time.process_time()
            for curve in curves:
                correct(curve, vectors, method)
            print(
                f"\ncorrection, {method}: {1e3 * (time.process_time() - start) / len(curves):.2f} ms a star"
            )
    one_huge_variable()


if __name__ == "__main__":
    main()
