"""Simulate one CCD: TESS-like full frame images, target pixel files, the star catalog and the truth."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make TESS-like frames, target pixel files, a catalog and the truth"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("input", metavar="INPUT", type=Path, help="where to write; made if it is not there")
    add("--sector", type=int, default=1, help="default: %(default)s")
    add("--camera", type=int, default=1, help="1 to 4 (default: %(default)s)")
    add("--ccd", type=int, default=1, help="1 to 4 (default: %(default)s)")
    add("--frames", type=int, default=1282, help="number of full frame images (default: %(default)s)")
    add("--cadence", type=int, default=1800, help="1800, 600 or 200 s (default: %(default)s)")
    words = "frame of the sector to begin with (default: 0)"
    add("--first-frame", type=int, default=0, metavar="N", help=words)
    add("--rows", type=int, default=512, help="height of the region, pixels (default: %(default)s)")
    add("--columns", type=int, default=512, help="width of the region, pixels (default: %(default)s)")
    add("--row0", type=int, metavar="ROW", help="its first row, 0 to 2047 (default: in the middle)")
    add("--column0", type=int, metavar="COLUMN", help="its first column, 44 to 2091 (default: in the middle)")
    add("--full-frame", action="store_true", help="the whole CCD with its collateral pixels, 2136 x 2078")
    words = "stars with a target pixel file (default: %(default)s)"
    add("--tpfs", type=int, default=20, metavar="N", help=words)
    words = "cadence of the target pixel files, 120 or 20 s (default: %(default)s)"
    add("--tpf-cadence", type=int, choices=(120, 20), default=120, metavar="SECONDS", help=words)
    add("--seed", type=int, default=1, help="the same seed gives the same files (default: %(default)s)")
    faint = "magnitude of the faintest stars (default: %(default)s)"
    add("--faint-limit", dest="tmag_max", type=float, default=18.0, metavar="TMAG", help=faint)
    add("--density", type=float, default=1.0, help="number of stars relative to a sparse field (default: 1)")
    add("--sky", type=float, default=1.0, help="factor of the sky's brightness (default: 1)")
    add("--gap", type=float, default=1.0, metavar="DAYS", help="data gap in mid-sector (default: 1)")
    add("--prf", type=Path, metavar="FOLDER", help="TESS PRF files (default: an analytic PRF)")
    words = "how much wider the PRF is at the beginning of each orbit (0.03, say) (default: no focus drift)"
    add("--focus", type=float, default=0.0, metavar="SHARE", help=words)
    words = "drifts of focus and pointing, scattered light, a step, spikes; 1: as in TESS (default: none)"
    add("--systematics", type=float, default=0.0, metavar="STRENGTH", help=words)
    words = "stars at places, with wide wings; SIGNAL: constant, solar-like, delta-scuti, transit or eclipse"
    form = "ROW,COLUMN,TMAG[,SIGNAL[,SIZE]]"
    words += "; may be repeated (default: none)"
    add("--bright-star", dest="bright_stars", action="append", metavar=form, help=words)
    for name, words in (
        ("jitter", "spacecraft motion and differential aberration"),
        ("variables", "variable stars"),
        ("cosmics", "cosmic rays"),
        ("noise", "photon and read noise"),
        ("bright", "a star added where the region has no saturated one"),
    ):
        add(f"--no-{name}", dest=name, action="store_false", help=f"without {words}")
    add("--gzip", action="store_true", help="write fits.gz files")
    add("--overwrite", action="store_true", help="replace an earlier simulation of this CCD")


def main(args: argparse.Namespace) -> int:
    """Simulate."""
    from dataclasses import fields

    from ..core.compiled import compile_first
    from ..simulate import SimulationOptions, simulate
    from ..simulate.bright import parse_bright_star

    compile_first("simulate")
    values = {field.name: getattr(args, field.name) for field in fields(SimulationOptions)}
    values["bright_stars"] = tuple(map(parse_bright_star, args.bright_stars or ()))
    options = SimulationOptions(**values)
    paths = simulate(args.input, options)
    print(
        f"{args.input}: {len(paths.ffis)} full frame images, {len(paths.tpfs)} target pixel files, "
        f"{paths.catalog.name}, {paths.truth.name}"
    )
    return 0
