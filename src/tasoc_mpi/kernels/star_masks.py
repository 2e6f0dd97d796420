"""The masks of the stars in a sum image: the steps of K2P2, one after the other."""

from __future__ import annotations

import math

import numpy as np

from .jit import kernel
from .mask_cluster import core_clusters
from .mask_density import flux_threshold
from .mask_saturated import extend_columns, tidy_segments
from .mask_watershed import flood, watershed_markers

__all__ = ["star_masks"]


@kernel
def star_masks(sumimage, rows, columns, tmags, levels, sizes, distances, saturation):
    """Masks of the stars in a sum image.

    Parameters
    ----------
    sumimage : ndarray of float64, shape (R, C)
        e-/s. Pixels that are not finite are in no mask.
    rows, columns, tmags : ndarray of float64, shape (N,)
        Stars: position in the image (0-based) and magnitude.
    levels : (float, float, float)
        Sigmas, trim and ceiling of `mask_density.flux_threshold`.
    sizes : (int, int, float)
        Fewest pixels of a mask and of a core point, and the radius of its neighbourhood.
    distances : (float, float, float)
        Blur and reaches of `mask_watershed.watershed_markers`.
    saturation : (float, float)
        Magnitude and ratio of saturated stars.

    Returns
    -------
    labels, count, extension : tuple
        See `tidy_segments` and `extend_columns`.
    mode, mad, threshold, bandwidth : tuple of float
        See `flux_threshold`.
    significant, clusters, candidates, markers, saturated : tuple of ndarray, shape (R, C)
        The steps on the way.
    """
    sigmas, trim, ceiling = levels
    min_pixels, min_cluster, radius = sizes
    blur, reach, reach_saturated = distances
    tmag, ratio = saturation
    image = np.empty(sumimage.shape)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            image[r, c] = sumimage[r, c] if math.isfinite(sumimage[r, c]) else math.nan
    found = flux_threshold(image, trim, ceiling, sigmas)
    significant = np.empty(image.shape, dtype=np.bool_)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            significant[r, c] = image[r, c] > found[2]
    clusters, n_clusters = core_clusters(significant, min_cluster, radius)
    inside = np.empty(image.shape, dtype=np.bool_)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            inside[r, c] = clusters[r, c] > 0
    markers, n_markers, candidates, saturated = watershed_markers(
        image, significant, clusters, n_clusters, rows, columns, tmags,
        blur, reach, reach_saturated, tmag, ratio,
    )  # fmt: skip
    segments = flood(image, inside, markers)
    labels, count = tidy_segments(image, segments, n_markers, min_pixels)
    extension = extend_columns(image, significant, labels, count, rows, columns, tmags, tmag, ratio)
    return (labels, count, extension), found, (significant, clusters, candidates, markers, saturated)
