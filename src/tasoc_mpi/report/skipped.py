"""Which star skips which: stars whose light is in the mask of a brighter one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..worklist.schema import columns_of
from ..worklist.todo_file import SQLITE_ERRORS, explain, open_todo

__all__ = ["most_skipping", "skipping_rows"]

#: Skipped stars that are named of each star that skips.
_EXAMPLES = 5


def skipping_rows(path: Path, priority: NDArray[np.integer]) -> NDArray[np.int64]:
    """Row of the star that skips each row, -1 for none.

    Parameters
    ----------
    path : Path
        The work list.
    priority : ndarray of int, shape (n,)
        Of its rows, in order.

    Raises
    ------
    InputError
        If the work list cannot be read.
    """
    found = np.full(len(priority), -1, np.int64)
    with contextlib.closing(open_todo(path)) as conn:
        try:
            if not columns_of(conn, "photometry_skipped"):
                return found
            pairs = conn.execute("SELECT priority, skipped_by FROM photometry_skipped").fetchall()
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
    if pairs and len(priority):
        rows = np.searchsorted(priority, np.array(pairs, np.int64)).clip(max=len(priority) - 1)
        there = (priority[rows] == pairs).all(axis=1)
        found[rows[there, 0]] = rows[there, 1]
    return found


def most_skipping(stars: NDArray[np.void], skipping: NDArray[np.int64], most: int) -> list[dict[str, Any]]:
    """The stars that skip the most others.

    Parameters
    ----------
    stars : ndarray of RESULT_DTYPE
    skipping : ndarray of int64
        As of `skipping_rows`.
    most : int
        How many.
    """
    skipped = np.flatnonzero(skipping >= 0)
    rows, counts = np.unique(skipping[skipped], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    found = []
    for row, count in zip(rows[order].tolist(), counts[order].tolist(), strict=True):
        star = stars[row]
        found.append(
            {
                **{name: star[name] for name in ("starid", "sector", "camera", "ccd", "datasource", "tmag")},
                "count": count,
                "stars": stars["starid"][skipped[skipping[skipped] == row][:_EXAMPLES]].tolist(),
            }
        )
    return found
