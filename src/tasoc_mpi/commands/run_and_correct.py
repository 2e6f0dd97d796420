"""What follows the photometry of `tasoc-mpi run --correct`, on the same ranks: vectors and corrections."""

from __future__ import annotations

import argparse
from collections.abc import Callable

__all__ = ["correct_run"]


def correct_run(run: argparse.Namespace) -> int:
    """Make vectors and correct light curves after a run, on the same ranks.

    Parameters
    ----------
    run : argparse.Namespace
        The options of `tasoc-mpi run`.

    Returns
    -------
    int
        Exit status, on all ranks.
    """
    from ..core.mpi import check_first, world
    from ..scheduler.run_options import published_files
    from ..worklist.publish import publish
    from . import cbv, correct

    def check() -> None:
        # The run leaves that to another one that is still under way.
        publish(*published_files(run))

    status, _ = check_first(world(), check)
    if status:
        return status
    ccd = {name: getattr(run, name) for name in ("sector", "camera", "ccd")}
    folders = {name: getattr(run, name) for name in ("input", "output", "todo", "lock_folder")}
    args = _defaults(cbv.configure)
    vars(args).update(folders, photometry=run.photometry, **ccd)
    if status := cbv.main(args):
        return status
    args = _defaults(correct.configure)
    names = ("input", "output", "todo", "lock_folder", "sector", "camera", "ccd", "batch", "memory_limit")
    vars(args).update(
        {name: getattr(run, name) for name in (*names, "verbose", "log_file")}, of_method=run.photometry
    )
    return correct.main(args)


def _defaults(configure: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    """The options of a command that is called without any."""
    parser = argparse.ArgumentParser()
    configure(parser)
    return parser.parse_args([])
