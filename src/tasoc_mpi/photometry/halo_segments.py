"""The parts of a time series with weights of their own, and the level of the light curve across them."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPLITS", "between_gaps", "join_short", "match_levels", "split_series"]

#: Times at which the pointing of a sector changed, BJD - 2457000.
SPLITS = {1: (1339.0, 1347.366, 1349.315), 2: (1368.0,), 3: (1395.52,), 8: (1529.5,)}

Segment = tuple[int, int]


def split_series(
    time: NDArray[np.float64], good: NDArray[np.bool_], times: tuple[float, ...], gap: float
) -> list[Segment]:
    """Half-open ranges of frames: a new one begins at each of the times, and after each gap.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Days, ascending.
    good : ndarray of bool, shape (T,)
        Frames that count: a gap is one between these.
    times : tuple of float
        Days.
    gap : float
        Days without a good frame.

    Examples
    --------
    >>> time = np.array([0.0, 0.1, 0.2, 1.0, 1.1, 1.2])
    >>> split_series(time, np.ones(6, bool), (1.15,), 0.5)
    [(0, 3), (3, 5), (5, 6)]
    """
    begins = {0, *np.searchsorted(time, times).tolist()}
    (known,) = np.nonzero(good)
    begins |= set(known[1:][np.diff(time[known]) > gap].tolist())
    edges = sorted(begin for begin in begins if begin < len(time))
    return list(zip(edges, [*edges[1:], len(time)], strict=True))


def join_short(
    segments: list[Segment], time: NDArray[np.float64], good: NDArray[np.bool_], fewest: int
) -> tuple[list[Segment], list[Segment]]:
    """Join segments with fewer good frames than `fewest` to the neighbour that is closer in time.

    Returns
    -------
    (list, list)
        The segments, and those that were too short.

    Examples
    --------
    >>> time = np.array([0.0, 0.1, 0.2, 1.0, 5.0, 5.1, 5.2])
    >>> join_short([(0, 3), (3, 4), (4, 7)], time, np.ones(7, bool), 2)
    ([(0, 4), (4, 7)], [(3, 4)])
    """
    segments, short = list(segments), []
    while len(segments) > 1:
        frames = [int(good[a:b].sum()) for a, b in segments]
        k = int(np.argmin(frames))
        if frames[k] >= fewest:
            break
        begin, end = segments[k]
        if frames[k]:  # one without any good frame is nobody's loss
            short.append((begin, end))
        before = time[begin] - time[begin - 1] if k > 0 else np.inf
        after = time[end] - time[end - 1] if k < len(segments) - 1 else np.inf
        first = k - 1 if before <= after else k
        segments[first : first + 2] = [(segments[first][0], segments[first + 1][1])]
    return segments, short


def between_gaps(
    segments: list[Segment], time: NDArray[np.float64], good: NDArray[np.bool_], gap: float
) -> list[list[Segment]]:
    """Groups of successive segments without a gap of good frames between them.

    Examples
    --------
    >>> time = np.array([0.0, 0.1, 0.2, 0.3, 5.0, 5.1])
    >>> between_gaps([(0, 2), (2, 4), (4, 6)], time, np.ones(6, bool), 0.5)
    [[(0, 2), (2, 4)], [(4, 6)]]
    """
    groups = [[segments[0]]]
    for before, after in itertools.pairwise(segments):
        last, first = (time[begin:end][good[begin:end]] for begin, end in (before, after))
        if len(last) and len(first) and first[0] - last[-1] <= gap:
            groups[-1].append(after)
        else:
            groups.append([after])
    return groups


def match_levels(
    time: NDArray[np.float64],
    good: NDArray[np.bool_],
    segments: list[Segment],
    own: NDArray[np.float64],
    common: NDArray[np.float64],
    window: float = 1.0,
) -> NDArray[np.float64]:
    """Factors that make a light curve continuous across its segments.

    A light curve with common weights has no steps but those of the star. On both sides of a split, the light
    curve with weights of its own gets the level of that one, so a change of the star itself stays.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Days.
    good : ndarray of bool, shape (T,)
    segments : list of (int, int)
    own, common : ndarray, shape (T,)
        Light curves with weights of each segment, and with the same weights everywhere.
    window : float
        Days on each side of a split that are compared.

    Returns
    -------
    ndarray, shape (T,)
        To be multiplied with `own`; 1 in the first segment.
    """
    factors, factor = np.ones(len(time)), 1.0
    ratio = own / common
    for (begin, split), (_, end) in itertools.pairwise(segments):
        before, after = good.copy(), good.copy()
        before[:begin] = before[split:] = after[:split] = after[end:] = False
        if before.any() and after.any():
            before &= time > time[before].max() - window
            after &= time < time[after].min() + window
            factor *= float(np.median(ratio[before]) / np.median(ratio[after]))
        factors[split:end] = factor
    return factors
