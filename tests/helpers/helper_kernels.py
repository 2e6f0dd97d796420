"""Kernels for tests of functions that only kernels call.

They are not cached: a cache would not notice that the function has changed.
"""

from __future__ import annotations

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
    return mask_density.density_mode(flux)


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
def smooth(image, sigma):
    return mask_watershed.smooth(image, sigma)


@kernel(cache=False)
def quartiles(values):
    return boxes.quartiles(values)


@kernel(cache=False)
def sort_floats(values):
    boxes.sort(values)


@kernel(cache=False)
def core_clusters(significant, min_points, radius):
    return mask_cluster.core_clusters(significant, min_points, radius)


@kernel(cache=False)
def flux_threshold(image, trim, ceiling, sigmas):
    return mask_density.flux_threshold(image, trim, ceiling, sigmas)


@kernel(cache=False)
def tidy_segments(image, segments, count, min_pixels):
    return mask_saturated.tidy_segments(image, segments, count, min_pixels)


@kernel(cache=False)
def extend_columns(image, significant, labels, count, rows, columns, tmags, bright_tmag, ratio):
    return mask_saturated.extend_columns(
        image, significant, labels, count, rows, columns, tmags, bright_tmag, ratio
    )


@kernel(cache=False)
def flood(image, inside, markers):
    return mask_watershed.flood(image, inside, markers)


@kernel(cache=False)
def watershed_markers(
    image, significant, clusters, count, rows, columns, tmags, blur, reach, reach_bright, bright_tmag, ratio
):
    return mask_watershed.watershed_markers(
        image, significant, clusters, count, rows, columns, tmags,
        blur, reach, reach_bright, bright_tmag, ratio,
    )  # fmt: skip
