"""Why stars are SKIPPED, in lines for the user: which star is in the way, and how to look at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.tables import counted, number

__all__ = ["skip_hint", "skipped_lines", "skipped_values"]

#: Skipped stars of one line.
_NAMED = 3


def skip_hint(arguments: str) -> str:
    """One line where the stars are not named; with the arguments of a command that reads these results.

    >>> skip_hint("sector1")
    'SKIPPED: the star is in the mask of a brighter one; `tasoc-mpi status sector1` names it'
    """
    return f"SKIPPED: the star is in the mask of a brighter one; `tasoc-mpi status {arguments}` names it"


def skipped_lines(
    rows: NDArray[np.void],
    skipped_by: NDArray[np.int64],
    arguments: str,
    most: int,
) -> Iterator[str]:
    """The stars that skip others, those with the most first, and the command that shows one of them.

    Stars are counted, of which each may have several rows.

    Parameters
    ----------
    rows : ndarray
        The work list.
    skipped_by : ndarray of int64
        Row of the star that skips each row, -1 for none.
    arguments : str
        Of a command that reads the same results.
    most : int
        How many stars.
    """
    skipped = np.flatnonzero(skipped_by >= 0)
    if not skipped.size or most < 1:
        return
    starid, tmag, by = rows["starid"], rows["tmag"], skipped_by[skipped]
    # Pairs of stars, each once, in the order of the work list. `numpy.unique` would import `numpy.ma`: 15 ms
    # of a run's end.
    pairs = dict.fromkeys(zip(starid[by].tolist(), starid[skipped].tolist(), strict=True))
    row_of = dict(zip(starid[by[::-1]].tolist(), by[::-1].tolist(), strict=True))
    # Of those that skip equally many, the first one comes first.
    ranked = Counter(star for star, _ in pairs).most_common()
    stars = counted(len({other for _, other in pairs}), "star")
    yield f"SKIPPED: the light of {stars} is in the light curve of a brighter star"
    for star, count in ranked[:most]:
        names = [f"TIC {other}" for skipping, other in pairs if skipping == star][:_NAMED]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        yield f"  by TIC {star} (Tmag {number(tmag[row_of[star]].item(), 2)}): {', '.join(names)}{more}"
    if len(ranked) > most:
        left = {star for star, _ in ranked[most:]}
        stars = counted(len({other for star, other in pairs if star in left}), "star")
        yield f"  and {stars} by {counted(len(left), 'other star')}"
    yield f"  `tasoc-mpi show {ranked[0][0]} {arguments}` shows the first of these stars"


def skipped_values(rows: NDArray[np.void], skipped_by: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The same for programs: the TIC numbers of each skipped row's star and of the one that skips it."""
    skipped = np.flatnonzero(skipped_by >= 0)
    starid = rows["starid"]
    pairs = zip(starid[skipped].tolist(), starid[skipped_by[skipped]].tolist(), strict=True)
    return [{"starid": star, "by": other} for star, other in pairs]
