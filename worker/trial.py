"""A few stars are computed for a dry run, to measure the time that they take."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.compiled import compile_first
from ..core.messages import Results
from ..core.settings import input_folder
from ..core.status import STATUS
from ..core.tables import counted
from ..products.tpf_files import write_tpf_list
from .check_method import kernels_of_run
from .compute import join_results
from .launch import open_computer

__all__ = ["compute_trial"]

logger = logging.getLogger(__name__)

#: Seconds in which the first star has to be computed, libraries loaded, and those of all others.
_FIRST_SECONDS, _SECONDS = 30.0, 5.0
#: Seconds between looks at the time.
_LOOK = 0.1


def compute_trial(
    args: argparse.Namespace,
    photometry: Callable[..., Any] | str | None,
    tasks: NDArray[np.void],
) -> Results:
    """Compute stars as a run would, into a temporary folder that is removed.

    Each star is computed twice, and its second time counts: the first one contains the opening of files and
    the reading from the disk, which all stars of a run share.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `tasoc-mpi run`.
    photometry : str or callable, optional
        As for `open_computer`.
    tasks : ndarray of TASK_DTYPE
        The stars.

    Returns
    -------
    Results
        Of the stars that were computed in time.

    Raises
    ------
    TasocError
        If nothing can be computed.
    OSError
        If there is no temporary folder.
    """
    logger.info("trial of %s, whose time is not known from results yet", counted(len(tasks), "star"))
    compile_first(*kernels_of_run("run", args, photometry))
    results: list[Results] = []
    with tempfile.TemporaryDirectory(prefix="tasoc-mpi-trial-", ignore_cleanup_errors=True) as folder:
        if np.any(tasks["datasource"] != b"ffi"):
            write_tpf_list(input_folder(args.input).resolve(), Path(folder))
        # Cubes are read where they are: a copy would take longer than the trial.
        changed = {"output": folder, "cube": "mapped", "scratch": None, "plot": False}
        with open_computer(argparse.Namespace(**{**vars(args), **changed}), photometry) as computer:
            deadline = time.monotonic() + _FIRST_SECONDS
            for star in np.split(tasks, len(tasks)):
                found = _compute(computer, star, deadline)
                if not results:
                    deadline = time.monotonic() + _SECONDS
                if found is not None and found.numbers["status"][0] in (STATUS.OK, STATUS.WARNING):
                    # One that takes so long that there is no time for a second try counts as it is.
                    found = _compute(computer, star, deadline) or found
                if found is None:
                    break
                results.append(found)
    return join_results(results)


def _compute(computer: Any, task: NDArray[np.void], deadline: float) -> Results | None:
    """The result of one star; None if it is not there in time."""
    if time.monotonic() > deadline:
        return None
    computer.submit(task)
    while (found := computer.poll(_LOOK)) is None:
        if time.monotonic() > deadline:
            return None
    return found
