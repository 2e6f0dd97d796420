"""Make the star catalogs of the CCDs in a folder from a table of stars or from MAST."""

from __future__ import annotations

import argparse

from . import add_ccd_options, add_input

HELP = "make star catalogs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add_input(parser, "frames, cubes or target pixel files")
    source = "'mast' to ask MAST, or 'headers' to take the stars of the target pixel files alone"
    table = (
        "table of stars with the column names of the TESS Input Catalog (CSV, ECSV, parquet, FITS), folder "
        "of its strips of declination"
    )
    add("--from", dest="source", required=True, metavar="TABLE", help=f"{table}, {source} (required)")
    add_ccd_options(parser)
    add("--ticver", default="8.2", metavar="VERSION", help="version of the TIC (default: %(default)s)")
    when = "Julian date (TDB) of the positions (default: that of the middle frame)"
    add("--reference-time", type=float, metavar="JD", help=when)
    buffer = "include stars this far outside the CCD, degrees (default: %(default)s)"
    add("--buffer", type=float, default=0.2, metavar="DEG", help=buffer)
    faint = "leave out fainter stars (default: none; MAST: 18)"
    add("--faint-limit", dest="tmag_max", type=float, metavar="TMAG", help=faint)
    add("--overwrite", action="store_true", help="replace existing catalogs")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from dataclasses import fields

    from ..core.settings import input_folder
    from ..core.tables import counted
    from ..stars.make_catalogs import CatalogOptions, make_catalogs
    from ..worklist.todo_file import TODO_NAME, refuse_during_run

    options = CatalogOptions(**{field.name: getattr(args, field.name) for field in fields(CatalogOptions)})
    folder = input_folder(args.input)
    if options.overwrite:
        refuse_during_run(folder / TODO_NAME)
    for made in make_catalogs(folder, options):
        stars = counted(made.stars, "star")
        print(f"{made.field.name}: {stars} at epoch {made.epoch:.3f} in {made.path}", flush=True)
    return 0
