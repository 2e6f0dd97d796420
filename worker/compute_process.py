"""The compute process of a worker: photometry, star by star, of the batches that come through a pipe.

The supervisor process starts it, sends the options as soon as it knows them, and then batches. The answers
are messages with the tags of MPI: RESULTS as stars are done, some of a batch at a time, and FAILED if nothing
more can be written.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..core.errors import TasocError
from ..core.logs import logs
from ..core.messages import Results, Tag, pack_failure, pack_results, unpack_tasks
from ..core.resources import limit_memory
from ..core.streams import secure_streams
from .compute import Job, Photometry, close_lightcurves, compute_star, flush_lightcurves, join_results
from .compute_options import ComputeOptions, pack_answer, parse_options
from .copies import copy_name, remove_stale
from .first_star import Preparation
from .recorder import Recorder

__all__ = ["PROCESS_NAME", "main"]

#: Results are sent when the oldest is this old (seconds): so much is lost with the process, and sending
#: costs nothing beside it.
_SEND_SECONDS = 0.1
#: Seconds that a star may take longer while a kernel is compiled. It happens once for an installation, and
#: is not the star's doing; its real duration counts afterwards.
_COMPILE_SECONDS = 300.0
#: Seconds in which a killed process has closed its files.
_CLOSE_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_PARENT_DIED = signal.SIGUSR2
#: At most 15 characters.
PROCESS_NAME = "tasoc-compute"
_LOAD_SOURCES = "tasoc_mpi.photometry.load_sources"


class _ComputeProcess:
    """The state of this process: its pipes, its job, and batches that wait."""

    job: Job
    options: ComputeOptions

    def __init__(self, words: list[str]) -> None:
        reads, writes, recorder, self.parent = map(int, words[:4])
        self.batches, self.answers = Connection(reads, writable=False), Connection(writes, readable=False)
        self.recorder = Recorder(recorder)
        self.waiting: deque[NDArray[np.void]] = deque()
        self.ccd: tuple[Any, ...] | None = None
        #: Seconds in which kernels were compiled.
        self.compiling = 0.0

    def send(self, tag: Tag, payload: bytes) -> None:
        try:
            self.answers.send_bytes(pack_answer(tag, payload))
        except BrokenPipeError:
            self.leave()

    def leave(self) -> NoReturn:
        """End because the supervisor process has."""
        with contextlib.suppress(OSError):
            if self.options.copies:
                # A killed process closes its files when the last of its threads is gone, a moment after
                # its children are told.
                deadline = time.monotonic() + _CLOSE_SECONDS
                while remove_stale(Path(self.options.copies)) and time.monotonic() < deadline:
                    time.sleep(0.02)
        os._exit(0)

    def on_death_of_parent(self, *_: Any) -> None:
        if os.getppid() != self.parent:
            self.leave()

    def receive_options(self) -> None:
        """Take in the options, which are the first message; leave at the end of the pipe."""
        try:
            self.job, self.options = parse_options(self.batches.recv_bytes())
        except (OSError, EOFError):
            os._exit(0)

    def receive(self) -> None:
        """Take in one batch, waiting for it; leave at the end of the pipe."""
        try:
            self.waiting.append(unpack_tasks(self.batches.recv_bytes()))
        except (OSError, EOFError):
            close_lightcurves(self.job)
            self.leave()

    def serve(self, photometry: Photometry, preparation: Preparation) -> NoReturn:
        """Compute batches until the supervisor process closes its pipe."""
        while True:
            start = time.perf_counter()
            while not self.waiting:
                self.receive()
            waited = time.perf_counter() - start
            tasks = self.waiting.popleft()
            self._prepare_for(tasks)
            preparation.before(tasks)
            _expect(self.job, tasks)
            self._compute(photometry, tasks, waited)

    def _compute(self, photometry: Photometry, tasks: NDArray[np.void], waited: float) -> None:
        done: list[Results] = []
        oldest = time.monotonic()
        for i, task in enumerate(tasks):
            if not self.waiting and select.select([self.batches], [], [], 0)[0]:
                self.receive()
                _prefetch(self.job, self.waiting[-1])
            self.recorder.begin(int(task["priority"]))
            compiling = self.compiling
            done.append(compute_star(self.job, photometry, task, waited if i == 0 else 0.0))
            # No star's doing.
            elapsed = done[-1].numbers["elaptime"]
            elapsed[:] = np.maximum(0.0, elapsed - (self.compiling - compiling))
            self.recorder.idle()
            if time.monotonic() - oldest > _SEND_SECONDS or i == len(tasks) - 1:
                flush_lightcurves(self.job)
                self.send(Tag.RESULTS, pack_results(join_results(done)))
                done, oldest = [], time.monotonic()

    def _prepare_for(self, tasks: NDArray[np.void]) -> None:
        """Release a copied cube that is no longer read, and read the list of target pixel files.

        A cube that stays mapped would take its room for ever.
        """
        ccd = tuple(tasks[0][["sector", "camera", "ccd"]].tolist())
        load = sys.modules.get(_LOAD_SOURCES)
        if self.options.copies and load is not None and self.ccd not in (None, ccd):
            load.clear_sources()
        self.ccd = ccd
        if load is not None and tasks[0]["datasource"] != b"ffi":
            load.use_tpf_list(Path(self.job.input_folder), Path(self.job.output_folder))

    def note_compiling(self) -> None:
        """Do not count it against a star that its kernels are compiled."""
        if "numba" not in sys.modules:
            return
        from numba.core import event

        recorder, process = self.recorder, self

        class Compiling(event.Listener):
            depth, start = 0, 0.0

            def on_start(self, event: Any) -> None:
                self.depth += 1
                if self.depth == 1:
                    self.start = time.monotonic()
                    recorder.extend(_COMPILE_SECONDS)

            def on_end(self, event: Any) -> None:
                self.depth -= 1
                if self.depth == 0:
                    # Twice: numba then writes the kernel to its cache, which is no event.
                    process.compiling += time.monotonic() - self.start
                    recorder.compiled(time.monotonic() - self.start)
                    recorder.extend(2 * (time.monotonic() - self.start) - _COMPILE_SECONDS)

        event.register("numba:compile", Compiling())

    def end_with_parent(self, number: signal.Signals) -> None:
        """Get a signal when the supervisor process ends."""
        import ctypes

        # Linux's; elsewhere the end of the pipe is noticed between stars.
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != self.parent:
            os._exit(0)

    def handle_signals(self) -> None:
        """Leave the end of the run to rank 0, and end with the supervisor process."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        # It also ends a star that never returns to Python.
        self.end_with_parent(signal.SIGKILL)

    def remove_copies_at_end(self) -> None:
        """Remove copies of cubes where the supervisor process has been killed; that takes a handler."""
        signal.signal(_PARENT_DIED, self.on_death_of_parent)
        self.end_with_parent(_PARENT_DIED)


