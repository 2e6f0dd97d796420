"""One process of a node compiles the kernels, and the others take them from the cache.

Numba keeps what it compiled on disk. Where nothing is there yet, all ranks would compile the same at once;
so the first star of the first of them is computed while the others wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["GRACE", "compile_turn"]

#: Seconds that the first star may take beyond its limit where it has to compile.
GRACE = 300.0
#: Seconds to wait for the process that compiles: beyond them, it is better to compile, too.
_PATIENCE = 120.0


@contextlib.contextmanager
def compile_turn(photometry: str) -> Iterator[float]:
    """Compute the first star of a process within this; gives the seconds that it may take longer.

    Where a process of this node has come to the end of it before, nothing is waited for.

    Parameters
    ----------
    photometry : str
        What computes the star: each has kernels of its own.
    """
    done = _marker(photometry)
    if done is None or done.exists():
        yield 0.0
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            fd = os.open(done.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, fd)
            _wait_for(fd)
        yield GRACE
        with contextlib.suppress(OSError):
            done.touch()


def _wait_for(fd: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.02)


def _marker(photometry: str) -> Path | None:
    """The file that is there when the kernels of this version of the program are compiled."""
    numba = sys.modules.get("numba")
    if numba is None:
        return None
    key = hashlib.sha256(f"{photometry} {numba.__version__} {sys.version} {os.uname().machine}".encode())
    root = Path(__file__).parent
    package = sys.modules["tasoc_mpi"].__file__
    assert package is not None
    for folder in (Path(package).parent / "kernels", root):
        for path in sorted(folder.glob("*.py")):
            status = path.stat()
            key.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    key.update(str(numba.config.CACHE_DIR).encode())
    folder = Path(tempfile.gettempdir()) / f"tasoc-mpi-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            return None
    except OSError:
        return None
    return folder / f"compiled-{key.hexdigest()[:24]}"
