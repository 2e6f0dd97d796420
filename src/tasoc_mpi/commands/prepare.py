"""Make image cubes from the full frame images in a folder and its sub-folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_ccd_options, add_input, add_lock_option, compile_for

HELP = "make image cubes from full frame images"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add_input(parser, "frames, gets cubes")
    add_lock_option(parser)
    add_ccd_options(parser)
    memory = "memory for pixels on each node, shared by its ranks (default: half of the free memory)"
    add("--memory", type=float, metavar="GB", help=memory)
    motion = "also measure the motion of the images (default: from the world coordinates of the frames)"
    add("--movement-kernel", choices=("translation", "euclidian", "affine"), help=motion)
    spice = "SPICE kernels of the orbit of TESS (default: INPUT/spice, if there is one)"
    add("--spice", type=Path, metavar="FOLDER", help=spice)
    backgrounds = "also store the background as pixels, not only as its model (13 instead of 9 bytes a pixel)"
    add("--backgrounds", action="store_true", help=backgrounds)
    add("--overwrite", action="store_true", help="make finished cubes anew")


def main(args: argparse.Namespace) -> int:
    """Run the command, alone or as one rank of several."""
    from ..core.ranks import Ranks, run_on_ranks

    def work(ranks: Ranks) -> None:
        # Modules of kernels are imported where the other ranks are told of an error.
        from dataclasses import fields

        from ..core.settings import input_folder
        from ..cubes.prepare import PrepareOptions, prepare_folder
        from ..worklist.todo_file import TODO_NAME, refuse_during_run

        options = {field.name: getattr(args, field.name) for field in fields(PrepareOptions)}
        folder = input_folder(args.input)
        if args.overwrite:
            refuse_during_run(folder / TODO_NAME)
        prepare_folder(folder, PrepareOptions(**options), ranks)

    compile_for("prepare", args.input)
    return run_on_ranks("prepare", args.lock_folder, work)
