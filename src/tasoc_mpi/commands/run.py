"""Compute the light curves of the stars of a work list, alone or under mpiexec."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import (
    INTERRUPTED,
    add_json_option,
    add_run_files,
    add_star_options,
    add_worker_options,
    words,
    work_on_stars,
)

if TYPE_CHECKING:
    from ..scheduler.launch import Program

HELP = "compute the light curves (alone, or under mpiexec)"
EXIT_STATUSES = {1: "an error, or fewer than half of the computed stars have a light curve", **INTERRUPTED}

__all__ = ["EXIT_STATUSES", "HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    content = "cubes, catalogs, target pixel files and the work list"
    add_run_files(parser, content, "TESSPHOT_OUTPUT, or INPUT/output")
    version = "version number of the light curves (default: %(default)s)"
    add("--version", type=int, default=6, metavar="N", help=version)
    method = "compute all chosen stars with it: aperture, linpsf ..., MODULE:CLASS or FILE.py:CLASS"
    method += " (default: what the work list says)"
    add("--photometry", metavar="METHOD", help=method)
    flag: Any = {"action": "store_true"}
    add("--overwrite", **flag, help="compute again what is already done")
    add("--failed", **flag, help="compute again the stars that are an ERROR or an ABORT, and no others")
    add("--packed", **flag, help="pack light curves, one HDF5 file a worker (see `tasoc-mpi unpack`)")
    add("--dry-run", **flag, help="only say what would run, where, how long, and what it needs")
    add_json_option(parser, "print the plan of --dry-run as JSON")
    add("--plot", **flag, help="also draw pictures of every star")
    kept = "what to keep between stars (default: %(default)s)"
    add("--cache", choices=("none", "basic", "full"), default="basic", help=kept)
    cubes = "read cubes where they are, from a copy on a disk, or from one in memory (default: %(default)s)"
    add("--cube", choices=("mapped", "staged", "shared"), default="mapped", help=cubes)
    add("--scratch", metavar="DIR", help="where --cube staged copies to (default: the node's TMPDIR)")
    add("--correct", **flag, help="then make vectors (cbv) and correct the light curves (correct)")
    add_worker_options(parser)
    method = "only stars with these methods in the work list, separated by commas or repeated (default: all)"
    stars = add_star_options(parser)
    stars.add_argument("--method", type=words(), action="extend", metavar="METHOD", help=method)


def main(args: argparse.Namespace, photometry: Callable[..., Any] | str | None = None) -> int:
    """Be rank 0, a worker, or both; `photometry` (MODULE:FUNCTION or a function) computes one star."""

    def trial(tasks: Any) -> Any:
        from ..worker.trial import compute_trial

        return compute_trial(args, photometry, tasks)

    def load_program() -> Program:
        from ..scheduler.program import run

        return functools.partial(run, trial=trial)

    status = work_on_stars("run", args, load_program, photometry)
    if status or not args.correct or args.dry_run:
        return status
    from .run_and_correct import correct_run

    return correct_run(args)
