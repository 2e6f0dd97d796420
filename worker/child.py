"""The computing process of a worker: photometry, star by star, of the batches that come through a pipe.

Started by `Supervisor` as ``python -m tasoc_mpi.worker.child READ_FD WRITE_FD RECORDER_FD PARENT_PID
MODULE:FUNCTION``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..core.errors import TasocError
from ..core.messages import Results, pack_results, unpack_tasks
from ..core.resources import limit_memory
from ..core.streams import secure_streams
from .child_options import ChildOptions
from .compute import Job, Photometry, compute, finish, join_results, settle
from .copies import copy_name, remove_stale
from .pipes import Kind, frame, read_frame, readable, write_all
from .recorder import Recorder

__all__ = ["main"]

#: Results are passed on when the oldest is this old (seconds): what is lost when the process is, and little
#: enough that nothing is spent on passing.
_PASS_ON = 0.1
#: Seconds that a star may take longer while a kernel is compiled. It happens once for an installation, and
#: is not the star's doing; how long it really took counts afterwards.
_COMPILE_SECONDS = 300.0
#: Beyond all limits, seconds after which the system ends this process: if the supervisor is there, it has
#: done so long before.
_LAST_RESORT = 30.0
_PR_SET_PDEATHSIG = 1
#: Seconds in which a killed process has let go of its files.
_LETTING_GO = 1.0
_PARENT_DIED = signal.SIGUSR2


class _Child:
    """One process: its pipes, its job, and batches that wait."""

    def __init__(self, reads: int, writes: int, recorder: int, parent: int) -> None:
        self.reads, self.writes, self.parent = reads, writes, parent
        self.recorder = Recorder(recorder)
        self.options: ChildOptions | None = None
        self.job: Job | None = None
        self.waiting: deque[NDArray[np.void]] = deque()
        self.ccd: tuple[Any, ...] | None = None

    def say(self, kind: Kind, payload: bytes = b"") -> None:
        try:
            write_all(self.writes, frame(kind, payload))
        except BrokenPipeError:
            self.leave()

    def leave(self) -> NoReturn:
        """End because the supervisor has."""
        with contextlib.suppress(OSError):
            if self.options is not None and self.options.copies:
                # A killed process lets go of its files when the last of its threads is gone, a moment after
                # its children are told.
                deadline = time.monotonic() + _LETTING_GO
                while remove_stale(Path(self.options.copies)) and time.monotonic() < deadline:
                    time.sleep(0.02)
        os._exit(0)

    def on_death_of_parent(self, *_: Any) -> None:
        if os.getppid() != self.parent:
            self.leave()

    def hear(self) -> None:
        """Take in one message, waiting for it."""
        found = read_frame(self.reads)
        if found is None:
            if self.job is not None:
                finish(self.job)
            self.leave()
        kind, payload = found
        if kind == Kind.TASKS:
            self.waiting.append(unpack_tasks(payload))
        elif kind == Kind.JOB:
            said = json.loads(payload)
            self.job, self.options = Job(**said["job"]), ChildOptions(**said["options"])
            _set_up(self.options)
            if self.options.copies:
                _end_with_supervisor(_PARENT_DIED)

    def serve(self, photometry: Photometry) -> NoReturn:
        """Compute batches until the supervisor closes its pipe."""
        while True:
            start = time.perf_counter()
            while not self.waiting:
                self.hear()
            waited = time.perf_counter() - start
            assert self.job is not None
            assert self.options is not None
            tasks = self.waiting.popleft()
            self._move(tasks)
            self._compute(photometry, tasks, waited)

    def _compute(self, photometry: Photometry, tasks: NDArray[np.void], waited: float) -> None:
        assert self.job is not None
        assert self.options is not None
        done: list[Results] = []
        oldest = time.monotonic()
        for i in range(len(tasks)):
            if not self.waiting and readable(self.reads):
                self.hear()
                if self.waiting:
                    _ask_ahead(self.job, self.waiting[-1])
            signal.setitimer(
                signal.ITIMER_REAL, self.options.target_timeout + _COMPILE_SECONDS + _LAST_RESORT
            )
            self.recorder.begin(int(tasks[i]["priority"]))
            results = compute(self.job, photometry, tasks[i : i + 1], waited if i == 0 else 0.0)
            self.recorder.idle()
            signal.setitimer(signal.ITIMER_REAL, 0)
            done.append(results)
            if time.monotonic() - oldest > _PASS_ON or i == len(tasks) - 1:
                settle(self.job)
                self.say(Kind.RESULTS, pack_results(join_results(done)))
                done, oldest = [], time.monotonic()

    def _move(self, tasks: NDArray[np.void]) -> None:
        """Get ready for a batch: let go of a copied cube that is no longer read, and know the input files.

        A cube that stays mapped would take its room for ever.
        """
        assert self.options is not None
        ccd = tuple(tasks[0][["sector", "camera", "ccd"]].tolist())
        load = sys.modules.get("tasoc_mpi.photometry.load_sources")
        if self.options.copies and load is not None and self.ccd not in (None, ccd):
            load.clear_sources()
        self.ccd = ccd
        if load is not None and tasks[0]["datasource"] != b"ffi":
            assert self.job is not None
            load.use_tpf_list(Path(self.job.input_folder), Path(self.job.output_folder))


def _set_up(options: ChildOptions) -> None:
    if options.memory_limit:
        limit_memory(options.memory_limit)
    logging.basicConfig(level=options.log_level, format="%(levelname)s: %(message)s", stream=sys.stderr)
    for name in ("numba", "h5py", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not options.star_warnings:
        for handler in logging.getLogger().handlers:
            handler.addFilter(_not_of_one_star)
    load = sys.modules.get("tasoc_mpi.photometry.load_sources")
    if options.copies and load is not None:
        load.read_cubes_from(lambda cube: _copy_of(cube, Path(options.copies)))


def _note_compiling(recorder: Recorder) -> None:
    """Do not count it against a star that its kernels are compiled."""
    if "numba" not in sys.modules:
        return
    from numba.core import event

    class Compiling(event.Listener):
        depth, start = 0, 0.0

        def on_start(self, event: Any) -> None:
            self.depth += 1
            if self.depth == 1:
                self.start = time.monotonic()
                recorder.grant(_COMPILE_SECONDS)

        def on_end(self, event: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                # Twice: what is compiled is then written to the cache, which is no event.
                recorder.grant(2 * (time.monotonic() - self.start) - _COMPILE_SECONDS)

    event.register("numba:compile", Compiling())


def _copy_of(cube: Path, folder: Path) -> Path:
    """The supervisor's copy of a cube; the cube itself where there is none, which is right, too."""
    with contextlib.suppress(FileNotFoundError):
        if (copy := folder / copy_name(cube)).exists():
            return copy
    return cube


