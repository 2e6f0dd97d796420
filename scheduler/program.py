"""What rank 0 does from the start of a run to its end."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.locks import holder
from ..core.names import cube_name
from ..core.status import STATUS
from ..core.streams import print_report
from ..products.tpf_files import write_tpf_list
from ..worklist.constraints import Constraints
from ..worklist.output_folder import note_output
from ..worklist.publish import publish
from ..worklist.result_log import log_path
from ..worklist.result_state import Decision
from ..worklist.rows import CCD, WorkList, ccd_name, load_worklist
from .dispatcher import Drain, Outcome, schedule
from .plan import check_needs, needs_of, plan, wanted_of
from .queue import BatchSize
from .result_store import Store, open_store
from .run_progress import Progress
from .signals import Stop

__all__ = ["Orders", "run", "write_summary"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orders:
    """What the user wants of a run.

    Attributes
    ----------
    todo : Path
        The work list.
    source, output : Path
        Input and output folder, absolute.
    constraints : Constraints
        Which stars may be computed.
    version : int
        Of the light curves.
    overwrite : bool
        Compute again what is done.
    batch : int or None
        Stars to hand out at once; None: by their cost.
    max_errors : int
        So many stars may fail before the run ends; 0: any number.
    quiet : bool
        Show no progress.
    dry : bool
        Only say what would be done.
    """

    todo: Path
    source: Path
    output: Path
    constraints: Constraints
    version: int = 6
    overwrite: bool = False
    batch: int | None = None
    max_errors: int = 0
    quiet: bool = False
    dry: bool = False


def run(orders: Orders, drain: Drain, stop: Stop, node: list[int]) -> int:
    """Have the stars computed, and say what became of them.

    Parameters
    ----------
    orders : Orders
        What the user wants.
    drain : callable
        Has a queue computed.
    stop : Stop
        Ends the run early when something has asked for it.
    node : list of int
        Number of each rank's node, this rank's first.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    TasocError
        If something that the user gave cannot be used.
    """
    path, output = orders.todo, orders.output
    # Says what is wrong with the file before anything is written, locks included.
    rows = load_worklist(path, check_write=True)
    chosen = orders.constraints.mask(rows.rows)
    if not chosen.any():
        if orders.constraints.only_places:
            print(f"Nothing to do: no star of {path} is there.")
            return 0
        raise InputError(f"{path}: none of its {len(chosen)} stars fulfils the filters; loosen them")
    if orders.dry:
        return _plan(orders, rows, chosen, node)
    _make_folder(output)
    if rows.old_results:
        publish(path, output)
        rows = load_worklist(path, check_write=True)
    with _opened(orders, rows, chosen) as store:
        note_output(path, output)
        wanted = chosen.copy()
        if orders.overwrite:
            wanted |= _begin_anew(store, chosen, orders.version)
        needed = wanted_of(store, wanted, False)
        check_needs(needs_of(store, needed, output, node), output, path)
        if (rows.rows["datasource"][needed] != b"ffi").any():
            write_tpf_list(orders.source, output)
        announce = functools.partial(_announce, orders=orders, ranks=len(node))
        size = BatchSize(max(1, len(node) - 1), orders.batch)
        outcome = schedule(store, wanted, drain, size, announce, stop, orders.max_errors)
        decision = store.state.decide()
    # Publishing reads everything anew: both at once would be too much memory.
    ccds = rows.ccds
    del rows, store
    status = _publish(path, output, ccds, decision)
    write_summary(status, outcome, output, orders.version)
    if reason := print_report(_report(status[chosen], outcome, output)):
        logger.warning("standard output: %s; `tasoc-mpi status` shows what the run has done", reason)
    if stop:
        print(f"{path}: {stop.reason}; `tasoc-mpi run` continues it", file=sys.stderr)
    elif outcome.computed and np.isin(status[chosen], (STATUS.ERROR, STATUS.ABORT)).all():
        print(
            f"{path}: none of the {np.count_nonzero(chosen)} chosen stars has a light curve;"
            f" `tasoc-mpi status {path.parent}` says why",
            file=sys.stderr,
        )
        return 1
    return stop.exit_status


def _plan(orders: Orders, rows: WorkList, chosen: NDArray[np.bool_], node: list[int]) -> int:
    """Say what would be done; nothing on disk changes."""
    with _opened(orders, rows, chosen, dry=True) as store:
        print("\n".join(plan(store, chosen, orders.source, orders.output, node, orders.overwrite)))
        wanted = wanted_of(store, chosen, orders.overwrite)
        check_needs(needs_of(store, wanted, orders.output, node), orders.output, orders.todo)
    return 0


@contextlib.contextmanager
def _opened(orders: Orders, rows: WorkList, chosen: NDArray[np.bool_], dry: bool = False) -> Iterator[Store]:
    """The results so far of the CCDs of the chosen stars, which no other run writes meanwhile."""
    stars = np.bincount(rows.ccd_of, minlength=len(rows.ccds))
    of_those = np.bincount(rows.ccd_of[chosen], minlength=len(rows.ccds))
    ccds = [ccd for ccd, some in zip(rows.ccds, of_those > 0, strict=True) if some]
    whole = [ccd for ccd, every in zip(rows.ccds, of_those == stars, strict=True) if every]
    with contextlib.ExitStack() as stack:
        yield open_store(
            stack, rows, orders.output, ccds, orders.version, whole if orders.overwrite else (), dry
        )


def _begin_anew(store: Store, chosen: NDArray[np.bool_], version: int) -> NDArray[np.bool_]:
    """Have the chosen stars computed again; returns the rows for which that is so (see `Store.reset`)."""
    before = store.state.decide()
    has_lightcurve = np.isin(before.status, (STATUS.OK, STATUS.WARNING))
    again = store.reset(chosen, version)
    logger.info(
        "%d light curve(s) will be replaced, each when its successor is there",
        np.count_nonzero(chosen & has_lightcurve),
    )
    return again


def _publish(path: Path, output: Path, ccds: list[CCD], decision: Decision) -> NDArray[np.int8]:
    """Publish the results, unless another run will; the statuses of all stars."""
    for ccd in ccds:
        if name := holder(log_path(output, ccd)):
            logger.info(
                "%s: will be published when the run of %s (%s) ends, or by `tasoc-mpi publish`",
                path,
                ccd_name(ccd),
                name,
            )
            return decision.status
    return publish(path, output).decision.status


def _make_folder(output: Path) -> None:
    """Make the output folder; raises InputError if it cannot be made or written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); choose another --output") from None
    if not os.access(output, os.W_OK | os.X_OK):
        raise InputError(f"{output}: not writable; change its permissions or choose another --output")


