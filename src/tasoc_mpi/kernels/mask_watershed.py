"""One segment a star: markers in each cluster of significant pixels, and the watershed from them."""

from __future__ import annotations

import math

import numpy as np

from .filled import no_pixels
from .jit import helper
from .mask_cluster import disc, label_connected
from .mask_saturated import highest_pixels, saturated_run, summed_tmag
from .sorted_values import first_from, order_of

__all__ = ["flood", "smooth", "watershed_markers"]


@helper
def _mirror(i, n):
    """Index mirrored at the outer edges of the first and last pixel (c b a | a b c | c b a)."""
    while i < 0 or i >= n:
        i = -1 - i if i < 0 else 2 * n - 1 - i
    return i


@helper
def smooth(image, sigma):
    """Image smoothed by a Gaussian, cut at 4 sigma, the image continued by its mirror image.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
    sigma : float
        Pixels; 0 leaves the image as it is.

    Returns
    -------
    ndarray of float64, shape (R, C)
        As `scipy.ndimage.gaussian_filter` with its defaults.
    """
    n_row, n_col = image.shape
    reach = np.int64(4.0 * sigma + 0.5)
    weight = np.empty(reach + 1)
    weight[0] = 1.0
    for k in range(1, reach + 1):
        weight[k] = math.exp(-0.5 * ((k / sigma) * (k / sigma)))
    total = 0.0
    for k in range(reach + 1):
        total += weight[k]
    total = 2.0 * total - weight[0]
    for k in range(reach + 1):
        weight[k] /= total
    half = np.empty((n_row, n_col))
    for r in range(n_row):
        for c in range(n_col):
            value = weight[0] * image[r, c]
            for k in range(1, reach + 1):
                value += weight[k] * (image[_mirror(r - k, n_row), c] + image[_mirror(r + k, n_row), c])
            half[r, c] = value
    out = np.empty((n_row, n_col))
    for r in range(n_row):
        for c in range(n_col):
            value = weight[0] * half[r, c]
            for k in range(1, reach + 1):
                value += weight[k] * (half[r, _mirror(c - k, n_col)] + half[r, _mirror(c + k, n_col)])
            out[r, c] = value
    return out


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
def _local_maxima(image, lowest):
    """Pixels above `lowest` that none of their eight neighbours exceeds, shape (N, 2), and their heights."""
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
                position[n, 0] = r
                position[n, 1] = c
                height[n] = value
                n += 1
    return position[:n], height[:n]


@helper
def _nearest(position, height, row, column, reach):
    """Index of the candidate nearest to a star within `reach`, else -1. The higher of two as near."""
    best = -1
    least = reach * reach + 1e-9
    # Candidates come row by row: bisect to the first row that is near enough.
    first, last = 0, position.shape[0]
    while first < last:
        middle = (first + last) // 2
        if position[middle, 0] < row - reach - 1.0:
            first = middle + 1
        else:
            last = middle
    for k in range(first, position.shape[0]):
        if position[k, 0] > row + reach + 1.0:
            break
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
def _saturated(image, significant, clusters, cluster, highest, ratio):
    """Saturated pixels of one cluster, and those that they run into."""
    out = no_pixels(image.shape[0], image.shape[1])
    for c in range(image.shape[1]):
        first, last = saturated_run(image, significant, clusters, cluster, c, highest, ratio)
        for r in range(first, last):
            out[r, c] = True
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
def _by_row(rows, columns, tmags):
    """Stars in order of their rows."""
    order = order_of(rows)
    ordered = np.empty((3, rows.shape[0]))
    for k in range(rows.shape[0]):
        ordered[0, k] = rows[order[k]]
        ordered[1, k] = columns[order[k]]
        ordered[2, k] = tmags[order[k]]
    return ordered[0], ordered[1], ordered[2]


