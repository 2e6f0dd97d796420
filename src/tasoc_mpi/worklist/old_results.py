"""Results that older versions of this program, or others, have left in the tables of a work list.

`move_to_logs` writes them to logs once: after that the file is published from these. The old file stays
beside the new one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.locks import exclusive
from ..core.messages import DIAGNOSTICS, RESULT_DTYPE, ProtocolError, Results, pack_results, unpack_many
from ..core.status import ENDS, STATUS
from .result_log import RESULTS, ResultGroup, log_path, new_header, pack_record
from .schema import columns_of
from .todo_file import SQLITE_ERRORS, explain, open_todo
from .work_list import CCD, WorkList

__all__ = ["move_to_logs", "read_old_results"]

logger = logging.getLogger(__name__)

#: Results of a message.
_AT_ONCE = 500
_STRINGS = ("lightcurve", "method_used", "errors")
_SECONDS = ("elaptime", "worker_wait_time")
_ROWS_AT_ONCE = 20_000


def move_to_logs(worklist: WorkList, output: Path) -> Path:
    """Write the results in the tables of a work list to logs, where there are none yet.

    Parameters
    ----------
    worklist : WorkList
        One with old results.
    output : Path
        Folder of the logs, where the work list names none, or one that was moved.

    Returns
    -------
    Path
        The folder whose logs now hold the results.

    Raises
    ------
    InputError
        If they cannot be read, or the logs not be written; nothing has changed then.
    """
    folder = worklist.output if worklist.output is not None and worklist.output.is_dir() else output
    kept = worklist.path.with_name(f"{worklist.path.name}.old")
    results = read_old_results(worklist)
    try:
        (folder / "results").mkdir(parents=True, exist_ok=True)
        for ccd, groups in results.items():
            path = log_path(folder, ccd)
            with exclusive(path):
                if not path.exists():
                    version = 6 if worklist.version is None else worklist.version
                    records = [(group.times[0], group.bundle.messages[0]) for group in groups]
                    body = [pack_record(RESULTS, when, data) + data for when, data in records]
                    write_whole(path, new_header(worklist, ccd, version) + b"".join(body))
        if not kept.exists():
            os.link(worklist.path, kept, follow_symlinks=False)
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be written ({error.strerror}); make room, or change its"
            " permissions"
        ) from None
    logger.warning(
        "%s: of an older version or another program; its results are now in %s, and the old file is %s",
        worklist.path,
        folder / "results",
        kept,
    )
    return folder


def read_old_results(worklist: WorkList) -> dict[CCD, list[ResultGroup]]:
    """The results in the tables of a work list by CCD, each group as one message of its log.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    found: dict[CCD, list[ResultGroup]] = defaultdict(list)
    with contextlib.closing(open_todo(worklist.path)) as conn:
        try:
            for when, message in _messages(conn, worklist):
                bundle = unpack_many([message])
                index = worklist.find(bundle.heads["priority"])
                if not len(index) or (index < 0).any() or len(np.unique(worklist.ccd_of[index])) != 1:
                    raise ProtocolError
                ccd = worklist.ccds[worklist.ccd_of[index[0]]]
                found[ccd].append(ResultGroup(index, bundle, np.array([float(when)])))
        except SQLITE_ERRORS as error:
            raise explain(worklist.path, error) from None
        except ProtocolError:
            raise InputError(
                f"{worklist.path}: holds results of another version of tasoc-mpi, or damaged ones; end that"
                " run with the version that began it, or make the work list anew"
            ) from None
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{worklist.path}: its results have a value of the wrong kind ({error}); restore a copy, or"
                " make it anew with `tasoc-mpi todo`"
            ) from None
    return found


def _messages(conn: sqlite3.Connection, worklist: WorkList) -> Iterator[tuple[float, bytes]]:
    """Times and messages of all results: of the tables, then of the journal of an unfinished run."""
    own_status = np.where(np.isin(worklist.status, ENDS), worklist.status, np.int8(STATUS.UNKNOWN))
    if columns_of(conn, "photometry_results"):
        for priority, status in conn.execute("SELECT priority, status FROM photometry_results"):
            own_status[_row(worklist, priority)] = status
    targets = _skip_targets(conn, worklist)
    numbers, strings = _diagnostics(conn, worklist)
    numbers["priority"], numbers["status"] = worklist.priority, own_status
    for number in range(len(worklist.ccds)):
        done = np.flatnonzero((worklist.ccd_of == number) & np.isin(own_status, ENDS))
        for start in range(0, len(done), _AT_ONCE):
            part = done[start : start + _AT_ONCE]
            some, skipped = numbers[part], [targets.get(index, []) for index in part.tolist()]
            some["skip_count"] = [len(starids) for starids in skipped]
            texts = {name: values[part].tolist() for name, values in strings.items()}
            skips = np.array([starid for starids in skipped for starid in starids], np.int64)
            yield 0.0, pack_results(Results(some, **texts, skips=skips))
    if columns_of(conn, "photometry_journal"):
        yield from conn.execute("SELECT time, results FROM photometry_journal ORDER BY rowid")


def _skip_targets(conn: sqlite3.Connection, worklist: WorkList) -> dict[int, list[int]]:
    """TIC numbers of the skip targets by row of the work list."""
    found: dict[int, list[int]] = defaultdict(list)
    if columns_of(conn, "photometry_claims"):
        pairs = "SELECT priority, starid FROM photometry_claims ORDER BY 1, 2"
    elif columns_of(conn, "photometry_skipped"):
        pairs = (
            "SELECT skipped_by, starid FROM photometry_skipped JOIN todolist USING (priority) ORDER BY 1, 2"
        )
    else:
        return found
    for priority, starid in conn.execute(pairs):
        found[_row(worklist, priority)].append(starid)
    return found


def _diagnostics(
    conn: sqlite3.Connection, worklist: WorkList
) -> tuple[NDArray[np.void], dict[str, NDArray[np.object_]]]:
    """The table `diagnostics` as results of all rows of the work list: numbers and strings.

    Columns: as an object each, the values of a few million rows would be gigabytes.
    """
    numbers = np.zeros(len(worklist.rows), RESULT_DTYPE)
    for name in DIAGNOSTICS:
        numbers[name] = np.nan
    strings = {
        name: np.full(len(numbers), "" if name == "method_used" else None, object) for name in _STRINGS
    }
    wanted = {*_STRINGS, *_SECONDS, *DIAGNOSTICS}
    names = [name for name in columns_of(conn, "diagnostics") if name in wanted]
    cursor = conn.execute(f"SELECT priority, {', '.join(names)} FROM diagnostics") if names else None
    while cursor is not None and (block := cursor.fetchmany(_ROWS_AT_ONCE)):
        priorities, *columns = zip(*block, strict=True)
        index = worklist.find(np.array(priorities, np.int64))
        if (index < 0).any():
            raise ValueError(f"priority {priorities[int(np.argmin(index))]}")
        for name, column in zip(names, columns, strict=True):
            if name in strings:
                wrong = [not isinstance(value, str | None) for value in column]
                if any(wrong):
                    raise ValueError(f"{name} of priority {priorities[wrong.index(True)]}")
                strings[name][index] = column
            else:
                values = np.array(column, float)  # None becomes NaN
                numbers[name][index] = np.nan_to_num(values, nan=0.0) if name in _SECONDS else values
    return numbers, strings


def _row(worklist: WorkList, priority: int) -> int:
    index = int(worklist.find(np.array([priority], np.int64))[0])
    if index < 0:
        raise ValueError(f"priority {priority}")
    return index
