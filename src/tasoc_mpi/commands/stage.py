"""Copy a CCD's cube to the disk of this node, into a folder that `run` takes as input folder."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "copy a CCD's cube to this node's own disk (batch scripts do this)"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("input", help="input folder")
    parser.add_argument("scratch", type=Path, help="folder on the node's disk; is made")
    parser.add_argument("--sector", type=int, required=True)
    parser.add_argument("--camera", type=int, required=True, choices=range(1, 5))
    parser.add_argument("--ccd", type=int, required=True, choices=range(1, 5))


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..settings import input_folder
    from ..slurm.staging import stage_ccd

    copied = stage_ccd(input_folder(args.input), args.scratch, args.sector, args.camera, args.ccd)
    print(f"{args.scratch}: {copied / 1e9:.2f} GB copied")
    return 0
