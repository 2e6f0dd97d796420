"""Where the boxes and rings of a background lie on a region of a CCD."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels.background_model import BackgroundModel
from ..products.ccd_outline import CAMERA_CENTRES

__all__ = ["BOX", "RADIAL_FIRST", "RING", "SkyGeometry", "box_counts", "sky_geometry"]

#: Side of a box of the mesh, pixels.
BOX = 64
#: The corner glow begins at this distance from the camera's centre, pixels.
RADIAL_FIRST = 2400.0
#: Width of a ring, pixels.
RING = 15.0
#: Distance between the nodes of the stored profile, which is linear between them; with 5 px it is within
#: 0.1% of the spline for a glow that doubles every 100 px.
NODE_STEP = 5.0


@dataclass(frozen=True)
class SkyGeometry:
    """Where the boxes and rings of a region lie."""

    shape: tuple[int, int]  #: Rows and columns of a frame
    origin: tuple[int, int]  #: 0-based full frame image (row, column) of its first pixel
    centre: tuple[float, float]  #: 0-based full frame image (row, column) of the camera's centre
    mesh_shape: tuple[int, int]  #: Number of boxes
    #: Shape (P,): the pixels from 2400 px on, ring after ring, as flat indices in the order of the boxes
    #: (`kernels.boxes.in_boxes`).
    pixels: NDArray[np.uint32]
    radii: NDArray[np.float64]  #: Shape (P,): their distances from the centre, pixels
    starts: NDArray[np.int64]  #: Shape (K + 1,): first of `pixels` of every ring, and P
    #: Shape (K,): mean distance of a ring's pixels; NaN for rings without any.
    ring_radii: NDArray[np.float64]
    ring_boxes: NDArray[np.bool_]  #: Shape `mesh_shape`: boxes with pixels of a ring
    #: Rows and columns, half open, that hold all pixels of the rings.
    ring_rectangle: tuple[tuple[int, int], tuple[int, int]]
    places: NDArray[np.uint32]  #: Shape (P,): flat indices of `pixels` in that rectangle
    #: Shape (N,): distances of the profile's nodes, pixels; none where the region has no such pixels.
    nodes: NDArray[np.float64]

    def model(self, mesh: NDArray[np.float32], radial: NDArray[np.float32] | None = None) -> BackgroundModel:
        """A background of these boxes and nodes; without a profile if none is given."""
        if radial is None:
            radial = np.empty((0, mesh.shape[2]), dtype="f4")
        return BackgroundModel(mesh, BOX, radial, RADIAL_FIRST, NODE_STEP, self.centre, self.origin)


def box_counts(shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of boxes by rows and by columns of a frame."""
    return -(-shape[0] // BOX), -(-shape[1] // BOX)


@functools.lru_cache(maxsize=1)
def sky_geometry(shape: tuple[int, int], origin: tuple[int, int], camera: int, ccd: int) -> SkyGeometry:
    """Boxes and rings of a region of a CCD.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    origin : (int, int)
        0-based full frame image (row, column) of the first pixel.
    camera, ccd : int
    """
    centre = CAMERA_CENTRES[camera, ccd]
    row = np.arange(shape[0])[:, None] + (origin[0] - centre[0])
    column = np.arange(shape[1])[None, :] + (origin[1] - centre[1])
    # Squares are much faster: they leave few pixels that are not in a ring.
    pixels = np.flatnonzero(row**2 + column**2 >= (RADIAL_FIRST - 1) ** 2)
    row_of, column_of = np.divmod(pixels, shape[1])
    radii: NDArray[np.float64] = np.hypot(row[row_of, 0], column[0, column_of])
    in_ring = radii >= RADIAL_FIRST
    pixels, radii = pixels[in_ring], radii[in_ring]
    ring = ((radii - RADIAL_FIRST) // RING).astype("i8")
    order = np.argsort(ring, kind="stable")
    pixels, radii, ring = pixels[order], radii[order], ring[order]
    count = int(ring[-1]) + 1 if len(ring) else 0
    row_of, column_of = np.divmod(pixels, shape[1])
    mesh_shape = box_counts(shape)
    ring_boxes = np.zeros(mesh_shape, dtype=bool)
    ring_boxes[row_of // BOX, column_of // BOX] = True
    box = row_of // BOX * mesh_shape[1] + column_of // BOX
    in_boxes = (box * BOX + row_of % BOX) * BOX + column_of % BOX
    starts = np.searchsorted(ring, np.arange(count + 1)).astype("i8")
    nodes: NDArray[np.float64] = np.empty(0)
    if count:
        length = int(np.ceil((radii.max() - RADIAL_FIRST) / NODE_STEP)) + 1
        nodes = RADIAL_FIRST + NODE_STEP * np.arange(max(length, 2), dtype="f8")
    rows, columns = _range(row_of), _range(column_of)
    return SkyGeometry(
        shape=shape,
        origin=origin,
        centre=centre,
        mesh_shape=mesh_shape,
        pixels=in_boxes.astype("u4"),
        radii=radii,
        starts=starts,
        ring_boxes=ring_boxes,
        ring_rectangle=(rows, columns),
        places=((row_of - rows[0]) * (columns[1] - columns[0]) + column_of - columns[0]).astype("u4"),
        ring_radii=_mean_radii(radii, ring, starts),
        nodes=nodes,
    )


def _range(values: NDArray[np.int64]) -> tuple[int, int]:
    return (int(values.min()), int(values.max()) + 1) if len(values) else (0, 0)


def _mean_radii(
    radii: NDArray[np.float64], ring: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean distance of every ring's pixels."""
    with np.errstate(invalid="ignore"):
        return np.bincount(ring, radii, len(starts) - 1) / np.diff(starts)
