"""Submit a sector to SLURM: cubes, work list, light curves, publishing and a report, each after the other."""

from __future__ import annotations

import argparse
import shlex

from . import add_input, add_json_option, add_output, words

HELP = "submit a sector to SLURM, from frames to a report"

__all__ = ["HELP", "configure", "main"]

_STEPS = ("prepare", "todo", "run", "publish", "cbv", "correct", "report")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_input(parser, "a sector's data")
    site = "settings of the site: a YAML file (default: TESSPHOT_SITE, or INPUT/site.yaml)"
    parser.add_argument("--site", metavar="FILE", help=site)
    example = "only print a site file that is packaged: srun, mpiexec or staged (default: none)"
    parser.add_argument("--example", metavar="NAME", help=example)
    add_output(parser, "TESSPHOT_OUTPUT, or INPUT/output")
    method = "compute all stars with it, as `tasoc-mpi run --photometry` (default: what the work list says)"
    parser.add_argument("--photometry", metavar="METHOD", help=method)
    version = "version number of the light curves (default: %(default)s)"
    parser.add_argument("--version", type=int, default=6, metavar="N", help=version)
    only = f"only these steps, separated by commas or repeated: {', '.join(_STEPS)} (default: all)"
    parser.add_argument("--only", type=words(_STEPS), action="extend", metavar="STEP", help=only)
    correct = "also make vectors and correct the light curves"
    parser.add_argument("--correct", action="store_true", help=correct)
    parser.add_argument("--resume", action="store_true", help="leave out what is finished")
    parser.add_argument("--dry-run", action="store_true", help="print the scripts and submit nothing")
    add_json_option(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from pathlib import Path

    from ..core.errors import MissingInput, UsageError
    from ..core.methods import choose_method
    from ..core.settings import input_folder, output_folder
    from ..core.tables import json_text
    from ..slurm.chain import array_size, plan, scripts, submission_lines, submission_values, submit
    from ..slurm.jobs import find_system
    from ..slurm.site import example_text, find_site
    from ..worker.check_method import check_method

    if args.example is not None:
        print(example_text(args.example), end="")
        return 0
    if not 0 <= args.version <= 99:
        raise UsageError(f"--version {args.version}: must be from 0 to 99")
    folder = Path(input_folder(args.input)).resolve()
    if not folder.is_dir():
        raise MissingInput(f"{folder}: no such folder; name the one with the data")
    method = choose_method(args.photometry, computes=True)
    check_method(method)
    output = output_folder(args.output, folder / "output", method.name).resolve()
    site = find_site(args.site, folder)
    find_system(site)
    correct = args.correct or not {"cbv", "correct"}.isdisjoint(args.only or ())
    steps = plan(folder, args.only or (), args.resume, output, method.name, correct)
    if not steps and not args.json:
        print("Nothing to do: all is finished.")
        return 0
    largest = array_size(site, args.dry_run)
    planned = scripts(site, folder, output, args.version, steps, largest, method.source)
    jobs = submit(site, folder, planned) if planned and not args.dry_run else []
    if args.json:
        print(json_text(submission_values(planned, jobs)))
        return 0
    print("\n".join(submission_lines(planned, jobs)))
    if not args.dry_run:
        status = ["status", str(folder), *(["--photometry", method.name] if method.name else [])]
        print(f"scripts and logs: {folder / 'slurm'}; `tasoc-mpi {shlex.join(status)}` tells how far it is")
    return 0
