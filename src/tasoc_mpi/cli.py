"""The command line: `tasoc-mpi COMMAND ...`, one module of `tasoc_mpi.commands` for each command."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from .core.errors import TasocError, one_line, system_error
from .core.settings import load_settings
from .core.streams import STDOUT, print_report, secure_streams, silence_stdout
from .core.version import program_version

__all__ = ["main", "parse"]

#: In the order of use.
COMMANDS = (
    "simulate",
    "download",
    "catalog",
    "prepare",
    "prf",
    "import",
    "todo",
    "run",
    "star",
    "cbv",
    "correct",
    "publish",
    "status",
    "summary",
    "movie",
    "unpack",
    "submit",
)

#: Commands that use settings and are always one process; `prepare` and `run` check them on rank 0.
_WITH_SETTINGS = ("simulate", "download", "catalog", "import", "todo", "star", "summary", "submit")

#: Modules of commands whose name is a keyword of Python, or that of the module `core.status`.
_MODULES = {"import": "importing", "prf": "measure_prf", "status": "show_status"}


def parse(options: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line options as a namespace whose `run` is the command's function.

    Raises
    ------
    SystemExit
        With status 2 if the options are wrong, 0 after ``--help`` and ``--version``.
    """
    parser = argparse.ArgumentParser(
        prog="tasoc-mpi", description="Light curves of every star of a TESS sector, from full frame images."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {program_version()}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and debug messages")
    parser.add_argument("--quiet", action="store_true", help="only warnings and errors")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"tasoc_mpi.commands.{_MODULES.get(name, name)}")
        sub = subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
        module.configure(sub)
        sub.set_defaults(run=module.main)
    args = parser.parse_args(options)
    # For a command that starts the program again.
    args.options = list(sys.argv[1:] if options is None else options)
    return args


def main(options: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    options : sequence of str, optional
        The command line without the program's name. Default: that of the process.

    Returns
    -------
    int
        Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    secure_streams()
    args = parse(options)
    level = logging.DEBUG if args.debug else logging.WARNING if args.quiet else logging.INFO
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", stream=sys.stderr)
    if not args.debug:
        for name in ("numba", "h5py", "matplotlib"):
            logging.getLogger(name).setLevel(logging.WARNING)
    try:
        if args.command in _WITH_SETTINGS:
            load_settings()
        exit_status = args.run(args)
        if reason := print_report(()):
            print(f"tasoc-mpi {args.command}: error: standard output: {reason}", file=sys.stderr)
            return exit_status or 1
        return exit_status
    except TasocError as error:
        if args.debug:
            raise
        print(f"tasoc-mpi {args.command}: error: {one_line(error)}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader of standard output has ended (`tasoc-mpi status | head`).
        silence_stdout()
        return 1
    except OSError as error:
        if args.debug:
            raise
        if error.filename == STDOUT:
            silence_stdout()
        reason = (
            "the current folder has been deleted; go to another one" if _is_nowhere() else system_error(error)
        )
        print(f"tasoc-mpi {args.command}: error: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"tasoc-mpi {args.command}: interrupted", file=sys.stderr)
        # A second SIGTERM that ends a run at once has its own status.
        return getattr(error, "exit_status", 130)


def _is_nowhere() -> bool:
    """Whether the current folder has been deleted: the errors of relative names do not name it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
