"""How precise the light curves are: simulate a CCD without and with jitter, run, compare with the truth."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasoc_mpi import cli
from tasoc_mpi.report.truth_comparison import TruthComparison, compare
from tasoc_mpi.report.truth_report import comparison_lines, draw_comparisons


def together(reports: Sequence[TruthComparison]) -> TruthComparison:
    """The stars of several simulations as if they were of one."""
    parts = {name: np.concatenate([getattr(r, name) for r in reports]) for name in ("stars", "variables")}
    return replace(reports[0], **parts)


def make(folder: Path, options: argparse.Namespace, seed: int, jitter: bool) -> TruthComparison:
    """Simulate into a folder and compute its light curves."""
    from tasoc_mpi.simulate import SimulationOptions, simulate

    shutil.rmtree(folder, ignore_errors=True)
    simulation = SimulationOptions(
        frames=options.frames,
        rows=options.size,
        columns=options.size,
        density=options.density,
        seed=seed,
        tpfs=0,
        jitter=jitter,
    )
    simulate(folder, simulation)
    for command in ("prepare", "todo", "run"):
        status = cli.main(["--quiet", command, str(folder)])
        if status:
            raise SystemExit(status)
    return compare(folder)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the simulations; what is there is deleted")
    parser.add_argument("--frames", type=int, default=640)
    parser.add_argument("--size", type=int, default=512, help="rows and columns (default: %(default)s)")
    parser.add_argument("--density", type=float, default=1.0)
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[1], help="of several the stars are put together"
    )
    parser.add_argument("--keep", action="store_true", help="compare what is there, do not simulate again")
    options = parser.parse_args()
    reports = []
    for jitter in (False, True):
        of_seeds = []
        for seed in options.seed:
            folder = options.folder / f"seed-{seed}-jitter-{'on' if jitter else 'off'}"
            of_seeds.append(compare(folder) if options.keep else make(folder, options, seed, jitter))
            print(f"seed {seed}: " + "\n".join(comparison_lines(of_seeds[-1])), end="\n\n", flush=True)
        reports.append(together(of_seeds))
        if len(of_seeds) > 1:
            print("all seeds: " + "\n".join(comparison_lines(reports[-1])))
    print(f"picture: {draw_comparisons(reports, options.folder / 'truth.png')}")


if __name__ == "__main__":
    main()
