"""Which results a command reads, and how another command names them."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..core.settings import output_folder
from .todo_file import named_todo

__all__ = ["ResultFiles"]


@dataclass(frozen=True)
class ResultFiles:
    """The results of a run, as a command line names them."""

    folder: Path  #: The input folder
    todo: str | os.PathLike[str] | None = None  #: The work list; None for that of the input folder
    method: str = ""  #: Name of the method that computed all stars; '' for the work list's own methods
    output: str | os.PathLike[str] | None = None  #: The output folder; None for that of the last run

    @property
    def path(self) -> Path:
        """The work list."""
        return named_todo(self.todo, self.folder)

    def arguments(self, output: Path, **options: object) -> str:
        """The arguments of a command on the same files, quoted as a shell needs them.

        Parameters
        ----------
        output : Path
            The output folder that was found.
        **options
            More options; those that are None are left out.

        Examples
        --------
        >>> ResultFiles(Path("my sector"), "a.sqlite").arguments(Path("my sector/output"), lock_folder="x")
        "'my sector' --todo a.sqlite --lock-folder x"
        """
        default = output_folder(None, self.folder / "output", self.method)
        given = {
            "output": None if output.resolve() == default.resolve() else output,
            "todo": self.todo,
            "photometry": self.method or None,
            **options,
        }
        words = [
            f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
            for name, value in given.items()
            if value is not None
        ]
        return " ".join([shlex.quote(str(self.folder)), *words])
