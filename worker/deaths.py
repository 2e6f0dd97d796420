"""Why a computing process ended, and whether the star that it was at is to be suspected of it."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import NamedTuple

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


def oom_kills(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> dict[str, int]:
    """How many processes the kernel has killed for want of memory, by who counts them.

    The node counts them, and so does every control group (version 1 and 2) that this process is in, up to
    the outermost one that can be seen from here. Empty where nothing counts.
    """
    files = {str(proc / "vmstat"): proc / "vmstat"}
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers == "":
                # Version 2, alone or beside version 1.
                roots, file = [groups, groups / "unified"], "memory.events"
            elif "memory" in controllers.split(","):
                roots, file = [groups / "memory"], "memory.oom_control"
            else:
                continue
            for root in roots:
                folder = root / name.strip("/")
                for parent in (folder, *folder.parents):
                    files[str(parent)] = parent / file
                    if parent == root:
                        break
    counts = {}
    for name, path in files.items():
        with contextlib.suppress(OSError, ValueError):
            words = path.read_text().split()
            counts[name] = int(words[words.index("oom_kill") + 1])
    return counts
