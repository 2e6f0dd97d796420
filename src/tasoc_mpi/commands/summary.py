"""Print a summary of a run: counts by status, precision by magnitude, and, if asked, pictures of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_json_option, add_result_files, result_files

HELP = "sum up a run: counts, precision by magnitude, pictures"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_result_files(parser, Path)
    pictures = "also draw noise against magnitude and some light curves, into the folder of the light curves"
    add("--pictures", action="store_true", help=pictures)
    add_json_option(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    import sys

    from ..core.tables import json_text
    from ..report.results import read_run
    from ..report.summary import summary_lines, summary_values
    from ..report.variables import injected_variables
    from ..worklist.output_folder import check_there

    files = result_files(args)
    if args.output is not None:
        check_there(args.output)
    run = read_run(files.folder, args.output, files.method, todo=args.todo)
    variables = injected_variables(files.folder, run.stars)
    if args.json:
        print(json_text(summary_values(run, variables)), flush=True)
    else:
        print("\n".join(summary_lines(run, files.arguments(run.output), variables)), flush=True)
    if args.pictures:
        from ..report.pictures import draw_pictures

        for path in draw_pictures(run, files.folder):
            print(f"picture: {path}", file=sys.stderr if args.json else sys.stdout, flush=True)
    return 0
