"""Write the report of a run: one HTML page that needs no network, and its numbers as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_json_option, add_result_files, result_files

HELP = "write a page about a run: counts, maps, noise, frames, failures, times, inputs"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_result_files(parser, Path)
    pages = "also write the pages of the N stars that are noisiest for their magnitude (default: none)"
    parser.add_argument("--pages", type=int, default=0, metavar="N", help=pages)
    add_json_option(parser, "print the numbers of the page as JSON in place of the names of its files")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.errors import UsageError
    from ..core.tables import json_text
    from ..report.report_page import write_report, write_star_pages
    from ..report.results import read_run
    from ..report.run_report import collect_report
    from ..worklist.output_folder import check_there

    if args.pages < 0:
        raise UsageError(f"--pages {args.pages}: must not be negative")
    files = result_files(args)
    run = read_run(files.folder, args.output, files.method, todo=args.todo)
    check_there(run.output)
    report = collect_report(run, files.folder, files.arguments(run.output))
    if args.pages:
        write_star_pages(report, files.folder, args.pages)
    for path in write_report(report, run.output):
        if not args.json:
            print(f"report: {path}", flush=True)
    if args.json:
        print(json_text(report.data))
    return 0
