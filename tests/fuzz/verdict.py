"""Whether a case passed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path

import h5py

from .damage import Damage
from .kinds import Kind

__all__ = ["Outcome", "judge", "tree"]

_WAY_OUT = re.compile(r";|\?|expected |must be|must hold|did you mean|known are|use |run |give |name |see ")
_TEMPORARY = re.compile(r"\..*|.*\.(tmp|part|state|lock)|.*-(journal|wal|shm)|.*~")
_ERROR = re.compile(r"^tasoc-mpi( [\w-]+)?: error: ", re.MULTILINE)
_NO_STAR = re.compile(
    r"((none|only \d+) of the \d+ computed (star|row)s ha(s|ve) a|the computed (star|row) has no)"
    r" light curve; .* says why$"
)
_WARNING = re.compile(r"^.*: \w*Warning: ", re.MULTILINE)
_OURS = re.compile(
    r"^(tasoc_mpi\.errors\.)?(InputError|MissingInput|UsageError|TasocError)\b"
    # What the photometry says of a star without a single number.
    r"|^ValueError: the (errors of the )?light curve \(flux(_err)?\) (is|are) all NaN$"
)
_CUBE = re.compile(r"sector\d+_camera\d_ccd\d\.hdf5")
#: By the checksum of a cube's bytes, that of its values: most cases leave the cube as it is.
_values_of: dict[str, str] = {}
#: Bytes of a dataset that is not compared.
_LARGE = 1 << 26
#: Bytes: what a case may take, with what its process had before (shared with its parent).
_MEMORY = 2 << 30


@dataclass(frozen=True)
class Outcome:
    """How a command ended; `status` is None after the time limit."""

    status: int | None
    seconds: float
    cpu: float
    memory: int
    stdout: str
    stderr: str


def tree(folder: Path) -> dict[str, str]:
    """Checksums of the files of a folder, or what they are instead; of SQLite files that of their tables."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in files + [f for f in folders if (Path(top) / f).is_symlink()]:
            path = Path(top, name)
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode):
                found[str(path.relative_to(folder))] = f"{stat.S_IFMT(mode):o}"
            else:
                digest = hashlib.md5(path.read_bytes()).hexdigest()
                if _CUBE.fullmatch(name):
                    if digest not in _values_of:
                        _values_of[digest] = _values(path)
                    digest = _values_of[digest]
                found[str(path.relative_to(folder))] = digest
    return found


def _values(path: Path) -> str:
    """Checksum of the values of a cube: what was deleted while it was made is still in the file's bytes."""
    try:
        with h5py.File(path, "r") as file:
            found: list[bytes] = []
            file.visititems(lambda name, item: found.append(f"{name} {dict(item.attrs)}".encode()))
            for name in ("images", "images_err", "pixel_flags", "sumimage", "time"):
                dataset = file[name]
                if dataset.dtype.kind == "O":
                    # The bytes of such arrays are places in memory.
                    found.append(repr(dataset[()]).encode())
                elif dataset.nbytes < _LARGE:
                    found.append(dataset[()].tobytes())
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError):
        # A damaged one.
        return hashlib.md5(path.read_bytes()).hexdigest()
    return hashlib.md5(b"".join(found)).hexdigest()


def judge(
    kind: Kind,
    file: Path,
    damage: Damage,
    outcome: Outcome,
    before: dict[str, str],
    case: Path,
    expected: dict[str, str],
) -> list[str]:
    """What is wrong with the end of a case.

    Parameters
    ----------
    kind : Kind
    file : Path
        The damaged file.
    damage : Damage
    outcome : Outcome
    before : dict
        Files of the case's folder before the command.
    case : Path
    expected : dict
        Files after the command with good files.
    """
    if outcome.status is None:
        return [f"no end after {outcome.seconds:.0f} s"]
    if outcome.status < 0:
        return [f"ended by signal {-outcome.status}"]
    problems = []
    if "Traceback (most recent call last)" in outcome.stderr:
        problems.append("traceback: " + outcome.stderr.strip().splitlines()[-1][:200])
    if outcome.memory > _MEMORY:
        problems.append(f"{outcome.memory / 1e9:.1f} GB of memory")
    if found := _WARNING.search(outcome.stderr):
        problems.append(f"warning of Python: {found[0][:120]}")
    if "HDF5-DIAG" in outcome.stderr:
        problems.append("messages of the HDF5 library")
    if outcome.status not in (0, 1, 2):
        problems.append(f"exit status {outcome.status}")
    elif outcome.status and not problems:
        problems += _judge_message(kind, file, outcome.stderr)
    if damage.harmless and not outcome.status and kind.links:
        after = tree(case)
        differ = [
            name
            for name, digest in expected.items()
            if after.get(name) != digest
            and case / name != file
            and not name.endswith((".sqlite", ".lock", ".json", ".log", ".gif", ".png"))
        ]
        problems += [f"another result than with the good file: {name}" for name in differ[:3]]
    elif damage.harmless and outcome.status and (kind.links or not file.is_symlink()):
        problems.append("an error although the damage does no harm")
    return problems + _judge_files(kind, file, before, case, outcome.status)


