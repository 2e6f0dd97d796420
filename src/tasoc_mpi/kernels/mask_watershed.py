"""One segment a star: markers in each cluster of significant pixels, and the watershed from them."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from .filled import no_pixels
from .jit import helper
from .mask_cluster import label_connected
from .mask_saturated import highest_pixels, saturated_run, summed_tmag

__all__ = ["blur_weights", "flood", "smooth", "watershed_markers"]


@helper
def _mirror(i, n):
    """Index mirrored at the outer edges of the first and last pixel (c b a | a b c | c b a)."""
    while i < 0 or i >= n:
        i = -1 - i if i < 0 else 2 * n - 1 - i
    return i


@functools.lru_cache(16)
def blur_weights(sigma: float) -> NDArray[np.float64]:
    """Weights of a pixel and of those 1, 2, ... pixels away in a Gaussian cut at 4 sigma; 0 is no blur."""
    weights = [1.0] + [
        math.exp(-0.5 * ((k / sigma) * (k / sigma))) for k in range(1, int(4.0 * sigma + 0.5) + 1)
    ]
    # Not by `sum`, which adds more exactly from Python 3.12 on: masks are the same in all versions.
    total = 0.0
    for weight in weights:
        total += weight
    return np.array(weights) / (2.0 * total - 1.0)


@helper
def _smooth_columns(image, weights):
    """Smooth an image of shape (R, C) along its columns; the result has shape (C, R)."""
    n_row, n_col = image.shape
    out = np.empty((n_col, n_row))
    for r in range(n_row):
        for c in range(n_col):
            value = weights[0] * image[r, c]
            for k in range(1, weights.shape[0]):
                value += weights[k] * (image[_mirror(r - k, n_row), c] + image[_mirror(r + k, n_row), c])
            out[c, r] = value
    return out


@helper
def smooth(image, weights):
    """Image smoothed by a Gaussian, the image continued by its mirror image.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
    weights : ndarray of float64
        From `blur_weights`.

    Returns
    -------
    ndarray of float64, shape (R, C)
        As `scipy.ndimage.gaussian_filter` with its defaults.
    """
    return _smooth_columns(_smooth_columns(image, weights), weights)


@helper
def _boxes(clusters, count):
    """First row, end row, first column and end column of each cluster; shape (count, 4)."""
    n_row, n_col = clusters.shape
    box = np.empty((count, 4), dtype=np.int64)
    for k in range(count):
        box[k, 0], box[k, 1], box[k, 2], box[k, 3] = n_row, 0, n_col, 0
    for r in range(n_row):
        for c in range(n_col):
            k = clusters[r, c] - 1
            if k >= 0:
                box[k, 0] = min(box[k, 0], r)
                box[k, 1] = max(box[k, 1], r + 1)
                box[k, 2] = min(box[k, 2], c)
                box[k, 3] = max(box[k, 3], c + 1)
    return box


@helper
def _lowest(image):
    """The lowest pixel; NaN if one is."""
    lowest = image[0, 0]
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            if not image[r, c] >= lowest:
                lowest = image[r, c]
    return lowest


@helper
def _local_maxima(image, lowest, row, column):
    """Pixels above `lowest` that none of their eight neighbours exceeds, shape (N, 2), and their heights.

    The first pixel of the image is counted as (row, column).
    """
    n_row, n_col = image.shape
    position = np.empty((image.size, 2), dtype=np.int64)
    height = np.empty(image.size)
    n = 0
    for r in range(n_row):
        for c in range(n_col):
            value = image[r, c]
            if not value > lowest:
                continue
            top = True
            for i in range(max(r - 1, 0), min(r + 2, n_row)):
                for j in range(max(c - 1, 0), min(c + 2, n_col)):
                    if image[i, j] > value:
                        top = False
            if top:
                position[n, 0] = row + r
                position[n, 1] = column + c
                height[n] = value
                n += 1
    return position[:n], height[:n]


@helper
def _nearest(position, height, row, column, reach):
    """Index of the candidate nearest to a star within `reach`, else -1. The higher of two as near."""
    best = -1
    least = reach * reach + 1e-9
    for k in range(position.shape[0]):
        distance = (position[k, 0] - row) ** 2 + (position[k, 1] - column) ** 2
        if distance < least or (distance == least and best >= 0 and height[k] > height[best]):
            best = k
            least = distance
    return best


@helper
def _alone(image, clusters, cluster, r0, r1, c0, c1):
    """A part of the image with nothing in it but one cluster."""
    out = np.empty((r1 - r0, c1 - c0))
    for r in range(r0, r1):
        for c in range(c0, c1):
            out[r - r0, c - c0] = image[r, c] if clusters[r, c] == cluster else 0.0
    return out


@helper
def _keep_highest(position, height, chosen, patches):
    """Of the chosen candidates in one patch only the highest stays (the first of equally high ones)."""
    n = position.shape[0]
    for k in range(n):
        patch = patches[position[k, 0], position[k, 1]]
        if not chosen[k] or patch == 0:
            continue
        for m in range(n):
            rival = m != k and chosen[m] and patches[position[m, 0], position[m, 1]] == patch
            if rival and (height[m] > height[k] or (height[m] == height[k] and m < k)):
                chosen[k] = False
                break


@helper
def watershed_markers(
    image, significant, clusters, count, rows, columns, tmags,
    blur, reach, reach_bright, bright_tmag, ratio, sides,
):  # fmt: skip
    """Where the watershed of each cluster starts: the local maxima that belong to a catalog star.

    Candidates are the local maxima (3 x 3 pixels, edges of the image too, above the image's minimum) of
    the cluster's flux, zero elsewhere, smoothed. The candidate nearest to a star, if near enough, becomes
    a marker. A bright star saturates pixels, whose noise is no sign of stars: of the markers in one
    4-connected patch of saturated pixels only the highest stays.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
        Sum image, e-/s.
    significant : ndarray of bool, shape (R, C)
    clusters : ndarray of int32, shape (R, C)
        Numbers of the clusters from 1 to `count`.
    count : int
    rows, columns, tmags : ndarray of float64, shape (N,)
        Stars, brightest first: position in the image (0-based) and magnitude. One with a NaN takes no marker.
    blur : ndarray of float64
        From `blur_weights`.
    reach, reach_bright : float
        Largest distance of a marker from its star, pixels; `reach_bright` up to magnitude `bright_tmag`.
    bright_tmag : float
        Clusters whose stars together are at least this bright may be saturated.
    ratio : float
        See `mask_saturated.saturated_run`.
    sides : ndarray of int64, shape (4, 2)
        ``disc(1.0)``.

    Returns
    -------
    markers : ndarray of int32, shape (R, C)
        Numbers from 1 on in order of the pixels; 4-connected markers have the same number.
    number : int
        The largest number.
    candidates : ndarray of bool, shape (R, C)
    patches : ndarray of bool, shape (R, C)
        Saturated pixels as found in the unsplit clusters.
    """
    n_row, n_col = image.shape
    marked = no_pixels(n_row, n_col)
    candidates = no_pixels(n_row, n_col)
    patches = no_pixels(n_row, n_col)
    margin = blur.shape[0]
    furthest = max(reach, reach_bright) + 1.0
    boxes = _boxes(clusters, count)
    totals = summed_tmag(clusters, count, rows, columns, tmags)
    highest = highest_pixels(image, clusters, count)
    for k in range(count):
        r0, r1 = max(boxes[k, 0] - margin, 0), min(boxes[k, 1] + margin, n_row)
        c0, c1 = max(boxes[k, 2] - margin, 0), min(boxes[k, 3] + margin, n_col)
        flux = smooth(_alone(image, clusters, k + 1, r0, r1, c0, c1), blur)
        position, height = _local_maxima(flux, _lowest(flux) if flux.size == image.size else 0.0, r0, c0)
        chosen = np.empty(position.shape[0], dtype=np.bool_)
        for m in range(position.shape[0]):
            chosen[m] = False
        for s in range(rows.shape[0]):
            near = r0 - furthest < rows[s] < r1 + furthest and c0 - furthest < columns[s] < c1 + furthest
            if near and tmags[s] == tmags[s]:
                limit = reach_bright if tmags[s] <= bright_tmag else reach
                best = _nearest(position, height, rows[s], columns[s], limit)
                if best >= 0:
                    chosen[best] = True
        if totals[k] <= bright_tmag:
            own = no_pixels(n_row, n_col)
            for c in range(n_col):
                first, last = saturated_run(image, significant, clusters, k + 1, c, highest[k], ratio)
                for r in range(first, last):
                    own[r, c] = patches[r, c] = True
            _keep_highest(position, height, chosen, label_connected(own, sides)[0])
        for m in range(position.shape[0]):
            candidates[position[m, 0], position[m, 1]] = True
            if chosen[m]:
                marked[position[m, 0], position[m, 1]] = True
    markers, number = label_connected(marked, sides)
    return markers, number, candidates, patches


@helper
def _add_waiting(heights, ages, pixels, n, height, age, pixel):
    """Add a pixel, younger than all, to a binary heap of `n` of them."""
    while n > 0 and height > heights[(n - 1) // 2]:
        above = (n - 1) // 2
        heights[n], ages[n], pixels[n] = heights[above], ages[above], pixels[above]
        n = above
    heights[n], ages[n], pixels[n] = height, age, pixel


@helper
def _before(heights, ages, i, j):
    """Whether entry `i` of the heap comes before entry `j`: higher, or as high and older."""
    return heights[i] > heights[j] or (heights[i] == heights[j] and ages[i] < ages[j])


@helper
def _take_first(heights, ages, pixels, last):
    """Take the first pixel out of a heap whose last entry is `last`, which moves up."""
    first = pixels[0]
    i = np.int64(0)
    child = np.int64(1)
    while child < last:
        if child + 1 < last and _before(heights, ages, child + 1, child):
            child += 1
        if _before(heights, ages, last, child):
            break
        heights[i], ages[i], pixels[i] = heights[child], ages[child], pixels[child]
        i = child
        child = 2 * i + 1
    heights[i], ages[i], pixels[i] = heights[last], ages[last], pixels[last]
    return first


@helper
def flood(image, inside, markers, sides):
    """Watershed by flooding from markers (Meyer 1991), the highest pixels first.

    The next pixel is the highest one that touches a flooded one; of equally high pixels the one that was
    reached first; the sides of a pixel are taken in the order of `disc`, and markers in that of the pixels.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
        Its negative is flooded.
    inside : ndarray of int32, shape (R, C)
        Where it is not 0 the flood may go. Flood runs over the sides of pixels, not over their corners.
    markers : ndarray of int32, shape (R, C)
        Positive where the flood starts.
    sides : ndarray of int64, shape (4, 2)
        ``disc(1.0)``.

    Returns
    -------
    ndarray of int32, shape (R, C)
        The number of the marker that reached each pixel; 0 where none did.
    """
    n_row, n_col = image.shape
    labels = np.empty((n_row, n_col), dtype=np.int32)
    heights = np.empty(image.size)
    ages = np.empty(image.size, dtype=np.int64)
    pixels = np.empty(image.size, dtype=np.int64)
    # Not the literal 0, for which functions would be compiled once more.
    n = np.int64(0)
    age = np.int64(0)
    for r in range(n_row):
        for c in range(n_col):
            labels[r, c] = 0
            if markers[r, c] > 0 and inside[r, c]:
                labels[r, c] = markers[r, c]
                _add_waiting(heights, ages, pixels, n, image[r, c], age, r * n_col + c)
                n += 1
                age += 1
    while n > 0:
        n -= 1
        pixel = _take_first(heights, ages, pixels, n)
        row = pixel // n_col
        column = pixel % n_col
        for k in range(4):
            i = row + sides[k, 0]
            j = column + sides[k, 1]
            if 0 <= i < n_row and 0 <= j < n_col and inside[i, j] and labels[i, j] == 0:
                labels[i, j] = labels[row, column]
                _add_waiting(heights, ages, pixels, n, image[i, j], age, i * n_col + j)
                n += 1
                age += 1
    return labels
