"""What the logs say of the stars, in memory, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.status import STATUS
from .result_log import LogReader, Reset, ResultGroup, log_path
from .rows import CCD, WorkList
from .skip_rule import skip_rule

__all__ = ["Decision", "State", "read_logs"]


@dataclass(frozen=True)
class Decision:
    """What is to be published.

    Attributes
    ----------
    status : ndarray of int8
        The status that each row gets; UNKNOWN = to do.
    skipped_by : ndarray of int64
        Row of the skipping star, -1 for none.
    listed : ndarray of bool
        Rows whose last result stands in `diagnostics`.
    final : ndarray of bool
        Rows of which no star that is still to be computed can change that: their light curves on disk that
        are not listed are of no use any more.
    todo : ndarray of bool
        Rows that are to be computed.
    """

    status: NDArray[np.int8]
    skipped_by: NDArray[np.int64]
    listed: NDArray[np.bool_]
    final: NDArray[np.bool_]
    todo: NDArray[np.bool_]


class State:
    """Last results of the stars of a work list; arrays have an element a row.

    Parameters
    ----------
    rows : WorkList

    Attributes
    ----------
    own : ndarray of int8
        The STATUS that each star ended with by itself; UNKNOWN = never computed.
    done : ndarray of bool
        Whether that result counts: there is one, and the star was not told to be computed again since.
    """

    def __init__(self, rows: WorkList) -> None:
        n = len(rows.rows)
        self.rows = rows
        self.own = np.zeros(n, np.int8)
        self.done = np.zeros(n, bool)
        # Number of the result that counts: what an earlier one of the star claimed does not.
        self._number = np.full(n, -1, np.int32)
        self._count = 0
        # Skip lists as flat arrays: row of the star, number of its result, TIC id of a star that it names.
        self._claims: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]] = []

    def add(self, group: ResultGroup) -> None:
        """Take results in. Of several of one star the last one counts."""
        heads, index = group.bundle.heads, group.index
        numbers = np.arange(self._count, self._count + len(index), dtype=np.int32)
        self._count += len(index)
        self.own[index] = heads["status"]
        self.done[index] = True
        self._number[index] = numbers
        if len(group.bundle.skips):
            count = heads["skip_count"]
            claimer = np.repeat(index, count).astype(np.int32)
            self._claims.append((claimer, np.repeat(numbers, count), group.bundle.skips.copy()))

    def reset(self, index: NDArray[np.int64]) -> None:
        """Let stars be computed again."""
        self.done[index] = False

    def follow(self, log: LogReader) -> None:
        """Take in what has come to a log since it was read last."""
        for entry in log.read():
            if isinstance(entry, Reset):
                self.reset(entry.index)
            else:
                self.add(entry)

    def skipped_by(self, counts: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """The skip rule's outcome: row of the skipping star, -1 for none.

        Parameters
        ----------
        counts : ndarray of bool, optional
            Rows whose results count. Default: `done`.
        """
        counts = self.done if counts is None else counts
        rows, starids = self._valid_claims()
        said = counts[rows]
        return skip_rule(
            self.rows.group,
            self.rows.rows["tmag"],
            self.rows.rows["starid"],
            self.rows.primary,
            np.where(counts, self.own, np.int8(STATUS.UNKNOWN)),
            rows[said],
            starids[said],
            self.rows.finder,
        )

    def _valid_claims(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Rows and the TIC ids that they name."""
        none = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))
        rows, numbers, starids = map(np.concatenate, zip(none, *self._claims, strict=True))
        valid = self._number[rows] == numbers
        self._claims = [(rows[valid], numbers[valid], starids[valid])]
        return self._claims[0][0], self._claims[0][2]

    def _settled(self, todo: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows that stay skipped, if they are, whatever becomes of those that are to be computed.

        Only brighter stars of its group decide whether a star is skipped; for a secondary target of a target
        pixel file, which is decided upon after its primary, all of the group may.
        """
        if not todo.any():
            return np.ones(len(todo), bool)
        table, group = self.rows.rows, self.rows.group
        rank = np.empty(len(table), np.int64)
        rank[np.lexsort((table["starid"], table["tmag"]))] = np.arange(len(table))
        first = np.full(int(group.max(initial=-1)) + 1, len(table))
        np.minimum.at(first, group[todo], rank[todo])
        alone = first[group] == len(table)
        return (rank < first[group]) & ((self.rows.primary < 0) | alone)

    def decide(self) -> Decision:
        """What is to be published of all results so far.

        A star that is to be computed again keeps its old result, until nothing is left to do on its CCD.
        """
        rows = self.rows
        skipped_by = self.skipped_by()
        todo = ~self.done & (skipped_by < 0)
        open_ccds = np.bincount(rows.ccd_of[todo], minlength=len(rows.ccds)) > 0
        counts = self.done | ((self.own != STATUS.UNKNOWN) & open_ccds[rows.ccd_of])
        if (counts != self.done).any():
            skipped_by = self.skipped_by(counts)
        skipped = skipped_by >= 0
        status = np.where(counts, self.own, np.int8(STATUS.UNKNOWN))
        status[skipped] = STATUS.SKIPPED
        return Decision(
            status=status,
            skipped_by=skipped_by,
            listed=counts & ~skipped,
            final=(self.done & (~skipped | self._settled(todo))) | ~open_ccds[rows.ccd_of],
            todo=todo,
        )


def read_logs(rows: WorkList, output: Path, ccds: list[CCD] | None = None) -> tuple[State, list[LogReader]]:
    """The state that the logs in an output folder tell of, and the logs (those that are there, and others).

    Raises
    ------
    InputError
        If a log cannot be used; see `LogReader`.
    """
    state = State(rows)
    logs = [LogReader(log_path(output, ccd), rows, ccd) for ccd in (rows.ccds if ccds is None else ccds)]
    for log in logs:
        state.follow(log)
    return state, logs
