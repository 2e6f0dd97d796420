"""The full-screen view of `tasoc-mpi status --watch`: bar, rate, time left, failures, slowest ranks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..core.errors import one_line
from ..core.progress import duration
from ..core.status import STATUS
from ..core.tables import counted, number
from ..worklist.work_list import ccd_name
from .status_snapshot import Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.layout import Layout
    from rich.table import Table

__all__ = ["is_screen", "live_view", "view"]

#: Colours of the statuses that have one.
_STYLES = {
    STATUS.OK: "green",
    STATUS.WARNING: "yellow",
    STATUS.ERROR: "bold red",
    STATUS.ABORT: "bold magenta",
}

#: Lines for runs; where there are more of them, the last line counts these.
_MOST_RUNS = 4


def live_view(read: Callable[[], Snapshot], every: float) -> Snapshot:
    """Show snapshots in full screen until the runs have ended, or the user interrupts; returns the last one.

    Parameters
    ----------
    read : callable
        Returns a new snapshot.
    every : float
        Seconds between two snapshots.
    """
    from rich.live import Live

    last, seen = read(), False
    # Nothing but this function draws: the screen changes with each snapshot.
    with Live(view(last), screen=True, auto_refresh=False) as live:
        try:
            while not last.is_over(seen):
                seen = seen or bool(last.runs)
                time.sleep(every)
                last = read()
                live.update(view(last), refresh=True)
        except KeyboardInterrupt:
            pass
    return last


def view(snapshot: Snapshot) -> Layout:
    """The screen of one snapshot."""
    from rich.layout import Layout
    from rich.text import Text

    parts = [
        Layout(_head(snapshot), size=1 + min(max(len(snapshot.runs), 1), _MOST_RUNS)),
        Layout(_bar(snapshot), size=3),
    ]
    if snapshot.jobs:
        parts.append(
            Layout(_panel("queue", Text("\n".join(snapshot.jobs))), size=min(len(snapshot.jobs) + 2, 10))
        )
    if len(snapshot.ccds) > 1:
        parts.append(Layout(_panel("CCDs", _ccds(snapshot)), size=min(len(snapshot.ccds), 8) + 3))
    parts.append(Layout(_panel("last failures", _failures(snapshot)), ratio=1, minimum_size=4))
    parts.append(Layout(_panel("slowest ranks", _ranks(snapshot)), ratio=1, minimum_size=4))
    parts.append(Layout(Text("Ctrl-C leaves this view; the run goes on.", style="dim"), size=1))
    layout = Layout()
    layout.split_column(*parts)
    return layout


def _panel(title: str, content: RenderableType) -> RenderableType:
    from rich import box
    from rich.panel import Panel

    return Panel(content, title=title, title_align="left", box=box.ROUNDED, border_style="dim")


def _head(snapshot: Snapshot) -> RenderableType:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(snapshot.title, style="bold")
    text.append(f"   {time.strftime('%H:%M:%S')}\n", style="dim")
    if snapshot.status is None:
        text.append("no work list yet", style="yellow")
    elif not snapshot.runs:
        more = (
            "all rows are done" if snapshot.done == snapshot.rows else "no run is under way: waiting for one"
        )
        text.append(more, style="yellow")
    shown = snapshot.runs if len(snapshot.runs) <= _MOST_RUNS else snapshot.runs[: _MOST_RUNS - 1]
    for run in shown:
        text.append(f"{one_line(run)}  ", style="cyan")
        if record := snapshot.records.get(run):
            text.append(f"{record['command']}, {counted(record['ranks'], 'rank')} on ")
            text.append(f"{counted(record['nodes'], 'node')}, ")
            text.append(f"{duration(record['seconds'] or 0)} since the first star")
        text.append("\n")
    if len(shown) < len(snapshot.runs):
        text.append(f"and {len(snapshot.runs) - len(shown)} more runs", style="cyan")
    return text


def _bar(snapshot: Snapshot) -> RenderableType:
    """The bar with its numbers, and the counts by status."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    left = snapshot.seconds_left
    words = f"{snapshot.done:,} of {snapshot.rows:,} rows"
    words += f"  {snapshot.done / snapshot.rows:.1%}" if snapshot.rows else ""
    words += f"  {snapshot.rate:,.3g} rows/s" if snapshot.rate is not None else "  - rows/s"
    words += f"  {duration(left)} left" if left is not None else ""
    grid.add_row(ProgressBar(total=max(snapshot.rows, 1), completed=snapshot.done), Text(words, style="bold"))
    counts = Text(no_wrap=True, overflow="ellipsis")
    for status in STATUS:
        if count := sum(one.counts.get(status, 0) for one in snapshot.ccds):
            name = "to do" if status == STATUS.UNKNOWN else status.name
            counts.append(f"{name} {count:,}   ", style=_STYLES.get(status, ""))
    return Group(grid, counts)


