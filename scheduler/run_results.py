"""The results of a run on rank 0: the last one of each star in memory, and all of them in the logs.

A message of results is appended to the log of its CCD as it came. A thread writes and synchronises the
messages in groups. Nothing else is written while stars are computed.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.locks import exclusive, refuse_locked
from ..core.messages import Bundle, ProtocolError, unpack_many, unpack_results
from ..core.status import STATUS
from ..products.durable import make_durable
from ..worklist.last_results import LastResults
from ..worklist.old_results import read_old_results
from ..worklist.result_log import LogReader, LogWriter, ResultGroup, log_path
from ..worklist.work_list import CCD, WorkList, ccd_name

__all__ = ["RunResults", "open_results"]

#: A group of messages is written when it has so many results, or when its first one has waited so long
#: (seconds): a kill costs no more than that.
FLUSH_COUNT = 1000
FLUSH_SECONDS = 0.5
#: Where the disk is slower than the workers, so many results (some 250 bytes each) wait in memory at most.
FLUSH_MOST = 100_000
#: Synchronising the logs takes some ms, however many results there are. Groups grow beyond FLUSH_COUNT if it
#: would otherwise take more than this share of the time.
FLUSH_SHARE = 0.2
#: Skip targets are looked up every so many seconds: many at once are found more quickly.
SKIP_SECONDS = 0.2


class RunResults:
    """The results so far of a work list, and the logs of the CCDs that a run may write.

    Parameters
    ----------
    worklist : WorkList
    last : LastResults
        What the logs hold.
    logs : dict of int to LogWriter
        By the number of the CCD; empty in a dry run.
    unsynced : Path, optional
        Output folder whose light curves are not on the disk yet when their results are added: they are before
        the results are.

    Attributes
    ----------
    skipped_so_far : ndarray of bool
        Stars that are not handed out because a brighter one has named them. A later result can change that:
        `LastResults.skipped_by` decides in the end.
    """

    def __init__(
        self,
        worklist: WorkList,
        last: LastResults,
        logs: dict[int, LogWriter],
        unsynced: Path | None = None,
    ) -> None:
        self.worklist, self.last, self._unsynced = worklist, last, unsynced
        self.skipped_so_far = np.zeros(len(worklist.rows), bool)
        self._logs = logs
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._waiting: list[tuple[int, float, bytes | bytearray]] = []
        self._waiting_results = 0
        self._oldest = self._flushed = self._flush_cost = self._skipped_at = 0.0
        self._new_targets: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, messages: Sequence[bytes | bytearray]) -> tuple[Bundle, NDArray[np.int64]]:
        """Add messages of results; they are durable after the next `flush`.

        Returns
        -------
        bundle : Bundle
            The results.
        index : ndarray of int64
            The row of each result.

        Raises
        ------
        ProtocolError
            If a message is damaged, empty, or of stars of two CCDs; then none is added.
        """
        messages = self.last.complete(messages)
        bundle = unpack_many(messages)
        if (bundle.starts == bundle.ends).any():
            raise ProtocolError("a message of results without one")
        index = self.worklist.find(bundle.heads["priority"])
        ccds = self.worklist.ccd_of[index]
        first = ccds[bundle.starts]
        if (index < 0).any() or (ccds != first[bundle.message]).any():
            raise ProtocolError("a message of results of stars that are not in the work list, or of two CCDs")
        now = time.time()
        self.last.add(ResultGroup(index, bundle, np.full(len(messages), now)))
        if len(bundle.skips):
            self._new_targets.append((np.repeat(index, bundle.heads["skip_count"]), bundle.skips))
        if not self._waiting:
            self._oldest = time.monotonic()
        self._waiting.extend((ccd, now, m) for ccd, m in zip(first.tolist(), messages, strict=True))
        self._waiting_results += len(bundle.heads)
        if self._waiting_results >= FLUSH_MOST:
            self._finish_writing()
            self._flush_in_thread()
        elif self._waiting_results >= FLUSH_COUNT:
            since = time.monotonic() - self._flushed
            if since * FLUSH_SHARE >= self._flush_cost or since >= FLUSH_SECONDS:
                self._flush_in_thread()
        return bundle, index

    def tick(self) -> NDArray[np.int64]:
        """Write what has waited long enough; to be called often.

        Returns
        -------
        ndarray of int64
            Rows that are skipped so far and were not at the last call.
        """
        now = time.monotonic()
        if self._waiting and now - self._oldest >= FLUSH_SECONDS:
            self._flush_in_thread()
        if not self._new_targets or now - self._skipped_at < SKIP_SECONDS:
            return np.zeros(0, np.int64)
        self._skipped_at = now
        pairs = [np.concatenate(arrays) for arrays in zip(*self._new_targets, strict=True)]
        self._new_targets.clear()
        star, target = self.worklist.star_index.find_targets(*pairs)
        tmag, starid = self.worklist.rows["tmag"], self.worklist.rows["starid"]
        brighter = tmag[star] < tmag[target]
        brighter |= (tmag[star] == tmag[target]) & (starid[star] < starid[target])
        brighter &= np.isin(self.last.own_status[star], (STATUS.OK, STATUS.WARNING))
        new = target[brighter & ~self.skipped_so_far[star]]
        self.skipped_so_far[new] = True
        return new

    def flush(self) -> None:
        """Write all results that wait, and return when they are durable.

        Raises
        ------
        InputError
            If a log cannot be written.
        """
        self._finish_writing()
        if self._waiting:
            waiting, self._waiting, self._waiting_results = self._waiting, [], 0
            self._write(waiting)

    def _write(self, messages: Sequence[tuple[int, float, bytes | bytearray]]) -> None:
        start = time.monotonic()
        by_ccd: dict[int, list[tuple[float, bytes | bytearray]]] = defaultdict(list)
        for ccd, when, message in messages:
            by_ccd[ccd].append((when, message))
        if self._unsynced is not None:
            results = [unpack_results(message) for _, _, message in messages]
            make_durable(self._unsynced, [name for some in results for name in some.lightcurve if name])
        for ccd, records in by_ccd.items():
            self._logs[ccd].append(records)
        for ccd in by_ccd:
            self._logs[ccd].sync()
        self._flush_cost = time.monotonic() - start

    def _flush_in_thread(self) -> None:
        """Write what waits in the thread, unless it is busy: rank 0 answers workers meanwhile."""
        if self._writing is None or self._writing.done():
            self._finish_writing()
            self._writing = self._thread.submit(self._write, self._waiting)
            self._waiting, self._waiting_results = [], 0
            self._flushed = time.monotonic()

    def _finish_writing(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def reset(self, chosen: NDArray[np.bool_], version: int) -> NDArray[np.bool_]:
        """Have the chosen stars computed again, and note it durably.

        The skipped stars of their CCDs are reset, too: their light curves may have been removed, and are
        needed if a star that skips them ends in another way than before.

        Returns
        -------
        ndarray of bool
            Rows that are to be computed again, unless they are skipped.
        """
        same_ccd = np.isin(self.worklist.ccd_of, self.worklist.ccd_of[chosen])
        again = chosen | (same_ccd & (self.last.skipped_by() >= 0))
        again &= self.last.own_status != STATUS.UNKNOWN
        for number, log in self._logs.items():
            some = np.flatnonzero(again & (self.worklist.ccd_of == number))
            if len(some) or log.version != version:
                log.reset(self.worklist.priority[some], version)
                self.last.reset(some)
        return again

    def close(self) -> None:
        """Close the logs; results that were not flushed are lost."""
        self._thread.shutdown()
        for log in self._logs.values():
            log.close()


def open_results(
    stack: contextlib.ExitStack,
    worklist: WorkList,
    output: Path,
    ccds: Sequence[CCD],
    version: int,
    anew: Sequence[CCD] = (),
    dry: bool = False,
    synced: bool = True,
    log_of: Callable[[Path, CCD], Path] = log_path,
    last: LastResults | None = None,
) -> RunResults:
    """Lock and read the logs of some CCDs.

    Parameters
    ----------
    stack : ExitStack
        Holds the locks of the logs until it ends, and then closes them.
    worklist : WorkList
    output : Path
        The output folder.
    ccds : sequence of (int, int, int)
    version : int
        Of the light curves.
    anew : sequence of (int, int, int), optional
        CCDs of which all stars are about to be computed again: their version may differ.
    dry : bool, optional
        Write nothing, not even a lock.
    synced : bool, optional
        Whether light curves are on the disk when their results are added.
    log_of : callable, optional
        The log of a CCD in an output folder. Default: that of its photometry.
    last : LastResults, optional
        Gets the results; without any so far.

    Raises
    ------
    InputError
        If another run writes one of the logs, one cannot be used, or is of another version.
    """
    last, readers = last or LastResults(worklist), []
    if not dry:
        try:
            for folder in {log_of(output, ccd).parent for ccd in ccds}:
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{output}: cannot be written ({error.strerror}); choose another --output"
            ) from None
    # Results in the tables of an older work list are in logs already, except in a dry run.
    old = read_old_results(worklist) if dry and worklist.has_old_results else {}
    for ccd in ccds:
        path = log_of(output, ccd)
        if dry:
            refuse_locked(path)
        else:
            stack.enter_context(exclusive(path))
        log = LogReader(path, worklist, ccd)
        last.read(log)
        if log.exists and log.version != version and ccd not in anew:
            raise InputError(
                f"{path}: its light curves are of version {log.version}; run with that --version, with"
                f" another --output, or with --overwrite to compute all of {ccd_name(ccd)} again"
            )
        readers.append(log)
        for group in () if log.exists else old.get(ccd, ()):
            last.add(group)
    results = RunResults(worklist, last, {}, None if synced else output)
    stack.callback(results.close)
    if not dry:
        for log in readers:
            results._logs[worklist.ccds.index(log.ccd)] = LogWriter(log, version)
    return results
