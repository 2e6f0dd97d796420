"""Levels of the sky in the boxes of a frame.

The pixels of a frame are put into the order of its boxes first (`in_boxes`): those of a box then lie side by
side, 16 kB, while in a frame they are spread over half a megabyte.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .jit import helper, kernel
from .sorted_values import sort

__all__ = ["box_levels", "box_means", "central_means", "in_boxes", "quartiles"]

#: Bins that values are counted in to find those of some ranks, values that the bins are found from, and
#: values that are compared with these bins at once.
_BINS, _SAMPLE, _LINE = 1024, 32, 32
#: The key of a value that is not finite: beyond those of all others.
_NO_KEY = np.int32(0x7FFFFFFF)


@kernel
def in_boxes(image, usable, out):
    """Put the pixels of a frame into the order of its boxes.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
    usable : ndarray of bool, shape (R, C)
    out : ndarray of float32, shape (M, N, B, B)
        Set to the rows and columns of the M x N boxes of side B; NaN where a pixel is not usable, and beyond
        the frame's edge.
    """
    n_rows, n_columns = image.shape
    m, n, box, _ = out.shape
    nan = np.float32(np.nan)
    for r in range(m * box):
        for j in range(n):
            line = out[r // box, j, r % box]
            width = min(box, n_columns - j * box) if r < n_rows else 0
            if width < box:
                line[:] = nan
            if width > 0:
                pixels = image[r, j * box : j * box + width]
                use = usable[r, j * box : j * box + width]
                for c in range(width):
                    line[c] = pixels[c] if use[c] else nan


@helper
def _middle(keys):
    """A range that most of the keys of finite values are in, from a few of them."""
    step = max(1, keys.shape[0] // _SAMPLE)
    sample = np.empty(2 * _SAMPLE, dtype=np.int32)
    n = 0
    for i in range(0, keys.shape[0], step):
        sample[n] = keys[i]
        n += 1 if keys[i] != _NO_KEY else 0
    if n == 0:
        return np.int64(0), np.int64(0)
    sort(sample[:n])
    low = np.int64(sample[n // 8])
    high = np.int64(sample[(7 * n) // 8])
    return low - (high - low), high + (high - low)


@helper
def _members(keys, bins, wanted):
    """The keys in any of four bins, sorted."""
    a, b, c, d = wanted[0], wanted[1], wanted[2], wanted[3]
    members = np.empty(bins.size + 1, dtype=np.int32)
    k = 0
    for i in range(bins.shape[0]):
        found = np.uint16(0)
        for j in range(_LINE):
            x = bins[i, j]
            found |= np.uint16((x == a) | (x == b) | (x == c) | (x == d))
        if found:
            for j in range(_LINE):
                x = bins[i, j]
                members[k] = keys[i, j]
                k += 1 if (x == a) | (x == b) | (x == c) | (x == d) else 0
    members = members[:k]
    sort(members)
    return members


@helper
def quartiles(values, n):
    """First quartile, the two values in the middle, and third quartile of the finite values.

    The values are counted in bins, and only those of the bins that hold these four are sorted.

    Parameters
    ----------
    values : ndarray of float32, shape (N,)
        At least one of them finite.
    n : int
        How many are finite.

    Returns
    -------
    first, lower, upper, third : float
        Those of rank n // 4, (n - 1) // 2, n // 2 and 3 n // 4, 0 being that of the smallest value.
    """
    size = values.shape[0]
    lines = (size + _LINE - 1) // _LINE
    keys = np.empty(lines * _LINE, dtype=np.int32)
    for i in range(size, lines * _LINE):
        keys[i] = _NO_KEY
    bits = values.view(np.int32)
    for i in range(size):
        # The bits of IEEE numbers sort like the numbers once all but the sign are flipped in negative ones.
        finite = (bits[i] & 0x7FFFFFFF) < 0x7F800000
        keys[i] = bits[i] ^ ((bits[i] >> 31) & 0x7FFFFFFF) if finite else _NO_KEY
    # The bins are those of the middle of the values; the first and the last one have all that is beyond.
    low, high = _middle(keys)
    shift = 0
    while (high - low) >> shift >= _BINS:
        shift += 1
    bins = np.empty(lines * _LINE, dtype=np.uint16)
    for i in range(lines * _LINE):
        bins[i] = min(max((keys[i] - low) >> shift, 0), _BINS - 1)
    counts = np.empty(_BINS, dtype=np.int32)
    for i in range(_BINS):
        counts[i] = 0
    for i in range(lines * _LINE):
        counts[bins[i]] += 1
    wanted = np.empty(4, dtype=np.uint16)
    places = np.empty(4, dtype=np.int64)
    # Values in the bins below, and those of them that are in none of the bins so far.
    j = 0
    below = 0
    left_out = 0
    for q, rank in enumerate((n // 4, (n - 1) // 2, n // 2, (3 * n) // 4)):
        while rank >= below + counts[j]:
            left_out += 0 if q > 0 and wanted[q - 1] == j else counts[j]
            below += counts[j]
            j += 1
        wanted[q] = j
        places[q] = rank - left_out
    members = _members(keys.reshape(lines, _LINE), bins.reshape(lines, _LINE), wanted)
    found = np.empty(4, dtype=np.float32)
    bits = found.view(np.int32)
    for q in range(4):
        key = members[places[q]]
        bits[q] = key ^ ((key >> 31) & 0x7FFFFFFF)
    return np.float64(found[0]), np.float64(found[1]), np.float64(found[2]), np.float64(found[3])


@helper
def _central_mean(values, n, sigma, near):
    """Mean of those of the n finite ones of some values that `central_means` takes; writes over `near`."""
    first, lower, upper, third = quartiles(values, n)
    middle = 0.5 * (lower + upper)
    reach = sigma * (third - first) / 1.349
    count = 0
    for i in range(values.shape[0]):
        d = values[i] - middle
        near[i] = d if abs(d) <= reach else 0.0
        count += 1 if abs(d) <= reach else 0
    # Four sums that do not wait for each other.
    whole = near.shape[0] - near.shape[0] % 4
    t0 = t1 = t2 = t3 = 0.0
    for i in range(0, whole, 4):
        t0 += near[i]
        t1 += near[i + 1]
        t2 += near[i + 2]
        t3 += near[i + 3]
    for i in range(whole, near.shape[0]):
        t0 += near[i]
    return middle + ((t0 + t1) + (t2 + t3)) / count


@kernel
def central_means(groups, wanted, fewest, sigma):
    """Mean of those values of a group that are within `sigma` standard deviations of the group's median.

    The standard deviation is that of a normal distribution with the same quartiles.

    Parameters
    ----------
    groups : ndarray of float32, shape (K, P)
        Values that are not finite do not count.
    wanted : ndarray of bool, shape (K,)
        Groups to compute.
    fewest : float
        A group must have more values than this.
    sigma : float

    Returns
    -------
    means : ndarray, shape (K,)
        NaN where a group has too few values or is not wanted.
    counts : ndarray of int64, shape (K,)
        How many values of each group are finite; 0 where it is not wanted.
    """
    means = np.empty(wanted.shape[0])
    counts = np.empty(wanted.shape[0], dtype=np.int64)
    near = np.empty(groups.shape[1])
    for k in range(wanted.shape[0]):
        n = np.int64(0)
        if wanted[k]:
            for i in range(groups.shape[1]):
                n += 1 if abs(groups[k, i]) < math.inf else 0
        counts[k] = n
        means[k] = _central_mean(groups[k], n, sigma, near) if n > fewest else math.nan
    return means, counts


@helper
def _clipped_level(values, n, sigma, rounds):
    """SExtractor's mode of n sorted values after sigma clipping, and how many values are left.

    Sums are of differences from the median, which are exact enough to take out what is clipped.
    """
    shift = np.float64(values[n // 2])
    s0 = s1 = s2 = s3 = 0.0
    q0 = q1 = q2 = q3 = 0.0
    whole = n - n % 4
    # Four sums that do not wait for each other.
    for i in range(0, whole, 4):
        d0 = values[i] - shift
        d1 = values[i + 1] - shift
        d2 = values[i + 2] - shift
        d3 = values[i + 3] - shift
        s0 += d0
        s1 += d1
        s2 += d2
        s3 += d3
        q0 += d0 * d0
        q1 += d1 * d1
        q2 += d2 * d2
        q3 += d3 * d3
    for i in range(whole, n):
        d = values[i] - shift
        s0 += d
        q0 += d * d
    total = (s0 + s1) + (s2 + s3)
    squares = (q0 + q1) + (q2 + q3)
    low = 0
    high = n
    median = 0.0
    mean = 0.0
    std = 0.0
    for k in range(rounds + 1):
        count = high - low
        middle = low + count // 2
        median = np.float64(values[middle])
        if count % 2 == 0:
            median = 0.5 * (median + values[middle - 1])
        mean = total / count
        std = math.sqrt(max(squares / count - mean * mean, 0.0))
        mean += shift
        if k == rounds:
            break
        before = count
        while low < high - 1 and values[low] < median - sigma * std:
            d = values[low] - shift
            total -= d
            squares -= d * d
            low += 1
        while high > low + 1 and values[high - 1] > median + sigma * std:
            high -= 1
            d = values[high] - shift
            total -= d
            squares -= d * d
        if high - low == before:
            break
    if std == 0.0:
        level = mean
    elif abs(mean - median) / std >= 0.3:
        level = median
    else:
        level = 2.5 * median - 1.5 * mean
    return level, high - low


def box_levels(
    boxes: NDArray[np.float32], wanted: NDArray[np.bool_], fewest: float, sigma: float, rounds: int
) -> NDArray[np.float64]:
    """Level of the sky in every box of a frame.

    Values beyond `sigma` standard deviations from the median are clipped, in up to `rounds` rounds;
    of the rest SExtractor's mode is taken (Bertin & Arnouts 1996): 2.5 median - 1.5 mean, or the median
    where mean and median are 0.3 standard deviations or more apart.

    Parameters
    ----------
    boxes : ndarray of float32, shape (M, N, B, B)
        From `in_boxes`; NaN where a pixel is not to be used.
    wanted : ndarray of bool, shape (M, N)
        Boxes to compute.
    fewest : float
        A box must have more values than this after clipping.
    sigma : float
    rounds : int

    Returns
    -------
    ndarray, shape (M, N)
        NaN where a box has too few values or is not wanted.
    """
    levels = np.full(wanted.shape, np.nan)
    # A row at a time: it fits into the processor's cache.
    for i, row in enumerate(wanted):
        values = boxes[i, row].reshape(-1, boxes.shape[2] * boxes.shape[3])
        values.sort(axis=1)
        levels[i, row] = _clipped_levels(values, fewest, sigma, rounds)
    return levels


@kernel
def _clipped_levels(values, fewest, sigma, rounds):
    """The levels of `box_levels`, of the sorted values of some boxes, shape (K, P), NaN last."""
    out = np.empty(values.shape[0])
    for k in range(values.shape[0]):
        out[k] = math.nan
        n = np.int64(values.shape[1])
        while n > 0 and math.isnan(values[k, n - 1]):
            n -= 1
        if n > fewest:
            level, left = _clipped_level(values[k], n, sigma, rounds)
            if left > fewest:
                out[k] = level
    return out


def box_means(
    boxes: NDArray[np.float32], wanted: NDArray[np.bool_], fewest: float, sigma: float
) -> NDArray[np.float64]:
    """Mean of what is not far from the median, in every box of a frame without stars; see `central_means`.

    Parameters
    ----------
    boxes, wanted, fewest, sigma
        As `box_levels`.

    Returns
    -------
    ndarray, shape (3, M, N)
        The means, and how far the mean (row, column) of a box's values is from the box's middle, in boxes.
        NaN where a box has too few values or is not wanted.
    """
    m, n, side, _ = boxes.shape
    means, counts = central_means(boxes.reshape(m * n, -1), wanted.ravel(), fewest, sigma)
    out = np.full((3, m, n), np.nan)
    out[0] = means.reshape(m, n)
    counts = counts.reshape(m, n)
    known = np.isfinite(out[0])
    out[1:, known] = 0.0
    # A row at a time, as above.
    for i, parts in enumerate(known & (counts < side * side)):
        finite = np.isfinite(boxes[i, parts])
        for offset, axis in zip(out[1:, i], (2, 1), strict=True):
            mean = finite.sum(axis=axis) @ np.arange(side) / counts[i, parts]
            offset[parts] = (mean + 0.5) / side - 0.5
    return out
