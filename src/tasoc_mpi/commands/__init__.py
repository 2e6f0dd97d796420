"""The commands of the command line, one module each, and the options and steps that several of them have.

A module of a command has `HELP` (a line), its docstring as description, `configure` (adds its options),
`main`, and where it has exit statuses of its own `EXIT_STATUSES`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..scheduler.launch import Program
    from ..worker.supervisor import Supervisor
    from ..worklist.result_files import ResultFiles

__all__ = [
    "INTERRUPTED",
    "add_ccd_options",
    "add_input",
    "add_json_option",
    "add_lock_option",
    "add_output",
    "add_photometry_option",
    "add_result_files",
    "add_run_files",
    "add_star_options",
    "add_starid_options",
    "add_todo_option",
    "add_worker_options",
    "chosen_starids",
    "compile_for",
    "integers",
    "result_files",
    "words",
    "work_on_stars",
]

#: Exit statuses of the commands whose workers compute star by star.
INTERRUPTED = {
    75: "told to end by the batch system; the next start continues",
    130: "interrupted; the next start continues",
}

#: The largest number of a sector: names of files have up to four digits for it.
LAST_SECTOR = 9999


def integers(least: int, most: int) -> Callable[[str], list[int]]:
    """The type of an option that takes integers, separated by commas; use it with ``action="extend"``.

    >>> integers(1, 4)("1,2")
    [1, 2]
    """

    def parse(text: str) -> list[int]:
        values = []
        for word in text.split(","):
            try:
                value = int(word)
            except ValueError:
                raise argparse.ArgumentTypeError(f"{word!r} is not an integer") from None
            if not least <= value <= most:
                raise argparse.ArgumentTypeError(f"{value}: must be from {least} to {most}")
            values.append(value)
        return values

    return parse


def words(choices: tuple[str, ...] = ()) -> Callable[[str], list[str]]:
    """The type of an option that takes words, separated by commas; use it with ``action="extend"``.

    >>> words()("ffi,tpf")
    ['ffi', 'tpf']
    """

    def parse(text: str) -> list[str]:
        for word in (found := text.split(",")):
            if choices and word not in choices:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(choices)}")
        return found

    return parse


def add_input(parser: argparse.ArgumentParser, content: str, type: Callable[[str], Any] = str) -> None:
    """Add INPUT, the folder of a sector's data and work list."""
    parser.add_argument(
        "input",
        nargs="?",
        metavar="INPUT",
        type=type,
        help=f"folder with {content} (default: TESSPHOT_INPUT)",
    )


def add_output(parser: argparse.ArgumentParser, default: str, type: Callable[[str], Any] = str) -> None:
    """Add --output, the folder of light curves."""
    help = f"folder of the light curves (default: {default})"
    parser.add_argument("--output", metavar="DIR", type=type, help=help)


def add_lock_option(parser: argparse.ArgumentParser) -> None:
    """Add --lock-folder, for file systems without locks."""
    help = "where to keep locks if file systems have none (default: TESSPHOT_LOCKS, or beside the files)"
    parser.add_argument("--lock-folder", metavar="DIR", help=help)


def add_run_files(parser: argparse.ArgumentParser, content: str, output: str) -> None:
    """Add INPUT with its content, --output with its default, --todo and --lock-folder."""
    add_input(parser, content)
    add_output(parser, output)
    add_lock_option(parser)
    add_todo_option(parser)


def add_todo_option(parser: argparse.ArgumentParser) -> None:
    """Add --todo, a work list elsewhere."""
    parser.add_argument("--todo", metavar="FILE", help="work list (default: INPUT/todo.sqlite)")


def add_result_files(parser: argparse.ArgumentParser, type: Callable[[str], Any] = str) -> None:
    """Add what chooses the results of a run: INPUT, --output, --todo and --photometry."""
    add_input(parser, "the work list")
    add_output(parser, "that of the last run", type)
    add_todo_option(parser)
    add_photometry_option(parser)


def result_files(args: argparse.Namespace) -> ResultFiles:
    """What the options of `add_result_files` choose."""
    from ..core.methods import choose_method
    from ..core.settings import input_folder
    from ..worklist.result_files import ResultFiles

    # The folder of a work list that is named is as good as none of data.
    beside = os.path.dirname(args.todo) or "." if args.todo else None
    folder = input_folder(args.input or os.environ.get("TESSPHOT_INPUT") or beside)
    return ResultFiles(folder, args.todo, choose_method(args.photometry).name, args.output)


def compile_for(command: str, place: str | os.PathLike[str] | None) -> None:
    """Compile the kernels of a command, unless its input is not there, which the command says at once.

    None is the input folder of TESSPHOT_INPUT.
    """
    from ..core.compiled import compile_first

    place = place or os.environ.get("TESSPHOT_INPUT")
    if place and os.path.exists(place):
        compile_first(command)


def add_json_option(parser: argparse.ArgumentParser, what: str = "print JSON in place of text") -> None:
    """Add --json, for programs that read what a command prints."""
    parser.add_argument("--json", action="store_true", help=what)


def add_ccd_options(parser: Any) -> None:
    """Add --sector, --camera and --ccd, which choose among the CCDs of a folder."""
    for name, most in (("sector", LAST_SECTOR), ("camera", 4), ("ccd", 4)):
        label = "CCDs" if name == "ccd" else f"{name}s"
        help = f"only these {label}: N[,N ...], may be repeated (default: all)"
        parser.add_argument(
            f"--{name}", type=integers(1, most), action="extend", metavar="N", help=help, default=None
        )


