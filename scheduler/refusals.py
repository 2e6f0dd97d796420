"""What a run refuses before it writes anything; its dry run asks the same functions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.copy_space import check_copy, copy_name
from ..core.distinct import distinct
from ..core.errors import InputError
from ..core.names import cube_name
from ..worklist.result_log import log_path
from .plan import Requirement, check_requirements
from .run_options import RunOptions
from .run_results import RunResults

__all__ = ["check_needs", "check_writable"]


def check_writable(options: RunOptions, path: Path) -> None:
    """Check that a run could write the files of its work list and output folder.

    Parameters
    ----------
    options : RunOptions
    path : Path
        The list whose rows get results: the work list, or that of a method.

    Raises
    ------
    InputError
        If it could not.
    """
    output = options.output
    for folder in (output, output / "results"):
        there = folder
        while not there.exists() and there != there.parent:
            there = there.parent
        if not there.is_dir():
            raise InputError(f"{folder}: cannot be made ({there} is no folder); choose another --output")
        # A file system such as /proc refuses every file, whatever the permissions are.
        if not os.statvfs(there).f_blocks:
            raise InputError(f"{folder}: {there} has no room for files; choose another --output")
        if not os.access(there, os.W_OK | os.X_OK):
            what = "not writable" if there == folder else f"cannot be made ({there} is not writable)"
            raise InputError(f"{folder}: {what}; change its permissions or choose another --output")
    for file in (path, path.with_suffix(".output")):
        if not os.access(file if file.exists() else path.parent, os.W_OK):
            raise InputError(f"{file}: cannot be written; change its permissions or those of its folder")


def check_needs(
    options: RunOptions,
    results: RunResults,
    wanted: NDArray[np.bool_],
    needs: Sequence[Requirement],
    node: list[int],
) -> None:
    """Check that memory and disk suffice, and that logs can be written.

    Parameters
    ----------
    options : RunOptions
    results : RunResults
    wanted : ndarray of bool
        Rows that are to be computed.
    needs : sequence of Requirement
        See `plan.requirements`.
    node : list of int
        Number of each rank's node, rank 0's first.

    Raises
    ------
    InputError
        If a run would fail.
    """
    worklist = results.worklist
    ccds = [worklist.ccds[number] for number in distinct(worklist.ccd_of[wanted])]
    for log in (log_path(options.output, ccd) for ccd in ccds):
        if log.exists() and not os.access(log, os.W_OK):
            raise InputError(f"{log}: not writable; change its permissions or choose another --output")
    check_requirements(list(needs))
    # Other nodes have a memory and a disk of their own.
    if options.copies is not None and (len(node) == 1 or node.count(node[0]) > 1):
        for cube in (options.source / cube_name(*ccd) for ccd in ccds):
            if cube.is_file() and not (options.copies / copy_name(cube)).exists():
                check_copy(cube, options.copies)
