"""The last result of each star in memory, and what is published of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.status import STATUS
from .result_log import LogReader, Reset, ResultGroup
from .skip_rule import skip_rule
from .work_list import WorkList

__all__ = ["Decision", "LastResults"]


@dataclass(frozen=True)
class Decision:
    """What is to be published; arrays have an element a row."""

    status: NDArray[np.int8]  #: The status that each row gets; UNKNOWN = to do
    skipped_by: NDArray[np.int64]  #: Row of the skipping star, -1 for none
    listed: NDArray[np.bool_]  #: Rows whose last result stands in `diagnostics`
    #: Rows of which no result that is still to come changes `listed`: their light curves on disk that are not
    #: listed can be removed.
    final: NDArray[np.bool_]
    todo: NDArray[np.bool_]  #: Rows that are to be computed


class LastResults:
    """Last results of the stars of a work list; arrays have an element a row.

    Parameters
    ----------
    worklist : WorkList

    Attributes
    ----------
    own_status : ndarray of int8
        The STATUS of each star's last result, before the skip rule; UNKNOWN = never computed.
    done : ndarray of bool
        Whether there is a result, and no reset of the star came after it.
    seconds : ndarray of float32
        How long its computation took; NaN = not known.
    """

    def __init__(self, worklist: WorkList) -> None:
        n = len(worklist.rows)
        self.worklist = worklist
        self.own_status = np.zeros(n, np.int8)
        self.done = np.zeros(n, bool)
        self.seconds = np.full(n, np.nan, np.float32)
        # Number of each star's last result: the skip targets of its earlier ones do not count.
        self._number = np.full(n, -1, np.int32)
        self._count = 0
        # Skip targets as flat arrays: row of the star, number of its result, TIC id of the target.
        self._targets: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]] = []

    def complete(self, messages: Sequence[bytes | bytearray]) -> Sequence[bytes | bytearray]:
        """Messages of results as the logs are to have them: as they are."""
        return messages

    def add(self, group: ResultGroup) -> None:
        """Add results; of several of one star the last one counts."""
        heads, index = group.bundle.heads, group.index
        numbers = np.arange(self._count, self._count + len(index), dtype=np.int32)
        self._count += len(index)
        self.own_status[index] = heads["status"]
        self.seconds[index] = heads["elaptime"]
        self.done[index] = True
        self._number[index] = numbers
        if len(group.bundle.skips):
            count = heads["skip_count"]
            star = np.repeat(index, count).astype(np.int32)
            self._targets.append((star, np.repeat(numbers, count), group.bundle.skips.copy()))

    def reset(self, index: NDArray[np.int64]) -> None:
        """Have stars computed again."""
        self.done[index] = False

    def read(self, log: LogReader) -> None:
        """Add what has come to a log since it was read last."""
        for entry in log.read():
            if isinstance(entry, Reset):
                self.reset(entry.index)
            else:
                self.add(entry)

    def skip_targets(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Pairs of a row and the TIC id of a star that its last result names."""
        none = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))
        star, numbers, targets = map(np.concatenate, zip(none, *self._targets, strict=True))
        valid = self._number[star] == numbers
        self._targets = [(star[valid], numbers[valid], targets[valid])]
        return self._targets[0][0], self._targets[0][2]

    def skipped_by(self, counts: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Row of the star that skips each row, -1 for none.

        Parameters
        ----------
        counts : ndarray of bool, optional
            Rows whose results count. Default: `done`.
        """
        counts = self.done if counts is None else counts
        star, target = self.skip_targets()
        used = counts[star]
        return skip_rule(
            self.worklist.star_index,
            self.worklist.rows["tmag"],
            self.worklist.primary,
            np.where(counts, self.own_status, np.int8(STATUS.UNKNOWN)),
            star[used],
            target[used],
        )

    def _skipped_for_good(self, todo: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows that stay skipped, if they are, however the rows to be computed end.

        Only brighter stars of its group decide whether a star is skipped; for a secondary target of a target
        pixel file, which comes after its primary, all stars of the group may.
        """
        if not todo.any():
            return np.ones(len(todo), bool)
        table, group = self.worklist.rows, self.worklist.group
        rank = np.empty(len(table), np.int64)
        rank[np.lexsort((table["starid"], table["tmag"]))] = np.arange(len(table))
        first = np.full(int(group.max(initial=-1)) + 1, len(table))
        np.minimum.at(first, group[todo], rank[todo])
        nothing_to_do = first[group] == len(table)
        return (rank < first[group]) & ((self.worklist.primary < 0) | nothing_to_do)

    def decide(self) -> Decision:
        """What is to be published of all results so far.

        A star that is to be computed again keeps its old result until nothing is left to do on its CCD.
        """
        worklist = self.worklist
        skipped_by = self.skipped_by()
        todo = ~self.done & (skipped_by < 0)
        unfinished = (np.bincount(worklist.ccd_of[todo], minlength=len(worklist.ccds)) > 0)[worklist.ccd_of]
        counts = self.done | ((self.own_status != STATUS.UNKNOWN) & unfinished)
        if (counts != self.done).any():
            skipped_by = self.skipped_by(counts)
        skipped = skipped_by >= 0
        status = np.where(counts, self.own_status, np.int8(STATUS.UNKNOWN))
        status[skipped] = STATUS.SKIPPED
        return Decision(
            status=status,
            skipped_by=skipped_by,
            listed=counts & ~skipped,
            final=(self.done & (~skipped | self._skipped_for_good(todo))) | ~unfinished,
            todo=todo,
        )
