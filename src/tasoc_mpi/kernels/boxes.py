"""Levels of the sky in the boxes of a frame."""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel

__all__ = ["box_levels", "box_means", "central_mean", "sort", "values_of_ranks"]

#: Bits of one pass of the radix sort; three passes sort 32 bits.
_RADIX = 11
#: Bins that values are counted in to find the one of a rank, and how many values are sorted in the end.
_BINS, _FEW = 1024, 32


@kernel
def sort(values):
    """Sort float32 values in place: three counting passes over their bits.

    The 1,024 boxes of a frame take 23 ms, copying included; `numpy.sort` with AVX-512 takes 50 ms. The bits
    of IEEE numbers sort like the numbers once the sign bit is flipped in positive ones and all bits in
    negative ones.
    """
    n = values.shape[0]
    bits = values.view(np.uint32)
    keys = np.empty(n, dtype=np.uint32)
    other = np.empty(n, dtype=np.uint32)
    counts = np.zeros((3, 1 << _RADIX), dtype=np.int64)
    size = 1 << _RADIX
    mask = np.uint32(size - 1)
    sign = np.uint32(0x80000000)
    full = np.uint32(0xFFFFFFFF)
    for i in range(n):
        b = bits[i]
        key = b ^ full if b & sign else b ^ sign
        keys[i] = key
        counts[0, key & mask] += 1
        counts[1, (key >> np.uint32(_RADIX)) & mask] += 1
        counts[2, key >> np.uint32(2 * _RADIX)] += 1
    for p in range(3):
        total = 0
        for j in range(size):
            c = counts[p, j]
            counts[p, j] = total
            total += c
    a = keys
    b_ = other
    for p in range(3):
        shift = np.uint32(p * _RADIX)
        for i in range(n):
            key = a[i]
            digit = (key >> shift) & mask
            b_[counts[p, digit]] = key
            counts[p, digit] += 1
        a, b_ = b_, a
    for i in range(n):
        key = a[i]
        bits[i] = key ^ sign if key & sign else key ^ full


@helper
def _key_of_rank(keys, rank):
    """The key that would be at a place if all were sorted."""
    n = keys.shape[0]
    members = np.empty(n, dtype=np.int32)
    bins = np.empty(n, dtype=np.uint16)
    counts = np.empty(_BINS, dtype=np.int32)
    while n > _FEW:
        low = np.int64(keys[0])
        high = low
        for i in range(n):
            low = min(low, np.int64(keys[i]))
            high = max(high, np.int64(keys[i]))
        if low == high:
            return low
        shift = _bin_shift(low, high)
        counts[:] = 0
        for i in range(n):
            bins[i] = (keys[i] - low) >> shift
        for i in range(n):
            counts[bins[i]] += 1
        j, rank = _bin_of_rank(counts, rank)
        k = 0
        for i in range(n):
            if bins[i] == j:
                members[k] = keys[i]
                k += 1
        keys = members
        n = k
    for i in range(n):
        members[i] = keys[i]
    _sort_few(members, n)
    return np.int64(members[rank])


