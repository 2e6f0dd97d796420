"""SLURM as a batch system."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError, MissingInput
from .batch_system import BatchSystem, TaskState
from .site import Site

__all__ = ["Slurm"]

#: SLURM's own default.
_MAX_ARRAY_SIZE = 1001
#: A controller that is busy answers late (seconds); SLURM's own commands give up after some tens of seconds.
_TIMEOUT = 120
_ACTIVE = {
    *("PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD"),
    *("REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "PREEMPTED"),
}


class Slurm(BatchSystem):
    """SLURM's commands; `BatchSystem` has the meaning of each method."""

    title = "SLURM"
    ranks = '"$SLURM_NTASKS"'

    def max_array_size(self) -> int:
        match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _command("scontrol", "show", "config"), re.MULTILINE)
        return max(1, int(match[1])) if match else _MAX_ARRAY_SIZE

    def directives(self, site: Site, step: str, folder: Path, tasks: int | None) -> list[str]:
        asks = site.steps[step]
        # A % in the folder's name is doubled for SLURM.
        place = str(folder).replace("%", "%%")
        options = [
            f"--job-name=tasoc-{step}",
            f'--output="{place}/{step}-{"%j" if tasks is None else "%A_%a"}.log"',
            "--open-mode=append",
            f"--nodes={asks.nodes}",
            f"--ntasks-per-node={asks.ranks}",
            f"--mem={asks.memory}",
            f"--time={asks.time}",
            "--requeue",
            f"--signal=B:USR1@{site.warning}",
        ]
        for name in ("partition", "account", "qos"):
            if value := getattr(asks, name, "") or getattr(site, name):
                options.append(f"--{name}={value}")
        if tasks is not None:
            options.append(f"--array=0-{max(tasks - 1, 0)}%{site.at_once}")
        return [f"#SBATCH {option}" for option in (*options, *site.sbatch)]

    def check(self, script: Path) -> None:
        _command("sbatch", "--test-only", str(script))

    def submit(self, script: Path, after: Sequence[int], even_failed: bool) -> int:
        options = ["--hold"]
        if after:
            waits = ":".join(["afterany" if even_failed else "afterok", *map(str, after)])
            options = [f"--dependency={waits}", "--kill-on-invalid-dep=yes"]
        return int(_command("sbatch", "--parsable", *options, str(script)).strip().partition(";")[0])

    def release(self, jobs: Sequence[int]) -> None:
        for job in jobs:
            _command("scontrol", "release", str(job))

    def cancel_command(self, jobs: Sequence[int]) -> list[str]:
        return ["scancel", *map(str, jobs)]

    def cancel(self, jobs: Sequence[int]) -> None:
        _command(*self.cancel_command(jobs))

    def queue(self, jobs: Sequence[int]) -> dict[tuple[int, int], TaskState]:
        numbers = ",".join(map(str, jobs))
        try:
            text = _command("squeue", "-h", "-r", "-t", "all", "-j", numbers, "-o", "%F|%K|%T|%M|%L|%N|%r")
        except InputError as error:
            if "Invalid job id" not in str(error):
                raise
            text = ""
        found = {}
        for line in text.splitlines():
            number, task, *rest = line.split("|")
            if number.isdecimal() and len(rest) == 5:
                index = int(task) if task.isdecimal() else -1
                found[int(number), index] = TaskState(rest[0] in _ACTIVE, *rest)
        return found


def _command(*words: str) -> str:
    """Output of one of SLURM's commands; raises InputError, with the command's own line, where it fails."""
    program = shutil.which(words[0])
    if program is None:
        raise MissingInput(f"{words[0]}: not found; submit where SLURM's commands are (a login node)")
    # As SLURM understands times everywhere.
    environment = {**os.environ, "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [program, *words[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{words[0]}: no answer from SLURM in {_TIMEOUT} s; try again later") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = (
            re.sub(rf"^{words[0]}: (error: )?", "", lines[-1]) if lines else f"exit status {done.returncode}"
        )
        raise InputError(f"{words[0]}: {reason}")
    return done.stdout
