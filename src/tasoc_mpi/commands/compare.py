"""Compare two sets of light curves star by star: flux, noise, masks, times and status.

A and B are each a folder with todo.sqlite, a work list (todo-linpsf.sqlite), or a folder of light curve files
of this program or of the mission (*_lc.fits). Stars are matched by TIC number, sector, CCD and cadence.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import add_json_option

HELP = "compare two runs, methods, or a run with the mission's light curves, star by star"
EXIT_STATUSES = {
    0: "both have the same stars, and all agree within the tolerance",
    1: "they differ, a file cannot be read, or an error",
}

__all__ = ["EXIT_STATUSES", "HELP", "configure", "main"]


def _at_least_0(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type of an option that takes a finite number of a kind, 0 or more."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
        return value

    return parse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("a", metavar="A", type=Path, help="folder with a work list, work list, or folder of light curves")
    add("b", metavar="B", type=Path, help="what to compare it with, likewise")
    tolerance = "largest relative difference of light curves that agree (default: 0, the same values)"
    add("--tolerance", type=_at_least_0(float), default=0.0, metavar="REL", help=tolerance)
    number = "list the N largest differences, and N names of what is missing (default: 10)"
    add("--number", type=_at_least_0(int), default=10, metavar="N", help=number)
    picture = "draw ratios of flux and noise against magnitude, as PNG (default: no picture)"
    add("--picture", type=Path, metavar="FILE", help=picture)
    add_json_option(parser, "print all numbers of all stars as JSON in place of text")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    import sys

    from ..report.comparison import compare_sources, comparison_json, comparison_text
    from ..report.curve_sources import open_source

    comparison = compare_sources(open_source(args.a), open_source(args.b), args.tolerance)
    lines = comparison_json(comparison) if args.json else comparison_text(comparison, args.number)
    for line in lines:
        print(line)
    sys.stdout.flush()
    if args.picture is not None:
        from ..report.comparison_picture import draw_comparison

        path = draw_comparison(comparison, args.picture)
        print(f"picture: {path}", file=sys.stderr if args.json else sys.stdout, flush=True)
    return 0 if comparison.same else 1
