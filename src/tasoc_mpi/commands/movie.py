"""Make a movie of the frames of a CCD, with their backgrounds and pixel flags, from its cube."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make a movie of a CCD's frames, backgrounds and flags"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "folder", nargs="?", metavar="DIR", help="folder with the cubes (default: TESSPHOT_INPUT)"
    )
    parser.add_argument("--sector", type=int, help="only this sector")
    parser.add_argument("--camera", type=int, choices=range(1, 5), help="only this camera")
    parser.add_argument("--ccd", type=int, choices=range(1, 5), help="only this CCD")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="FILE.gif, or FILE.mp4 where there is ffmpeg (default: movie_sectorSSS_cameraC_ccdD.gif in DIR)",
    )
    parser.add_argument(
        "--step", type=int, metavar="N", help="every Nth frame (default: such that there are at most 200)"
    )
    parser.add_argument(
        "--size", type=int, default=320, metavar="PIXELS", help="longer side of a panel; default: %(default)s"
    )
    parser.add_argument(
        "--rate", type=float, default=10.0, metavar="N", help="frames a second; default: %(default)s"
    )


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..core.settings import input_folder
    from ..report.movie import make_movies

    made = make_movies(
        input_folder(args.folder),
        args.sector,
        args.camera,
        args.ccd,
        args.output,
        args.step,
        args.size,
        args.rate,
    )
    for path in made:
        print(path)
    return 0
