"""How precise the light curves are: simulate a CCD without and with jitter, run, compare with the truth."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from tasoc_mpi import cli
from tasoc_mpi.report.truth import TruthReport, compare, draw_report, report_lines


def make(folder: Path, options: argparse.Namespace, jitter: bool) -> TruthReport:
    """Simulate into a folder and compute its light curves."""
    from tasoc_mpi.simulate import SimulationOptions, simulate

    shutil.rmtree(folder, ignore_errors=True)
    simulation = SimulationOptions(
        frames=options.frames,
        rows=options.size,
        columns=options.size,
        density=options.density,
        seed=options.seed,
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
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="compare what is there, do not simulate again")
    options = parser.parse_args()
    reports = []
    for jitter in (False, True):
        folder = options.folder / f"jitter-{'on' if jitter else 'off'}"
        reports.append(compare(folder) if options.keep else make(folder, options, jitter))
        print("\n".join(report_lines(reports[-1])), end="\n\n", flush=True)
    print(f"picture: {draw_report(reports, options.folder / 'truth.png')}")


if __name__ == "__main__":
    main()
