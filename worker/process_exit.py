"""Why a compute process ended, and whether that counts against the star that it was at."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import NamedTuple

from ..core.resources import control_groups

__all__ = ["ProcessExit", "explain_exit", "oom_kills"]

#: Signals that a process causes itself. All others come from outside: from a person, a batch
#: system, or the kernel.
_OWN = (
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP),
    signal.SIGSYS,
)
_MEANINGS = {
    signal.SIGSEGV: "invalid memory access",
    signal.SIGBUS: "a mapped file could not be read: truncated, or a disk error",
    signal.SIGABRT: "a library ended the program",
}


class ProcessExit(NamedTuple):
    """The end of a compute process.

    Attributes
    ----------
    reason : str
    own : bool
        Whether the process ended by its own doing; if not, the end counts against no star.
    """

    reason: str
    own: bool


def explain_exit(code: int, memory_ran_out: bool) -> ProcessExit:
    """The meaning of an exit code.

    Parameters
    ----------
    code : int
        As of `subprocess.Popen`: negative for a signal.
    memory_ran_out : bool
        Whether the kernel has killed a process for want of memory (see `oom_kills`) while this one ran.
    """
    if code >= 0:
        return ProcessExit(f"exit status {code}", own=True)
    try:
        number = signal.Signals(-code)
    except ValueError:
        return ProcessExit(f"signal {-code}, from outside", own=False)
    if number == signal.SIGKILL and memory_ran_out:
        return ProcessExit("SIGKILL (by the kernel: memory ran out; see --memory-limit)", own=True)
    if number in _OWN:
        more = _MEANINGS.get(number)
        return ProcessExit(f"{number.name} ({more})" if more else number.name, own=True)
    return ProcessExit(f"{number.name}, from outside", own=False)


def oom_kills(proc: Path = Path("/proc"), root: Path = Path("/sys/fs/cgroup")) -> dict[str, int]:
    """Number of processes that the kernel has killed because memory ran out, by the file that counts them.

    The node counts them, and so does every control group that this process is in. Empty where nothing counts.
    """
    names = {1: "memory.oom_control", 2: "memory.events"}
    groups = [folder / names[version] for version, folder in control_groups(proc, root)]
    counts = {}
    for path in (proc / "vmstat", *groups):
        with contextlib.suppress(OSError, ValueError):
            words = path.read_text().split()
            counts[str(path)] = int(words[words.index("oom_kill") + 1])
    return counts
