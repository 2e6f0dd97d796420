"""Segments made into masks: small ones dropped, holes filled, saturated columns followed to their ends."""

from __future__ import annotations

import math

import numpy as np

from .filled import filled
from .jit import helper
from .sorted_values import insertion_sort

__all__ = ["extend_columns", "highest_pixels", "saturated_run", "summed_tmag", "tidy_segments"]


@helper
def summed_tmag(labels, count, rows, columns, tmags):
    """Magnitude of all stars together whose rounded pixel has a label.

    Parameters
    ----------
    labels : ndarray of int32, shape (R, C)
        Numbers from 1 to `count`, 0 for none.
    count : int
    rows, columns, tmags : ndarray of float64, shape (N,)
        Positions in the image (0-based) and magnitudes; a star with a NaN is left out. Brightest star first:
        so the sum does not depend on the order of the catalog.

    Returns
    -------
    ndarray of float64, shape (count,)
        Infinite where there is no star.
    """
    n_row, n_col = labels.shape
    flux = filled(count, 0.0)
    for s in range(tmags.shape[0]):
        row = np.rint(rows[s])
        column = np.rint(columns[s])
        if 0 <= row < n_row and 0 <= column < n_col and tmags[s] == tmags[s]:
            k = labels[np.int64(row), np.int64(column)]
            if k > 0:
                flux[k - 1] += 10.0 ** (-0.4 * tmags[s])
    out = filled(count, math.inf)
    for k in range(count):
        if flux[k] > 0.0:
            out[k] = -2.5 * math.log10(flux[k])
    return out


@helper
def highest_pixels(image, labels, count):
    """The largest value of the image in each label from 1 to `count`; shape (count,)."""
    out = filled(count, -math.inf)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            k = labels[r, c] - 1
            if k >= 0:
                out[k] = max(out[k], image[r, c])
    return out


@helper
def _median(values):
    """Median of a few values, whose order changes; the function for many takes long to compile."""
    insertion_sort(values)
    half = values.shape[0] // 2
    if values.shape[0] % 2 == 1:
        return values[half]
    return (values[half - 1] + values[half]) / 2


@helper
def saturated_run(image, significant, labels, label, column, highest, ratio):
    """Rows of a column that a saturated star of one label fills.

    A column of the label is saturated if the median difference from pixel to pixel along it is less than
    `ratio` times its maximum (the charge has bled: it is flat) and its median is at least half the maximum
    of the label.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
    significant : ndarray of bool, shape (R, C)
    labels : ndarray of int32, shape (R, C)
    label, column : int
    highest : float
        Maximum of the label.
    ratio : float

    Returns
    -------
    first, last : int
        Half-open range of significant pixels around the label's brightest pixel in the column; (0, 0) for
        a column that is not saturated, or that has fewer than two pixels of the label.
    """
    n_row = image.shape[0]
    values = np.empty(n_row)
    steps = np.empty(n_row)
    n = np.int64(0)
    peak = 0
    for r in range(n_row):
        if labels[r, column] == label:
            if n == 0 or image[r, column] > image[peak, column]:
                peak = r
            values[n] = image[r, column]
            if n > 0:
                steps[n - 1] = values[n] - values[n - 1]
            n += 1
    if n < 2:
        return 0, 0
    if not abs(_median(steps[: n - 1])) / image[peak, column] < ratio:
        return 0, 0
    if not _median(values[:n]) >= 0.5 * highest:
        return 0, 0
    first = peak
    while first > 0 and significant[first - 1, column]:
        first -= 1
    last = peak + 1
    while last < n_row and significant[last, column]:
        last += 1
    return first, last


@helper
def tidy_segments(image, segments, count, min_pixels):
    """Drop small segments, number the others anew, fill single holes.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
        A pixel that is NaN is not filled.
    segments : ndarray of int32, shape (R, C)
        Numbers from 1 to `count`, 0 for none.
    count : int
    min_pixels : int
        Segments of fewer pixels are dropped.

    Returns
    -------
    labels : ndarray of int32, shape (R, C)
        The segments that stay in their old order from 1 on, with every free pixel whose four neighbours
        are all in one of them.
    number : int
    """
    n_row, n_col = segments.shape
    size = np.empty(count + 1, dtype=np.int64)
    for k in range(count + 1):
        size[k] = 0
    for r in range(n_row):
        for c in range(n_col):
            size[segments[r, c]] += 1
    # From here on the new numbers.
    number = 0
    size[0] = 0
    for k in range(1, count + 1):
        stays = size[k] >= min_pixels and size[k] > 0
        number += 1 if stays else 0
        size[k] = number if stays else 0
    labels = np.empty((n_row, n_col), dtype=np.int32)
    for r in range(n_row):
        for c in range(n_col):
            labels[r, c] = size[segments[r, c]]
    # A hole that is filled is next to no other one: all of its neighbours had a number.
    for r in range(1, n_row - 1):
        for c in range(1, n_col - 1):
            k = labels[r - 1, c]
            around = labels[r + 1, c] == k and labels[r, c - 1] == k and labels[r, c + 1] == k
            if labels[r, c] == 0 and k > 0 and around and math.isfinite(image[r, c]):
                labels[r, c] = k
    return labels, number


@helper
def extend_columns(image, significant, labels, count, rows, columns, tmags, bright_tmag, ratio):
    """Pixels that bright masks gain by following their saturated columns.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
    significant : ndarray of bool, shape (R, C)
    labels : ndarray of int32, shape (R, C)
        Masks before, numbers from 1 to `count`.
    count : int
    rows, columns, tmags : ndarray of float64, shape (N,)
        Stars, brightest first: position in the image (0-based) and magnitude.
    bright_tmag : float
        Only masks whose stars together are at least this bright are extended.
    ratio : float
        See `saturated_run`.

    Returns
    -------
    ndarray of int32, shape (E, 3)
        Label, row and column (0-based) of each pixel gained. It may belong to another mask, too.
    """
    n_col = image.shape[1]
    totals = summed_tmag(labels, count, rows, columns, tmags)
    highest = highest_pixels(image, labels, count)
    number = 0
    for k in range(count):
        number += totals[k] <= bright_tmag
    out = np.empty((number * image.size, 3), dtype=np.int32)
    n = 0
    for k in range(count):
        if not totals[k] <= bright_tmag:
            continue
        for c in range(n_col):
            first, last = saturated_run(image, significant, labels, k + 1, c, highest[k], ratio)
            for r in range(first, last):
                if labels[r, c] != k + 1:
                    out[n, 0] = k + 1
                    out[n, 1] = r
                    out[n, 2] = c
                    n += 1
    return out[:n]
