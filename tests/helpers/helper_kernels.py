"""Kernels for tests of functions that only kernels call.

They are not cached: a cache would not notice that the function has changed.
"""

from __future__ import annotations

import numpy as np

from tasoc_mpi.kernels import (
    background_model,
    boxes,
    mask_cluster,
    mask_density,
    mask_saturated,
    mask_watershed,
)
from tasoc_mpi.kernels.jit import kernel


@kernel(cache=False)
def mesh_weights(rows, columns, box, shape):
    return background_model.mesh_weights(rows, columns, box, shape)


@kernel(cache=False)
def density_mode(flux):
    return mask_density.density_mode(flux, mask_density.scott_bandwidth(flux))


@kernel(cache=False)
def scott_bandwidth(flux):
    return mask_density.scott_bandwidth(flux)


@kernel(cache=False)
def saturated_run(image, significant, labels, label, column, highest, ratio):
    return mask_saturated.saturated_run(image, significant, labels, label, column, highest, ratio)


@kernel(cache=False)
def summed_tmag(labels, count, rows, columns, tmags):
    return mask_saturated.summed_tmag(labels, count, rows, columns, tmags)


@kernel(cache=False)
def _smooth(image, weights):
    return mask_watershed.smooth(image, weights)


def smooth(image, sigma):
    return _smooth(image, mask_watershed.blur_weights(sigma))


@kernel(cache=False)
def quartiles(values, n):
    return boxes.quartiles(values, n)


@kernel(cache=False)
def _core_clusters(significant, min_points, offsets):
    return mask_cluster.core_clusters(significant, min_points, offsets)


def core_clusters(significant, min_points, radius):
    return _core_clusters(significant, min_points, mask_cluster.disc(radius))


@kernel(cache=False)
def _flux_threshold(flux, trim, ceiling, sigmas):
    return mask_density.flux_threshold(flux, trim, ceiling, sigmas)


def flux_threshold(image, trim, ceiling, sigmas):
    return _flux_threshold(np.sort(image[np.isfinite(image) & (image > 0)]), trim, ceiling, sigmas)


@kernel(cache=False)
def tidy_segments(image, segments, count, min_pixels):
    return mask_saturated.tidy_segments(image, segments, count, min_pixels)


@kernel(cache=False)
def extend_columns(image, significant, labels, count, rows, columns, tmags, bright_tmag, ratio):
    return mask_saturated.extend_columns(
        image, significant, labels, count, rows, columns, tmags, bright_tmag, ratio
    )


@kernel(cache=False)
def _flood(image, inside, markers, sides):
    return mask_watershed.flood(image, inside, markers, sides)


def flood(image, inside, markers):
    return _flood(image, inside.astype("i4"), markers, mask_cluster.disc(1.0))


@kernel(cache=False)
def _watershed_markers(
    image, significant, clusters, count, rows, columns, tmags,
    blur, reach, reach_bright, bright_tmag, ratio, sides,
):  # fmt: skip
    return mask_watershed.watershed_markers(
        image, significant, clusters, count, rows, columns, tmags,
        blur, reach, reach_bright, bright_tmag, ratio, sides,
    )  # fmt: skip


def watershed_markers(image, significant, clusters, count, rows, columns, tmags, blur, *limits):
    return _watershed_markers(
        image, significant, clusters, count, rows, columns, tmags,
        mask_watershed.blur_weights(blur), *limits, mask_cluster.disc(1.0),
    )  # fmt: skip
