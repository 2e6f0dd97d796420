"""What is checked before a run: a user's class is imported in a process of its own, as workers will do."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from ..core.copy_space import copies_folder
from ..core.errors import InputError, TasocError
from ..core.locks import use_folder
from ..core.methods import METHODS, ChosenMethod, choose_method
from ..core.settings import load_settings
from ..worklist.todo_file import named_todo
from ..worklist.work_list import listed_methods
from .compute_options import ComputeOptions, compute_environment

__all__ = ["check_method", "check_run", "kernels_of_run"]

#: Seconds in which a class has to be imported; numerical libraries on a slow file system take a minute.
_SECONDS = 300.0
#: Bytes of the message at most.
_LONGEST = 4000


def check_run(args: argparse.Namespace) -> None:
    """Check settings, the folders of locks and copies, and a chosen method before anything is written.

    Parameters
    ----------
    args : argparse.Namespace
        The options of a command whose workers compute star by star.

    Raises
    ------
    TasocError
        If one of them cannot be used.
    """
    load_settings()
    use_folder(args.lock_folder)
    if (cube := getattr(args, "cube", None)) is not None:
        copies_folder(cube, args.scratch)
    check_method(choose_method(getattr(args, "photometry", None), computes=True))


def kernels_of_run(command: str, args: argparse.Namespace, function: object | None) -> list[str]:
    """Names in the list of kernels that the stars of a command need.

    Parameters
    ----------
    command : str
        Its name.
    args : argparse.Namespace
        As of `check_run`.
    function : str, callable or None
        What works on one star where that is not photometry.
    """
    if command == "correct":
        return [command]
    if function is not None:
        return []
    if args.photometry:
        return [args.photometry if args.photometry in METHODS else "aperture"]
    todo = named_todo(args.todo, args.input)
    try:
        listed = listed_methods(todo)
    except TasocError:
        # Rank 0 reads the work list after all options are checked, and has the reason then.
        return []
    return ["aperture", *sorted((listed & METHODS.keys()) - {"aperture"})]


def check_method(method: ChosenMethod) -> None:
    """Check that a user's class can be imported and is a method.

    Parameters
    ----------
    method : ChosenMethod
        Nothing is done for one of the program's own.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    if not method.is_users:
        return
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as answer:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasoc_mpi.worker.check_method", str(writes), method.source],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(writes,),
                env=compute_environment(ComputeOptions(_SECONDS)),
                process_group=0,
            )
        finally:
            os.close(writes)
        try:
            status = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            raise InputError(f"{method.source}: not imported after {_SECONDS:.0f} s; mend it") from None
        finally:
            process.kill()
            process.wait()
        # Not to its end: a process that the class has started may hold the other side.
        os.set_blocking(answer.fileno(), False)
        reason = (answer.read(_LONGEST) or b"").decode("utf-8", "replace")
    if reason:
        raise InputError(reason)
    if status:
        raise InputError(f"{method.source}: its import ends the process (exit status {status}); mend it")


def _main(descriptor: int, source: str) -> int:
    from ..photometry.method_class import photometry_class

    try:
        photometry_class(source)
    except TasocError as error:
        os.write(descriptor, str(error).encode("utf-8", "replace")[:_LONGEST])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), sys.argv[2]))
