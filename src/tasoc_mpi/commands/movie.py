"""Make a movie of the frames of a CCD, with their backgrounds and pixel flags, from its cube."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_ccd_options

HELP = "make a movie of a CCD's frames, backgrounds and flags"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("folder", nargs="?", metavar="DIR", help="folder with the cubes (default: TESSPHOT_INPUT)")
    add_ccd_options(parser)
    output = "FILE.gif, or FILE.mp4 with ffmpeg (default: movie_sectorSSS_cameraC_ccdD.gif in DIR)"
    add("--output", type=Path, metavar="FILE", help=output)
    add("--step", type=int, metavar="N", help="every Nth frame (default: at most 200 frames)")
    add(
        "--size", type=int, default=320, metavar="PIXELS", help="longer side of a panel; default: %(default)s"
    )
    add("--rate", type=float, default=10.0, metavar="N", help="frames a second (%(default)s)")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.settings import input_folder
    from ..report.movie import make_movies

    names = ("sector", "camera", "ccd", "output", "step", "size", "rate")
    for path in make_movies(input_folder(args.folder), **{name: getattr(args, name) for name in names}):
        print(path)
    return 0
