"""Show how far a work list is: counts, methods, slowest stars and errors. Works while a run is writing."""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import TYPE_CHECKING

from . import add_json_option, add_result_files, result_files

if TYPE_CHECKING:
    from ..worklist.result_files import ResultFiles

HELP = "show how far a work list is, while a run is writing it or afterwards"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_result_files(parser)
    stars = "how many slowest stars, errors and skipping stars to show (default: %(default)s)"
    parser.add_argument("--stars", type=int, default=5, metavar="N", help=stars)
    watch = "show it in full screen (line by line where there is no terminal) until the run ends, or Ctrl-C"
    parser.add_argument("--watch", action="store_true", help=watch)
    every = "seconds between two updates of --watch (default: %(default)s)"
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help=every)
    add_json_option(parser)


def main(args: argparse.Namespace) -> int:
    """Print the tables once, or watch until the run ends."""
    from ..core.errors import UsageError
    from ..report.status_snapshot import SnapshotReader
    from ..slurm.jobs import active, queue_lines
    from ..worklist.output_folder import check_there

    if args.stars < 0:
        raise UsageError(f"--stars {args.stars}: must not be negative")
    if args.watch and not 0.1 <= args.every <= 86400:
        raise UsageError(f"--every {args.every}: must be from 0.1 to 86400 seconds")
    if args.json and args.watch:
        raise UsageError("--json and --watch: a program that watches calls `status --json` again")
    # One that is watched may be made by a run that starts later.
    if args.output and not args.watch:
        check_there(args.output)
    files = result_files(args)
    if args.json:
        return _print_json(files)
    read = SnapshotReader(files, queue_lines, active).read
    if args.watch:
        from ..report.live_status import is_screen, live_view

        if is_screen():
            print("\n".join(live_view(read, args.every).lines(args.stars)), flush=True)
            return 0
    last, seen = read(), False
    print("\n".join(last.lines(args.stars)), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while args.watch and not last.is_over(seen):
            seen = seen or bool(last.runs)
            time.sleep(args.every)
            last = read()
            print("\n".join(last.lines(args.stars)), flush=True)
    return 0


def _print_json(files: ResultFiles) -> int:
    from ..core.tables import json_text
    from ..report.run_status import status_values
    from ..worklist.ccd_status import open_status

    status = open_status(files)
    decision = status.update()
    print(json_text(status_values(status, decision, status.ccds(decision))), flush=True)
    return 0
