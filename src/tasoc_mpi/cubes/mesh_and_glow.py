"""The background of a frame: the sky on a mesh of boxes plus the corner glow as a profile in radius.

Both parts are fitted in turn. The glow is the excess of the rings around the camera's centre over the sky
at the innermost ring: a constant could as well belong to the mesh, and given to the rings it would make
a step at their inner edge that no mesh of 64 px boxes can follow. So the radial part starts from zero, and a
round adds to it the residual of the round before. Structure that is smooth on the scale of the boxes may
be in either part; only their sum has a meaning.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, ndimage

from ..kernels import rings
from .mesh import (
    SIGMA,
    centred_levels,
    filled_levels,
    in_boxes,
    levels_of_boxes,
    means_of_boxes,
    mesh_coefficients,
    series_mesh,
    smoothed_levels,
    starless_mesh,
)
from .sky_geometry import NODE_STEP, RADIAL_FIRST, RING, SkyGeometry

__all__ = ["coefficients", "fit"]

#: Rings with fewer usable pixels have no value: a density estimate of fewer is dominated by its noise.
_FEWEST_IN_RING = 50
_FEWEST_RINGS = 3
#: Several times the noise of a pixel's sky, e-/s.
_LOWEST_PEDESTAL = 20.0
_ROUNDS = 3
#: The rounds end when the profile changes by less than this fraction of the sky.
_CONVERGED = 1e-3


def fit(
    image: NDArray[np.float32],
    usable: NDArray[np.bool_],
    geometry: SkyGeometry,
    starless: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Levels of the sky in the boxes, and profile of the glow, of one frame; see `background.Fit`.

    Without stars the level of a box is a mean, with stars a mode; boxes that are left out are filled.
    """
    boxes = in_boxes(image, usable)
    radial = np.zeros(len(geometry.nodes), dtype="f4")
    measured = _measured(boxes, geometry.shape, starless)
    if not np.isfinite(measured).any():
        return None
    if len(geometry.nodes):
        # The rings are measured against this level, at which the logarithm is taken: near the sky's own
        # level, never near zero, where the noise would leave half of the pixels without a logarithm.
        level = float(np.nanmedian(measured[0]))
        pedestal = max(level, _LOWEST_PEDESTAL)
        mesh_of_sky = np.full(geometry.mesh_shape, level, dtype="f4")
        pixels = rest = boxes.ravel()[geometry.pixels]
        for _ in range(_ROUNDS):
            # A steep glow is spread over a ring's values, whose mode is then anywhere among them: the next
            # round's rings measure only the residual.
            more = _radial_profile(rest, mesh_of_sky, pedestal, geometry, starless)
            # Of a series each frame gets as many rounds: one more here and there would be noise.
            if np.max(np.abs(more)) <= (0 if starless else _CONVERGED * pedestal):
                break
            radial = radial + more
            rest = rings.less_profile(
                pixels, geometry.pixels, geometry.radii, radial, RADIAL_FIRST, NODE_STEP, boxes
            )
            again = _measured(boxes, geometry.shape, starless, geometry.ring_boxes)
            measured = np.where(geometry.ring_boxes, again, measured)
            if not np.isfinite(measured).any():
                return None
            levels = centred_levels(measured) if starless else smoothed_levels(measured[0])
            mesh_of_sky = mesh_coefficients(levels)
    levels = centred_levels(measured) if starless else filled_levels(measured[0])
    return levels.astype("f4"), radial


def _measured(
    boxes: NDArray[np.float32],
    shape: tuple[int, int],
    starless: bool,
    wanted: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Levels of the boxes; without stars also where they are measured (`kernels.boxes.box_means`)."""
    if starless:
        return means_of_boxes(boxes, shape, wanted)
    return levels_of_boxes(boxes, shape, wanted)[None]


def _radial_profile(
    pixels: NDArray[np.float32],
    mesh: NDArray[np.float32],
    pedestal: float,
    geometry: SkyGeometry,
    starless: bool,
) -> NDArray[np.float32]:
    """Glow at the nodes, from the ring pixels whose smooth sky (the mesh) is replaced by the pedestal.

    Pixels without a logarithm are left out; with the pedestal under them they are far out in the noise.
    """
    rows, columns = geometry.ring_rectangle
    shape = (rows[1] - rows[0], columns[1] - columns[0])
    smooth = geometry.model(mesh[..., None]).frame(shape, 0, (rows[0], columns[0]))
    values = rings.ring_values(pixels, smooth.ravel(), geometry.places, pedestal)
    if not starless:
        # The mode is that of the logarithms.
        values = np.log(values) * np.float32(1 / np.log(10))
    logs = rings.ring_levels(values, geometry.starts, _FEWEST_IN_RING, SIGMA, starless)
    if starless:
        logs = np.log10(logs)
    (known,) = np.nonzero(np.isfinite(logs))
    if len(known) < _FEWEST_RINGS:
        return np.zeros(len(geometry.nodes), dtype="f4")
    levels = logs[known]
    if not starless:
        # A median does not move the values of a monotonic profile, the ends included. Without stars there is
        # nothing for it to take out, and it would cut off the top of a profile that has one.
        levels = ndimage.median_filter(levels, 3, mode="nearest")
    radii = geometry.ring_radii[known]
    spline = interpolate.CubicSpline(radii, levels, bc_type="natural")
    start = RADIAL_FIRST + RING * known[0]
    profile = 10.0 ** _extended(spline, geometry.nodes) - 10.0 ** _extended(spline, np.array([start]))
    profile[geometry.nodes < start] = 0.0
    return profile.astype("f4")


def _extended(spline: interpolate.CubicSpline, radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """A spline that goes on as a straight line for up to a ring's width, then as a constant."""
    inside = np.clip(radii, spline.x[0], spline.x[-1])
    return spline(inside) + spline(inside, 1) * np.clip(radii - inside, -RING, RING)


def coefficients(levels: NDArray[np.float32], starless: bool) -> NDArray[np.float32]:
    """Coefficients of the mesh from the levels of all frames; see `background.Coefficients`.

    Without stars in the frames all that stands out of a mesh is the sky's, and nothing is filtered.
    """
    return starless_mesh(levels) if starless else series_mesh(levels)
