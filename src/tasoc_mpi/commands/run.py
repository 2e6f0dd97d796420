"""Compute the light curves of the stars of a work list, alone or under mpiexec."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

HELP = "compute the light curves (alone, or under mpiexec)"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("input", nargs="?", help="input folder (default: TESSPHOT_INPUT)")
    parser.add_argument("--output", help="folder of light curves (default: TESSPHOT_OUTPUT or INPUT/output)")
    parser.add_argument(
        "--todo", metavar="FILE", help="work list, a shard of `tasoc-mpi split` (default: INPUT/todo.sqlite)"
    )
    parser.add_argument("--version", type=int, default=6, help="version number of the light curves")
    parser.add_argument("--overwrite", action="store_true", help="compute again what is already done")
    parser.add_argument(
        "--packed",
        action="store_true",
        help="pack light curves, one HDF5 file a worker, instead of a file each (see `tasoc-mpi unpack`)",
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
        of its own. Default: `tasoc_mpi.photometry.tessphot`.

    Returns
    -------
    int
        Exit status, the same on all ranks.
    """
    from ..transport import world

    comm = world()
    if comm is None:
        return _alone(args, photometry)
    return _rank_0(args, comm) if comm.Get_rank() == 0 else _worker(args, comm, photometry)


def _alone(args: argparse.Namespace, photometry: Callable[..., Any] | str | None) -> int:
    """Scheduler and worker in turn, without MPI."""
    import contextlib

    from ..scheduler.signals import Stop, listen

    stop = Stop()
    with listen(stop), contextlib.ExitStack() as stack:
        computers: list[Any] = []

        def drain(queue: Any, take_in: Callable[[Any], None], tick: Callable[[], None]) -> None:
            if not computers:
                computers.append(stack.enter_context(_computer(args, photometry)))
            computer = computers[0]
            while (len(queue) and not stop) or computer.held:
                while len(queue) and not stop and computer.held < 2:
                    computer.submit(queue.take())
                results = computer.poll(0.2)
                if results is not None:
                    take_in(results)
                tick()

        return _schedule(args, drain, stop, workers=1, ranks=1)


def _rank_0(args: argparse.Namespace, comm: Any) -> int:
    """The scheduler."""
    from ..errors import TasocError
    from ..scheduler.loop import Crew
    from ..scheduler.signals import Stop, listen

    stop = Stop()
    crew = Crew(comm, stop)
    try:
        try:
            with listen(stop):
                exit_status = _schedule(args, crew.drain, stop, workers=crew.workers, ranks=comm.Get_size())
        except (TasocError, OSError) as error:
            if any(crew.held.values()):
                # Workers may be busy for long, or gone.
                raise
            # Said once, by this rank.
            crew.stop(getattr(error, "exit_status", 1))
            failed = error
        else:
            crew.stop(exit_status)
            return exit_status
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        _abort(comm, error)
    raise failed


def _worker(args: argparse.Namespace, comm: Any, photometry: Callable[..., Any] | str | None) -> int:
    """Every other rank."""
    from ..scheduler.signals import leave_to_rank_0
    from ..worker.loop import work
    from ..worker.supervisor import Supervisor

    leave_to_rank_0()
    try:
        with _computer(args, photometry, comm.Get_rank()) as computer:
            if isinstance(computer, Supervisor):
                # It takes as long to be ready as rank 0 needs to read the work list.
                computer.start()
            return work(comm, computer)
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        _abort(comm, error)


def _abort(comm: Any, error: BaseException) -> NoReturn:
    """Say why, and end all ranks."""
    import sys
    import time
    import traceback

    from ..errors import TasocError

    exit_status, rank = 1, comm.Get_rank()
    if isinstance(error, KeyboardInterrupt):
        exit_status, reason = 130, "interrupted"
    elif isinstance(error, TasocError):
        exit_status, reason = error.exit_status, f"error: {error}"
    else:
        reason = "".join(traceback.format_exception(error))
    sys.stderr.write(f"tasoc-mpi run: rank {rank} ends the run: {reason}\n")
    sys.stderr.flush()
    # What mpiexec has not read when the rank dies is lost.
    time.sleep(0.2)
    comm.Abort(exit_status)
    raise error


def _computer(args: argparse.Namespace, photometry: Callable[..., Any] | str | None, rank: int = 0) -> Any:
    """What computes batches for this rank, as a context manager."""
    import contextlib
    import logging

    from ..products.recorder import recorder_folder
    from ..settings import load_settings
    from ..worker.compute import Job
    from ..worker.copies import copies_folder
    from ..worker.loop import InProcess
    from ..worker.memory import memory_share, ranks_on_node
    from ..worker.supervisor import DEFAULT_PHOTOMETRY, ChildOptions, Supervisor

    source, output = _folders(args)
    job = Job(str(source), str(output), args.version, args.plot, args.cache, args.packed)
    if callable(photometry):
        return contextlib.nullcontext(InProcess(job, photometry))
    limit = memory_share(ranks_on_node() if rank else 1)
    if args.memory_limit is not None:
        limit = int(args.memory_limit * 1e9)
    timeout = args.target_timeout
    if timeout is None:
        timeout = load_settings().getfloat("run", "target_timeout")
    options = ChildOptions(
        target_timeout=timeout,
        recorders=str(recorder_folder(output, Path(args.todo).stem if args.todo else "todo")),
        memory_limit=limit,
        photometry=photometry or DEFAULT_PHOTOMETRY,
        copies=str(copies_folder(args.cube, args.scratch) or ""),
        rank=rank,
        log_level=logging.getLogger().getEffectiveLevel(),
        star_warnings=args.debug,
    )
    return Supervisor(job, options)


