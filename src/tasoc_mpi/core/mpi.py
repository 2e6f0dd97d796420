"""Messages between ranks: MPI where it started the program, and waiting that leaves the core to others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO

from .errors import InputError, MissingInput, TasocError, UsageError, system_error
from .launcher import is_launched

__all__ = [
    "Mailbox",
    "abort",
    "abort_all",
    "check_first",
    "check_ranks",
    "check_start",
    "fail_first",
    "is_terminal",
    "nodes",
    "places",
    "receive",
    "start_ranks",
    "world",
]

#: Waiting ranks look for a message this often at first, and at last (seconds). An MPI's own receive may spin
#: on its core (MPICH does), which on a laptop takes it from a rank that computes. The last one is the longest
#: that a message can lie unread: little beside a batch's half second, and 500 looks a second cost nothing.
_FIRST_PAUSE = 50e-6
_LAST_PAUSE = 2e-3


def world() -> Any | None:
    """The communicator of all ranks, or None for a single process.

    MPI is imported only where a launcher's environment variables show that it started this process: elsewhere
    initialising MPI can fail (on a login node without its network, or with no MPI library at all) and nothing
    needs it.
    """
    if not is_launched():
        return None
    # UCX, through which MPICH and Open MPI may talk, exchanges functions of the C library to watch memory
    # that a network reads by itself. That keeps a core busy for 30 ms, and messages here are small.
    os.environ.setdefault("UCX_MEM_MMAP_HOOK_MODE", "none")
    import mpi4py

    # One thread calls MPI; asking for more makes every call take locks.
    mpi4py.rc.threads = False
    from mpi4py import MPI

    return MPI.COMM_WORLD if MPI.COMM_WORLD.Get_size() > 1 else None


def _probe(comm: Any, source: int, status: Any) -> bool:
    """Whether a message is there.

    MPICH moves one message from the network at a call, after it has looked for it: the first call then finds
    none, and the second one does.
    """
    return comm.Iprobe(source, status=status) or comm.Iprobe(source, status=status)


def _take(comm: Any, status: Any, byte: Any) -> tuple[int, int, bytearray]:
    """The message that was found."""
    message = bytearray(status.Get_count(byte))
    source, tag = status.Get_source(), status.Get_tag()
    comm.Recv([message, byte], source, tag)
    return source, tag, message


def receive(
    comm: Any, source: int | None = None, timeout: float | None = None
) -> tuple[int, int, bytearray] | None:
    """The next message, waiting for it without keeping the core busy.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator.
    source : int, optional
        Rank to listen to. Default: any.
    timeout : float, optional
        Seconds to wait; 0 looks once. Default: as long as it takes.

    Returns
    -------
    tuple of (source, tag, message), or None
        None if nothing came in time.
    """
    from mpi4py import MPI

    status = MPI.Status()
    source = MPI.ANY_SOURCE if source is None else source
    deadline = None if timeout is None else time.perf_counter() + timeout
    pause = _FIRST_PAUSE
    while not _probe(comm, source, status):
        if deadline is not None and time.perf_counter() >= deadline:
            return None
        time.sleep(pause)
        pause = min(_LAST_PAUSE, 1.5 * pause)
    return _take(comm, status, MPI.BYTE)


#: Set for ranks that this program starts: how many they are to be, and whether a terminal shows their errors.
_STARTED = "TASOC_MPI_RANKS"
_TERMINAL = "TASOC_MPI_TERMINAL"

#: Names of launchers, how their options begin that change what ranks print, and how many generations of
#: processes lie between one and its ranks at most (proxies, wrappers in scripts).
_MPIEXECS = (b"mpiexec", b"mpirun", b"mpiexec.hydra", b"prterun", b"orterun")
_LABELS = (b"-prepend", b"--prepend", b"--tag-output", b"--timestamp", b"--output", b"-outfile", b"-errfile")
_GENERATIONS = 6


def is_terminal(stream: TextIO) -> bool:
    """Whether a terminal shows a stream, be it through an mpiexec."""
    if stream.isatty():
        return True
    return stream is sys.stderr and (os.environ.get(_TERMINAL) == "1" or _launcher_has_terminal())


def _launcher_has_terminal() -> bool:
    """Whether an mpiexec on this machine started this process, and passes its errors to a terminal.

    One on another machine, and a daemon of a batch system, cannot be seen from here.
    """
    if not is_launched():
        return False
    process = os.getppid()
    for _ in range(_GENERATIONS):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            with open(f"/proc/{process}/stat", "rb") as file:
                # Behind the name, which may contain anything: the state, and the parent.
                parent = int(file.read().rpartition(b")")[2].split()[1])
            if os.path.basename(words[0]) in _MPIEXECS:
                # Labels in front of lines, and files, would get the pieces of the bar.
                if any(word.startswith(_LABELS) or word == b"-l" for word in words):
                    return False
                return os.readlink(f"/proc/{process}/fd/2").startswith(("/dev/pts/", "/dev/tty"))
        except (OSError, ValueError):
            # Of another user, or gone.
            return False
        process = parent
    return False


def check_start(ranks: int) -> str:
    """The mpiexec that would start ranks on this machine.

    Raises
    ------
    UsageError
        If it is not a number of ranks.
    MissingInput
        If there is no mpiexec.
    """
    if not 2 <= ranks <= 4096:
        raise UsageError(
            f"--ranks {ranks}: must be from 2 (rank 0 and a worker) to 4096; without it one process"
        )
    mpiexec = _find_mpiexec()
    if mpiexec is None:
        raise MissingInput("mpiexec: not found; pip install tasoc-mpi[mpich], or load the module of an MPI")
    return mpiexec


def start_ranks(ranks: int, options: Sequence[str]) -> int:
    """Run this program again with the same options, under mpiexec on this machine; does not return.

    Parameters
    ----------
    ranks : int
        How many.
    options : sequence of str
        The command line behind the program's name.

    Raises
    ------
    UsageError, MissingInput
        As `check_start`.
    """
    import subprocess

    mpiexec = check_start(ranks)
    command = [mpiexec, "-n", str(ranks)]
    said = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=60, check=False)
    if "Open MPI" in said.stdout or "OpenRTE" in said.stdout or "PRRTE" in said.stdout:
        # It refuses more ranks than cores, and binds each to a core if there are enough; rank 0 needs none.
        command += ["--oversubscribe", "--bind-to", "none"]
        if os.geteuid() == 0:
            # It refuses root, too, which is the usual user in containers.
            command.append("--allow-run-as-root")
    os.environ[_STARTED] = str(ranks)
    if sys.stderr.isatty():
        os.environ[_TERMINAL] = "1"
    sys.stdout.flush()
    os.execv(mpiexec, [*command, sys.executable, "-m", "tasoc_mpi.cli", *options])


def _find_mpiexec() -> str | None:
    """The mpiexec of the library that mpi4py loads, as far as that can be seen from outside."""
    import shutil
    from pathlib import Path

    places = [Path(sys.executable).with_name("mpiexec")]
    # The user's choice for mpi4py; else the library of the environment in which the program is installed.
    if (library := os.environ.get("MPI4PY_LIBMPI", "")) and os.sep in library:
        places.insert(0, Path(library).absolute().parents[1] / "bin" / "mpiexec")
    return next((str(place) for place in places if place.exists()), None) or shutil.which("mpiexec")


def check_ranks(comm: Any | None) -> None:
    """Raise InputError if this is one of several ranks that do not know of each other."""
    wanted = os.environ.get(_STARTED)
    found = 1 if comm is None else comm.Get_size()
    if wanted and int(wanted) != found:
        raise InputError(
            f"mpiexec started {wanted} ranks, but the MPI library that mpi4py loads sees {found}; use the"
            " mpiexec of that library"
        )


def check_first(comm: Any | None, check: Callable[[], Any]) -> tuple[int, Any]:
    """Check something on rank 0 before the others begin; to be called by all ranks.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        None for a single process.
    check : callable
        Raises a TasocError or OSError where something is wrong.

    Returns
    -------
    status : int
        0, or on ranks other than 0 the status with which they are to exit: rank 0 has the reason.
    value : object
        What the check has returned on rank 0.

    Raises
    ------
    TasocError, OSError
        On rank 0, that of the check.
    """
    failed, status, value = None, 0, None
    if comm is None or comm.Get_rank() == 0:
        try:
            value = check()
        except (TasocError, OSError) as error:
            failed, status = error, getattr(error, "exit_status", 1)
    if comm is not None:
        _meet(comm)
        status, value = comm.bcast((status, value))
    if failed is not None:
        raise failed
    return status, value


def fail_first(comm: Any | None, command: str, error: TasocError | OSError) -> int:
    """`check_first` on a rank that has found an error before it.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        None for a single process.
    command : str
        Name of the command.
    error : TasocError or OSError
        Usually all ranks have it, and rank 0 alone writes it. A rank that is alone with it ends all ranks.

    Returns
    -------
    int
        On ranks other than 0, the status with which they are to exit.

    Raises
    ------
    TasocError, OSError
        On rank 0, the error.
    """

    def fail() -> NoReturn:
        raise error

    status, _ = check_first(comm, fail)
    if not status:
        abort(comm, command, error if isinstance(error, TasocError) else InputError(system_error(error)))
    return status


def abort(comm: Any, command: str, error: BaseException) -> NoReturn:
    """Write the reason to this rank's standard error, and end all ranks.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator.
    command : str
        Name of the command.
    error : BaseException
        One for the user is one line; any other gets its traceback.
    """
    import traceback

    exit_status = 1
    if isinstance(error, KeyboardInterrupt):
        exit_status = getattr(error, "exit_status", 130)
        reason = f"interrupted; `tasoc-mpi {command}` goes on from here\n"
    elif isinstance(error, TasocError):
        exit_status, reason = error.exit_status, f"error: {error}\n"
    else:
        reason = "".join(traceback.format_exception(error))
    sys.stderr.write(f"tasoc-mpi {command}: rank {comm.Get_rank()} ends the run: {reason}")
    sys.stderr.flush()
    # Lines that mpiexec has not read when the rank ends are lost.
    time.sleep(0.2)
    comm.Abort(exit_status)
    # It may return before the launcher ends this rank; nothing is to be written twice.
    os._exit(exit_status)


def abort_all(command: str, error: BaseException) -> None:
    """`abort` where there are other ranks: they would wait for ever for one that ends alone."""
    if (comm := world()) is not None:
        abort(comm, command, error)


def nodes(comm: Any) -> list[int]:
    """Number of the node (of those that share memory) that each rank is on; to be called by all ranks."""
    return places(comm)[0]


def _meet(comm: Any) -> None:
    """Wait for all ranks without keeping the core busy; to be called by all of them."""
    arrived, pause = comm.Ibarrier(), _FIRST_PAUSE
    while not arrived.Test():
        time.sleep(pause)
        pause = min(_LAST_PAUSE, 1.5 * pause)


def places(comm: Any) -> tuple[list[int], list[str]]:
    """`nodes`, and the name of the host that each rank is on; to be called by all ranks."""
    from mpi4py import MPI

    _meet(comm)
    shared = comm.Split_type(MPI.COMM_TYPE_SHARED)
    # Its lowest rank names a node.
    found = comm.allgather((shared.bcast(comm.Get_rank()), MPI.Get_processor_name()))
    shared.Free()
    numbers = {first: number for number, first in enumerate(sorted({first for first, _ in found}))}
    return [numbers[first] for first, _ in found], [host for _, host in found]


class Mailbox:
    """Many messages at once, for rank 0.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator.

    Attributes
    ----------
    waited : float
        Seconds that the last `receive` waited for a message.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self.comm = comm
        self.waited = 0.0
        self._mpi = MPI
        self._status = MPI.Status()
        self._sent: list[list[tuple[Any, bytes]]] = [[] for _ in range(comm.Get_size())]

    def receive(self, most: int, timeout: float | None = None) -> list[tuple[int, int, bytearray]]:
        """The messages that are there, waiting for the first one without keeping the core busy.

        Parameters
        ----------
        most : int
            Not more messages than this.
        timeout : float, optional
            Seconds to wait for the first; default: as long as it takes.

        Returns
        -------
        list of (source, tag, message)
            Empty if nothing came in time.
        """
        mpi, status = self._mpi, self._status
        messages = []
        self.waited = 0.0
        if not _probe(self.comm, mpi.ANY_SOURCE, status):
            start = time.perf_counter()
            first = receive(self.comm, None, timeout)
            self.waited = time.perf_counter() - start
            if first is None:
                return []
            messages.append(first)
        while len(messages) < most and _probe(self.comm, mpi.ANY_SOURCE, status):
            messages.append(_take(self.comm, status, mpi.BYTE))
        return messages

    def send(self, rank: int, tag: int, message: bytes) -> None:
        """Send without waiting until the rank, which may be computing, receives."""
        pending = [pair for pair in self._sent[rank] if not pair[0].Test()]
        pending.append((self.comm.Isend([message, self._mpi.BYTE], rank, tag), message))
        self._sent[rank] = pending

    def wait(self) -> None:
        """Wait until everything that was sent has been received."""
        for pending in self._sent:
            for request, _ in pending:
                request.Wait()
            pending.clear()
