"""The command line: `tasoc-mpi COMMAND ...`, one module of `tasoc_mpi.commands` for each command."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import functools
import gc
import importlib
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .core.errors import TasocError, one_line, system_error
from .core.logs import logs, rank_name, to_file
from .core.settings import load_settings
from .core.streams import STDOUT, print_report, secure_streams, silence_stdout
from .core.version import program_version

__all__ = ["build_parser", "main", "parse"]

#: In the order of use.
COMMANDS = (
    "compile",
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
    "report",
    "compare",
    "show",
    "movie",
    "unpack",
    "export",
    "submit",
)

#: Commands that use settings and are always one process; `prepare` and `run` check them on rank 0.
_WITH_SETTINGS = (
    *("simulate", "download", "catalog", "import", "todo", "star", "summary", "report", "show", "submit"),
)

#: Commands whose ranks meet in MPI. Of the others, the ranks of a launcher know nothing of each other.
_WITH_MPI = ("prepare", "prf", "run", "cbv", "correct")

#: New objects after which Python looks for garbage among them.
_GARBAGE = 10_000

#: Modules of commands whose name is a keyword of Python, or that of the module `core.status`.
_MODULES = {
    "compile": "compile_kernels",
    "import": "importing",
    "prf": "measure_prf",
    "report": "write_report",
    "show": "show_star",
    "status": "show_status",
}


def parse(options: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line options as a namespace whose `run` is the command's function.

    Raises
    ------
    SystemExit
        With status 2 if the options are wrong, 0 after ``--help`` and ``--version``.
    """
    words = list(sys.argv[1:] if options is None else options)
    if not words or words == ["help"]:
        words = ["--help"]
    parser = build_parser(COMMANDS if "_ARGCOMPLETE" in os.environ else _commands_of(words))
    if "_ARGCOMPLETE" in os.environ:
        # A shell asks for the words that may follow, and this ends the process.
        import argcomplete

        argcomplete.autocomplete(parser)
    args = parser.parse_args(words)
    # For a command that starts the program again.
    args.options = words
    return args


def _commands_of(words: list[str]) -> tuple[str, ...]:
    """The command of a command line; all of them where it is not plain which one it is."""
    rest = iter(words)
    for word in rest:
        if word in COMMANDS:
            return (word,)
        if word == "--log-file":
            next(rest, None)
        elif word not in _FLAGS and not word.startswith("--log-file="):
            break
    return COMMANDS


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of the command line, with those of some commands: to make that of each takes 40 ms."""
    parser = _Parser(
        prog="tasoc-mpi",
        description="Light curves of every star of a TESS sector, from full frame images.",
        epilog=f"`%(prog)s COMMAND --help` explains a command. {_exit_statuses({})}",
    )
    parser.add_argument("--version", action=_ShowVersion)
    _add_common_options(parser)
    parser.set_defaults(quiet=False, verbose=False, debug=False, log_file=None)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name in commands:
        module = importlib.import_module(f"tasoc_mpi.commands.{_MODULES.get(name, name)}")
        epilog = _exit_statuses(getattr(module, "EXIT_STATUSES", {}))
        sub = subparsers.add_parser(name, help=module.HELP, description=module.__doc__, epilog=epilog)
        module.configure(sub)
        _add_common_options(sub)
        sub.set_defaults(run=module.main)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser without abbreviations, whose errors are one line, of one rank."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        if wrong := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message):
            import difflib

            like = difflib.get_close_matches(wrong[1], COMMANDS, 1)
            message = f"{wrong[1]!r} is no command" + (f"; is it {like[0]}?" if like else "")
        if rank_name() == "0":
            print(f"{self.prog}: error: {one_line(message)}; --help explains the options", file=sys.stderr)
        sys.exit(2)


class _ShowVersion(argparse.Action):
    """Print the version and end: it is looked up only here, as that takes 20 ms."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        help = "show program's version number and exit"
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"{parser.prog} {program_version()}")
        parser.exit()


