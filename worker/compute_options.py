"""How the supervisor process starts the compute process, and how that answers."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass

from ..core.launcher import leave_launcher
from ..core.messages import Tag
from .compute import Job

__all__ = [
    "DEFAULT_PHOTOMETRY",
    "ComputeOptions",
    "compute_command",
    "compute_environment",
    "compute_words",
    "pack_answer",
    "pack_options",
    "parse_options",
    "unpack_answer",
]

DEFAULT_PHOTOMETRY = "tasoc_mpi:tessphot"


@dataclass(frozen=True)
class ComputeOptions:
    """How stars are computed.

    Parameters
    ----------
    target_timeout : float
        Seconds that a star may take.
    memory_limit : int, optional
        Bytes that the compute process may allocate. Default: no limit.
    photometry : str
        ``MODULE:FUNCTION`` that computes a star.
    copies : str
        Folder in which cubes are copied; '' to read them where they are.
    log_level : int
        Of the compute process.
    log_file, rank : str
        File to which it appends its log, too, and the number of its rank there; '' for none.
    star_warnings : bool
        Whether warnings about single stars, which stand in their diagnostics, are logged, too.
    """

    target_timeout: float
    memory_limit: int | None = None
    photometry: str = DEFAULT_PHOTOMETRY
    copies: str = ""
    log_level: int = 30
    log_file: str = ""
    rank: str = "0"
    star_warnings: bool = False


def compute_words(descriptors: tuple[int, int, int], job: Job, options: ComputeOptions) -> list[str]:
    """The arguments of `compute_process.main`; `descriptors` are of batches, results and the recorder."""
    return [*map(str, descriptors), str(os.getpid()), options.photometry, job.method_name]


def compute_command(words: list[str]) -> list[str]:
    """The command line of a compute process in an interpreter of its own."""
    return [sys.executable, "-P", "-m", "tasoc_mpi.worker.compute_process", *words]


def pack_options(job: Job, options: ComputeOptions) -> bytes:
    """The first message to a compute process."""
    return json.dumps({"job": asdict(job), "options": asdict(options)}).encode()


def parse_options(message: bytes) -> tuple[Job, ComputeOptions]:
    """What `pack_options` packed."""
    told = json.loads(message)
    return Job(**told["job"]), ComputeOptions(**told["options"])


def compute_environment(options: ComputeOptions) -> dict[str, str]:
    """Environment variables of the compute process."""
    env = dict(os.environ)
    leave_launcher(env)
    # A rank is a core; threads of numerical libraries would take those of others.
    env.setdefault("OMP_NUM_THREADS", "1")
    if options.photometry != DEFAULT_PHOTOMETRY:
        # Named by this program's caller, who may have it anywhere.
        env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return env


def pack_answer(tag: Tag, payload: bytes) -> bytes:
    """A message of the compute process. Eight bytes of tag keep the arrays behind them aligned."""
    return tag.to_bytes(8, "little") + payload


def unpack_answer(message: bytes) -> tuple[int, memoryview]:
    """Tag and payload of a message that `pack_answer` packed."""
    return int.from_bytes(message[:8], "little"), memoryview(message)[8:]
