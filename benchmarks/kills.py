"""Kill processes of a run at random moments, restart it, and compare with a run that was not disturbed.

After a random time SIGKILL goes to one process of ``mpiexec -n RANKS tasoc-mpi run``: to rank 0, a watching
process, a compute process or mpiexec; or to all of them at once, as when a node goes down. A run whose
compute process was killed goes on, others are started again. At the end the run is left alone until it is
done: the tables of todo.sqlite and every light curve have to be the same, byte for byte.

    python benchmarks/kills.py demo --kills 100 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tasoc_mpi.worker.compute_process import PROCESS_NAME

#: Whom to kill: processes by what they are, or all of a run at once.
KINDS = ("rank 0", "watching", "computing", "mpiexec", "everything")
#: Columns that differ between runs of the same stars.
_TIMES = ("elaptime", "worker_wait_time")


def processes() -> dict[int, tuple[int, str]]:
    """Parent and name of every process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                name = (entry / "comm").read_text(errors="replace").strip()
                if stat[0] not in "ZX":
                    found[int(entry.name)] = (int(stat[1]), name)
    return found


def victims(job: int) -> dict[str, list[int]]:
    """The processes of a run by what they are."""
    known = processes()
    below, found = [job], {kind: [] for kind in KINDS}
    for pid in below:
        below += [child for child, (parent, _) in known.items() if parent == pid]
    found["mpiexec"] = [job]
    for pid in below[1:]:
        with contextlib.suppress(OSError, KeyError):
            variables = dict(
                text.split(b"=", 1)
                for text in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if b"=" in text
            )
            rank = variables.get(b"PMI_RANK", variables.get(b"OMPI_COMM_WORLD_RANK"))
            if known[pid][1] == PROCESS_NAME:
                found["computing"].append(pid)
            elif rank is not None:
                found["rank 0" if rank == b"0" else "watching"].append(pid)
    found["everything"] = below
    return found


def kill(pids: Sequence[int]) -> None:
    """Kill processes, all of them before one can act on the end of another."""
    for number in (signal.SIGSTOP, signal.SIGKILL) if len(pids) > 1 else (signal.SIGKILL,):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def content(todo: Path, output: Path) -> dict[str, object]:
    """What a run leaves: the rows of all tables, and the bytes of all light curves."""
    found: dict[str, object] = {}
    with contextlib.closing(sqlite3.connect(todo)) as conn:
        if conn.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise SystemExit(f"{todo}: damaged")
        names = [
            name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
        ]
        for name in names:
            columns = [row[1] for row in conn.execute(f"PRAGMA table_info({name})") if row[1] not in _TIMES]
            if not name.startswith("sqlite_"):
                rows = conn.execute(f"SELECT {', '.join(columns)} FROM {name} ORDER BY {', '.join(columns)}")
                found[name] = rows.fetchall()
    for path in sorted(output.rglob("*.fits.gz")):
        found[str(path.relative_to(output))] = path.read_bytes()
    return found


def lost_stars(expected: dict[str, object], found: dict[str, object]) -> list[object]:
    """Rows of the work list that ended in another way."""
    return [row for row in expected["todolist"] if row not in set(found["todolist"])]  # type: ignore[attr-defined]


