"""Unpack the light curves of `tasoc-mpi run --packed` into the files that they are without it."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "unpack light curves into a file a star"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("output", help="folder of the run's light curves (its --output)")
    todo = "work lists that list the light curves (default: todo.sqlite beside OUTPUT or in TESSPHOT_INPUT)"
    add("--todo", nargs="+", type=Path, metavar="FILE", help=todo)
    add("--to", type=Path, metavar="FOLDER", help="where to (default: OUTPUT)")
    add("--starid", type=int, nargs="+", metavar="N", help="only these stars")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.errors import MissingInput
    from ..worklist.listed_lightcurves import listed_lightcurves, unpack

    output = Path(args.output)
    if not output.is_dir():
        raise MissingInput(f"{output}: no such folder; name the --output of the run")
    listed = [
        name for path in args.todo or [_find_todo(output)] for name in listed_lightcurves(path, args.starid)
    ]
    if args.starid and not listed:
        raise MissingInput(f"{output}: no light curves of the stars of --starid; see their status")
    to = output if args.to is None else args.to
    count = unpack(output, listed, to)
    print(f"{count} light curves unpacked to {to}")
    return 0


def _find_todo(output: Path) -> Path:
    """The work list of a run's output folder, which is by default inside the input folder."""
    import os

    from ..core.errors import MissingInput
    from ..worklist.todo_file import TODO_NAME

    folders = [output.resolve().parent, *map(Path, filter(None, [os.environ.get("TESSPHOT_INPUT")]))]
    for folder in folders:
        if (folder / TODO_NAME).is_file():
            return folder / TODO_NAME
    raise MissingInput(f"{output}: no {TODO_NAME} beside it; name the run's work list with --todo")