def _set_up(options: ComputeOptions) -> None:
    """Which messages are shown, and where the photometry finds its cubes."""
    if not options.star_warnings:
        for handler in logging.getLogger().handlers:
            handler.addFilter(_not_of_one_star)
    load = sys.modules.get(_LOAD_SOURCES)
    if options.copies and load is not None:
        load.read_cubes_from(lambda cube: _copy_of(cube, Path(options.copies)))


def _copy_of(cube: Path, folder: Path) -> Path:
    """The supervisor process's copy of a cube; the cube itself where there is none, which is right, too."""
    with contextlib.suppress(FileNotFoundError):
        if (copy := folder / copy_name(cube)).exists():
            return copy
    return cube


def _not_of_one_star(record: logging.LogRecord) -> bool:
    """Whether a log record is to be shown: what concerns one star stands in its diagnostics."""
    names = ("tasoc_mpi.photometry", "tasoc_mpi.correction", "tasoc_mpi.one_star")
    return record.levelno not in (logging.INFO, logging.WARNING) or not record.name.startswith(names)


def _prefetch(job: Job, tasks: NDArray[np.void]) -> None:
    """Have the kernel read the pixels of the next batch while this one is computed."""
    if _LOAD_SOURCES in sys.modules:
        from ..photometry.prefetch import prefetch

        prefetch(Path(job.input_folder), tasks, job.cache)


def _expect(job: Job, tasks: NDArray[np.void]) -> None:
    """Let the stars of a batch be computed together where that is faster."""
    if _LOAD_SOURCES in sys.modules:
        from ..photometry.prefetch import expect

        expect(Path(job.input_folder), tasks, job.cache)


def _load(name: str) -> Callable[..., Any]:
    """The function of ``MODULE:FUNCTION``, which the caller of this program has named."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _prefer_for_oom() -> None:
    """If the node's memory runs out, let the kernel end this process and not a supervisor or rank 0."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        score = int(file.read())
        file.seek(0)
        file.write(str(min(1000, max(score, 0) + 300)))


def _name_process() -> None:
    """Give this process a name in `top` and `ps`: a forked one has the command line of its supervisor."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(PROCESS_NAME)


def main(words: list[str]) -> NoReturn:
    """Compute until the supervisor process is gone.

    Parameters
    ----------
    words : list of str
        See `compute_words`.
    """
    _name_process()
    secure_streams()
    process = _ComputeProcess(words)
    process.handle_signals()
    _prefer_for_oom()
    # What is imported stays: there is nothing to collect yet, and nothing of it to look at later.
    gc.disable()
    try:
        photometry = _load(words[4])
        process.note_compiling()
        preparation = Preparation(words[5], photometry)
        preparation.begin()
        process.receive_options()
        options = process.options
        if options.copies:
            process.remove_copies_at_end()
        if options.memory_limit:
            limit_memory(options.memory_limit)
        with logs(options.log_level, options.log_file, options.rank):
            _set_up(options)
            process.recorder.idle()
            gc.freeze()
            gc.enable()
            process.serve(photometry, preparation)
    except TasocError as error:
        # Not of one star: nothing more can be written.
        process.send(Tag.FAILED, pack_failure(error))
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
