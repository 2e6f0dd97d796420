"""Write the report of a run: one HTML page that needs no network, and its numbers as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_input, add_json_option, add_output, add_photometry_option

HELP = "write a page about a run: counts, maps, noise, frames, failures, times, inputs"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_input(parser, "the work list")
    add_output(parser, "that of the last run", Path)
    add_photometry_option(parser)
    pages = "also write the pages of the N stars that are noisiest for their magnitude (default: none)"
    parser.add_argument("--pages", type=int, default=0, metavar="N", help=pages)
    add_json_option(parser, "print the numbers of the page as JSON in place of the names of its files")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.errors import UsageError
    from ..core.methods import choose_method
    from ..core.settings import input_folder
    from ..core.tables import json_text
    from ..report.report_page import write_report, write_star_pages
    from ..report.results import read_run
    from ..report.run_report import collect_report
    from ..worklist.output_folder import check_there

    if args.pages < 0:
        raise UsageError(f"--pages {args.pages}: must not be negative")
    folder, method = input_folder(args.input), choose_method(args.photometry).name
    run = read_run(folder, args.output, method)
    check_there(run.output)
    options = f" --photometry {method}" if method else ""
    report = collect_report(run, folder, options)
    if args.pages:
        write_star_pages(report, folder, args.pages)
    for path in write_report(report, run.output):
        if not args.json:
            print(f"report: {path}", flush=True)
    if args.json:
        print(json_text(report.data))
    return 0