def _not_of_one_star(record: logging.LogRecord) -> bool:
    """Whether a log record is to be shown: warnings of one star's photometry stand in its diagnostics."""
    return record.levelno != logging.WARNING or not record.name.startswith("tasoc_mpi.photometry")


def _ask_ahead(job: Job, tasks: NDArray[np.void]) -> None:
    """Have the kernel read the pixels of the next batch while this one is computed."""
    if "tasoc_mpi.photometry.load_sources" in sys.modules:
        from ..photometry.prefetch import ask_ahead

        ask_ahead(Path(job.input_folder), tasks, job.cache)


def _load(name: str) -> Callable[..., Any]:
    """The function of ``MODULE:FUNCTION``, which the caller of this program has named."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _heed_signals(child: _Child) -> None:
    """Leave the end of the run to rank 0, and end with the supervisor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(_PARENT_DIED, child.on_death_of_parent)
    _end_with_supervisor(signal.SIGKILL)
    child.on_death_of_parent()


def _end_with_supervisor(number: signal.Signals) -> None:
    """The signal that the system sends when the supervisor ends.

    SIGKILL also ends a star that never returns to Python; where copies of cubes are to be removed, there has
    to be a handler.
    """
    import ctypes

    # Linux's; elsewhere the end of the pipe is noticed between stars.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _prefer_for_oom() -> None:
    """If the node's memory runs out, let the kernel end this process and not a supervisor or rank 0."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        score = int(file.read())
        file.seek(0)
        file.write(str(min(1000, max(score, 0) + 300)))


def main(options: list[str]) -> NoReturn:
    """Compute until the supervisor is gone."""
    secure_streams()
    reads, writes, recorder, parent = map(int, options[:4])
    child = _Child(reads, writes, recorder, parent)
    _heed_signals(child)
    _prefer_for_oom()
    try:
        photometry = _load(options[4])
        _note_compiling(child.recorder)
        child.say(Kind.READY)
        child.serve(photometry)
    except TasocError as error:
        # Not of one star: nothing more can be written.
        child.say(Kind.FATAL, json.dumps({"message": str(error), "exit_status": error.exit_status}).encode())
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
