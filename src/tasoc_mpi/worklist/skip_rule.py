"""The skip rule: which stars are left out because another star's light curve holds their light.

A pure function of all results of a group of stars, so that the outcome does not depend on the order in which,
or on the number of ranks on which, they were computed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.status import STATUS

__all__ = ["Finder", "groups", "primaries", "skip_rule"]


def groups(rows: NDArray[np.void]) -> NDArray[np.int32]:
    """Number of the group that each row of the work list belongs to.

    A group is the stars of one sector, camera, CCD and cadence from full frame images, or those from target
    pixel files (primary and secondary targets together).
    """
    key = rows["sector"].astype(np.int64)
    for name, most in (("camera", 8), ("ccd", 8), ("cadence", 1 << 20)):
        key *= most
        key += rows[name]
    key *= 2
    key += rows["datasource"] != np.asarray("ffi", dtype=rows.dtype["datasource"].kind)
    return np.unique(key, return_inverse=True)[1].astype(np.int32)


def primaries(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """TIC id of the star in whose target pixel file each row is a secondary target, else -1."""
    found = np.full(len(rows), -1, dtype=np.int64)
    prefix = np.asarray("tpf:", dtype=rows.dtype["datasource"].kind)
    other = np.flatnonzero(rows["datasource"] != np.asarray("ffi", dtype=prefix.dtype.kind))
    for index in other[np.char.startswith(rows["datasource"][other], prefix)].tolist():
        number = str(np.asarray(rows["datasource"][index]).astype(str))[4:]
        if number.isascii() and number.isdigit():
            found[index] = int(number)
    return found


class Finder:
    """Finds the stars that skip lists name.

    Parameters
    ----------
    group : ndarray of int, shape (n,)
        Number of each star's group.
    starid : ndarray of int, shape (n,)
        TIC id.
    """

    def __init__(self, group: NDArray[np.integer], starid: NDArray[np.int64]) -> None:
        self.group = group
        self.starid = np.ascontiguousarray(starid)
        self._order = np.argsort(self.starid, kind="stable").astype(np.int32)
        self._sorted = self.starid[self._order]

    def resolve(
        self, claim_row: NDArray[np.integer], claim_starid: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Claims as pairs of rows of one group; those of stars that are not in the group are dropped."""
        # In order, searches of neighbours touch the same memory.
        order = np.argsort(claim_starid)
        claim_row, claim_starid = claim_row[order], claim_starid[order]
        first = np.searchsorted(self._sorted, claim_starid, "left")
        count = np.searchsorted(self._sorted, claim_starid, "right") - first
        claimer = np.repeat(claim_row.astype(np.int64), count)
        within = np.arange(len(claimer)) - np.repeat(np.cumsum(count) - count, count)
        claimed = self._order[np.repeat(first, count) + within].astype(np.int64)
        other = (self.starid[claimer] != self.starid[claimed]) & (self.group[claimer] == self.group[claimed])
        return claimer[other], claimed[other]


