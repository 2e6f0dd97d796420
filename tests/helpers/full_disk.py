"""A run whose work list, or output, is on a disk that fills up, and the next run, when there is room again.

``unshare -rm python full_disk.py SETTINGS`` in a mount namespace of its own: the disk is a tmpfs. SETTINGS is
JSON with the names of `run_on_small_disk`. What happened is printed as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

_SECONDS = 60


def fill(balloon: Path) -> None:
    """Take all room that there is."""
    with contextlib.suppress(OSError), open(balloon, "ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def count(output: Path) -> int:
    """Light curves, or packs of them."""
    return sum(path.name.startswith(("tess", "lightcurves-")) for path in output.rglob("*.*"))


def run_on_small_disk(
    todo: str, disk: str, size: int, output: str, command: list[str], lightcurves: int, keep: str = ""
) -> dict[str, object]:
    """Run twice.

    Parameters
    ----------
    todo : str
        The work list: is copied to the disk before, and back at the end, if the output is elsewhere.
    disk : str
        An empty folder, to be the disk.
    size : int
        Bytes of the disk.
    output : str
        Folder of the light curves.
    command : list of str
        Runs.
    lightcurves : int
        The disk fills up when so many are there (or that many files of them, where they are packed).
    keep : str, optional
        Where the output is copied to at the end if it is on the disk; then the work list is not.
    """
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk], check=True)
    there = Path(todo) if keep else Path(disk, "todo.sqlite")
    if not keep:
        shutil.copy(todo, there)
    balloon = Path(disk, "balloon")
    if not lightcurves:
        fill(balloon)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while lightcurves and run.poll() is None:
            if count(Path(output)) >= lightcurves:
                fill(balloon)
                lightcurves = 0
            time.sleep(0.01)
        _, said = run.communicate(timeout=_SECONDS)
    with contextlib.closing(sqlite3.connect(f"file:{there}?mode=ro", uri=True)) as conn:
        integrity = conn.execute("PRAGMA integrity_check").fetchall()
    balloon.unlink(missing_ok=True)
    again = subprocess.run(
        command,
        env={**os.environ, "RUN_PROGRAM_SECONDS": "0"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if keep:
        shutil.copytree(output, keep)
    else:
        shutil.copy(there, todo)
    return {
        "first": run.returncode,
        "said": said,
        "integrity": integrity,
        "second": again.returncode,
        "said_then": again.stderr,
    }


if __name__ == "__main__":
    print(json.dumps(run_on_small_disk(**json.loads(sys.argv[1]))))