def add_photometry_option(parser: argparse.ArgumentParser) -> None:
    """Add --photometry, which chooses the results of a method that computed all stars of a run."""
    help = "results of `tasoc-mpi run --photometry METHOD` (default: of the methods in the work list)"
    parser.add_argument("--photometry", metavar="METHOD", help=help)


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands whose workers compute star by star."""
    add = parser.add_argument
    ranks = "start mpiexec with N ranks here: rank 0 and N - 1 workers (default: one process)"
    add("--ranks", type=int, metavar="N", help=ranks)
    add("--batch", type=int, metavar="N", help="hand out N stars at once (default: by their cost)")
    timeout = "end a star that takes longer (default: the setting target_timeout, 300)"
    add("--target-timeout", type=float, metavar="SECONDS", help=timeout)
    add("--memory-limit", type=float, metavar="GB", help="of a rank (default: its share of its node)")
    add = parser.add_argument_group("when to end early").add_argument
    add("--fail-fast", action="store_true", help="at the first star that fails")
    add("--max-errors", type=int, metavar="N", help="when N stars have failed (default: never)")


def add_starid_options(parser: Any) -> None:
    """Add --starid and --starid-file, which choose stars by their TIC numbers."""
    help = "only these TIC numbers: N[,N ...], may be repeated (default: all)"
    parser.add_argument("--starid", type=integers(0, 2**63 - 1), action="extend", metavar="N", help=help)
    help = "only the TIC numbers in a file, the first word of each line (default: all)"
    parser.add_argument("--starid-file", metavar="FILE", help=help)


def chosen_starids(args: argparse.Namespace) -> list[int] | None:
    """The numbers that --starid and --starid-file choose; None without these options."""
    if not args.starid_file:
        return args.starid
    from ..worklist.starid_file import read_starids

    return [*(args.starid or ()), *read_starids(args.starid_file)]


def add_star_options(parser: argparse.ArgumentParser) -> Any:
    """Add the options that choose rows of the work list; returns their group."""
    group = parser.add_argument_group("which stars (several values of one option: any of them)")
    add_ccd_options(group)
    add_starid_options(group)
    add = group.add_argument
    most = {"cadence": 9999, "priority": 2**63 - 1}
    for name, unit in (("cadence", "these cadences, seconds"), ("priority", "these rows of the work list")):
        help = f"only {unit}: N[,N ...], may be repeated (default: all)"
        add(f"--{name}", type=integers(0, most[name]), action="extend", metavar="N", help=help)
    help = "only these: ffi, tpf or tpf:STARID, separated by commas or repeated (default: all)"
    add("--datasource", type=words(), action="extend", metavar="SOURCE", help=help)
    add("--tmag-min", type=float, metavar="MAG", help="this magnitude or fainter (default: all)")
    add("--tmag-max", type=float, metavar="MAG", help="this magnitude or brighter (default: all)")
    help = "only stars within RADIUS of a position, degrees, by the catalogs of INPUT (default: all)"
    add("--cone", nargs=3, type=float, metavar=("RA", "DEC", "RADIUS"), help=help)
    return group


def work_on_stars(
    command: str,
    args: argparse.Namespace,
    load_program: Callable[[], Program],
    function: Callable[..., Any] | str | None,
    arguments: dict[str, str] | None = None,
) -> int:
    """Be rank 0, a worker, or both.

    Parameters
    ----------
    command, args : str, argparse.Namespace
        Its name and options.
    load_program : callable
        Imports and returns the work of rank 0, which the other ranks do not need.
    function, arguments : str or callable, dict of str to str, optional
        Works on one star, MODULE:FUNCTION or a function; its further arguments. Default: photometry.

    Returns
    -------
    int
        Exit status, on all ranks.
    """
    from ..core.logs import rank_name

    if "numpy" in sys.modules:
        return _work_on_stars(command, args, load_program, function, arguments)
    # A rank is a core. Threads of linear algebra are started when numpy is imported, and wait for work by
    # turning in a loop.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if rank_name() == "0" or args.dry_run:
        return _work_on_stars(command, args, load_program, function, arguments)
    from ..worker.launch import early_computer

    with early_computer(args, function, arguments) as early:
        return _work_on_stars(command, args, load_program, function, arguments, early)


def _work_on_stars(
    command: str,
    args: argparse.Namespace,
    load_program: Callable[[], Program],
    function: Callable[..., Any] | str | None,
    arguments: dict[str, str] | None,
    early: Supervisor | None = None,
) -> int:
    """`work_on_stars`, where the compute process of a worker may be there already."""
    from ..core.compiled import compile_first
    from ..core.logs import rank_name
    from ..core.mpi import check_first, check_ranks, check_start, start_ranks, world
    from ..worker.check_method import check_run, kernels_of_run

    if rank_name() == "0":
        # The others come to MPI later, as they fork first, and who waits there keeps a core busy.
        load_program()
    comm = world()
    check_ranks(comm)

    def check() -> list[str]:
        check_run(args)
        if args.ranks is not None and comm is None:
            check_start(args.ranks)
        return kernels_of_run(command, args, function)

    status, kernels = check_first(comm, check)
    if status:
        return status
    if not args.dry_run and (comm is not None or args.ranks is None):
        # All ranks share the work; rank 0 hands out stars when it is done.
        args.compiling = compile_first(*kernels)
    if comm is not None and comm.Get_rank():
        from ..worker.launch import run_worker

        return run_worker(args, comm, function, arguments, command, early)
    if args.ranks is not None and comm is None and not args.dry_run:
        return start_ranks(args.ranks, args.options)
    from ..scheduler.launch import run_alone, run_rank_0

    if comm is not None:
        return run_rank_0(command, args, load_program(), comm)
    from ..worker.launch import open_computer

    def open_alone() -> Any:
        return open_computer(args, function, arguments=arguments)

    return run_alone(command, args, load_program(), open_alone)