def skip_rule(
    group: NDArray[np.integer],
    tmag: NDArray[np.float64],
    starid: NDArray[np.int64],
    primary: NDArray[np.int64],
    own: NDArray[np.integer],
    claim_row: NDArray[np.integer],
    claim_starid: NDArray[np.int64],
    finder: Finder | None = None,
) -> NDArray[np.int64]:
    """Decide which stars are skipped, and by which.

    In each group, from bright to faint (Tmag, then TIC id; an unknown Tmag is faintest): a star that is
    already skipped, or has no light curve of its own, has no say. Of its skip list count the stars that are
    in the group. If brighter ones among them have a light curve and are not skipped, the star is skipped by
    the brightest of these; else it skips all fainter ones, whatever became of them, computed or not.

    A secondary target of a target pixel file whose skip list holds the primary comes right after the primary
    if it would come before, and is skipped by it rather than by a brighter star: the file was made for the
    primary.

    Because only brighter stars decide, a skipped star's own result is of no influence if another one skipped
    it: it need not have been computed.

    Parameters
    ----------
    group : ndarray of int, shape (n,)
        Number of each star's group.
    tmag : ndarray of float, shape (n,)
        TESS magnitude.
    starid : ndarray of int, shape (n,)
        TIC id.
    primary : ndarray of int, shape (n,)
        For a secondary target the TIC id of its file's primary, else -1.
    own : ndarray of int, shape (n,)
        STATUS that each star ended with by itself; UNKNOWN where it was not computed.
    claim_row, claim_starid : ndarray of int, shape (m,)
        The skip lists: the star at `claim_row` named the star `claim_starid`.
    finder : Finder, optional
        Of `group` and `starid`, where it has been made before.

    Returns
    -------
    ndarray of int64, shape (n,)
        Index of the star by which each star is skipped, -1 for none.
    """
    claimer, claimed = (finder or Finder(group, starid)).resolve(claim_row, claim_starid)
    # Only stars that claim or are claimed matter, and they are few.
    involved, number = np.unique(np.concatenate((claimer, claimed)), return_inverse=True)
    found = _among(
        group[involved],
        tmag[involved],
        starid[involved],
        primary[involved],
        own[involved],
        number[: len(claimer)],
        number[len(claimer) :],
    )
    skipped_by = np.full(len(starid), -1, dtype=np.int64)
    skipped_by[involved[found >= 0]] = involved[found[found >= 0]]
    return skipped_by


def _among(
    group: NDArray[np.integer],
    tmag: NDArray[np.float64],
    starid: NDArray[np.int64],
    primary: NDArray[np.int64],
    own: NDArray[np.integer],
    claimer: NDArray[np.int64],
    claimed: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The same for claims that are pairs of rows of one group."""
    n = len(starid)
    natural = np.empty(n, dtype=np.int64)
    natural[np.lexsort((np.arange(n), starid, tmag, group))] = np.arange(n)

    holds_primary = starid[claimed] == primary[claimer]
    own_primary = np.full(n, -1, dtype=np.int64)
    own_primary[claimer[holds_primary]] = claimed[holds_primary]
    # Right after the primary, where that is later: then by its own place.
    after = np.where(own_primary >= 0, natural[own_primary], -1)
    late = after > natural
    place = np.empty(n, dtype=np.int64)
    place[np.lexsort((natural, late, np.where(late, after, natural)))] = np.arange(n)

    has_lightcurve = np.isin(own, (STATUS.OK, STATUS.WARNING))
    keep = has_lightcurve[claimer]
    claimer, claimed = claimer[keep], claimed[keep]
    order = np.lexsort((natural[claimed], place[claimer]))
    return _decide(claimer[order], claimed[order], place, has_lightcurve, own_primary)


def _decide(
    claimer: NDArray[np.int64],
    claimed: NDArray[np.int64],
    place: NDArray[np.int64],
    has_lightcurve: NDArray[np.bool_],
    own_primary: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Go through the claims, sorted by the claiming star's place and then from bright to faint."""
    starts = np.unique(place[claimer], return_index=True)[1]
    ends = np.append(starts, len(claimer))[1:].tolist()
    skipped = [-1] * len(place)
    targets = claimed.tolist()
    before = (place[claimed] < place[claimer]).tolist()
    lasting = has_lightcurve[claimed].tolist()
    for star, start, end in zip(claimer[starts].tolist(), starts.tolist(), ends, strict=True):
        if skipped[star] >= 0:
            continue
        brighter = [
            targets[i] for i in range(start, end) if before[i] and lasting[i] and skipped[targets[i]] < 0
        ]
        if brighter:
            primary = int(own_primary[star])
            skipped[star] = primary if primary in brighter else brighter[0]
            continue
        for i in range(start, end):
            if not before[i] and skipped[targets[i]] < 0:
                skipped[targets[i]] = star
    return np.array(skipped, dtype=np.int64)
