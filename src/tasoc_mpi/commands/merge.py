"""Bring the results of shards back into the work list: any of them, at any time, as often as one likes."""

from __future__ import annotations

import argparse

HELP = "bring the results of shards back into the work list"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("input", nargs="?", help="input folder (default: TESSPHOT_INPUT)")
    parser.add_argument(
        "shards", nargs="*", metavar="SHARD", help="files of `tasoc-mpi split` (default: all in the folder)"
    )
    parser.add_argument("--remove", action="store_true", help="delete merged shards that are finished")
    parser.add_argument(
        "--overwrite", action="store_true", help="also merge a shard with fewer results than the list has"
    )


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..products.shards import merge_shards
    from ..settings import input_folder

    for shard in merge_shards(input_folder(args.input), args.shards or None, args.remove, args.overwrite):
        state = "finished" if shard.finished else "not finished"
        print(
            "sector {} camera {} CCD {}: ".format(*shard.ccd)
            + f"{shard.done} of {shard.stars} stars, {shard.errors} errors, {state}"
        )
    return 0
