"""Why a computing process ended, and whether the star that it was at is to be suspected of it."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import NamedTuple

from ..core.resources import control_groups

__all__ = ["Death", "cause_of_death", "oom_kills"]

#: Signals that a process gets for what it does itself. All others come from outside: from a person, a batch
#: system, or the kernel.
_OWN = (
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP),
    *(signal.SIGSYS, signal.SIGALRM),
)
_MEANINGS = {
    signal.SIGSEGV: "invalid memory access",
    signal.SIGBUS: "a mapped file could not be read: truncated, or a disk error",
    signal.SIGABRT: "a library ended the program",
    signal.SIGALRM: "far beyond its time limit",
}


class Death(NamedTuple):
    """The end of a computing process.

    Attributes
    ----------
    reason : str
    own : bool
        Whether the process brought it about itself. If not, no star is to blame.
    """

    reason: str
    own: bool


def cause_of_death(code: int, memory_ran_out: bool) -> Death:
    """What an exit code means.

    Parameters
    ----------
    code : int
        As of `subprocess.Popen`: negative for a signal.
    memory_ran_out : bool
        Whether the kernel has killed a process for want of memory (see `oom_kills`) while this one ran.
    """
    if code >= 0:
        return Death(f"exit status {code}", own=True)
    try:
        number = signal.Signals(-code)
    except ValueError:
        return Death(f"signal {-code}, from outside", own=False)
    if number == signal.SIGKILL and memory_ran_out:
        return Death("SIGKILL (by the kernel: memory ran out; see --memory-limit)", own=True)
    if number in _OWN:
        more = _MEANINGS.get(number)
        return Death(f"{number.name} ({more})" if more else number.name, own=True)
    return Death(f"{number.name}, from outside", own=False)


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
