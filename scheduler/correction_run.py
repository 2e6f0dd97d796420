"""Rank 0 of `tasoc-mpi correct`, from the published light curves to the published corrections."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..core.locks import exclusive
from ..core.methods import choose_method
from ..core.names import CBV_FOLDER, cbv_name, find_cbv
from ..core.progress import Progress
from ..core.status import FAILED, STATUS
from ..core.streams import print_report
from ..core.tables import counted
from ..worklist.corrections import (
    LastCorrections,
    Listed,
    PhotometryResults,
    correction_log_path,
    correction_source,
    of_version,
    packs_of,
    read_listed,
)
from ..worklist.failures import Cause, cause_lines, logged_causes
from ..worklist.output_folder import check_output, check_there
from ..worklist.publish import publish
from ..worklist.rank_times import Ranks
from ..worklist.result_log import LogReader, log_path
from ..worklist.run_record import RunRecord
from ..worklist.work_list import WorkList, ccd_name, load_worklist, status_lines
from .dispatcher import Computer, RunTotals, schedule
from .outcome import too_few
from .plan import Requirement, check_requirements, disk_free
from .queue import BatchSize
from .run_options import RunOptions, run_options
from .run_results import RunResults, open_results
from .signals import Stop

__all__ = ["correct"]

logger = logging.getLogger(__name__)

#: A pack of corrected light curves is larger than that of the raw ones: two more columns have numbers.
_GROWTH = 1.5
#: How many areas a message names, and causes.
_NAMED = 5


@dataclass(frozen=True)
class _Task:
    """Light curves to correct; arrays have an element a row of the work list.

    Attributes
    ----------
    worklist : WorkList
    photometry : PhotometryResults
        The results of the photometry.
    chosen : ndarray of bool
        Rows whose light curves are to have a correction.
    source : ndarray of float64
        What each row is to be corrected with: see `correction_source`.
    """

    worklist: WorkList
    photometry: PhotometryResults
    chosen: NDArray[np.bool_]
    source: NDArray[np.float64]


def correct(args: argparse.Namespace, computer: Computer, stop: Stop, ranks: Ranks) -> int:
    """Have the light curves corrected, publish the results and print a report.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `tasoc-mpi correct`.
    computer : Computer
        Computes the stars.
    stop : Stop
        Ends the work early when it is requested.
    ranks : Ranks
        This rank is the first.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    TasocError
        If a file or an option cannot be used.
    """
    options = run_options(args)
    path, output = options.todo, options.output
    _check(options, choose_method(args.of_method).name)
    if not options.dry:
        # The workers read from it which light curves there are.
        publish(path, output, args.rows)
    record = RunRecord("correct", args, output, ranks)
    with contextlib.ExitStack() as stack:
        task = _open_task(stack, options, args)
        results = _open_results(stack, options, task)
        wanted = task.chosen & ~(results.last.done & ~options.overwrite)
        _check_disk(options, int(wanted.sum()))
        if options.dry:
            print(f"{wanted.sum()} of {task.chosen.sum()} light curves would be corrected")
            return 0
        if options.overwrite:
            results.reset(task.chosen, 0)
        task.worklist.rows["method"] = args.correction.encode()
        size = BatchSize(len(ranks.workers), options.batch)
        totals = schedule(
            results, task.chosen, computer, size,
            lambda rows: _announce(rows, output, ranks, record), stop, options.max_errors, record,
        )  # fmt: skip
        status, causes = results.last.own_status[task.chosen], _causes(output, task, results)
    publish(path, output, args.rows)
    record.end(stop.reason or "complete")
    return _end(options, status, causes, totals, stop)


def _check(options: RunOptions, method: str) -> None:
    """Raise TasocError where folder, work list or filters cannot be used; nothing is written before."""
    path, output = options.todo, options.output
    worklist = load_worklist(path, check_write=not options.dry)
    check_there(output)
    check_output(output, method)
    if not options.constraints.mask(worklist.rows).any():
        raise InputError(f"{path}: none of its {len(worklist.rows)} rows fulfils the filters; loosen them")


def _check_disk(options: RunOptions, count: int) -> None:
    """Say how much disk the new packs of some stars need; InputError if there is less."""
    packs, stars = packs_of(options.todo)
    if not packs or not count:
        return
    # A pack that is not there is an error of its stars.
    sizes = [path.stat().st_size for path in map(options.output.joinpath, packs) if path.is_file()]
    need = Requirement(
        "the packs of corrected light curves, beside those of the run,",
        _GROWTH * sum(sizes) * min(1.0, count / stars),
        disk_free(options.output),
        f"make room in {options.output}",
    )
    logger.info("%s: %s", options.output, need)
    check_requirements([need])


def _causes(output: Path, task: _Task, results: RunResults) -> list[Cause]:
    """Why light curves are not, or not wholly, corrected."""
    incomplete = np.isin(results.last.own_status, (*FAILED, STATUS.WARNING))
    return logged_causes(output, task.worklist, task.chosen & incomplete, correction_log_path)


def _end(
    options: RunOptions, status: NDArray[np.int8], causes: list[Cause], totals: RunTotals, stop: Stop
) -> int:
    """Print a report of the chosen light curves; returns the exit status."""
    path, output = options.todo, options.output
    if reason := print_report(_report(status, causes, totals, output)):
        logger.warning("standard output: %s; `tasoc-mpi status` shows what has been done", reason)
    if stop:
        print(f"{path}: {stop.reason}; `tasoc-mpi correct` continues", file=sys.stderr)
    elif totals.computed and (found := too_few(status)):
        good, tried = found
        some = f"only {good}" if good else "none"
        print(
            f"{path}: {some} of the {tried} chosen light curves could be corrected;"
            " the column `errors` of its table `diagnostics_corr` says why",
            file=sys.stderr,
        )
        return 1
    return stop.exit_status


def _open_task(stack: contextlib.ExitStack, options: RunOptions, args: argparse.Namespace) -> _Task:
    """Choose the light curves. No run can change them until the stack ends.

    Raises
    ------
    InputError
        If a run is under way or not finished, or there are light curves of several versions.
    MissingInput
        If there are no light curves, or no vectors.
    """
    worklist = load_worklist(options.todo)
    chosen = options.constraints.mask(worklist.rows)
    number = np.unique(worklist.ccd_of[chosen])
    photometry = PhotometryResults(worklist)
    for ccd in (worklist.ccds[n] for n in number.tolist()):
        log = log_path(options.output, ccd)
        if not options.dry and log.exists():
            stack.enter_context(exclusive(log))
        photometry.read(LogReader(log, worklist, ccd))
    decision = photometry.decide()
    of_ccds = np.isin(worklist.ccd_of, number)
    if (decision.status != worklist.status)[of_ccds].any():
        raise InputError(f"{options.todo}: a run has changed its results just now; correct again")
    _check_finished(worklist, decision.todo & of_ccds, args.partial)
    listed = read_listed(options.todo)
    chosen &= decision.listed & np.isin(decision.status, (STATUS.OK, STATUS.WARNING))
    if not chosen.any():
        raise MissingInput(
            f"{options.todo}: none of the chosen stars has a light curve in {options.output}; compute them"
            " with `tasoc-mpi run`"
        )
    chosen[chosen] = of_version(options.todo, listed.version[chosen], args.light_curves)
    source = _sources(options.output, worklist, listed, chosen, args.correction)
    return _Task(worklist, photometry, chosen, source)


def _check_finished(worklist: WorkList, todo: NDArray[np.bool_], partial: bool) -> None:
    """Raise InputError if stars are without a result, unless those that there are suffice."""
    left = np.bincount(worklist.ccd_of[todo], minlength=len(worklist.ccds))
    names = [f"{ccd_name(worklist.ccds[n])} ({left[n]} stars to do)" for n in np.flatnonzero(left)]
    if not names:
        return
    text = f"{worklist.path}: the run is not finished on {_some(names)}"
    if not partial:
        raise InputError(
            f"{text}; finish it with `tasoc-mpi run`, or correct with --partial those that there are"
        )
    logger.warning("%s: only the light curves that there are are corrected", text)


def _sources(
    output: Path, worklist: WorkList, listed: Listed, chosen: NDArray[np.bool_], method: str
) -> NDArray[np.float64]:
    """What each row is to be corrected with; see `correction_source`."""
    # Rank 0 starts without HDF5.
    from ..products.cbv_file import check_vectors

    source = np.full(len(chosen), np.nan)
    rows = np.stack([worklist.rows["sector"], worklist.rows["cadence"], listed.area], axis=1)
    keys, which = np.unique(rows[chosen], axis=0, return_inverse=True)
    found, missing = np.full(len(keys), correction_source(0, method)), []
    for number, key in enumerate(keys.tolist()):
        own = find_cbv(output / CBV_FOLDER, *key)
        if own is None:
            missing.append(cbv_name(*key))
            continue
        path, cadence = own
        found[number] = correction_source(check_vectors(path, key[0], cadence, key[2]).digest, method)
    if len(missing) == len(keys):
        raise MissingInput(
            f"{output / CBV_FOLDER}: no vectors of the {len(keys)} area(s) of the light curves"
            f" ({_some(missing)}); make them with `tasoc-mpi cbv`, which names areas with too few stars"
        )
    if missing:
        logger.warning(
            "%s: no %s; FLUX_CORR of their light curves stays NaN; `tasoc-mpi cbv` makes vectors where there"
            " are enough stars", output / CBV_FOLDER, _some(missing),
        )  # fmt: skip
    source[chosen] = found[which.reshape(-1)]
    return source


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _open_results(stack: contextlib.ExitStack, options: RunOptions, task: _Task) -> RunResults:
    """The corrections so far; those of other light curves, or with other vectors or methods, do not count."""
    worklist, last = task.worklist, LastCorrections(task.worklist)
    ccds = [worklist.ccds[n] for n in np.unique(worklist.ccd_of[task.chosen]).tolist()]
    results = open_results(
        stack,
        worklist,
        options.output,
        ccds,
        version=0,
        anew=ccds,
        dry=options.dry,
        log_of=correction_log_path,
        last=last,
    )
    last.outdate(task.photometry, task.source)
    return results


def _announce(rows: NDArray[np.void], output: Path, ranks: Ranks, record: RunRecord) -> Progress:
    logger.info("%s to correct on %s, in %s", counted(len(rows), "light curve"), ranks, output)
    record.begin(len(rows))
    return Progress(len(rows), "light curves")


def _report(status: NDArray[np.int8], causes: list[Cause], totals: RunTotals, output: Path) -> Iterator[str]:
    """Counts of the statuses of the chosen light curves, causes, and the rate, line by line."""
    if not totals.computed and (status != STATUS.UNKNOWN).all():
        yield f"Nothing to do: all {len(status)} light curves are done; --overwrite corrects them again."
    yield from status_lines(status, "to do")
    if causes:
        yield "failures and warnings by cause:"
        yield from cause_lines(causes, _NAMED)
    if totals.computed:
        rate = totals.computed / max(totals.seconds, 1e-9)
        done = counted(totals.computed, "light curve")
        yield f"{done} done in {totals.seconds:.1f} s: {rate:.1f} a second"
    yield f"light curves: {output}"
