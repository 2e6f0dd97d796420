"""What a run was: when, where, with what, and what each rank did with its time.

``OUTPUT/results/runs/START-HOST-PROCESS.json`` is written when a run hands out its first star, every few
seconds while it computes, and at its end. A record without an end is that of a run that is under way or was
killed.
"""

from __future__ import annotations

import argparse
import glob
import json
import logging
import os
import platform
import re
import resource
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.messages import Bundle
from ..core.resources import process_age
from ..core.settings import load_settings
from .rank_times import Ranks, RankTimes

__all__ = ["RunRecord", "read_records", "records_folder", "utc_time"]

#: Variables that name a job of a batch system.
_JOB = (
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NODELIST"),
    *("PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"),
)
#: Packages whose versions can change a result.
_PACKAGES = ("tasoc-mpi", "numpy", "numba", "scipy", "astropy", "h5py", "mpi4py")
#: Names in a command line's values that are no options.
_NO_OPTIONS = ("options", "command", "main", "function", "compiling")
#: Seconds between two writes while a run computes.
_REFRESH = 2.0
#: What records of runs under way, or of older versions, may be without.
_LATER = (
    *("ended", "outcome", "seconds", "computed", "by_rank", "stages", "memory_rank_0", "timeline", "left"),
    "hosts",
)
#: A record has some 100 kB.
_MOST_BYTES = 16 << 20


logger = logging.getLogger(__name__)


def records_folder(output: Path) -> Path:
    """Where the records of the runs into an output folder are."""
    return output / "results" / "runs"


class RunRecord:
    """The record of a run.

    Parameters
    ----------
    command : str
        Its name.
    args : argparse.Namespace
        Its options; ``compiling`` has the seconds in which its kernels were compiled before.
    output : Path
        Its output folder.
    ranks : Ranks
    """

    def __init__(self, command: str, args: argparse.Namespace, output: Path, ranks: Ranks) -> None:
        self.times = RankTimes(ranks)
        self._output = output
        self._begun = self._written = 0.0
        self.path: Path | None = None
        compiling = float(getattr(args, "compiling", 0.0))
        self._stages = {"compiling": compiling, "starting": max(process_age() - compiling, 0.0)}
        self._stage = time.monotonic()
        self.content: dict[str, Any] = {
            "format": "tasoc-mpi run",
            "command": command,
            "options": {
                name: _plain(value)
                for name, value in vars(args).items()
                if value and name not in _NO_OPTIONS and not callable(value)
            },
            "settings": list(load_settings().unusual()),
            "ended": None,
            "ranks": len(ranks),
            "nodes": len(set(ranks.node)),
            "host": socket.gethostname(),
            "hosts": sorted(set(ranks.host)),
            "process": os.getpid(),
            "job": {name: os.environ[name] for name in _JOB if name in os.environ},
            "versions": {},
        }

    def _end_stage(self, name: str) -> None:
        now = time.monotonic()
        self._stages[name] = self._stages.get(name, 0.0) + now - self._stage
        self._stage = now

    @property
    def seconds(self) -> float:
        """Since the first star was handed out."""
        return time.monotonic() - self._begun

    def begin(self, stars: int) -> None:
        """Write the record as the first star is handed out.

        Parameters
        ----------
        stars : int
            How many are to be computed.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self._end_stage("reading")
        self._begun = time.monotonic()
        now = time.time()
        self.content |= {"started": utc_time(now), "stars": stars, "stages": self._stages}
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{socket.gethostname()}-{os.getpid()}.json"
        self.path = records_folder(self._output) / name.replace("/", "_")
        self._write()

    def add(self, bundle: Bundle, ranks: Sequence[int]) -> None:
        """Count the results of messages, and the rank that each message is from."""
        starts, heads = bundle.starts, bundle.heads
        computing, waiting = (np.add.reduceat(heads[n], starts) for n in ("elaptime", "worker_wait_time"))
        self.times.add(ranks, self.seconds, computing, waiting, bundle.ends - starts)

    def refresh(self, left: float | None) -> None:
        """Bring the file up to date, every few seconds, for those who watch the run.

        Parameters
        ----------
        left : float, optional
            Seconds to the end of the run, None where they are not known.
        """
        # To look them up takes 40 ms. No worker waits for its first stars any more.
        self.content["versions"] = self.content["versions"] or _versions()
        if time.monotonic() - self._written > _REFRESH:
            seconds = round(self.seconds, 3)
            self.content |= {"seconds": seconds, "left": left, **self._sums()}
            try:
                self._write()
            except OSError as error:
                # The results themselves are written elsewhere; the next one may succeed.
                logger.debug("%s: %s", self.path, error)

    def end_computing(self) -> None:
        """Complete what is known of the ranks."""
        if self.path is not None:
            self.content |= {"seconds": round(self.seconds, 3), "left": 0.0, **self._sums()}
            self.content["versions"] = self.content["versions"] or _versions()
            self.content["timeline"] = self.times.binned(self.seconds)
            self._end_stage("computing")

    def _sums(self) -> dict[str, Any]:
        return {"computed": int(self.times.stars.sum()), "by_rank": self.times.by_rank()}

    def end(self, outcome: str) -> None:
        """Complete the record, if the run has begun.

        Parameters
        ----------
        outcome : str
            Why it ended.
        """
        if self.path is None:
            return
        self._end_stage("publishing")
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.content |= {"ended": utc_time(time.time()), "outcome": outcome, "memory_rank_0": memory}
        self._write()

    def _write(self) -> None:
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, (json.dumps(self.content) + "\n").encode(), durable=False)
        self._written = time.monotonic()


def _plain(value: Any) -> Any:
    """A value of an option as JSON has it."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def utc_time(seconds: float) -> str:
    """A Unix time as a date and time of day in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _versions() -> dict[str, str]:
    """Versions of Python and of the packages, by what is installed: none of them is imported for it."""
    import importlib.metadata

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def records_under_way(output: Path, runners: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The records of the runs of some processes, by process.

    Parameters
    ----------
    output : Path
    runners : iterable of str
        As `core.locks.holder` names them; those without a record are left out.

    Raises
    ------
    InputError
        If a record is none.
    """
    found = {}
    for runner in sorted(runners):
        if match := re.fullmatch(r"process (\d+) on (\S+)", runner):
            process, host = match.groups()
            # Process numbers come again: the last record is the one.
            paths = sorted(records_folder(output).glob(f"*-{glob.escape(host)}-{process}.json"))
            if paths and (record := _read(paths[-1]))["ended"] is None:
                found[runner] = record
    return found


def read_records(output: Path) -> list[dict[str, Any]]:
    """The records of all runs into an output folder, the last first.

    Raises
    ------
    InputError
        If one of them is no record.
    """
    folder = records_folder(output)
    return [_read(path) for path in sorted(folder.glob("*.json"), reverse=True)]


def _read(path: Path) -> dict[str, Any]:
    """A record, with None for what older ones do not have."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.get("format") != "tasoc-mpi run":
            raise ValueError("its format is another one")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the record of a run ({error}); remove it") from None
    return {**dict.fromkeys(_LATER), **content}