class Trial:
    """A work list that is run and killed again and again.

    Parameters
    ----------
    command : sequence of str
        The program up to its options, mpiexec included: ``--todo`` and ``--output`` are added.
    blank : Path
        Work list without results; copied into the input folder, which `command` names.
    place : Path
        Folder for the work list and the light curves; made anew.
    environment : dict, optional
        Variables of the run.
    """

    def __init__(
        self, command: Sequence[str], blank: Path, place: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.blank, self.place = blank, place
        self.todo, self.output = place / "todo.sqlite", place / "output"
        self.renew()
        self.command = [*command, "--todo", str(self.todo), "--output", str(self.output)]
        # Light curves have the date of their making in them.
        self.environment = {**os.environ, "SOURCE_DATE_EPOCH": "86400", **(environment or {})}

    def renew(self) -> None:
        """Begin with an empty folder and a work list without results."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        shutil.copy(self.blank, self.todo)

    def start(self) -> subprocess.Popen[bytes]:
        """Start, or continue, the run."""
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def finish(self) -> dict[str, object]:
        """Run to the end; what is left."""
        done = subprocess.run(self.command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the last run ended with exit status {done.returncode}: {done.stderr[-2000:]}")
        return content(self.todo, self.output)

    def disturb(
        self, kills: int, rng: random.Random, wait: tuple[float, float], say: bool = True
    ) -> dict[str, int]:
        """Kill processes at random moments; a run that ends in the meantime is begun anew from nothing.

        Returns
        -------
        dict
            How often each kind of process was killed.
        """
        count = dict.fromkeys(KINDS, 0)
        while sum(count.values()) < kills:
            job = self.start()
            found: dict[str, list[int]] = {"everything": []}
            try:
                survives = True
                while survives and sum(count.values()) < kills:
                    deadline = time.monotonic() + rng.uniform(*wait)
                    while time.monotonic() < deadline and job.poll() is None:
                        time.sleep(0.01)
                    if job.poll() is not None:
                        break
                    found = victims(job.pid)
                    kind = rng.choice(KINDS)
                    if not found[kind]:
                        continue
                    kill(found[kind] if kind == "everything" else [rng.choice(found[kind])])
                    count[kind] += 1
                    survives = kind == "computing"
                    if say:
                        print(f"{sum(count.values()):4d} {kind}", flush=True)
            finally:
                everything = victims(job.pid)["everything"]
                if sum(count.values()) >= kills:
                    kill(everything)
                ended = job.wait(120)
            wait_for_end([pid for pid in found["everything"] if pid != job.pid])
            self.broken_off += ended != 0
            if ended == 0:
                # Done before the next kill: what was killed so far has to have left no trace.
                self.check()
                self.renew()
        return count

    expected: dict[str, object] | None = None
    #: Number of runs that a kill has ended before their last star.
    broken_off = 0

    def check(self) -> None:
        """Compare with `expected`; raises SystemExit where something differs."""
        found = content(self.todo, self.output)
        if self.expected is not None and found != self.expected:
            differ = [name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name)]
            lost = lost_stars(self.expected, found)
            raise SystemExit(f"{len(lost)} stars lost: {lost[:5]}; differs: {sorted(differ)[:10]}")


def wait_for_end(pids: Sequence[int], seconds: float = 60.0) -> None:
    """Until none of the processes is there any more."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if pid in processes()]:
        if time.monotonic() > deadline:
            raise SystemExit(f"processes {left} outlive their run")
        time.sleep(0.05)


def main() -> None:
    """Disturb a run of a prepared folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, help="input folder with cube, catalog and work list, as of `make demo`"
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--place", type=Path, default=Path("bench/kills"))
    parser.add_argument("--wait", type=float, nargs=2, default=(0.2, 1.5), metavar=("MIN", "MAX"))
    args = parser.parse_args()
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    program = [sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "run", str(args.folder), "--batch", "4"]
    blank = args.place / "blank.sqlite"
    args.place.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(args.folder / "todo.sqlite")) as source:
        if source.execute("SELECT COUNT(*) FROM todolist WHERE status IS NOT NULL").fetchone()[0]:
            raise SystemExit(
                f"{args.folder}: its work list has results; make it with `tasoc-mpi todo --overwrite`"
            )
        with contextlib.closing(sqlite3.connect(blank)) as target:
            source.backup(target)
    trial = Trial([str(mpiexec), "-n", str(args.ranks), *program], blank, args.place / "disturbed")
    trial.expected = Trial(program, blank, args.place / "expected").finish()
    stars = len(trial.expected["todolist"])  # type: ignore[arg-type]
    print(
        f"{stars} stars, {len(list((args.place / 'expected').rglob('*.fits.gz')))} light curves", flush=True
    )
    start = time.monotonic()
    count = trial.disturb(args.kills, random.Random(args.seed), tuple(args.wait))
    trial.finish()
    trial.check()
    kills = ", ".join(f"{number} of {kind}" for kind, number in count.items())
    print(
        f"{sum(count.values())} kills ({kills}) in {time.monotonic() - start:.0f} s: same bytes, 0 stars lost"
    )


if __name__ == "__main__":
    main()
