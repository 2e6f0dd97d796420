"""Compute the light curves of the stars of a work list, alone or under mpiexec.

Exit status: 0 done; 1 an error, or all chosen stars have failed; 2 wrong options; 75 told to
end by the batch system, 130 by the keyboard: the next run continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

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
    flag: Any = {"action": "store_true"}
    add("--overwrite", **flag, help="compute again what is already done")
    add("--packed", **flag, help="pack light curves, one HDF5 file a worker (see `tasoc-mpi unpack`)")
    add("--dry-run", **flag, help="only say what would run, where, and what it needs")
    add("--plot", **flag, help="also draw pictures of every star")
    add("--ranks", type=int, metavar="N", help="start mpiexec with N ranks here: rank 0 and N - 1 workers")
    add("--batch", type=int, metavar="N", help="hand out N stars at once (default: by their cost)")
    add("--target-timeout", type=float, metavar="SECONDS", help="end a star that takes longer (default: 300)")
    add("--memory-limit", type=float, metavar="GB", help="of a rank (default: its share of its node)")
    add("--cache", choices=("none", "basic", "full"), default="basic", help="what to keep between stars")
    cubes = "read cubes where they are, from a copy on a disk, or from one in the memory of a node"
    add("--cube", choices=("mapped", "staged", "shared"), default="mapped", help=cubes)
    add("--scratch", metavar="DIR", help="where --cube staged copies to (default: the node's TMPDIR)")
    add = parser.add_argument_group("when to end early").add_argument
    add("--fail-fast", **flag, help="at the first star that fails")
    add("--max-errors", type=int, metavar="N", help="when N stars have failed")
    add = parser.add_argument_group("which stars (several values of one option: any of them)").add_argument
    for name in ("sector", "camera", "ccd", "cadence", "starid", "priority"):
        add(f"--{name}", type=int, nargs="+", metavar="N")
    add("--datasource", nargs="+", metavar="SOURCE", help="ffi, tpf or tpf:STARID")
    add("--method", nargs="+", metavar="METHOD", help="as the work list has it: aperture, psf, ...")
    add("--tmag-min", type=float, metavar="MAG", help="this magnitude or fainter")
    add("--tmag-max", type=float, metavar="MAG", help="this magnitude or brighter")


def main(args: argparse.Namespace, photometry: Callable[..., Any] | str | None = None) -> int:
    """Be rank 0, a worker, or both; `photometry` (MODULE:FUNCTION or a function) computes one star."""
    from ..core.locks import use_folder
    from ..core.mpi import check_first, check_ranks, start_ranks, world
    from ..core.settings import load_settings

    def check() -> None:
        load_settings()
        use_folder(args.lock_folder)

    comm = world()
    check_ranks(comm)
    if status := check_first(comm, check):
        return status
    if comm is not None and comm.Get_rank():
        from ..worker.launch import run_worker

        return run_worker(args, comm, photometry)
    if args.ranks is not None and comm is None and not args.dry_run:
        return start_ranks(args.ranks, args.options)
    from ..scheduler.launch import run_alone, run_rank_0

    if comm is not None:
        return run_rank_0(args, comm)
    from ..worker.launch import open_computer

    return run_alone(args, lambda: open_computer(args, photometry))
