"""One case: a copy of the good files, a damaged file, a command in a process of its own, and a verdict."""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import logging
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .damage import Damage, choose
from .kinds import KINDS, Kind
from .verdict import Outcome, judge, tree

__all__ = ["Base", "CaseResult", "make_base", "run_case"]

#: Seconds, and bytes beyond what the process had before.
TIME_LIMIT, MEMORY_LIMIT = 20.0, 2 << 30


@dataclass(frozen=True)
class Base:
    """The good files of a kind, and the results of its commands with them."""

    kind: str
    folder: Path
    expected: dict[tuple[str, ...], dict[str, str]]


@dataclass(frozen=True)
class CaseResult:
    """What became of a case; `problems` is empty where it passed."""

    kind: str
    number: int
    command: str
    damage: str
    status: int
    seconds: float
    cpu: float
    memory: int
    problems: list[str]
    message: str


def _psf(folder: str) -> None:
    """What a method does with PRF files; no command reads them by itself."""
    from tasoc_mpi.models.psf import PSF

    PSF(4, 2, 3, (100, 110, 200, 210), folder).integrate_to_image([[5.0, 5.0, 100.0]])


def _variables(folder: str) -> None:
    """What `summary --pictures` reads of a simulation's truth; the pictures take seconds."""
    from tasoc_mpi.report.results import read_run
    from tasoc_mpi.report.variables import injected_variables

    injected_variables(Path(folder), read_run(folder).stars)


def _download(folder: str) -> None:
    """`download` from a server in this process; the frames have to be those of the server."""
    from archive_server import Archive, add_frames, frame_name, serving

    from tasoc_mpi import cli
    from tasoc_mpi.core.errors import TasocError
    from tasoc_mpi.core.settings import load_settings

    archive = Archive()
    names = [frame_name(number) for number in range(4)]
    add_frames(archive, names)
    settings = Path(folder).with_name("settings.ini")
    with serving(archive):
        settings.write_text(f"[download]\narchive = {archive.address}\nmast = {archive.address}\n")
        os.environ["TESSPHOT_SETTINGS"] = str(settings)
        load_settings.cache_clear()
        try:
            status = cli.main(["--quiet", "download", folder, "--sector", "1"])
        finally:
            del os.environ["TESSPHOT_SETTINGS"]
            load_settings.cache_clear()
    if status:
        # The program has printed why.
        sys.exit(status)
    for name in names:
        content = archive.files[f"/api/v0.1/Download/file?uri=mast:TESS/product/{name}"]
        if Path(folder, "ffi", "1-1", name).read_bytes() != content:
            raise TasocError(f"{name} is not the archive's")


#: Functions that are used like commands.
_FUNCTIONS = {"download": _download, "psf": _psf, "variables": _variables}


@functools.cache
def _parser() -> argparse.ArgumentParser:
    """The parser of the command line, with photometry and corrections in the process that parses."""
    from tasoc_mpi import cli, tessphot
    from tasoc_mpi.commands import correct, run
    from tasoc_mpi.correction.corrected_star import correct_star

    mains = run.main, correct.main
    run.main = functools.partial(run.main, photometry=tessphot)  # type: ignore[assignment]
    correct.main = functools.partial(correct.main, function=correct_star)  # type: ignore[assignment]
    try:
        return cli.build_parser()
    finally:
        run.main, correct.main = mains


def _main(options: Sequence[str]) -> int:
    """The program, with its photometry and its corrections in this process."""
    from tasoc_mpi import cli
    from tasoc_mpi.core.errors import TasocError

    if options[0] in _FUNCTIONS:
        try:
            _FUNCTIONS[options[0]](options[1])
        except TasocError as error:
            print(f"tasoc-mpi {options[0]}: error: {error}", file=sys.stderr)
            return 1
        return 0
    # It takes longer to build than most cases take.
    build, parser = cli.build_parser, _parser()
    cli.build_parser = lambda *_: parser
    try:
        return cli.main(options)
    finally:
        cli.build_parser = build


