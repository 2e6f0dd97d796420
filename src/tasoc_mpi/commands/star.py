"""Photometry of one star from a target pixel file or a cut-out of TESSCut: light curve, table and picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import compile_for

HELP = "the light curve of one star, from a file around it"
EXIT_STATUSES = {1: "an error, or the star has no light curve"}

__all__ = ["EXIT_STATUSES", "HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    files = "target pixel file or cut-out, or the TIC number of a star whose files are in --input"
    add("star", metavar="FILE", help=files)
    add("--output", type=Path, metavar="DIR", default=Path(), help="for the results (default: this one)")
    methods = "aperture, psf, linpsf, halo, or FILE.py:CLASS (default: aperture, or halo if too bright)"
    add("--photometry", metavar="METHOD", help=methods)
    add("--input", type=Path, metavar="DIR", help="folder of the star with a TIC number (default: this one)")
    add("--starid", type=int, metavar="N", help="TIC number of the star in a cut-out (default: the header's)")
    for name, what in (("sector", "sector"), ("cadence", "cadence in seconds")):
        which = f"{what}, where there are several (default: the only one)"
        add(f"--{name}", type=int, metavar="N", help=which)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.errors import InputError
    from ..core.methods import METHODS
    from ..one_star import open_star
    from ..products.lightcurve import keep_lightcurve
    from ..report.star_sheet import draw_sheet, write_table

    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{args.output}: cannot be made ({error.strerror}); name another --output") from None
    place = args.input or "." if args.star.isdecimal() else args.star
    compile_for(args.photometry if args.photometry in METHODS else "aperture", place)
    pho = open_star(
        args.star,
        args.photometry,
        input_folder=args.input,
        output_folder=args.output,
        starid=args.starid,
        sector=args.sector,
        cadence=args.cadence,
    )
    with pho:
        for key, value in pho.facts().items():
            print(f"{key:>20}  {value}")
        if not pho.status.has_lightcurve:
            return 1

        def keep(name: str, data: bytes) -> str:
            """All files of one star are beside each other."""
            name = Path(name).name
            if pho.cutout is not None and not pho.starid:
                # Without the number of its star each cut-out would have the same name.
                name = pho.cutout.name.removesuffix(".gz").removesuffix(".fits") + "_lc.fits.gz"
            keep_lightcurve(args.output / name, data)
            return name

        pho.lightcurve_writer = keep
        lightcurve = Path(pho.save_lightcurve())
        table = write_table(lightcurve)
        print(f"{'light curve':>20}  {lightcurve}\n{'as a table':>20}  {table}")
        print(f"{'picture':>20}  {draw_sheet(pho, lightcurve)}")
    return 0