@helper
def watershed_markers(
    image, significant, clusters, count, rows, columns, tmags, blur, reach, reach_bright, bright_tmag, ratio
):
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
        Stars: position in the image (0-based) and magnitude. One with a NaN takes no marker.
    blur : float
        Sigma of the Gaussian, pixels.
    reach, reach_bright : float
        Largest distance of a marker from its star, pixels; `reach_bright` up to magnitude `bright_tmag`.
    bright_tmag : float
        Clusters whose stars together are at least this bright may be saturated.
    ratio : float
        See `mask_saturated.saturated_run`.

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
    margin = np.int64(4.0 * blur + 0.5) + 1
    furthest = max(reach, reach_bright) + 1.0
    sides = disc(1.0)
    boxes = _boxes(clusters, count)
    # A star is looked at by the clusters near its row only; stars without a row come last.
    rows, columns, tmags = _by_row(rows, columns, tmags)
    totals = summed_tmag(clusters, count, rows, columns, tmags)
    highest = highest_pixels(image, clusters, count)
    for k in range(count):
        r0, r1 = max(boxes[k, 0] - margin, 0), min(boxes[k, 1] + margin, n_row)
        c0, c1 = max(boxes[k, 2] - margin, 0), min(boxes[k, 3] + margin, n_col)
        flux = smooth(_alone(image, clusters, k + 1, r0, r1, c0, c1), blur)
        position, height = _local_maxima(flux, _lowest(flux) if flux.size == image.size else 0.0)
        chosen = np.empty(position.shape[0], dtype=np.bool_)
        for m in range(position.shape[0]):
            position[m, 0] += r0
            position[m, 1] += c0
            chosen[m] = False
        for s in range(first_from(rows, r0 - furthest), first_from(rows, r1 + furthest)):
            if c0 - furthest < columns[s] < c1 + furthest and tmags[s] == tmags[s]:
                limit = reach_bright if tmags[s] <= bright_tmag else reach
                best = _nearest(position, height, rows[s], columns[s], limit)
                if best >= 0:
                    chosen[best] = True
        if totals[k] <= bright_tmag:
            own = _saturated(image, significant, clusters, k + 1, highest[k], ratio)
            for r in range(n_row):
                for c in range(n_col):
                    patches[r, c] |= own[r, c]
            _keep_highest(position, height, chosen, label_connected(own, sides)[0])
        for m in range(position.shape[0]):
            candidates[position[m, 0], position[m, 1]] = True
            if chosen[m]:
                marked[position[m, 0], position[m, 1]] = True
    markers, number = label_connected(marked, sides)
    return markers, number, candidates, patches


@helper
def _before(heights, ages, i, j):
    """Whether entry `i` of the heap comes before entry `j`: lower first, then older."""
    return heights[i] < heights[j] or (heights[i] == heights[j] and ages[i] < ages[j])


@helper
def _swap(heights, ages, pixels, i, j):
    heights[i], heights[j] = heights[j], heights[i]
    ages[i], ages[j] = ages[j], ages[i]
    pixels[i], pixels[j] = pixels[j], pixels[i]


@helper
def _push(heights, ages, pixels, n, height, pixel, age):
    """Add an entry to a binary heap of `n` entries."""
    heights[n] = height
    ages[n] = age
    pixels[n] = pixel
    i = n
    while i > 0 and _before(heights, ages, i, (i - 1) // 2):
        _swap(heights, ages, pixels, i, (i - 1) // 2)
        i = (i - 1) // 2


@helper
def _pop(heights, ages, pixels, n):
    """Move the first entry of a binary heap of `n` entries behind the others."""
    _swap(heights, ages, pixels, 0, n - 1)
    i = 0
    while True:
        first = i
        for child in (2 * i + 1, 2 * i + 2):
            if child < n - 1 and _before(heights, ages, child, first):
                first = child
        if first == i:
            return pixels[n - 1]
        _swap(heights, ages, pixels, i, first)
        i = first


@helper
def flood(image, inside, markers):
    """Watershed by flooding from markers (Meyer 1991), the highest pixels first.

    The next pixel is the highest one that touches a flooded one; of equally high pixels the one that was
    reached first; the sides of a pixel are taken in the order of `disc`, and markers in that of the pixels.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
        Its negative is flooded.
    inside : ndarray of bool, shape (R, C)
        Where the flood may go. Flood runs over the sides of pixels, not over their corners.
    markers : ndarray of int32, shape (R, C)
        Positive where the flood starts.

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
    sides = disc(1.0)
    # Not the literal 0, for which the functions of the heap would be compiled once more.
    n = np.int64(0)
    age = np.int64(0)
    for r in range(n_row):
        for c in range(n_col):
            started = markers[r, c] > 0 and inside[r, c]
            labels[r, c] = markers[r, c] if started else 0
            if started:
                _push(heights, ages, pixels, n, -image[r, c], r * n_col + c, age)
                n += 1
                age += 1
    while n > 0:
        pixel = _pop(heights, ages, pixels, n)
        n -= 1
        row = pixel // n_col
        column = pixel % n_col
        for k in range(4):
            i = row + sides[k, 0]
            j = column + sides[k, 1]
            if 0 <= i < n_row and 0 <= j < n_col and inside[i, j] and labels[i, j] == 0:
                labels[i, j] = labels[row, column]
                _push(heights, ages, pixels, n, -image[i, j], i * n_col + j, age)
                n += 1
                age += 1
    return labels
