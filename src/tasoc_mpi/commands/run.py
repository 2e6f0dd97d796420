"""Compute the light curves of the stars of a work list, alone or under mpiexec.

Exit status: 0 done; 1 an error, or all chosen stars have failed; 2 wrong options; 75 told to
end by the batch system, 130 by the keyboard: the next run continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from . import add_star_options, add_worker_options, work_on_stars

HELP = "compute the light curves (alone, or under mpiexec)"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("input", nargs="?", help="input folder (default: TESSPHOT_INPUT)")
    add("--output", help="folder of light curves (default: TESSPHOT_OUTPUT or INPUT/output)")
    add("--todo", metavar="FILE", help="work list (default: INPUT/todo.sqlite)")
    add("--lock-folder", metavar="DIR", help="where to keep locks if file systems have none (TESSPHOT_LOCKS)")
    add("--version", type=int, default=6, help="version number of the light curves")
    method = "compute all chosen stars with it: aperture, linpsf ..., MODULE:CLASS or FILE.py:CLASS"
    add("--photometry", metavar="METHOD", help=method)
    flag: Any = {"action": "store_true"}
    add("--overwrite", **flag, help="compute again what is already done")
    add("--packed", **flag, help="pack light curves, one HDF5 file a worker (see `tasoc-mpi unpack`)")
    add("--dry-run", **flag, help="only say what would run, where, and what it needs")
    add("--plot", **flag, help="also draw pictures of every star")
    add("--cache", choices=("none", "basic", "full"), default="basic", help="what to keep between stars")
    cubes = "read cubes where they are, from a copy on a disk, or from one in the memory of a node"
    add("--cube", choices=("mapped", "staged", "shared"), default="mapped", help=cubes)
    add("--scratch", metavar="DIR", help="where --cube staged copies to (default: the node's TMPDIR)")
    add("--correct", **flag, help="then make vectors (cbv) and correct the light curves (correct)")
    add_worker_options(parser)
    stars = add_star_options(parser)
    stars.add_argument(
        "--method", nargs="+", metavar="METHOD", help="as the work list has it: aperture, psf, ..."
    )


def main(args: argparse.Namespace, photometry: Callable[..., Any] | str | None = None) -> int:
    """Be rank 0, a worker, or both; `photometry` (MODULE:FUNCTION or a function) computes one star."""

    def program(*given: Any) -> int:
        from ..scheduler.program import run

        return run(*given)

    status = work_on_stars("run", args, program, photometry)
    if status or not args.correct or args.dry_run:
        return status
    from .run_and_correct import correct_run

    return correct_run(args)
