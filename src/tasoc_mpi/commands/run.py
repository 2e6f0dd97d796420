"""Compute the light curves of the stars of a work list, alone or under mpiexec.

Exit status: 0 done; 1 an error, or all chosen stars have failed; 2 wrong options; 75 told to
end by the batch system, 130 by the keyboard: the next run continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

HELP = "compute the light curves (alone, or under mpiexec)"

__all__ = ["HELP", "configure", "main"]

#: Seconds in which rank 0, told that a rank cannot go on, has written what it has and ended all of them.
_PATIENCE = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("input", nargs="?", help="input folder (default: TESSPHOT_INPUT)")
    parser.add_argument("--output", help="folder of light curves (default: TESSPHOT_OUTPUT or INPUT/output)")
    parser.add_argument("--todo", metavar="FILE", help="work list (default: INPUT/todo.sqlite)")
    parser.add_argument(
        "--lock-folder", metavar="DIR", help="where to keep locks, if file systems have none (TESSPHOT_LOCKS)"
    )
    parser.add_argument("--version", type=int, default=6, help="version number of the light curves")
    parser.add_argument("--overwrite", action="store_true", help="compute again what is already done")
    parser.add_argument(
        "--packed",
        action="store_true",
        help="pack light curves, one HDF5 file a worker, instead of a file each (see `tasoc-mpi unpack`)",
    )
    parser.add_argument(
        "--ranks", type=int, metavar="N", help="start mpiexec with N ranks here: rank 0 and N - 1 workers"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would run, where, and what it needs"
    )
    parser.add_argument("--plot", action="store_true", help="also draw pictures of every star")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="hand out N stars at once (default: by their cost)"
    )
    parser.add_argument(
        "--cache",
        choices=("none", "basic", "full"),
        default="basic",
        help="what to keep in memory between stars",
    )
    parser.add_argument(
        "--cube",
        choices=("mapped", "staged", "shared"),
        default="mapped",
        help="read cubes where they are, from a copy on a disk of the node, or from one in the node's memory",
    )
    parser.add_argument(
        "--scratch", metavar="DIR", help="where --cube staged copies to (default: the node's TMPDIR)"
    )
    parser.add_argument(
        "--target-timeout",
        type=float,
        metavar="SECONDS",
        help="end a star that takes longer, as an ABORT (default: from the settings, 300)",
    )
    parser.add_argument(
        "--memory-limit",
        type=float,
        metavar="GB",
        help="memory of a rank's photometry (default: the rank's share of its node)",
    )
    group = parser.add_argument_group("when to end early")
    group.add_argument("--fail-fast", action="store_true", help="at the first star that fails")
    group.add_argument("--max-errors", type=int, metavar="N", help="when N stars have failed")
    group = parser.add_argument_group("which stars (several values of one option: any of them)")
    for name in ("sector", "camera", "ccd", "cadence", "starid", "priority"):
        group.add_argument(f"--{name}", type=int, nargs="+", metavar="N")
    group.add_argument("--datasource", nargs="+", metavar="SOURCE", help="ffi, tpf or tpf:STARID")
    group.add_argument(
        "--method", nargs="+", metavar="METHOD", help="as the work list has it: aperture, psf, ..."
    )
    group.add_argument("--tmag-min", type=float, metavar="MAG", help="this magnitude or fainter")
    group.add_argument("--tmag-max", type=float, metavar="MAG", help="this magnitude or brighter")


def main(args: argparse.Namespace, photometry: Callable[..., Any] | str | None = None) -> int:
    """Be rank 0, a worker, or both in turn.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `configure`.
    photometry : str or callable, optional
        Computes one star: ``MODULE:FUNCTION``, or a function, which is called in this process and not in one
        of its own. Default: `tasoc_mpi.photometry.methods`.

    Returns
    -------
    int
        Exit status, the same on all ranks.
    """
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
    if args.ranks is not None and comm is None and not args.dry_run:
        return start_ranks(args.ranks, args.options)
    if comm is None:
        return _alone(args, photometry)
    return _rank_0(args, comm) if comm.Get_rank() == 0 else _worker(args, comm, photometry)


def _alone(args: argparse.Namespace, photometry: Callable[..., Any] | str | None) -> int:
    """Scheduler and worker in turn, without MPI."""
    import contextlib

    from ..core.messages import pack_results
    from ..core.settings import load_settings
    from ..scheduler.program import run
    from ..scheduler.signals import Stop, listen

    stop, patience = Stop(), load_settings().getfloat("run", "stop_timeout")
    with listen(stop, patience), contextlib.ExitStack() as stack:
        computers: list[Any] = []

        def drain(queue: Any, take_in: Callable[[Any], None], tick: Callable[[], None]) -> None:
            if not computers:
                computers.append(stack.enter_context(_computer(args, photometry)))
            computer = computers[0]
            told = False
            while (len(queue) and not stop) or computer.held:
                if stop and not told:
                    computer.finish(patience)
                    told = True
                while len(queue) and not stop and computer.held < 2:
                    tasks, _ = queue.take()
                    if len(tasks):
                        computer.submit(tasks)
                results = computer.poll(0.2) if computer.held else None
                if results is not None and len(results):
                    take_in([pack_results(results)])
                tick()

        return run(_orders(args), drain, stop, node=[0] * (args.ranks or 1))


def _rank_0(args: argparse.Namespace, comm: Any) -> int:
    """The scheduler."""
    from ..core.errors import TasocError
    from ..core.mpi import Mailbox, abort, nodes
    from ..core.settings import load_settings
    from ..scheduler.dispatcher import Crew
    from ..scheduler.program import run
    from ..scheduler.signals import Stop, listen

    stop = Stop()
    crew = Crew(Mailbox(comm), stop, nodes(comm))
    try:
        try:
            crew.patience = patience = load_settings().getfloat("run", "stop_timeout")
            with listen(stop, patience):
                exit_status = run(_orders(args), crew.drain, stop, crew.node)
        except (TasocError, OSError) as error:
            if crew.outstanding:
                # Workers may be busy for long, or gone.
                raise
            # Said once, by this rank.
            crew.stop(getattr(error, "exit_status", 1))
            failed = error
        else:
            if crew.outstanding:
                # A rank that does not answer any more would not receive the end either.
                silent = TasocError(f"{crew.outstanding} batch(es) were not answered; run again")
                silent.exit_status = exit_status
                raise silent
            crew.stop(exit_status)
            return exit_status
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        abort(comm, "run", error)
    raise failed


def _worker(args: argparse.Namespace, comm: Any, photometry: Callable[..., Any] | str | None) -> int:
    """Every other rank."""
    import time

    from ..core.errors import TasocError
    from ..core.messages import Tag, pack_failure
    from ..core.mpi import abort, nodes
    from ..scheduler.signals import leave_to_rank_0
    from ..worker.rank import work
    from ..worker.supervisor import Supervisor

    leave_to_rank_0()
    rank, node = comm.Get_rank(), nodes(comm)
    try:
        with _computer(args, photometry, node.count(node[rank])) as computer:
            if isinstance(computer, Supervisor):
                # It takes as long to be ready as rank 0 needs to read the work list.
                computer.start()
            return work(comm, computer)
    except TasocError as error:
        # A disk that is full is full for all ranks, and one line is enough: rank 0 says it.
        comm.Send(pack_failure(error), 0, Tag.FAILED)
        time.sleep(_PATIENCE)
        abort(comm, "run", error)
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        abort(comm, "run", error)


def _computer(args: argparse.Namespace, photometry: Callable[..., Any] | str | None, on_node: int = 1) -> Any:
    """What computes batches for one of so many ranks of a node, as a context manager."""
    import contextlib
    import logging

    from ..core.resources import memory_share
    from ..core.settings import load_settings
    from ..worker.child_options import DEFAULT_PHOTOMETRY, ChildOptions
    from ..worker.compute import Job
    from ..worker.copies import copies_folder
    from ..worker.rank import InProcess
    from ..worker.supervisor import Supervisor

    source, output = _folders(args)
    job = Job(str(source), str(output), args.version, args.plot, args.cache, args.packed)
    if callable(photometry):
        return contextlib.nullcontext(InProcess(job, photometry))
    limit = memory_share(on_node)
    if args.memory_limit is not None:
        limit = int(args.memory_limit * 1e9)
    timeout = args.target_timeout
    if timeout is None:
        timeout = load_settings().getfloat("run", "target_timeout")
    options = ChildOptions(
        target_timeout=timeout,
        memory_limit=limit,
        photometry=photometry or DEFAULT_PHOTOMETRY,
        copies=str(copies_folder(args.cube, args.scratch) or ""),
        log_level=logging.getLogger().getEffectiveLevel(),
        star_warnings=args.debug,
    )
    return Supervisor(job, options)


def _folders(args: argparse.Namespace) -> tuple[Path, Path]:
    """Input and output folder."""
    from ..core.settings import input_folder, output_folder

    source = input_folder(args.input)
    return source.resolve(), output_folder(args.output, source / "output").resolve()


def _constraints(args: argparse.Namespace) -> Any:
    """The filters.

    Raises
    ------
    UsageError
        If a value is impossible.
    """
    from ..core.errors import UsageError
    from ..worklist.constraints import Constraints

    limits = {"sector": (1, 999), "camera": (1, 4), "ccd": (1, 4), "cadence": (1, 9999)}
    for name, (least, most) in limits.items():
        for value in getattr(args, name) or ():
            if not least <= value <= most:
                raise UsageError(f"--{name} {value}: must be from {least} to {most}")
    for name in ("starid", "priority"):
        for value in getattr(args, name) or ():
            if not 0 <= value < 2**63:
                raise UsageError(f"--{name} {value}: must be a positive number")
    for value in args.datasource or ():
        if not (value in ("ffi", "tpf") or (value.startswith("tpf:") and value[4:].isdecimal())):
            raise UsageError(f"--datasource {value}: must be ffi, tpf or tpf:STARID")
    if args.tmag_min is not None and args.tmag_max is not None and args.tmag_min > args.tmag_max:
        raise UsageError(
            f"--tmag-min {args.tmag_min} is fainter than --tmag-max {args.tmag_max}: no star is both"
        )
    if args.batch is not None and not 1 <= args.batch <= 100_000:
        raise UsageError(f"--batch {args.batch}: must be from 1 to 100000")
    if args.max_errors is not None and args.max_errors < 1:
        raise UsageError(f"--max-errors {args.max_errors}: must be a positive number")
    if not 0 <= args.version <= 99:
        raise UsageError(f"--version {args.version}: must be from 0 to 99")
    if args.target_timeout is not None and not args.target_timeout > 0:
        raise UsageError(f"--target-timeout {args.target_timeout}: must be a positive number of seconds")
    if args.memory_limit is not None and not 0.5 <= args.memory_limit <= 1e6:
        raise UsageError(f"--memory-limit {args.memory_limit}: must be from 0.5 GB (what libraries need)")
    if args.scratch and args.cube != "staged":
        raise UsageError("--scratch is for --cube staged")
    names = ("sector", "camera", "ccd", "cadence", "datasource", "starid", "priority", "method")
    chosen = {name: tuple(getattr(args, name)) for name in names if getattr(args, name)}
    return Constraints(**chosen, tmag_min=args.tmag_min, tmag_max=args.tmag_max)


def _orders(args: argparse.Namespace) -> Any:
    """What rank 0 has to know."""
    from ..products.lightcurve import creation_date
    from ..scheduler.program import Orders
    from ..worklist.todo_file import TODO_NAME

    constraints = _constraints(args)
    creation_date()  # says what is wrong with it once, and not for every star
    source, output = _folders(args)
    return Orders(
        todo=Path(args.todo) if args.todo else source / TODO_NAME,
        source=source,
        output=output,
        constraints=constraints,
        version=args.version,
        overwrite=args.overwrite,
        batch=args.batch,
        max_errors=1 if args.fail_fast else args.max_errors or 0,
        quiet=args.quiet,
        dry=args.dry_run,
    )
