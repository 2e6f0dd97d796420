"""`TaskManager`: a work list star by star, for programs that hand out stars themselves.

The interface is the one that users of the TASOC pipeline know; it uses the skip rule and the logs of
`tasoc-mpi run`, so that both can be used on the same work list, one after the other.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import replacing
from ..core.diagnostics import Diagnostics
from ..core.errors import InputError, MissingInput, UsageError, one_line
from ..core.messages import DIAGNOSTICS, RESULT_DTYPE, Results, pack_results
from ..core.methods import choose_method, method_file
from ..core.status import ENDS, STATUS
from ..core.whole import whole
from ..products.star_values import LARGEST_STARID
from ..worklist.constraints import Constraints, is_datasource
from ..worklist.method_list import refresh_list
from ..worklist.output_folder import check_output, claim_output, find_output, note_output
from ..worklist.publish import publish
from ..worklist.result_log import LogReader, log_path
from ..worklist.todo_file import TODO_NAME
from ..worklist.work_list import WorkList, load_worklist
from .dispatcher import RunTotals
from .outcome import write_summary
from .run_results import open_results

__all__ = ["TaskManager"]

#: By what tasks are chosen; a cone is one of command lines alone.
_FILTERS = tuple(field.name for field in fields(Constraints) if field.name != "in_cone")


class TaskManager:
    """Hands out stars of a work list and takes their results.

    Results reach the logs in groups (see `RunResults`); `backup`, `write_summary` and `close` publish them.

    Parameters
    ----------
    todo_file : path-like
        The work list, or the folder that holds it.
    output : path-like, optional
        Folder of the light curves. Default: as of the last run, TESSPHOT_OUTPUT, or ``output`` beside the
        work list.
    version : int, optional
        Of the light curves. Default: as of the last run, or 6.
    overwrite : bool, optional
        Forget all results.
    photometry : str, optional
        A method that computes all stars, as for ``tasoc-mpi run --photometry``: a name, ``MODULE:CLASS`` or
        ``FILE.py:CLASS``. Its results have an output folder and a published list of their own. Default: the
        methods in the work list.

    Attributes
    ----------
    path : Path
        The published list: `todo_file`, or that of the method.
    output : Path
        Folder of the light curves.
    version : int
        Of the light curves.

    Raises
    ------
    UsageError, MissingInput, InputError
        If the work list cannot be used, another program is using it, there is no such method, or `output`
        holds the results of another one.

    Examples
    --------
    >>> TaskManager("no.sqlite")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.MissingInput: no.sqlite: no work list here; make one with `tasoc-mpi todo .`
    """

    def __init__(
        self,
        todo_file: str | os.PathLike[str],
        output: str | os.PathLike[str] | None = None,
        version: int | None = None,
        overwrite: bool = False,
        photometry: str | None = None,
    ) -> None:
        todo = Path(todo_file)
        if not todo.exists() and todo.suffix != ".sqlite":
            raise MissingInput(f"{todo}: no such folder; name the one that holds the work list")
        if todo.is_dir():
            todo = todo / TODO_NAME
        self._method = choose_method(photometry, computes=True)
        method = self._method.name
        path = method_file(todo, method)
        self._rows = todo if method else None
        worklist = load_worklist(todo, check_write=not method)
        if output is None:
            published = worklist.output
            if method:
                published = load_worklist(path).output if path.exists() else None
            output = find_output(path, published, method)
        self.output = Path(output).resolve()
        check_output(self.output, method)
        self.output.mkdir(parents=True, exist_ok=True)
        claim_output(self.output, method)
        if method:
            worklist = load_worklist(refresh_list(todo, method, self.output), check_write=True)
        elif worklist.has_old_results:
            publish(path, self.output)
            worklist = load_worklist(path)
        self.version = (
            _version(worklist, self.output) if version is None else whole(version, "version", 0, 99)
        )
        with contextlib.ExitStack() as stack:
            anew = worklist.ccds if overwrite else ()
            self._results = open_results(
                stack, worklist, self.output, worklist.ccds, self.version, anew, synced=False
            )
            note_output(path, self.output)
            if overwrite:
                self._results.reset(np.ones(len(worklist.rows), bool), self.version)
            self._stack = stack.pop_all()
        self.path = path
        self._closed = False
        self._started = np.zeros(len(worklist.rows), dtype=bool)
        self._totals = RunTotals()
        self._random = np.random.default_rng()
        self._constraints: tuple[Constraints, NDArray[np.bool_]] | None = None
        self._apply_skip_rule()

    def __enter__(self) -> TaskManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring the file up to date and let it go; stars that were started and not saved are to do again."""
        if self._closed:
            return
        self._closed = True
        with self._stack:
            self._results.flush()
        self._summarise()

    def get_number_tasks(self, **constraints: Any) -> int:
        """How many stars are to be computed.

        Parameters
        ----------
        **constraints
            `sector`, `camera`, `ccd`, `cadence`, `datasource`, `starid`, `priority`, `method`: a value or
            several; `tmag_min`, `tmag_max`.

        Raises
        ------
        UsageError
            If there is no such constraint or it has an impossible value.
        """
        return int(np.count_nonzero(self._pending(_constraints(constraints))))

    def get_task(self, **constraints: Any) -> dict[str, Any] | None:
        """The next star to be computed: the brightest that fulfils the constraints, or None.

        Parameters
        ----------
        **constraints
            As for `get_number_tasks`.

        Returns
        -------
        dict
            `priority`, `starid`, `method` (for `tessphot`; None to choose), `sector`, `camera`, `ccd`,
            `cadence`, `datasource`, `tmag`.
        """
        pending = self._pending(_constraints(constraints))
        first = int(np.argmax(pending))
        return self._task(first) if pending[first] else None

    def get_random_task(self) -> dict[str, Any] | None:
        """Any of the stars that are to be computed, or None."""
        pending = np.flatnonzero(self._pending(Constraints()))
        return self._task(int(self._random.choice(pending))) if len(pending) else None

    def start_task(self, priority: int | Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> None:
        """Note that a star (or several) is being computed, so that it is not given out again."""
        several = isinstance(priority, Iterable) and not isinstance(priority, Mapping | str)
        tasks: Iterable[Any] = priority if several else [priority]  # type: ignore[assignment]
        priorities = [
            whole(task["priority"] if isinstance(task, Mapping) else task, "priority") for task in tasks
        ]
        self._started[self._index(priorities)] = True

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Take the result of one star in; see `save_results`."""
        self.save_results([result])

    def save_results(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Take results in.

        Parameters
        ----------
        results : iterable of mapping
            `priority`, `status`, `method_used`, `time` and `worker_wait_time` (s), which are optional, and
            `details`: the `result` of the star's photometry, or a mapping with the diagnostics by the names
            of their columns (`pos_centroid` as (column, row) and `stamp` also do), `filepath_lightcurve`
            (absolute or relative to the output folder), `errors` (list of str) and `skip_targets` (TIC ids).

        Raises
        ------
        InputError
            If a star is not in the work list, or a result has no priority, no status or another one than OK,
            ERROR, WARNING and ABORT, or a time that is not finite. Then none of the results is taken.
        """
        results = list(results)
        if not results:
            return
        try:
            index = self._index([whole(result["priority"], "priority") for result in results])
            by_ccd: dict[int, list[Mapping[str, Any]]] = {}
            for ccd, result in zip(self._results.worklist.ccd_of[index].tolist(), results, strict=True):
                by_ccd.setdefault(ccd, []).append(result)
            packed = [pack_results(self._to_results(some)) for some in by_ccd.values()]
        except KeyError as error:
            raise InputError(f"{self.path}: a result without {error}") from None
        bundle, _ = self._results.add(packed)
        self._results.tick()
        self._started[index] = False
        self._totals.add(bundle.heads)
        if not self._todo().any():
            # A star that skipped others may itself be skipped now: the others are to do after all.
            self._apply_skip_rule()

    def backup(self) -> Path:
        """Bring the file up to date and copy it to ``todo-backup.sqlite`` beside it."""
        self._results.flush()
        publish(self.path, self.output, self._rows)
        target = self.path.with_name(f"{self.path.stem}-backup.sqlite")
        try:
            with replacing(target) as temporary:
                shutil.copyfile(self.path, temporary)
        except OSError as error:
            raise InputError(f"{target}: cannot be written ({error.strerror}); make room") from None
        return target

    def write_summary(self) -> Path:
        """Bring the file up to date and write ``summary.json`` to the output folder."""
        self._results.flush()
        return self._summarise()

    def _summarise(self) -> Path:
        status = publish(self.path, self.output, self._rows).decision.status
        return write_summary(status, self._totals, self.output, self.version)

    def _apply_skip_rule(self) -> None:
        self._results.skipped_so_far[:] = self._results.last.skipped_by() >= 0

    def _todo(self) -> NDArray[np.bool_]:
        """Stars that are neither done, nor started, nor skipped."""
        return ~(self._results.last.done | self._started | self._results.skipped_so_far)

    def _pending(self, constraints: Constraints) -> NDArray[np.bool_]:
        if self._constraints is None or self._constraints[0] != constraints:
            self._constraints = constraints, constraints.mask(self._results.worklist.rows)
        return self._constraints[1] & self._todo()

    def _index(self, priorities: list[int]) -> NDArray[np.int64]:
        index = self._results.worklist.find(np.array(priorities, dtype=np.int64))
        if (index < 0).any():
            raise InputError(f"{self.path}: no star of priority {priorities[int(np.argmin(index))]}")
        return index

    def _task(self, index: int) -> dict[str, Any]:
        row = self._results.worklist.rows[index]
        task = {name: row[name].item() for name in row.dtype.names or ()}
        task["datasource"] = task["datasource"].decode()
        task["method"] = self._method.source or task["method"].decode() or None
        return task

    def _status(self, result: Mapping[str, Any]) -> STATUS:
        if result["status"] not in ENDS:
            ends = ", ".join(one.name for one in ENDS)
            raise InputError(
                f"{self.path}: the result of priority {result['priority']} has the status"
                f" {one_line(format(result['status']))[:60]}; give one of {ends}"
            )
        return STATUS(result["status"])

    def _seconds(self, result: Mapping[str, Any], name: str) -> float:
        seconds = result.get(name) or 0.0
        if not isinstance(seconds, numbers.Real) or not math.isfinite(seconds):
            raise InputError(
                f"{self.path}: the result of priority {result['priority']} has the {name}"
                f" {one_line(repr(seconds))[:60]}; give seconds, or leave it out"
            )
        return float(seconds)

    def _to_results(self, results: list[Mapping[str, Any]]) -> Results:
        numbers = np.zeros(len(results), RESULT_DTYPE)
        strings: list[tuple[str | None, str, str | None]] = []
        skips: list[int] = []
        for row, result in zip(numbers, results, strict=True):
            details = result.get("details") or {}
            if isinstance(details, Diagnostics):
                details = {"filepath_lightcurve": getattr(details, "lightcurve", None), **vars(details)}
            if not isinstance(details, Mapping):
                raise InputError(
                    f"{self.path}: the details of priority {result['priority']} are no mapping"
                    f" ({type(details).__name__}); give the result of its photometry"
                )
            details = dict(details)
            status = self._status(result)
            row["priority"], row["status"] = result["priority"], status
            row["elaptime"] = self._seconds(result, "time")
            row["worker_wait_time"] = self._seconds(result, "worker_wait_time")
            if details.get("pos_centroid") is not None:
                details["pos_column"], details["pos_row"] = details["pos_centroid"]
            if details.get("stamp") is not None:
                row_min, row_max, col_min, col_max = details["stamp"]
                details["stamp_height"], details["stamp_width"] = row_max - row_min, col_max - col_min
            for name in DIAGNOSTICS:
                value = details.get(name)
                row[name] = np.nan if value is None else value
            path = details.get("filepath_lightcurve") if status.has_lightcurve else None
            messages = details.get("errors") or []
            strings.append(
                (
                    None if path is None else os.path.relpath(self.output / path, self.output),
                    self._method.name or result.get("method_used") or details.get("method_used") or "",
                    (messages if isinstance(messages, str) else "\n".join(map(str, messages))) or None,
                )
            )
            starid = int(self._results.worklist.rows["starid"][self._index([int(result["priority"])])[0]])
            targets = sorted(
                {
                    whole(other, "skip_targets: TIC", 0, LARGEST_STARID)
                    for other in details.get("skip_targets") or ()
                }
                - {starid}
            )
            row["skip_count"] = len(targets)
            skips.extend(targets)
        lightcurves, methods, errors = zip(*strings, strict=True)
        return Results(numbers, lightcurves, methods, errors, np.array(skips, dtype=np.int64))


def _version(worklist: WorkList, output: Path) -> int:
    """Version of the results so far."""
    found = [LogReader(log_path(output, ccd), worklist, ccd).version for ccd in worklist.ccds]
    return max(found) if max(found) >= 0 else 6


def _constraints(given: Mapping[str, Any]) -> Constraints:
    """The filters of a task by their names; one value or several."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _FILTERS:
            raise UsageError(f"no filter {one_line(repr(name))}; a task is chosen by {', '.join(_FILTERS)}")
        if value is None:
            continue
        if name.startswith("tmag"):
            values[name] = _magnitude(name, value)
            continue
        several = value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
        words = name in ("datasource", "method")
        values[name] = tuple(_word(name, one) if words else whole(one, name) for one in several)
    return Constraints(**values)


def _magnitude(name: str, value: Any) -> float:
    if isinstance(value, numbers.Real) and not math.isnan(value):
        return float(value)
    raise UsageError(f"{name} {one_line(repr(value))[:60]}: a magnitude is needed")


def _word(name: str, value: Any) -> str:
    if isinstance(value, str) and (name == "method" or is_datasource(value)):
        return value
    needed = "the name of a method" if name == "method" else "ffi, tpf or tpf:STARID"
    raise UsageError(f"{name} {one_line(repr(value))[:60]}: {needed} is needed")
