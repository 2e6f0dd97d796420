"""Measure the pixel response (PRF) of each CCD from its images, alone or as one rank of several."""

from __future__ import annotations

import argparse

from . import add_ccd_options, add_input, add_lock_option, compile_for

HELP = "measure the pixel response of each CCD from its cube"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_input(parser, "cubes and catalogs")
    add_lock_option(parser)
    add_ccd_options(parser)
    parser.add_argument("--pictures", action="store_true", help="draw each response as a PNG beside its file")
    parser.add_argument("--overwrite", action="store_true", help="make finished ones anew")


def main(args: argparse.Namespace) -> int:
    """Run the command, alone or as one rank of several."""
    from ..core.ranks import Ranks, run_on_ranks
    from ..core.settings import input_folder
    from ..cubes.make_prf import make_prfs
    from ..report.prf_pictures import draw_prf
    from ..worklist.todo_file import TODO_NAME, refuse_during_run

    which = args.sector, args.camera, args.ccd, args.overwrite

    def work(ranks: Ranks) -> None:
        folder = input_folder(args.input)
        if args.overwrite:
            refuse_during_run(folder / TODO_NAME)
        for path in make_prfs(folder, ranks, *which):
            if args.pictures:
                print(draw_prf(path))

    compile_for("prf", args.input)
    return run_on_ranks("prf", args.lock_folder, work)
