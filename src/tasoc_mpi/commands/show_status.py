"""Show how far a work list is: counts, methods, slowest stars and errors. Works while a run is writing."""

from __future__ import annotations

import argparse

from . import add_input, add_json_option, add_output, add_photometry_option

HELP = "show how far a work list is, while a run is writing it or afterwards"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_input(parser, "the work list")
    add_output(parser, "that of the last run")
    add_photometry_option(parser)
    stars = "how many slowest stars and errors to show (default: %(default)s)"
    parser.add_argument("--stars", type=int, default=5, metavar="N", help=stars)
    parser.add_argument("--watch", action="store_true", help="show it again and again, until interrupted")
    every = "seconds between two looks of --watch (default: %(default)s)"
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help=every)
    add_json_option(parser)


def main(args: argparse.Namespace) -> int:
    """Print the tables, once or again and again."""
    import sys
    import time

    from ..core.errors import UsageError
    from ..core.methods import choose_method
    from ..core.settings import input_folder
    from ..core.tables import json_text
    from ..report.run_status import status_tables, status_values
    from ..slurm.jobs import queue_lines
    from ..worklist.ccd_status import open_status
    from ..worklist.todo_file import TODO_NAME

    watch = args.every if args.watch else None
    if args.stars < 0:
        raise UsageError(f"--stars {args.stars}: must not be negative")
    if watch is not None and not 0.1 <= watch <= 86400:
        raise UsageError(f"--every {watch}: must be from 0.1 to 86400 seconds")
    if args.json and args.watch:
        raise UsageError("--json and --watch: a program that watches calls `status --json` again")
    method = choose_method(args.photometry).name
    path = input_folder(args.input) / TODO_NAME
    status, before = None, None
    while True:
        jobs = [] if args.json else list(queue_lines(path.parent))
        if jobs and not path.exists():
            lines = [*jobs, f"no work list in {path.parent} yet"]
        else:
            if status is None:
                status = open_status(path, method, args.output)
            decision = status.update()
            ccds = status.ccds(decision)
            if args.json:
                print(json_text(status_values(status, decision, ccds)), flush=True)
                return 0
            lines = list(status_tables(status, decision, ccds, args.stars))
            now = time.monotonic()
            if before is not None:
                lines.append(f"{(status.results - before[0]) / (now - before[1]):.3g} stars/s")
            before = status.results, now
            if jobs:
                lines += queue_lines(path.parent, {one.ccd: (one.done, one.stars) for one in ccds})
        if watch is not None and sys.stdout.isatty():
            lines.insert(0, "\x1b[H\x1b[2J" + time.strftime("%H:%M:%S"))
        print("\n".join(lines), flush=True)
        if watch is None:
            return 0
        try:
            time.sleep(watch)
        except KeyboardInterrupt:
            return 0
