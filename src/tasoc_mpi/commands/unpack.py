"""Unpack the light curves of `tasoc-mpi run --packed` into the files that they are without it."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_photometry_option, add_starid_options, chosen_starids

HELP = "unpack light curves into a file a star"

__all__ = ["HELP", "chosen_lightcurves", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("output", metavar="OUTPUT", help="folder of the run's light curves (its --output)")
    todo = "work list, may be repeated (default: the run's, beside OUTPUT or in TESSPHOT_INPUT)"
    add_photometry_option(parser)
    add("--todo", action="append", type=Path, metavar="FILE", help=todo)
    add("--to", type=Path, metavar="DIR", help="where to (default: OUTPUT)")
    add_starid_options(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.tables import counted
    from ..worklist.listed_lightcurves import unpack

    output, listed = chosen_lightcurves(args)
    to = output if args.to is None else args.to
    count = unpack(output, listed, to)
    if not count and to == output:
        print(f"Nothing to do: no light curve in {output} is packed, each is a file of its own.")
        return 0
    print(f"{counted(count, 'light curve')} unpacked to {to}")
    return 0


def chosen_lightcurves(args: argparse.Namespace) -> tuple[Path, list[str]]:
    """The output folder of a run, and the names of its listed light curves."""
    from ..core.errors import MissingInput
    from ..core.methods import choose_method, method_file
    from ..worklist.listed_lightcurves import listed_lightcurves
    from ..worklist.output_folder import check_there, output_method

    output, method = Path(args.output), choose_method(args.photometry).name
    if method and output_method(output) != method:
        output = method_file(output, method)
    check_there(output)
    starids = chosen_starids(args)
    listed = [
        name for path in args.todo or [_find_todo(output)] for name in listed_lightcurves(path, starids)
    ]
    if starids and not listed:
        raise MissingInput(f"{output}: no light curves of the stars that were asked for; see their status")
    return output, listed


def _find_todo(output: Path) -> Path:
    """The work list of a run's output folder, which is by default inside the input folder."""
    import os

    from ..core.errors import MissingInput
    from ..core.methods import method_file
    from ..worklist.output_folder import output_method
    from ..worklist.todo_file import TODO_NAME

    folders = [output.resolve().parent, *map(Path, filter(None, [os.environ.get("TESSPHOT_INPUT")]))]
    name = method_file(Path(TODO_NAME), output_method(output))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise MissingInput(f"{output}: no {name} beside it; name the run's work list with --todo")
