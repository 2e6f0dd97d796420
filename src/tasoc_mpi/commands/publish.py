"""Write the work list anew from the results so far, and remove light curves that nothing lists.

Needed after an array of runs, each of some CCDs. It can be done at any time, also while runs are under way.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_json_option, add_photometry_option, add_run_files, result_files

HELP = "bring the work list up to date with all results so far"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_files(parser, "the work list", "that of the last run")
    add_photometry_option(parser)
    add_json_option(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.locks import use_folder
    from ..core.methods import method_file
    from ..core.tables import counted, json_text
    from ..worklist.output_folder import check_output, check_there, find_output
    from ..worklist.publish import publish
    from ..worklist.skip_lines import skip_hint
    from ..worklist.work_list import ccd_name, status_counts, status_lines

    use_folder(args.lock_folder)
    files = result_files(args)
    todo, method = files.path, files.method
    path = method_file(todo, method)
    output = Path(args.output) if args.output else find_output(path, method=method)
    if args.output or method:
        check_there(output)
    check_output(output, method)
    published = publish(path, output.resolve(), todo if method else None)
    if args.json:
        counts = status_counts(published.decision.status)
        found = {"worklist": path, "output": output, "rows": sum(counts.values()), "stars": published.stars}
        rest = {"counts": counts, "running": published.running, "removed": published.removed}
        print(json_text(found | rest))
        return 0
    print(*status_lines(published.decision.status, "to do"), sep="\n")
    rows = counted(len(published.decision.status), "row")
    print(f"{rows} of the work list, of {counted(published.stars, 'star')}")
    if (published.decision.skipped_by >= 0).any():
        print(skip_hint(files.arguments(output)))
    if published.running:
        print(f"still running: {', '.join(map(ccd_name, published.running))}")
    if published.removed:
        print(f"{counted(published.removed, 'light curve')} removed that no result lists")
    print(f"{path}: published from {output}")
    return 0
