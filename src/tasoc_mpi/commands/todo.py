"""Make the work list: the stars of a folder's cubes and target pixel files, brightest first."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_input

HELP = "make the list of stars to process"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add_input(parser, "catalogs, cubes and target pixel files")
    faint = "stars have to be brighter, except those with a target pixel file (default: the setting, 15)"
    add("--faint-limit", type=float, metavar="TMAG", help=faint)
    exclude = "stars to leave out: lines of STARID SECTOR DATASOURCE (default: the packaged list)"
    add("--exclude", metavar="FILE", help=exclude)
    methods = "methods of single stars: lines of STARID SECTOR DATASOURCE METHOD (default: packaged)"
    add("--methods", metavar="FILE", help=methods)
    add("--overwrite", action="store_true", help="replace a work list; results of the same rows stay")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.settings import input_folder
    from ..core.tables import counted
    from ..worklist.make_todo import fill_todo

    names = ("faint_limit", "exclude", "methods", "overwrite")
    options = {name: getattr(args, name) for name in names}
    for s in fill_todo(Path(input_folder(args.input)), **options):
        stars = counted(s.ffi, "star")
        print(
            f"sector {s.sector} camera {s.camera} CCD {s.ccd}: {stars} of full frame images, "
            f"{s.tpf} of target pixel files, {s.secondary} secondary"
        )
    return 0