def _announce(rows: NDArray[np.void], orders: Orders, ranks: int) -> Progress:
    """Say what will run, and what of its input is missing; returns the progress bar."""
    places = np.unique(rows[["sector", "camera", "ccd"]])
    on = "1 process" if ranks == 1 else f"{ranks - 1} of {ranks} ranks"
    logger.info("%d stars of %d CCD(s) on %s; light curves in %s", len(rows), len(places), on, orders.output)
    names = [cube_name(*ccd) for ccd in places.tolist()]
    missing = [name for name in names if not (orders.source / name).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        logger.warning(
            "%s: no %s%s; their stars will be errors (make them with `tasoc-mpi prepare`)",
            orders.source,
            ", ".join(missing[:3]),
            more,
        )
    return Progress(len(rows), quiet=orders.quiet)


def _report(status: NDArray[np.int8], outcome: Outcome, output: Path) -> Iterator[str]:
    """What became of the chosen stars, by their statuses, line by line."""
    counts = np.bincount(status, minlength=max(STATUS) + 1)
    if not outcome.computed and not counts[STATUS.UNKNOWN]:
        yield f"Nothing to do: all {len(status)} chosen stars are done; --overwrite computes them again."
    names = {STATUS.UNKNOWN: "not computed"}
    for one in STATUS:
        if counts[one]:
            yield f"{names.get(one, one.name):>12} {counts[one]:9d}"
    if outcome.computed:
        rate = outcome.computed / max(outcome.seconds, 1e-9)
        yield f"{outcome.computed} stars computed in {outcome.seconds:.1f} s: {rate:.1f} stars/s"
    yield f"light curves: {output}"


def write_summary(status: NDArray[np.int8], outcome: Outcome, output: Path, version: int) -> Path:
    """Write `summary.json` of a work list with these statuses, and return its path."""
    counts = np.bincount(status, minlength=max(STATUS) + 1)
    done = outcome.computed
    summary = {
        "numtasks": len(status),
        **{status.name: int(counts[status]) for status in STATUS},
        "tasks_run": done,
        "seconds": round(outcome.seconds, 3),
        "mean_elaptime": outcome.elapsed / done if done else None,
        "mean_worker_waittime": outcome.waited / done if done else None,
        "output": str(output),
        "version": version,
    }
    path = output / "summary.json"
    write_whole(path, (json.dumps(summary, indent=2) + "\n").encode(), durable=False)
    return path