@functools.cache
def _caches(modules: int) -> list[Callable[[], None]]:
    """What forgets the files of other cases; found anew when the number of modules has changed."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("tasoc_mpi"):
            for value in vars(module).values():
                # The version of the program is in no file of a case.
                if hasattr(value, "cache_clear") and value.__name__ != "program_version":
                    found[id(value)] = value.cache_clear
    return list(found.values())


def _child(
    options: Sequence[str], environment: dict[str, str], folder: Path, caches: list[Callable[[], None]]
) -> None:
    """Run the program in this process, and end it."""
    status = 70
    try:
        os.setpgid(0, 0)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(file, descriptor)
            os.close(file)
        sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
        os.environ.update(environment)
        logging.root.handlers.clear()
        # As in the program, whatever pytest makes of warnings.
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        for clear in caches:
            clear()
        used = {
            line.split(":")[0]: line.split()[1]
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("Vm")
        }
        for which, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            limit = int(used[name]) * 1024 + MEMORY_LIMIT
            resource.setrlimit(which, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        status = _main(options)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - seen by the verdict
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _run(options: Sequence[str], environment: dict[str, str], logs: Path) -> Outcome:
    """Run the program in a child process under limits."""
    logs.mkdir(parents=True, exist_ok=True)
    caches = _caches(len(sys.modules))
    start = time.monotonic()
    # The child collects its own garbage only, and does not copy the pages of all objects to look at them.
    gc.freeze()
    with warnings.catch_warnings():
        # Of other threads, which Python 3.12 warns of.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _child(options, environment, logs, caches)
    gc.unfreeze()
    descriptor = os.pidfd_open(pid)
    try:
        import select

        late = not select.select([descriptor], [], [], TIME_LIMIT)[0]
    finally:
        os.close(descriptor)
    if late:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    out, err = (
        (logs / name).read_text("utf-8", "replace") if (logs / name).exists() else ""
        for name in ("stdout", "stderr")
    )
    return Outcome(
        None if late else os.waitstatus_to_exitcode(status),
        time.monotonic() - start,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        out,
        err,
    )


def _words(template: Sequence[str], folder: Path, file: Path) -> list[str]:
    return [word.format(case=folder, file=file) for word in template]


def make_base(name: str, folder: Path) -> Base:
    """Make the good files of a kind, and see that its commands work with them.

    The commands run in this process, too, so that all code is loaded and compiled in it.
    """
    kind = KINDS[name]
    good = folder / "bases" / kind.base.__name__
    if not good.is_dir():
        part = good.with_name(good.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        good.parent.mkdir(parents=True, exist_ok=True)
        kind.base(part)
        part.rename(good)
    expected = {}
    for command in dict.fromkeys(kind.commands):
        case = folder / "warm" / name / "case"
        shutil.rmtree(case.parent, ignore_errors=True)
        shutil.copytree(good, case)
        file = _files(kind, case)[0]
        old = dict(os.environ)
        os.environ.update(
            {key: value.format(case=case, file=file) for key, value in kind.environment.items()}
        )
        try:
            with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
                status = _main(_words(command, case, file))
        finally:
            os.environ.clear()
            os.environ.update(old)
        if status != 0:
            raise RuntimeError(f"{name}: {' '.join(command)}: exit status {status} with good files")
        expected[command] = tree(case)
        shutil.rmtree(case.parent)
    return Base(name, good, expected)


def _files(kind: Kind, folder: Path) -> list[Path]:
    return sorted(path for pattern in kind.files for path in folder.glob(pattern))


def run_case(base: Base, seed: int, number: int, folder: Path, keep: bool = False) -> CaseResult:
    """Run one case.

    Parameters
    ----------
    base : Base
    seed, number : int
    folder : Path
        Gets the case's folder, which is removed if the case passes.
    keep : bool
        Keep the folder in any case.
    """
    kind = KINDS[base.kind]
    rng = Random(f"{base.kind} {seed} {number}")
    top = folder / f"{base.kind}-{seed}-{number}"
    shutil.rmtree(top, ignore_errors=True)
    case = top / "case"
    shutil.copytree(base.folder, case)
    command = kind.commands[number % len(kind.commands)]
    file = rng.choice(_files(kind, case))
    damage: Damage = choose(rng, kind.damagers)(rng, file)
    before = tree(case)
    options = _words(command, case, file)
    environment = {key: value.format(case=case, file=file) for key, value in kind.environment.items()}
    outcome = _run(options, environment, top / "logs")
    problems = judge(kind, file, damage, outcome, before, case, base.expected[command])
    result = CaseResult(
        base.kind,
        number,
        " ".join(options),
        f"{file.relative_to(case)}: {damage.text}",
        -999 if outcome.status is None else outcome.status,
        outcome.seconds,
        outcome.cpu,
        outcome.memory,
        problems,
        outcome.stderr.strip()[-3000:],
    )
    if not problems and not keep:
        shutil.rmtree(top)
    return result
