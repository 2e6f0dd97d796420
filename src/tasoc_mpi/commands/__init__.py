"""The commands of the command line, one module each, and the options that several of them have."""

from __future__ import annotations

import argparse

__all__ = ["add_ccd_options"]


def add_ccd_options(parser: argparse.ArgumentParser) -> None:
    """Add --sector, --camera and --ccd, which choose among the CCDs of a folder."""
    parser.add_argument("--sector", type=int, help="only this sector")
    parser.add_argument("--camera", type=int, choices=range(1, 5), help="only this camera")
    parser.add_argument("--ccd", type=int, choices=range(1, 5), help="only this CCD")
