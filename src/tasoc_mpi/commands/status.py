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


def main(args: argparse.Namespace) -> int:
    """Print the tables."""
    import contextlib
    import sqlite3

    from ..errors import UsageError
    from ..products.todo import TODO_NAME, explain, open_todo
    from ..settings import input_folder
    from ..slurm.queue import queue_lines

    if args.stars < 0:
        raise UsageError(f"--stars {args.stars}: must not be negative")
    path = input_folder(args.input) / TODO_NAME
    queue = list(queue_lines(path.parent))
    if queue and not path.exists():
        print("\n".join([*queue, f"no work list in {path.parent} yet"]))
        return 0
    with contextlib.closing(open_todo(path)) as conn:
        try:
            # One transaction: all tables are of the same moment.
            conn.execute("BEGIN")
            lines = list(_lines(conn, path.parent, args.stars))
        except sqlite3.Error as error:
            raise explain(path, error) from None
    print("\n".join([*lines, *queue]))
    return 0


def _lines(conn: Any, folder: Path, stars: int) -> Iterable[str]:
    from ..products.shards import shard_counts
    from ..status import STATUS

    names = {status.value: status.name for status in STATUS}
    names[STATUS.UNKNOWN] = "to do"
    counts = conn.execute(
        "SELECT sector, camera, ccd, COALESCE(status, 0), COUNT(*) FROM todolist GROUP BY 1, 2, 3, 4"
    ).fetchall()
    # What shards hold stands in the list only after they are merged.
    shards = shard_counts(folder)
    counts = [row for row in counts if row[:3] not in shards] + [
        row for rows in shards.values() for row in rows
    ]
    shown = sorted({row[3] for row in counts}, key=lambda value: (value == STATUS.UNKNOWN, value))
    yield from _ccd_table(counts, shown, names)
    if shards:
        yield f"split into {len(shards)} shard(s); what follows is of those that were merged"
        yield ""
    if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'diagnostics'").fetchone():
        return
    yield from _last_run(conn, folder)
    methods = conn.execute(
        "SELECT method_used, COUNT(*), AVG(elaptime), MAX(elaptime), SUM(worker_wait_time) / SUM(elaptime)"
        " FROM diagnostics GROUP BY 1 ORDER BY 2 DESC"
    ).fetchall()
    if methods:
        rows = [
            (name or "none", count, _ms(mean), _ms(longest), _percent(waited))
            for name, count, mean, longest, waited in methods
        ]
        yield from _table("method", ("stars", "mean ms", "max ms", "waiting"), rows)
    slowest = conn.execute(
        "SELECT 'TIC ' || starid, tmag, datasource, stamp_height, stamp_width, elaptime FROM diagnostics"
        " JOIN todolist USING (priority) ORDER BY elaptime DESC LIMIT ?",
        (stars,),
    ).fetchall()
    if slowest:
        rows = [
            (name, "-" if tmag is None else f"{tmag:.2f}", source, _stamp(height, width), _ms(seconds))
            for name, tmag, source, height, width, seconds in slowest
        ]
        yield from _table("slowest", ("Tmag", "source", "stamp", "ms"), rows)
    yield from _errors(conn, stars)


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


def _errors(conn: Any, stars: int) -> Iterable[str]:
    """The most frequent errors, by their last line, each with one star."""
    from ..status import STATUS

    rows = conn.execute(
        "SELECT errors, starid FROM diagnostics JOIN todolist USING (priority)"
        f" WHERE status IN ({STATUS.ERROR:d}, {STATUS.ABORT:d}) ORDER BY priority"
    )
    found: dict[str, list[int]] = {}
    for text, starid in rows:
        lines = (text or "no message").strip().splitlines() or ["no message"]
        found.setdefault(lines[-1], []).append(starid)
    if found and stars:
        frequent = sorted(found.items(), key=lambda item: -len(item[1]))[:stars]
        yield "errors (most frequent first)"
        for message, starids in frequent:
            others = "" if len(starids) == 1 else f" and {len(starids) - 1} more"
            yield f"  TIC {starids[0]}{others}: {message[:200]}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}%"


def _stamp(height: int | None, width: int | None) -> str:
    return "-" if height is None or width is None else f"{height}x{width}"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterable[str]:
    """Lines of a table whose first column is flush left, and an empty line."""
    cells = [(title, *heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads) + 1)]
    for row in cells:
        rest = "  ".join(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield f"{row[0]:<{widths[0]}}  {rest}"
    yield ""
