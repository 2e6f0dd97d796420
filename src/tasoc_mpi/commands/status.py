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

    from ..errors import UsageError
    from ..products.journal import Tally
    from ..products.todo import TODO_NAME
    from ..settings import input_folder
    from ..slurm.queue import queue_lines

    watch = getattr(args, "watch", None)
    if args.stars < 0:
        raise UsageError(f"--stars {args.stars}: must not be negative")
    if watch is not None and not 0.1 <= watch <= 86400:
        raise UsageError(f"--watch {watch}: must be from 0.1 to 86400 seconds")
    path = input_folder(args.input) / TODO_NAME
    tally, before = Tally(args.stars), None
    while True:
        lines = list(queue_lines(path.parent))
        if lines and not path.exists():
            lines.append(f"no work list in {path.parent} yet")
        else:
            found, done = _read(path, args.stars, tally)
            now = time.monotonic()
            if before is not None:
                found.append(f"{max(0, done - before[0]) / (now - before[1]):.3g} stars/s")
            before = done, now
            lines = found + lines
        if watch is not None and sys.stdout.isatty():
            lines.insert(0, "\x1b[H\x1b[2J" + time.strftime("%H:%M:%S"))
        print("\n".join(lines), flush=True)
        if watch is None:
            return 0
        try:
            time.sleep(watch)
        except KeyboardInterrupt:
            return 0


def _read(path: Path, stars: int, tally: Any) -> tuple[list[str], int]:
    """The lines, and the number of stars that are done."""
    import contextlib
    import sqlite3

    from ..products.todo import explain, open_todo

    with contextlib.closing(open_todo(path)) as conn:
        try:
            # One transaction: all tables are of the same moment.
            conn.execute("BEGIN")
            tally.update(conn)
            counts = _counts(conn, path.parent, tally)
            lines = list(_lines(conn, path.parent, stars, tally, counts))
        except sqlite3.Error as error:
            raise explain(path, error) from None
    return lines, sum(row[4] for row in counts if row[3])


def _counts(conn: Any, folder: Path, tally: Any) -> list[tuple[int, ...]]:
    """(sector, camera, CCD, status, stars), status 0 being to do."""
    from collections import Counter

    from ..products.shards import shard_counts
    from ..status import STATUS

    counts = Counter(
        {
            tuple(row[:4]): row[4]
            for row in conn.execute(
                "SELECT sector, camera, ccd, COALESCE(status, 0), COUNT(*) FROM todolist GROUP BY 1, 2, 3, 4"
            )
        }
    )
    for (*place, status), count in tally.counts.items():
        # What is in the journal is still to do in the list.
        counts[(*place, status)] += count
        counts[(*place, STATUS.UNKNOWN)] -= count
    # What shards hold stands in the list only after they are merged.
    shards = shard_counts(folder)
    rows = [(*key, count) for key, count in counts.items() if count > 0 and key[:3] not in shards]
    return rows + [row for found in shards.values() for row in found]


def _lines(
    conn: Any, folder: Path, stars: int, tally: Any, counts: Sequence[tuple[int, ...]]
) -> Iterable[str]:
    from ..products.shards import find_shards
    from ..status import STATUS

    names = {status.value: status.name for status in STATUS}
    names[STATUS.UNKNOWN] = "to do"
    shown = sorted({row[3] for row in counts}, key=lambda value: (value == STATUS.UNKNOWN, value))
    yield from _ccd_table(counts, shown, names)
    if shards := find_shards(folder):
        yield f"split into {len(shards)} shard(s); what follows is of those that were merged"
        yield ""
    if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'diagnostics'").fetchone():
        return
    yield from _last_run(conn, folder)
    yield from _methods(conn, tally)
    yield from _slowest(conn, stars, tally)
    yield from _last_errors(conn, stars, tally)
    yield from _errors(conn, stars, tally)


def _methods(conn: Any, tally: Any) -> Iterable[str]:
    """Stars and seconds by method."""
    found = {
        name: list(numbers)
        for name, *numbers in conn.execute(
            "SELECT method_used, COUNT(*), SUM(elaptime), COALESCE(SUM(worker_wait_time), 0), MAX(elaptime)"
            " FROM diagnostics GROUP BY 1"
        )
    }
    for name, method in tally.methods.items():
        old = found.get(name, [0, 0.0, 0.0, 0.0])
        found[name] = [
            old[0] + method.stars,
            old[1] + method.elapsed,
            old[2] + method.waited,
            max(old[3], method.longest),
        ]
    rows = [
        (name or "none", count, _ms(elapsed / count), _ms(longest), _percent(waited, elapsed))
        for name, (count, elapsed, waited, longest) in sorted(found.items(), key=lambda item: -item[1][0])
    ]
    if len(rows) > 1:
        sums = [sum(values[i] for values in found.values()) for i in range(3)]
        longest = max(values[3] for values in found.values())
        rows.append(("all", sums[0], _ms(sums[1] / sums[0]), _ms(longest), _percent(sums[2], sums[1])))
    if rows:
        yield from _table("method", ("stars", "mean ms", "max ms", "waiting"), rows)


