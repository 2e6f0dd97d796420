"""Make a movie of the frames of a CCD, with their backgrounds and pixel flags, from its cube."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_ccd_options, add_input

HELP = "make a movie of a CCD's frames, backgrounds and flags"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add_input(parser, "the cubes")
    add_ccd_options(parser)
    output = "folder that gets movie_sectorSSS_cameraC_ccdD.gif (default: INPUT)"
    add("--output", type=Path, metavar="DIR", help=output)
    kind = "of the file; mp4 needs ffmpeg (default: %(default)s)"
    add("--format", choices=("gif", "mp4"), default="gif", help=kind)
    add("--step", type=int, metavar="N", help="every Nth frame (default: at most 200 frames)")
    size = "longer side of a panel (default: %(default)s)"
    add("--size", type=int, default=320, metavar="PIXELS", help=size)
    add("--rate", type=float, default=10.0, metavar="N", help="frames a second (default: %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.settings import input_folder
    from ..report.movie import make_movies

    names = ("sector", "camera", "ccd", "output", "format", "step", "size", "rate")
    for path in make_movies(input_folder(args.input), **{name: getattr(args, name) for name in names}):
        print(path)
    return 0
