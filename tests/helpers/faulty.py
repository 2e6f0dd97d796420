"""Photometry that takes no time, and stars that do to their process whatever a star can do.

``FAULTY_STARS`` names them, as ``segfault:1001 hang:1002,1003``. ``FAULTY_LOG`` names a folder in which each
process writes to a file of its number which star it begins. Run as a program, this is `tasoc-mpi run`
with it, in processes of their own: ``faulty.py OPTIONS OF RUN``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from run_program import Photometry

from tasoc_mpi import cli
from tasoc_mpi.commands import run
from tasoc_mpi.core.mpi import world

NAME = "faulty:photometry"
#: The start of a command line.
PROGRAM = [sys.executable, __file__]


def photometry(starid, output_folder, **options):
    """As `run_program.Photometry`, if the star is none of those."""
    if log := os.environ.get("FAULTY_LOG"):
        with open(f"{log}/{os.getpid()}", "a", encoding="ascii") as file:
            file.write(f"{starid}\n")
    for fault in os.environ.get("FAULTY_STARS", "").split():
        name, _, stars = fault.partition(":")
        if str(starid) in stars.split(","):
            globals()[f"_{name}"](output_folder, starid)
    time.sleep(float(os.environ.get("FAULTY_SECONDS", "0")))
    return Photometry(starid=starid, output_folder=output_folder, **options)


def _segfault(*_):
    ctypes.string_at(0)


def _hang(*_):
    while True:
        time.sleep(1)


def _slow(*_):
    """Leaves time to kill it, and then is as every other star."""
    time.sleep(1.0)


def _held(output_folder, starid):
    """Waits for the file ``release-STARID`` beside the output folder, and then is as every other star."""
    for _ in range(9000):
        if Path(output_folder).parent.joinpath(f"release-{starid}").exists():
            return
        time.sleep(0.01)
    raise TimeoutError("not released")


def _stuck(*_):
    """Never returns, in C, with Python's lock held."""
    ctypes.PyDLL(None).sleep(1000)


def _think_to_be_a_rank(*_):
    raise ValueError(f"I am rank {world()}")


def _raise(*_):
    raise ValueError("a star that raises")


def _exit(*_):
    sys.exit("no good")


def _interrupt(*_):
    raise KeyboardInterrupt


def _eat(*_):
    hoard = []
    while True:
        hoard.append(b"x" * (1 << 26))


def _killed(*_):
    """As by somebody who is after this star."""
    os.kill(os.getpid(), signal.SIGKILL)


def _leave_part(output_folder, starid):
    """Crashes the first time only, and leaves a part of a light curve."""
    mark = Path(output_folder).parent / f"crashed-{starid}"
    if not mark.exists():
        mark.touch()
        name = f"tess{starid:011d}-s001-1-1-c1800-dr01-v06-tasoc_lc.fits.gz"
        Path(output_folder, "c1800", "00000", f".{name}.{os.getpid()}.tmp").write_text("part")
        os.kill(os.getpid(), signal.SIGSEGV)


def _abort(*_):
    os.abort()


def _exhaust(*_):
    """Takes more than the control group that this process puts itself into has, for the kernel to end it."""
    Path(os.environ["FAULTY_GROUP"], "cgroup.procs").write_text(str(os.getpid()))
    _eat()


def _corrupt(*_):
    """Ends well, and ends its process a moment later, at another star."""
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGSEGV)).start()


def _once(output_folder, starid):
    """Crashes the first time only."""
    mark = Path(output_folder).parent / f"crashed-{starid}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSEGV)


def _leave(*_):
    os._exit(3)


def _write_and_crash(output_folder, starid):
    """Leaves a light curve that nobody hears of, and a part of one."""
    path = Path(
        Photometry(
            starid, output_folder, 1, 1, 1 + (starid - 1000) * 2 // 120, 1800, 6, None
        ).save_lightcurve()
    )
    path.with_name(f".{path.name}.{os.getpid()}.tmp").write_text("part")
    os.kill(os.getpid(), signal.SIGSEGV)


def call(options: list[str]) -> int:
    """`tasoc-mpi run OPTIONS`, the stars in a process of their own."""
    commands, cli.COMMANDS = cli.COMMANDS, ("run",)
    original = run.main
    run.main = lambda args: original(args, NAME)
    try:
        return cli.main(options)
    finally:
        run.main = original
        cli.COMMANDS = commands


if __name__ == "__main__":
    sys.exit(call(["--quiet", "run", *sys.argv[1:]]))
