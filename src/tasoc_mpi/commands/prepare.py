"""Make image cubes from the full frame images in a folder and its sub-folders."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make image cubes from full frame images"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="DIR",
        help="folder with full frame images; gets the cubes (default: TESSPHOT_INPUT)",
    )
    parser.add_argument(
        "--lock-folder", metavar="DIR", help="where to keep locks, if file systems have none (TESSPHOT_LOCKS)"
    )
    parser.add_argument("--sector", type=int, help="only this sector")
    parser.add_argument("--camera", type=int, choices=range(1, 5), help="only this camera")
    parser.add_argument("--ccd", type=int, choices=range(1, 5), help="only this CCD")
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="memory for pixels on each node, shared by its ranks (default: half of what is free)",
    )
    parser.add_argument(
        "--movement-kernel",
        choices=("translation", "euclidian", "affine"),
        help="also measure how the images move (default: the frames' world coordinates tell)",
    )
    parser.add_argument(
        "--spice",
        type=Path,
        metavar="FOLDER",
        help="SPICE kernels of TESS's orbit (default: DIR/spice, if there is one)",
    )
    parser.add_argument(
        "--backgrounds",
        action="store_true",
        help="also store the background as pixels, not only as its model (13 instead of 9 bytes a pixel)",
    )
    parser.add_argument("--overwrite", action="store_true", help="make finished cubes anew")


def main(args: argparse.Namespace) -> int:
    """Run the command, alone or as one rank of several."""
    from ..core.errors import TasocError
    from ..core.locks import use_folder
    from ..core.mpi import abort, check_first, world
    from ..core.settings import input_folder, load_settings
    from ..cubes.prepare import PrepareOptions, prepare_folder
    from ..cubes.ranks import Ranks, serve

    options = PrepareOptions(
        sector=args.sector,
        camera=args.camera,
        ccd=args.ccd,
        memory=args.memory,
        overwrite=args.overwrite,
        movement_kernel=args.movement_kernel,
        backgrounds=args.backgrounds,
        spice=args.spice,
    )

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
