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

from ..core.streams import print_report
from ..errors import InputError
from ..products.shards import find_shards
from ..products.todo import TODO_NAME, Constraints, lock_todo, open_todo
from ..status import STATUS
from .loop import Drain, Outcome, schedule
from .plan import check_needs, needs_of, plan
from .progress import Progress
from .queue import BatchSize
from .signals import Stop
from .store import Store, load_store

__all__ = ["Orders", "find_todo", "run", "write_summary"]

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


def find_todo(source: Path, named: str | None) -> Path:
    """The work list to be used.

    Raises
    ------
    InputError
        If none is named and the folder's has been split.
    """
    path = Path(named) if named else source / TODO_NAME
    if not named and (shards := find_shards(source)):
        raise InputError(
            f"{path}: is split into {len(shards)} shard(s); run each with --todo, or bring them back with "
            f"`tasoc-mpi merge {source} --remove`"
        )
    return path


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
    # Says what is wrong with the file before anything is written, the lock included.
    open_todo(path, check_write=True).close()
    if orders.dry:
        return _plan(orders, node)
    _make_folder(output)
    with lock_todo(path), _opened(path) as store:
        chosen = orders.constraints.mask(store.rows)
        if not chosen.any():
            raise InputError(f"{path}: none of its {len(chosen)} stars fulfils the filters; loosen them")
        store.begin(output, orders.version, orders.overwrite and bool(chosen.all()))
        if orders.overwrite:
            store.reset(chosen, output)
        needed = chosen & (store.skipped_by < 0) & ~store.listed
        check_needs(needs_of(store, needed, output, node), output, path)
        announce = functools.partial(_announce, orders=orders, ranks=len(node))
        size = BatchSize(max(1, len(node) - 1), orders.batch)
        outcome = schedule(store, chosen, drain, size, output, announce, stop, orders.max_errors)
        write_summary(store, outcome, output, orders.version)
        if reason := print_report(_report(store, chosen, outcome, output)):
            logger.warning("standard output: %s; `tasoc-mpi status` shows what the run has done", reason)
    if stop:
        print(f"{path}: {stop.reason}; `tasoc-mpi run` continues it", file=sys.stderr)
    return stop.exit_status


def _plan(orders: Orders, node: list[int]) -> int:
    """Say what would be done, on a copy in memory: nothing on disk changes."""
    with _opened(orders.todo, copy=True) as store:
        chosen = orders.constraints.mask(store.rows)
        print("\n".join(plan(store, chosen, orders.source, orders.output, node, orders.overwrite)))
        wanted = chosen if orders.overwrite else chosen & (store.skipped_by < 0) & ~store.listed
        check_needs(needs_of(store, wanted, orders.output, node), orders.output, orders.todo)
    return 0


@contextlib.contextmanager
def _opened(path: Path, copy: bool = False) -> Iterator[Store]:
    store = load_store(path, copy)
    with contextlib.closing(store):
        yield store


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
    names = [f"sector{sector:03d}_camera{camera}_ccd{ccd}.hdf5" for sector, camera, ccd in places.tolist()]
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


def _report(store: Store, chosen: NDArray[np.bool_], outcome: Outcome, output: Path) -> Iterator[str]:
    """What became of the chosen stars, line by line."""
    counts = np.bincount(store.status[chosen], minlength=max(STATUS) + 1)
    if not outcome.changed:
        count = int(chosen.sum())
        yield f"Nothing to do: all {count} chosen stars are done; --overwrite computes them again."
    names = {STATUS.UNKNOWN: "not computed"}
    for status in STATUS:
        if counts[status]:
            yield f"{names.get(status, status.name):>12} {counts[status]:9d}"
    if outcome.computed:
        rate = outcome.computed / max(outcome.seconds, 1e-9)
        yield f"{outcome.computed} stars computed in {outcome.seconds:.1f} s: {rate:.1f} stars/s"
    yield f"light curves: {output}"


def write_summary(store: Store, outcome: Outcome, output: Path, version: int) -> Path:
    """Write `summary.json` of a work list, and return its path.

    A shard's has a name of its own: tasks on other hosts write to the same folder.
    """
    counts = np.bincount(store.status, minlength=max(STATUS) + 1)
    done = outcome.computed
    summary = {
        "numtasks": len(store.rows),
        **{status.name: int(counts[status]) for status in STATUS},
        "tasks_run": done,
        "seconds": round(outcome.seconds, 3),
        "mean_elaptime": outcome.elapsed / done if done else None,
        "mean_worker_waittime": outcome.waited / done if done else None,
        "output": str(output),
        "version": version,
    }
    path = output / f"{store.path.stem.replace('todo', 'summary', 1)}.json"
    temporary = output / f".{store.path.stem}.summary.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path
