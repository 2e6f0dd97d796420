"""Print a summary of a run: counts by status, precision by magnitude, and, if asked, pictures of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_input, add_json_option, add_output, add_photometry_option

HELP = "sum up a run: counts, precision by magnitude, pictures"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add_input(parser, "the work list")
    add_output(parser, "that of the last run", Path)
    add_photometry_option(parser)
    pictures = "also draw noise against magnitude and some light curves, into the folder of the light curves"
    add("--pictures", action="store_true", help=pictures)
    add_json_option(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    import sys

    from ..core.methods import choose_method
    from ..core.settings import input_folder
    from ..core.tables import json_text
    from ..report.results import read_run
    from ..report.summary import summary_lines, summary_values
    from ..report.variables import injected_variables
    from ..worklist.output_folder import check_there

    folder = input_folder(args.input)
    if args.output is not None:
        check_there(args.output)
    run = read_run(folder, args.output, choose_method(args.photometry).name)
    variables = injected_variables(folder, run.stars)
    text = (
        json_text(summary_values(run, variables)) if args.json else "\n".join(summary_lines(run, variables))
    )
    print(text, flush=True)
    if args.pictures:
        from ..report.pictures import draw_pictures

        for path in draw_pictures(run, folder):
            print(f"picture: {path}", file=sys.stderr if args.json else sys.stdout, flush=True)
    return 0
