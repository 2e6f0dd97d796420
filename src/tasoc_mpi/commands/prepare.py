"""Make image cubes from the full frame images in a folder and its sub-folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import add_ccd_options

HELP = "make image cubes from full frame images"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        metavar="DIR",
        help="folder with frames, gets cubes (default: TESSPHOT_INPUT)",
    )
    add("--lock-folder", metavar="DIR", help="where to keep locks if file systems have none (TESSPHOT_LOCKS)")
    add_ccd_options(parser)
    memory = "memory for pixels on each node, shared by its ranks (default: half of the free memory)"
    add("--memory", type=float, metavar="GB", help=memory)
    motion = "also measure the motion of the images (default: from the world coordinates of the frames)"
    add("--movement-kernel", choices=("translation", "euclidian", "affine"), help=motion)
    spice = "SPICE kernels of the orbit of TESS (default: DIR/spice, if there is one)"
    add("--spice", type=Path, metavar="FOLDER", help=spice)
    backgrounds = "also store the background as pixels, not only as its model (13 instead of 9 bytes a pixel)"
    add("--backgrounds", action="store_true", help=backgrounds)
    add("--overwrite", action="store_true", help="make finished cubes anew")


def main(args: argparse.Namespace) -> int:
    """Run the command, alone or as one rank of several."""
    from dataclasses import fields

    from ..core.errors import TasocError
    from ..core.locks import use_folder
    from ..core.mpi import abort, check_first, world
    from ..core.settings import input_folder, load_settings
    from ..cubes.prepare import PrepareOptions, prepare_folder
    from ..cubes.ranks import Ranks, serve

    options = PrepareOptions(**{field.name: getattr(args, field.name) for field in fields(PrepareOptions)})

    def check() -> None:
        load_settings()
        use_folder(args.lock_folder)

    comm = world()
    if status := check_first(comm, check):
        return status
    if comm is None:
        prepare_folder(input_folder(args.folder), options)
        return 0
    try:
        if comm.Get_rank() > 0:
            return serve(comm)
        ranks = Ranks(comm)
        try:
            prepare_folder(input_folder(args.folder), options, ranks)
        except (TasocError, OSError) as error:
            # This rank alone reports it.
            ranks.quit(getattr(error, "exit_status", 1))
            failed = error
        else:
            ranks.quit(0)
            return 0
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        abort(comm, "prepare", error)
    raise failed
