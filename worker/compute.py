"""The work on one star, photometry or correction, and its result."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, TasocError, system_error
from ..core.messages import DIAGNOSTICS, RESULT_DTYPE, Results
from ..core.status import ENDS, STATUS
from ..products.packed import pack_writer
from ..products.replacements import replacements
from ..products.swaps import swaps
from ..worklist.unlisted_lightcurves import is_listed_name

__all__ = [
    "Job",
    "Photometry",
    "aborted",
    "close_lightcurves",
    "compute_star",
    "flush_lightcurves",
    "join_results",
]

logger = logging.getLogger(__name__)

#: Errors of the output folder's file system when nothing more can be written.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)

#: Characters of the messages of a star at most.
_LONGEST = 20_000

#: `photometry(method=..., starid=..., ...)` returns an object with `result`, `save_lightcurve()` and
#: `close()`.
Photometry = Callable[..., Any]


@dataclass(frozen=True)
class Job:
    """The settings that all stars of a run share; `BasePhotometry` has their meaning.

    Where `packed`, light curves go to a pack of this process; else each is a file of its own. `arguments` are
    further ones of the function that works on a star. `method` is what computes all stars (see
    `ChosenMethod.source`), and `method_name` its name; '' where the work list chooses. Only plain values: it
    goes to the compute process as JSON.
    """

    input_folder: str
    output_folder: str
    version: int = 6
    plot: bool = False
    cache: str = "basic"
    packed: bool = False
    arguments: dict[str, str] = field(default_factory=dict)
    method: str = ""
    method_name: str = ""

    def method_of(self, task: np.void) -> str:
        """The name of the method of a star, as far as it is known before its photometry."""
        return self.method_name or task["method"].decode()


#: The diagnostics of a star of which nothing is known.
_UNKNOWN = (math.nan,) * len(DIAGNOSTICS)


def compute_star(job: Job, photometry: Photometry, task: np.void, waited: float = 0.0) -> Results:
    """Photometry of one star. Its light curve is whole after `flush_lightcurves`.

    Parameters
    ----------
    job : Job
        The settings that all stars share.
    photometry : callable
        `tasoc_mpi.tessphot`, or `correction.corrected_star.correct_star`, which has the same interface.
    task : element of TASK_DTYPE
        The star.
    waited : float, optional
        Seconds that were spent in waiting for its batch.

    Returns
    -------
    Results
        Of one star. One whose photometry raises is an ERROR; a light curve is saved only if the star is OK or
        a WARNING.

    Raises
    ------
    InputError
        If nothing more can be written.
    """
    start = time.perf_counter()
    star = _one_star(task, job, photometry)
    seconds = time.perf_counter() - start
    numbers = _numbers(task, star.status, seconds, waited, len(star.skips), star.diagnostics)
    text = "\n".join(star.messages).encode("utf-8", "replace").decode("utf-8")
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}\n...\n{text[-_LONGEST // 2 :]}"
    return Results(numbers, [star.path], [star.method], [text or None], np.array(star.skips, dtype=np.int64))


def flush_lightcurves(job: Job) -> None:
    """Make the light curves that were saved so far outlive this process; raises InputError if they cannot.

    That they outlive the node is for `make_durable`.
    """
    pack_writer(job.output_folder).flush(sync=False)
    replacements(job.output_folder).flush()
    swaps(job.output_folder).flush()


def close_lightcurves(job: Job) -> None:
    """Close the pack of this process, if it has one; raises InputError as `flush_lightcurves`."""
    pack_writer(job.output_folder).close()


def _numbers(
    task: np.void,
    status: STATUS,
    seconds: float,
    waited: float = 0.0,
    skips: int = 0,
    diagnostics: Sequence[float] = _UNKNOWN,
) -> NDArray[np.void]:
    """The numbers of a star as an array of RESULT_DTYPE, shape (1,)."""
    # At once: numpy takes a microsecond for each field that is set by itself.
    head = (task["priority"], seconds, waited, status, skips, 0, 0, 0)
    return np.array([(*head, *diagnostics)], dtype=RESULT_DTYPE)


def aborted(task: np.void, method: str, reason: str, seconds: float) -> Results:
    """The result of a star whose photometry was ended from outside after `seconds`."""
    numbers = _numbers(task, STATUS.ABORT, seconds)
    return Results(numbers, [None], [method], [reason], np.zeros(0, np.int64))


def join_results(parts: Sequence[Results]) -> Results:
    """Results one behind the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Results.empty()
    return Results(
        np.frombuffer(bytearray().join([part.numbers.tobytes() for part in parts]), RESULT_DTYPE),
        [text for part in parts for text in part.lightcurve],
        [text for part in parts for text in part.method_used],
        [text for part in parts for text in part.errors],
        np.concatenate([part.skips for part in parts]),
    )


