"""The watching process of a worker: keeps a computing process at work, and outlives whatever a star does.

A star may crash its process, use up its memory or never return. Then only the computing process ends; what
is left of its batches goes to a new one. A star during which it ended is tried once more, because it may
have been the machine's fault; the second time it is an ABORT with the reason. One over its time limit is an
ABORT at once.

This process imports neither photometry nor HDF5, so that it stays small and nothing in it can crash.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, TasocError
from ..products.recorder import Recorder
from ..protocol import ProtocolError, Results, pack_tasks, unpack_results
from .compute import Job, aborted, join_results
from .copies import Copies, remove_stale
from .pipes import Frames, Kind, frame

__all__ = ["DEFAULT_PHOTOMETRY", "ChildOptions", "Supervisor"]

DEFAULT_PHOTOMETRY = "tasoc_mpi.photometry:tessphot"

#: Variables by which launchers tell a process that it is an MPI rank: the computing process is none.
_LAUNCHER_PREFIXES = (
    *("PMI", "MPI_", "MPIR_", "MPIEXEC_", "MPICH_", "HYDRA", "HYDI_", "I_MPI_", "MV2_"),
    *("OMPI_", "PRTE_", "PALS_", "ALPS_", "SLURM"),
)

#: Seconds between looks at a computing process that says nothing.
_LOOK = 0.25
#: Of the time between two looks, what counts against a star: this process may have been copying a cube, or
#: the whole job was suspended.
_LONGEST_LOOK = 2.0
#: Seconds in which a computing process has to be ready: thousands of them read the same libraries.
_START_SECONDS = 600.0
#: Seconds in which an idle one has to close its files.
_CLOSE_SECONDS = 20.0
#: A computing process that ends this often without a star that it computed or died of will never do.
_IDLE_DEATHS = 3


@dataclass(frozen=True)
class ChildOptions:
    """How stars are computed, apart from what they are.

    Parameters
    ----------
    target_timeout : float
        Seconds that a star may take.
    memory_limit : int, optional
        Bytes that the computing process may allocate. Default: no limit.
    photometry : str
        ``MODULE:FUNCTION`` that computes a star.
    copies : str
        Folder in which cubes are copied; '' to read them where they are.
    recorders : str
        Folder of the flight recorders; see `products.recorder.recorder_folder`.
    rank : int
        Of this worker, for the recorder's name.
    log_level : int
        Of the computing process.
    star_warnings : bool
        Whether warnings about single stars, which stand in their diagnostics, are logged, too.
    """

    target_timeout: float
    recorders: str
    memory_limit: int | None = None
    photometry: str = DEFAULT_PHOTOMETRY
    copies: str = ""
    rank: int = 0
    log_level: int = 30
    star_warnings: bool = False


@dataclass
class _Batch:
    """A batch at hand: the stars without a result, and the results so far."""

    left: NDArray[np.void]
    parts: list[Results] = field(default_factory=list)


class Supervisor:
    """A computing process and the batches that it has.

    Parameters
    ----------
    job : Job
        What is the same for all stars.
    options : ChildOptions
    """

    def __init__(self, job: Job, options: ChildOptions) -> None:
        self.job = job
        self.options = options
        self._batches: deque[_Batch] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._to_child = self._from_child = -1
        self._outgoing = bytearray()
        self._frames = Frames()
        self._ready = False
        self._recorder: Recorder | None = None
        self._copies = Copies(Path(options.copies)) if options.copies else None
        self._deaths: dict[int, int] = {}
        self._idle_deaths = 0
        self._begun = self._looked = 0.0
        self._watched: tuple[int, float] = (-1, 0.0)
        self._spent = 0.0

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def held(self) -> int:
        """Number of batches that are not finished."""
        return len(self._batches)

    def start(self) -> None:
        """Start the computing process, if it is not there: it takes a second to import what it needs."""
        if self._process is not None:
            return
        their_in, self._to_child = os.pipe()
        self._from_child, their_out = os.pipe()
        try:
            # Not in this process's group: a launcher that kills a rank kills its group, and the terminal's
            # Ctrl-C goes to it; how a run ends is decided by rank 0.
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "tasoc_mpi.worker.child"),
                    *(str(their_in), str(their_out), str(os.getpid()), self.options.photometry),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(their_in, their_out),
                env=self._environment(),
                process_group=0,
            )
        finally:
            os.close(their_in)
            os.close(their_out)
        os.set_blocking(self._to_child, False)
        self._ready = False
        self._frames = Frames()
        self._outgoing.clear()
        self._begun = self._looked = time.monotonic()
        if self._recorder is not None:
            self._hire()

    def _environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(_LAUNCHER_PREFIXES)}
        # A rank is a core; threads of numerical libraries would take those of others.
        env.setdefault("OMP_NUM_THREADS", "1")
        if self.options.photometry != DEFAULT_PHOTOMETRY:
            # Named by this program's caller, who may have it anywhere.
            env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        return env

    def submit(self, tasks: NDArray[np.void]) -> None:
        """Hand over a batch; the next one may come while this one is computed.

        Raises
        ------
        InputError
            If its cube is to be copied and does not fit, or nothing can be written to the output folder.
        """
        batch = _Batch(np.array(tasks))
        if self._recorder is None:
            if self._copies is not None:
                remove_stale(self._copies.folder)
            try:
                self._recorder = Recorder.create(Path(self.options.recorders), self.options.rank)
            except OSError as error:
                raise InputError(
                    f"{self.options.recorders}: {error.strerror}; make room for a small file there"
                ) from None
            if self._process is not None:
                self._hire()
        self._batches.append(batch)
        self.start()
        self._copy_cubes()
        self._post(Kind.TASKS, pack_tasks(batch.left))

    def _hire(self) -> None:
        """Say what the same for all stars is, and what was in hand."""
        assert self._recorder is not None
        options = asdict(replace(self.options, recorders=str(self._recorder.path)))
        self._post(Kind.JOB, json.dumps({"job": asdict(self.job), "options": options}).encode())

    def _copy_cubes(self) -> None:
        if self._copies is None:
            return
        # As `products.cube.cube_name`, which needs HDF5.
        names = {
            f"sector{task['sector']:03d}_camera{task['camera']}_ccd{task['ccd']}.hdf5"
            for batch in self._batches
            for task in np.unique(batch.left[["sector", "camera", "ccd"]])
        }
        cubes = tuple(Path(self.job.input_folder) / name for name in sorted(names))
        self._copies.release(keep=cubes)
        for cube in cubes:
            self._copies.provide(cube)

    def _post(self, kind: Kind, payload: bytes) -> None:
        self._outgoing += frame(kind, payload)
        self._pump()

    def _pump(self) -> None:
        """Write as much as the pipe takes: the computing process may be busy for long."""
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self._to_child, self._outgoing)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            # It has ended; `poll` finds out why.
            self._outgoing.clear()

    def poll(self, timeout: float) -> Results | None:
        """Results of the oldest batch as soon as it is finished, or None after `timeout` seconds.

        Raises
        ------
        TasocError
            If the run cannot go on: nothing more can be written, or no computing process stays alive.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._listen(max(0.0, min(_LOOK, deadline - time.monotonic())))
            if self._batches and not len(self._batches[0].left):
                return join_results(self._batches.popleft().parts)
            if time.monotonic() >= deadline:
                return None

    def _listen(self, timeout: float) -> None:
        if self._process is None:
            time.sleep(timeout)
            return
        writers = [self._to_child] if self._outgoing else []
        can_read, can_write, _ = select.select([self._from_child], writers, [], timeout)
        if can_write:
            self._pump()
        if can_read and (data := os.read(self._from_child, 1 << 20)):
            self._frames.feed(data)
            self._take_frames()
        elif can_read or self._process.poll() is not None:
            self._bury()
            return
        self._watch()

    def _take_frames(self) -> None:
        while (found := self._frames.pop()) is not None:
            kind, payload = found
            if kind == Kind.READY:
                self._ready = True
            elif kind == Kind.FATAL:
                fatal = json.loads(payload)
                error = TasocError(fatal["message"])
                error.exit_status = fatal["exit_status"]
                raise error
            elif kind == Kind.RESULTS:
                self._take_results(unpack_results(payload))
            else:
                raise ProtocolError(f"the computing process sent {kind.name}")

    def _take_results(self, results: Results) -> None:
        batch = next((batch for batch in self._batches if len(batch.left)), None)
        priorities = results.numbers["priority"]
        if batch is None or not np.array_equal(batch.left["priority"][: len(results)], priorities):
            raise ProtocolError("the computing process sent results of other stars than it was given")
        batch.left = batch.left[len(results) :]
        batch.parts.append(results)
        self._idle_deaths = 0

    def _watch(self) -> None:
        """End the computing process if its star, or its start, takes too long."""
        now = time.monotonic()
        since, self._looked = min(now - self._looked, _LONGEST_LOOK), now
        if not self._ready:
            if now - self._begun > _START_SECONDS:
                self._bury(f"not ready after {_START_SECONDS:.0f} s")
            return
        if self._recorder is None:
            return
        priority, started, grace = self._recorder.read()
        if (priority, started) != self._watched:
            self._watched, self._spent = (priority, started), 0.0
            return
        self._spent += since
        limit = self.options.target_timeout + grace
        if priority >= 0 and self._spent > limit:
            self._bury(f"no result after {limit:g} s; see --target-timeout", patience=False)

    def _bury(self, reason: str | None = None, patience: bool = True) -> None:
        """Find out what the computing process died of (or end it for a reason), and start another one."""
        code = self._end()
        reason = reason or _cause(code)
        priority = -1
        if self._recorder is not None:
            priority, self._spent = self._recorder.read()[0], self._spent
            self._recorder.idle()
        batch, index = self._find(priority)
        if batch is None:
            self._idle_deaths += 1
            if self._idle_deaths >= _IDLE_DEATHS:
                raise TasocError(
                    f"the computing process ended {self._idle_deaths} times without a star ({reason}); "
                    "see what it said above, and --memory-limit"
                )
        else:
            task = batch.left[index]
            self._deaths[priority] = self._deaths.get(priority, 0) + 1
            self._remove_leftovers(task)
            if self._deaths[priority] > 1 or not patience:
                times = "" if not patience else ", for the second time"
                text = f"TIC {task['starid']}: its process was ended{times}: {reason}"
                batch.parts.append(aborted(task, text, self._spent))
                batch.left = np.delete(batch.left, index)
                self._idle_deaths = 0
        self._watched, self._spent = (-1, 0.0), 0.0
        if self._batches:
            self.start()
            for batch in self._batches:
                if len(batch.left):
                    self._post(Kind.TASKS, pack_tasks(batch.left))

    def _find(self, priority: int) -> tuple[_Batch | None, int]:
        for batch in self._batches:
            (index,) = np.flatnonzero(batch.left["priority"] == priority)[:1].tolist() or [-1]
            if index >= 0:
                return batch, index
        return None, -1

    def _end(self) -> int:
        """End the computing process; take in what it said before. Returns its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        process.kill()
        code = process.wait()
        try:
            os.set_blocking(self._from_child, False)
            with contextlib.suppress(BlockingIOError):
                while data := os.read(self._from_child, 1 << 20):
                    self._frames.feed(data)
            self._take_frames()
        finally:
            os.close(self._from_child)
            os.close(self._to_child)
            self._from_child = self._to_child = -1
        return code

    def _remove_leftovers(self, task: np.void) -> None:
        """Delete what the star's photometry wrote: as it was not reported, nobody would list it."""
        star = f"{task['starid']:011d}"
        folder = Path(self.job.output_folder) / f"c{task['cadence']:04d}" / star[:5]
        name = f"tess{star}-s{task['sector']:03d}-{task['camera']}-{task['ccd']}-c{task['cadence']:04d}-dr"
        version = f"-v{self.job.version:02d}-tasoc_lc.fits.gz"
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.removeprefix(".").startswith(name) and version in entry.name:
                    os.unlink(entry.path)

    def close(self) -> None:
        """End the computing process; leave nothing behind."""
        try:
            if self._process is not None:
                # What it says now is of no use to anyone.
                self._batches.clear()
                process, self._process = self._process, None
                os.close(self._to_child)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if self._ready and (self._recorder is None or self._recorder.read()[0] < 0):
                        # Idle: the end of its pipe ends it.
                        process.wait(_CLOSE_SECONDS)
                process.kill()
                process.wait()
                os.close(self._from_child)
        finally:
            if self._recorder is not None:
                self._recorder.remove()
            if self._copies is not None:
                self._copies.release()


def _cause(code: int) -> str:
    """What an exit code means."""
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
    more = {
        signal.SIGKILL: " (of the kernel when memory ran out, or of a person)",
        signal.SIGSEGV: " (invalid memory access)",
        signal.SIGBUS: " (a mapped file could not be read: truncated, or a disk error)",
    }
    return name + more.get(-code, "")  # type: ignore[call-overload]
