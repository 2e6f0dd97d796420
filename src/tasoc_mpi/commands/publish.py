"""Write the work list anew from the results so far, and remove light curves that nothing lists.

Needed after an array of runs, each of some CCDs. It can be done at any time, also while runs are under way.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_photometry_option

HELP = "bring the work list up to date with all results so far"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("input", nargs="?", help="input folder (default: TESSPHOT_INPUT)")
    parser.add_argument("--output", help="folder of the light curves (default: that of the last run)")
    add_photometry_option(parser)
    parser.add_argument("--todo", metavar="FILE", help="work list (default: INPUT/todo.sqlite)")
    parser.add_argument(
        "--lock-folder", metavar="DIR", help="where to keep locks, if file systems have none (TESSPHOT_LOCKS)"
    )


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.errors import MissingInput
    from ..core.locks import use_folder
    from ..core.methods import choose_method, method_file
    from ..core.settings import input_folder
    from ..worklist.output_folder import check_output, find_output
    from ..worklist.publish import publish
    from ..worklist.todo_file import TODO_NAME
    from ..worklist.work_list import ccd_name, status_lines

    use_folder(args.lock_folder)
    todo = Path(args.todo) if args.todo else input_folder(args.input) / TODO_NAME
    method = choose_method(args.photometry).name
    path = method_file(todo, method)
    output = Path(args.output) if args.output else find_output(path, method=method)
    if (args.output or method) and not output.is_dir():
        raise MissingInput(f"{output}: no such folder; name the --output of the run")
    check_output(output, method)
    published = publish(path, output.resolve(), todo if method else None)
    print(*status_lines(published.decision.status, "to do"), sep="\n")
    if published.running:
        print(f"still running: {', '.join(map(ccd_name, published.running))}")
    if published.removed:
        print(f"{published.removed} light curve(s) removed that no result lists")
    print(f"{path}: published from {output}")
    return 0
