"""Measure the pixel response (PRF) of each CCD from its images, alone or as one rank of several."""

from __future__ import annotations

import argparse

HELP = "measure the pixel response of each CCD from its cube"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "folder", nargs="?", metavar="DIR", help="folder with cubes and catalogs (default: TESSPHOT_INPUT)"
    )
    parser.add_argument(
        "--lock-folder", metavar="DIR", help="where to keep locks, if file systems have none (TESSPHOT_LOCKS)"
    )
    parser.add_argument("--sector", type=int, help="only this sector")
    parser.add_argument("--camera", type=int, choices=range(1, 5), help="only this camera")
    parser.add_argument("--ccd", type=int, choices=range(1, 5), help="only this CCD")
    parser.add_argument("--overwrite", action="store_true", help="make finished ones anew")


def main(args: argparse.Namespace) -> int:
    """Run the command, alone or as one rank of several."""
    from ..core.errors import TasocError
    from ..core.locks import use_folder
    from ..core.mpi import abort, check_first, world
    from ..core.settings import input_folder, load_settings
    from ..cubes.make_prf import make_prfs
    from ..cubes.ranks import Ranks, serve

    def check() -> None:
        load_settings()
        use_folder(args.lock_folder)

    comm = world()
    if status := check_first(comm, check):
        return status
    which = args.sector, args.camera, args.ccd, args.overwrite
    if comm is None:
        make_prfs(input_folder(args.folder), Ranks(), *which)
        return 0
    try:
        if comm.Get_rank() > 0:
            return serve(comm)
        ranks = Ranks(comm)
        try:
            make_prfs(input_folder(args.folder), ranks, *which)
        except (TasocError, OSError) as error:
            # This rank alone reports it.
            ranks.quit(getattr(error, "exit_status", 1))
            failed = error
        else:
            ranks.quit(0)
            return 0
    except BaseException as error:  # noqa: BLE001 - the program's edge: the others must not wait for ever
        abort(comm, "prf", error)
    raise failed