class _Star(NamedTuple):
    """The result of a star; its path is that of the light curve below the output folder."""

    status: STATUS
    method: str
    messages: list[str]
    path: str | None = None
    skips: Sequence[int] = ()
    diagnostics: Sequence[float] = _UNKNOWN


def _one_star(task: np.void, job: Job, photometry: Photometry) -> _Star:
    """Compute a star and save its light curve."""
    method = job.method_of(task)
    try:
        pho = photometry(
            method=job.method or task["method"].decode() or None,
            starid=int(task["starid"]),
            input_folder=job.input_folder,
            output_folder=job.output_folder,
            datasource=task["datasource"].decode(),
            sector=int(task["sector"]),
            camera=int(task["camera"]),
            ccd=int(task["ccd"]),
            cadence=int(task["cadence"]),
            plot=job.plot,
            cache=job.cache,
            version=job.version,
            **job.arguments,
        )
        with contextlib.closing(pho):
            return _take_result(pho, task, job)
    except TasocError as error:
        # These are written for the user: the place in the program adds nothing.
        reason = f"{type(error).__name__}: {error}"
    except OSError as error:
        if error.errno in _NO_ROOM:
            # Not this star's fault, and it would be every other star's.
            full = OSError(error.errno, error.strerror, job.output_folder)
            raise InputError(system_error(full)) from error
        reason = traceback.format_exc().rstrip()
    except BaseException as error:
        # A compute process ignores signals: there a method itself has called `sys.exit`, or interrupts.
        if not isinstance(error, Exception) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise
        reason = traceback.format_exc().rstrip()
        logger.debug("TIC %d: %s", task["starid"], reason)
    return _Star(STATUS.ERROR, method, [reason])


def _take_result(pho: Any, task: np.void, job: Job) -> _Star:
    """Save the light curve of a star, and take its numbers; a user's method may leave nonsense in them."""
    result = pho.result
    status = STATUS(result.status)
    if status not in ENDS:
        raise InputError(
            f"TIC {task['starid']}: ended with {status.name}; a method gives OK, WARNING, ERROR or ABORT"
        )
    method = job.method_name or result.method_used or job.method_of(task)
    messages, skips = [str(message) for message in result.errors], _skip_list(result, task)
    diagnostics = np.array([getattr(result, name) for name in DIAGNOSTICS], dtype=np.float64)
    path = None
    if status.has_lightcurve:
        # Where the run looks for it again does not depend on where the output folder is today.
        if job.packed:
            pho.lightcurve_writer = pack_writer(job.output_folder)
        elif getattr(pho, "lightcurve_writer", swaps) is None:
            pho.lightcurve_writer = swaps(job.output_folder)
        path = _below(job.output_folder, pho.save_lightcurve())
        if not is_listed_name(path):
            raise InputError(
                f"TIC {task['starid']}: save_lightcurve returned a name that no light curve in the output"
                " folder has"
            )
    return _Star(status, method, messages, path, skips, diagnostics.tolist())


def _below(folder: str, path: str) -> str:
    """The relative path of a light curve, which is nearly always the output folder with a name behind it."""
    name = path[len(folder) + 1 :]
    return name if f"{folder}{os.sep}{name}" == path else os.path.relpath(path, folder)


def _skip_list(result: Any, task: np.void) -> list[int]:
    """The other stars of the skip list, each once, in order."""
    return sorted({int(starid) for starid in result.skip_targets} - {int(task["starid"])})
