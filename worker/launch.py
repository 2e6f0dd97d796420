"""Starts a worker: the supervisor process of a rank and its compute process."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from types import FrameType
from typing import Any

from ..core.errors import TasocError
from ..core.logs import rank_name, terminal_level
from ..core.messages import Tag, pack_failure
from ..core.methods import choose_method
from ..core.mpi import abort, nodes
from ..core.resources import memory_share
from ..core.settings import input_folder, load_settings, output_folder
from .compute import Job
from .compute_options import DEFAULT_PHOTOMETRY, ComputeOptions
from .copies import copies_folder
from .process_start import can_fork
from .rank import InProcess, work
from .supervisor import Supervisor

__all__ = ["early_computer", "open_computer", "run_worker"]

#: Seconds that rank 0, told that a rank cannot go on, needs to write its results and end all ranks.
_PATIENCE = 30.0


def open_computer(
    args: argparse.Namespace,
    photometry: Callable[..., Any] | str | None,
    on_node: int | None = 1,
    arguments: dict[str, str] | None = None,
) -> AbstractContextManager[Any]:
    """The supervisor of one rank, or its stand-in without a process of its own.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `tasoc-mpi run`.
    photometry : str or callable, optional
        Computes one star: ``MODULE:FUNCTION``, or a function, which is called in this process.
    on_node : int or None, optional
        Number of ranks on this node; None where it is not known yet (see `run_worker`).
    arguments : dict of str to str, optional
        Further arguments of the function.

    Returns
    -------
    context manager of Supervisor or InProcess
    """
    source, method = input_folder(args.input), choose_method(getattr(args, "photometry", None), computes=True)
    output = output_folder(args.output, source / "output", method.name).resolve()
    # A command that computes no light curves does not have the options of photometry.
    given = {
        name: getattr(args, name) for name in ("version", "plot", "cache", "packed") if hasattr(args, name)
    }
    job = Job(
        str(source.resolve()),
        str(output),
        arguments=arguments or {},
        method=method.source,
        method_name=method.name,
        **given,
    )
    if callable(photometry):
        return contextlib.nullcontext(InProcess(job, photometry))
    limit, timeout = args.memory_limit, args.target_timeout
    options = ComputeOptions(
        target_timeout=load_settings().getfloat("run", "target_timeout") if timeout is None else timeout,
        memory_limit=(on_node and memory_share(on_node)) if limit is None else int(limit * 1e9),
        photometry=photometry or DEFAULT_PHOTOMETRY,
        copies=str(copies_folder(args.cube, args.scratch) or "") if hasattr(args, "cube") else "",
        log_level=terminal_level(),
        log_file=os.path.abspath(args.log_file) if args.log_file else "",
        rank=rank_name(),
        star_warnings=args.verbose,
    )
    return Supervisor(job, options)


def early_computer(
    args: argparse.Namespace,
    photometry: Callable[..., Any] | str | None,
    arguments: dict[str, str] | None = None,
) -> AbstractContextManager[Supervisor | None]:
    """The supervisor of a rank before it starts MPI: the compute process imports its modules meanwhile.

    None where this process cannot be forked, or its options are wrong, as rank 0 will find. Arguments as of
    `open_computer`.
    """
    if callable(photometry) or not can_fork():
        return contextlib.nullcontext()
    try:
        computer = open_computer(args, photometry, None, arguments)
    except TasocError:
        return contextlib.nullcontext()
    assert isinstance(computer, Supervisor)
    computer.fork()
    return computer


def run_worker(
    args: argparse.Namespace,
    comm: Any,
    photometry: Callable[..., Any] | str | None,
    arguments: dict[str, str] | None = None,
    command: str = "run",
    early: Supervisor | None = None,
) -> int:
    """Compute the batches that rank 0 sends; returns the exit status.

    Arguments are as of `open_computer`; `early` is what `early_computer` has started.
    """
    _leave_signals_to_rank_0()
    rank, node = comm.Get_rank(), nodes(comm)
    on_node = node.count(node[rank])
    try:
        if early is not None and early.options.memory_limit is None:
            early.options = replace(early.options, memory_limit=memory_share(on_node))
        with early or open_computer(args, photometry, on_node, arguments) as computer:
            if isinstance(computer, Supervisor):
                # It takes as long to be ready as rank 0 needs to read the work list.
                computer.start()
            return work(comm, computer)
    except TasocError as error:
        # A disk that is full is full for all ranks, and one line is enough: rank 0 prints it.
        comm.Send(pack_failure(error), 0, Tag.FAILED)
        time.sleep(_PATIENCE)
        abort(comm, command, error)
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        abort(comm, command, error)


def _leave_signals_to_rank_0() -> None:
    """Ignore the signals that rank 0 acts on. Programs started from here have their defaults again."""

    def nothing(_: int, __: FrameType | None) -> None:
        pass

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, nothing)
