"""Rank 0 of a run, from the work list to the published results."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..core.distinct import distinct
from ..core.errors import InputError
from ..core.locks import holder
from ..core.methods import method_file
from ..core.names import catalog_name, cube_name
from ..core.progress import Progress
from ..core.status import FAILED, STATUS
from ..core.tables import counted, json_text
from ..products.tpf_files import write_tpf_list
from ..worklist.failures import Cause, logged_causes
from ..worklist.last_results import Decision
from ..worklist.method_list import refresh_list
from ..worklist.output_folder import check_output, claim_output, note_output
from ..worklist.publish import publish
from ..worklist.rank_times import Ranks
from ..worklist.result_log import log_path
from ..worklist.run_record import RunRecord
from ..worklist.skip_lines import skipped_lines
from ..worklist.work_list import CCD, WorkList, ccd_name, load_worklist
from .dispatcher import Computer, schedule
from .outcome import Outcome, report_end, unit_of, write_summary
from .plan import plan, plan_values, requirements
from .queue import BatchSize
from .refusals import check_needs, check_writable
from .run_options import RunOptions, repeat_arguments, run_options
from .run_results import RunResults, open_results
from .run_time import Trial, estimate_time
from .signals import Stop

__all__ = ["run"]

logger = logging.getLogger(__name__)

#: Stars that skip others which the end of a run names.
_SKIPPING = 3


def run(args: argparse.Namespace, computer: Computer, stop: Stop, ranks: Ranks, trial: Trial) -> int:
    """Have the stars computed, publish the results and print a report.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `tasoc-mpi run`.
    computer : Computer
        Computes the stars.
    stop : Stop
        Ends the run early when it is requested.
    ranks : Ranks
        This rank is the first.
    trial : callable
        Computes a few stars, for a dry run.

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
    path, output = method_file(options.todo, options.method), options.output
    # Errors of the file come before anything is written, locks included.
    worklist = load_worklist(options.todo, check_write=not options.method)
    # Those are of the work list's own methods.
    worklist.has_old_results &= not options.method
    check_output(output, options.method)
    check_writable(options, path)
    chosen = options.constraints.mask(worklist.rows)
    if not chosen.any():
        if options.constraints.only_ccds:
            print(f"Nothing to do: {path} has no star of this sector, camera or CCD.")
            return 0
        raise InputError(f"{path}: none of its {len(chosen)} rows fulfils the filters; loosen them")
    if options.dry:
        _dry_run(options, worklist, chosen, ranks.node, trial)
        return 0
    output.mkdir(parents=True, exist_ok=True)
    claim_output(output, options.method)
    if options.method:
        worklist = load_worklist(refresh_list(options.todo, options.method, output), check_write=True)
    elif worklist.has_old_results:
        publish(path, output)
        worklist = load_worklist(path, check_write=True)
    record = RunRecord("run", args, output, ranks)
    with _opened(options, worklist, chosen) as results:
        chosen = _failed(options, results, chosen)
        if not chosen.any():
            print("Nothing to do: none of the chosen stars is an ERROR or an ABORT.")
            return 0
        wanted = chosen.copy()
        if options.again:
            wanted |= _compute_again(results, chosen, options.version)
        needed = _to_compute(results, wanted, False)
        needs = requirements(results, needed, output, ranks.node)
        check_needs(options, results, needed, needs, ranks.node)
        _note_files(options, (needed & worklist.in_file).any())
        size = BatchSize(len(ranks.workers), options.batch)
        announce = partial(_announce, options=options, ranks=ranks, record=record)
        totals = schedule(results, wanted, computer, size, announce, stop, options.max_errors, record)
        decision = results.last.decide()
        causes = _causes(options, worklist, chosen, decision)
        stars = len(distinct(worklist.rows["starid"][chosen]))
        skipped = _skipped(options, worklist, np.where(chosen, decision.skipped_by, -1))
    # Publishing reads everything anew: both at once would be too much memory.
    ccds = worklist.ccds
    del worklist, results
    status = _publish(options, ccds, decision)
    record.end(stop.reason or "complete")
    write_summary(status, totals, output, options.version)
    outcome = Outcome(status[chosen], stars, totals, causes, skipped, repeat_arguments(args, options))
    return report_end(options, outcome, stop)


def _note_files(options: RunOptions, has_tpfs: np.bool_) -> None:
    """Note where results are, and, for stars of target pixel files, the files of the input.

    Only once nothing can be refused any more: until then the results are still those of the run before.
    """
    note_output(method_file(options.todo, options.method), options.output)
    if has_tpfs:
        write_tpf_list(options.source, options.output)


def _causes(
    options: RunOptions, worklist: WorkList, chosen: NDArray[np.bool_], decision: Decision
) -> list[Cause]:
    """Causes of the failures and warnings of the chosen rows."""
    named = chosen & np.isin(decision.status, (*FAILED, STATUS.WARNING))
    return logged_causes(options.output, worklist, named) if named.any() else []


