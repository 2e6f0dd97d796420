"""Compiled kernels: where they are kept, and whether those of a method are there."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import stat
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from .errors import InputError
from .launcher import leave_launcher
from .locks import open_lock, try_lock
from .logs import rank_name, terminal_level

__all__ = ["cache_folder", "compile_first", "is_compiled", "marker_path", "newest_source", "provide_cache"]

logger = logging.getLogger(__name__)

_VARIABLE = "NUMBA_CACHE_DIR"
#: Seconds between two looks of a process that waits for others to compile.
_PAUSE = 0.2


def provide_cache(package: Path) -> None:
    """Give numba a folder for the compiled kernels of a package, where it would find none.

    Numba keeps them beside the package or in the user's cache folder. Where neither can be written they go to
    a folder of this user in TMPDIR, which all processes of this host use; its maker logs a warning.

    Parameters
    ----------
    package : Path
        The folder of the package.

    Raises
    ------
    InputError
        If there is no folder that could be used.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.environ.get(_VARIABLE) or any(map(_writable, (package / "__pycache__", Path(cache, "numba")))):
        return
    folder = _own_folder(package)
    # For programs that are started from here, and for numba if it is there already.
    os.environ[_VARIABLE] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)


def _writable(folder: Path) -> bool:
    """Whether a folder can be written, or made."""
    if not folder.is_absolute():
        # Of a user without a home.
        return False
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _own_folder(package: Path) -> Path:
    try:
        folder = Path(tempfile.gettempdir(), f"tasoc-mpi-{os.getuid()}-numba")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            # Its content is run: it has to be this user's alone.
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
                raise InputError(
                    f"{folder}: not a folder that only this user can write; remove it, or set {_VARIABLE}"
                ) from None
        else:
            logger.warning(
                "%s: compiled kernels are kept here, as neither %s nor the home folder can be written; %s"
                " names another folder",
                folder,
                package,
                _VARIABLE,
            )
    except OSError as error:
        raise InputError(
            f"no folder for compiled kernels can be written ({error}); set {_VARIABLE} to one"
        ) from None
    return folder


def cache_folder() -> Path:
    """The folder in which numba keeps the compiled kernels of the program, or one that stands for it."""
    package = Path(__file__).parents[1] / "kernels"
    provide_cache(package)
    if given := os.environ.get(_VARIABLE):
        return Path(given)
    if _writable(package / "__pycache__"):
        return package / "__pycache__"
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "numba")


def marker_path(method: str) -> Path:
    """The file that says that the kernels of a method are compiled; another one for other kernels."""
    state = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in _sources()]
    made_by = (sys.version, _numba(), platform.machine(), _processor(), state)
    digest = hashlib.sha256(repr(made_by).encode()).hexdigest()[:16]
    return cache_folder() / f"tasoc-mpi-{method}-{digest}.compiled"


def newest_source() -> float:
    """When a file was changed from which kernels are compiled, the last time; seconds since 1970."""
    return max(path.stat().st_mtime for path in _sources())


def _sources() -> list[Path]:
    package = Path(__file__).parents[1]
    patterns = "kernels/*.py", "simulate/*.py", "correction/*.py", "data/kernels.json"
    return sorted(path for pattern in patterns for path in package.glob(pattern))


def _numba() -> tuple[str, int, int]:
    """Another value for another numba. Its version would take 25 ms of each rank's start to look up."""
    found = find_spec("numba")
    if found is None or found.origin is None:
        return "", 0, 0
    state = os.stat(found.origin)
    return found.origin, state.st_mtime_ns, state.st_size


def _processor() -> str:
    """The kind of processor: nodes of several kinds may share a cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("model name", "CPU part"))), "")


def is_compiled(method: str) -> bool:
    """Whether the kernels of a method are compiled, as far as one can tell."""
    try:
        return marker_path(method).exists()
    except InputError:
        return False


def compile_first(*methods: str) -> float:
    """Compile the kernels of some methods, in processes of their own, unless that is done.

    All processes that need them may call it at once: it returns when they are compiled, or where there is no
    folder for them.

    Parameters
    ----------
    *methods : str
        Names in ``data/kernels.json``.

    Returns
    -------
    float
        Seconds that it took; 0 where it was done.
    """
    start = time.monotonic()
    try:
        markers = [marker_path(method) for method in methods]
    except InputError as error:
        # It may be one node's: a rank that ended here would leave the others waiting for it. The same comes
        # where a kernel is needed, and there it is reported.
        logger.debug("%s", error)
        return 0.0
    if all(marker.exists() for marker in markers):
        return 0.0
    while not all(marker.exists() for marker in markers):
        # Some ranks of a node compile, as many as it has processors; the others wait for them.
        with contextlib.ExitStack() as stack:
            if _take_processor(stack):
                _compile(methods)
                break
        time.sleep(_PAUSE)
    return time.monotonic() - start


def _take_processor(stack: contextlib.ExitStack) -> bool:
    """Lock one of the processors of this node until the stack ends; whether one is free."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(os.cpu_count() or 1):
            path = folder / f"tasoc-mpi-{platform.node()}-{number}.lock"
            descriptor = open_lock(path, 0o600)
            stack.callback(os.close, descriptor)
            if try_lock(descriptor, path):
                return True
    except (OSError, InputError) as error:
        # `_compile` warns that this folder cannot be used.
        logger.debug("%s", error)
        return True
    return False


def _compile(methods: tuple[str, ...]) -> None:
    """Compile the kernels of some methods in a process of its own."""
    words = [str(terminal_level()), *methods]
    command = [sys.executable, "-P", "-m", "tasoc_mpi.worker.kernel_list", *words]
    env = dict(os.environ)
    leave_launcher(env)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env, check=False)
    if done.returncode and rank_name() == "0":
        reason = done.stdout.decode(errors="replace").strip() or f"exit status {done.returncode}"
        logger.warning("kernels are not compiled in advance, and stars will wait for them: %s", reason)
