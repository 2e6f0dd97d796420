"""The interface of a batch system.

Another one is a class with these methods, a template ``NAME.sh`` and a line of `jobs.SYSTEMS`. Its template,
at the beginning of each script, sets the shell variables ``task`` (index in an array), ``job``, ``restarts``
(count) and ``where`` (the node), and defines ``requeue``, which sends this task back into the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from .site import Site

__all__ = ["BatchSystem", "TaskState"]


class TaskState(NamedTuple):
    """A task in the queue."""

    active: bool  #: It waits or runs
    state: str  #: The batch system's word
    #: used, left: time since the start, and until the time limit.
    used: str = ""
    left: str = ""
    node: str = ""  #: Where it runs
    reason: str = ""  #: Why it waits or ended


class BatchSystem(Protocol):
    """Asks a batch system; every method raises MissingInput or InputError where it is absent or refuses."""

    #: For messages.
    title: str
    #: The number of ranks of a task, in a script.
    ranks: str

    def max_array_size(self) -> int:
        """Most tasks of an array."""
        ...

    def directives(self, site: Site, step: str, folder: Path, tasks: int | None) -> Sequence[str]:
        """Lines of a script that ask for the resources of a step; `folder` takes the logs.

        `tasks` is the number of tasks where the step is an array.
        """
        ...

    def check(self, script: Path) -> None:
        """Raise InputError if the script would be refused."""
        ...

    def submit(self, script: Path, after: Sequence[int], even_failed: bool) -> int:
        """Submit a script; returns the job's number.

        It waits for the end of the jobs `after`, their success unless `even_failed`; without any it is held
        until `release`.
        """
        ...

    def release(self, jobs: Sequence[int]) -> None:
        """Let held jobs start."""
        ...

    def cancel_command(self, jobs: Sequence[int]) -> Sequence[str]:
        """The words of the command that cancels jobs."""
        ...

    def cancel(self, jobs: Sequence[int]) -> None:
        """Cancel jobs."""
        ...

    def queue(self, jobs: Sequence[int]) -> Mapping[tuple[int, int], TaskState]:
        """The tasks that the queue knows, by job and index in its array (-1 where it is none)."""
        ...