@helper
def _sort_few(keys, n):
    """Sort the first `n` keys by insertion."""
    for i in range(1, n):
        key = keys[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key


@helper
def _middle(keys):
    """A range that most of the keys are in, from a few of them."""
    n = keys.shape[0]
    step = max(1, n // _FEW)
    count = (n + step - 1) // step
    sample = np.empty(count, dtype=np.int32)
    for i in range(count):
        sample[i] = keys[i * step]
    _sort_few(sample, count)
    low = np.int64(sample[count // 8])
    high = np.int64(sample[(7 * count) // 8])
    return low - (high - low), high + (high - low)


@helper(inline="always")
def _bin_shift(low, high):
    """By how many bits keys are shifted to tell their bin."""
    shift = 0
    while (high - low) >> shift >= _BINS:
        shift += 1
    return shift


@helper(inline="always")
def _bin_of_rank(counts, rank):
    """The bin of a rank, and the rank in it."""
    j = 0
    while rank >= counts[j]:
        rank -= counts[j]
        j += 1
    return j, rank


@kernel
def values_of_ranks(values, ranks):
    """Values that would be at some places if all were sorted.

    The boxes of a frame without stars need three of their 4,096 values in order, and no others.

    Parameters
    ----------
    values : ndarray of float32, shape (N,)
        At least one, all finite.
    ranks : ndarray of int64, shape (K,)
        0 is that of the smallest value.

    Returns
    -------
    ndarray, shape (K,)
    """
    n = values.shape[0]
    keys = np.empty(n, dtype=np.int32)
    members = np.empty(n, dtype=np.int32)
    bins = np.empty(n, dtype=np.uint16)
    counts = np.zeros(_BINS, dtype=np.int32)
    bits = values.view(np.int32)
    for i in range(n):
        # The bits of IEEE numbers sort like the numbers once all but the sign are flipped in negative ones.
        keys[i] = bits[i] ^ ((bits[i] >> 31) & 0x7FFFFFFF)
    # The bins are those of the middle of the values; the first and the last one have all that is beyond.
    low, high = _middle(keys)
    shift = _bin_shift(low, high)
    for i in range(n):
        bins[i] = min(max((keys[i] - low) >> shift, 0), _BINS - 1)
    for i in range(n):
        counts[bins[i]] += 1
    found = np.empty(ranks.shape[0], dtype=np.int32)
    last = -1
    k = 0
    for q in range(ranks.shape[0]):
        j, rank = _bin_of_rank(counts, ranks[q])
        if j != last:
            k = 0
            for i in range(n):
                if bins[i] == j:
                    members[k] = keys[i]
                    k += 1
            last = j
        key = _key_of_rank(members[:k], rank)
        found[q] = key ^ ((key >> 31) & 0x7FFFFFFF)
    return found.view(np.float32).astype(np.float64)


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


@kernel
def central_mean(values, sigma):
    """Mean of those values, in any order, that are within `sigma` standard deviations of the median.

    The standard deviation is that of a normal distribution with the same quartiles.
    """
    n = values.shape[0]
    ranks = np.array([(n - 1) // 2, n // 2, n // 4, (3 * n) // 4])
    lower, upper, first, third = values_of_ranks(values, ranks)
    middle = 0.5 * (lower + upper)
    reach = sigma * (third - first) / 1.349
    count = 0
    # Four sums that do not wait for each other.
    whole = n - n % 4
    t0 = t1 = t2 = t3 = 0.0
    for i in range(0, whole, 4):
        d0 = values[i] - middle
        d1 = values[i + 1] - middle
        d2 = values[i + 2] - middle
        d3 = values[i + 3] - middle
        t0 += d0 if abs(d0) <= reach else 0.0
        t1 += d1 if abs(d1) <= reach else 0.0
        t2 += d2 if abs(d2) <= reach else 0.0
        t3 += d3 if abs(d3) <= reach else 0.0
        count += (abs(d0) <= reach) + (abs(d1) <= reach) + (abs(d2) <= reach) + (abs(d3) <= reach)
    for i in range(whole, n):
        d = values[i] - middle
        if abs(d) <= reach:
            t0 += d
            count += 1
    return middle + ((t0 + t1) + (t2 + t3)) / count


@helper
def _box_values(image, box, i, j, values):
    """Put the finite values of a box one after the other, and count them."""
    k = 0
    c0 = j * box
    c1 = min(c0 + box, image.shape[1])
    for r in range(i * box, min((i + 1) * box, image.shape[0])):
        row = image[r, c0:c1]
        finite = 0
        for c in range(c1 - c0):
            finite += 1 if abs(row[c]) < np.float32(np.inf) else 0
        if finite == c1 - c0:
            for c in range(c1 - c0):
                values[k + c] = row[c]
            k += finite
            continue
        for c in range(c1 - c0):
            if math.isfinite(row[c]):
                values[k] = row[c]
                k += 1
    return k


@helper
def _box_place(image, box, i, j, count):
    """Mean row and column (0-based, of the frame) of the `count` finite values of a box."""
    r0, c0 = i * box, j * box
    r1, c1 = min(r0 + box, image.shape[0]), min(c0 + box, image.shape[1])
    rows = 0
    columns = 0
    if count == (r1 - r0) * (c1 - c0):
        rows = (c1 - c0) * ((r0 + r1 - 1) * (r1 - r0) // 2)
        columns = (r1 - r0) * ((c0 + c1 - 1) * (c1 - c0) // 2)
        return rows / count, columns / count
    for r in range(r0, r1):
        for c in range(c0, c1):
            if math.isfinite(image[r, c]):
                rows += r
                columns += c
    return rows / count, columns / count


@kernel
def box_levels(image, box, wanted, fewest, sigma, rounds):
    """Level of the sky in every box of a frame.

    Values beyond `sigma` standard deviations from the median are clipped, in up to `rounds` rounds;
    of the rest SExtractor's mode is taken (Bertin & Arnouts 1996): 2.5 median - 1.5 mean, or the median
    where mean and median are 0.3 standard deviations or more apart.

    Parameters
    ----------
    image : ndarray of float32, shape (R, C)
        NaN where a pixel is not to be used.
    box : int
        Side of a box, pixels; the last boxes may be cut off by the frame's edge.
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
    m = (image.shape[0] + box - 1) // box
    n = (image.shape[1] + box - 1) // box
    out = np.empty((m, n))
    values = np.empty(box * box, dtype=np.float32)
    for i in range(m):
        for j in range(n):
            out[i, j] = math.nan
            if not wanted[i, j]:
                continue
            k = _box_values(image, box, i, j, values)
            if k > fewest:
                sort(values[:k])
                level, left = _clipped_level(values, k, sigma, rounds)
                if left > fewest:
                    out[i, j] = level
    return out


@kernel
def box_means(image, box, wanted, fewest, sigma):
    """Mean of what is not far from the median, in every box of a frame without stars; see `central_mean`.

    Parameters
    ----------
    image, box, wanted, fewest
        As `box_levels`.
    sigma : float

    Returns
    -------
    ndarray, shape (3, M, N)
        The means, and how far the mean (row, column) of a box's values is from the box's middle, in boxes.
        NaN where a box has too few values or is not wanted.
    """
    m = (image.shape[0] + box - 1) // box
    n = (image.shape[1] + box - 1) // box
    out = np.full((3, m, n), math.nan)
    values = np.empty(box * box, dtype=np.float32)
    for i in range(m):
        for j in range(n):
            if not wanted[i, j]:
                continue
            k = _box_values(image, box, i, j, values)
            if k > fewest:
                out[0, i, j] = central_mean(values[:k], sigma)
                row, column = _box_place(image, box, i, j, k)
                out[1, i, j] = (row + 0.5) / box - (i + 0.5)
                out[2, i, j] = (column + 0.5) / box - (j + 0.5)
    return out