def _table(*heads: str, left: int = 1) -> Table:
    """A table without lines; the first columns are flush left."""
    from rich.table import Table

    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim", show_edge=False)
    for k, head in enumerate(heads):
        table.add_column(head, justify="left" if k < left else "right", no_wrap=True, overflow="ellipsis")
    return table


def _ccds(snapshot: Snapshot) -> Table:
    """The CCDs under way first, then those that are not finished."""
    from rich.progress_bar import ProgressBar

    table = _table("CCD", "", "done", "rows", "failed")
    table.columns[1].ratio = 1
    order = sorted(snapshot.ccds, key=lambda one: (one.runner is None, one.done == one.rows, one.ccd))
    for one in order[:8]:
        failed = one.counts.get(STATUS.ERROR, 0) + one.counts.get(STATUS.ABORT, 0)
        bar = ProgressBar(total=max(one.rows, 1), completed=one.done)
        table.add_row(ccd_name(one.ccd), bar, f"{one.done:,}", f"{one.rows:,}", f"{failed:,}")
    return table


def _failures(snapshot: Snapshot) -> RenderableType:
    """The failures with the last one first."""
    from rich.text import Text

    if snapshot.status is None or snapshot.decision is None:
        return Text("-")
    status, decision = snapshot.status, snapshot.decision
    failed = [(*status.failures[row], row) for row in status.failures if decision.listed[row]]
    if not failed:
        return Text("none", style="green")
    table = _table("time", "TIC", "message", left=3)
    table.columns[2].ratio = 1
    for when, message, row in sorted(failed, key=lambda one: (-one[0], one[2]))[:40]:
        at = time.strftime("%H:%M:%S", time.localtime(when)) if when else "-"
        # Messages are of stars' files, too: nothing in them may steer the terminal.
        table.add_row(at, str(status.worklist.rows["starid"][row]), Text(one_line(message)))
    return table


def _ranks(snapshot: Snapshot) -> RenderableType:
    """The ranks with the fewest stars a second first, by the records of their runs."""
    from rich.text import Text

    found = []
    for record in snapshot.records.values():
        seconds = record["seconds"] or 0.0
        ranks = record["by_rank"] or {"rank": []}
        for k in range(len(ranks["rank"])):
            one = {name: values[k] for name, values in ranks.items()}
            found.append((one["stars"] / seconds if seconds else 0.0, seconds, one))
    if not found:
        return Text("no rank has told yet of its stars" if snapshot.runs else "-", style="dim")
    table = _table("rank", "host", "rows", "rows/s", "ms a row", "waited", "MB", "silent", left=2)
    for rate, seconds, one in sorted(found, key=lambda one: (one[0], one[2]["rank"]))[:40]:
        busy = one["computing"] + one["waiting"] + one["compiling"]
        each = 1e3 * one["computing"] / one["stars"] if one["stars"] else float("nan")
        table.add_row(
            str(one["rank"]), one_line(str(one["host"])), f"{one['stars']:,}", f"{rate:.3g}", number(each, 1),
            f"{one['waiting'] / busy:.0%}" if busy else "-",
            "-" if one["memory"] is None else number(1e-6 * one["memory"]),
            "-" if one["last"] is None else duration(max(seconds - one["last"], 0.0)),
        )  # fmt: skip
    return table


def is_screen() -> bool:
    """Whether standard output is a terminal that can show a view in full screen."""
    from rich.console import Console

    console = Console()
    return console.is_terminal and not console.is_dumb_terminal
