"""The results of corrections: their logs, and which of them belong to the light curves that there are.

A correction is of the light curve that its star had at that time. A result of the photometry that came later
replaced that light curve, so the correction counts no more.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..core.status import STATUS
from .last_results import LastResults
from .result_log import LogReader
from .todo_file import SQLITE_ERRORS, explain, open_todo
from .work_list import CCD, WorkList, ccd_name

__all__ = ["Listed", "correction_log_path", "of_version", "outdate", "read_corrections", "read_listed"]

_VERSION = "substr(lightcurve, instr(lightcurve, '-tasoc_lc') - 2, 2)"


def correction_log_path(output: Path, ccd: CCD) -> Path:
    """The log of the corrections of a CCD in an output folder."""
    return output / "results-corr" / f"{ccd_name(ccd)}.log"


def outdate(corrections: LastResults, changed: NDArray[np.float64]) -> None:
    """Have stars corrected again whose input changed after their corrections; times as of `LastResults`."""
    corrections.reset(np.flatnonzero(corrections.done & (corrections.when < changed)))


def read_corrections(
    worklist: WorkList, output: Path, photometry: LastResults, ccds: Sequence[CCD]
) -> tuple[NDArray[np.int8], list[LogReader]]:
    """Read the logs of corrections.

    Parameters
    ----------
    worklist : WorkList
    output : Path
        The output folder.
    photometry : LastResults
        The results of the photometry of all these CCDs.
    ccds : sequence of (int, int, int)

    Returns
    -------
    status : ndarray of int8
        Of the last correction of each row; UNKNOWN where its light curve is not corrected.
    logs : list of LogReader
        Those that there are.

    Raises
    ------
    InputError
        If a log cannot be used.
    """
    corrections = LastResults(worklist)
    logs = [LogReader(correction_log_path(output, ccd), worklist, ccd) for ccd in ccds]
    for log in logs:
        corrections.read(log)
    status = np.where(corrections.when < photometry.when, np.int8(STATUS.UNKNOWN), corrections.own_status)
    return status, [log for log in logs if log.exists]


@dataclass(frozen=True)
class Listed:
    """What a published work list says of the light curves that can be corrected.

    Attributes
    ----------
    area : ndarray of int64
        `cbv_area` of each row; 0 where it is NULL.
    version : ndarray of int64
        Version of the light curve of each row; -1 where none is listed.
    """

    area: NDArray[np.int64]
    version: NDArray[np.int64]


def read_listed(path: Path) -> Listed:
    """Read what a published work list says of its light curves, in order of priority.

    Raises
    ------
    MissingInput, InputError
        If it is not there, cannot be used, or lists no light curve.
    """
    with contextlib.closing(open_todo(path)) as conn:
        try:
            rows = conn.execute(
                f"SELECT COALESCE(cbv_area, 0), COALESCE({_VERSION}, '-1') FROM todolist"
                " LEFT JOIN diagnostics USING (priority) ORDER BY priority"
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                rows = []
            else:
                raise explain(path, error) from None
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
    try:
        area, version = np.array(rows, dtype="U8").reshape(-1, 2).T.astype(np.int64)
    except ValueError:
        raise InputError(
            f"{path}: lists a name that is not that of a light curve; run `tasoc-mpi publish`"
        ) from None
    if not (version >= 0).any():
        raise MissingInput(f"{path}: lists no light curves; compute them with `tasoc-mpi run`")
    return Listed(area, version)


def of_version(path: Path, versions: NDArray[np.int64], version: int | None) -> NDArray[np.bool_]:
    """Light curves of a version, to choose from; by default there may be only one.

    Raises
    ------
    InputError
        If the work list has light curves of several versions, or none of the chosen one.
    """
    there = np.unique(versions)
    names = ", ".join(map(str, there))
    if version is None:
        if len(there) > 1:
            raise InputError(
                f"{path}: lists light curves of the versions {names}; finish the run that replaces"
                " them, or name one with --version"
            )
        return np.ones(len(versions), bool)
    if version not in there:
        raise InputError(f"{path}: lists no light curves of version {version}, but of {names}; name another")
    return versions == version