def _folders(args: argparse.Namespace) -> tuple[Path, Path]:
    """Input and output folder."""
    from ..settings import input_folder, output_folder

    source = input_folder(args.input)
    return source.resolve(), output_folder(args.output, source / "output").resolve()


def _constraints(args: argparse.Namespace) -> Any:
    """The filters.

    Raises
    ------
    UsageError
        If a value is impossible.
    """
    from ..errors import UsageError
    from ..products.todo import Constraints

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


def _schedule(
    args: argparse.Namespace, drain: Callable[..., None], stop: Any, workers: int, ranks: int
) -> int:
    """Everything that only rank 0 does."""
    import contextlib
    import functools
    import sys

    from ..errors import InputError
    from ..products.lightcurve import creation_date
    from ..products.shards import find_shards
    from ..products.todo import TODO_NAME, lock_todo, open_todo
    from ..scheduler.loop import schedule
    from ..scheduler.queue import BatchSize
    from ..scheduler.store import load_store

    constraints = _constraints(args)
    creation_date()  # says what is wrong with it once, and not for every star
    source, output = _folders(args)
    path = Path(args.todo) if args.todo else source / TODO_NAME
    if not args.todo and (shards := find_shards(source)):
        raise InputError(
            f"{path}: is split into {len(shards)} shard(s); run each with --todo, or bring them back with "
            f"`tasoc-mpi merge {source} --remove`"
        )
    # Says what is wrong with the file before anything is written, the lock included.
    open_todo(path).close()
    _make_folder(output)
    with lock_todo(path), contextlib.ExitStack() as stack:
        store = load_store(path)
        stack.callback(store.conn.close)
        chosen = constraints.mask(store.rows)
        if not chosen.any():
            raise InputError(f"{path}: none of its {len(chosen)} stars fulfils the filters; loosen them")
        store.begin(output, args.version, args.overwrite and bool(chosen.all()))
        if args.overwrite:
            store.reset(chosen, output)
        announce = functools.partial(_announce, source=source, output=output, ranks=ranks, quiet=args.quiet)
        outcome = schedule(store, chosen, drain, BatchSize(workers, args.batch), output, announce, stop)
        _report(store, chosen, outcome, output, args.version)
    if stop:
        print(f"{path}: {stop.reason}; `tasoc-mpi run` continues it", file=sys.stderr)
    return stop.exit_status


def _make_folder(output: Path) -> None:
    """Make the output folder; raises InputError if it cannot be made or written."""
    import os

    from ..errors import InputError

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); choose another --output") from None
    if not os.access(output, os.W_OK | os.X_OK):
        raise InputError(f"{output}: not writable; change its permissions or choose another --output")


def _announce(rows: Any, source: Path, output: Path, ranks: int, quiet: bool) -> Any:
    """Say what will run, and what of its input is missing; returns the progress bar."""
    import logging

    import numpy as np

    from ..scheduler.progress import Progress

    logger = logging.getLogger(__name__)
    ccds = np.unique(rows[["sector", "camera", "ccd"]])
    on = "1 process" if ranks == 1 else f"{ranks - 1} of {ranks} ranks"
    logger.info("%d stars of %d CCD(s) on %s; light curves in %s", len(rows), len(ccds), on, output)
    names = [f"sector{sector:03d}_camera{camera}_ccd{ccd}.hdf5" for sector, camera, ccd in ccds.tolist()]
    missing = [name for name in names if not (source / name).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        logger.warning(
            "%s: no %s%s; their stars will be errors (make them with `tasoc-mpi prepare`)",
            source,
            ", ".join(missing[:3]),
            more,
        )
    return Progress(len(rows), quiet=quiet)


def _report(store: Any, chosen: Any, outcome: Any, output: Path, version: int) -> None:
    """Write `summary.json` and print what became of the chosen stars."""
    import json
    import os

    import numpy as np

    from ..status import STATUS

    counts = np.bincount(store.status[chosen], minlength=max(STATUS) + 1)
    if not outcome.changed:
        print(
            f"Nothing to do: all {int(chosen.sum())} chosen stars are done; --overwrite computes them again."
        )
    names = {STATUS.UNKNOWN: "not computed"}
    for status in STATUS:
        if counts[status]:
            print(f"{names.get(status, status.name):>12} {counts[status]:9d}")
    if outcome.computed:
        rate = outcome.computed / max(outcome.seconds, 1e-9)
        print(f"{outcome.computed} stars computed in {outcome.seconds:.1f} s: {rate:.1f} stars/s")
    print(f"light curves: {output}")
    everything = np.bincount(store.status, minlength=max(STATUS) + 1)
    summary = {
        "numtasks": len(store.rows),
        **{status.name: int(everything[status]) for status in STATUS},
        "tasks_run": outcome.computed,
        "seconds": round(outcome.seconds, 3),
        "mean_elaptime": outcome.elapsed / outcome.computed if outcome.computed else None,
        "mean_worker_waittime": outcome.waited / outcome.computed if outcome.computed else None,
        "output": str(output),
        "version": version,
    }
    temporary = output / f".{store.path.stem}.summary.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    # A shard's has a name of its own: tasks on other hosts write to the same folder.
    os.replace(temporary, output / f"{store.path.stem.replace('todo', 'summary', 1)}.json")