def _slowest(conn: Any, stars: int, tally: Any) -> Iterable[str]:
    """The stars that took longest."""
    found = conn.execute(
        "SELECT elaptime, priority, stamp_height, stamp_width FROM diagnostics"
        " ORDER BY elaptime DESC LIMIT ?",
        (stars,),
    ).fetchall()
    rows = []
    for seconds, priority, height, width in sorted([*found, *tally.slowest], key=lambda row: -row[0])[:stars]:
        starid, tmag, source = conn.execute(
            "SELECT starid, tmag, datasource FROM todolist WHERE priority = ?", (priority,)
        ).fetchone()
        magnitude = "-" if tmag is None else f"{tmag:.2f}"
        rows.append((f"TIC {starid}", magnitude, source, _stamp(height, width), _ms(seconds)))
    if rows:
        yield from _table("slowest", ("Tmag", "source", "stamp", "ms"), rows)


def _last_errors(conn: Any, stars: int, tally: Any) -> Iterable[str]:
    """The stars that failed last, with the time."""
    import time

    found = [(failure.time, failure.priority, failure.errors) for failure in tally.failures[-stars:]]
    if conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'photometry_failures'").fetchone():
        found += conn.execute(
            "SELECT time, priority, errors FROM photometry_failures JOIN diagnostics USING (priority)"
            " ORDER BY time DESC LIMIT ?",
            (stars,),
        ).fetchall()
    found = sorted(found, key=lambda row: (-row[0], row[1]))[:stars]
    if found:
        yield "last errors"
        for when, priority, text in found:
            (starid,) = conn.execute("SELECT starid FROM todolist WHERE priority = ?", (priority,)).fetchone()
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
            yield f"  {at}  TIC {starid}: {_last_line(text)[:200]}"
        yield ""


def _ccd_table(
    counts: Sequence[tuple[int, ...]], shown: Sequence[int], names: dict[int, str]
) -> Iterable[str]:
    """Counts by CCD and status, with their sum."""
    table: dict[tuple[int, ...], dict[int, int]] = {}
    for sector, camera, ccd, status, count in counts:
        table.setdefault((sector, camera, ccd), {})[status] = count
    rows = [
        (f"s{key[0]:03d}-{key[1]}-{key[2]}", *(values.get(value, 0) for value in shown), sum(values.values()))
        for key, values in sorted(table.items())
    ]
    if len(rows) != 1:
        sums = [sum(values.get(value, 0) for values in table.values()) for value in shown]
        rows.append(("all", *sums, sum(sums)))
    yield from _table("CCD", (*(names.get(value, str(value)) for value in shown), "stars"), rows)


def _last_run(conn: Any, folder: Path) -> Iterable[str]:
    """Where the light curves are, and whether a run is under way."""
    if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'photometry_settings'").fetchone():
        return
    found = conn.execute("SELECT output, unfinished FROM photometry_settings").fetchone()
    if found:
        yield f"light curves: {folder / found[0]}"
        if found[1]:
            yield "a run is under way, or was ended before its time (`tasoc-mpi run` continues it)"
        yield ""


def _errors(conn: Any, stars: int, tally: Any) -> Iterable[str]:
    """The most frequent errors, by their last line, each with one star."""
    from ..status import STATUS

    rows = conn.execute(
        "SELECT errors, starid FROM diagnostics JOIN todolist USING (priority)"
        f" WHERE status IN ({STATUS.ERROR:d}, {STATUS.ABORT:d}) ORDER BY priority"
    )
    found: dict[str, list[int]] = {}
    for text, starid in rows:
        found.setdefault(_last_line(text), []).append(starid)
    for failure in tally.failures:
        (starid,) = conn.execute(
            "SELECT starid FROM todolist WHERE priority = ?", (failure.priority,)
        ).fetchone()
        found.setdefault(_last_line(failure.errors), []).append(starid)
    if found and stars:
        frequent = sorted(found.items(), key=lambda item: -len(item[1]))[:stars]
        yield "errors (most frequent first)"
        for message, starids in frequent:
            others = "" if len(starids) == 1 else f" and {len(starids) - 1} more"
            yield f"  TIC {starids[0]}{others}: {message[:200]}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


def _percent(waited: float, elapsed: float) -> str:
    """Share of the waiting in a worker's time."""
    return "-" if not elapsed + waited else f"{100 * waited / (elapsed + waited):.1f}%"


def _last_line(text: str | None) -> str:
    """Of a traceback, what was raised."""
    lines = (text or "no message").strip().splitlines()
    return lines[-1] if lines else "no message"


def _stamp(height: float | None, width: float | None) -> str:
    if height is None or width is None or height != height or width != width:
        return "-"
    return f"{height:.0f}x{width:.0f}"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterable[str]:
    """Lines of a table whose first column is flush left, and an empty line."""
    cells = [(title, *heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads) + 1)]
    for row in cells:
        rest = "  ".join(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield f"{row[0]:<{widths[0]}}  {rest}"
    yield ""
