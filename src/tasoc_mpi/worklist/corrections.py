"""The results of corrections: their logs, and which of them belong to the light curves that there are.

A correction has digests of the light curve that it is of, and of its vectors and method. One of a light curve
that its star does not have any more does not count.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.diagnostics import CORRECTED_LIGHTCURVE, CORRECTION_SOURCE
from ..core.errors import InputError, MissingInput
from ..core.messages import pack_results, unpack_many, unpack_results
from ..core.status import FAILED, STATUS
from .last_results import LastResults
from .lightcurve_digest import DIGESTED, lightcurve_digest
from .result_log import LogReader, ResultGroup
from .todo_file import SQLITE_ERRORS, explain, open_todo
from .work_list import CCD, WorkList, ccd_name

__all__ = [
    "LastCorrections",
    "Listed",
    "PhotometryResults",
    "correction_log_path",
    "correction_source",
    "of_version",
    "packs_of",
    "read_corrections",
    "read_listed",
]

_VERSION = "substr(lightcurve, instr(lightcurve, '-tasoc_lc') - 2, 2)"


def correction_log_path(output: Path, ccd: CCD) -> Path:
    """The log of the corrections of a CCD in an output folder."""
    return output / "results-corr" / f"{ccd_name(ccd)}.log"


def correction_source(vectors: int, method: str) -> float:
    """The digest of what a correction is made with, beside the light curve.

    Parameters
    ----------
    vectors : int
        Their digest, 48 bits; 0 where there are none.
    method : str
        The method that was asked for.

    Examples
    --------
    >>> correction_source(1, "map") == correction_source(1, "cbv")
    False
    """
    # Whole numbers of 48 bits are exact in the messages.
    return float(vectors ^ zlib.crc32(method.encode()))


class PhotometryResults(LastResults):
    """Last results of the photometry of the stars of a work list.

    Attributes
    ----------
    digest : ndarray of float64
        `lightcurve_digest` of each; NaN where there is none.
    """

    def __init__(self, worklist: WorkList) -> None:
        super().__init__(worklist)
        self.digest = np.full(len(worklist.rows), np.nan)

    def add(self, group: ResultGroup) -> None:
        """Add results; of several of one star the last one counts."""
        super().add(group)
        numbers = group.bundle.numbers
        self.digest[group.index] = lightcurve_digest(np.stack([numbers[name] for name in DIGESTED], axis=1))


class LastCorrections(LastResults):
    """Last corrections of the stars of a work list.

    Attributes
    ----------
    lightcurve : ndarray of float64
        `lightcurve_digest` of what was corrected; NaN where there is no correction.
    source : ndarray of float64
        `correction_source` of each; NaN where there is none.
    """

    def __init__(self, worklist: WorkList) -> None:
        super().__init__(worklist)
        self.source = np.full(len(worklist.rows), np.nan)
        self.lightcurve = self.source.copy()
        self._task = self.lightcurve, self.source

    def complete(self, messages: Sequence[bytes | bytearray]) -> Sequence[bytes | bytearray]:
        """Messages with the digests of `outdate` in the results that failed.

        A process that crashed does not tell them.
        """
        return [self._with_digests(message) for message in messages]

    def _with_digests(self, message: bytes | bytearray) -> bytes | bytearray:
        failed = np.isin(unpack_many([message]).heads["status"], FAILED)
        if not failed.any():
            return message
        results = unpack_results(message)
        index = self.worklist.find(results.numbers["priority"][failed])
        for name, digest in zip((CORRECTED_LIGHTCURVE, CORRECTION_SOURCE), self._task, strict=True):
            results.numbers[name][failed] = digest[index]
        return pack_results(results)

    def add(self, group: ResultGroup) -> None:
        """Add results; of several of one star the last one counts."""
        super().add(group)
        numbers = group.bundle.numbers
        self.source[group.index] = numbers[CORRECTION_SOURCE]
        self.lightcurve[group.index] = numbers[CORRECTED_LIGHTCURVE]

    def of_lightcurves(self, photometry: PhotometryResults) -> NDArray[np.bool_]:
        """Corrections of the light curves that there are."""
        return self.lightcurve == photometry.digest

    def outdate(self, photometry: PhotometryResults, source: NDArray[np.float64]) -> None:
        """Have stars corrected again whose light curve, vectors or method are others now.

        Parameters
        ----------
        photometry : PhotometryResults
        source : ndarray of float64
            What the corrections are to be made with.
        """
        self._task = photometry.digest, source
        other = ~self.of_lightcurves(photometry) | (self.source != source)
        self.reset(np.flatnonzero(self.done & other))


def read_corrections(
    worklist: WorkList, output: Path, photometry: PhotometryResults, ccds: Sequence[CCD]
) -> tuple[NDArray[np.int8], list[LogReader]]:
    """Read the logs of corrections.

    Parameters
    ----------
    worklist : WorkList
    output : Path
        The output folder.
    photometry : PhotometryResults
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
    corrections = LastCorrections(worklist)
    logs = [LogReader(correction_log_path(output, ccd), worklist, ccd) for ccd in ccds]
    for log in logs:
        corrections.read(log)
    status = np.where(corrections.of_lightcurves(photometry), corrections.own_status, np.int8(STATUS.UNKNOWN))
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


def packs_of(path: Path) -> tuple[list[str], int]:
    """The packs that a published work list lists, below its output folder, and the number of stars in them.

    Raises
    ------
    MissingInput, InputError
        If it is not there or cannot be used.
    """
    with contextlib.closing(open_todo(path)) as conn:
        try:
            rows = conn.execute(
                "SELECT substr(lightcurve, 1, instr(lightcurve, '#') - 1) AS pack, COUNT(*) FROM diagnostics"
                " WHERE instr(lightcurve, '#') > 0 GROUP BY pack ORDER BY pack"
            ).fetchall()
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
    return [str(pack) for pack, _ in rows], sum(count for _, count in rows)


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
