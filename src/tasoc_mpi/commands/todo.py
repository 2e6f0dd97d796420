"""Make the work list: the stars of a folder's cubes and target pixel files, brightest first."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make the list of stars to process"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="DIR",
        help="folder with catalogs, cubes and target pixel files (default: TESSPHOT_INPUT)",
    )
    parser.add_argument(
        "--faint-limit",
        type=float,
        metavar="TMAG",
        help="stars have to be brighter, except those with a target pixel file (default: 15)",
    )
    parser.add_argument(
        "--exclude", metavar="FILE", help="stars to leave out: lines of STARID SECTOR DATASOURCE"
    )
    parser.add_argument(
        "--methods", metavar="FILE", help="methods for single stars: lines of STARID SECTOR DATASOURCE METHOD"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a work list; results of the same rows stay",
    )


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.settings import input_folder
    from ..worklist.make_todo import fill_todo

    summaries = fill_todo(
        Path(input_folder(args.folder)),
        faint_limit=args.faint_limit,
        exclude=args.exclude,
        methods=args.methods,
        overwrite=args.overwrite,
    )
    for s in summaries:
        print(
            f"sector {s.sector} camera {s.camera} CCD {s.ccd}: {s.ffi} stars of full frame images, "
            f"{s.tpf} of target pixel files, {s.secondary} secondary"
        )
    return 0
