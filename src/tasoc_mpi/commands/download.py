"""Fetch the data of a sector from the archives: frames, target pixel files, stars, PRF files, SPICE kernels.

An interrupted download continues where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_input, add_starid_options, chosen_starids, integers

HELP = "fetch the data of a sector from the archives"
EXIT_STATUSES = {1: "an error, or a file is missing"}

#: In order of `download.remote_file.KINDS`, which need not be imported for the help.
_KINDS = ("ffi", "tpf", "fast-tpf", "tica", "catalog", "prf", "spice")
#: Transfers at once: servers of archives refuse more than some tens.
_MOST_JOBS = 64


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add_input(parser, "the data; it is made")
    add("--sector", type=int, required=True, metavar="N", help="the sector")
    for name, label in (("camera", "cameras"), ("ccd", "CCDs")):
        which = f"only these {label}: N[,N ...], may be repeated (default: all)"
        add(f"--{name}", type=integers(1, 4), action="extend", metavar="N", help=which)
    what = f"what to fetch, separated by commas: {', '.join(_KINDS)} (default: ffi; with --starid: tpf)"
    add("--what", metavar="KIND[,KIND...]", help=what)
    where = "where frames and target pixel files come from (default: mast)"
    add("--from", dest="source", choices=("mast", "cloud"), default="mast", help=where)
    add_starid_options(parser)
    add("--jobs", type=int, default=8, metavar="N", help="transfers at once (default: %(default)s)")
    forms = "write a list of the missing files to standard output, for a host with a network: "
    forms += "aria2, curl or urls (default: fetch)"
    add("--list", dest="form", choices=("aria2", "curl", "urls"), help=forms)
    add("--dry-run", action="store_true", help="only say which files and bytes are missing")


def _kinds(args: argparse.Namespace, starids: list[int]) -> list[str]:
    from ..core.errors import UsageError

    kinds = [word.strip() for word in (args.what or ("tpf" if starids else "ffi")).split(",")]
    if unknown := [kind for kind in kinds if kind not in _KINDS]:
        raise UsageError(f"--what {unknown[0]}: one or more of {','.join(_KINDS)}")
    targets = [kind for kind in kinds if kind in ("tpf", "fast-tpf")]
    if starids and len(targets) < len(kinds):
        raise UsageError(
            "--starid and --starid-file choose target pixel files: take --what tpf or fast-tpf with them"
        )
    if targets and not (args.camera is args.ccd is None):
        raise UsageError(
            "names of target pixel files do not tell the CCD: choose them by --starid, in their own download"
        )
    if not 1 <= args.sector <= 9999:
        raise UsageError(f"--sector {args.sector}: a number from 1 to 9999")
    if not 1 <= args.jobs <= _MOST_JOBS:
        raise UsageError(f"--jobs {args.jobs}: a number from 1 to {_MOST_JOBS}")
    return list(dict.fromkeys(kinds))


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.settings import input_folder
    from ..download.fetch_sector import fetch_sector
    from ..download.remote_file import Choice

    starids = chosen_starids(args) or []
    kinds = _kinds(args, starids)
    choice = Choice(args.sector, args.camera, args.ccd, frozenset(starids))
    strips = None
    if "catalog" in kinds:
        from ..stars.footprints import declinations, predicted_fields

        strips = [declinations([ccd]) for ccd in predicted_fields(args.sector, args.camera, args.ccd)]
    folder = Path(input_folder(args.input))
    return fetch_sector(folder, kinds, choice, args.source, strips, args.jobs, args.form, args.dry_run)
