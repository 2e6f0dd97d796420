"""The skip rule: which stars are left out because another star's light curve holds their light.

A pure function of all results of a group of stars, so that the outcome does not depend on the order in which,
or on the number of ranks on which, they were computed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.status import STATUS

__all__ = ["StarIndex", "groups", "primaries", "skip_rule"]

#: No star has a larger number.
_LARGEST = np.iinfo(np.int64).max


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
    key += rows["datasource"] != b"ffi"
    return np.unique(key, return_inverse=True)[1].astype(np.int32)


def primaries(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """TIC id of the star in whose target pixel file each row is a secondary target, else -1."""
    found = np.full(len(rows), -1, dtype=np.int64)
    of_files = np.flatnonzero(rows["datasource"] != b"ffi")
    for index, source in zip(of_files.tolist(), rows["datasource"][of_files].tolist(), strict=True):
        number = source.removeprefix(b"tpf:")
        if number != source and number.isdigit():
            found[index] = min(int(number), _LARGEST)
    return found


class StarIndex:
    """Finds rows by TIC id.

    Parameters
    ----------
    group : ndarray of int, shape (n,)
        Number of each row's group.
    starid : ndarray of int, shape (n,)
        TIC id.
    """

    def __init__(self, group: NDArray[np.integer], starid: NDArray[np.int64]) -> None:
        self.group = group
        self.starid = np.ascontiguousarray(starid)
        self._order = np.argsort(self.starid, kind="stable").astype(np.int32)
        self._sorted = self.starid[self._order]

    def find(self, starid: int) -> NDArray[np.int64]:
        """Rows of a star."""
        first, last = (np.searchsorted(self._sorted, np.int64(starid), side) for side in ("left", "right"))
        return self._order[first:last].astype(np.int64)

    def find_targets(
        self, star: NDArray[np.integer], target: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of a row and a TIC id as pairs of rows of one group; pairs that are not are dropped."""
        # In order, searches of neighbours touch the same memory.
        order = np.argsort(target)
        star, target = star[order], target[order]
        first = np.searchsorted(self._sorted, target, "left")
        count = np.searchsorted(self._sorted, target, "right") - first
        rows = np.repeat(star.astype(np.int64), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        targets = self._order[np.repeat(first, count) + within].astype(np.int64)
        other = (self.starid[rows] != self.starid[targets]) & (self.group[rows] == self.group[targets])
        return rows[other], targets[other]


def skip_rule(
    star_index: StarIndex,
    tmag: NDArray[np.float64],
    primary: NDArray[np.int64],
    own_status: NDArray[np.integer],
    star: NDArray[np.integer],
    target: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Decide which stars are skipped, and by which.

    In each group, from bright to faint (Tmag, then TIC id; an unknown Tmag is faintest): a star that is
    already skipped, or has no light curve of its own, skips no other one. Of its skip targets count the stars
    of its group. If brighter ones among them have a light curve and are not skipped, the brightest of these
    skips the star; else the star skips all fainter ones, computed or not.

    A secondary target of a target pixel file that names the primary comes right after the primary if it would
    come before, and the primary skips it rather than a brighter star: the file was made for the primary.

    Because only brighter stars decide, the result of a skipped star has no influence: it need not have been
    computed.

    Parameters
    ----------
    star_index : StarIndex
        Groups and TIC ids of n rows.
    tmag : ndarray of float, shape (n,)
        TESS magnitude.
    primary : ndarray of int, shape (n,)
        For a secondary target the TIC id of its file's primary, else -1.
    own_status : ndarray of int, shape (n,)
        STATUS of each star's own result; UNKNOWN where it was not computed.
    star, target : ndarray of int, shape (m,)
        The skip targets: the star of row `star` names the star of TIC id `target`.

    Returns
    -------
    ndarray of int64, shape (n,)
        Row of the star by which each star is skipped, -1 for none.
    """
    star, target = star_index.find_targets(star, target)
    # Only stars that name others or are named matter, and they are few.
    involved, number = np.unique(np.concatenate((star, target)), return_inverse=True)
    starid = star_index.starid[involved]
    found = _skipped_by(
        _places(np.arange(len(involved)), starid, tmag[involved], star_index.group[involved]),
        starid,
        primary[involved],
        own_status[involved],
        number[: len(star)],
        number[len(star) :],
    )
    skipped_by = np.full(len(tmag), -1, dtype=np.int64)
    skipped_by[involved[found >= 0]] = involved[found[found >= 0]]
    return skipped_by


def _places(*keys: NDArray[np.generic]) -> NDArray[np.int64]:
    """Place of each element when they are sorted by the keys, the last of which comes first."""
    places = np.empty(len(keys[0]), np.int64)
    places[np.lexsort(keys)] = np.arange(len(places))
    return places


def _skipped_by(
    natural: NDArray[np.int64],
    starid: NDArray[np.int64],
    primary: NDArray[np.int64],
    own_status: NDArray[np.integer],
    star: NDArray[np.int64],
    target: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The skip rule for pairs of rows of one group, and the places of all stars from bright to faint."""
    names_primary = starid[target] == primary[star]
    own_primary = np.full(len(primary), -1, np.int64)
    own_primary[star[names_primary]] = target[names_primary]
    # Right after the primary, if it would come before.
    after = np.where(own_primary >= 0, natural[own_primary], -1)
    late = after > natural
    place = _places(natural, late, np.where(late, after, natural))

    has_lightcurve = np.isin(own_status, (STATUS.OK, STATUS.WARNING))
    keep = has_lightcurve[star]
    star, target = star[keep], target[keep]
    order = np.lexsort((natural[target], place[star]))
    star, target = star[order], target[order]
    starts = np.unique(place[star], return_index=True)[1]
    ends = np.append(starts, len(star))[1:].tolist()
    skipped = [-1] * len(place)
    targets = target.tolist()
    before = (place[target] < place[star]).tolist()
    lasting = has_lightcurve[target].tolist()
    for one, start, end in zip(star[starts].tolist(), starts.tolist(), ends, strict=True):
        if skipped[one] >= 0:
            continue
        brighter = [
            targets[i] for i in range(start, end) if before[i] and lasting[i] and skipped[targets[i]] < 0
        ]
        if brighter:
            skipped[one] = int(own_primary[one]) if own_primary[one] in brighter else brighter[0]
            continue
        for i in range(start, end):
            if not before[i] and skipped[targets[i]] < 0:
                skipped[targets[i]] = one
    return np.array(skipped, dtype=np.int64)
