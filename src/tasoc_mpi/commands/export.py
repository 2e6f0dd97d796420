"""Write the light curves of a run with the names and headers of contributed products of MAST (HLSP)."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_photometry_option, add_starid_options

HELP = "light curves with the names and headers of MAST's contributed products"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("output", metavar="OUTPUT", help="folder of the run's light curves (its --output)")
    settings = "YAML file with id, name, lead, version and doi of the collection (and reference, proposal)"
    add("--hlsp", type=Path, metavar="SETTINGS.yaml", required=True, help=settings)
    add("--to", type=Path, metavar="DIR", required=True, help="where to")
    add_photometry_option(parser)
    todo = "work list, may be repeated (default: the run's, beside OUTPUT or in TESSPHOT_INPUT)"
    add("--todo", action="append", type=Path, metavar="FILE", help=todo)
    add_starid_options(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.errors import InputError, system_error
    from ..products.hlsp import hlsp_bytes, hlsp_name, read_hlsp_settings
    from ..products.lightcurve import below, keep_lightcurve
    from ..products.raw_curve import open_listed
    from ..worklist.listed_lightcurves import read_lightcurve
    from .unpack import chosen_lightcurves

    settings = read_hlsp_settings(args.hlsp)
    output, listed = chosen_lightcurves(args)
    for name in listed:
        path = below(output, name)
        table = open_listed(path, read_lightcurve(path))
        target = args.to / hlsp_name(settings, table)
        try:
            keep_lightcurve(target, hlsp_bytes(settings, table))
        except OSError as error:
            raise InputError(system_error(error, target)) from None
    print(f"{len(listed)} light curves of the collection {settings.id} in {args.to}")
    return 0
