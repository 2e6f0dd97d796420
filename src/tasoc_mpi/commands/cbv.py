"""Make the co-trending basis vectors of every area from the light curves of a run, alone or under mpiexec.

They are written to LIGHTCURVES/cbv, an HDF5 and a FITS file for each area and cadence; those that are up to
date are kept.
"""

from __future__ import annotations

import argparse

from . import add_ccd_options, add_lock_option, add_result_files, compile_for, result_files

HELP = "make vectors of the systematics that light curves have in common"

EXIT_STATUSES = {1: "an error, or no area has enough stars"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add_result_files(parser)
    add_ccd_options(parser)
    add("--overwrite", action="store_true", help="make anew what is up to date")
    add("--partial", action="store_true", help="take the light curves of areas that are not finished")
    add("--version", type=int, metavar="N", help="only light curves of this version (default: any)")
    add("--memory", type=float, metavar="GB", help="for all ranks of a node (default: half of what is free)")
    add("--pictures", action="store_true", help="draw vectors, weights over the CCD, variances, and stars")
    add_lock_option(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command, alone or as one rank of several."""
    from ..core.ranks import Ranks, run_on_ranks

    def work(ranks: Ranks) -> None:
        # Modules of kernels are imported where the other ranks are told of an error.
        from ..core.resources import check_gigabytes
        from ..correction.make_vectors import VectorOptions, make_vectors
        from ..report.results import read_run
        from ..worklist.output_folder import check_there

        check_gigabytes(args.memory)
        files = result_files(args)
        run = read_run(files.folder, args.output, files.method, todo=args.todo)
        check_there(run.output)
        memory = None if args.memory is None else args.memory * 1e9
        which = args.sector, args.camera, args.ccd
        options = VectorOptions(*which, args.overwrite, args.partial, args.version, memory)
        paths = make_vectors(run.path, run.output, ranks, options)
        if args.pictures:
            from ..report.cbv_pictures import draw_vectors

            for path in paths:
                draw_vectors(path)

    compile_for("cbv", args.input)
    return run_on_ranks("cbv", args.lock_folder, work)
