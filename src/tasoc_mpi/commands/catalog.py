"""Make the star catalogs of the CCDs in a folder from a table of stars or from MAST."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make star catalogs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="DIR",
        help="folder with full frame images, cubes or target pixel files (default: TESSPHOT_INPUT)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="TABLE",
        help="table of stars with the column names of the TESS Input Catalog (CSV, ECSV, parquet, FITS), "
        "'mast' to ask MAST, or 'headers' to take the stars of the target pixel files alone",
    )
    parser.add_argument("--sector", type=int, help="only this sector")
    parser.add_argument("--camera", type=int, choices=range(1, 5), help="only this camera")
    parser.add_argument("--ccd", type=int, choices=range(1, 5), help="only this CCD")
    parser.add_argument("--ticver", default="8.2", help="version of the TIC (default: %(default)s)")
    parser.add_argument(
        "--reference-time",
        type=float,
        metavar="JD",
        help="Julian date (TDB) of the positions (default: the middle frame's)",
    )
    parser.add_argument(
        "--buffer",
        type=float,
        default=0.2,
        metavar="DEG",
        help="include stars this far outside the CCD, degrees (default: %(default)s)",
    )
    parser.add_argument("--tmag-max", type=float, help="leave out fainter stars (default: none; MAST: 18)")
    parser.add_argument("--overwrite", action="store_true", help="replace catalogs that are there")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from dataclasses import fields

    from ..core.settings import input_folder
    from ..stars.make_catalogs import CatalogOptions, make_catalogs

    options = CatalogOptions(**{field.name: getattr(args, field.name) for field in fields(CatalogOptions)})
    for made in make_catalogs(Path(input_folder(args.folder)), options):
        print(f"{made.field.name}: {made.stars} stars at epoch {made.epoch:.3f} in {made.path}", flush=True)
    return 0
