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
def star_masks(image, flux, rows, columns, tmags, levels, sizes, reaches, saturation, shapes):
    """Masks of the stars in a sum image.

    Parameters
    ----------
    image : ndarray of float64, shape (R, C)
        Sum image, e-/s. Pixels that are not finite are in no mask.
    flux : ndarray of float64, shape (n,)
        Its positive pixels, sorted.
    rows, columns, tmags : ndarray of float64, shape (N,)
        Stars, brightest first: position in the image (0-based) and magnitude.
    levels : (float, float, float)
        Sigmas, trim and ceiling of `mask_density.flux_threshold`.
    sizes : (int, int)
        Fewest pixels of a mask and of a core point.
    reaches : (float, float)
        Those of `mask_watershed.watershed_markers`.
    saturation : (float, float)
        Magnitude and ratio of saturated stars.
    shapes : tuple of ndarray
        Neighbourhood of a core point and sides of a pixel (`mask_cluster.disc`), and the blur of
        `mask_watershed.watershed_markers`.

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
    min_pixels, min_cluster = sizes
    reach, reach_saturated = reaches
    tmag, ratio = saturation
    neighbours, sides, blur = shapes
    found = flux_threshold(flux, trim, ceiling, sigmas)
    significant = np.empty(image.shape, dtype=np.bool_)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            significant[r, c] = found[2] < image[r, c] < math.inf
    clusters, n_clusters = core_clusters(significant, min_cluster, neighbours)
    markers, n_markers, candidates, saturated = watershed_markers(
        image, significant, clusters, n_clusters, rows, columns, tmags,
        blur, reach, reach_saturated, tmag, ratio, sides,
    )  # fmt: skip
    segments = flood(image, clusters, markers, sides)
    labels, count = tidy_segments(image, segments, n_markers, min_pixels)
    extension = extend_columns(image, significant, labels, count, rows, columns, tmags, tmag, ratio)
    return (labels, count, extension), found, (significant, clusters, candidates, markers, saturated)
