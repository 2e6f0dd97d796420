"""Write a page about one star of a run: its pixels, light curves, periods, neighbours and diagnostics."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_result_files

HELP = "write a page about one star: pixels, light curve, power spectrum, neighbours"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("starid", type=int, metavar="STARID", help="TIC number of the star")
    add_result_files(parser, Path)
    forms = ("html", "png", "pdf")
    parser.add_argument("--format", choices=forms, default=forms[0], help="of the page (default: html)")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..report.star_page import show, write_page

    facts = show(args.starid, args.input, args.output, args.photometry, args.todo).facts
    path = write_page(facts, facts.run.output, args.format)
    print(f"page: {path}", flush=True)
    return 0
