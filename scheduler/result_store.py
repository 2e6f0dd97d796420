"""What rank 0 knows of a run: the results in memory, and their way to the logs.

Results arrive as messages, which are appended to the log of their CCD as they are, by a thread, in groups.
Nothing else is written while stars are computed.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.locks import exclusive
from ..core.messages import Bundle, ProtocolError, unpack_many
from ..core.status import STATUS
from ..worklist.result_log import LogReader, LogWriter, ResultGroup, log_path
from ..worklist.result_state import State
from ..worklist.rows import CCD, WorkList, ccd_name
from ..worklist.takeover import old_results

__all__ = ["Store", "open_store"]

#: Results are written when there are this many, or when the oldest has waited this long (seconds): what a
#: kill costs. Where rank 0 is busy, they may have lain as long before they came here.
FLUSH_COUNT = 1000
FLUSH_SECONDS = 0.5
#: Where the disk is slower than results come, no more of them than these wait: some 250 bytes each.
FLUSH_MOST = 100_000
#: To synchronise logs takes some ms each, however much there is. Where many results come, it takes at most
#: this share of the time (but no result waits for longer than above).
FLUSH_SHARE = 0.2
#: Stars that others claim are left out after so many seconds: many at once are found more quickly.
LEAVE_OUT_SECONDS = 0.2

_NONE = np.zeros(0, np.int64)


class Store:
    """The work list, the results so far, and the logs of the CCDs that a run may write.

    Parameters
    ----------
    rows : WorkList
    state : State
        What the logs held.
    logs : dict of int to LogWriter
        By the number of the CCD; empty where nothing is to be written.

    Attributes
    ----------
    left_out : ndarray of bool
        Stars that by the results so far a brighter one skips: they are not handed out. Only
        `State.skipped_by` tells for certain.
    """

    def __init__(self, rows: WorkList, state: State, logs: dict[int, LogWriter]) -> None:
        self.list, self.state = rows, state
        self.left_out = np.zeros(len(rows.rows), bool)
        self._logs = logs
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._waiting: list[tuple[int, float, bytes | bytearray]] = []
        self._waiting_results = 0
        self._oldest = self._flushed = self._flush_cost = self._left_out_at = 0.0
        self._new_claims: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    @property
    def rows(self) -> NDArray[np.void]:
        """The rows of the work list, of TASK_DTYPE."""
        return self.list.rows

    @property
    def path(self) -> Path:
        """The work list."""
        return self.list.path

    def add(self, messages: Sequence[bytes | bytearray]) -> tuple[Bundle, NDArray[np.int64]]:
        """Take messages of results in; they are durable after the next `flush`.

        Returns
        -------
        bundle : Bundle
            What they hold.
        index : ndarray of int64
            The row of each result.

        Raises
        ------
        ProtocolError
            If a message is not what it should be; then none is taken in.
        """
        bundle = unpack_many(messages)
        if (bundle.starts == bundle.ends).any():
            raise ProtocolError("a message of results without one")
        index = self.list.find(bundle.heads["priority"])
        ccds = self.list.ccd_of[index]
        first = ccds[bundle.starts]
        if (index < 0).any() or (ccds != first[bundle.message]).any():
            raise ProtocolError("a message of results of stars that are not in the work list, or of two CCDs")
        now = time.time()
        self.state.add(ResultGroup(index, bundle, np.full(len(messages), now)))
        if len(bundle.skips):
            self._new_claims.append((np.repeat(index, bundle.heads["skip_count"]), bundle.skips))
        if not self._waiting:
            self._oldest = time.monotonic()
        self._waiting.extend((ccd, now, m) for ccd, m in zip(first.tolist(), messages, strict=True))
        self._waiting_results += len(bundle.heads)
        if self._waiting_results >= FLUSH_MOST:
            self._finish_writing()
            self._flush_beside()
        elif self._waiting_results >= FLUSH_COUNT:
            since = time.monotonic() - self._flushed
            if since * FLUSH_SHARE >= self._flush_cost or since >= FLUSH_SECONDS:
                self._flush_beside()
        return bundle, index

    def tick(self) -> NDArray[np.int64]:
        """Write what has waited long enough; to be called often.

        Returns
        -------
        ndarray of int64
            Rows that newly are left out; now and then, many at once.
        """
        if self._waiting and time.monotonic() - self._oldest >= FLUSH_SECONDS:
            self._flush_beside()
        now = time.monotonic()
        if now - self._left_out_at >= LEAVE_OUT_SECONDS:
            self._left_out_at = now
            return self._leave_out()
        return _NONE

    def _leave_out(self) -> NDArray[np.int64]:
        """Leave out the stars that a brighter one with a light curve has named since the last call."""
        if not self._new_claims:
            return _NONE
        pairs = [np.concatenate(arrays) for arrays in zip(*self._new_claims, strict=True)]
        self._new_claims.clear()
        claimer, claimed = self.list.finder.resolve(*pairs)
        tmag, starid = self.rows["tmag"], self.rows["starid"]
        brighter = (tmag[claimer] < tmag[claimed]) | (
            (tmag[claimer] == tmag[claimed]) & (starid[claimer] < starid[claimed])
        )
        brighter &= np.isin(self.state.own[claimer], (STATUS.OK, STATUS.WARNING)) & ~self.left_out[claimer]
        new = claimed[brighter]
        self.left_out[new] = True
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

    def _write(self, messages: Iterable[tuple[int, float, bytes | bytearray]]) -> None:
        start = time.monotonic()
        by_ccd: dict[int, list[tuple[float, bytes | bytearray]]] = defaultdict(list)
        for ccd, when, message in messages:
            by_ccd[ccd].append((when, message))
        for ccd, records in by_ccd.items():
            self._logs[ccd].append(records)
        for ccd in by_ccd:
            self._logs[ccd].sync()
        self._flush_cost = time.monotonic() - start

    def _flush_beside(self) -> None:
        """The same in a thread: while it waits for the disk, workers get their answers."""
        if self._writing is not None and not self._writing.done():
            return
        self._finish_writing()
        self._writing = self._writer.submit(self._write, self._waiting)
        self._waiting, self._waiting_results = [], 0
        self._flushed = time.monotonic()

    def _finish_writing(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def reset(self, chosen: NDArray[np.bool_], version: int) -> NDArray[np.bool_]:
        """Let the chosen stars be computed again, and note it durably.

        The skipped stars of their CCDs are reset, too: their light curves may have been removed, and are
        needed if a star that skips them ends in another way than before.

        Returns
        -------
        ndarray of bool
            Rows that are to be computed again, unless they are skipped.
        """
        same_ccd = np.isin(self.list.ccd_of, self.list.ccd_of[chosen])
        again = chosen | (same_ccd & (self.state.skipped_by() >= 0))
        again &= self.state.own != STATUS.UNKNOWN
        for number, log in self._logs.items():
            some = np.flatnonzero(again & (self.list.ccd_of == number))
            if len(some) or log.version != version:
                log.reset(self.list.priority[some], version)
                self.state.reset(some)
        return again

    def close(self) -> None:
        """Close the logs; what was not flushed is lost."""
        self._writer.shutdown()
        for log in self._logs.values():
            log.close()


def open_store(
    stack: contextlib.ExitStack,
    rows: WorkList,
    output: Path,
    ccds: Sequence[CCD],
    version: int,
    anew: Sequence[CCD] = (),
    dry: bool = False,
) -> Store:
    """Read the logs of some CCDs and be the only one to write them.

    Parameters
    ----------
    stack : ExitStack
        Holds the locks of the logs until it ends, and then closes them.
    rows : WorkList
    output : Path
        The output folder.
    ccds : sequence of (int, int, int)
    version : int
        Of the light curves.
    anew : sequence of (int, int, int), optional
        CCDs of which all stars are about to be computed again: their version may differ.
    dry : bool, optional
        Write nothing, not even a lock.

    Raises
    ------
    InputError
        If another run writes one of the logs, one cannot be used, or is of another version.
    """
    state, readers = State(rows), []
    if not dry:
        with _explained(output):
            (output / "results").mkdir(exist_ok=True)
    # Otherwise they have been taken over into logs.
    old = old_results(rows) if dry and rows.old_results else {}
    for ccd in ccds:
        path = log_path(output, ccd)
        if not dry:
            stack.enter_context(exclusive(path))
        log = LogReader(path, rows, ccd)
        state.follow(log)
        if log.exists and log.version != version and ccd not in anew:
            raise InputError(
                f"{path}: its light curves are of version {log.version}; run with that --version, with"
                f" another --output, or with --overwrite to compute all of {ccd_name(ccd)} again"
            )
        readers.append(log)
        for when, message in () if log.exists else old.get(ccd, ()):
            bundle = unpack_many([message])
            state.add(ResultGroup(rows.find(bundle.heads["priority"]), bundle, np.array([when])))
    store = Store(rows, state, {})
    stack.callback(store.close)
    if not dry:
        for log in readers:
            store._logs[rows.ccds.index(log.ccd)] = LogWriter(log, version)
    return store


@contextlib.contextmanager
def _explained(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); choose another --output") from None
