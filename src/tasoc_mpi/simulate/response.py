"""The pixel response of the simulated stars: an analytic model, or the PRF files of TESS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..kernels.prf import add_stars
from .options import SimulationOptions
from .stars import Stars

__all__ = ["Response", "draw", "make_response"]

#: PRF files give the response in the middle of tiles of this side, pixels.
TILE = 128


@dataclass(frozen=True)
class Response:
    """The response of each of N stars.

    Attributes
    ----------
    description : str
        Of the model.
    scale, radius : ndarray, shape (N,)
        Of the analytic model: see `kernels.prf`.
    tables : tuple of ndarray
        One for each tile; none for the analytic model.
    tile : ndarray of int64, shape (N,)
        Index in `tables` for each star.
    """

    description: str
    scale: NDArray[np.float64]
    radius: NDArray[np.int64]
    tables: tuple[NDArray[np.float64], ...]
    tile: NDArray[np.int64]


def make_response(options: SimulationOptions, stars: Stars) -> Response:
    """The response for the stars of a simulation.

    Raises
    ------
    MissingInput
        If the folder of `options` has no PRF files of the CCD.
    InputError
        If they are corrupt.
    """
    if options.prf is None:
        description = "analytic: two Gaussians integrated over the pixels (tasoc_mpi.kernels.prf)"
        return Response(description, stars.scale, stars.radius, (), np.zeros(len(stars), dtype="i8"))
    from ..models.psf import PSF

    row0, column0, rows, columns = options.science
    i = np.clip(stars.row - row0, 0, rows - 1).astype("i8") // TILE
    j = np.clip(stars.column - column0, 0, columns - 1).astype("i8") // TILE
    n_i, n_j = -(-rows // TILE), -(-columns // TILE)
    tables = []
    for m in range(n_i):
        for n in range(n_j):
            low, left = row0 + m * TILE, column0 + n * TILE
            stamp = (low, min(low + TILE, row0 + rows), left, min(left + TILE, column0 + columns))
            psf = PSF(options.sector, options.camera, options.ccd, stamp, Path(options.prf))
            tables.append(psf.table)
    return Response(psf.source, stars.scale, stars.radius, tuple(tables), i * n_j + j)


def draw(
    response: Response,
    which: NDArray[np.int64],
    image: NDArray[np.float32],
    origin: tuple[int, int],
    positions: NDArray[np.float64],
    fluxes: NDArray[np.float64],
) -> None:
    """Add stars to an image.

    Parameters
    ----------
    response : Response
    which : ndarray of int64, shape (K,)
        Their indices in the stars of the response.
    image : ndarray of float32, shape (R, C)
        Changed in place.
    origin : (int, int)
        Full frame image (row, column) of the image's first pixel.
    positions : ndarray, shape (K, 2)
        (column, row) of the stars, full frame image pixels.
    fluxes : ndarray, shape (K,)
        e-/s.
    """
    rows, columns = np.ascontiguousarray(positions[:, 1]), np.ascontiguousarray(positions[:, 0])
    if not response.tables:
        scale, radius = response.scale[which], response.radius[which]
        add_stars(image, (float(origin[0]), float(origin[1])), rows, columns, fluxes, scale, radius)
        return
    from ..kernels.prf_table import add_table_stars
    from ..models.prf_files import SAMPLES

    exact = np.zeros(image.shape)
    tiles = response.tile[which]
    for t in np.unique(tiles):
        k = tiles == t
        table = response.tables[t]
        add_table_stars(
            exact, table, SAMPLES, rows[k] - origin[0], columns[k] - origin[1], fluxes[k], float(len(table))
        )
    image += exact.astype("f4")
