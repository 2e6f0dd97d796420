"""Results that older versions of this program, or others, have left in the tables of a work list.

They become logs, once: from then on the file is published from those. The old file stays beside the new one.
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

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.locks import exclusive
from ..core.messages import DIAGNOSTICS, RESULT_DTYPE, ProtocolError, Results, pack_results, unpack_many
from ..core.status import STATUS
from .result_log import RESULTS, log_path, new_header, pack_record
from .rows import CCD, WorkList
from .schema import columns_of
from .todo_file import SQLITE_ERRORS, explain, open_todo

__all__ = ["old_results", "take_over"]

logger = logging.getLogger(__name__)

#: Results of a message.
_AT_ONCE = 500
_ENDS = (STATUS.OK, STATUS.ERROR, STATUS.WARNING, STATUS.ABORT)


def take_over(rows: WorkList, output: Path) -> Path:
    """Write the results in the tables of a work list to logs, where there are none yet.

    Parameters
    ----------
    rows : WorkList
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
    folder = rows.output if rows.output is not None and rows.output.is_dir() else output
    kept = rows.path.with_name(f"{rows.path.name}.old")
    messages = old_results(rows)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results").mkdir(exist_ok=True)
        for ccd, records in messages.items():
            path = log_path(folder, ccd)
            with exclusive(path):
                if not path.exists():
                    header = new_header(rows, ccd, 6 if rows.version is None else rows.version)
                    body = [pack_record(RESULTS, when, data) + data for when, data in records]
                    write_whole(path, header + b"".join(body))
        if not kept.exists():
            os.link(rows.path, kept, follow_symlinks=False)
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be written ({error.strerror}); make room, or change its"
            " permissions"
        ) from None
    logger.warning(
        "%s: of an older version or another program; its results are now in %s, and the old file is %s",
        rows.path,
        folder / "results",
        kept,
    )
    return folder


def old_results(rows: WorkList) -> dict[CCD, list[tuple[float, bytes]]]:
    """The results in the tables of a work list: times and messages for the log of each CCD.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    with contextlib.closing(open_todo(rows.path)) as conn:
        try:
            return _messages(conn, rows)
        except SQLITE_ERRORS as error:
            raise explain(rows.path, error) from None
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{rows.path}: its results have a value of the wrong kind ({error}); restore a copy, or make"
                " it anew with `tasoc-mpi todo`"
            ) from None


def _messages(conn: sqlite3.Connection, rows: WorkList) -> dict[CCD, list[tuple[float, bytes]]]:
    """Times and messages for the log of each CCD."""
    found: dict[CCD, list[tuple[float, bytes]]] = defaultdict(list)
    for ccd, message in _of_tables(conn, rows):
        found[ccd].append((0.0, message))
    if columns_of(conn, "photometry_journal"):
        for when, message in conn.execute("SELECT time, results FROM photometry_journal ORDER BY rowid"):
            try:
                index = rows.find(unpack_many([message]).heads["priority"])
            except (ProtocolError, TypeError, ValueError):
                index = np.zeros(0, np.int64)
            if not len(index) or (index < 0).any() or len(np.unique(rows.ccd_of[index])) != 1:
                raise InputError(
                    f"{rows.path}: what the last run left in it is of another version of tasoc-mpi, or"
                    " damaged; end that run with the version that began it, or make the work list anew"
                )
            found[rows.ccds[rows.ccd_of[index[0]]]].append((float(when), message))
    return found


def _of_tables(conn: sqlite3.Connection, rows: WorkList) -> Iterator[tuple[CCD, bytes]]:
    """Messages of what the tables hold."""
    own = np.where(np.isin(rows.status, _ENDS), rows.status, np.int8(STATUS.UNKNOWN))
    if columns_of(conn, "photometry_results"):
        for priority, status in conn.execute("SELECT priority, status FROM photometry_results"):
            own[_index(rows, priority)] = status
    claims: dict[int, list[int]] = defaultdict(list)
    if columns_of(conn, "photometry_claims"):
        pairs = "SELECT priority, starid FROM photometry_claims ORDER BY 1, 2"
    elif columns_of(conn, "photometry_skipped"):
        pairs = (
            "SELECT skipped_by, starid FROM photometry_skipped JOIN todolist USING (priority) ORDER BY 1, 2"
        )
    else:
        pairs = "SELECT 1, 1 WHERE 0"
    for priority, starid in conn.execute(pairs):
        claims[_index(rows, priority)].append(starid)
    diagnostics = _diagnostics(conn, rows)
    for number, ccd in enumerate(rows.ccds):
        done = np.flatnonzero((rows.ccd_of == number) & np.isin(own, _ENDS))
        for start in range(0, len(done), _AT_ONCE):
            part = done[start : start + _AT_ONCE].tolist()
            numbers = np.zeros(len(part), RESULT_DTYPE)
            for name in DIAGNOSTICS:
                numbers[name] = np.nan
            strings: list[list[str | None]] = [[None] * len(part), [""] * len(part), [None] * len(part)]
            for at, index in enumerate(part):
                numbers["priority"][at], numbers["status"][at] = rows.priority[index], own[index]
                numbers["skip_count"][at] = len(claims.get(index, ()))
                for name, value in diagnostics.get(index, {}).items():
                    if name in ("lightcurve", "method_used", "errors"):
                        strings[("lightcurve", "method_used", "errors").index(name)][at] = value
                    elif value is not None:
                        numbers[name][at] = value
            skips = np.array([starid for index in part for starid in claims.get(index, ())], np.int64)
            yield ccd, pack_results(Results(numbers, strings[0], strings[1], strings[2], skips))


def _diagnostics(conn: sqlite3.Connection, rows: WorkList) -> dict[int, dict]:
    """What the table `diagnostics` holds, by row of the work list."""
    wanted = {"lightcurve", "method_used", "elaptime", "worker_wait_time", *DIAGNOSTICS, "errors"}
    names = [name for name in columns_of(conn, "diagnostics") if name in wanted]
    if not names:
        return {}
    cursor = conn.execute(f"SELECT priority, {', '.join(names)} FROM diagnostics")
    found = {}
    for priority, *values in cursor:
        found[_index(rows, priority)] = row = dict(zip(names, values, strict=True))
        for name in ("lightcurve", "method_used", "errors"):
            if not isinstance(row.get(name), (str, type(None))):
                raise ValueError(f"{name} of priority {priority}")
    return found


def _index(rows: WorkList, priority: int) -> int:
    index = int(rows.find(np.array([priority], np.int64))[0])
    if index < 0:
        raise ValueError(f"priority {priority}")
    return index
