"""What a run was: when, where, with what, and what each rank did with its time.

``OUTPUT/results/runs/START-HOST-PROCESS.json`` is written when a run hands out its first star, and again at
its end. A record without an end is that of a run that is under way or was killed.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError
from ..core.settings import load_settings

__all__ = ["RankTimes", "RunRecord", "read_records", "records_folder", "utc_time"]

#: Intervals and rows of the timeline at most; of more ranks neighbours share a row.
BINS, ROWS = 240, 128
#: Variables that name a job of a batch system.
_JOB = (
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NODELIST"),
    *("PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"),
)
#: Packages whose versions can change a result.
_PACKAGES = ("tasoc-mpi", "numpy", "numba", "scipy", "astropy", "h5py", "mpi4py")
#: Names in a command line's values that are no options.
_NO_OPTIONS = ("options", "command", "main", "function")
#: A record has some 100 kB.
_MOST_BYTES = 16 << 20


def records_folder(output: Path) -> Path:
    """Where the records of the runs into an output folder are."""
    return output / "results" / "runs"


@dataclass
class RankTimes:
    """When ranks computed and when they waited, as their results came in.

    Examples
    --------
    >>> times = RankTimes(ranks=3)
    >>> times.add([1, 2], 4.0, np.array([2.0, 3.0]), np.array([0.5, 0.0]), np.array([10, 20]))
    >>> binned = times.binned(4.0, bins=4)
    >>> binned["computing"][0], binned["waiting"][0], binned["stars"]
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.0, 0.0], [10, 20])
    """

    ranks: int
    _parts: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

    def add(
        self,
        ranks: Sequence[int],
        now: float,
        computing: NDArray[np.float64],
        waiting: NDArray[np.float64],
        stars: NDArray[np.int64],
    ) -> None:
        """Add messages of results: whose, seconds since the start, and the sums over the stars of each."""
        when = np.full(len(ranks), now)
        self._parts.append((np.asarray(ranks), when, computing, waiting, stars))

    def binned(self, seconds: float, bins: int = BINS) -> dict[str, Any]:
        """Seconds of computing and waiting by worker (or group of neighbours) and interval.

        Parameters
        ----------
        seconds : float
            Length of the run.
        bins : int, optional
            Number of intervals.

        Returns
        -------
        dict
            ``interval`` (s), ``ranks`` (first and last of each row), ``computing`` and ``waiting`` (lists of
            one list a row, mean seconds of a rank), ``stars`` (a row).
        """
        edges = np.linspace(0.0, max(seconds, 1e-3), bins + 1)
        # Without workers rank 0 computes.
        workers = np.arange(1, self.ranks) if self.ranks > 1 else np.zeros(1, int)
        groups = np.array_split(workers, min(ROWS, len(workers)))
        none: tuple[NDArray[Any], ...] = (np.zeros(0),) * 5
        rank, end, computing, waiting, stars = map(np.concatenate, zip(*(self._parts or [none]), strict=True))
        rows: dict[str, Any] = {"computing": [], "waiting": [], "stars": []}
        for group in groups:
            mine = (rank >= group[0]) & (rank <= group[-1])
            stop, busy, idle = end[mine], computing[mine], waiting[mine]
            for name, ends, lengths in (("computing", stop, busy), ("waiting", stop - busy, idle)):
                total = np.diff(_covered(edges, ends, lengths)) / len(group)
                rows[name].append(np.round(total, 4).tolist())
            rows["stars"].append(int(stars[mine].sum()))
        return {
            "interval": float(edges[1]),
            "ranks": [[int(group[0]), int(group[-1])] for group in groups],
            **rows,
        }


def _covered(
    edges: NDArray[np.float64], ends: NDArray[np.float64], lengths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Length of the intervals (end, length) before each edge, summed."""
    total = np.zeros(len(edges))
    for first in range(0, len(ends), 10_000):
        part = slice(first, first + 10_000)
        reached = edges[:, None] - (ends[part] - lengths[part])
        total += np.clip(reached, 0.0, lengths[part]).sum(axis=1)
    return total


@dataclass
class RunRecord:
    """The record of a run that is under way; `write` brings its file up to date."""

    path: Path
    content: dict[str, Any]
    times: RankTimes

    @classmethod
    def begin(
        cls,
        output: Path,
        command: str,
        options: Mapping[str, Any],
        node: Sequence[int],
        stars: int,
        times: RankTimes,
    ) -> RunRecord:
        """Write the record of a run that begins.

        Parameters
        ----------
        output : Path
            Its output folder.
        command : str
            Its name.
        options : dict
            What was chosen, as plain values.
        node : sequence of int
            Number of each rank's node.
        stars : int
            How many are to be computed.
        times : RankTimes
            Is filled while the run goes on.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        now = time.time()
        content = {
            "format": "tasoc-mpi run",
            "command": command,
            "options": {
                name: _plain(value)
                for name, value in options.items()
                if value and name not in _NO_OPTIONS and not callable(value)
            },
            "settings": list(load_settings().unusual()),
            "started": utc_time(now),
            "ended": None,
            "stars": stars,
            "ranks": len(node),
            "nodes": len(set(node)),
            "host": socket.gethostname(),
            "job": {name: os.environ[name] for name in _JOB if name in os.environ},
            "versions": {"python": platform.python_version(), **_versions()},
        }
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{socket.gethostname()}-{os.getpid()}.json"
        record = cls(records_folder(output) / name.replace("/", "_"), content, times)
        record._write()
        return record

    def end(self, computed: int, seconds: float, outcome: str) -> None:
        """Complete the record.

        Parameters
        ----------
        computed : int
            Number of stars.
        seconds : float
            From the first star handed out.
        outcome : str
            Why it ended.
        """
        self.content |= {
            "ended": utc_time(time.time()),
            "outcome": outcome,
            "computed": computed,
            "seconds": round(seconds, 3),
            "memory_rank_0": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "timeline": self.times.binned(seconds),
        }
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, (json.dumps(self.content) + "\n").encode(), durable=False)


def _plain(value: Any) -> Any:
    """A value of an option as JSON has it."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def utc_time(seconds: float) -> str:
    """A Unix time as a date and time of day in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _versions() -> dict[str, str]:
    """Versions of the packages, by what is installed: nothing is imported for it."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def read_records(output: Path) -> list[dict[str, Any]]:
    """The records of all runs into an output folder, the last first.

    Raises
    ------
    InputError
        If one of them is no record.
    """
    folder = records_folder(output)
    records = []
    for path in sorted(folder.glob("*.json"), reverse=True) if folder.is_dir() else ():
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError("it is too large")
            content = json.loads(path.read_bytes())
            if not isinstance(content, dict) or content.get("format") != "tasoc-mpi run":
                raise ValueError("its format is another one")
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not the record of a run ({error}); remove it") from None
        records.append(content)
    return records
