"""The commands and programs in Markdown files, and how they are run.

A block of commands (indented by four spaces) or of Python (fenced) is run unless the comment
``<!-- not run: REASON -->`` stands above it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from house import ROOT

#: What a line of a block of commands begins with; indented lines of other kinds are drawings and lists.
PROGRAMS = ("tasoc-mpi", "mpiexec", "make", "pip", "python", "python3", ".", "cd", "export", "git", "sbatch")
#: Lines of a list: an indented line below one belongs to it.
_LIST = re.compile(r"\s|[-*] |\d+\. ")
_NOT_RUN = re.compile(r"<!-- not run: (.*) -->")


@dataclass(frozen=True)
class Block:
    """A block of a document."""

    path: Path
    line: int  #: Of its first line, counted from 1
    language: str  #: ``shell``, ``python``, or the word behind the fence
    text: str
    not_run: str | None  #: The reason for which it is not run
    file: str | None  #: Name of a Python file that the line above gives the block

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command of a block of the language shell, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def documents() -> list[Path]:
    """The Markdown files whose blocks are run; notebooks are executed by Sphinx."""
    return sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(path: Path) -> list[Block]:
    """All blocks of a document in order."""
    lines = path.read_text().splitlines()
    found: list[Block] = []
    reason, before, n = None, "", 0
    while n < len(lines):
        line = lines[n]
        if mark := _NOT_RUN.fullmatch(line.strip()):
            reason = mark[1].strip()
            assert reason, f"{path}:{n + 1}: no reason"
        elif fence := re.fullmatch(r"(`{3,}|:{3,})\{?([\w-]*)\}?.*", line):
            end = lines.index(fence[1], n + 1)
            file = (re.findall(r"`(\w+\.py)`", before) or [None])[-1]
            found.append(Block(path, n + 2, fence[2], "\n".join(lines[n + 1 : end]) + "\n", reason, file))
            reason, n = None, end
        elif line.startswith("    ") and not _LIST.match(before):
            end = n
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            text = "\n".join(text[4:] for text in lines[n:end]).rstrip() + "\n"
            known = any(text_line.split(" ")[0] in PROGRAMS for text_line in text.splitlines())
            found.append(Block(path, n + 1, "shell" if known else "text", text, reason, None))
            reason, n = None, end - 1
        elif line.strip():
            assert reason is None, f"{path}:{n + 1}: `not run` above something that is no block"
        if line.strip():
            before = line
        n += 1
    return found