def _judge_message(kind: Kind, file: Path, text: str) -> list[str]:
    """The one line of an error."""
    lines = text.strip().splitlines()
    errors = [line for line in lines if _ERROR.match(line)]
    if lines and not errors and _NO_STAR.search(lines[-1]):
        # A run whose stars have all failed: each has an error of its own, see `_judge_stars`.
        return []
    if len(errors) != 1 or errors[0] != lines[-1]:
        # The usage of argparse comes before its line.
        return [f"{len(errors)} lines of errors, the last line is {lines[-1][:80] if lines else ''!r}"]
    message = errors[0]
    logged = " ".join(line for line in lines if line.startswith("ERROR"))
    problems = []
    # Where there is no file any more, its folder is all that can be named.
    names = (file.name, *kind.blames) if os.path.lexists(file) else (file.name, file.parent.name)
    if not any(name in message + logged for name in names):
        problems.append("the message does not name the file")
    if not _WAY_OUT.search(message):
        problems.append("the message names no way out")
    if not message.isprintable():
        problems.append("the message has characters that are not printable")
    if len(message) > 1200:
        problems.append(f"a message of {len(message)} characters")
    return problems


def _judge_files(kind: Kind, file: Path, before: dict[str, str], case: Path, status: int) -> list[str]:
    """What the command left behind."""
    after = tree(case)
    problems = []
    for name in after:
        path = case / name
        if name in before:
            if (
                path == file
                and not kind.rewrites
                and after[name] != before[name]
                and not name.endswith((".sqlite", ".state", ".part", ".hdf5", ".log"))
            ):
                problems.append(f"{name} was changed")
            continue
        if path.name.startswith(file.name + "-"):
            # A journal that SQLite keeps for a file that it cannot repair.
            continue
        if re.fullmatch(
            r"(todo.*\.sqlite|s\d+-\d-\d\.log|cbv|download\.state)\.lock|download\.state", path.name
        ):
            # The lock of a work list, a log, the vectors or a download is never removed: who waits for it has
            # it open. The state of a download stays: the next one begins with it.
            continue
        if _TEMPORARY.fullmatch(path.name) and not (
            kind.keeps and status and re.fullmatch(kind.keeps, path.name)
        ):
            problems.append(f"{name} stays")
    for name in before.keys() - after.keys():
        if case / name == file and not name.endswith((".state", ".part", ".hdf5", ".fits.gz")):
            problems.append(f"{name} was deleted")
    return problems + _judge_results(file, before, after, case, status)


def _judge_results(
    file: Path, before: dict[str, str], after: dict[str, str], case: Path, status: int
) -> list[str]:
    """Whether what the command wrote can be read."""
    from tasoc_mpi.core.errors import TasocError
    from tasoc_mpi.products.cube import open_cube
    from tasoc_mpi.products.star_catalog import open_catalog
    from tasoc_mpi.report.results import read_curve

    problems = []
    for name, digest in after.items():
        path = case / name
        if before.get(name) == digest or not path.is_file():
            continue
        try:
            if _CUBE.fullmatch(path.name):
                open_cube(path)
            elif re.fullmatch(r"catalog_.*\.sqlite", path.name):
                open_catalog(path)
            elif path.name.endswith("_lc.fits.gz"):
                read_curve(path)
        except TasocError as error:
            problems.append(f"{name} was written and cannot be read: {error}")
        if path.name == "todo.sqlite" and path != file:
            problems += _judge_stars(path)
    if status == 0 and file.name == "todo.sqlite":
        problems += _judge_stars(file)
    return problems


def _judge_stars(todo: Path) -> list[str]:
    """Stars must not fail by errors that are not ours: those are faults of the program."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{todo}?mode=ro", uri=True)) as conn:
            rows = conn.execute("SELECT errors FROM diagnostics WHERE errors IS NOT NULL").fetchall()
    except sqlite3.Error:
        return []
    problems = []
    for (text,) in rows:
        if not isinstance(text, str) or "Traceback" not in text:
            continue
        last = [line for line in text.strip().splitlines() if line[:1].strip()][-1]
        if not _OURS.match(last):
            problems.append(f"a star failed by {last[:200]}")
    return problems[:1]