#: Options that stand before or after the command, and have no value.
_FLAGS = ("-q", "--quiet", "-v", "--verbose", "--debug")


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that stand before or after the command."""
    group = parser.add_argument_group("messages (before or after the command)")
    # A command's parser sets nothing that was not given to it: it may stand before the command.
    add = functools.partial(group.add_argument, default=argparse.SUPPRESS)
    add("-q", "--quiet", action="store_true", help="only warnings and errors")
    add("-v", "--verbose", action="store_true", help="also debug messages")
    add("--debug", action="store_true", help="debug messages, and tracebacks of errors")
    file = "append all messages to a file, with times and ranks (default: none)"
    add("--log-file", metavar="FILE", help=file)


def _exit_statuses(special: dict[int, str]) -> str:
    """The exit statuses of a command; `special` are those that differ."""
    statuses = {0: "done", 1: "an error", 2: "wrong options", 130: "interrupted"} | special
    return "Exit status: " + "; ".join(f"{n} {statuses[n]}" for n in sorted(statuses)) + "."


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
    # Imports leave little garbage, and Python would look for it after every 700 objects of theirs.
    gc.set_threshold(_GARBAGE)
    # At its end Python looks for garbage several times, 40 ms of each rank; the system takes all back anyway.
    atexit.register(gc.freeze)
    try:
        args = parse(options)
    except SystemExit:
        # The reader of a help may have ended.
        print_report(())
        raise
    # Kernels are compiled once, whoever asks for them.
    if args.command not in (*_WITH_MPI, "compile") and rank_name() == "1":
        # They may be meant to: a launcher also starts programs that have nothing to do with each other.
        print(
            f"WARNING: tasoc-mpi {args.command}: one process; each rank runs it by itself, start it without"
            " mpiexec to run it once",
            file=sys.stderr,
        )
    args.debug, args.verbose = bool(args.debug), bool(args.verbose or args.debug)
    level = logging.DEBUG if args.verbose else logging.WARNING if args.quiet else logging.INFO
    with contextlib.ExitStack() as stack:
        try:
            try:
                stack.enter_context(logs(level, args.log_file))
                return _run(args)
            except (TasocError, OSError) as error:
                if args.command not in _WITH_MPI or "mpi4py.MPI" in sys.modules:
                    raise
                return _end_ranks(args.command, error)
        except TasocError as error:
            if args.debug:
                raise
            _complain(args, f"error: {one_line(error)}")
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
            nowhere = "the current folder has been deleted; go to another one"
            _complain(args, f"error: {nowhere if _is_nowhere() else system_error(error)}")
            return 1
        except KeyboardInterrupt as error:
            # All ranks of a launcher get it.
            if rank_name() == "0":
                _complain(args, "interrupted")
            # A second SIGTERM that ends a run at once has its own status.
            return getattr(error, "exit_status", 130)
        except Exception as error:
            if args.command in _WITH_MPI:
                from .core.mpi import abort_all

                abort_all(args.command, error)
            raise


def _end_ranks(command: str, error: TasocError | OSError) -> int:
    """End all ranks where one has an error before they have met: alone it would leave the others waiting.

    Returns the exit status of ranks other than 0; on rank 0 the error is raised again.
    """
    from .core.mpi import fail_first, world

    return fail_first(world(), command, error)


def _run(args: argparse.Namespace) -> int:
    """Run a command whose log is set up."""
    if args.command in _WITH_SETTINGS:
        load_settings()
    exit_status = args.run(args)
    if reason := print_report(()):
        _complain(args, f"error: standard output: {reason}")
        return exit_status or 1
    return exit_status


def _complain(args: argparse.Namespace, text: str) -> None:
    """Write the reason why a command ends."""
    print(f"tasoc-mpi {args.command}: {text}", file=sys.stderr)
    to_file(logging.ERROR, f"tasoc-mpi {args.command}: {text}")


def _is_nowhere() -> bool:
    """Whether the current folder has been deleted: the errors of relative names do not name it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
