"""The tables of `tasoc-mpi status`: counts, methods, slowest stars and errors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.status import STATUS
from ..core.tables import number, text_table
from ..worklist.ccd_status import CCDStatus, WorkListStatus
from ..worklist.last_results import Decision
from ..worklist.skip_lines import skipped_lines, skipped_values
from ..worklist.work_list import ccd_name, status_counts

__all__ = ["status_tables", "status_values"]


def status_tables(
    status: WorkListStatus, decision: Decision, ccds: Sequence[CCDStatus], stars: int, arguments: str
) -> Iterator[str]:
    """Lines for the user.

    Parameters
    ----------
    status : WorkListStatus
    decision : Decision
        As `status.update` returned it.
    ccds : sequence of CCDStatus
    stars : int
        How many slowest stars and errors.
    arguments : str
        With which another command reads the same results.
    """
    rows = status.worklist.rows
    yield from _ccd_table(ccds, len(np.unique(rows["starid"])))
    lines = [f"light curves: {status.output}"] if decision.listed.any() else []
    lines += [*_corrections(status.corrections(decision)), *_runs(ccds, arguments)]
    yield from [*lines, ""] if lines else []
    yield from _methods(status, decision)
    skipped = list(skipped_lines(rows, decision.skipped_by, arguments, stars))
    yield from [*skipped, ""] if skipped else []
    yield from _slowest(status, decision, stars)
    yield from _errors(status, decision, stars)


def status_values(status: WorkListStatus, decision: Decision, ccds: Sequence[CCDStatus]) -> dict[str, Any]:
    """The same as values, for programs; parameters as of `status_tables`, times are Unix times."""
    names = {one.value: one.name for one in STATUS}
    starid = status.worklist.rows["starid"]
    corrections = status.corrections(decision)
    return {
        "worklist": status.worklist.path,
        "output": status.output,
        "rows": len(starid),
        "stars": len(np.unique(starid)),
        "counts": status_counts(decision.status),
        "ccds": [
            {
                **dict(zip(("sector", "camera", "ccd"), one.ccd, strict=True)),
                "rows": one.rows,
                "stars": one.stars,
                "done": one.done,
                "again": one.again,
                "counts": {names[number]: count for number, count in one.counts.items()},
                "running": one.runner,
            }
            for one in ccds
        ],
        "corrections": {names[number]: count for number, count in corrections.items()},
        "skipped": skipped_values(status.worklist.rows, decision.skipped_by),
        "failures": [
            {"starid": starid[row], "time": when or None, "message": text}
            for row, (when, text) in sorted(status.failures.items())
            if decision.listed[row]
        ],
    }


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lines of a table, if it has rows, and an empty line."""
    if rows:
        yield from text_table([heads, *rows], left=1)
        yield ""


def _ccd_table(ccds: Sequence[CCDStatus], stars: int) -> Iterator[str]:
    """Rows by CCD and status, with their sum, and the number of different stars."""
    names = {one.value: one.name for one in STATUS} | {STATUS.UNKNOWN: "to do"}
    shown = sorted({status for one in ccds for status in one.counts}, key=lambda s: (s == 0, s))
    counts = [[*(one.counts.get(status, 0) for status in shown), one.rows] for one in ccds]
    rows = [(ccd_name(one.ccd), *numbers, one.stars) for one, numbers in zip(ccds, counts, strict=True)]
    if len(rows) != 1:
        rows.append(("all", *map(sum, zip(*counts, strict=True)), stars))
    yield from _table(("CCD", *(names[status] for status in shown), "rows", "stars"), rows)


def _runs(ccds: Sequence[CCDStatus], arguments: str) -> Iterator[str]:
    """The runs that are under way, and the rows that are left where there is none."""
    runners: dict[str, list[str]] = {}
    for one in ccds:
        if one.runner:
            runners.setdefault(one.runner, []).append(ccd_name(one.ccd))
    for runner, names in runners.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield f"a run is under way on {', '.join(names[:3])}{more} ({runner})"
    again = sum(one.again for one in ccds)
    left = sum(one.rows - one.done for one in ccds if not one.runner)
    if again:
        yield f"{again} rows are to be computed again"
    if left and left < sum(one.rows for one in ccds):
        yield f"{left} rows are to do where no run is under way (`tasoc-mpi run {arguments}` continues it)"


def _corrections(counts: dict[int, int]) -> Iterator[str]:
    """How many light curves are corrected, by status."""
    if counts:
        names = {one.value: one.name for one in STATUS} | {STATUS.UNKNOWN: "to do"}
        yield "corrections: " + ", ".join(f"{count} {names[number]}" for number, count in counts.items())


def _methods(status: WorkListStatus, decision: Decision) -> Iterator[str]:
    """Rows and seconds by method."""
    index = np.flatnonzero(decision.listed)
    names, which = np.unique(
        np.array([name or "" for name in status.method[index]], dtype=str), return_inverse=True
    )
    elapsed = status.numbers["elaptime"][index].astype(float)
    waited = status.numbers["worker_wait_time"][index].astype(float)
    groups = [(name or "none", which == place) for place, name in enumerate(names.tolist())]
    groups.sort(key=lambda group: -int(group[1].sum()))
    if len(groups) > 1:
        groups.append(("all", np.ones(len(index), bool)))
    rows: list[tuple[object, ...]] = []
    for name, some in groups:
        # Results of other programs may be without times.
        timed = elapsed[some & np.isfinite(elapsed)]
        both = some & np.isfinite(elapsed + waited)
        times = (_ms(timed.mean()), _ms(timed.max())) if timed.size else ("-", "-")
        total = elapsed[both].sum() + waited[both].sum()
        rows.append((name, int(some.sum()), *times, f"{waited[both].sum() / total:.1%}" if total else "-"))
    yield from _table(("method", "rows", "mean ms", "max ms", "waiting"), rows)


def _slowest(status: WorkListStatus, decision: Decision, stars: int) -> Iterator[str]:
    """The stars that took longest."""
    seconds = np.where(decision.listed, status.numbers["elaptime"], np.nan)
    order = np.argsort(-seconds, kind="stable")[:stars]
    rows = []
    for index in order[np.isfinite(seconds[order])].tolist():
        row = status.worklist.rows[index]
        stamp = "x".join(number(status.numbers[f"stamp_{side}"][index]) for side in ("height", "width"))
        stamp = "-" if "-" in stamp else stamp
        source = row["datasource"].decode()
        rows.append((f"TIC {row['starid']}", number(row["tmag"], 2), source, stamp, _ms(seconds[index])))
    yield from _table(("slowest", "Tmag", "source", "stamp", "ms"), rows)


def _errors(status: WorkListStatus, decision: Decision, stars: int) -> Iterator[str]:
    """The stars that failed last, with the time, and the most frequent errors, each with one star."""
    failures = [(row, *status.failures[row]) for row in sorted(status.failures) if decision.listed[row]]
    if not failures or not stars:
        return
    starid = status.worklist.rows["starid"]
    dated = sorted((one for one in failures if one[1]), key=lambda one: (-one[1], one[0]))[:stars]
    if dated:
        yield "last errors"
        for row, when, text in dated:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
            yield f"  {at}  TIC {starid[row]}: {text}"
        yield ""
    found: dict[str, list[int]] = {}
    for row, _, text in failures:
        found.setdefault(text, []).append(int(starid[row]))
    yield "errors (most frequent first)"
    for message, starids in sorted(found.items(), key=lambda item: -len(item[1]))[:stars]:
        others = "" if len(starids) == 1 else f" and {len(starids) - 1} more"
        yield f"  TIC {starids[0]}{others}: {message}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"
