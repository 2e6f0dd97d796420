"""The commands of the command line, one module each, and the options and steps that several of them have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..scheduler.launch import Program

__all__ = [
    "add_ccd_options",
    "add_photometry_option",
    "add_star_options",
    "add_worker_options",
    "work_on_stars",
]


def add_ccd_options(parser: argparse.ArgumentParser) -> None:
    """Add --sector, --camera and --ccd, which choose among the CCDs of a folder."""
    parser.add_argument("--sector", type=int, help="only this sector")
    parser.add_argument("--camera", type=int, choices=range(1, 5), help="only this camera")
    parser.add_argument("--ccd", type=int, choices=range(1, 5), help="only this CCD")


def add_photometry_option(parser: argparse.ArgumentParser) -> None:
    """Add --photometry, which chooses the results of a method that computed all stars of a run."""
    help = "results of `tasoc-mpi run --photometry METHOD` (default: of the methods in the work list)"
    parser.add_argument("--photometry", metavar="METHOD", help=help)


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands whose workers compute star by star."""
    add = parser.add_argument
    add("--ranks", type=int, metavar="N", help="start mpiexec with N ranks here: rank 0 and N - 1 workers")
    add("--batch", type=int, metavar="N", help="hand out N stars at once (default: by their cost)")
    add("--target-timeout", type=float, metavar="SECONDS", help="end a star that takes longer (default: 300)")
    add("--memory-limit", type=float, metavar="GB", help="of a rank (default: its share of its node)")
    add = parser.add_argument_group("when to end early").add_argument
    add("--fail-fast", action="store_true", help="at the first star that fails")
    add("--max-errors", type=int, metavar="N", help="when N stars have failed")


def add_star_options(parser: argparse.ArgumentParser) -> Any:
    """Add the options that choose rows of the work list; returns their group."""
    group = parser.add_argument_group("which stars (several values of one option: any of them)")
    add = group.add_argument
    for name in ("sector", "camera", "ccd", "cadence", "starid", "priority"):
        add(f"--{name}", type=int, nargs="+", metavar="N")
    add("--datasource", nargs="+", metavar="SOURCE", help="ffi, tpf or tpf:STARID")
    add("--tmag-min", type=float, metavar="MAG", help="this magnitude or fainter")
    add("--tmag-max", type=float, metavar="MAG", help="this magnitude or brighter")
    return group


def work_on_stars(
    command: str,
    args: argparse.Namespace,
    program: Program,
    function: Callable[..., Any] | str | None,
    arguments: dict[str, str] | None = None,
) -> int:
    """Be rank 0, a worker, or both.

    Parameters
    ----------
    command, args : str, argparse.Namespace
        Its name and options.
    program : callable
        The work of rank 0. It imports the scheduler, which the other ranks do not need.
    function, arguments : str or callable, dict of str to str, optional
        Works on one star, MODULE:FUNCTION or a function; its further arguments. Default: photometry.

    Returns
    -------
    int
        Exit status, on all ranks.
    """
    from ..core.mpi import check_first, check_ranks, start_ranks, world
    from ..worker.check_method import check_run

    comm = world()
    check_ranks(comm)
    if status := check_first(comm, lambda: check_run(args)):
        return status
    if comm is not None and comm.Get_rank():
        from ..worker.launch import run_worker

        return run_worker(args, comm, function, arguments, command)
    if args.ranks is not None and comm is None and not args.dry_run:
        return start_ranks(args.ranks, args.options)
    from ..scheduler.launch import run_alone, run_rank_0

    if comm is not None:
        return run_rank_0(command, args, program, comm)
    from ..worker.launch import open_computer

    return run_alone(command, args, program, lambda: open_computer(args, function, arguments=arguments))