def _skipped(options: RunOptions, worklist: WorkList, by: NDArray[np.int64]) -> list[str]:
    """Lines about the stars that others skip; `by` are the rows of these, -1 for none."""
    return list(skipped_lines(worklist.rows, by, options.shown, _SKIPPING))


def _failed(options: RunOptions, results: RunResults, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The chosen rows; of a run of what has failed those of them."""
    if not options.failed:
        return chosen
    return chosen & np.isin(results.last.decide().status, FAILED)


def _to_compute(results: RunResults, chosen: NDArray[np.bool_], overwrite: bool) -> NDArray[np.bool_]:
    """The chosen rows that a run would compute."""
    return chosen if overwrite else chosen & (results.last.skipped_by() < 0) & ~results.last.done


def _dry_run(
    options: RunOptions, worklist: WorkList, chosen: NDArray[np.bool_], node: list[int], trial: Trial
) -> None:
    """Print what would be done; no file of the input or of the output changes."""
    with _opened(options, worklist, chosen) as results:
        chosen = _failed(options, results, chosen)
        wanted = _to_compute(results, chosen, options.again)
        needs = requirements(results, wanted, options.output, node)
        run_time = estimate_time(results, wanted, options.method, node, trial)
        if options.as_json:
            print(json_text(plan_values(results, wanted, chosen, options.source, node, needs, run_time)))
        else:
            stars = counted(len(distinct(worklist.rows["starid"][wanted])), "star")
            fulfil = f"{chosen.sum():,} {'fulfils' if chosen.sum() == 1 else 'fulfil'} the filters"
            rows = f"{wanted.sum():,} of {counted(len(wanted), 'row')}"
            print(f"{rows} ({fulfil}), {stars}, would be computed")
            print("\n".join((*plan(results, wanted, options.source, node, run_time), *map(str, needs))))
        check_needs(options, results, wanted, needs, node)


@contextlib.contextmanager
def _opened(options: RunOptions, worklist: WorkList, chosen: NDArray[np.bool_]) -> Iterator[RunResults]:
    """The results so far of the CCDs of the chosen stars, whose logs are locked."""
    stars = np.bincount(worklist.ccd_of, minlength=len(worklist.ccds))
    chosen_stars = np.bincount(worklist.ccd_of[chosen], minlength=len(worklist.ccds))
    ccds = [ccd for ccd, some in zip(worklist.ccds, chosen_stars > 0, strict=True) if some]
    whole = [ccd for ccd, every in zip(worklist.ccds, chosen_stars == stars, strict=True) if every]
    anew = whole if options.overwrite and not options.failed else ()
    with contextlib.ExitStack() as stack:
        yield open_results(stack, worklist, options.output, ccds, options.version, anew, options.dry)


def _compute_again(results: RunResults, chosen: NDArray[np.bool_], version: int) -> NDArray[np.bool_]:
    """Have the chosen stars computed again; returns what `RunResults.reset` does."""
    before = results.last.decide()
    has_lightcurve = np.isin(before.status, (STATUS.OK, STATUS.WARNING))
    again = results.reset(chosen, version)
    if replaced := int(np.count_nonzero(chosen & has_lightcurve)):
        logger.info("%s will be replaced, each when its successor is there", counted(replaced, "light curve"))
    return again


def _publish(options: RunOptions, ccds: list[CCD], decision: Decision) -> NDArray[np.int8]:
    """Publish the results, unless another run will; the statuses of all stars."""
    path = method_file(options.todo, options.method)
    for ccd in ccds:
        if name := holder(log_path(options.output, ccd)):
            logger.info(
                "%s: will be published when the run of %s (%s) ends, or by `tasoc-mpi publish`",
                path,
                ccd_name(ccd),
                name,
            )
            return decision.status
    return publish(path, options.output, options.todo if options.method else None).decision.status


def _announce(rows: NDArray[np.void], options: RunOptions, ranks: Ranks, record: RunRecord) -> Progress:
    """Log the number of stars, CCDs and workers, and the files that are missing; begin the record."""
    ccds = distinct(rows[["sector", "camera", "ccd"]])
    stars = len(distinct(rows["starid"]))
    text = counted(stars, "star")
    text = f"{counted(len(rows), 'row')} of {text}" if stars < len(rows) else text
    on_ccds = counted(len(ccds), "CCD")
    logger.info("%s of %s on %s; light curves in %s", text, on_ccds, ranks, options.output)
    of_images = distinct(rows[rows["datasource"] == b"ffi"][["sector", "camera", "ccd"]])
    for name_of, command in ((cube_name, "prepare"), (catalog_name, "catalog")):
        names = [name_of(*ccd) for ccd in of_images.tolist()]
        missing = [name for name in names if not (options.source / name).is_file()]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            logger.warning(
                "%s: no %s%s; stars of these images will be errors (make them with `tasoc-mpi %s`)",
                options.source,
                ", ".join(missing[:3]),
                more,
                command,
            )
    record.begin(len(rows))
    return Progress(len(rows), unit_of(len(rows), stars))
