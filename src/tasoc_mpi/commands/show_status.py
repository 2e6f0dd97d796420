"""Show how far a work list is: counts, methods, slowest stars and errors. Works while a run is writing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HELP = "show how far a work list is, while a run is writing it or afterwards"

__all__ = ["HELP", "configure", "main"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("input", nargs="?", help="input folder (default: TESSPHOT_INPUT)")
    parser.add_argument("--output", help="folder of the light curves (default: that of the last run)")
    parser.add_argument(
        "--stars", type=int, default=5, metavar="N", help="how many slowest stars and errors to show"
    )
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="show it again and again, until interrupted (default: every 2 seconds)",
    )


def main(args: argparse.Namespace) -> int:
    """Print the tables, once or again and again."""
    import sys
    import time

    from ..core.errors import UsageError
    from ..core.settings import input_folder
    from ..slurm.jobs import queue_lines
    from ..worklist.todo_file import TODO_NAME

    watch = getattr(args, "watch", None)
    if args.stars < 0:
        raise UsageError(f"--stars {args.stars}: must not be negative")
    if watch is not None and not 0.1 <= watch <= 86400:
        raise UsageError(f"--watch {watch}: must be from 0.1 to 86400 seconds")
    path = input_folder(args.input) / TODO_NAME
    tally, before = None, None
    while True:
        waiting = list(queue_lines(path.parent))
        if waiting and not path.exists():
            lines = [*waiting, f"no work list in {path.parent} yet"]
        else:
            tally = tally or _tally(path, getattr(args, "output", None))
            decision = tally.update()
            progress = tally.progress(decision)
            lines = list(_lines(tally, decision, progress, args.stars))
            now = time.monotonic()
            if before is not None:
                lines.append(f"{(tally.results - before[0]) / (now - before[1]):.3g} stars/s")
            before = tally.results, now
            if waiting:
                lines += queue_lines(path.parent, {one.ccd: (one.done, one.stars) for one in progress})
        if watch is not None and sys.stdout.isatty():
            lines.insert(0, "\x1b[H\x1b[2J" + time.strftime("%H:%M:%S"))
        print("\n".join(lines), flush=True)
        if watch is None:
            return 0
        try:
            time.sleep(watch)
        except KeyboardInterrupt:
            return 0


def _tally(path: Path, output: str | None) -> Any:
    from ..worklist.output_folder import find_output
    from ..worklist.rows import load_worklist
    from ..worklist.tally import Tally

    rows = load_worklist(path)
    return Tally(rows, Path(output) if output else find_output(path, rows.output))


def _lines(tally: Any, decision: Any, progress: Sequence[Any], stars: int) -> Iterable[str]:
    from ..core.status import STATUS

    names = {status.value: status.name for status in STATUS}
    names[STATUS.UNKNOWN] = "to do"
    yield from _ccd_table(progress, names)
    said = [f"light curves: {tally.output}"] if decision.listed.any() else []
    said += _under_way(progress)
    yield from [*said, ""] if said else []
    yield from _methods(tally, decision)
    yield from _slowest(tally, decision, stars)
    yield from _errors(tally, decision, stars)


def _ccd_table(progress: Sequence[Any], names: dict[int, str]) -> Iterable[str]:
    """Counts by CCD and status, with their sum."""
    from ..worklist.rows import ccd_name

    shown = sorted({status for one in progress for status in one.counts}, key=lambda s: (s == 0, s))
    rows = [(ccd_name(one.ccd), *(one.counts.get(s, 0) for s in shown), one.stars) for one in progress]
    if len(rows) != 1:
        rows.append(("all", *(sum(row[i] for row in rows) for i in range(1, len(shown) + 2))))
    yield from _table("CCD", (*(names[status] for status in shown), "stars"), rows)


def _under_way(progress: Sequence[Any]) -> Iterable[str]:
    """Which runs are under way, and what was left by those that are not."""
    from ..worklist.rows import ccd_name

    runners: dict[str, list[str]] = {}
    for one in progress:
        if one.runner:
            runners.setdefault(one.runner, []).append(ccd_name(one.ccd))
    for runner, ccds in runners.items():
        more = f" and {len(ccds) - 3} more" if len(ccds) > 3 else ""
        yield f"a run is under way on {', '.join(ccds[:3])}{more} ({runner})"
    again = sum(one.again for one in progress)
    left = sum(one.stars - one.done for one in progress if not one.runner)
    if again:
        yield f"{again} stars are to be computed again"
    if left and left < sum(one.stars for one in progress):
        yield f"{left} stars are to do where no run is under way (`tasoc-mpi run` continues it)"


def _methods(tally: Any, decision: Any) -> Iterable[str]:
    """Stars and seconds by method."""
    import numpy as np

    index = np.flatnonzero(decision.listed)
    names, which = np.unique(
        np.array([name or "" for name in tally.method[index]], dtype=str), return_inverse=True
    )
    elapsed = tally.numbers["elaptime"][index].astype(float)
    waited = tally.numbers["worker_wait_time"][index].astype(float)
    groups = [(name or "none", which == number) for number, name in enumerate(names.tolist())]
    groups.sort(key=lambda group: -int(group[1].sum()))
    if len(groups) > 1:
        groups.append(("all", np.ones(len(index), bool)))
    rows: list[tuple[object, ...]] = []
    for name, some in groups:
        # Results of other programs may be without times.
        timed = elapsed[some & np.isfinite(elapsed)]
        both = some & np.isfinite(elapsed + waited)
        times = (_ms(timed.mean()), _ms(timed.max())) if timed.size else ("-", "-")
        rows.append((name, int(some.sum()), *times, _percent(waited[both].sum(), elapsed[both].sum())))
    if rows:
        yield from _table("method", ("stars", "mean ms", "max ms", "waiting"), rows)


def _slowest(tally: Any, decision: Any, stars: int) -> Iterable[str]:
    """The stars that took longest."""
    import numpy as np

    seconds = np.where(decision.listed, tally.numbers["elaptime"], np.nan)
    order = np.argsort(-seconds, kind="stable")[:stars]
    rows = []
    for index in order[np.isfinite(seconds[order])].tolist():
        row = tally.rows.rows[index]
        magnitude = "-" if np.isnan(row["tmag"]) else f"{row['tmag']:.2f}"
        stamp = _stamp(tally.numbers["stamp_height"][index], tally.numbers["stamp_width"][index])
        source = row["datasource"].decode()
        rows.append((f"TIC {row['starid']}", magnitude, source, stamp, _ms(seconds[index])))
    if rows:
        yield from _table("slowest", ("Tmag", "source", "stamp", "ms"), rows)


def _errors(tally: Any, decision: Any, stars: int) -> Iterable[str]:
    """The stars that failed last, with the time, and the most frequent errors, each with one star."""
    import time

    failures = [(row, *tally.failures[row]) for row in sorted(tally.failures) if decision.listed[row]]
    if not failures or not stars:
        return
    starid = tally.rows.rows["starid"]
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


def _percent(waited: float, elapsed: float) -> str:
    """Share of the waiting in a worker's time."""
    return "-" if not elapsed + waited else f"{100 * waited / (elapsed + waited):.1f}%"


def _stamp(height: float, width: float) -> str:
    if height != height or width != width:
        return "-"
    return f"{height:.0f}x{width:.0f}"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterable[str]:
    """Lines of a table whose first column is flush left, and an empty line."""
    from ..core.tables import text_table

    yield from text_table([(title, *heads), *rows], left=1)
    yield ""
