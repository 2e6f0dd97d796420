"""Subtract systematics from the light curves of a run, alone or under mpiexec.

The light curves get their corrected columns; all else in them stays. Co-trending basis vectors come first:
`tasoc-mpi cbv`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.methods import CORRECTION_METHODS
from . import INTERRUPTED, add_run_files, add_star_options, add_worker_options, work_on_stars

if TYPE_CHECKING:
    from ..scheduler.launch import Program

HELP = "subtract systematics from light curves (alone, or under mpiexec)"
EXIT_STATUSES = {
    1: "an error, or fewer than half of the light curves could be corrected",
    **INTERRUPTED,
}

CORRECT_STAR = "tasoc_mpi.correction.corrected_star:correct_star"

__all__ = ["CORRECT_STAR", "EXIT_STATUSES", "HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    flag: Any = {"action": "store_true"}
    add_run_files(parser, "the work list", "that of the last run")
    run = "light curves of `run --photometry METHOD` (default: of the methods in the work list)"
    add("--photometry", dest="of_method", metavar="METHOD", help=run)
    method = "with a prior from neighbouring stars (map), or least squares (cbv) (default: %(default)s)"
    add("--method", dest="correction", choices=CORRECTION_METHODS, default=CORRECTION_METHODS[0], help=method)
    version = "only light curves of this version (default: any)"
    add("--version", dest="light_curves", type=int, metavar="N", help=version)
    add("--partial", **flag, help="correct the light curves that there are, though the run is not finished")
    add("--overwrite", **flag, help="correct again what is already done")
    add("--dry-run", **flag, help="only say how many light curves would be corrected")
    add_worker_options(parser)
    add_star_options(parser)


def main(args: argparse.Namespace, function: Callable[..., Any] | str = CORRECT_STAR) -> int:
    """Be rank 0, a worker, or both; `function` (MODULE:FUNCTION or a function) corrects one star."""

    def load_program() -> Program:
        from ..scheduler.correction_run import correct

        return correct

    _find_files(args)
    return work_on_stars("correct", args, load_program, function, {"todo": os.path.abspath(args.todo)})


def _find_files(args: argparse.Namespace) -> None:
    """Replace the options of the work list and of the output folder by those of the run."""
    from ..core.methods import choose_method, method_file
    from ..worklist.output_folder import find_output
    from ..worklist.todo_file import named_todo

    name = choose_method(args.of_method).name
    path = named_todo(args.todo, args.input)
    # The results of a method have a list and an output folder of their own.
    args.rows, args.todo = (path if name else None), method_file(path, name)
    args.output = args.output or find_output(args.todo, method=name)
