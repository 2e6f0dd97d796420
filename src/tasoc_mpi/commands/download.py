"""Fetch the data of a sector from the archives: frames, target pixel files, stars, PRF files, SPICE kernels.

An interrupted download continues where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_input, integers

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
    add("--camera", type=int, choices=range(1, 5), metavar="N", help="only this camera (default: all)")
    add("--ccd", type=int, choices=range(1, 5), metavar="N", help="only this CCD (default: all)")
    what = f"what to fetch, separated by commas: {', '.join(_KINDS)} (default: ffi; with --starid: tpf)"
    add("--what", metavar="KIND[,KIND...]", help=what)
    where = "where frames and target pixel files come from (default: mast)"
    add("--from", dest="source", choices=("mast", "cloud"), default="mast", help=where)
    stars = "only target pixel files of these stars: N[,N ...], may be repeated (default: all)"
    add("--starid", type=integers(0, 2**63 - 1), action="extend", metavar="N", help=stars)
    add("--jobs", type=int, default=8, metavar="N", help="transfers at once (default: %(default)s)")
    forms = "write a list of the missing files to standard output, for a host with a network: "
    forms += "aria2, curl or urls (default: fetch)"
    add("--list", dest="form", choices=("aria2", "curl", "urls"), help=forms)
    add("--dry-run", action="store_true", help="only say which files and bytes are missing")


def _kinds(args: argparse.Namespace) -> list[str]:
    from ..core.errors import UsageError

    kinds = [word.strip() for word in (args.what or ("tpf" if args.starid else "ffi")).split(",")]
    for kind in kinds:
        if kind not in _KINDS:
            raise UsageError(f"--what {kind}: one or more of {','.join(_KINDS)}")
    targets = [kind for kind in kinds if kind in ("tpf", "fast-tpf")]
    if args.starid and len(targets) < len(kinds):
        raise UsageError("--starid chooses target pixel files: give it with --what tpf or fast-tpf alone")
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

    kinds = _kinds(args)
    choice = Choice(args.sector, args.camera, args.ccd, frozenset(args.starid or ()))
    strips = None
    if "catalog" in kinds:
        from ..stars.footprints import declinations, predicted_fields

        strips = declinations(predicted_fields(args.sector, args.camera, args.ccd))
    folder = Path(input_folder(args.input))
    return fetch_sector(folder, kinds, choice, args.source, strips, args.jobs, args.form, args.dry_run)
