"""Split the work list into one shard a CCD, which can be run apart and at the same time."""

from __future__ import annotations

import argparse

HELP = "split the work list into one shard a CCD"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("input", nargs="?", help="input folder (default: TESSPHOT_INPUT)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make all shards anew from the list (results that were not merged are forgotten)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..products.shards import split_todo
    from ..settings import input_folder

    for shard in split_todo(input_folder(args.input), args.overwrite):
        print(f"{shard.path}: {shard.stars} stars, {shard.done} done")
    return 0
